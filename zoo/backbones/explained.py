"""Explained: an image with what of it speaks for classes, for a loaded checkpoint."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from PIL import Image
from torch import Tensor, nn

from zoo.backbones.explain import heats
from zoo.backbones.heat_picture import draw_heat, seen_by
from zoo.backbones.load import Card, hierarchy_of
from zoo.backbones.predict import predict
from zoo.backbones.preprocess import Picture, read_image
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.near import near_names
from zoo.domain.result import Result
from zoo.errors import Conflict, InvalidOption, UnknownName, Unsupported
from zoo.store.atomic import write_whole

__all__ = ["Explanation", "check_picture", "explain", "explain_one", "output_called"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Explanation(Result):
    """Which part of an image speaks for an output.

    Attributes:
        output: The class, label or number.
        unit: Where the network was looked into.
        heat: How much each place speaks for it, a float32 tensor (h, w), at least 0; all 0 if none
            does.
        seen: The image as the network sees it, RGB.
    """

    output: str
    unit: str
    heat: Tensor = field(repr=False)
    seen: Image.Image = field(repr=False)

    @property
    def speaks(self) -> bool:
        """Whether any place speaks for it."""
        return bool(self.heat.any())

    def draw(self) -> Image.Image:
        """The heat over the image, gray; the hottest place is yellow."""
        return draw_heat(self.seen, self.heat)

    def write(self, path: Path | str, *, force: bool = False) -> Path:
        """Write what `draw` gives as a PNG; ``force`` replaces a file.

        Raises:
            InvalidOption: It is not called .png, or its folder is not there.
            Conflict: It exists.
        """
        path, data = Path(path), io.BytesIO()
        check_picture(path, force=force)
        self.draw().save(data, "PNG")
        write_whole(path, [data.getvalue()])
        return path


def check_picture(path: Path, *, force: bool) -> None:
    """See that a picture can be written. Raises as `Explanation.write`."""
    if path.suffix.lower() != ".png":
        raise InvalidOption(f"{path} is not called .png")
    if not path.parent.is_dir():
        raise InvalidOption(f"{path}: there is no folder {path.parent}")
    if path.is_dir() or (path.exists() and not force):
        kind = "is a folder" if path.is_dir() else "exists; --force replaces it"
        raise Conflict(f"{path} {kind}")


def explain_one(
    model: nn.Module, image: Picture, output: str = "", *, max_pixels: int | None = None
) -> Explanation:
    """As `explain`, for the ``output`` of that name or index; empty: the likeliest, or the first
    number.

    Raises:
        UnknownName: There is no such output.
        Unsupported: The network has no head, too.
    """
    if isinstance(image, str | Path):
        image = read_image(image, max_pixels)
    (prediction,) = predict(model, image, top=1)
    first = prediction.logits.index(max(prediction.logits)) if prediction.probabilities else 0
    index = output_called(cast(Card, model.zoo), output) if output else first
    (explanation,) = explain(model, image, [index])
    return explanation


def explain(
    model: nn.Module,
    image: Picture,
    outputs: Sequence[int],
    *,
    hierarchy: Hierarchy | None = None,
) -> tuple[Explanation, ...]:
    """Which part of an image speaks for each of some outputs.

    Args:
        model: A module that `zoo.backbones.load.load` returned.
        image: A file, an image, or a uint8 array (H, W) or (H, W, 3).
        outputs: Indices of classes, labels or numbers; `output_called` gives that of a name.
        hierarchy: What `zoo.backbones.load.hierarchy_of` gives for it, if that is known.

    Raises:
        InvalidImage: The image is missing or unreadable.
        Unsupported: The network has no map that its outputs depend on.
    """
    card = cast(Card, model.zoo)
    given = card.preprocess(image)
    device = next(model.parameters()).device
    heat_maps = heats(model, hierarchy or hierarchy_of(model), given.to(device), outputs)
    seen = seen_by(given, card.manifest.preprocessing)
    return tuple(
        Explanation(
            output=card.classes[index] if card.classes else str(index),
            unit=heat_maps.unit,
            heat=heat.cpu(),
            seen=seen,
        )
        for index, heat in zip(outputs, heat_maps.maps, strict=True)
    )


def output_called(card: Card, name: str) -> int:
    """The index of the output that is called so, or has that index.

    Raises:
        UnknownName: There is none.
        Unsupported: The network has no head.
    """
    count, classes = card.manifest.head.num_classes, card.classes
    if not count:
        raise Unsupported("the network has no head: it gives features, no classes")
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and len(name) < 8 and int(name) < count:
        return int(name)
    near = near_names(name, classes)
    raise UnknownName("class", name, near, f"it has {count}: zoo show NAME --json lists them")
