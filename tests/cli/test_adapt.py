"""``zoo adapt``: what it says, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.derived import derive, weights_of
from fakes.prepared import NET

import zoo
from zoo.domain.manifest import Head
from zoo.workspace import Workspace

Run = Callable[..., Any]
BASE = "timm/tf_efficientnet_lite0.in1k"
TUNED = "team/digits"


@pytest.mark.long
def test_a_shallower_network(run: Run, home: Path) -> None:
    """Said in a line and as data; its tree, lineage and outputs are the truncated network's."""
    said = run("adapt", BASE, "team/shallow", "--truncate", "blocks.4", "--classes", 3)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("team/shallow  ")
    assert f"from {BASE}: " in said.out
    assert "head" not in said.out
    bare = run("adapt", BASE, "team/bare", "--truncate", "blocks.0").done().out.splitlines()
    assert bare[2:] == [
        "  it has no head: it gives pooled features, no classes",
        "  one that is trained on your images: zoo finetune team/bare --data FOLDER --save NAME",
        "  one that is untrained: zoo adapt team/bare NEW --classes COUNT",
    ]
    head = run("adapt", "team/bare", "team/headed", "--classes", 2, "--json").json
    assert not head["headless"]
    made = run("adapt", BASE, "team/gray", "--channels", 1, "--image-size", "64x96", "--json").json
    assert made["options"] == {"num_classes": 1000, "image_size": [64, 96], "channels": 1}
    assert 0 < made["bytes"] - made["shared_bytes"] < 10_000  # the first layer's weights
    assert made["moved_from"] is None
    again = run("adapt", BASE, "team/gray", "--channels", 2)
    assert f"\n  moved; was {made['manifest'][7:19]} (zoo log team/gray)\n" in again.out
    made = run("adapt", BASE, "team/gray", "--channels", 1, "--image-size", "64x96", "--json").json
    tree = run("tree", "team/shallow", "--json").json
    assert tree["units"][-1]["name"] == "blocks.4.2"
    assert tree["head"]["shape"] == [1, 3]
    assert BASE in run("log", "team/shallow").out
    here = zoo.open(home)
    assert here.load("team/shallow")(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert here.load("team/gray")(torch.zeros(1, 1, 64, 96)).shape == (1, 1000)
    here.close()


def test_a_head_that_is_kept_keeps_its_task(small: Run) -> None:
    known = {"head": Head(kind="native", num_classes=3), "classes": ("x", "y", "z"), "freeze": None}
    recipe = {"task": "regression", "data": "/data/x"}
    with closing(Workspace(Path())) as workspace:
        values = weights_of(workspace, NET)
        derive(workspace, NET, "team/numbers", values, **known, recipe=recipe)
    for option, value, kept in (
        ("--channels", 1, {"task": "regression"}),
        ("--classes", 2, None),
    ):
        made = small("adapt", "team/numbers", "team/made", option, value, "--json").done().json
        shown = small("show", made["manifest"], "--json").json
        assert shown["recipe"] == kept


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), ["error: no change is asked for"]),
        (("--truncate", "blokcs.4"), ["unknown unit or stage of tf_efficientnet_lite0 'blokcs.4'",
                                      "did you mean blocks.4"]),
        (("--truncate", "zzz"), ["zoo tree lists them"]),
        pytest.param(("--without", "blocks.3.0"),
                     ["cannot be removed: it turns 1x40x28x28 into 1x80x14x14"],
                     marks=pytest.mark.long),
        (("--without", "blocks.2"), ["error: blocks.2 is a stage of blocks.2.0, blocks.2.1: "
                                     "name one unit"]),
        (("--without=-2",), ["error: unknown unit of tf_efficientnet_lite0 '-2'",
                             "zoo tree lists them"]),
        (("--without", "blokcs.2.1"), ["did you mean blocks.2.1"]),
        (("--convolutional",), ["EfficientNet has no fully connected layers", "AlexNet and VGG"]),
        (("--image-size", "8x"), ["an image size looks like 320, or 320x256"]),
        (("--channels", 99999), ["from 1 to 1024, not 99999"]),
        (("--classes", 3, "--head", "linaer"), ["unknown head 'linaer'", "did you mean linear"]),
    ],
)  # fmt: skip
def test_refusals_say_why(run: Run, options: tuple[object, ...], says: list[str]) -> None:
    said = run("adapt", BASE, "team/new", *options)
    assert said.code == 1
    assert all(words in said.err for words in says), said.err
    assert run("show", "team/new").code == 1


def test_a_name_that_is_protected_is_left_alone(run: Run) -> None:
    run("protect", TUNED)
    said = run("adapt", BASE, TUNED, "--channels", 1)
    assert said.code == 1
    assert "protected" in said.err
