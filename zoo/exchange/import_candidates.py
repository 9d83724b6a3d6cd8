"""What a file or a folder of weights can be read as, likeliest first. Nothing is kept here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.domain.card import is_made
from zoo.domain.file_names import fits_everywhere
from zoo.domain.import_options import ImportOptions
from zoo.domain.limits import CONFIG_BYTES
from zoo.domain.surgery import Surgery
from zoo.errors import InvalidOption, InvalidWeights, ZooError
from zoo.exchange.file_kind import check_kind
from zoo.exchange.file_record import file_record, written_beside
from zoo.exchange.file_sketch import nearest_architecture
from zoo.exchange.identifying import read_tensors
from zoo.exchange.infer_architecture import (
    DEFAULT,
    architecture_by_shapes,
    check_listed,
    fitting,
    stated_architecture,
    stated_elsewhere,
    with_backbone,
)
from zoo.exchange.layouts import CARD, CONFIG, INDEX, PublishedLayout, explains, parts, read_layouts
from zoo.exchange.metadata import metadata_of_args
from zoo.exchange.origin import FromPlan, Origin, origin_of
from zoo.exchange.run_names import SUFFIXES
from zoo.exchange.run_network import as_built, as_sized
from zoo.exchange.survey import resembling, survey
from zoo.lookup.identify import named
from zoo.lookup.match import FileTensor
from zoo.lookup.parent import LEAST
from zoo.store.header import is_safetensors
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.exchange.weights import ReadWeights

__all__ = [
    "MAIN",
    "PICKLE",
    "ImportCandidate",
    "built_as_here",
    "candidates_of_file",
    "candidates_of_folder",
    "weights_in",
]

MAIN = "model.safetensors"
PICKLE = "pytorch_model.bin"
KNOWN_HERE = ("image_size", "channels", "arguments")
"""What of a checkpoint's network its files need not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCandidate:
    """A file of weights as those of one network.

    Attributes:
        path: The file; of weights in several files, their index.
        origin: What is known of them.
        key: The key of a pickle that holds them.
        parts: The several files.
        files: What is kept beside them.
        read: What a pickle holds, where it was read to tell the network.
    """

    path: Path
    origin: Origin
    key: str | None = None
    parts: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    read: ReadWeights | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is of the architecture as it is, or as the user says."""
        return self.origin.layout is None and self.origin.built_with == Surgery()


def candidates_of_folder(
    workspace: Workspace, folder: Path, options: ImportOptions, from_plan: FromPlan | None = None
) -> list[ImportCandidate]:
    """What the files in ``folder`` say that it is.

    Raises:
        InvalidOption: No file in it says what network it is.
        InvalidWeights: It holds no weights.
        Unsupported: It is a network that no plugin here builds.
    """
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    layouts = read_layouts(folder, [folder.resolve().name], there)
    if not layouts:
        raise InvalidOption(_why_no_network(folder, there))
    origin = origin_of(workspace, "folder", options, from_plan)
    candidates = []
    for layout in layouts:
        path, *several = weights_in(folder, there, layout)
        others = {folder / name for name in there} - {*(several or [path])}
        kept = [*sorted(file for file in others if _belongs(file, layout)), *_files(options)]
        architecture = layout.network.architecture
        asked = {} if origin.from_plan.seen is not None else options  # no user has asked
        layout = _recorded(layout, several or [path], asked)
        mine = replace(origin, plugin=layout.plugin, layout=layout, architecture=architecture)
        candidates.append(
            ImportCandidate(path=path, origin=mine, parts=tuple(several), files=tuple(kept)),
        )
    return candidates


def _recorded(
    layout: PublishedLayout, weights: Sequence[Path], options: ImportOptions
) -> PublishedLayout:
    """With what the folder says of just these weights; the user's word for the parent counts."""
    if layout.whole is None or layout.record is None or not layout.record.is_of(weights):
        return layout
    whole = layout.record.stated_of(layout.whole, with_parent=not options.get("parent"))
    return replace(layout, whole=whole, recorded=True)


