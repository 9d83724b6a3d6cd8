"""The network that is trained: the base's, with a new head, for other images or shallower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from zoo.backbones.load import build, load
from zoo.backbones.surgery import backbone_of
from zoo.backbones.taps import REFUSALS
from zoo.backbones.untrained import on_meta, untrained
from zoo.contracts import Backbone, Head
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import under
from zoo.domain.recipe import Recipe
from zoo.domain.surgery import Surgery
from zoo.errors import BrokenPlugin, InvalidOption, Unsupported
from zoo.store import Store

__all__ = [
    "DTYPES",
    "Network",
    "altered",
    "autocast",
    "fastest_convolutions",
    "give_head",
    "make_network",
    "multiplying",
    "usual_precision",
    "with_drops",
    "with_layer_scale",
]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LAYER_SCALE = ("init_values", "ls_init_value", "layer_scale_init_value")
"""Arguments of timm's for it: of transformers, of convolutional networks, and of those of both."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network with an untrained head."""

    model: nn.Module
    backbone: Backbone  # the plugin, with what surgery the network underwent
    planned: m.Manifest  # its manifest, so far
    heads: tuple[nn.Module, ...]  # what the head's plugin built: one, of a distilled pair two


def make_network(
    store: Store, digest: Digest, planned: m.Manifest, head: Head, seed: int
) -> Network:
    """The network of the checkpoint ``digest`` with a head for the classes of ``planned``.

    Built for images of another size, if those of ``planned`` are none that it takes as it is.

    Raises:
        InvalidOption: It cannot take images of that size.
    """
    known = store.manifest(digest)
    backbone, model = backbone_of(known), load(store, digest)
    torch.manual_seed(seed)  # here: what was drawn before must not decide the head's first weights
    heads = give_head(model, backbone, head, len(planned.classes))
    network = Network(model, backbone, planned, heads)
    refusal = _refusal(network)
    if refusal is None:
        return network
    _, height, width = planned.preprocessing.input_size
    try:
        resized = altered(network, head, seed, Surgery(image_size=(height, width)))
        refusal = _refusal(resized)
    except (Unsupported, *REFUSALS) as error:
        refusal = error
    if refusal is not None:
        raise InvalidOption(
            f"{planned.backbone.architecture} does not take images of {height} x {width} pixels: "
            f"{refusal}"
        ) from refusal
    return resized


@contextmanager
def autocast(model: nn.Module, precision: str) -> Iterator[None]:
    """The context in which ``model`` runs in ``precision``."""
    device = next(model.parameters()).device.type
    lower = torch.autocast(device, DTYPES[precision]) if precision in DTYPES else nullcontext()
    with multiplying(precision), lower:
        yield


@contextmanager
def multiplying(precision: str) -> Iterator[None]:
    """The context in which an NVIDIA GPU multiplies numbers of fp32 as ``precision`` says: matrices
    and convolutions alike in TF32 (10 bits of mantissa), or exactly. Left alone in bf16 and fp16.
    A backward pass is to be in one, too.

    torch's own default is exact for matrices, and TF32 for convolutions:
    https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices
    """
    if precision in DTYPES:
        yield
        return
    switch, (exact, fast), parts = _tf32()
    before = [getattr(part, switch) for part in parts]
    try:
        for part in parts:
            setattr(part, switch, fast if precision == "tf32" else exact)
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            setattr(part, switch, value)


def _tf32() -> tuple[str, tuple[object, object], tuple[object, object]]:
    """An attribute, its values for exact products and for those in TF32, and what has it."""
    cuda, cudnn = torch.backends.cuda.matmul, cast(Any, torch.backends.cudnn)
    if hasattr(cuda, "fp32_precision"):  # since torch 2.9, which refuses to mix in the older names
        return "fp32_precision", ("ieee", "tf32"), (cuda, cudnn.conv)
    return "allow_tf32", (False, True), (cuda, cudnn)


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """While it is open, an NVIDIA GPU tries its ways to convolve on each shape that is new, and
    takes the fastest one from then on: for training, where shapes stand still.
    """
    cudnn = cast(Any, torch.backends.cudnn)
    before, cudnn.benchmark = cudnn.benchmark, True
    try:
        yield
    finally:
        cudnn.benchmark = before


def usual_precision(device: torch.device) -> str:
    """What ``auto`` stands for: ``bf16`` on a GPU that has it, else ``fp32``."""
    has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has else "fp32"


def give_head(
    model: nn.Module, backbone: Backbone, head: Head, outputs: int
) -> tuple[nn.Module, ...]:
    """Put a new head in the place of the old one; what the head's plugin built for it."""
    built: list[nn.Module] = []

    def make(features: int) -> nn.Module:
        built.append(head.build(features, outputs))
        return built[-1]

    backbone.replace_head(model, outputs, make)
    return tuple(built)


