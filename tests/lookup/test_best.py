from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.clock import earlier

from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, UnknownName
from zoo.lookup.architectures import architectures
from zoo.lookup.best import best
from zoo.transfer.fetch import fetch
from zoo.transfer.sync import push
from zoo.workspace import Workspace

RESULTS: dict[str, tuple[str, dict[str, float], str | None]] = {
    "team/a": ("/data/digits", {"accuracy": 0.90, "loss": 0.3}, "mit"),
    "team/b": ("/home/me/digits/", {"accuracy": 0.95, "loss": 0.4}, None),
    "team/c": ("/data/flowers", {"accuracy": 0.99, "loss": 0.1}, "mit"),
    "team/d": ("/data/digits", {"f1": -0.5}, "mit"),
}


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    for seed, (name, (data, metrics, license_)) in enumerate(RESULTS.items()):
        add(workspace, name, seed, data, metrics, license=license_)
    yield workspace
    workspace.close()


def add(
    zoo: Workspace, name: str, seed: int, data: str, metrics: dict[str, float], **known: Any
) -> Digest:
    provenance = {"data_digest": "one", "split_digest": "one"}
    return add_checkpoint(
        zoo, name, tensors(seed),
        **{"recipe": {"data": data}, "metrics": metrics, "provenance": provenance, **known},
    )  # fmt: skip


def test_the_best_on_a_dataset(zoo: Workspace) -> None:
    found = best(zoo, dataset="digits").to_json()
    assert (found["name"], found["value"], found["of"]) == ("team/b", 0.95, 2)
    assert (found["pulled"], found["pull"], found["other_data"]) == (True, None, [])
    assert found["ties"] == []
    assert best(zoo).to_json()["name"] == "team/c"
    add(zoo, "team/twin", 8, "/data/digits", {"accuracy": 0.95})
    twins = best(zoo, dataset="digits").to_json()
    assert {twins["name"], *twins["ties"]} == {"team/b", "team/twin"}
    zoo.move(Reference.parse("team/b:v1"), zoo.names.resolve("team/b")[1], "tag")
    assert best(zoo, dataset="digits").of == 3  # checkpoints, not names
    json.dumps(found, allow_nan=False)


def test_of_equal_ones_a_name_without_a_tag_is_best(zoo: Workspace) -> None:
    for number, name in enumerate(("team/b:epoch-7", "a/b:epoch-7", "team/b:zz")):
        add(zoo, name, 8 + number, "/data/digits", {"accuracy": 0.95})
    found = best(zoo, dataset="digits")
    assert (found.found.name, len(found.ties)) == ("team/b", 3)


def test_of_names_of_one_checkpoint_the_oldest_is_told_and_the_others_beside(
    zoo: Workspace,
) -> None:
    with earlier():
        digest = add(zoo, "team/old", 12, "/data/digits", {"accuracy": 0.96})
    for name in ("ann/alias", "team/old:v1"):
        zoo.move(Reference.parse(name), digest, "tag")
    found = best(zoo, dataset="digits")
    assert (found.found.name, found.ties) == ("team/old", ())
    assert found.also == ("ann/alias", "team/old:v1")
    zoo.delete(Reference.parse("team/old"))
    assert best(zoo, dataset="digits").found.name == "ann/alias"


@pytest.mark.long
def test_no_tie_is_left_out(zoo: Workspace) -> None:
    for number in range(30):
        add(zoo, f"team/same{number}", 20 + number, "/data/digits", {"accuracy": 0.97})
    assert len(best(zoo, dataset="digits").ties) == 29


def test_what_nobody_measured_here_is_said_and_another_name_is_no_tie(zoo: Workspace) -> None:
    said = {"source": "file", "metrics": "from trainer_state.json, not measured here"}
    digest = add(zoo, "team/run:step-100", 9, "/data/cats", {"accuracy": 0.995}, provenance=said)
    zoo.move(Reference.parse("team/run"), digest, "import")
    found = best(zoo)
    assert found.published == "accuracy from trainer_state.json, not measured here"
    assert found.ties == ()
    edited = {"metrics": "stated, not measured: f1"}
    add(zoo, "team/edited", 10, "/data/x", {"accuracy": 1.0, "f1": 2.0}, provenance=edited)
    assert best(zoo).published == ""
    f1 = best(zoo, metric="f1")
    assert (f1.found.name, f1.published, f1.only_stated) == ("team/d", "", ("team/edited",))
    alone = best(zoo, "edited", metric="f1")
    assert (alone.value, alone.published) == (2.0, "f1 stated, not measured")


