"""What a result depends on beside recipe and parent, and whether it is so again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import torch

from zoo.errors import InvalidData
from zoo.finetune.prepare import Prepared

__all__ = ["check_data", "provenance"]

LIBRARIES = ("zoo-registry", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn",
             "pillow")  # fmt: skip


def provenance(prepared: Prepared) -> dict[str, str]:
    """Data, split, device, processes, threads (sums are taken in their order) and versions."""
    dataset = prepared.dataset
    return {
        "source": "finetune",
        "data_digest": dataset.digest,
        "split_digest": dataset.split_digest,
        "skipped_images": str(len(dataset.skipped)),
        "device": prepared.device.type,
        "processes": str(prepared.processes.size),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def check_data(before: Mapping[str, str], prepared: Prepared, when: str) -> None:
    """Make sure that images and split are those of ``before``.

    Args:
        before: A provenance.
        prepared: What is to be trained now.
        when: In words, when they were those.

    Raises:
        InvalidData: They are not. An image that was trained on could be tested on.
    """
    data, dataset = prepared.recipe.data, prepared.dataset
    if dataset.digest != before.get("data_digest"):
        raise InvalidData(data, [f"it is not what it was {when}"])
    if dataset.split_digest != before.get("split_digest"):
        text = "its images are divided into train, validation and test otherwise than they were"
        raise InvalidData(data, [f"{text} {when}"])
