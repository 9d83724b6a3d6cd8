"""Recipe: the frozen options of a fine-tune."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from zoo.errors import InvalidOption

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that, with the base weights and the data, decides the result of a fine-tune.

    Attributes:
        data: Where the class folders were.
        freeze: Freeze spec (see `zoo.domain.hierarchy.Hierarchy.boundary`).
        head: Head kind, the name of a plugin in the group ``zoo.heads``.
        epochs: Passes over the training split.
        batch_size: Images per step.
        lr: Learning rate of the head, reached after warm-up.
        backbone_lr_ratio: Rate of the unfrozen backbone as a share of the head's.
        weight_decay: AdamW's decay; never applied to norms and biases.
        test_share: Share of each class that is held out.
        image_size: Height and width that the network sees, in pixels; None: the base's own.
        seed: Seeds the split, the head, the order of batches and dropout.
    """

    data: str
    freeze: str = "none"
    head: str = "linear"
    epochs: int = 5
    batch_size: int = 32
    lr: float = 3e-3
    backbone_lr_ratio: float = 0.1
    weight_decay: float = 0.01
    test_share: float = 0.2
    image_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch size", self.batch_size >= 2, "at least 2"),
            ("learning rate", self.lr > 0, "above 0"),
            ("backbone rate", self.backbone_lr_ratio > 0, "above 0"),
            ("weight decay", self.weight_decay >= 0, "0 or more"),
            ("test share", 0 < self.test_share < 1, "between 0 and 1"),
            ("image size", self.image_size is None or self.image_size >= 8, "at least 8"),
        )
        try:
            self.data.encode()
        except UnicodeEncodeError:
            raise InvalidOption("the path of the data must be UTF-8: it is recorded") from None
        for name, fits, rule in checks:
            if not fits:
                raise InvalidOption(f"{name} must be {rule}")

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)
