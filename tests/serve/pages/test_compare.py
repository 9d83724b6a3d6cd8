"""Compare: checkpoints side by side, of those that who asks may read."""

from __future__ import annotations

import csv
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import page, text_of
from fakes.served import Served, serving
from fakes.trained import HOSTILE
from scipy.stats import binomtest

import zoo
from zoo.domain.reference import Reference
from zoo.lookup.runs import PREDICTIONS
from zoo.workspace import Workspace

TWO = "names=team/net&names=team/seed"
FOUR = "names=team/base&names=team/net&names=team/strange&names=team/probe"


@pytest.fixture(scope="module")
def ann(trained: Served) -> str:
    return trained.token("ann")


def twin(served: Served, query: str, token: str | None) -> Any:
    return served.ask(f"/compare.json?{query}", token=token).json


def right(folder: Path) -> dict[str, bool]:
    with (folder / PREDICTIONS).open() as file:
        return {row["path"]: row["label"] == row["predicted"] for row in csv.DictReader(file)}


def test_units_are_what_zoo_diff_says(trained: Served, ann: str) -> None:
    """Networks are traced beside what is asked, so what is known of units may change meanwhile."""
    until = time.monotonic() + 60
    while (told := twin(trained, FOUR, ann)) and time.monotonic() < until:
        shown, known = units_shown(told), units_known(trained.root)
        if told["measured"] and shown == known:
            break
        time.sleep(0.1)
    assert not told["problem"]
    assert shown == known


def units_shown(told: dict[str, Any]) -> list[Any]:
    return [
        (
            share,
            {
                row["unit"]: {name: cell[name] for name in ("status", "note", "distance")}
                for row in told["units"]
                if (cell := row["cells"][at])
            },
        )
        for at, share in enumerate(told["shares"])
    ]


def units_known(root: Path) -> list[Any]:
    with zoo.open(root) as z:
        found = [z.diff("team/base", name) for name in ("team/net", "team/strange", "team/probe")]
    return [
        (
            each.identical_share,
            {
                unit.unit: {"status": unit.status, "note": unit.note, "distance": unit.distance}
                for unit in each.units
            },
        )
        for each in found
    ]


def test_whether_they_differ_is_what_the_paired_test_says(
    trained: Served,
    ann: str,
) -> None:
    (verdict,) = twin(trained, TWO, ann)["verdicts"]
    with zoo.open(trained.root) as z:
        folders = {run.save: run.folder for run in z.runs()}
    one, other = right(folders["team/net"]), right(folders["team/seed"])
    better = sum(one[key] and not other[key] for key in one)
    worse = sum(other[key] and not one[key] for key in one)
    assert better + worse
    p = binomtest(better, better + worse).pvalue
    assert verdict["known"]
    assert f"they differ on {better + worse} of 15 images, p = {p:.2g}: " in verdict["text"]
    _, tree = page(trained, f"/compare?{TWO}", ann)
    assert f"p = {p:.2g}" in tree.xpath("string(//p[@class='verdict'])")


def test_figures_have_their_intervals(trained: Served, ann: str) -> None:
    found = twin(trained, TWO, ann)
    figures = {row["name"]: row["values"] for row in found["figures"]}
    with closing(Workspace(trained.root)) as workspace:
        for at, name in enumerate(("team/net", "team/seed")):
            metrics = workspace.store.manifest(workspace.names.resolve(name)[1]).metrics
            told = figures["accuracy"][at]
            assert told["low"] < told["value"] < told["high"]
            ends = ("accuracy", "accuracy_low", "accuracy_high")
            assert [told[each] for each in ("value", "low", "high")] == [metrics[e] for e in ends]
    _, tree = page(trained, f"/compare?{TWO}", ann)
    assert len(tree.xpath("//svg[@class='chart']//circle")) == 2
    assert len(tree.xpath("//svg[@class='matrix']")) == 2


def test_recipes_differ_in_what_was_chosen_otherwise(
    trained: Served,
    ann: str,
) -> None:
    recorded = {
        (row["part"], row["name"]): row["values"] for row in twin(trained, TWO, ann)["recorded"]
    }
    assert recorded["recipe", "seed"] == ["0", "1"]
    assert ("preprocessing", "input size") not in recorded
    four = {
        (row["part"], row["name"]): row["values"] for row in twin(trained, FOUR, ann)["recorded"]
    }
    assert four["license", "license"][2] == "mit"
    assert four["preprocessing", "input size"] == ["3, 160, 160", "3, 32, 32"] * 2


