"""The strategy ``auto`` where advice is known for the network, the images and their size."""

from __future__ import annotations

from dataclasses import replace

from blake3 import blake3

from zoo.domain.recipe import DEFAULTS, Recipe, data_name
from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Dataset, parts_digest
from zoo.finetune.setup.prepare import PreparedRun
from zoo.lookup.history import StoredAdvice, all_advice, known_advice
from zoo.workspace import Workspace

__all__ = ["FOLLOWED", "as_advised", "groups_digest", "test_digest", "were_tried"]

FOLLOWED = frozenset(
    {"strategy", "freeze", "batch_norm", "epochs", "lr", "backbone_lr_ratio", "at"}
)
"""Options that advice decides: those of a run that followed it say what is meant by ``auto``."""


def as_advised(workspace: Workspace, prepared: PreparedRun, asked: Recipe) -> tuple[Recipe, str]:
    """The recipe that `zoo.Zoo.advise` chose, and that in words; or the one that was ``asked`` for,
    where it leaves nothing open, nothing was advised, or only probes were compared. Advice that was
    chosen by images to test on now is not followed.

    Options that are given count more: those of the advice are for what is left at its default.
    """
    if asked.strategy != "auto":
        return asked, ""
    known = _known(workspace, prepared)
    if known is None and (other := _known(workspace, prepared, grouped=False)) and other.trained:
        return asked, (
            f"the advice of {other.at[:10]} for these images is not followed, as it was not "
            "grouped: zoo advise --group-by makes one for these groups"
        )
    if known is None and (other := _of_that_name(workspace, prepared)):
        return asked, (
            f"the advice of {other.at[:10]} for {other.data} is not followed, as the images were "
            "others then: zoo advise makes one for these"
        )
    if known is None or not known.trained:
        return asked, ""
    note = f"the advice of {known.at[:10]} for these images ({known.name})"
    if known.test_digest != test_digest(prepared.dataset):
        return asked, f"{note} is for other splits and not followed: zoo advise makes one for these"
    if known.stopped:
        return asked, f"{note} was cut off and is not followed: zoo advise again resumes it"
    open_ = {name for name in FOLLOWED if getattr(asked, name) == DEFAULTS[name]}
    try:
        options = {name: value for name, value in known.options.items() if name in open_}
        recipe = replace(asked, **options)
    except (InvalidOption, TypeError, ValueError, AttributeError) as error:  # it may be damaged
        return asked, f"{note} is not followed: {str(error).splitlines()[0]}"
    return recipe, f"{note} is followed"


def were_tried(workspace: Workspace, prepared: PreparedRun) -> bool:
    """Whether recipes were tried on these images: what a rule of thumb says is no news then."""
    known = _known(workspace, prepared)
    return known is not None and known.complete


def test_digest(dataset: Dataset) -> str:
    """The same for the same images to test on, however the others are divided."""
    return parts_digest(((), (), dataset.test))


def groups_digest(dataset: Dataset) -> str:
    """The same where the same images stay together, whatever groups are called; empty where each
    image is alone.
    """
    members: dict[str, list[str]] = {}
    for key, group in dataset.groups.items():
        members.setdefault(group, []).append(key)
    together = sorted(sorted(each) for each in members.values() if len(each) > 1)
    text = "\n".join("\0".join(each) for each in together)
    return f"blake3:{blake3(text.encode('utf-8', 'surrogateescape')).hexdigest()}" if text else ""


def _of_that_name(workspace: Workspace, prepared: PreparedRun) -> StoredAdvice | None:
    """The newest advice for this network and data of that name, in which recipes were tried."""
    name, parent = data_name(prepared.recipe.data), str(prepared.parent)
    every = (each for each in all_advice(workspace) if each.trained)
    return next((each for each in every if (each.manifest, each.data) == (parent, name)), None)


def _known(
    workspace: Workspace, prepared: PreparedRun, *, grouped: bool = True
) -> StoredAdvice | None:
    size = prepared.network.planned.preprocessing.input_size[1:]
    dataset = prepared.dataset
    groups = groups_digest(dataset) if grouped else ""
    return known_advice(workspace, str(prepared.parent), dataset.digest, size, groups)
