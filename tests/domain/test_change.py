"""What differs where a name moves to another checkpoint."""

from __future__ import annotations

from dataclasses import replace
from unicodedata import normalize

from fakes.checkpoints import PREPROCESSING

from zoo.domain.change import Change, change_of
from zoo.domain.manifest import Backbone, Head, Manifest

BEFORE = Manifest(
    backbone=Backbone(plugin="toy", architecture="toynet"),
    head=Head(kind="linear", num_classes=2),
    preprocessing=PREPROCESSING,
    weights=(),
    classes=("blau", "röt"),
)


def test_classes_in_another_form_of_unicode_are_no_others() -> None:
    other = tuple(normalize("NFD", name) for name in BEFORE.classes)
    assert other != BEFORE.classes
    assert change_of(BEFORE, replace(BEFORE, classes=other)) is None


def test_a_task_of_which_nothing_was_said_is_that_of_classes() -> None:
    """That it is another one is told; the name is for something else where both were known."""
    said = replace(BEFORE, recipe={"task": "classification"})
    numbers = replace(BEFORE, recipe={"task": "regression"})
    assert change_of(BEFORE, said) is None
    for before, after, is_other in ((BEFORE, numbers, False), (said, numbers, True)):
        change = change_of(before, after)
        assert change
        assert change.lines == ("the task is regression, was classification",)
        assert change.is_other == is_other
        assert Change.from_json(change.to_json()) == change
