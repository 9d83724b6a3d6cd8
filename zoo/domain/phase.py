"""Phase: a stretch of training with one freeze depth and one pair of rates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from zoo.errors import InvalidOption

__all__ = ["Phase"]

FORM = re.compile(r"(?P<freeze>[^:@\s]+):(?P<epochs>\d+)(?:@(?P<lr>[\d.eE+-]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What is trained, for how long, and how fast.

    Attributes:
        freeze: Freeze spec (see `zoo.domain.hierarchy.Hierarchy.boundary`).
        epochs: Passes over the training split.
        lr: Learning rate of the head.
        backbone_lr: Learning rate of the last unit; earlier ones have less of it.
        own_rate: Whether the rate is the phase's own, rather than the recipe's.
    """

    freeze: str
    epochs: int
    lr: float
    backbone_lr: float
    own_rate: bool = False

    def __str__(self) -> str:
        """``FREEZE:EPOCHS``."""
        return f"{self.freeze}:{self.epochs}"

    @classmethod
    def parse(cls, text: str, *, lr: float, ratio: float) -> Self:
        """Read ``FREEZE:EPOCHS`` or ``FREEZE:EPOCHS@LR``, such as ``blocks.4:3@1e-4``: frozen up to
        blocks.4, three epochs, rate 1e-4. Without one, ``lr`` is the head's; the backbone's is
        ``ratio`` of it.

        Raises:
            InvalidOption: It is neither.
        """
        match = FORM.fullmatch(text.strip())
        try:
            rate = float(match["lr"]) if match and match["lr"] else lr
        except ValueError:
            match = None
        if not match or int(match["epochs"]) < 1 or not 0 < rate < float("inf"):
            raise InvalidOption(
                f"phase '{text}' is not of the form FREEZE:EPOCHS or FREEZE:EPOCHS@RATE "
                "(all:2, blocks.4:3@1e-4)",
                hint="each has an option of its own: --phases all:2 --phases blocks.4:3@1e-4",
            )
        return cls(
            freeze=match["freeze"],
            epochs=int(match["epochs"]),
            lr=rate,
            backbone_lr=rate * ratio,
            own_rate=match["lr"] is not None,
        )
