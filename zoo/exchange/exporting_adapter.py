"""Export an adapter by itself, as a folder that peft loads onto the parent's network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.backbones.load import load
from zoo.backbones.lora import factors
from zoo.backbones.save import save_state
from zoo.backbones.surgery import backbone_of
from zoo.domain.adapter import adapter_of
from zoo.domain.description import only_zoo_builds
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import under
from zoo.domain.manifest import Manifest
from zoo.errors import Unsupported
from zoo.workspace import Workspace

__all__ = ["write_adapter"]

PREFIX = "base_model.model."
"""What peft calls the network that it wraps."""
NEAR = 1e-4
"""Outputs may differ by rounding, as a share of the largest: peft adds after multiplying."""


def write_adapter(workspace: Workspace, digest: Digest, folder: Path) -> list[str]:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json`` into an empty ``folder``; the
    names of its files. The head, which no parent has, is in there, too.

    Raises:
        Unsupported: It has no adapter, or one that peft would compute otherwise.
    """
    manifest = workspace.store.manifest(digest)
    adapter = adapter_of(manifest)
    if adapter is None:
        raise Unsupported("it has no adapter: it was not trained with --strategy lora")
    if why := only_zoo_builds(manifest):
        raise Unsupported(f"nothing but zoo builds the network of this adapter, for {why}")
    model = load(workspace.store, digest, merged=False)
    _check(model, adapter.layers, manifest.preprocessing.input_size)
    head = backbone_of(manifest).head_modules(model)
    state = model.state_dict()
    kept = {f"{PREFIX}{name}": value for name, value in state.items() if under(name, head)}
    for layer in adapter.layers:
        for key in ("lora_A", "lora_B"):
            kept[f"{PREFIX}{layer}.{key}.weight"] = state[f"{layer}.{key}"]
    save_state(kept, folder / "adapter_model.safetensors")
    config = json.dumps(_config(manifest, adapter.rank, adapter.layers, head), indent=2)
    (folder / "adapter_config.json").write_text(f"{config}\n", encoding="utf-8")
    return sorted(path.name for path in folder.iterdir())


def _config(
    manifest: Manifest, rank: int, layers: Sequence[str], head: Sequence[str]
) -> Mapping[str, object]:
    parent = next(iter(manifest.parents), None)
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": parent.ref if parent else None,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        # A pattern: of names peft looks at the ends, which others may share.
        "target_modules": "|".join(map(re.escape, layers)),
        "modules_to_save": list(head),
        "bias": "none",
        "inference_mode": True,
    }


@torch.no_grad()
def _check(model: nn.Module, layers: Sequence[str], size: tuple[int, int, int]) -> None:
    """See that layers which add B A x to what they give come to what corrected weights do. They do
    not where the network reads a weight without calling its layer, or pads before that.
    """
    images = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    wanted = model(images)
    with ExitStack() as hooks:
        for path in layers:
            layer = model.get_submodule(path)
            pair, kind = factors(layer), type(layer)
            assert pair is not None
            hooks.callback(setattr, layer, "__class__", kind)
            layer.__class__ = kind.__bases__[0]
            hooks.enter_context(layer.register_forward_hook(_adds(path, *pair)))
        outputs = model(images)
    if not torch.allclose(outputs, wanted, rtol=0, atol=NEAR * float(wanted.abs().max())):
        raise Unsupported(
            "peft would compute something else: this network reads weights without calling their "
            "layers. Export it merged (without --adapter)"
        )


def _adds(path: str, a: Tensor, b: Tensor) -> Callable[..., Tensor]:
    """A hook that adds to a layer's output what peft adds: B A x."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if isinstance(layer, nn.Linear):
            return output + functional.linear(functional.linear(inputs[0], a), b)
        added = None
        if isinstance(layer, nn.Conv2d):
            below = functional.conv2d(
                inputs[0], a, None, layer.stride, layer.padding, layer.dilation
            )
            added = functional.conv2d(below, b)
        if added is None or added.shape != output.shape:
            raise Unsupported(
                f"peft cannot compute '{path}', a {type(layer).__name__}: export it merged "
                "(without --adapter)"
            )
        return output + added

    return hook
