"""Import a folder: what ``zoo export`` wrote, or another library saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, InvalidWeights
from zoo.exchange.importing import MAIN, Origin, import_file
from zoo.exchange.layouts import CONFIG, Layout, explains, read_layout
from zoo.exchange.parts import INDEX, parts
from zoo.workspace import Workspace

__all__ = ["import_folder"]

PICKLE = "pytorch_model.bin"


def import_folder(
    workspace: Workspace,
    folder: Path,
    ref: Reference,
    *,
    license: str | None = None,  # noqa: A002 - the field's word
    files: Sequence[Path] = (),
    progress: Progress = silent,
) -> Digest:
    """Store the weights in ``folder`` as a checkpoint named ``ref``; its files say what network.

    Of what ``zoo export`` wrote, network, head, preprocessing, class names and all other files
    come back. Of other folders, those files that explain the weights are kept.

    Raises:
        InvalidOption: No file in it says what network it is.
        InvalidWeights: It holds no weights, or they are of another network; nothing is kept.
        Unsupported: It is a network that no plugin here builds.
    """
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    layout = read_layout(folder, [folder.resolve().name])
    if layout is None:
        raise InvalidOption(
            f"{folder} has no {CONFIG} that says what network it is: name the file in it, and what "
            "it is (zoo import FILE --architecture NAME --as NAME)"
        )
    path, *several = _weights(folder, there)
    origin = Origin(
        plugin=layout.plugin,
        architecture=layout.architecture,
        license=license,
        provenance={"source": "folder"},
        layout=layout,
    )
    skipped = several or [path]
    beside = [
        folder / name
        for name in there
        if folder / name not in skipped and _belongs(folder / name, layout)
    ]
    return import_file(
        workspace, path, ref, origin, parts=several, files=[*beside, *files], progress=progress
    )


def _belongs(file: Path, layout: Layout) -> bool:
    """Whether a file beside the weights is kept with them."""
    if layout.whole:
        hidden = file.name.startswith(".") or not fits_everywhere(file.name)
        return file.name != CONFIG and not hidden  # export writes it anew
    return explains(file.name, file.stat().st_size) or file.name.endswith(INDEX)


def _weights(folder: Path, there: Sequence[str]) -> list[Path]:
    """The file of weights; or the index of several, and these in order."""
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
