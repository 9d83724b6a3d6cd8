"""Ranked: networks by how well they suit a dataset, as `zoo.Zoo.rank` answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from zoo.domain.digest import Digest
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.finetune.dataset.dataset import SkippedImage
from zoo.ranking.measured import FeatureScores
from zoo.ranking.outcome import Ended, Outcome
from zoo.ranking.prior import Prior

__all__ = ["OrderedBy", "Ranked", "Ranking", "State"]

State = Literal[
    "measured",
    "not here",
    "not reached",
    "failed",
    "knows the labels",
    "same run",
    "same backbone",
]
OrderedBy = Literal["prior and score", "score", "short runs"]
"""What orders networks between which no difference can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ranked(Result):
    """A network in the ranking.

    Attributes:
        name: What a user types.
        manifest: Its identity; None if it is not here.
        state: ``measured``; ``not here``; ``not reached`` within the budget; ``failed``;
            ``knows the labels``, as it was trained on these images; ``same run``, as another
            checkpoint of its run is measured; or ``same backbone``, as one is whose weights are the
            same but for the head.
        why: What it failed of, or why it is left out; else empty.
        same_backbone: What is the same but for the head: of the one that stands for all of them
            the others, of these that one.
        prior: What is known of it before.
        bytes: Size of its files; None where that is not known.
        params: Number of parameters; None where that is not known.
        measured: What was measured; None if it was not.
        combined: Mean of prior and score, in standard deviations from the mean of all that were
            measured; None if it was not. A prior of mere size does not count.
        behind: Whether it is seen to be worse than the one with the best score.
        finalist: Whether it is worth training.
        outcomes: What it came to in short runs, if there were any: first what counts, its best
            probe, or a training that is more than one standard error better.
    """

    name: str
    manifest: Digest | None
    state: State
    why: str = ""
    same_backbone: tuple[str, ...] = ()
    prior: Prior
    bytes: int | None = None
    params: int | None
    measured: FeatureScores | None = None
    combined: float | None = None
    behind: bool = False
    finalist: bool = False
    outcomes: tuple[Outcome, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether a short run made it better than its probes are."""
        return bool(self.outcomes) and self.outcomes[0].kind == "training"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ranking(Result):
    """Networks by how well they suit a dataset.

    Attributes:
        data: The images.
        data_digest: The same for the same images with the same labels; empty where Ctrl-C came
            before they were read, and so are ``split_digest`` and ``measure``.
        split_digest: The same for the same images in the same splits.
        task: What their targets are; None where they were not read.
        measure: What scores are: accuracy; the mean F1 of an image's labels; R2 of numbers.
        images: How many training and validation images networks were judged by.
        chance: The accuracy of naming the largest class always; None for labels and numbers.
        without: Classes that are left out, as there are fewer than two such images of theirs.
        skipped: Images that cannot be used, and why.
        prior: What was known of networks before (`zoo.ranking.prior.Prior`).
        networks: All of them, the best first; then those that were not measured, by prior.
        winner: The first; None where none was measured.
        left_out: Short runs that the budget left out, each with the seconds that it needs.
        ended: Why not all was measured and tried, if that is so.
        seconds: How long it took.
        ordered_by: What orders networks between which no difference can be seen.
    """

    data: str
    data_digest: str
    split_digest: str
    task: Task | None
    measure: str
    images: int
    chance: float | None
    without: tuple[str, ...]
    skipped: tuple[SkippedImage, ...] = field(metadata={"json": "skipped_images"})
    prior: str
    networks: tuple[Ranked, ...]
    winner: str | None
    left_out: Mapping[str, float]
    ended: Ended
    seconds: float
    ordered_by: OrderedBy = "prior and score"

    @property
    def alike(self) -> tuple[Ranked, ...]:
        """Those between which and the one with the best score no difference can be seen; if short
        runs made a difference, only those that took part in them.
        """
        tried = any(each.trained for each in self.networks)
        return tuple(
            each
            for each in self.networks
            if each.measured and not each.behind and (each.outcomes or not tried)
        )
