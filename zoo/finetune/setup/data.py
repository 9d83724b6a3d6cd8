"""Data: the images that a recipe names, split as it says."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.domain.task import TASKS
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.dataset.spec import opening_of
from zoo.lookup.runs import CHECKED

__all__ = ["dataset_of"]


def dataset_of(
    folder: Path,
    recipe: Recipe,
    progress: Progress,
    *,
    seen: Set[str] = frozenset(),
    skip_alone: bool = False,
) -> Dataset:
    """The images that ``recipe`` names, split as it says, of any base that has ``seen`` those
    (`open_dataset`); ``folder`` is for caches.
    """
    return open_dataset(
        recipe.data,
        task=next((task for task in TASKS if task == recipe.task), None),
        validation_share=recipe.validation_share,
        test_share=recipe.test_share,
        seed=recipe.seed,
        fold=recipe.fold,
        group_by=recipe.group_by,
        opening=opening_of(recipe),
        split_copies=recipe.duplicates == "apart",
        seen=seen,
        skip_bad=recipe.skip_bad,
        skip_alone=skip_alone,
        cache=folder / CHECKED,
        progress=progress,
    )
