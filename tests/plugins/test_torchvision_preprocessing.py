"""Preprocessing and classes of the plugin beside torchvision's own transforms and categories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import skimage.data
import torch
from PIL import Image
from torchvision import models

from zoo.backbones.preprocess import inference_transform
from zoo_torchvision.networks import classes, networks, preprocessing

PHOTOS = ("coffee", "rocket")


def published() -> Iterator[Any]:
    for network in networks().values():
        yield from network.weights


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOS]


def test_preprocessing_is_bit_equal_to_torchvisions(photos: list[Image.Image]) -> None:
    different = {str(preprocessing(weights)): weights for weights in published()}
    assert len(different) > 15
    for weights in different.values():
        ours = inference_transform(preprocessing(weights), "torchvision")
        theirs = weights.transforms()
        for photo in photos:
            assert torch.equal(ours(photo), theirs(photo)), str(weights)


def test_classes_are_torchvisions_in_order() -> None:
    for weights in published():
        if weights is models.VGG16_Weights.IMAGENET1K_FEATURES:
            assert classes(weights) == ()
        else:
            assert classes(weights) == tuple(weights.meta["categories"])
            assert len(classes(weights)) == 1000


def test_the_default_comes_first() -> None:
    for network in networks().values():
        default = models.get_model_weights(network.builder).DEFAULT
        if network.name == network.builder and network.name != "vit_h_14":
            assert network.weights[0] is default
    # Its default is for another image size.
    assert networks()["vit_h_14_518"].weights == (models.ViT_H_14_Weights.DEFAULT,)


def test_no_weights_are_left_out() -> None:
    names = models.list_models(module=models)
    everything = {weights for name in names for weights in models.get_model_weights(name)}
    assert len(list(published())) == len(everything) == len(set(published()))
