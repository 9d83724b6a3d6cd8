"""Import a weights file as a checkpoint. Torch is imported only where the network must be built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from zoo import plugins
from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.hashes import sha256
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import InvalidOption, InvalidWeights
from zoo.exchange.commit import New, new_checkpoint
from zoo.exchange.origin import Origin
from zoo.exchange.outlined import outlined
from zoo.store.files import add_file, add_weights
from zoo.store.header import is_safetensors
from zoo.workspace import Check, Workspace

__all__ = ["MAIN", "Imported", "Origin", "import_file", "tagged"]

MAIN = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Imported(Result):
    """A checkpoint that was imported: its name, its identity, and its tensors that hold NaN."""

    ref: Reference
    manifest: Digest
    nan_tensors: tuple[str, ...]


def tagged(plugin: str, name: str) -> tuple[str, str | None]:
    """The architecture and the pretrained tag that a user names: ``resnet50.a1_in1k``."""
    architecture, dot, tag = name.partition(".")
    listed = plugins.architectures(plugin) if dot and ":" not in name else ()
    return (architecture, tag) if architecture in listed and name not in listed else (name, None)


@contextmanager
def _nothing_kept() -> Iterator[None]:
    try:
        yield
    except InvalidWeights as error:
        error.hint = "nothing was imported"
        raise


@_nothing_kept()
def import_file(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    origin: Origin,
    *,
    parts: Sequence[Path] = (),
    files: Sequence[Path] = (),
    why: str = "import",
    check: Check | None = None,
    progress: Progress = silent,
) -> Digest:
    """Store a ``.safetensors`` or weights-only ``.pth`` file as a checkpoint named ``ref``.

    A safetensors file is kept byte for byte; a pickle, or an image encoder that comes with a text
    encoder, is rewritten as safetensors under the network's own names. It must fit the architecture
    exactly. Where the weights are in several files, ``parts`` are these, and ``path`` tells what
    they are called. Other ``files`` (a model card, a license text) are kept byte for byte beside
    them, under their last names. ``check`` is that of `new_checkpoint`.

    Raises:
        InvalidWeights: The file is unreadable, unsafe, or of another network; nothing is kept.
        InvalidOption: One of ``files`` is none, or two have one name; nothing is kept.
        UnknownName: The architecture is unknown.
        Conflict: Somebody else moved the ref meanwhile.
    """
    with new_checkpoint(workspace, ref, why, check=check) as new:
        return new.commit(_stored(new, path, origin, parts, files, progress))


def _stored(
    new: New,
    path: Path,
    origin: Origin,
    parts: Sequence[Path],
    files: Sequence[Path],
    progress: Progress,
) -> Manifest:
    """The checkpoint's manifest, when all of it is in the store."""
    store = new.workspace.store
    sources, names = tuple(parts) or (path,), [source.name for source in parts] or [MAIN]
    _check_files(files, [source.name for source in parts])
    manifest, network = outlined(sources, origin), None
    if manifest is None:
        from zoo.exchange.built import built

        network = built(sources, origin, path)
        manifest = network.manifest(origin)
    if network and not _keeps_bytes(sources, origin):
        sources, names = (new.scratch / MAIN,), [MAIN]
        network.save(sources[0])
    weights = tuple(
        add_weights(store, source, name=name, progress=progress)
        for source, name in zip(sources, names, strict=True)
    )
    if sources == (path,):
        stated = weights[0].sha256.hex
    else:
        with path.open("rb") as file:
            stated = sha256(file)
    return replace(
        manifest,
        weights=weights,
        provenance={**origin.provenance, "file": path.name, "sha256": stated},
        files=tuple(add_file(store, file, name=file.name) for file in files),
    )


def _keeps_bytes(sources: Sequence[Path], origin: Origin) -> bool:
    tower = origin.layout is not None and origin.layout.tower
    return not tower and all(map(is_safetensors, sources))


def _check_files(files: Sequence[Path], taken: Sequence[str]) -> None:
    names = {MAIN, *taken}
    for file in files:
        if not file.is_file():
            raise InvalidOption(f"{file}: {'is a folder' if file.is_dir() else 'no such file'}")
        if not fits_everywhere(file.name):
            raise InvalidOption(f"{file!s:.200}: no name that every system can keep a file under")
        if file.name in names:
            raise InvalidOption(f"{file}: there is a '{file.name}' already")
        names.add(file.name)