@pytest.mark.long
def test_what_was_measured_comes_before_any_number_of_what_was_stated(zoo: Workspace) -> None:
    said = {"metrics": "stated on import, not measured"}
    for number in range(25):
        add(zoo, f"old/{number}", 20 + number, "/data/digits", {"accuracy": 1.0}, provenance=said)
    found = best(zoo, dataset="digits")
    assert (found.found.name, found.value, len(found.only_stated)) == ("team/b", 0.95, 25)


def test_less_is_better_of_a_loss(zoo: Workspace) -> None:
    assert best(zoo, dataset="digits", metric="loss").to_json()["name"] == "team/a"
    assert best(zoo, dataset="digits", metric="loss", lowest=False).to_json()["name"] == "team/b"
    assert best(zoo, dataset="digits", metric="f1").to_json()["value"] == -0.5


def test_filters_are_those_of_a_search(zoo: Workspace) -> None:
    assert best(zoo, "license:mit", dataset="digits").to_json()["name"] == "team/a"
    with pytest.raises(InvalidOption):
        best(zoo, "params<many")


@pytest.mark.parametrize(
    ("how", "hint"),
    [
        ({"metric": "bleu", "dataset": "digits"}, "accuracy, f1, loss"),
        ({"dataset": "nothing"}, "nothing matches"),
        ({"metric": 'x"y:z\x1b'}, "accuracy, f1, loss"),
    ],
)
def test_no_such_result(zoo: Workspace, how: dict[str, str], hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        best(zoo, **how)  # type: ignore[arg-type]
    assert hint in (caught.value.hint or "")


def test_a_slip_in_the_name_of_data(zoo: Workspace) -> None:
    with pytest.raises(UnknownName, match="there is data called digits"):
        best(zoo, dataset="digit")


def test_other_images_do_not_compare(zoo: Workspace) -> None:
    other = {"data_digest": "one", "split_digest": "two"}
    add(zoo, "team/e", 9, "/data/digits", {"accuracy": 0.8}, provenance=other)
    assert best(zoo, dataset="digits").to_json()["other_data"] == ["team/e"]
    add(zoo, "team/f", 10, "/data/digits", {"accuracy": 0.95}, provenance=other)
    found = best(zoo, dataset="digits")  # which of the two is first is chance: neither is as good
    assert (found.value, found.ties) == (0.95, ())
    assert {"team/b", "team/f"} & {*found.other_data}


def test_the_best_may_be_at_a_remote(zoo: Workspace, tmp_path: Path) -> None:
    push(zoo, "team/b", str(tmp_path / "team"))
    mine = Workspace.create(tmp_path / "mine")
    mine.remotes.add("lab", str(tmp_path / "team"))
    fetch(mine, "lab")
    found = best(mine, dataset="digits").to_json()
    mine.close()
    assert (found["name"], found["pull"]) == ("team/b", "zoo pull team/b --from lab")


def test_architectures_with_public_weights_beside_the_teams(zoo: Workspace) -> None:
    entry = CatalogEntry(
        name="timm/toynet.a1", backbone="toy", architecture="toynet",
        location=Location("hub", "x"),
    )  # fmt: skip
    other = CatalogEntry(name="timm/other.a1", backbone="toy", architecture="other")
    zoo.registry.replace_entries("timm", "1", [entry, other], "2026-01-01T00:00:00Z")
    found = architectures(zoo).to_json()
    rows = {row["architecture"]: row for row in found["architectures"]}
    assert list(rows) == ["other", "toynet"]
    assert (rows["toynet"]["checkpoint"], rows["toynet"]["catalog"]) == (4, 1)
    assert (rows["other"]["checkpoint"], rows["other"]["catalog"]) == (0, 1)
    assert found["weights"] == []
    weights = architectures(zoo, "toynet").to_json()["weights"]
    assert {row["name"] for row in weights} == {*RESULTS, "timm/toynet.a1"}
    assert weights[-1]["name"] == "timm/toynet.a1"
    assert [a["architecture"] for a in architectures(zoo, "TOY*").to_json()["architectures"]] == [
        "toynet"
    ]
    with pytest.raises(UnknownName) as caught:
        architectures(zoo, "toyne")
    assert caught.value.near == ("toynet",)
    json.dumps(found, allow_nan=False)
