"""Import a folder: what ``zoo export`` wrote, or another library saved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, InvalidWeights, Unsupported, ZooError
from zoo.exchange.consent import named_by_user
from zoo.exchange.fitting import first_that_fits
from zoo.exchange.importing import MAIN, Imported, Origin, import_file, tagged
from zoo.exchange.layouts import CONFIG, Layout, explains, read_layouts
from zoo.exchange.parts import INDEX, parts
from zoo.workspace import Workspace

__all__ = ["import_folder", "import_weights"]

PICKLE = "pytorch_model.bin"


def import_folder(
    workspace: Workspace,
    folder: Path,
    ref: Reference,
    *,
    license: str | None = None,  # noqa: A002 - the field's word
    files: Sequence[Path] = (),
    progress: Progress = silent,
) -> Imported:
    """Store the weights in ``folder`` as a checkpoint named ``ref``; its files say what network.

    Of what ``zoo export`` wrote, network, head, preprocessing, class names and all other files
    come back. Of other folders, those files that explain the weights are kept.

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

    def keep(layout: Layout) -> Digest:
        path, *several = _weights(folder, there, layout)
        skipped = several or [path]
        beside = [
            folder / name
            for name in there
            if folder / name not in skipped and _belongs(folder / name, layout)
        ]
        return import_file(
            workspace,
            path,
            ref,
            _origin(layout, license),
            parts=several,
            files=[*beside, *files],
            progress=progress,
        )

    return _imported(workspace, ref, first_that_fits(layouts, keep))


def import_weights(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    *,
    architecture: str,
    backbone: str = "timm",
    license: str | None = None,  # noqa: A002 - the field's word
    files: Sequence[Path] = (),
    progress: Progress = silent,
) -> Imported:
    """Store a file of weights, or the index of several, as a checkpoint named ``ref``.

    ``architecture`` may have a pretrained tag; one that is an import path is trusted from then on.
    Where files beside it describe that very network, they tell its preprocessing and class names,
    and how it differs from the published one.

    Raises:
        InvalidWeights, InvalidOption, UnknownName, Conflict: As `import_file`.
        Unsupported: The index is malformed, or names files that are not there.
    """
    known, tag = tagged(backbone, architecture)
    origin = Origin(
        plugin=backbone,
        architecture=known,
        tag=tag,
        license=license,
        provenance={"source": "file"},
    )
    several: list[Path] = []
    if path.name.endswith(INDEX) and path.is_file():
        there = sorted(each.name for each in path.parent.iterdir())
        several = [path.parent / name for name in parts(path, str(path.parent), there)]
        files = [path, *files]

    def keep(layout: Layout | None) -> Digest:
        told = replace(origin, layout=layout)
        return import_file(
            workspace, path, ref, told, parts=several, files=files, progress=progress
        )

    with named_by_user(workspace.trust, architecture):
        digest = None
        if layout := _beside(path, origin):
            with suppress(InvalidWeights, Unsupported):
                digest = keep(layout)
        digest = digest or keep(None)
    return _imported(workspace, ref, digest)


def _imported(workspace: Workspace, ref: Reference, digest: Digest) -> Imported:
    from zoo.backbones.mapped import nan_tensors

    nan = nan_tensors(workspace.store, digest)
    return Imported(ref=ref, manifest=digest, nan_tensors=tuple(nan))


def _beside(path: Path, origin: Origin) -> Layout | None:
    """What files beside ``path`` say of the network that ``origin`` names."""
    try:
        layouts = read_layouts(path.parent, [origin.architecture], ())
    except ZooError:
        return None
    wanted = (origin.plugin, origin.architecture)
    fits = (each for each in layouts if (each.plugin, each.network.architecture) == wanted)
    return next(fits, None)


def _origin(layout: Layout, license_: str | None) -> Origin:
    return Origin(
        plugin=layout.plugin,
        architecture=layout.network.architecture,
        license=license_,
        provenance={"source": "folder"},
        layout=layout,
    )


def _belongs(file: Path, layout: Layout) -> bool:
    """Whether a file beside the weights is kept with them."""
    if layout.whole:
        hidden = file.name.startswith(".") or not fits_everywhere(file.name)
        return file.name != CONFIG and not hidden  # export writes it anew
    return explains(file.name, file.stat().st_size) or file.name.endswith(INDEX)


def _weights(folder: Path, there: Sequence[str], layout: Layout) -> list[Path]:
    """The file of weights; or the index of several, and these in order."""
    if layout.weights:
        return [folder / layout.weights[0]]
    if MAIN in there:
        return [folder / MAIN]
    if MAIN + INDEX in there:
        index = folder / (MAIN + INDEX)
        return [index, *(folder / name for name in parts(index, str(folder), there))]
    found = [folder / name for name in there if name.endswith(".safetensors")]
    if len(found) == 1:
        return found
    if PICKLE in there:
        return [folder / PICKLE]
    raise InvalidWeights(folder, f"holds no {MAIN}, no one other .safetensors, no {PICKLE}")