def candidates_of_file(
    workspace: Workspace,
    path: Path,
    options: ImportOptions,
    *,
    architecture: str | None,
    backbone: str | None,
    key: str | None,
    from_plan: FromPlan | None = None,
) -> list[ImportCandidate]:
    """What a file of weights, or the index of several, is: of the network that the user says, else
    that which it or what lies beside it says, else the one that its names and shapes fit. As its
    script says that it was built comes before the architecture as it is, and for images of another
    size comes after.

    Where files beside it describe that very network, they tell its preprocessing and class names,
    and how it differs from the published one: so it is read first.

    Raises:
        UnknownName: The plugin has no such architecture.
        InvalidOption: What the user says cannot be, or what network it is cannot be told.
        InvalidWeights: It is no file of weights, or unreadable.
        Unsupported: The index is malformed, or names files that are not there.
    """
    architecture, backbone = with_backbone(architecture, backbone)
    check_kind(path)  # what is cheap comes first: torch takes seconds to import
    origin = origin_of(workspace, "file", options, from_plan)
    several = _parts_of(path)
    by, read, first = "", None, (several or [path])[0]
    plugin = backbone or DEFAULT
    # Of a pickle that says with what its network was built; safetensors say nothing.
    if architecture is None or not (several or key or is_safetensors(path)):
        tensors, read = read_tensors(first, key)
    if architecture is None:
        network = _network_of(workspace, several or [path], (tensors, read), backbone, key)
        plugin, architecture, by = network
    known, tag = _tagged(plugin, architecture)
    check_listed(plugin, known)
    origin = replace(origin, plugin=plugin, architecture=known, tag=tag, architecture_by=by)
    if args := metadata_of_args(path, known):
        origin = replace(origin, metadata=(*origin.metadata, args))
    whole = ImportCandidate(
        path=path,
        origin=origin,
        key=key,
        parts=tuple(several),
        files=(*([path] if several else []), *_files(options)),
        read=None if several else read,
    )
    return _by_likelihood(whole, options, read.saved if read else {})


def _parts_of(path: Path) -> list[Path]:
    """The files that an index names; none if it is a file of weights."""
    if not path.name.endswith(INDEX):
        return []
    there = sorted(each.name for each in path.parent.iterdir())
    return [path.parent / name for name in parts(path, str(path.parent), there)]


def _by_likelihood(
    whole: ImportCandidate, options: ImportOptions, saved: Mapping[str, object]
) -> list[ImportCandidate]:
    """A file as what is beside it describes, as its script built it, as its architecture is, and
    for images of another size; ``saved`` is what it says of its script.
    """
    path, origin = whole.path, whole.origin
    if layout := _beside(path, origin):
        layout = _recorded(layout, whole.parts or [path], options)
        layout = layout if layout.recorded else replace(layout, record=None)
    described = [replace(whole, origin=replace(origin, layout=layout))] if layout else []
    known = origin.architecture
    surgeries = as_built(path, saved, origin.plugin, known), as_sized(path, saved, known)
    built, sized = (
        [replace(whole, origin=replace(origin, built_with=each))] if each else []
        for each in surgeries
    )
    return [*described, *built, whole, *sized]


def built_as_here(
    workspace: Workspace, candidates: Sequence[ImportCandidate]
) -> ImportCandidate | None:
    """A file as the network that the checkpoint here is which it resembles most: that knows the
    image size, the channels and the arguments which the file does not tell; None if there is none.
    """
    plain = next(each for each in candidates if each.is_plain)
    if plain.key or plain.parts:
        return None
    try:
        alike = resembling(workspace, survey(plain.path))
    except (ZooError, OSError):  # what is damaged here is for verify to tell
        return None
    if not alike or alike[0].match.share < LEAST:
        return None
    origin, backbone = plain.origin, alike[0].manifest.backbone
    if (backbone.plugin, backbone.architecture) != (origin.plugin, origin.architecture):
        return None
    options = {name: value for name, value in backbone.options.items() if name in KNOWN_HERE}
    by = f"{named(workspace, alike[0].digest)[0]}, which it resembles"
    built = replace(origin, built_with=Surgery.parse(options), architecture_by=by)
    return replace(plain, origin=built) if options else None


