"""The environment: read here only, and at call time, so that a program can change it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = [
    "acting_as",
    "asked_workers",
    "author",
    "bound_xet_retries",
    "cache_bytes",
    "database",
    "fsdp_version",
    "home",
    "hub_endpoint",
    "hub_offline",
    "id_token",
    "id_token_request",
    "keep_profiler_quiet",
    "keep_ray_quiet",
    "most_workers",
    "mpi_processes",
    "processes",
    "rank",
    "reading_by",
    "s3_endpoint",
    "server_token",
    "settings",
    "share_cores",
    "sso_secret",
    "show_gpu",
    "spin_briefly",
    "weights_spread_by",
]

_AUTHOR = ContextVar("author", default="")
_WORKERS: ContextVar[int | None] = ContextVar("workers", default=None)


def home() -> Path | None:
    """The zoo that ``ZOO_HOME`` names, if it names one."""
    value = os.environ.get("ZOO_HOME")
    return Path(value).expanduser() if value else None


def settings() -> Path:
    """The folder of the user's own settings, in ``XDG_CONFIG_HOME`` or ``~/.config``."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "zoo"


def server_token() -> tuple[str, str] | None:
    """The token that ``ZOO_TOKEN`` is, and the URL of the server that it is for, ``ZOO_SERVER``:
    without that it is sent to none.
    """
    server, token = os.environ.get("ZOO_SERVER"), os.environ.get("ZOO_TOKEN")
    return (server, token) if server and token else None


def sso_secret(provider: str) -> str:
    """The secret that a provider knows this server by: ``ZOO_SSO_SECRET_LAB`` for ``lab``."""
    return os.environ.get(f"ZOO_SSO_SECRET_{provider.upper().replace('-', '_')}", "")


def id_token() -> str:
    """What a service says of the job that this is, signed, in ``ZOO_ID_TOKEN``; empty: nothing."""
    return os.environ.get("ZOO_ID_TOKEN", "").strip()


def id_token_request() -> tuple[str, str] | None:
    """Where a job of GitHub Actions asks for that, and the token that it shows there."""
    names = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    url, token = (os.environ.get(name) for name in names)
    return (url, token) if url and token else None


def database() -> str | None:
    """The URL of the database that ``ZOO_DB`` names, for the registry; None for a file."""
    return os.environ.get("ZOO_DB") or None


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Have refs moved for somebody: the account that a server was asked by."""
    token = _AUTHOR.set(name)
    try:
        yield
    finally:
        _AUTHOR.reset(token)


def author() -> str:
    """Who moves a ref: whom a server acts for, else ``ZOO_AUTHOR``, else the login name, else
    ``unknown``.
    """
    if name := _AUTHOR.get():
        return name
    if value := os.environ.get("ZOO_AUTHOR"):
        return value
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return "unknown"


def cache_bytes() -> int:
    """Most bytes that caches of frozen parts may take: ``ZOO_CACHE_GB``, else 20 GB."""
    try:
        return int(float(os.environ.get("ZOO_CACHE_GB", "20")) * 1e9)
    except (ValueError, OverflowError):
        return 20 * 10**9


def most_workers(usual: int) -> int:
    """Processes that read images for one that trains, at most: what `reading_by` says, else
    ``ZOO_WORKERS``, else ``usual``.
    """
    count = _WORKERS.get()
    return max(_number("ZOO_WORKERS", usual) if count is None else count, 0)


def asked_workers() -> int | None:
    """What `reading_by` says; None: nothing."""
    return _WORKERS.get()


@contextmanager
def reading_by(count: int | None) -> Iterator[None]:
    """Have at most so many processes read images for this thread; None: as it is."""
    token = _WORKERS.set(_WORKERS.get() if count is None else count)
    try:
        yield
    finally:
        _WORKERS.reset(token)


def processes() -> int:
    """How many processes a launcher such as ``torchrun`` has started (``WORLD_SIZE``)."""
    return _number("WORLD_SIZE", 1)


def processes_here() -> int:
    """How many of them are on this machine (``LOCAL_WORLD_SIZE``); all, where nothing says it."""
    return _number("LOCAL_WORLD_SIZE", processes())


def mpi_processes() -> int:
    """How many processes MPI has started (``OMPI_COMM_WORLD_SIZE``, …)."""
    names = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
    return max(_number(name, 1) for name in names)


def rank() -> int:
    """Which of them this is (``RANK``), from 0."""
    return _number("RANK", 0)


def cores() -> int:
    """Those that are this process's, which in a container or a job may be few of the machine's."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(count: int) -> None:
    """Give each of ``count`` processes that are about to start its share of the cores.

    Launchers give each one thread. ``OMP_NUM_THREADS`` has the last word.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores() // count, 1)))


def spin_briefly() -> None:
    """Have threads of torch, before it is imported, hand over the core where they must wait.

    GNU's OpenMP lets them spin for milliseconds at each of hundreds of barriers of a step. Where
    a process of another session has one of the cores, a step then takes ten times as long (ADR 70).
    ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` have the last word.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def show_gpu(number: int) -> None:
    """Let this process see only one of the GPUs that it may see, before it looks at any."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[number] if seen else str(number)


def keep_ray_quiet() -> None:
    """Have Ray report no usage, and warn of no change to come, unless somebody wants that."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        os.environ.setdefault(name, "0")


def keep_profiler_quiet() -> None:
    """Have torch's profiler not say that it begins, and that there is no GPU, unless somebody wants
    that.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def share_figures(folder: str) -> None:
    """Have processes that are started from now on keep their figures for Prometheus in a folder,
    where any of them finds those of all.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


def weights_spread_by() -> str | None:
    """How accelerate's settings spread weights over processes (``ACCELERATE_USE_FSDP``, …)."""
    for way in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{way}", "").lower() in ("true", "1"):
            return way
    return None


def fsdp_version() -> int:
    """Of FSDP, in accelerate's settings (``FSDP_VERSION``)."""
    return _number("FSDP_VERSION", 1)


def hub_endpoint() -> str | None:
    """The base URL of the model hub (``HF_ENDPOINT``), or None for the client's default."""
    return os.environ.get("HF_ENDPOINT") or None


def hub_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids asking the model hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def bound_xet_retries() -> None:
    """Let hf_xet, which reads its settings once and says nothing meanwhile, give up after some
    seconds, not minutes. ``HF_XET_CLIENT_RETRY_MAX_ATTEMPTS`` has the last word.
    """
    os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2")


def s3_endpoint() -> str | None:
    """The base URL of a service that speaks S3 (``AWS_ENDPOINT_URL``), or None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL") or None


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default
