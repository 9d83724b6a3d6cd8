"""Images that show the same picture: copies that were recompressed, resized, cropped a little, or
made brighter.

Which pairs are looked at closely: for each image those with the nearest perceptual hash, and those
with the nearest features. A hash alone misses what was cropped, features alone miss what was made
darker; each also brings pairs that only resemble one another. So every pair is then laid on top of
one another: one picture is moved and stretched until it fits the other best, and what of the other
it leaves unexplained decides. Both steps are measured in docs/benchmarks.md.

Sources: the hash is the sign of low frequencies of a discrete cosine transform, as in pHash; the
fit is that of Lucas and Kanade (1981), with a curve for brightness.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor, nn

from zoo.advice.nearest import Near, nearest
from zoo.advice.reading import SIDE
from zoo.domain.progress import Task

__all__ = ["CANDIDATES", "Alike", "alike", "hashes"]

FREQUENCIES = 8
CANDIDATES = 4
"""Nearest images that are looked at closely, by hash, and by features."""
ROUGH = 0.1
"""Most that may be unexplained of pictures of half the side, which cost a quarter."""
SAME = 0.004
"""Most that is unexplained where two images show the same, as a share of a picture's variance."""
DETAILED, LOOSEST = 0.25, 0.02
"""That, as a share of a picture's detail, where it has much: a crop moves the grid of pixels, and
the finer a picture is, the less of that a fit makes up for. And more than so much, never.
"""
STEPS = 4
"""Of the fit."""
RIDGE = 1e-3
"""Keeps the fit from moving a picture along what does not change it."""
FARTHEST = 0.2
"""How far a picture may be moved or stretched, as a share of half its side."""
EDGE = 1
"""Pixels at the edge that are not compared."""
STILL = torch.eye(3)[None, :2]
"""The transform that leaves a picture where it is."""
COVERED = 0.7
"""Least share of a picture that the other one must cover."""
FLAT = 0.5
"""Least variance, in levels of gray squared: of blank pictures nothing can be told."""
CELLS = 8
"""Of a side: colors are compared by cells."""
FAINT, TINTED = 4.0, 0.6
"""How far colors may differ: so many levels, and such a share of how colorful a picture is."""
CHUNK = 1024
"""Pairs that are compared at once."""
GRAY = torch.tensor([0.299, 0.587, 0.114])
"""Of red, green and blue (ITU-R BT.601), as Pillow has it."""


class Alike(NamedTuple):
    """Two images that show the same, by their index, and what is unexplained of it."""

    one: int
    other: int
    difference: float


def alike(pictures: Tensor, near: Near, task: Task) -> list[Alike]:
    """Pairs of images that show the same, each once, the first index lower, in order.

    Args:
        pictures: Small pictures of all images, uint8 (N, SIDE, SIDE, 3).
        near: The nearest images by their features.
        task: Is advanced by every image.
    """
    by_hash = nearest(hashes(pictures), CANDIDATES, task)
    pairs = _pairs(by_hash.others, near.others[:, :CANDIDATES])
    matches = []
    for chunk in torch.split(pairs, CHUNK):
        left = _unexplained(pictures, chunk)
        close = left <= LOOSEST
        chunk, left = chunk[close], left[close]
        if len(chunk):
            same = (left <= _limits(pictures, chunk)) & _same_colors(pictures, chunk)
            matches += [Alike(*pair, rest) for (pair, rest) in _rows(chunk[same], left[same])]
    return matches


def hashes(pictures: Tensor) -> Tensor:
    """Perceptual hashes of small pictures (N, SIDE, SIDE, 3), float32 (N, 63) of -1 and 1: the
    scalar product of two is 63 less twice the bits that differ.
    """
    codes = []
    for chunk in torch.split(pictures, CHUNK):
        cosines = dctn(_gray(chunk)[:, 0].numpy(), axes=(1, 2), norm="ortho")
        low = cosines[:, :FREQUENCIES, :FREQUENCIES].reshape(len(chunk), -1)[:, 1:]
        codes.append(np.where(low > np.median(low, axis=1, keepdims=True), 1, -1))
    return torch.from_numpy(np.concatenate(codes).astype(np.float32))


def _rows(pairs: Tensor, left: Tensor) -> Iterator[tuple[tuple[int, int], float]]:
    return zip(map(tuple, pairs.tolist()), left.tolist(), strict=True)


def _pairs(*neighbors: Tensor) -> Tensor:
    """All pairs (P, 2) of an image and one of its neighbors (N, k), each once."""
    each = [
        torch.stack([torch.arange(len(index)).repeat_interleave(index.shape[1]), index.flatten()])
        for index in neighbors
    ]
    return torch.from_numpy(np.unique(torch.cat(each, dim=1).T.sort(dim=1).values.numpy(), axis=0))


def _gray(pictures: Tensor) -> Tensor:
    """Pictures (N, H, W, 3) as float32 (N, 1, H, W)."""
    return (pictures.float() @ GRAY)[:, None]


def _limits(pictures: Tensor, pairs: Tensor) -> Tensor:
    """What may be unexplained of pairs (P, 2) that show the same, (P,)."""
    both = _blurred(_gray(pictures[pairs.flatten()])).flatten(1)
    finest = both - _blurred(both.view(-1, 1, SIDE, SIDE)).flatten(1)
    detail = finest.var(dim=1) / both.var(dim=1).clamp(min=1e-6)
    return (DETAILED * torch.maximum(detail[0::2], detail[1::2])).clamp(SAME, LOOSEST)