def _network_of(
    workspace: Workspace,
    sources: Sequence[Path],
    first: tuple[Mapping[str, FileTensor], ReadWeights | None],
    stated: str | None,
    key: str | None,
) -> tuple[str, str, str]:
    """The network of a file for which the user names none, with its plugin, and who says so: as in
    an import of a folder. ``first`` is what is in the first source; ``stated`` is the plugin that
    the user names.
    """
    backbone = stated or DEFAULT
    path, record = sources[0], written_beside(sources[0])
    tensors, read = dict(first[0]), first[1]
    inside = file_record(read.saved if read else {})
    name, source = stated_architecture(backbone, inside, record)
    if name:
        return backbone, name, source
    if stated is None and (elsewhere := stated_elsewhere(backbone, inside))[0]:
        return elsewhere
    layouts = _layouts(path, [])
    for layout in layouts:
        if layout.plugin == backbone and ":" not in layout.network.architecture:
            return backbone, layout.network.architecture, layout.file
    for each in sources[1:]:
        tensors |= read_tensors(each, key)[0]
    fits = fitting(backbone, {name: tensor.shape for name, tensor in tensors.items()})
    try:
        return backbone, *architecture_by_shapes(backbone, path, fits, inside, record)
    except InvalidOption:
        if layouts:
            raise InvalidOption(
                f"{layouts[0].file} beside it is of a network of {layouts[0].plugin}: import the "
                f"folder (zoo import {quote(str(path.parent))} --as NAME), or give --architecture"
            ) from None
        name, source = _resembled(workspace, path, backbone) if key is None else ("", "")
        if not name:
            name, source = nearest_architecture(workspace, backbone, fits, tensors)
        if not name:
            raise
        return backbone, name, source


def _resembled(workspace: Workspace, path: Path, plugin: str) -> tuple[str, str]:
    """The network of the checkpoint here that shares most tensors with a file, and who says so;
    empty if there is none.
    """
    alike = resembling(workspace, survey(path))
    if not alike or alike[0].match.share < LEAST:
        return "", ""
    best = alike[0].manifest.backbone
    if best.plugin != plugin:
        return "", ""
    return best.architecture, f"{named(workspace, alike[0].digest)[0]}, which it resembles"


def _why_no_network(folder: Path, there: Sequence[str]) -> str:
    weights = [name for name in there if name.lower().endswith(SUFFIXES)]
    below = any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
    if not weights and not below:
        return (
            f"{folder} has no {CONFIG} that says what network it is, and no weights: name the file "
            "that has them (zoo import FILE --as NAME)"
        )
    name = (weights or ["FILE"])[0]
    return (
        f"{folder} has no {CONFIG} that says what network it is. To import all weights in it, as "
        f"of a run: zoo import {quote(str(folder))} --recursive --as 'team/{{stem}}'; or one: "
        f"zoo import {quote(str(folder / name))} --as NAME"
    )


def _files(options: ImportOptions) -> list[Path]:
    return [Path(file) for file in options.get("files", ())]


def _tagged(plugin: str, name: str) -> tuple[str, str | None]:
    """The architecture and the pretrained tag that a user names: ``resnet50.a1_in1k``."""
    architecture, dot, tag = name.partition(".")
    listed = plugins.architectures(plugin) if dot and ":" not in name else ()
    return (architecture, tag) if architecture in listed and name not in listed else (name, None)


def _beside(path: Path, origin: Origin) -> PublishedLayout | None:
    """What files beside ``path`` say of the network that ``origin`` names."""
    network = (origin.plugin, origin.architecture)
    layouts = _layouts(path, [origin.architecture])
    fits = (each for each in layouts if (each.plugin, each.network.architecture) == network)
    return next(fits, None)


def _layouts(path: Path, names: Sequence[str]) -> list[PublishedLayout]:
    """What files beside ``path`` describe; they may lie there by chance."""
    try:
        return read_layouts(path.parent, names, ())
    except ZooError:
        return []


def _belongs(file: Path, layout: PublishedLayout) -> bool:
    """Whether a file beside the weights is kept with them."""
    if layout.whole:
        hidden = file.name.startswith(".") or not fits_everywhere(file.name)
        return not hidden and file.name != CONFIG and not _is_made(file)  # export writes them anew
    return explains(file.name, file.stat().st_size) or file.name.endswith(INDEX)


def _is_made(file: Path) -> bool:
    return file.name == CARD and file.stat().st_size <= CONFIG_BYTES and is_made(file.read_bytes())


def weights_in(folder: Path, there: Sequence[str], layout: PublishedLayout) -> list[Path]:
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
