"""Load a stored checkpoint as a module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from zoo import plugins
from zoo.backbones.devices import pick_device
from zoo.backbones.lora import attach, merge, split
from zoo.backbones.mapped import Maps, mapped_state
from zoo.backbones.preprocess import Picture, Preprocess, inference_transform
from zoo.backbones.surgery import backbone_of
from zoo.backbones.untrained import on_meta, untrained
from zoo.contracts import Backbone
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy, under
from zoo.domain.manifest import Manifest
from zoo.domain.surgery import Surgery
from zoo.errors import InvalidWeights
from zoo.store import Store

__all__ = ["Card", "assign", "build", "check_fits", "hierarchy_of", "load", "load_many", "state_of"]


@dataclass(frozen=True, slots=True)
class Card:
    """What a loaded module carries as ``module.zoo``: the checkpoint's digest, all that is recorded
    of it, and what makes the network's input, a float32 tensor (C, H, W), of an image: a file, a
    PIL image of any mode, or a uint8 array.
    """

    digest: Digest
    manifest: Manifest
    preprocess: Callable[[Picture], torch.Tensor]

    def __repr__(self) -> str:
        return f"<Card of {self.digest.short}: {self.manifest!r}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order; empty where unknown."""
        return self.manifest.classes


def load(store: Store, digest: Digest, *, device: str = "cpu", merged: bool = True) -> nn.Module:
    """Build the network of a checkpoint with its weights, in eval mode.

    On the CPU its tensors are memory maps of the store, shared between processes until written.
    An adapter is ``merged`` into the weights that it corrects, which are in memory of their own
    then; or stays beside them, and is added each time that the network runs, to the same bits.

    Raises:
        MissingObject: The checkpoint is not, or not wholly, in the store.
        Corrupt: A part of it is damaged.
        InvalidWeights: The weights do not fit the network.
        InvalidOption: There is no such device here.
    """
    device = pick_device(device)
    manifest = store.manifest(digest)
    module = _network(manifest, mapped_state(store, manifest), str(digest))
    if merged:
        merge(module)
    return _with_card(module, digest, manifest).to(device)


def load_many(store: Store, digests: Iterable[Digest], *, device: str = "cpu") -> list[nn.Module]:
    """As `load`, of each; what several have in common is in memory once, and adapters stay beside
    the weights. So nothing of them asks for gradients, and what is written into a tensor of one
    shows in the others.
    """
    device, maps = pick_device(device), Maps()
    moved: dict[object, torch.Tensor] = {}

    def there(tensor: torch.Tensor) -> torch.Tensor:
        key = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        # Empty tensors have no place of their own.
        return moved.setdefault(key, tensor.to(device)) if tensor.numel() else tensor.to(device)

    modules = []
    for digest in digests:
        manifest = store.manifest(digest)
        module = _network(manifest, mapped_state(store, manifest, maps), str(digest))
        modules.append(_with_card(module, digest, manifest).requires_grad_(False))
    # Only now: an address is that of one tensor as long as all are alive.
    for module in modules if device != "cpu" else ():
        module._apply(there)  # type: ignore[no-untyped-call] # as `Module.to` does
    return modules


def state_of(store: Store, manifest: Manifest, name: str) -> Mapping[str, torch.Tensor]:
    """The tensors of a checkpoint as they lie in its files; where it has an adapter those of its
    network, with that merged. Raises as `load`; ``name`` says whose they are.
    """
    state = mapped_state(store, manifest)
    if Surgery.parse(manifest.backbone.options).lora is None:
        return state
    module = _network(manifest, state, name)
    merge(module)
    return module.state_dict()


def _network(manifest: Manifest, state: Mapping[str, torch.Tensor], name: str) -> nn.Module:
    """The network of a checkpoint with its weights, an adapter beside them."""
    backbone, rank = backbone_of(manifest), Surgery.parse(manifest.backbone.options).lora
    own, factors = split(state)
    module = assign(lambda: build(backbone, manifest), own, backbone, name=name)
    if rank or factors:
        attach(module, factors, rank or 0, name=name)
    return module


def _with_card(module: nn.Module, digest: Digest, manifest: Manifest) -> nn.Module:
    preprocess = Preprocess(inference_transform(manifest.preprocessing, manifest.backbone.plugin))
    module.zoo = Card(digest, manifest, preprocess)  # type: ignore[assignment]
    return module.eval()


