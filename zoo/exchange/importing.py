"""Import weights as a checkpoint: a file, or a folder that zoo or another library wrote.

Torch is imported only where the network must be built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack

from zoo import plugins
from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.history import RefEntry
from zoo.domain.import_options import ImportOptions
from zoo.domain.manifest import Backbone, Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import (
    InvalidOption,
    InvalidWeights,
    MissingPackage,
    UnknownName,
    Unsupported,
    ZooError,
)
from zoo.exchange.commit import New, new_checkpoint
from zoo.exchange.consent import named_by_user
from zoo.exchange.import_report import NONE_FOUND, ImportReport
from zoo.exchange.infer_metadata import infer_metadata
from zoo.exchange.layouts import CONFIG, INDEX, Layout, explains, parts, read_layouts
from zoo.exchange.metadata import metadata_of_args, metadata_of_checkpoint
from zoo.exchange.not_finite import warn_of_not_finite
from zoo.exchange.origin import Beside, Origin, outlined
from zoo.exchange.resolve_metadata import resolve_metadata
from zoo.exchange.stated import derived, descending, origin_of
from zoo.lookup.parent import relatives
from zoo.store.files import add_file, add_weights
from zoo.store.header import is_safetensors
from zoo.workspace import Check, Workspace

__all__ = [
    "MAIN",
    "Imported",
    "Origin",
    "first_that_fits",
    "import_file",
    "import_folder",
    "import_weights",
    "weights_in",
]

T = TypeVar("T")

MAIN = "model.safetensors"
PICKLE = "pytorch_model.bin"
UNFIT = (InvalidWeights, MissingPackage, UnknownName, Unsupported)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Imported(Result):
    """A checkpoint that was imported.

    Attributes:
        ref: Its name.
        manifest: Its identity.
        moved_from: What the name pointed at before, if that was another checkpoint.
        nan_tensors: Its tensors with NaN or infinite values.
        taken: What of the file it is.
    """

    ref: Reference
    manifest: Digest
    moved_from: Digest | None = None
    nan_tensors: tuple[str, ...]
    taken: ImportReport


def import_folder(
    workspace: Workspace,
    folder: Path,
    ref: Reference,
    *,
    progress: Progress = silent,
    beside: Beside | None = None,
    **stated: Unpack[ImportOptions],
) -> Imported:
    """Store the weights in ``folder`` as a checkpoint named ``ref``; its files say what network.

    Of what ``zoo export`` wrote all comes back; of other folders, what explains the weights.

    Raises:
        InvalidOption: No file in it says what network it is.
        InvalidWeights: It holds no weights, or they are of another network; nothing is kept.
        Unsupported: It is a network that no plugin here builds.
    """
    workspace.names.check_free(ref)  # before anything is read
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    layouts = read_layouts(folder, [folder.resolve().name], there)
    if not layouts:
        raise InvalidOption(
            f"{folder} has no {CONFIG} that says what network it is: name the file in it, and what "
            "it is (zoo import FILE --architecture NAME --as NAME)"
        )

    def keep(layout: Layout) -> Imported:
        path, *several = weights_in(folder, there, layout)
        others = {folder / name for name in there} - {*(several or [path])}
        kept = [*sorted(file for file in others if _belongs(file, layout)), *_files(stated)]
        origin = replace(
            origin_of(workspace, "folder", stated, beside), plugin=layout.plugin, layout=layout
        )
        origin = replace(origin, architecture=layout.network.architecture)
        check = _check(workspace, ref, origin, stated)
        return import_file(
            workspace, path, ref, origin, parts=several, files=kept, check=check, progress=progress
        )

    return first_that_fits(layouts, keep)


def import_weights(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    *,
    architecture: str,
    backbone: str = "timm",
    key: str | None = None,
    progress: Progress = silent,
    beside: Beside | None = None,
    **stated: Unpack[ImportOptions],
) -> Imported:
    """Store a file of weights, or the index of several, as a checkpoint named ``ref``.

    Where files beside it describe that very network, they tell its preprocessing and class names,
    and how it differs from the published one.

    Raises:
        Unsupported: The index is malformed, or names files that are not there. Else as
            `import_file`.
    """
    known, tag = _tagged(backbone, architecture)
    origin = replace(
        origin_of(workspace, "file", stated, beside), plugin=backbone, architecture=known, tag=tag
    )
    if args := metadata_of_args(path, known):
        origin = replace(origin, told=(*origin.told, args))
    several, files = list[Path](), _files(stated)
    if path.name.endswith(INDEX) and path.is_file():
        there = sorted(each.name for each in path.parent.iterdir())
        several = [path.parent / name for name in parts(path, str(path.parent), there)]
        files = [path, *files]

    check = _check(workspace, ref, origin, stated)

    def keep(layout: Layout | None) -> Imported:
        return import_file(
            workspace, path, ref, replace(origin, layout=layout),
            key=key, parts=several, files=files, check=check, progress=progress,
        )  # fmt: skip

    with named_by_user(workspace.trust, architecture):
        # A config.json that lies there by chance, of other weights, is no reason to refuse.
        if layout := _beside(path, origin):
            with suppress(InvalidWeights, Unsupported):
                return keep(layout)
        return keep(None)


def _check(workspace: Workspace, ref: Reference, origin: Origin, stated: ImportOptions) -> Check:
    """What raises where the name must not move to the weights of ``origin``."""
    backbone = Backbone(plugin=origin.plugin, architecture=origin.architecture)

    def check(_: RefEntry | None) -> None:
        workspace.names.check_free(ref)
        if not stated.get("force"):
            workspace.names.check_network(ref, backbone)

    return check


def _files(stated: ImportOptions) -> list[Path]:
    return [Path(file) for file in stated.get("files", ())]


def _tagged(plugin: str, name: str) -> tuple[str, str | None]:
    """The architecture and the pretrained tag that a user names: ``resnet50.a1_in1k``."""
    architecture, dot, tag = name.partition(".")
    listed = plugins.architectures(plugin) if dot and ":" not in name else ()
    return (architecture, tag) if architecture in listed and name not in listed else (name, None)


def _beside(path: Path, origin: Origin) -> Layout | None:
    """What files beside ``path`` say of the network that ``origin`` names."""
    try:
        layouts = read_layouts(path.parent, [origin.architecture], ())
    except ZooError:
        return None
    network = (origin.plugin, origin.architecture)
    fits = (each for each in layouts if (each.plugin, each.network.architecture) == network)
    return next(fits, None)


def _belongs(file: Path, layout: Layout) -> bool:
    """Whether a file beside the weights is kept with them."""
    if layout.whole:
        hidden = file.name.startswith(".") or not fits_everywhere(file.name)
        return file.name != CONFIG and not hidden  # export writes it anew
    return explains(file.name, file.stat().st_size) or file.name.endswith(INDEX)


def weights_in(folder: Path, there: Sequence[str], layout: Layout) -> list[Path]:
    """The file of weights; or the index of several, and these in order."""
    if layout.weights:
        return [folder / layout.weights[0]]
    if MAIN in there:
        return [folder / MAIN]
    if MAIN + INDEX in there:
        index = folder / (MAIN + INDEX)
        return [index, *(folder / name for name in parts(index, str(folder), there))]
    safetensors = [folder / name for name in there if name.endswith(".safetensors")]
    if len(safetensors) == 1:
        return safetensors
    if PICKLE in there:
        return [folder / PICKLE]
    raise InvalidWeights(folder, f"holds no {MAIN}, no one other .safetensors, no {PICKLE}")


def import_file(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    origin: Origin,
    *,
    key: str | None = None,
    parts: Sequence[Path] = (),
    files: Sequence[Path] = (),
    why: str = "import",
    check: Check | None = None,
    progress: Progress = silent,
) -> Imported:
    """Store a ``.safetensors`` or weights-only ``.pth`` file as a checkpoint named ``ref``.

    A safetensors file is kept byte for byte; a pickle, or an image encoder that comes with a text
    encoder, is rewritten as safetensors under the network's own names. It must fit the architecture
    exactly, but for a prefix of all names, and for a head that it may lack. ``key`` is the one of
    a pickle's that holds the weights. Where these are in several files, ``parts`` are these files,
    and ``path`` tells what they are called. Other ``files`` (a model card, a license text) are kept
    byte for byte beside them, under their last names. ``check`` is that of `new_checkpoint`.

    Raises:
        InvalidWeights: The file is unreadable, unsafe, or of another network; nothing is kept.
        InvalidOption: One of ``files`` is none, or two have one name; nothing is kept.
        UnknownName: The architecture is unknown.
        Conflict: Somebody else moved the ref meanwhile.
    """
    before = workspace.store.read_ref(ref)
    with new_checkpoint(workspace, ref, why, check=check) as new:
        try:
            manifest, taken = _stored(new, path, origin, key, parts, files, progress)
        except InvalidWeights as error:
            error.hint = "nothing was imported"
            raise
        digest = new.commit(manifest)
    unusable = warn_of_not_finite(workspace.store, manifest)
    moved = before is not None and not before.deleted and before.manifest != digest
    return Imported(
        ref=ref,
        manifest=digest,
        moved_from=before.manifest if before and moved else None,
        nan_tensors=tuple(unusable),
        taken=taken,
    )


def _stored(
    new: New,
    path: Path,
    origin: Origin,
    key: str | None,
    parts: Sequence[Path],
    files: Sequence[Path],
    progress: Progress,
) -> tuple[Manifest, ImportReport]:
    """The checkpoint's manifest, when all of it is in the store; and what of the file it is."""
    store = new.workspace.store
    sources, names = tuple(parts) or (path,), [source.name for source in parts] or [MAIN]
    _check_files(files, [source.name for source in parts])  # before anything large is stored
    # The header of a file tells what building tells, of most: torch takes seconds to import.
    manifest, network, taken = outlined(sources, origin), None, ImportReport()
    if manifest is None or key is not None:
        from zoo.exchange.built import built

        network = built(sources, origin, path, key)
        manifest, taken = network.manifest(origin), network.taken
    tower = origin.layout is not None and origin.layout.tower
    changed = tower or taken.stripped or taken.tensors_left_out
    if network and (changed or not all(map(is_safetensors, sources))):
        sources, names = (new.scratch / MAIN,), [MAIN]
        network.save(sources[0])
    weights = tuple(
        add_weights(store, source, name=name, progress=progress)
        for source, name in zip(sources, names, strict=True)
    )
    # The digest that the publisher states is of the file as it came, not of what it became here.
    whole = sources == (path,)
    stated = weights[0].sha256.hex if whole else origin.beside.hash_of(path)
    manifest = replace(
        manifest,
        weights=weights,
        provenance={
            **manifest.provenance,
            **origin.provenance,
            "file": path.name,
            "sha256": stated,
        },
        files=tuple(add_file(store, file, name=file.name) for file in files),
        metrics=origin.metrics or manifest.metrics,
    )
    if origin.parent:
        manifest = descending(manifest, *origin.parent)
    if not origin.told:  # a pull: its publisher says it all
        return manifest, taken
    saved = network.saved if network else {}
    return _completed(new.workspace, manifest, origin, saved, taken)


