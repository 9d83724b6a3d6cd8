"""Adapter: what a checkpoint has beside its parent's weights, where it was trained with LoRA.

Each weight W of a layer that it corrects is W + B A (Hu et al., "LoRA", ICLR 2022). A and B lie in
a file of their own; what the layer is called says whose they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.domain.manifest import Manifest
from zoo.domain.words import plural

__all__ = [
    "ADAPTER_FILE",
    "BASE_FILE",
    "FACTORS",
    "MERGED_FILE",
    "Adapter",
    "adapter_of",
    "is_factor",
    "without_adapter",
]

FACTORS = ("lora_A", "lora_B")
"""The last part of their names. A is (rank, …) of the shape of W, B is (outputs, rank)."""
BASE_FILE = "base.safetensors"
"""The weights without the adapter. It is not called as other libraries look for one: they would
load it, and nothing would tell that the adapter is missing."""
ADAPTER_FILE = "adapter.safetensors"
"""The factors."""
MERGED_FILE = "model.safetensors"
"""The weights of a network that has no adapter, or in which it was merged."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        rank: Rank of each correction.
        layers: Paths of the layers that it corrects.
        nbytes: Bytes of its tensors.
    """

    rank: int
    layers: tuple[str, ...]
    nbytes: int

    def __str__(self) -> str:
        return f"LoRA of rank {self.rank} on {plural(len(self.layers), 'layer')}"


def adapter_of(manifest: Manifest) -> Adapter | None:
    """The adapter of a checkpoint; None if it has none."""
    rank = manifest.backbone.options.get("lora")
    if not isinstance(rank, int):
        return None
    factors = [tensor for tensor in manifest.tensors if is_factor(tensor.name)]
    layers = dict.fromkeys(tensor.name.rpartition(".")[0] for tensor in factors)
    return Adapter(rank, tuple(layers), sum(tensor.nbytes for tensor in factors))


def without_adapter(manifest: Manifest) -> Manifest:
    """What a checkpoint is with its adapter merged into the weights, which are not made here."""
    options = {key: value for key, value in manifest.backbone.options.items() if key != "lora"}
    return replace(
        manifest,
        backbone=replace(manifest.backbone, options=options),
        weights=tuple(replace(base, name=MERGED_FILE) for base in manifest.weights[:1]),
    )


def is_factor(name: str) -> bool:
    """Whether a tensor is a factor of a correction, by its name."""
    return name.rpartition(".")[2] in FACTORS