@pytest.mark.parametrize("name", ["secret/child", "secret/nothing", "no/where"])
def test_one_that_may_not_be_read_looks_as_if_it_were_not_there(
    trained: Served,
    ann: str,
    name: str,
) -> None:
    got, _ = page(trained, f"/compare?names=team/net&names={name}", ann)
    other, _ = page(trained, "/compare?names=team/net&names=no/body", ann)
    assert got.status == 404
    seen = unquote(got.body.decode())  # the page's own address is in it, too
    assert seen.replace(name, "no/body") == unquote(other.body.decode())
    assert twin(trained, "names=team/net&names=secret/child", trained.token("admin"))["sides"]


def test_what_is_named_by_strangers_stays_text(trained: Served, ann: str) -> None:
    _, tree = page(trained, f"/compare?{FOUR}", ann)
    assert not tree.xpath("//img")
    assert HOSTILE in "".join(tree.xpath("//main//text()"))
    _, tree = page(trained, "/compare?names=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", ann)
    assert not tree.xpath("//main//script")


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 200), ("names=team/net", 200), ("names=&names=team/net&names=", 200),
     ("&".join(f"names=team/n{n}" for n in range(5)), 400), ("names=x&names=team/net", 400),
     ("names=team/net&names=team/net:v9", 404)],
)  # fmt: skip
def test_what_cannot_be_compared(
    trained: Served,
    ann: str,
    query: str,
    status: int,
) -> None:
    got, tree = page(trained, f"/compare?{query}", ann)
    assert got.status == status
    if status == 200:
        assert len(tree.xpath("//input[@name='names']")) == 4
    if "team/net" in query and status == 200:
        assert "team/net" in tree.xpath("//input[@name='names']/@value")


