"""The network that weights are of, built to see whether they fit. It imports torch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from zoo import plugins
from zoo.backbones.load import build, check_fit, converted_state
from zoo.backbones.save import save_state
from zoo.backbones.surgery import backbone_of, configured
from zoo.backbones.untrained import on_meta
from zoo.contracts import Backbone
from zoo.domain.hierarchy import under
from zoo.domain.manifest import Manifest
from zoo.domain.surgery import BuildOptions
from zoo.errors import InvalidWeights
from zoo.exchange.fits_elsewhere import fits_elsewhere
from zoo.exchange.import_report import ImportReport
from zoo.exchange.infer_architecture import which_fits
from zoo.exchange.origin import Origin
from zoo.exchange.weights import ReadWeights, read_state
from zoo.exchange.wrappers import ambiguity, best_prefix, wrapped_in
from zoo.lookup.match import prefix_of

__all__ = ["BuiltNetwork", "built"]

HEADLESS = (
    ". It has no head, and this network cannot be built without one: of timm's networks most can "
    "(--backbone timm), and one that you register if its factory takes num_classes=0"
)
ANOTHER_SIZE = (
    ". If it was built for images of another size, say which: --image-size 64, or 64x48 (height "
    "and width)"
)
TRUNK, VISION = "visual.trunk.", "visual."
UNBATCHED = ("cls_token", "pos_embed")
OWN_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv1\.", "patch_embed.proj."),
        (r"^class_embedding$", "cls_token"),
        (r"^positional_embedding$", "pos_embed"),
        (r"^ln_pre\.", "norm_pre."),
        (r"^ln_post\.", "norm."),
        (r"^transformer\.resblocks\.", "blocks."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    )
)
"""How open_clip calls what timm's vision transformers have."""


@dataclass(frozen=True)
class BuiltNetwork:
    """A network on the meta device, who builds it, and weights that fit it.

    Attributes:
        backbone: Who builds it.
        module: The network.
        state: The weights, as far as they are taken, without a prefix.
        taken: What was taken of the file.
        saved: What else is in the file.
    """

    backbone: Backbone
    module: nn.Module
    state: Mapping[str, torch.Tensor]
    taken: ImportReport
    saved: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write the weights as safetensors under the network's own names."""
        save_state(converted_state(self.backbone, self.module, self.state), path)

    def manifest(self, origin: Origin) -> Manifest:
        """What is known of it; without weights."""
        layout, backbone, module = origin.layout, self.backbone, self.module
        if layout and layout.whole:
            classes = layout.network.classes
            named = len(classes) == layout.whole.head.num_classes
            license_ = origin.license or layout.whole.license
            return replace(layout.whole, classes=classes if named else (), license=license_)
        classes = layout.network.classes if layout else ()
        if not classes and origin.are_published_classes:
            classes = backbone.classes(module)
        preprocessing = layout and layout.network.preprocessing
        return origin.manifest(
            _num_outputs(backbone, module), preprocessing or backbone.preprocessing(module), classes
        )


def built(
    sources: Sequence[Path],
    origin: Origin,
    path: Path,
    key: str | None = None,
    read: ReadWeights | None = None,
) -> BuiltNetwork:
    """The network of the weights in ``sources``, which fit it; ``path`` is what they are called,
    and ``read`` what is in them, if they were read already.

    A prefix of their names is stripped, and what does not begin with it left out. Weights without
    a head are of a network without outputs, if it can be built so.

    Raises:
        InvalidWeights: They are unreadable, unsafe, or of another network.
        UnknownName: The architecture is unknown.
    """
    read = read or _read(sources, key)
    state = read.tensors
    if origin.layout and origin.layout.tower:
        state = _vision_tower(state)
    backbone = _backbone(origin)
    module = native = _module(backbone, origin)
    prefix, *others = _prefixed(backbone, module, state, path)
    state = {name: state[name] for name in state if not name.startswith(tuple(others))}
    left = [name for name in state if not name.startswith(prefix)]
    state = {name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}
    if not (origin.layout and origin.layout.whole):
        module, more = _with_outputs(backbone, origin, module, state)
        left += [prefix + name for name in more]
        state = {name: tensor for name, tensor in state.items() if name not in more}
    try:
        check_fit(module, converted_state(backbone, module, state), str(path))
    except InvalidWeights as error:
        reason = f"as {origin.architecture}, it {error.reason}"
        lacks_head = _lacks_head(backbone, module, converted_state(backbone, module, state))
        shapes = {name: tuple(tensor.shape) for name, tensor in read.tensors.items()}
        network = (origin.plugin, origin.architecture)
        advice = HEADLESS if lacks_head else which_fits(*network, shapes)
        advice = advice or fits_elsewhere(*network, shapes) or _of_another_size(module, state)
        raise InvalidWeights(path, reason + advice) from None
    taken = ImportReport(
        key=read.key,
        other_keys=(*read.others, *(each.removesuffix(".") for each in others)),
        stripped=prefix,
        left_out=read.left_out,
        tensors_left_out=tuple(left),
        headless=module is not native and not _num_outputs(backbone, module),
    )
    return BuiltNetwork(backbone, module, state, taken, read.saved)


def _read(sources: Sequence[Path], key: str | None) -> ReadWeights:
    """All that is in several files together, or what is in one."""
    first, *others = (read_state(source, key) for source in sources)
    for source, read in zip(sources[1:], others, strict=True):
        if twice := sorted(set(read.tensors) & set(first.tensors)):
            raise InvalidWeights(source, f"has '{twice[0]}', which another part has, too")
        first.tensors.update(read.tensors)
    return first


