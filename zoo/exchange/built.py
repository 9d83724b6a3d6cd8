"""The network that weights are of, built to see whether they fit. It imports torch."""

from __future__ import annotations

import re
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
from zoo.domain.manifest import Manifest
from zoo.domain.surgery import BuildOptions
from zoo.errors import InvalidWeights
from zoo.exchange.origin import Origin
from zoo.exchange.weights import read_state

__all__ = ["Built", "built"]

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
class Built:
    """A network on the meta device, who builds it, and weights that fit it."""

    backbone: Backbone
    module: nn.Module
    state: Mapping[str, torch.Tensor]

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


def built(sources: Sequence[Path], origin: Origin, path: Path) -> Built:
    """The network of the weights in ``sources``, which fit it; ``path`` is what they are called.

    Raises:
        InvalidWeights: They are unreadable, unsafe, or of another network.
        UnknownName: The architecture is unknown.
    """
    state = _read(sources)
    if origin.layout and origin.layout.tower:
        state = _vision_tower(state)
    return Built(*_network(origin, state, path), state)


def _read(sources: Sequence[Path]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for source in sources:
        tensors = read_state(source)
        if twice := sorted(set(tensors) & set(state)):
            raise InvalidWeights(source, f"has '{twice[0]}', which another part has, too")
        state |= tensors
    return state


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
        stated = origin.surgery.to_build(origin.tag)
        module = _built(backbone, origin, stated)
        converted = converted_state(backbone, module, state)
        # Built twice where a head was replaced: only the weights know how many classes it has.
        outputs = _outputs_in(backbone, module, converted)
        if outputs is not None and outputs != _num_outputs(backbone, module):
            module = _built(backbone, origin, replace(stated, num_classes=outputs))
    return module


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
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
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
