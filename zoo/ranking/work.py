"""What is known while networks are ranked, one after another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.backbones.rgb import READING
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.executors.executor import Executor
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.results.journal import LIBRARIES, TRAINING
from zoo.finetune.setup.prepare import PreparedRun, prepare
from zoo.lookup.runs import CACHE, Run
from zoo.packages import version
from zoo.ranking.asked import RankOptions
from zoo.ranking.measure import Judges
from zoo.ranking.measured import path_of
from zoo.ranking.outcome import Ended
from zoo.workspace import Workspace

__all__ = ["Bench", "Work"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What networks are met with the images by, in any process that reaches the zoo and these.

    Attributes:
        workspace: The zoo.
        recipe: Which images, split how, at what size.
        root: Where is kept what comes of it: the zoo, or a temporary folder if that is read-only.
        device: What networks run on.
        progress: Progress callback.
    """

    workspace: Workspace
    recipe: Recipe
    root: Path
    device: str
    progress: Progress

    def prepare(self, manifest: Digest, name: str, strategy: str) -> PreparedRun:
        """A network met with the images."""
        return prepare(
            self.workspace,
            str(manifest),
            replace(self.recipe, strategy=strategy),
            self.device,
            self.progress,
            known_as=name,
            folder=self.root / CACHE,
        )


@dataclass(slots=True)
class Work:
    """A ranking that goes on.

    Attributes:
        bench: What networks run on in this process.
        executor: Where they are measured and trained.
        asked: How to rank.
        dataset: All of the images.
        judges: Those that networks are judged by.
        runs: Those of the zoo, by what they made.
        begun: When, on the monotonic clock.
        pulled: How many networks were.
        ended: Why nothing more is begun.
    """

    bench: Bench
    executor: Executor
    asked: RankOptions
    dataset: Dataset
    judges: Judges
    runs: Mapping[str, Sequence[Run]]
    begun: float = field(default_factory=time.monotonic)
    pulled: int = 0
    ended: Ended = ""

    @property
    def workspace(self) -> Workspace:
        """The zoo."""
        return self.bench.workspace

    @property
    def recipe(self) -> Recipe:
        """Which images, split how, at what size."""
        return self.bench.recipe

    @property
    def root(self) -> Path:
        """Where is kept what comes of it."""
        return self.bench.root

    @property
    def progress(self) -> Progress:
        """Progress callback."""
        return self.bench.progress

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.asked.budget - (time.monotonic() - self.begun)

    def over(self) -> bool:
        """Whether nothing more is begun, which is then noted."""
        if not self.ended and self.left <= 0:
            self.ended = "budget"
        return bool(self.ended)

    @property
    def caches(self) -> list[Path]:
        """Where results are kept; first where they are written."""
        return list(dict.fromkeys((self.root / CACHE, self.workspace.root / CACHE)))

    @property
    def keys(self) -> list[str]:
        """Of the training and validation images, in order."""
        return sorted(sample.key for sample in (*self.dataset.train, *self.dataset.validation))

    @property
    def groups(self) -> list[str]:
        """Of these images; empty: it is alone."""
        return [self.dataset.groups.get(key, "") for key in self.keys]

    def paths(self, *manifests: Digest) -> list[Path]:
        """Where a result is kept: all of this decides its figures, and times are of a machine."""
        recipe, dataset = self.recipe, self.dataset
        data = (dataset.digest, dataset.split_digest, recipe.group_by, recipe.seed)
        code = (READING, TRAINING, *map(version, LIBRARIES))
        where = (self.executor.device, self.executor.host)
        asked = (*manifests, *data, recipe.image_size, *code, *where)
        return [path_of(folder, *asked) for folder in self.caches]
