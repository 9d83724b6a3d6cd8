"""Backbones and weights of torchvision (https://github.com/pytorch/vision)."""
