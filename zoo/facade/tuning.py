"""Fine-tune: runs, and going on with them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.facade.opened import Opened
from zoo.lookup.runs import CACHE, RUNS, Run, find_run, list_runs
from zoo.store.rights import for_all_of

if TYPE_CHECKING:
    from zoo.finetune.loop.find_lr import LRCurve
    from zoo.finetune.run import Result

__all__ = ["Tuning"]


class Tuning(Opened):
    """What trains."""

    def finetune(
        self, base: str, data: Path | str, save: str, *, device: str = "auto",
        save_every: int = 0, **options: Any,
    ) -> Result:  # fmt: skip
        """Fine-tune ``base`` on ``data`` and save the result under ``save``.

        ``options`` are the fields of `zoo.domain.recipe.Recipe`: ``freeze="stages.2"``, ``head``,
        ``epochs``…

        Raises:
            InvalidOption, InvalidFreeze, InvalidData: Before anything is trained.
        """
        freeze = str(options.pop("freeze", "none"))  # a count may be given as a number
        recipe = Recipe(data=str(data), freeze=freeze, **options)
        return self.run_recipe(recipe, base, save, device=device, save_every=save_every)

    def run_recipe(
        self, recipe: Recipe, base: str, save: str, *, device: str = "auto", save_every: int = 0
    ) -> Result:
        """Fine-tune ``base`` after ``recipe``; the rest is as for `finetune`."""
        from zoo.finetune.run import finetune

        with self._shared():
            return finetune(
                self.workspace, base, recipe, Reference.parse(save), device=device,
                save_every=save_every, progress=self.progress,
            )  # fmt: skip

    def find_lr(self, recipe: Recipe, base: str, *, device: str = "auto") -> LRCurve:
        """Try learning rates for ``recipe`` on ``base``; nothing is kept.

        Raises:
            InvalidOption: The recipe trains nothing; else as `finetune`.
        """
        from zoo.finetune.run import find_lr

        with for_all_of(self.workspace.root, CACHE):
            return find_lr(self.workspace, base, recipe, device=device, progress=self.progress)

    def resume(self, run: str, *, device: str | None = None, save_every: int = 0) -> Result:
        """Resume a run that was cut off; ``last`` is the newest.

        It goes on on the ``device`` that it was on, or on another, which gives other bits.

        Raises:
            UnknownName: No such run.
            Conflict: It is done, or going on.
            InvalidData: The images, or their split, are not those that it was trained on so far.
        """
        from zoo.finetune.run import resume

        with self._shared():
            return resume(
                self.workspace, run, device=device, save_every=save_every, progress=self.progress
            )

    def rerun(
        self, name: str, save: str, *, data: Path | str | None = None, device: str = "auto"
    ) -> Result:
        """Fine-tune again as the checkpoint ``name`` was.

        Raises:
            UnknownName: No such checkpoint, or its base is not here.
            Unsupported: It is not the result of a fine-tune.
            InvalidData: The images, or their split, are not those that it was trained on.
        """
        from zoo.finetune.run import rerun

        with self._shared():
            return rerun(
                self.workspace, name, Reference.parse(save), data=str(data) if data else None,
                device=device, progress=self.progress,
            )  # fmt: skip

    def _shared(self) -> AbstractContextManager[None]:
        """Whoever may use the zoo can resume the run, and use what it has cached."""
        return for_all_of(self.workspace.root, RUNS, CACHE)

    def runs(self) -> list[Run]:
        """All fine-tunes that were begun here, newest first."""
        return list_runs(self.workspace)

    def run(self, name: str) -> Run:
        """One of them, by its id or the beginning of it; ``last`` is the newest.

        Raises:
            UnknownName: None begins so, or several do.
        """
        return find_run(self.workspace, name)