def build(backbone: Backbone, manifest: Manifest) -> nn.Module:
    """The network that a manifest describes, with untrained weights and the right head;
    ``backbone`` is what `zoo.backbones.surgery.backbone_of` gives for it.

    Raises:
        Unsupported: It was made by a surgery that this version cannot do.
        BrokenPlugin: Its plugin, or that of its head, fails.
    """
    surgery = Surgery.parse(manifest.backbone.options)
    with plugins.blaming("zoo.backbones", manifest.backbone.plugin):
        module = backbone.build(manifest.backbone.architecture, surgery.to_build())
    if manifest.head.kind != "native":

        def make(features: int) -> nn.Module:
            head = plugins.head(manifest.head.kind)
            with plugins.blaming("zoo.heads", manifest.head.kind):
                return head.build(features, manifest.head.num_classes)

        backbone.replace_head(module, manifest.head.num_classes, make)
    return module


def check_fits(store: Store, manifest: Manifest) -> None:
    """See that the weights of a checkpoint are of the network that ``manifest`` describes.

    Raises:
        InvalidWeights: They are of another one.
    """
    backbone = backbone_of(manifest)
    with on_meta():
        module = build(backbone, manifest)
    own, factors = split(mapped_state(store, manifest))
    state = converted_state(backbone, module, own)
    check_fit(module, state, "the checkpoint", backbone.head_modules(module))
    if rank := Surgery.parse(manifest.backbone.options).lora:
        attach(module, factors, rank, name="the checkpoint")


def assign(
    make: Callable[[], nn.Module],
    state: Mapping[str, torch.Tensor],
    backbone: Backbone,
    *,
    name: str,
) -> nn.Module:
    """Build with ``make``, without spending time on initial weights, and give it ``state``.

    Raises:
        InvalidWeights: Names or shapes do not fit; ``name`` says whose.
    """
    with on_meta():
        module = make()
    converted = converted_state(backbone, module, state)
    check_fit(module, converted, name, backbone.head_modules(module))
    # Weights in half precision, or integers, as the network computes: like any loader that copies
    # them into it.
    dtypes = {name: tensor.dtype for name, tensor in module.state_dict().items()}
    converted = {name: tensor.to(dtypes[name]) for name, tensor in converted.items()}
    # Parameters become the memory maps themselves: to copy them would read every byte.
    module.load_state_dict(converted, assign=True)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        # Buffers that no file holds, such as relative position tables, are computed when the
        # network is built for real.
        with untrained():
            module = make()
        module.load_state_dict(converted, assign=True)
    return module.eval()


def converted_state(
    backbone: Backbone, module: nn.Module, state: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """``state`` under the network's own names, without what it has no use for.

    Batch-norm's counters, which files of before PyTorch 0.4.1 lack, are zero then.
    """
    own = backbone.convert(module, state)
    converted = {own[name]: tensor for name, tensor in state.items() if name in own}
    for name, buffer in module.named_buffers():
        if name.endswith("num_batches_tracked") and name not in converted:
            converted[name] = torch.zeros((), dtype=buffer.dtype, device="cpu")
    return converted


def check_fit(
    module: nn.Module, state: Mapping[str, torch.Tensor], name: str, head: Sequence[str] = ()
) -> None:
    """See that names and shapes are the network's, whose head is at the paths ``head``.

    Raises:
        InvalidWeights: Naming the first few that are missing, left over, or of another shape, and
            what to do if that is nothing but the head.
    """
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    problems = {key: f"lacks '{key}'" for key in expected if key not in shapes}
    problems |= {
        key: f"has '{key}', which the network does not" for key in shapes if key not in expected
    }
    problems |= {
        key: f"has '{key}' of the shape {shapes[key]}, the network's is {shape}"
        for key, shape in expected.items()
        if key in shapes and shapes[key] != shape
    }
    if not problems:
        return
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    reason = "does not fit the network: it " + "; ".join([*problems.values()][:3]) + more
    if all(under(key, head) for key in problems):
        outputs = {shape[0] for key, shape in shapes.items() if under(key, head) and shape}
        count = outputs.pop() if len(outputs) == 1 else "N"
        reason += (
            f". Only the head differs: build the network for its outputs (num_classes={count}), "
            "or leave the head out and train a new one (zoo adapt NAME NEW --classes N)"
        )
    raise InvalidWeights(name, reason)


def hierarchy_of(model: nn.Module) -> Hierarchy:
    """The units of a module that `load` returned, at its images' size.

    Raises:
        Unsupported: It cannot be traced.
    """
    manifest = cast(Card, model.zoo).manifest
    size, backbone = manifest.preprocessing.input_size, backbone_of(manifest)
    return backbone.hierarchy(manifest.backbone.architecture, model, input_size=size)