def _backbone(origin: Origin) -> Backbone:
    if origin.layout and origin.layout.whole:
        return backbone_of(origin.layout.whole)
    return configured(plugins.backbone(origin.plugin), origin.surgery)


def _module(backbone: Backbone, origin: Origin) -> nn.Module:
    """The network on the meta device, as far as it is known before its weights are."""
    if origin.layout and origin.layout.whole:
        with on_meta():
            return build(backbone, origin.layout.whole)
    with on_meta():
        return _built(backbone, origin, origin.surgery.to_build(origin.tag))


def _prefixed(
    backbone: Backbone, module: nn.Module, state: Mapping[str, torch.Tensor], path: Path
) -> list[str]:
    """What is before the network's names in ``state``; nothing if they are its own as they are, or
    if that is no help. Then what is before them where the same network is in it once more.

    Raises:
        InvalidWeights: The network is in it several times, and which one is meant is a guess.
    """
    head = backbone.head_modules(module)
    own = module.state_dict()
    body = {name: own[name].shape for name in own if not under(name, head)}
    several = _prefixes(body, state)
    if len(several) > 1:
        if (best := best_prefix(several)) is None:
            raise InvalidWeights(path, ambiguity(several))
        return [best, *(each for each in several if each != best)]
    likely = ("", *several, prefix_of(state, own), wrapped_in(state))
    for prefix in dict.fromkeys(likely):
        rest = {name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}
        if body.keys() <= converted_state(backbone, module, rest).keys():
            return [prefix]
    return [likely[-1]]


def _prefixes(body: Mapping[str, torch.Size], state: Mapping[str, torch.Tensor]) -> list[str]:
    """All that is before the names of a network in ``state``, where all of these are; if any has
    the shapes, too, only such.
    """
    if not body:
        return []
    longest = max(body, key=len)
    begins = [name.removesuffix(longest) for name in state if f".{name}".endswith(f".{longest}")]
    whole = [begin for begin in begins if all(begin + name in state for name in body)]
    same = [x for x in whole if all(state[x + n].shape == size for n, size in body.items())]
    return same or whole


def _with_outputs(
    backbone: Backbone, origin: Origin, module: nn.Module, state: Mapping[str, torch.Tensor]
) -> tuple[nn.Module, list[str]]:
    """``module`` with as many outputs as the weights have, and what is left out for that: heads
    that are no classifier.
    """
    stated = origin.surgery.to_build(origin.tag)
    converted = converted_state(backbone, module, state)
    # Built twice where a head was replaced: only the weights know how many classes it has.
    outputs, left = _outputs_in(backbone, module, converted), []
    if outputs is None and _lacks_head(backbone, module, converted):
        head = backbone.head_modules(module)
        outputs, left = 0, [name for name in state if under(name, head)]
    if outputs is None or outputs == _num_outputs(backbone, module):
        return module, left
    with on_meta(), warnings.catch_warnings():
        if not outputs:
            warnings.simplefilter("ignore")  # of a layer without outputs, which does not fit then
        return _built(backbone, origin, replace(stated, num_classes=outputs)), left


def _lacks_head(
    backbone: Backbone, module: nn.Module, converted: Mapping[str, torch.Tensor]
) -> bool:
    """Whether of the network's tensors those of its head, and no others, are missing."""
    own, head = module.state_dict(), backbone.head_modules(module)
    missing = {name for name in own if name not in converted}
    return bool(missing) and missing == {name for name in own if under(name, head)}


def _built(backbone: Backbone, origin: Origin, stated: BuildOptions) -> nn.Module:
    with plugins.blaming("zoo.backbones", origin.plugin):
        return backbone.build(origin.architecture, stated)


def _outputs_in(
    backbone: Backbone, module: nn.Module, state: dict[str, torch.Tensor]
) -> int | None:
    for path in backbone.head_modules(module):
        weight = state.get(f"{path}.weight")
        if weight is not None and weight.dim() in (2, 4):
            return int(weight.shape[0])
    return None


def _of_another_size(module: nn.Module, state: Mapping[str, torch.Tensor]) -> str:
    """What to add where nothing but embeddings of positions have another shape."""
    own = module.state_dict()
    other = [name for name in own if name in state and own[name].shape != state[name].shape]
    positions = all("pos" in name.rpartition(".")[2] for name in other)
    return ANOTHER_SIZE if other and positions and own.keys() == state.keys() else ""


def _num_outputs(backbone: Backbone, module: nn.Module) -> int:
    for path in backbone.head_modules(module):
        weight = getattr(module.get_submodule(path), "weight", None)
        if isinstance(weight, torch.Tensor):
            return int(weight.shape[0])
    return 0


def _vision_tower(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the image encoder under timm's names; the text encoder is left out.

    A trunk that is a network of timm is taken as it is. Of open_clip's own, the projection into the
    common space becomes the head.
    """
    prefix = wrapped_in(state)
    state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    trunk = {n.removeprefix(TRUNK): t for n, t in state.items() if n.startswith(TRUNK)}
    if trunk:
        return trunk
    tower: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith(VISION):
            continue
        if name == "visual.proj":
            tower["head.weight"] = tensor.t().contiguous()
            tower["head.bias"] = torch.zeros(tensor.shape[1], dtype=tensor.dtype)
            continue
        own = name.removeprefix(VISION)
        for pattern, replacement in OWN_NAMES:
            own = pattern.sub(replacement, own)
        # timm keeps these two with a dimension for the batch.
        tower[own] = tensor.reshape(1, -1, tensor.shape[-1]) if own in UNBATCHED else tensor
    return tower
