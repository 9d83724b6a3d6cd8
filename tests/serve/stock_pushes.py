"""What timm and transformers push to a served zoo, and load again, in a process of its own: it
reads the address and the token once, as it starts. Prints what it found, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import timm
import torch
from huggingface_hub import HfApi
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification

NAMESPACE = sys.argv[1]


def main() -> None:
    """Push two networks, and see that they come back."""
    net = timm.create_model("test_resnet", num_classes=3)
    timm.models.push_to_hf_hub(net, f"{NAMESPACE}/timm", model_args={"num_classes": 3})
    again = timm.create_model(f"hf-hub:{NAMESPACE}/timm", pretrained=True)
    configured: Any = ViTConfig
    config = configured(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=16, num_labels=3,
    )  # fmt: skip
    vit: Any = ViTForImageClassification(config)
    vit.push_to_hub(f"{NAMESPACE}/vit")
    AutoModelForImageClassification.from_pretrained(f"{NAMESPACE}/vit")
    same = all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    api = HfApi()
    files = {name: api.list_repo_files(f"{NAMESPACE}/{name}") for name in ("timm", "vit")}
    print(json.dumps({"same": same, **files}))  # noqa: T201


main()
