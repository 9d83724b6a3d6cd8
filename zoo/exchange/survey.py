"""Survey a file of weights: what it is, in words and digests, so that it can be closed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.hashes import sha256
from zoo.errors import InvalidWeights, ZooError
from zoo.exchange.identifying import read_tensors
from zoo.exchange.origin import stamp
from zoo.exchange.run_records import named_architecture
from zoo.lookup.identify import Candidate, candidates
from zoo.lookup.match import FileTensor
from zoo.store.files import LARGE, group_of
from zoo.store.regular import open_regular
from zoo.store.tensor_keys import object_key, sample_keys
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.exchange.weights import Read

__all__ = ["Surveyed", "resembling", "survey", "with_digests"]

RECORDS = ("args", "hyper_parameters", "hparams", "config", "cfg", "meta")
LIGHTNING = "pytorch-lightning_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What a file of weights is.

    Attributes:
        path: The file.
        size: Its bytes.
        sha256: Of all of it, in hex.
        unchanged: What tells that it is still the same (`zoo.exchange.origin.stamp`).
        script: Who wrote it: ``timm``, ``Lightning``, or empty.
        key: The key of it that holds the weights.
        architecture: The network that it names; empty if it names none.
        epoch: The epoch that it tells.
        step: The step that it tells.
        metrics: The metrics that it tells.
        best: Name of the file that it calls the best of its run.
        weights: Bytes of its tensors.
        large: Digests of its large tensors, with their bytes.
        keys: What `zoo.registry` finds those by that resemble it.
        problem: Why it cannot be read; empty if it can.
    """

    path: Path
    size: int = 0
    sha256: str = ""
    unchanged: tuple[int, ...] = ()
    script: str = ""
    key: str = ""
    architecture: str = ""
    epoch: int | None = None
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: str = ""
    weights: int = 0
    large: Mapping[Digest, int] = field(default_factory=dict)
    keys: frozenset[int] = frozenset()
    problem: str = ""


def survey(path: Path) -> Surveyed:
    """Read a file once: its hash, and the digests of its tensors. Nothing of it stays open."""
    try:
        with open_regular(path, path) as file:
            before, size = stamp(path), path.stat().st_size
            if not size:
                raise InvalidWeights(path, "the file is empty")
            digest = sha256(file)
        tensors, read = read_tensors(path)
    except (ZooError, OSError) as error:
        return Surveyed(path=path, problem=getattr(error, "reason", "") or str(error))
    digested = with_digests(tensors)
    large = {each.digest: len(each.data) for each in digested.values() if each.digest}
    found = Surveyed(
        path=path,
        size=size,
        sha256=digest,
        unchanged=before,
        weights=sum(len(each.data) for each in digested.values()),
        large=large,
        keys=frozenset(_keys(digested)),
    )
    return _told(found, read) if read else found


def resembling(workspace: Workspace, found: Surveyed) -> list[Candidate]:
    """The checkpoints here that share tensors with a file, the best first."""
    if not workspace.registry.holders_of(found.keys, 1):
        return []
    tensors, _ = read_tensors(found.path)
    return candidates(workspace, set(found.keys), with_digests(tensors))[0]


def with_digests(tensors: Mapping[str, FileTensor]) -> dict[str, FileTensor]:
    """The same, with the digests of those that are large enough to be objects of their own."""
    return {
        name: replace(each, digest=Digest("blake3", blake3(each.data).hexdigest()))
        if len(each.data) >= LARGE
        else each
        for name, each in tensors.items()
    }


def _keys(tensors: Mapping[str, FileTensor]) -> set[int]:
    """Those of the largest tensor of each unit, which are those that the registry has."""
    largest: dict[str, FileTensor] = {}
    for name, tensor in sorted(tensors.items()):
        unit, _ = group_of(name, len(tensor.shape))
        if unit not in largest or len(tensor.data) >= len(largest[unit].data):
            largest[unit] = tensor
    keys: set[int] = set()
    for tensor in largest.values():
        keys |= sample_keys(tensor.dtype, tensor.shape, tensor.data)
        if tensor.digest:
            keys.add(object_key(tensor.digest))
    return keys


def _told(found: Surveyed, read: Read) -> Surveyed:
    """With what a pickle tells beside its weights."""
    saved = read.saved
    records = [saved.get(key) for key in RECORDS]
    named = (named_architecture(record) for record in (saved, *records))
    meta = saved.get("meta")
    epoch = _whole(saved.get("epoch"))
    if epoch is None and isinstance(meta, Mapping):
        epoch = _whole(meta.get("epoch"))
    script = "Lightning" if LIGHTNING in saved else ""
    if not script and isinstance(saved.get("arch"), str) and "state_dict" in saved:
        script = "timm"
    metric, metrics = saved.get("metric"), {}
    if script == "timm" and isinstance(metric, float) and 0 <= metric <= 100:
        measured_by = getattr(saved.get("args"), "eval_metric", "top1")
        metrics = {"accuracy": metric / 100} if measured_by == "top1" else {}
    return replace(
        found,
        script=script,
        key=read.key,
        architecture=next((name for name in named if name), ""),
        epoch=epoch,
        step=_whole(saved.get("global_step")),
        metrics=metrics,
        best=_best(saved),
    )


def _best(saved: Mapping[str, Any]) -> str:
    """The file that Lightning's callback calls the best: of the path its last part alone."""
    callbacks = saved.get("callbacks")
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        path = state.get("best_model_path") if isinstance(state, Mapping) else None
        if isinstance(path, str) and path:
            return PurePath(path.replace("\\", "/")).name
    return ""


def _whole(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < 2**53 else None