def test_tested_on_other_images(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        for number in (1, 2):
            known = {"data_digest": "d", "test_digest": str(number)}
            add_checkpoint(workspace, f"team/n{number}", tensors(number), provenance=known,
                           metrics={"accuracy": 0.5}, recipe={"data": "x", "strategy": "full", "seed": 0})  # noqa: E501  # fmt: skip
    with serving(tmp_path / "zoo") as served:
        found = twin(served, "names=team/n1&names=team/n2", served.token("ann"))
        _, tree = page(served, "/compare?names=team/n1&names=team/n2", served.token("ann"))
    (verdict,) = found["verdicts"]
    assert (verdict["known"], "do not compare" in verdict["text"]) == (False, True)
    assert not tree.xpath("//svg[@class='chart']"), "what does not compare is not put side by side"
    assert any("tested on other images" in remark for remark in found["remarks"])


def test_what_nobody_has_measured_or_trained_is_shown(tmp_path: Path) -> None:
    """Anybody may have written a recipe and figures."""
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        first = workspace.store.manifest(add_checkpoint(workspace, "team/base"))
        for name, seed, figure in (("one", "x", 1e308), ("two", None, -1e308)):
            odd = replace(first, recipe={"seed": seed}, metrics={"accuracy": figure})
            workspace.commit(odd, Reference.parse(f"team/{name}"), "import")
    with serving(tmp_path / "zoo") as served:
        query = "names=team/one&names=team/two"
        got = served.ask(f"/compare?{query}", token=served.token("ann"), accept="text/html")
    assert got.status == 200


def test_numbers_of_images_are_whole_and_in_plain_words(tmp_path: Path) -> None:
    """On the page of a model, too."""
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        for at, name in enumerate(("team/one", "team/two")):
            metrics = {"accuracy": 0.5, "test_groups": 163.0, "test_seen": 3.0}
            add_checkpoint(workspace, name, tensors(at), metrics=metrics)
    with serving(tmp_path / "zoo") as served:
        served.accounts.set_level("team", level="public")
        for place in ("/compare?names=team/one&names=team/two", "/team/one"):
            text = text_of(page(served, place)[1])
            assert "groups of test images 163 " in text
            assert "test images seen in training 3 " in text


def test_the_same_checkpoint_under_two_names(trained: Served, ann: str) -> None:
    with closing(Workspace(trained.root)) as workspace:
        _, digest = workspace.names.resolve("team/net")
        workspace.move(Reference.parse("team/net:copy"), digest, "tag")
    _, tree = page(trained, "/compare?names=team/net&names=team/net:copy", ann)
    assert "team/net:copy is the very checkpoint of team/net" in " ".join(
        tree.xpath("string(//main)").split()
    )


def test_a_wrong_name_is_kept_in_the_form_with_near_ones(trained: Served, ann: str) -> None:
    got, tree = page(trained, "/compare?names=team/nett&names=team/seed&names=secret/chil", ann)
    assert (got.status, got.code) == (404, "RepoNotFound")
    typed = tree.xpath("//input[@name='names']/@value")
    assert typed == ["team/nett", "team/seed", "secret/chil", ""]
    wrong = [text_of(each, ".") for each in tree.xpath("//*[@role='alert']")]
    assert len(wrong) == 2
    assert wrong[0].startswith("team/nett : there is no such repository")
    assert "Near it: team/net" in wrong[0]
    assert tree.xpath("//*[@role='alert']//a/@href")[0] == (
        "/compare?names=team%2Fnet&names=team%2Fseed&names=secret%2Fchil"
    )
    offered = tree.xpath("//datalist[@id=//input[@name='names']/@list]/option/@value")
    assert "team/net" in offered
    assert "secret/child" not in got.body.decode()


def test_those_that_are_ticked_in_a_list_are_compared(trained: Served, ann: str) -> None:
    _, tree = page(trained, "/?q=name:team/*", ann)
    (form,) = tree.xpath("//form[.//input[@type='checkbox']]")
    boxes = form.xpath(".//input[@type='checkbox'][@name='names']/@value")
    assert {"team/net", "team/seed"} <= {*boxes}
    assert (form.get("method"), len(form.xpath(".//button"))) == ("get", 1)
    got, _ = page(trained, f"{form.get('action')}?{TWO}", ann)
    assert got.status == 200
    many = "&".join(f"names={name}" for name in boxes[:5])
    got, tree = page(trained, f"{form.get('action')}?{many}", ann)
    assert got.status == 400
    assert tree.xpath("//input[@name='names']/@value") == boxes[:5]


def test_what_was_edited_has_the_run_of_before_and_says_the_same(trained: Served, ann: str) -> None:
    with zoo.open(trained.root) as z:
        z.tag("team/seed", "team/edited")
        assert z.edit("team/edited", license="mit").changed
        (run,) = (run.id for run in z.runs() if run.save == "team/seed")
    _, tree = page(trained, "/team/edited", ann)
    assert tree.xpath("//a[text()='The run that made it']/@href") == [f"/-/runs/{run}"]
    (verdict,) = twin(trained, "names=team/seed&names=team/edited", ann)["verdicts"]
    assert (verdict["known"], "one network" in verdict["text"]) == (True, True)
    (verdict,) = twin(trained, "names=team/net&names=team/edited", ann)["verdicts"]
    assert "they differ on " in verdict["text"]


def test_near_names_are_of_checkpoints_that_are_not_there_already(
    trained: Served, ann: str
) -> None:
    """Nor are two of them names of one."""
    with closing(Workspace(trained.root)) as workspace:
        for name in ("net", "seed"):
            _, digest = workspace.names.resolve(f"team/{name}")
            workspace.move(Reference.parse(f"team/{name}:copy"), digest, "tag")
    _, tree = page(trained, "/compare?names=team/net&names=team/nett", ann)
    assert not {"team/net", "team/net:copy"} & {*tree.xpath("//*[@role='alert']//a/code/text()")}
    _, tree = page(trained, "/compare?names=team/net&names=team/sedd", ann)
    near = tree.xpath("//*[@role='alert']//a/code/text()")
    assert near[0] == "team/seed"
    assert "team/seed:copy" not in near


def test_a_name_that_is_there_twice_is_told(trained: Served, ann: str) -> None:
    got, tree = page(trained, "/compare?names=team/net&names=team/net", ann)
    assert got.status == 200
    assert text_of(tree, "//*[@role='alert']") == "team/net : it is named twice: name another"


def test_what_is_too_many_is_told_beside_what_is_wrong(trained: Served, ann: str) -> None:
    names = "&".join(f"names=team/{name}" for name in ("nett", "base", "seed", "probe", "net"))
    _, tree = page(trained, f"/compare?{names}", ann)
    told = [text_of(each, ".") for each in tree.xpath("//*[@role='alert']")]
    assert "team/nett" in told[0]
    assert told[1] == "at most 4 checkpoints are compared at a time"