def _same_colors(pictures: Tensor, pairs: Tensor) -> Tensor:
    """Whether pairs (P, 2) have like colors, place by place, whatever their brightness."""
    both = pictures[pairs.flatten()].float().permute(0, 3, 1, 2)
    mean = nn.functional.avg_pool2d(both, SIDE // CELLS)
    color = mean - mean.mean(dim=1, keepdim=True)
    one, other = color[0::2], color[1::2]
    strength = torch.maximum(_strength(one), _strength(other))
    return _strength(one - other) <= FAINT + TINTED * strength


def _strength(colors: Tensor) -> Tensor:
    return colors.square().mean(dim=(1, 2, 3)).sqrt()


def _blurred(gray: Tensor) -> Tensor:
    """Pictures (N, 1, H, W) without what the grid of pixels decides, which a crop moves."""
    side = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    padded = nn.functional.pad(gray, (2, 2, 2, 2), mode="replicate")
    return nn.functional.conv2d(padded, (side[:, None] * side)[None, None])


def _unexplained(pictures: Tensor, pairs: Tensor) -> Tensor:
    """What pairs (P, 2) leave unexplained of each other (P,), infinite where that is much.

    Small pictures of the pictures are fitted first: what is far apart is found there, for little.
    """
    both = _blurred(_gray(pictures[pairs.flatten()]))
    half = _blurred(nn.functional.avg_pool2d(both, 2))
    place, asked = torch.zeros(len(pairs), 4), torch.arange(len(pairs))
    left = torch.full((len(pairs),), torch.inf)
    for level, limit in ((half, ROUGH), (both, torch.inf)):
        rest, place = _fit(level[0::2][asked], level[1::2][asked], place)
        asked, place, rest = asked[rest <= limit], place[rest <= limit], rest[rest <= limit]
        if not len(asked):
            break
    left[asked] = rest
    return left


def _fit(one: Tensor, other: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The least share (P,) of the variance of ``other`` (P, 1, H, W) that is left when ``one`` is
    moved, stretched and made brighter so as to fit it, and where it is then (`_moved`); infinite
    where nothing can be told. It begins at ``place``.
    """
    best, where = torch.full((len(one),), torch.inf), place
    for _ in range(STEPS):
        moved, inside = _moved(one, place)
        count = inside.sum(dim=1)
        tangents, norms = _unit(_tangents(moved), inside)
        target, deviation = _unit(other.flatten(1)[:, None], inside)
        along = (tangents @ target.transpose(1, 2))[:, :, 0]
        left = 1 - _explained(tangents[:, 0], target[:, 0], inside)
        valid = (count >= COVERED * inside.shape[1]) & (deviation[:, 0] ** 2 >= FLAT * count)
        better = valid & (left < best)
        best = torch.where(better, left, best)
        where = torch.where(better[:, None], place, where)
        # A direction in which the picture does not change is none to move in.
        normal = tangents @ tangents.transpose(1, 2) + RIDGE * torch.eye(tangents.shape[1])
        step = torch.linalg.solve(normal, along) / norms.clamp(min=1e-6)
        place = (place + step[:, 1:] / step[:, :1].clamp(min=1e-6)).clamp(-FARTHEST, FARTHEST)
    return best, where


def _explained(picture: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """The share (P,) of one picture (P, H * W) that the other one explains, whose light may have
    been changed along a curve, as where it is so bright that white is all white.
    """
    along = (picture * target).sum(dim=1)
    curve, _ = _unit(picture.square()[:, None], inside)
    bent, _ = _unit(
        curve - (curve * picture[:, None]).sum(dim=2, keepdim=True) * picture[:, None], inside
    )
    # A negative is another picture.
    return along.clamp(min=0).square() + (bent[:, 0] * target).sum(dim=1).square() * (along > 0)


def _unit(layers: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Layers (P, L, H * W) with mean 0 and norm 1 over the pixels that are ``inside`` (P, H * W),
    and what the norms (P, L) were.
    """
    weight = inside[:, None]
    mean = (layers * weight).sum(dim=2, keepdim=True) / weight.sum(dim=2, keepdim=True)
    centered = (layers - mean) * weight
    norms = centered.norm(dim=2)
    return centered / norms.clamp(min=1e-6)[:, :, None], norms


def _moved(picture: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (P, 1, H, W) and their slopes, stretched and moved by ``place`` (P, 4), as
    (P, 3, H * W); and which of these pixels lie within the picture (P, H * W).
    """
    slope_y, slope_x = torch.gradient(picture, dim=(2, 3))
    half = (picture.shape[-1] - 1) / 2  # slopes are asked for by half a side, not by pixel
    theta = torch.zeros(len(place), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = 1 + place[:, 0], place[:, 1]
    theta[:, 1, 1], theta[:, 1, 2] = 1 + place[:, 2], place[:, 3]
    grid = nn.functional.affine_grid(theta, list(picture.shape), align_corners=True)
    layers = torch.cat([picture, slope_x * half, slope_y * half], dim=1)
    moved = nn.functional.grid_sample(layers, grid, padding_mode="border", align_corners=True)
    # Blurring made the outermost pixels of what a crop has cut off, too.
    edge = 1 - EDGE / half + 1e-3
    still = nn.functional.affine_grid(STILL, [1, *picture.shape[1:]], align_corners=True)
    inside = ((grid.abs() <= edge) & (still.abs() <= edge)).all(dim=-1)
    return moved.flatten(2), inside.flatten(1).float()


def _tangents(moved: Tensor) -> Tensor:
    """What a picture (P, 3, H * W) is, and how it changes as it is stretched and moved in width,
    and in height: (P, 5, H * W).
    """
    picture, slope_x, slope_y = moved.unbind(1)
    side = torch.linspace(-1, 1, round(picture.shape[1] ** 0.5))
    y, x = (each.flatten() for each in torch.meshgrid(side, side, indexing="ij"))
    return torch.stack([picture, slope_x * x, slope_x, slope_y * y, slope_y], dim=1)
