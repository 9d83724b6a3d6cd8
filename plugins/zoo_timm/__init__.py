"""Backbones and catalog of timm (https://github.com/huggingface/pytorch-image-models)."""
