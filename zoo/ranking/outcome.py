"""What short runs of finalists came to, as it is kept: asked again, nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from zoo.domain.result import Result

__all__ = ["Ended", "Finals", "Outcome"]

Ended = Literal["", "budget", "interrupted"]
"""Why not all was done; empty if nothing stopped it."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome(Result):
    """What a probe, or a short run, of a network comes to on images that are held out.

    Attributes:
        name: ``probe at UNIT`` or the recipe.
        kind: ``probe`` or ``training``.
        options: Those of `zoo.Recipe` that make it what it is.
        score: The mean over these images; of a training after as many epochs as were best on the
            other folds.
        low: Lower end of its 95 % interval.
        high: Upper end.
        images: How many that rests on.
        epochs: How long it is trained; 0: its own probe was never beaten.
        done: Epochs that were trained of a fold's schedule, at most.
        of: Epochs of that schedule.
        seconds: What the runs took.
        dropped: Why it is not tried further; empty: it is among the last.
        scores: Of each training and validation image, in order of their keys, to be compared with
            other networks; None where it was not asked. Left out in JSON that is printed.
    """

    name: str
    kind: Literal["probe", "training"]
    options: Mapping[str, object]
    score: float
    low: float
    high: float
    images: int
    epochs: int = 0
    done: int = 0
    of: int = 0
    seconds: float = 0.0
    dropped: str = ""
    scores: tuple[float | None, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Finals(Result):
    """What short runs of all finalists came to.

    Attributes:
        networks: By manifest, what a network comes to: first what counts, its best probe, or a
            training that is more than one standard error better.
        left_out: Runs that the budget left out, each with the seconds that it needs.
        ended: Why runs ended early, if they did.
        trained: Epochs that were trained in all.
    """

    networks: Mapping[str, tuple[Outcome, ...]]
    left_out: Mapping[str, float]
    ended: Ended
    trained: int

    @property
    def complete(self) -> bool:
        """Whether more time would bring nothing."""
        return not self.ended and not self.left_out