def altered(
    network: Network, head: Head, seed: int, surgery: Surgery, scale: float | None = None
) -> Network:
    """The network after ``surgery``, with a new head; and with new tensors that are filled with
    ``scale``, if one is given.

    Raises:
        Unsupported: Its weights do not fit then.
    """
    before, planned = network.backbone, network.planned
    both = Surgery.parse(planned.backbone.options).then(surgery)
    planned = replace(planned, backbone=replace(planned.backbone, options=both.to_options()))
    backbone = backbone_of(planned)
    old = before.head_modules(network.model)
    state = {n: t for n, t in network.model.state_dict().items() if not under(n, old)}
    with untrained() if scale is None else nullcontext():
        model = build(backbone, planned)
    torch.manual_seed(seed)
    heads = give_head(model, backbone, head, len(planned.classes))
    with on_meta():
        empty = build(backbone, planned)
    # Not strict: the new head has no old weights.
    missing, unexpected = model.load_state_dict(backbone.fit_weights(empty, state), strict=False)
    given = backbone.head_modules(model)
    tensors = model.state_dict()
    missing = [
        name
        for name in missing
        if not under(name, given) and (scale is None or bool((tensors[name] != scale).any()))
    ]
    if missing or unexpected:
        name = planned.backbone.architecture
        lost = ", ".join(missing or unexpected)
        raise Unsupported(f"{name} cannot be built with these options: no weights for {lost}")
    return Network(model, backbone, planned, heads)


def with_layer_scale(network: Network, head: Head, recipe: Recipe) -> Network:
    """The network as it is built with factors on its residual branches that begin at the recipe's
    ``layer_scale``, if that has one.

    Raises:
        InvalidOption: It takes none, or has some.
    """
    scale, planned = recipe.layer_scale, network.planned
    if scale is None:
        return network
    known = dict(Surgery.parse(planned.backbone.options).arguments)
    before = set(network.model.state_dict())
    for argument in LAYER_SCALE:
        surgery = Surgery(arguments=tuple(sorted({**known, argument: scale}.items())))
        with suppress(BrokenPlugin, Unsupported, *REFUSALS):
            scaled = altered(network, head, recipe.seed, surgery, scale)
            if not before.issuperset(scaled.model.state_dict()):
                return scaled
    own = any("gamma" in name or "layer_scale" in name for name in before)
    lacks = "has layer scales of its own" if own else "takes no layer scale"
    raise InvalidOption(f"{planned.backbone.architecture} {lacks}")


def with_drops(network: Network, head: Head, recipe: Recipe) -> Network:
    """The network as it is built with the recipe's rates of dropping, if that has some: of whole
    residual branches, and before the head.

    Raises:
        InvalidOption: It takes none.
    """
    rates = {"drop_path_rate": recipe.drop_path, "drop_rate": recipe.drop}
    asked = {name: float(rate) for name, rate in rates.items() if rate is not None}
    if not asked:
        return network
    known = dict(Surgery.parse(network.planned.backbone.options).arguments)
    arguments = tuple(sorted({**known, **asked}.items()))
    name = network.planned.backbone.architecture
    try:
        dropping = altered(network, head, recipe.seed, Surgery(arguments=arguments))
    except (BrokenPlugin, Unsupported, *REFUSALS) as error:
        raise InvalidOption(
            f"{name} takes no {' and no '.join(map(_option_name, asked))}"
        ) from error
    lacks = [each for each, rate in asked.items() if rate and not _drops(dropping.model, each)]
    if lacks:
        raise InvalidOption(f"{name} takes no {' and no '.join(map(_option_name, lacks))}")
    return dropping


def _option_name(argument: str) -> str:
    return {"drop_path_rate": "drop path", "drop_rate": "dropout before its head"}[argument]


def _drops(model: nn.Module, argument: str) -> bool:
    """Whether something in a network drops, by an argument of timm's."""
    if argument == "drop_path_rate":
        return any(getattr(child, "drop_prob", 0.0) for child in model.modules())
    if getattr(model, "drop_rate", 0.0):
        return True
    return any(isinstance(child, nn.Dropout) and child.p for child in model.modules())


@torch.no_grad()
def _refusal(network: Network) -> Exception | None:
    """Networks with a fixed input size (many transformers) refuse others in words of their own."""
    try:
        logits = network.model.eval()(torch.zeros(1, *network.planned.preprocessing.input_size))
    except REFUSALS as error:
        return error
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        return Unsupported("it gives a map of outputs, not one for each class")
    return None
