"""Import a weights file as a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo import plugins
from zoo.backbones.load import build, check_fit, converted_state
from zoo.backbones.operated import backbone_of, configured
from zoo.backbones.save import save_state
from zoo.backbones.untrained import on_meta
from zoo.contracts import Backbone
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.hashes import sha256
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.surgery import Surgery
from zoo.errors import InvalidOption, InvalidWeights
from zoo.exchange.layouts import Layout
from zoo.exchange.towers import vision_tower
from zoo.exchange.weights import is_safetensors, read_state
from zoo.store.files import add_file, add_weights
from zoo.workspace import Check, Workspace

__all__ = ["MAIN", "Origin", "import_file", "tagged"]

MAIN = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of weights beside their bytes.

    Attributes:
        plugin: The backbone plugin.
        architecture: A name that it knows.
        tag: Pretrained tag, for the preprocessing and class names that belong to it.
        license: Licence id.
        provenance: Where they came from, as text.
        layout: How their publisher describes the network, where that is what counts.
        published: Whether they are the weights that the architecture was published with, so that
            their outputs are the classes of these.
    """

    plugin: str
    architecture: str
    tag: str | None = None
    license: str | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    layout: Layout | None = None
    published: bool = False

    @property
    def surgery(self) -> Surgery:
        """How the network differs from the architecture, as far as its publisher says."""
        return self.layout.network.surgery if self.layout else Surgery()


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
    they are called. Other ``files`` (a model card, a licence text) are kept byte for byte beside
    them, under their last names. ``check`` is that of `Workspace.move`.

    Raises:
        InvalidWeights: The file is unreadable, unsafe, or of another network; nothing is kept.
        InvalidOption: One of ``files`` is none, or two have one name; nothing is kept.
        UnknownName: The architecture is unknown.
        Conflict: Somebody else moved the ref meanwhile.
    """
    sources = tuple(parts) or (path,)
    _check_files(files, [source.name for source in parts])
    state = _read(sources)
    if origin.layout and origin.layout.tower:
        state = vision_tower(state)
    backbone, module = _network(origin, state, path)
    keeps = _keeps_bytes(sources, origin)
    with workspace.store.upload(), workspace.scratch() as scratch:
        names = [source.name for source in parts] or [MAIN]
        if not keeps:
            sources, names = (scratch / MAIN,), [MAIN]
            save_state(converted_state(backbone, module, state), sources[0])
        weights = tuple(
            add_weights(workspace.store, source, name=name, progress=progress)
            for source, name in zip(sources, names, strict=True)
        )
        if sources == (path,):
            stated = weights[0].sha256.hex
        else:
            with path.open("rb") as file:
                stated = sha256(file)
        provenance = {**origin.provenance, "file": path.name, "sha256": stated}
        manifest = replace(
            _manifest(backbone, module, origin, weights, provenance),
            files=tuple(add_file(workspace.store, file, name=file.name) for file in files),
        )
        return workspace.commit(manifest, ref, why, check=check)


def _keeps_bytes(sources: Sequence[Path], origin: Origin) -> bool:
    tower = origin.layout is not None and origin.layout.tower
    return not tower and all(map(is_safetensors, sources))


def _read(sources: Sequence[Path]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for source in sources:
        found = read_state(source)
        if twice := sorted(set(found) & set(state)):
            raise InvalidWeights(source, f"has '{twice[0]}', which another part has, too")
        state |= found
    return state


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


def _manifest(
    backbone: Backbone,
    module: nn.Module,
    origin: Origin,
    weights: tuple[m.WeightsFile, ...],
    provenance: dict[str, str],
) -> m.Manifest:
    layout = origin.layout
    if layout and layout.whole:
        classes = layout.network.classes
        named = len(classes) == layout.whole.head.num_classes
        return replace(
            layout.whole,
            weights=weights,
            classes=classes if named else (),
            license=origin.license or layout.whole.license,
            provenance=provenance,
        )
    outputs = _num_outputs(backbone, module)
    classes = _classes(backbone, module, origin)
    return m.Manifest(
        backbone=m.Backbone(
            plugin=origin.plugin,
            architecture=origin.architecture,
            options=replace(origin.surgery, num_classes=outputs).to_options(),
        ),
        head=m.Head(kind="native", num_classes=outputs),
        preprocessing=(layout and layout.network.preprocessing) or backbone.preprocessing(module),
        classes=classes if len(classes) == outputs else (),
        weights=weights,
        license=origin.license,
        provenance=provenance,
    )


def _classes(backbone: Backbone, module: nn.Module, origin: Origin) -> tuple[str, ...]:
    """Names of the outputs. As many outputs as ImageNet has are no reason to take its names."""
    network = origin.layout and origin.layout.network
    if network and network.classes:
        return network.classes
    told = origin.published or origin.tag or (network and network.published_classes)
    return backbone.classes(module) if told else ()


def _network(
    origin: Origin, state: dict[str, torch.Tensor], path: Path
) -> tuple[Backbone, nn.Module]:
    """The network on the meta device, which ``state`` fits, and who builds it."""
    if origin.layout and origin.layout.whole:
        backbone = backbone_of(origin.layout.whole)
        with on_meta():
            module = build(backbone, origin.layout.whole)
    else:
        backbone = configured(plugins.backbone(origin.plugin), origin.surgery)
        module = _with_outputs(backbone, origin, state)
    try:
        check_fit(module, converted_state(backbone, module, state), str(path))
    except InvalidWeights as error:
        raise InvalidWeights(path, f"as {origin.architecture}, it {error.reason}") from None
    return backbone, module


def _with_outputs(backbone: Backbone, origin: Origin, state: dict[str, torch.Tensor]) -> nn.Module:
    """The network on the meta device, with as many outputs as the weights have."""
    with torch.device("meta"):
        stated = origin.surgery.to_build()
        module = _built(backbone, origin, stated)
        converted = converted_state(backbone, module, state)
        outputs = _outputs_in(backbone, module, converted)
        if outputs is not None and outputs != _num_outputs(backbone, module):
            stated["num_classes"] = outputs
            module = _built(backbone, origin, stated)
    return module


def _built(backbone: Backbone, origin: Origin, stated: Mapping[str, Any]) -> nn.Module:
    with plugins.blaming("zoo.backbones", origin.plugin):
        return backbone.build(origin.architecture, tag=origin.tag, **stated)


def _outputs_in(
    backbone: Backbone, module: nn.Module, state: dict[str, torch.Tensor]
) -> int | None:
    for path in backbone.head_modules(module):
        weight = state.get(f"{path}.weight")
        if weight is not None and weight.dim() in (2, 4):
            return int(weight.shape[0])
    return None


def _num_outputs(backbone: Backbone, module: nn.Module) -> int:
    for path in backbone.head_modules(module):
        weight = getattr(module.get_submodule(path), "weight", None)
        if isinstance(weight, torch.Tensor):
            return int(weight.shape[0])
    return 0
