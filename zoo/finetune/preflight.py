"""Preflight: what can be refused before torch is imported, which takes seconds.

`zoo.Zoo` asks here first. What needs torch is refused by `zoo.finetune.setup.prepare`, before
anything is trained, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from ctypes import CDLL
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from zoo import plugins
from zoo.backbones.image_files import unusable
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.task import TASKS, Task
from zoo.errors import (
    Conflict,
    InvalidImage,
    InvalidOption,
    InvalidReference,
    MissingPackage,
    UnknownName,
    Unsupported,
)
from zoo.exchange.architecture import is_traced
from zoo.finetune.dataset.columns import check_columns, open_table, path_column
from zoo.finetune.dataset.spec import (
    TABLES,
    DatasetOptions,
    check_spec,
    is_unlabeled,
    opening_of,
    tables_in,
)
from zoo.finetune.results.trackers import Log, check_installed
from zoo.finetune.setup.base import check_base, teacher_of
from zoo.lookup.alive import taken
from zoo.lookup.edited import before_edits
from zoo.lookup.runs import REPORT, Run, find_run, list_runs, own_runs
from zoo.reflog import check_movable
from zoo.store.rights import check_writable
from zoo.workspace import Workspace

__all__ = [
    "ADVICE",
    "RANKING",
    "RecordedTraining",
    "check_batches",
    "check_device",
    "check_file",
    "check_measured",
    "check_pictured",
    "check_predicted",
    "check_new",
    "check_recipe",
    "check_report",
    "check_resumed",
    "check_where",
    "recorded",
    "say_loading",
    "unfinished",
]

ADVICE = "advice.json"
"""The file of what `zoo.Zoo.advise` found, in the folder that it writes."""
RANKING = "rank.json"
"""The same of `zoo.Zoo.rank`."""


CUDA_FILES = ("nvidia*", "kfd", "dxg", "nvmap")
"""What is in /dev with a GPU of NVIDIA, AMD, in WSL, on a Jetson."""


def check_device(device: str) -> None:
    """Before images are looked at: the device can be here at all, as far as that shows without
    torch.

    Raises:
        InvalidOption: There is none such.
    """
    kind = device.partition(":")[0]
    if kind == "mps" and sys.platform != "darwin":
        lacks = "mps is of Macs"
    elif kind == "cuda" and sys.platform == "linux" and not _may_have_cuda():
        lacks = "this machine has no GPU of NVIDIA or AMD that its system shows"
    else:
        return
    raise InvalidOption(f"the device '{device}' cannot be used here: {lacks}; auto and cpu can")


def check_where(devices: str, on: str) -> None:
    """As `check_device`, of all ``devices`` that trials run on, or of the cluster ``on`` which.

    Raises:
        InvalidOption: There are none such.
        MissingPackage: Ray is not installed.
    """
    if not on:
        for device in devices.split(","):
            check_device(device.strip())
        return
    if on != "ray" and not on.startswith("ray://"):
        raise InvalidOption(f"'{on}' is no cluster", hint="--on ray, or --on ray://HOST:10001")
    if devices not in ("auto", "cpu", "cuda"):
        raise InvalidOption(
            f"the device '{devices}' is of this machine: on a cluster a trial has a device of its "
            "own, --device auto, cpu or cuda"
        )
    if find_spec("ray") is None:
        raise MissingPackage("ray", "pip install 'zoo-registry[ray]'")


def _may_have_cuda() -> bool:
    if any(any(Path("/dev").glob(pattern)) for pattern in CUDA_FILES):
        return True
    try:
        CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def check_new(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    save: Reference,
    log: Log = (),
    device: str = "auto",
    progress: Progress = silent,
) -> None:
    """Before a run. Raises as `zoo.finetune.run.finetune`."""
    check_device(device)
    check_writable(workspace.root)
    workspace.names.check_free(save)
    check_movable(workspace.store, save, workspace.store.read_ref(save))
    check_installed(log)
    check_recipe(workspace, base, recipe, progress)


def say_loading(progress: Progress, *read: str) -> None:
    """Say what is read before torch is imported: on a busy machine that alone is half a minute of
    silence.
    """
    if "torch" not in sys.modules:
        progress.say(f"loading PyTorch, to read {' and '.join(read)}")


def check_recipe(workspace: Workspace, base: str, recipe: Recipe, progress: Progress) -> None:
    """Before a run is planned, or rates are tried: base, head, units and data are there."""
    _, parent = workspace.names.resolve(base)
    if recipe.teacher:
        teacher_of(workspace, recipe.teacher)
    plugins.check_packages("zoo.heads", recipe.head)
    task = next((task for task in TASKS if task == recipe.task), None)
    opening = opening_of(recipe)
    if check_spec(recipe.data, opening, task):
        check_columns(Path(recipe.data).expanduser(), task, recipe.group_by, opening)
    # Last: a network that was never traced here is traced, with torch.
    manifest = workspace.store.manifest(parent)
    if not is_traced(workspace.registry, manifest):
        say_loading(progress, base, recipe.data)
    check_base(workspace, manifest, recipe)


def check_pictured(
    workspace: Workspace, name: str, data: str, opening: DatasetOptions, task: Task | None
) -> None:
    """Before a checkpoint's features of images are taken: both are there, with labels or without.

    Raises:
        InvalidOption: An option is for labels or tables, and there are none.
    """
    if not is_unlabeled(data):
        check_measured(workspace, (name,), data, opening)
        return
    workspace.names.resolve(name)
    given = [*opening.of_tables, *(["task"] if task else [])]
    if given:
        options = ", ".join(f"--{each.replace('_', '-')}" for each in given)
        raise InvalidOption(f"{options}: that is for labeled images; {data} has no labels")


def check_measured(
    workspace: Workspace, names: Iterable[str], data: str, opening: DatasetOptions
) -> None:
    """Before checkpoints run on images: both are there."""
    for name in names:
        workspace.names.resolve(name)
    check_spec(data, opening, None)


def check_predicted(
    workspace: Workspace, name: str, images: object, opening: DatasetOptions, top: int
) -> list[InvalidImage]:
    """Before a checkpoint predicts its ``top`` classes: it is here, and so is an image; why each
    path gives none, if all are such.

    Raises:
        InvalidOption: Less than one class is asked for.
        UnknownName: The checkpoint is not here.
        InvalidData: A table has no column of paths.
    """
    if top < 1:
        raise InvalidOption(f"top must be at least 1, not {top}")
    try:
        workspace.names.resolve(name)
    except (UnknownName, InvalidReference) as error:
        if Path(name).is_file():
            error.hint = f"{name} is a file: the checkpoint comes first, zoo predict NAME {name}"
        raise
    given = images if isinstance(images, list | tuple) else [images]
    paths = [Path(each) for each in given if isinstance(each, str | Path)]
    for path in paths:
        if path.suffix.lower() in TABLES - {".parquet"} and path.is_file():
            path_column(path, open_table(path).names, opening)
    problems = [problem for each in paths if not tables_in(each) and (problem := unusable(each))]
    return problems if len(problems) == len(given) else []


def check_batches(size: int | None, workers: int | None, on: str = "") -> None:
    """Before images are decoded.

    Raises:
        InvalidOption: There are to be less than one in a batch, or fewer processes than none; or so
            many are asked for ``on`` a cluster.
    """
    if on and workers is not None:
        raise InvalidOption("workers are of this machine: on a cluster Ray decides where to decode")
    if size is not None and size < 1:
        raise InvalidOption(f"batch_size must be at least 1, not {size}")
    if workers is not None and workers < 0:
        raise InvalidOption(f"workers must be at least 0, not {workers}")


def check_report(out: Path | None, *, force: bool, name: str = REPORT) -> None:
    """Before anything is measured: a report can be written to the folder ``out``, if any, where
    ``name`` is its file.

    Raises:
        Conflict: There is one, or it is a file.
    """
    if out and out.is_file():
        raise Conflict(f"{out} is a file")
    if out and (out / name).exists() and not force:
        raise Conflict(f"{out} has a report; --force replaces it")


def check_file(out: Path, *, force: bool) -> None:
    """Before anything is computed: the file ``out`` can be written, as safetensors.

    Raises:
        InvalidOption: Its name is that of another format.
        Conflict: It is there, or is a folder.
    """
    if out.suffix not in ("", ".safetensors"):
        raise InvalidOption(
            f"{out}: features are written as safetensors; name it {out.with_suffix('.safetensors')}"
        )
    if out.is_dir() or (out.exists() and not force):
        raise Conflict(f"{out} {'is a folder' if out.is_dir() else 'exists; --force replaces it'}")


def check_resumed(workspace: Workspace, name: str, log: Log = ()) -> str:
    """Before a run is resumed; its id. ``last`` is the newest of one's own that are not going
    on.

    Raises:
        UnknownName, InvalidOption: No such run, or several.
        Conflict: It is done, or running.
    """
    runs = list_runs(workspace)
    idle = [run for run in own_runs(runs) if run.status != "running"]
    run = idle[0] if name == "last" and idle else find_run(workspace, name)
    if run.status == "done" and (older := [each for each in idle if each.status != "done"]):
        raise Conflict(
            f"the run {run.id} is done",
            hint=f"{older[0].id} -> {older[0].save} was cut off: zoo finetune --resume ID takes it",
        )
    unfinished(run)
    if run.status == "running":
        raise taken(run.folder)
    if again := next((each for each in runs if _is_again(run, each)), None):
        raise Conflict(f"{run.save} was trained since, in the same way: the run {again.id} is done")
    check_installed(log or run.log)
    return run.id


def _is_again(run: Run, other: Run) -> bool:
    """Whether another run did later what this one was to do."""
    same = (run.save, run.parent, run.recipe) == (other.save, other.parent, other.recipe)
    return same and other.status == "done" and other.id > run.id


def unfinished(run: Run) -> Run:
    """The run, unless it is done: `Conflict` then."""
    if run.status == "done":
        raise Conflict(f"the run {run.id} is done")
    return run


class RecordedTraining(NamedTuple):
    """How a checkpoint was trained: what it is, what it began with, and the recipe, with the images
    where they are now.
    """

    known: Manifest
    base: Parent
    recipe: Recipe


def recorded(workspace: Workspace, name: str, data: str | None, root: str) -> RecordedTraining:
    """How ``name`` was trained; on ``data``, if that is not where it was.

    Raises:
        UnknownName: There is no such checkpoint.
        Unsupported: It is not the result of a fine-tune.
        InvalidOption: It was trained elsewhere, and there is no ``data``.
    """
    _, digest = workspace.names.resolve(name)
    known = workspace.store.manifest(digest)
    tuned = [parent for parent in known.parents if parent.relation == "finetune"]
    if known.recipe is None or not tuned:
        raise Unsupported(f"{name} is not the result of a fine-tune: it has no recipe")
    moved = {"data": data, "root": root} if data else _data_of(workspace, name, digest)
    return RecordedTraining(known, tuned[0], Recipe.recorded({**known.recipe, **moved}))


def _data_of(workspace: Workspace, name: str, digest: Digest) -> dict[str, str]:
    """Where the images are that a checkpoint was trained on: only its run here tells.

    Raises:
        InvalidOption: It has none: a recipe from elsewhere could name any folder of this machine.
    """
    digests = {str(digest), *map(str, before_edits(workspace, digest))}
    for run in list_runs(workspace):
        if run.result.get("manifest") in digests:
            return {key: str(run.recipe.get(key, "")) for key in ("data", "root")}
    data = (workspace.store.manifest(digest).recipe or {}).get("data")
    raise InvalidOption(
        f"no run of this zoo made {name}, so it is not known where its images ('{data}') lie here: "
        f"name them, zoo rerun {name} --data FOLDER"
    )
