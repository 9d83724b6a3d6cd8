from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import UnknownName
from zoo.facade import Zoo
from zoo.lookup.lineage import lineage
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

BASE, TUNED, AGAIN = "timm/toynet.a1", "team/flowers", "team/roses"


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


@pytest.fixture
def family(zoo: Workspace) -> dict[str, Digest]:
    """A base, a fine-tune of it, and a fine-tune of that."""
    base = add_checkpoint(zoo, BASE, license="mit", provenance={"source": "timm"})
    tuned = add_checkpoint(
        zoo,
        TUNED,
        tensors(1),
        parents=(Parent(manifest=base, relation="finetune", ref=BASE),),
        freeze={"boundary": "layer1"},
        metrics={"accuracy": 0.5},
        created="2026-01-02T03:04:05Z",
    )
    parents = zoo.store.manifest(tuned).parents
    again = add_checkpoint(
        zoo,
        AGAIN,
        tensors(2),
        parents=(Parent(manifest=tuned, relation="finetune", ref=TUNED),),
        ancestors={tuned: parents},
        created="2026-01-03T03:04:05Z",
    )
    return {BASE: base, TUNED: tuned, AGAIN: again}


def column(steps: list[dict[str, Any]], key: str) -> list[Any]:
    return [step[key] for step in steps]


def test_ancestors_run_from_the_checkpoint_to_the_root(
    zoo: Workspace, family: dict[str, Digest]
) -> None:
    found = lineage(zoo, AGAIN).to_json()
    assert (found["name"], found["manifest"]) == (AGAIN, str(family[AGAIN]))
    steps = found["ancestors"]
    assert column(steps, "name") == [AGAIN, TUNED, BASE]
    assert column(steps, "manifest") == [str(family[name]) for name in (AGAIN, TUNED, BASE)]
    assert column(steps, "relation") == ["self", "finetune", "finetune"]
    assert column(steps, "here") == [True, True, True]
    assert found["children"] == []
    json.dumps(found, allow_nan=False)


def test_a_step_says_what_was_done(zoo: Workspace, family: dict[str, Digest]) -> None:
    tuned, base = lineage(zoo, TUNED).to_json()["ancestors"]
    assert tuned == {
        "manifest": str(family[TUNED]),
        "name": TUNED,
        "refs": [TUNED],
        "relation": "self",
        "here": True,
        "architecture": "toynet",
        "created": "2026-01-02T03:04:05Z",
        "license": None,
        "freeze": {"boundary": "layer1"},
        "metrics": {"accuracy": 0.5},
        "source": None,
        "author": None,
        "note": None,
    }
    assert (base["license"], base["source"], base["freeze"]) == ("mit", "timm", None)


def test_children_are_the_direct_ones(zoo: Workspace, family: dict[str, Digest]) -> None:
    (child,) = lineage(zoo, BASE).to_json()["children"]
    assert (child["name"], child["manifest"]) == (TUNED, str(family[TUNED]))
    assert (child["relation"], child["here"]) == ("child", True)


def test_descendants_are_all_of_them(zoo: Workspace, family: dict[str, Digest]) -> None:
    found = lineage(zoo, BASE).to_json()["descendants"]
    assert column(found, "name") == [TUNED, AGAIN]
    assert column(found, "depth") == [1, 2]
    assert column(found, "parent") == [str(family[BASE]), str(family[TUNED])]
    assert lineage(zoo, AGAIN).to_json()["descendants"] == []


def test_history_is_newest_first(zoo: Workspace, family: dict[str, Digest]) -> None:
    zoo.move(Reference.parse(TUNED), family[BASE], "roll back")
    history = lineage(zoo, TUNED).to_json()["history"]
    assert column(history, "number") == [2, 1]
    assert column(history, "why") == ["roll back", "test"]
    assert column(history, "manifest") == [str(family[BASE]), str(family[TUNED])]
    assert history[0]["previous"] == str(family[TUNED])
    assert history[0]["by"] == "tester"


def test_a_digest_has_ancestors_and_no_history(zoo: Workspace, family: dict[str, Digest]) -> None:
    found = lineage(zoo, str(family[TUNED])).to_json()
    assert column(found["ancestors"], "manifest") == [str(family[TUNED]), str(family[BASE])]
    assert found["history"] == []


def test_an_ancestor_met_twice_is_listed_once(zoo: Workspace, family: dict[str, Digest]) -> None:
    parents = tuple(
        Parent(manifest=family[name], relation="merge", ref=name) for name in (TUNED, BASE)
    )
    add_checkpoint(zoo, "team/merged", tensors(3), parents=parents)
    steps = lineage(zoo, "team/merged").to_json()["ancestors"]
    assert column(steps, "name") == ["team/merged", TUNED, BASE]


def test_an_unknown_name_suggests_names(zoo: Workspace, family: dict[str, Digest]) -> None:
    with pytest.raises(UnknownName) as caught:
        lineage(zoo, "team/flower")
    assert caught.value.near[0] == TUNED


def test_lineage_travels_where_the_ancestors_do_not(
    zoo: Workspace, family: dict[str, Digest], tmp_path: Path
) -> None:
    push(zoo, AGAIN, str(tmp_path / "team"))
    theirs = Workspace.create(tmp_path / "theirs")
    pull(theirs, AGAIN, str(tmp_path / "team"))
    steps = lineage(theirs, AGAIN).to_json()["ancestors"]
    theirs.close()
    assert column(steps, "name") == [AGAIN, TUNED, BASE]
    assert column(steps, "manifest") == [str(family[name]) for name in (AGAIN, TUNED, BASE)]
    assert column(steps, "here") == [True, False, False]


def test_what_derives_from_a_name_or_a_digest(zoo: Workspace, family: dict[str, Digest]) -> None:
    opened = Zoo(zoo)
    assert opened.derived_from(BASE) == opened.derived_from(family[BASE]) == [TUNED]
    assert opened.derived_from(AGAIN) == []
    with pytest.raises(UnknownName):
        opened.derived_from("team/nothing")
