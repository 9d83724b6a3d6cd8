"""Every test runs in a home and environment of its own."""

from __future__ import annotations

import gc
import http.client
import os
import re
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from fakes import postgres
from fakes.compiled import share_compiled
from fakes.places import BucketPlace, FolderPlace, MemoryPlace, Place
from fakes.plugin_code import HEAD, Install
from fakes.s3_front import KEY_ID, SECRET, Front

from zoo import plugins

gc.disable()  # while test modules are imported
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what is to run in the background; tests that interrupt would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# One thread each, which torch asks for as it is imported: more would wait for those of others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ray decides once in a process whether tokens are asked for: clusters that were started by one test
# after the other would else not understand each other. And a client has none.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

MEMORY, ROOM = Path("/dev/shm"), 4 << 30
"""Where the folders of tests are, if so much is free: on a disk, tests wait for it."""


def _fits(folder: Path) -> bool:
    """Whether tests can write, and start programs, there."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(folder).free >= ROOM


if _fits(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have written down as ``table``, whichever process they ran in.

    It must be in this file: a process that only collects what others report reads no other.
    """
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "table":
                terminalreporter.write_line(str(value))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Failures(config))


class Failures:
    """Names what has failed when it fails: the end of a long run is minutes away, or cut off."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal = config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._terminal is not None:
            self._terminal.write_line(f"\n{report.nodeid} ({report.when})")
            self._terminal.write_line(report.longreprtext[-2000:])


BUDGET = 10.0
"""Seconds of processor time that a test may take that has no mark of `LONG`: several times what the
longest take on a quiet machine, so that none becomes long unseen."""
LONG = frozenset({"long", "backbones", "clients", "fuzz"})
UNBOUNDED = LONG | {"gpu"}
"""To start an accelerator, and to compile for it, takes processor time, too."""
USED = pytest.StashKey[float]()
PASSED = pytest.StashKey[bool]()
FOLDERS = pytest.StashKey[list[Path]]()
NUMBERS = count()


def _used() -> float:
    """Seconds of processor time of this process, and of its children that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = _used()
    yield
    item.stash[USED] = _used() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test over its budget has failed."""
    report = yield
    marks = {mark.name for mark in item.iter_markers()}
    if report.when == "call" and report.passed and not marks & UNBOUNDED:
        used = item.stash.get(USED, 0.0)
        if used > BUDGET:
            report.outcome = "failed"
            report.longrepr = f"{used:.0f} s of processor time: shorten it, or mark it long"
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def _drops_long(config: pytest.Config) -> bool:
    """Whether this run leaves out what is long, and names no test: two thirds of all tests need
    not be made then. One that is named is looked up among all.
    """
    asked = config.option.markexpr == config.getini("addopts")[-1]
    return asked and not any("::" in name for name in config.args)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[pytest.Item] | None:
    if not name.lower().startswith("test") or not _drops_long(collector.config):
        return None
    own = getattr(obj, "pytestmark", [])
    marks = [*collector.iter_markers(), *(own if isinstance(own, list) else [own])]
    return [] if any(mark.name in LONG for mark in marks) else None


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """The others keep their names: long cases go once all have one."""
    yield
    if _drops_long(metafunc.config):
        calls = metafunc._calls
        quick = [call for call in calls if not any(mark.name in LONG for mark in call.marks)]
        calls[:] = quick or calls


def pytest_collection_finish() -> None:
    """Modules stay: the garbage collector need not look through torch's again and again, which
    took a quarter of the time of all tests. What of them is garbage stays, too: to look for it
    takes two seconds.
    """
    share_compiled()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Nor through what the tests of a file have imported or made for the next.

    The folders of a test that has passed are deleted, once nothing of it works in them.
    """
    try:
        yield
    finally:  # a test may have left this process in its folder
        os.chdir(item.config.invocation_params.dir)
    if item.stash.get(PASSED, False):
        for folder in item.stash.get(FOLDERS, []):
            shutil.rmtree(folder, ignore_errors=True)
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def _folder(request: pytest.FixtureRequest, name: str) -> Path:
    """A new folder for a test. No other ever has its path, which a process may remember; and
    pytest's own way, which looks for the next free name, reads all that are there each time.
    """
    factory = request.getfixturevalue("tmp_path_factory")
    folder: Path = factory.getbasetemp() / f"{name}{next(NUMBERS)}"
    folder.mkdir(mode=0o700)
    request.node.stash.setdefault(FOLDERS, []).append(folder)
    return folder


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Path:
    """As pytest's, and deleted if the test passes."""
    return _folder(request, re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home; no zoo, token or setting of the machine's user is seen."""
    home = _folder(request, "home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    monkeypatch.setenv("ZOO_AUTHOR", "tester")
    for name in (
        "ZOO_HOME",
        "ZOO_DB",
        "XDG_CONFIG_HOME",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
    ):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Have a line printed when all tests are done."""
    return partial(record_property, "table")


@pytest.fixture(scope="session")
def s3_service() -> Iterator[int]:
    """The port of a service that speaks S3 and holds the bucket ``models``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    signed = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request"
    connection.request("PUT", "/models", headers={"Authorization": signed})
    assert connection.getresponse().status == 200
    connection.close()
    yield port
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server of our own."""
    programs = postgres.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian's package postgresql)")
    with postgres.running(programs) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres_server: postgres.Server) -> str:
    """The name of a database with all tables."""
    from zoo.registry import Registry

    Registry.open(postgres_server.database("migrated")).close()
    return "migrated"


@pytest.fixture
def database(postgres_server: postgres.Server, migrated: str) -> str:
    """The URL of a database with all tables, and nothing in them."""
    postgres_server.empty(migrated, keep=("alembic_version", "term_version"))
    return postgres_server.url(migrated)


@pytest.fixture
def bucket_env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Credentials of our own, and nobody else's."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return monkeypatch


@pytest.fixture
def s3(s3_service: int, bucket_env: pytest.MonkeyPatch) -> str:
    """A location where nothing is yet."""
    bucket_env.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_service}")
    return f"s3://models/{uuid.uuid4().hex}/zoo"


@pytest.fixture
def front(s3_service: int, s3: str, bucket_env: pytest.MonkeyPatch) -> Iterator[Front]:
    front = Front(s3_service)
    bucket_env.setenv("AWS_ENDPOINT_URL", front.url)
    yield front
    front.stop()


@pytest.fixture(params=["folder", "memory", pytest.param("bucket", marks=pytest.mark.long)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty store; in a folder, that of the zoo which tests make in ``tmp_path``."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "zoo")
    if request.param == "memory":
        return MemoryPlace(monkeypatch)
    return BucketPlace(request.getfixturevalue("s3"))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay a distribution on the path as pip would: metadata, entry points, one module. It seems to
    have been there for long: what is new is read again by each command.
    """
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load.cache_clear()

    def add(
        project: str, group: str, point: str, code: str = HEAD, *, version: str = "1.0",
        requires: str = "",
    ) -> None:  # fmt: skip
        for older in tmp_path.glob(f"{project}-*"):
            shutil.rmtree(older)
        folder = tmp_path / f"{project}-{version}.dist-info"
        folder.mkdir()
        needed = f"Requires-Dist: {requires}\n" if requires else ""
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{needed}"
        )
        (folder / "entry_points.txt").write_text(f"[{group}]\n{point}\n")
        (tmp_path / f"{project}.py").write_text(code)
        long_ago = float(next(NUMBERS))
        os.utime(tmp_path, (long_ago, long_ago))

    yield add
    plugins.load.cache_clear()
    for module in tmp_path.glob("*.py"):
        sys.modules.pop(module.stem, None)
