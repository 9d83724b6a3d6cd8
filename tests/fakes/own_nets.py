"""Networks as a user writes them, without a thought of zoo."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.domain.manifest import Preprocessing
from zoo_torch import Network

HALF = (0.5, 0.5, 0.5)
SMALL = Preprocessing(
    input_size=(3, 32, 32), mean=HALF, std=HALF, interpolation="bilinear",
    crop_pct=1.0, crop_mode="squash",
)  # fmt: skip
CALLED: list[str] = []
"""What ran that should not have."""


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = maps + self.second(self.norm(self.first(maps)).relu())
        return found.relu()


class ConvNet(nn.Module):
    """Stem, two stages of two residual blocks, pool, classifier."""

    def __init__(self, num_classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.early = nn.Sequential(Residual(8), Residual(8))
        self.down = nn.Conv2d(8, 16, 2, stride=2)
        self.late = nn.Sequential(Residual(16), Residual(16))
        self.classifier = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.late(self.down(self.early(self.stem(images).relu())))
        outputs: Tensor = self.classifier(maps.mean((2, 3)))
        return outputs


class AlexNet(nn.Module):
    """The form of AlexNet, narrow and for small images: a map of 6 x 6 for 24 x 24 pixels."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(8 * 6 * 6, 12), nn.ReLU(), nn.Linear(12, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.avgpool(self.features(images))
        outputs: Tensor = self.classifier(maps.flatten(1))
        return outputs


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.norm1(tokens)
        tokens = tokens + self.attention(seen, seen, seen, need_weights=False)[0]
        found: Tensor = tokens + self.mlp(self.norm2(tokens))
        return found


class Former(nn.Module):
    """Patches, a class token, three blocks; the classifier is made by hand: no ``num_classes``."""

    def __init__(self, image_size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        places = (image_size[0] // 8) * (image_size[1] // 8)
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.zeros(1, 1 + places, 16))
        self.blocks = nn.ModuleList(Block(16) for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.output = nn.Linear(16, 7, bias=False)
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        outputs: Tensor = self.output(self.norm(tokens)[:, 0] * self.scale)
        return outputs


def make_former(image_size: tuple[int, int] = (32, 32)) -> nn.Module:
    return Former(image_size)


def make_maps(channels: int = 3) -> nn.Module:
    """The outputs are those of a 1x1 convolution, averaged."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(), nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def killed() -> nn.Module:
    """Ends the process that makes it, as a kernel does that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


make_killed = killed


def make_encoder() -> nn.Module:
    """Feature maps, no head."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3)
    )


def undeclared(num_classes=10):  # type: ignore[no-untyped-def]
    CALLED.append("undeclared")
    return ConvNet(num_classes)


CONV = Network(ConvNet, SMALL)
FORMER = Network(make_former, SMALL)
ALEXNET = Network(AlexNet, replace(SMALL, input_size=(3, 24, 24)))
