"""What differs where a name moves to another checkpoint."""

from __future__ import annotations

from dataclasses import replace
from unicodedata import normalize

from fakes.checkpoints import PREPROCESSING

from zoo.domain.change import change_of
from zoo.domain.manifest import Backbone, Head, Manifest


def test_classes_in_another_form_of_unicode_are_no_others() -> None:
    before = Manifest(
        backbone=Backbone(plugin="toy", architecture="toynet"),
        head=Head(kind="linear", num_classes=2),
        preprocessing=PREPROCESSING,
        weights=(),
        classes=("blau", "röt"),
    )
    other = tuple(normalize("NFD", name) for name in before.classes)
    assert other != before.classes
    assert change_of(before, replace(before, classes=other)) is None