def _completed(
    workspace: Workspace,
    manifest: Manifest,
    origin: Origin,
    saved: Mapping[str, Any],
    taken: ImportReport,
) -> tuple[Manifest, ImportReport]:
    """``manifest`` with what is told of it, and found; its tensors are stored."""
    told = (*origin.told, metadata_of_checkpoint(saved, origin.architecture))
    whole, report = resolve_metadata(manifest, origin, told, taken)
    if not (report.unknown or origin.find):
        return whole, report
    alike = relatives(workspace, manifest)
    if report.unknown and (more := infer_metadata(workspace, manifest, alike)):
        whole, report = resolve_metadata(manifest, origin, (*told, *more), taken)
    if origin.find is None:
        return whole, report
    found = origin.find(manifest, alike)
    whole = derived(whole, found) if found else whole
    return whole, replace(report, parent=f"{found.ref}, {found}" if found else NONE_FOUND)


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


def first_that_fits(described: Sequence[T], keep: Callable[[T], Imported]) -> Imported:
    """What ``keep`` makes of the first description whose weights are those of its network.

    Raises:
        InvalidWeights, MissingPackage, UnknownName, Unsupported: None is; why the first is not.
    """
    refusals = []
    for each in described:
        try:
            return keep(each)
        except UNFIT as error:
            refusals.append(error)
    raise refusals[0]
