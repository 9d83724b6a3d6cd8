"""Survey a file of weights: what it is, in words and digests, so that it can be closed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.hashes import sha256
from zoo.errors import ZooError
from zoo.exchange.file_record import FileRecord, file_record
from zoo.exchange.identifying import read_tensors
from zoo.exchange.origin import stamp
from zoo.lookup.identify import Candidate, candidates
from zoo.lookup.match import FileTensor
from zoo.store.files import LARGE, group_of
from zoo.store.not_finite import nan_tensors
from zoo.store.regular import open_regular
from zoo.store.tensor_keys import object_key, sample_keys
from zoo.workspace import Workspace

__all__ = ["Surveyed", "problem_of", "resembling", "survey", "with_digests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed(FileRecord):
    """What a file of weights is.

    Attributes:
        path: The file.
        size: Its bytes.
        sha256: Of all of it, in hex.
        unchanged: What tells that it is still the same (`zoo.exchange.origin.stamp`).
        key: The key of it that holds the weights.
        shapes: Of its tensors, by name.
        weights: Bytes of them.
        large: Digests of its large tensors, with their bytes.
        keys: What `zoo.registry` finds those by that resemble it.
        content: Tells its weights from others to the bit, whatever their names.
        nan_tensors: Its tensors with NaN or infinite values.
        problem: Why it cannot be read; empty if it can.
    """

    path: Path
    size: int = 0
    sha256: str = ""
    unchanged: tuple[int, ...] = ()
    key: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    weights: int = 0
    large: Mapping[Digest, int] = field(default_factory=dict)
    keys: frozenset[int] = frozenset()
    content: str = ""
    nan_tensors: tuple[str, ...] = ()
    problem: str = ""


def survey(path: Path) -> Surveyed:
    """Read a file once: its hash, and the digests of its tensors. Nothing of it stays open."""
    try:
        with open_regular(path, path) as file:
            before, digest = stamp(path), sha256(file)
        tensors, read = read_tensors(path)
    except (ZooError, OSError) as error:
        return Surveyed(path=path, problem=problem_of(error))
    digested = with_digests(tensors)
    large = {each.digest: len(each.data) for each in digested.values() if each.digest}
    return Surveyed(
        path=path,
        size=path.stat().st_size,
        sha256=digest,
        unchanged=before,
        shapes={name: tensor.shape for name, tensor in tensors.items()},
        weights=sum(len(each.data) for each in digested.values()),
        large=large,
        keys=frozenset(_keys(digested)),
        content=_content(digested.values()),
        nan_tensors=nan_tensors((name, each.dtype, each.data) for name, each in tensors.items()),
        key=read.key if read else "",
        **asdict(file_record(read.saved if read else {})),
    )


def problem_of(error: Exception) -> str:
    """What is wrong with a file, without its path: that is told beside it."""
    return getattr(error, "reason", "") or str(error)


def resembling(workspace: Workspace, surveyed: Surveyed) -> list[Candidate]:
    """The checkpoints here that share tensors with a file, the best first."""
    if not workspace.registry.holders_of(surveyed.keys, 1):
        return []
    tensors, _ = read_tensors(surveyed.path)
    return candidates(workspace, set(surveyed.keys), with_digests(tensors))[0]


def with_digests(tensors: Mapping[str, FileTensor]) -> dict[str, FileTensor]:
    """The same, with the digests of those that are large enough to be objects of their own."""
    return {
        name: replace(each, digest=Digest("blake3", blake3(each.data).hexdigest()))
        if len(each.data) >= LARGE
        else each
        for name, each in tensors.items()
    }


def _content(tensors: Iterable[FileTensor]) -> str:
    hashes = (one.digest.hex if one.digest else blake3(one.data).hexdigest() for one in tensors)
    return blake3("".join(sorted(hashes)).encode()).hexdigest()


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
