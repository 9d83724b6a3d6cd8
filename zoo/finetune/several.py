"""Several: runs of one base, one after another, for seeds and for folds.

Each is an ordinary run, and a checkpoint of its own under a tag. Whoever stops in between keeps
those that are done, and the same command takes them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from zoo import config
from zoo.domain.digest import Digest
from zoo.domain.plain import Json
from zoo.domain.progress import Progress
from zoo.domain.recipe import Recipe
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import InvalidOption, UnknownName
from zoo.finetune.conclude import Finetuned
from zoo.finetune.results.journal import is_as_today
from zoo.finetune.saved import check_saved
from zoo.finetune.setup.data import dataset_of
from zoo.finetune.setup.prepare import with_absolute_paths
from zoo.finetune.setup.seen import open_for
from zoo.lookup.runs import CACHE, Run, list_runs
from zoo.workspace import Workspace

__all__ = ["RunOne", "Several"]

RunOne = Callable[[Recipe, str, str], Finetuned]
"""Runs a recipe: on a base, with a name for the result."""


class Several:
    """Runs of one base, one after another, each saved under a tag (``seed-3``).

    Raises:
        InvalidOption: This is one of several processes.
    """

    def __init__(
        self,
        workspace: Workspace,
        base: str,
        save: Reference,
        kind: str,
        numbers: Sequence[int],
        progress: Progress,
    ) -> None:
        if config.processes() > 1:
            raise InvalidOption(
                f"several {kind}s are not for torchrun or accelerate launch: start one process, "
                f"which starts the others for each {kind} (zoo finetune --{kind}s 5 --launch 2)"
            )
        own = f"{kind}-" if save.tag == DEFAULT_TAG else f"{save.tag}-{kind}-"
        self._refs = {number: replace(save, tag=f"{own}{number}") for number in numbers}
        for ref in (save, *self._refs.values()):
            workspace.names.check_free(ref)
        self._workspace, self._name, self._progress = workspace, base, progress
        _, self._parent = workspace.names.resolve(base)
        self._asked: dict[Reference, Json] = {}
        self._kind, self._running = kind, ""

    @property
    def base(self) -> str:
        """All from one checkpoint: the name may point at another one by now."""
        try:
            same = self._workspace.names.resolve(self._name)[1] == self._parent
        except UnknownName:
            same = False
        return self._name if same else str(self._parent)

    def check_saved(self, save: Reference, recipe: Recipe, *, force: bool) -> None:
        """See, before the first of them, that ``save`` may become the name of the last, and say so
        if it is here.

        Raises:
            OtherClasses: As `finetune`.
        """
        if self._workspace.store.read_ref(save):
            dataset = dataset_of(self._workspace.root / CACHE, recipe, self._progress)
            base = self._workspace.store.manifest(self._parent)
            if moving := check_saved(self._workspace, save, base, recipe, dataset, force=force):
                self._progress.say(str(moving))

    def run(self, number: int, recipe: Recipe, run: RunOne) -> Finetuned:
        """``run`` the ``recipe`` of one number, unless that was done before."""
        ref = self._refs[number]
        # A preset is its options: other processes are told these alone.
        self._asked[ref] = with_absolute_paths(replace(recipe, preset="")).to_json()
        done = self._taken_up(ref, recipe)
        if done is None:
            at = f"{len(self._asked)} of {len(self._refs)}"
            self._running = at if self._kind == "fold" else f"{number}, {at}"
            done = run(recipe, self.base, str(ref))
            self._running = ""
        return done

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While they run, an interrupt says which of them are kept."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            # Looked up: one may be kept that was still about to end.
            kept = [str(ref) for ref in self._asked if self._finished(ref)]
            asked = [str(ref) for ref in self._asked]
            cut = self._running and asked[-1] not in kept
            this = f"this was {self._kind} {self._running}; " if cut else ""
            if kept:
                note = f"{this}kept: {', '.join(kept)}; the same command again takes them up"
            elif getattr(interrupt, "__notes__", ()):  # the run that was cut off says its own
                note = f"{this}when it is done, the same command again takes it up"
            else:
                note = "nothing is kept yet, begin anew"
            interrupt.add_note(note)
            raise

    def _taken_up(self, ref: Reference, recipe: Recipe) -> Finetuned | None:
        """What was made before of the same images."""
        run = self._finished(ref)
        if run is None:
            return None
        cache = self._workspace.root / CACHE
        opened = open_for(self._workspace, self._parent, self._name, recipe, cache, self._progress)
        if not is_as_today(run.provenance, opened.dataset):
            return None
        self._progress.say(f"{ref} is there already, from the run {run.id}")
        manifest = Digest.parse(run.result["manifest"])
        return Finetuned.of_run(run, self._workspace.store.manifest(manifest))

    def _finished(self, ref: Reference) -> Run | None:
        """The run that made what ``ref`` names, if it was from this base and recipe."""
        now = self._workspace.store.read_ref(ref)
        if now is None or now.deleted:
            return None
        key = (str(ref), str(self._parent), self._asked[ref], str(now.manifest))
        for run in list_runs(self._workspace):
            asked = {name: value for name, value in run.asked.items() if name != "preset"}
            if (run.save, run.parent, asked, run.result.get("manifest")) == key:
                return run
        return None
