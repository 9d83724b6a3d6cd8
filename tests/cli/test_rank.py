"""zoo rank: which networks it names, what that rests on, and that it answers whatever happens."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping, Set
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from fakes.checkpoints import add_checkpoint, tensors
from fakes.colored import CLASSES, save_scenes, scene
from fakes.derived import derive, weights_of
from fakes.hub_zoo import weights
from fakes.measured import MEASURED
from fakes.prepared import NET, Run
from fakes.ranked import BLIND, OTHER, add_networks
from PIL import Image
from safetensors.torch import load, save

from zoo.advice import held_out, layers
from zoo.domain.catalog import CatalogEntry
from zoo.domain.reference import Reference
from zoo.exchange.importing import Origin, import_file
from zoo.finetune.strategies import linear
from zoo.ranking import candidates, cost, measured, past, prior, work
from zoo.ranking import rank as module
from zoo.ranking.measure import Judges, judges_of
from zoo.ranking.measured import FeatureScores, keep, kept, path_of
from zoo.workspace import Workspace

LEAST_SETS = prior.LEAST_SETS
RANK = ("--image-size", 32)


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds, one C, one time: how good all of these are is tested elsewhere."""
    monkeypatch.setattr(held_out, "MOST_REPEATS", 1)
    monkeypatch.setattr(held_out, "FOLDS", 2)
    monkeypatch.setattr(linear, "CS", (1.0,))
    monkeypatch.setattr(cost, "TIMES", 1)
    monkeypatch.setattr(prior, "LEAST_SETS", 1)
    monkeypatch.setattr(module, "finals", lambda *_: None)


@pytest.fixture(scope="module")
def three_zoo(tmp_path_factory: pytest.TempPathFactory, small_zoo: Path) -> Path:
    """A network of chance, one that sees nothing, and a larger one of another kind."""
    root = Path(shutil.copytree(small_zoo, tmp_path_factory.mktemp("three") / "zoo"))
    return add_networks(root)


@pytest.fixture
def three(bare: Run, three_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The program in a zoo of its own with three networks."""
    monkeypatch.chdir(shutil.copytree(three_zoo, tmp_path / "three"))
    return bare


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of three colors, in class folders."""
    return save_scenes(tmp_path_factory.mktemp("scenes") / "scenes", 16)


def by_name(ranking: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in ranking["networks"]}


def table_of(data: Path, folder: Path) -> Path:
    """The pictures as a table with splits, in which three of four are of one video."""
    parts = ["test", "val", *["train"] * 6]
    rows = [
        f"{path},{path.parent.name},{parts[at % 8]},{at if at % 4 == 1 else 'a'}\n"
        for at, path in enumerate(sorted(data.glob("*/*")))
    ]
    table = folder / "table.csv"
    table.write_text("".join(["path,label,split,video\n", *rows]))
    return table


def tuned(base: str, name: str, data_digest: str, accuracy: float, created: str = "2026") -> None:
    """Keep a fine-tune of ``base``, without having trained it."""
    with closing(Workspace(Path.cwd())) as workspace:
        derive(
            workspace,
            base,
            name,
            weights_of(workspace, base),
            recipe={"task": "classification"},
            provenance={"source": "finetune", "data_digest": data_digest},
            metrics={"accuracy": accuracy},
            created=f"{created}-01-01T00:00:00Z",
        )


def judged(monkeypatch: pytest.MonkeyPatch, **right: Set[object]) -> list[str]:
    """Let networks get these images right, by place or name; answers who was measured."""
    who = list[str]()

    def prepare(*_: Any, known_as: str, **__: Any) -> str:
        return known_as

    def measure(name: str, judges: Judges, batch_size: int, folder: Path) -> FeatureScores:
        who.append(name)
        chosen = right.get(name.partition("/")[2], set())
        names = [Path(sample.key).stem for sample in judges.dataset.train]
        scores = tuple(float(bool({at, each} & chosen)) for at, each in enumerate(names))
        return replace(MEASURED, scores=scores, score=fmean(scores))

    monkeypatch.setattr(work, "prepare", prepare)
    monkeypatch.setattr(module, "warn_of_guess", lambda _: None)
    monkeypatch.setattr(module, "measure", measure)
    return who


def without_groups(*arguments: Any) -> Judges:
    return replace(judges_of(*arguments), groups=())


def test_networks_are_ranked_and_asked_again_nothing_is_computed(
    three: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "ranking"
    done = three("rank", data, *RANK, "--top", 1, "--out", out, "--json").done()
    ranking = done.json
    assert ranking == json.loads((out / "rank.json").read_text())
    assert (out / "rank.png").exists()
    assert (ranking["images"], ranking["measure"], ranking["prior"]) == (39, "accuracy", "size")
    assert ranking["chance"] == pytest.approx(1 / 3)
    found = by_name(ranking)
    assert [each["name"] for each in ranking["networks"]][-1] == BLIND
    assert found[BLIND]["behind"] is True
    assert found[BLIND]["measured"]["score"] < 0.5 < 0.9 < found[NET]["measured"]["score"]
    assert ranking["winner"] in (NET, OTHER)
    # The largest is the best by the prior, so that it is a finalist.
    largest = max(found.values(), key=lambda each: each["params"])
    assert largest["finalist"] is True
    measured = found[NET]["measured"]
    assert measured["low"] < measured["score"] <= measured["high"]
    assert 0 < measured["knn"] <= 1
    assert 0 < measured["h_score"] <= 2
    assert measured["ms"] > 0
    assert measured["gmacs"] > 0
    assert "scores" not in measured
    monkeypatch.setattr(work, "prepare", None)  # nothing may be built any more
    again = three("rank", data, *RANK, "--top", 1, "--json").done().json
    assert again["networks"] == ranking["networks"]
    said = three("rank", data, *RANK).done()
    lines = said.out.splitlines()
    assert lines[0].split()[:5] == ["NETWORK", "ACCURACY", "OUT", "OF", "FOLD"]
    assert lines[1].startswith(f"*=  {ranking['winner']}")
    assert "No difference can be seen between these 2" in said.out
    assert f" Take {ranking['winner']}, the first" in " ".join(said.out.split())
    assert "are these their labels?" not in said.out
    assert said.out.endswith(f"zoo advise {data} --base {ranking['winner']} --image-size 32\n")
    nothing = three("rank", data, *RANK, "--among", f"name:{BLIND}").done().out
    assert (
        "no network is seen to know more than to name the largest class always (0.333)" in nothing
    )
    refused = three("rank", data, *RANK, "--out", out).refused("has a report; --force replaces it")
    assert refused.out == ""


@pytest.mark.long
def test_results_of_the_zoo_on_other_data_are_what_is_known_before(
    three: Run, data: Path, tmp_path: Path
) -> None:
    """On another set, the blind one was worse there."""
    other = save_scenes(tmp_path / "other", 10, first=1000)
    two = ("--among", "arch:test_resnet", *RANK)
    three("rank", other, *two, "--quiet").done()
    ranking = three("rank", data, *two, "--budget", 0, "--json").done().json
    assert (ranking["prior"], ranking["winner"], ranking["ended"]) == ("history", None, "budget")
    first, last = ranking["networks"]
    assert (first["name"], first["state"]) == (NET, "not reached")
    assert (last["name"], last["state"]) == (BLIND, "not reached")
    assert last["prior"]["data_sets"] == 1
    assert last["prior"]["value"] == pytest.approx(-first["prior"]["value"])
    assert last["prior"]["value"] < -0.2
    said = three("rank", data, *two, "--budget", 0).done().out
    assert "NOTE: the budget was over before all were measured" in said
    assert "(1 set)" in said
    # Of the same data nothing is known before.
    again = three("rank", other, *two, "--budget", 0, "--json").done().json
    assert (again["prior"], again["winner"]) == ("size", NET)


def test_four_sizes_of_one_data_set_are_no_history_and_four_data_sets_are(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior, "LEAST_SETS", LEAST_SETS)  # four
    names = {name: three("show", name, "--json").done().json["manifest"] for name in (NET, BLIND)}
    asked = ("rank", data, *RANK, "--among", "arch:test_resnet", "--budget", 0, "--json")
    for sets, kind in ((("a",) * 4, "size"), (("a", "b", "c", "d"), "history")):
        for name, score in ((NET, 0.9), (BLIND, 0.4)):
            for number, other in enumerate(sets):
                size = 32 + 8 * number
                found = replace(MEASURED, manifest=names[name], data_digest=other, image_size=size)
                keep(path_of(Path("cache"), name, other, size), replace(found, score=score))
        ranking = three(*asked).done().json
        assert ranking["prior"] == kind
    assert [each["prior"]["data_sets"] for each in ranking["networks"]] == [4, 4]
    assert ranking["networks"][0]["prior"]["value"] == pytest.approx(0.25)


def test_what_knows_the_labels_does_not_decide_what_is_known_of_the_others(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = candidates.known_of
    published = {NET: 70.0, BLIND: 60.0}
    monkeypatch.setattr(
        module, "known_of",
        lambda workspace, network: known(workspace, network)._replace(
            top1=published.get(network.name)
        ),
    )  # fmt: skip
    asked = ("rank", data, *RANK, "--budget", 0, "--json", "--among", "arch:test_resnet")
    before = three(*asked).done().json
    assert before["prior"] == "published"
    for number in range(3):
        tuned(NET, f"team/tuned-{number}", before["data_digest"], 0.9 + number / 100)
    after = three(*asked).done().json
    states = [each["state"] for each in after["networks"]]
    assert states.count("knows the labels") == 3
    assert after["prior"] == "published"


def test_images_that_cannot_be_used_are_told(three: Run, data: Path, tmp_path: Path) -> None:
    images = shutil.copytree(data, tmp_path / "images")
    broken = next(images.glob("*/*"))
    broken.write_bytes(broken.read_bytes()[:99])
    asked = ("rank", images, *RANK, "--budget", 0)
    line = three(*asked).done().out
    assert "NOTE: without 1 image that cannot be used, such as" in line
    assert broken.name in line
    skipped = three(*asked, "--json").done().json["skipped_images"]
    assert [Path(image).name for image, _ in skipped] == [broken.name]


@pytest.mark.long
def test_fine_tunes_say_on_which_data_they_were_trained(
    three: Run, data: Path, tmp_path: Path
) -> None:
    other = save_scenes(tmp_path / "other", 10, first=5000)
    tune = ("--strategy", "probe", "--image-size", 32, "--quiet")
    for name, images in ((NET, other), (BLIND, other), ("team/net-tuned", data)):
        three("finetune", name, "--data", images, *tune, "--save", f"{name}-tuned").done()
    asked = ("rank", data, *RANK, "--budget", 0, "--json", "--among")
    found = by_name(three(*asked, "arch:test_resnet").done().json)
    assert found["team/net-tuned-tuned"]["state"] == "knows the labels"
    assert found["team/net-tuned"]["state"] == "same backbone"
    values = {name: each["prior"]["value"] for name, each in found.items()}
    assert values[NET] > 0.1 > values[BLIND]
    assert values["team/blind-tuned"] == values[BLIND]


@pytest.mark.long
def test_fine_tunes_on_other_data_are_history_and_on_this_data_no_candidates(
    three: Run, data: Path
) -> None:
    asked = ("rank", data, *RANK, "--budget", 0, "--json", "--among", "arch:test_resnet")
    digest = three(*asked).done().json["data_digest"]
    tuned(NET, "team/net-tuned", "other", 0.9)
    tuned(BLIND, "team/blind-tuned", "other", 0.4)
    tuned("team/net-tuned", "team/here", digest, 1.0)
    tuned("team/here", "team/later", "another", 1.0)
    found = by_name(three(*asked).done().json)
    states = {name: each["state"] for name, each in found.items()}
    assert {name for name, state in states.items() if state == "knows the labels"} == {
        "team/here",
        "team/later",
    }
    values = {name: each["prior"]["value"] for name, each in found.items()}
    assert values[NET] == pytest.approx(0.25)
    assert values["team/blind-tuned"] == values[BLIND] == pytest.approx(-0.25)


def test_of_the_same_backbone_one_is_measured(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three("tag", NET, "team/same").done()
    three("edit", "team/same", "--license", "mit").done()  # another checkpoint
    three("tag", NET, "team/other-input").done()
    three("edit", "team/other-input", "--mean", "0.1").done()  # which gets images otherwise
    three("tag", NET, "team/sized").done()
    three("edit", "team/sized", "--image-size", "48").done()  # nominal: all get 32
    who = judged(monkeypatch)
    ranking = three("rank", data, *RANK, "--json").done().json
    assert sorted(who) == sorted([NET, OTHER, BLIND, "team/other-input"])
    found = by_name(ranking)["team/same"]
    assert (found["state"], found["why"]) == ("same backbone", f"{NET} stands for it")
    assert not found["finalist"]
    assert by_name(ranking)["team/sized"]["why"] == f"{NET} stands for it"
    assert found["same_backbone"] == [NET]
    assert by_name(ranking)[NET]["same_backbone"] == ["team/same", "team/sized"]
    said = three("rank", data, *RANK).done()
    assert f"The same backbone as {NET}: team/same, team/sized\n" in said.out
    assert "NOT MEASURED" not in said.out
    assert said.err.startswith("at most 30m; --budget 5m for less\n")
    assert "at most" not in three("rank", data, *RANK, "--budget", 0).done().err


@pytest.mark.long
def test_a_base_stands_for_the_heads_that_were_trained_on_it(
    three: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_scenes(tmp_path / "elsewhere", 4)
    for path in sorted((tmp_path / "elsewhere").glob("*/*")):
        Image.open(path).rotate(180).save(path)
    three("mv", NET, "zz/base").done()  # newer than what is trained on it, by its name
    probe = ("--strategy", "probe", "--image-size", 32, "--device", "cpu")
    three("finetune", "zz/base", *probe, "--data", tmp_path / "elsewhere",
          "--save", "ml/one").done()  # fmt: skip
    three("finetune", "zz/base", *probe, "--data", data, "--save", "ml/knows").done()
    three("mv", "zz/base", "zz/newest").done()
    who = judged(monkeypatch)
    ranking = three("rank", data, *RANK, "--json").done().json
    assert sorted(who) == sorted(["zz/newest", OTHER, BLIND])
    found = by_name(ranking)
    assert found["ml/one"]["state"] == "same backbone"
    assert found["ml/knows"]["state"] == "knows the labels"
    assert found["zz/newest"]["same_backbone"] == ["ml/one"]
    # What knows the labels stands for nothing.
    alone = by_name(three("rank", data, *RANK, "--json", "--among", "ml").done().json)
    assert alone["ml/one"]["state"] == "measured"


@pytest.mark.long
def test_of_the_checkpoints_of_one_run_one_is_measured(three: Run, data: Path) -> None:
    names = ("run:epoch-1", "run", "run:v2", "headless:epoch-0", "headless:epoch-1")
    for year, name in enumerate(names, 2020):
        tuned(BLIND, f"team/{name}", "other", 0.5, created=str(year))
    asked = ("rank", data, *RANK, "--budget", 0)
    found = by_name(three(*asked, "--json").done().json)
    same = {name: each["why"] for name, each in found.items() if each["state"] == "same run"}
    assert same == {
        "team/run:epoch-1": "team/run stands for it; by itself: --among team/run:epoch-1",
        "team/headless:epoch-0": "team/headless:epoch-1 stands for it; by itself: "
        "--among team/headless:epoch-0",
    }
    alone = by_name(three(*asked, "--json", "--among", "team/run:epoch-1").done().json)
    assert {name: each["state"] for name, each in alone.items()} == {
        "team/run:epoch-1": "not reached"
    }


def test_of_many_fine_tunes_the_newest_count(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "MOST", 1)
    tuned(BLIND, "team/tuned", "other", 0.5)
    tuned(NET, "team/new", "other", 0.9, created="2025")
    tuned(NET, "team/old", "other", 0.1, created="2024")
    asked = ("rank", data, *RANK, "--budget", 0, "--json", "--among", "arch:test_resnet")
    assert by_name(three(*asked).done().json)[NET]["prior"]["value"] == pytest.approx(0.2)


def test_of_many_measurements_the_newest_count(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six sets of images with two measurements each, there is room for one."""
    monkeypatch.setattr(measured, "KEPT_RANKINGS", 2)
    names = {name: three("show", name, "--json").done().json["manifest"] for name in (NET, BLIND)}
    for age in range(6):
        for name, score in ((NET, 0.5), (BLIND, 0.9 if age else 0.1)):
            path = path_of(Path("cache"), name, age)
            found = replace(MEASURED, manifest=names[name], data_digest=str(age), score=score)
            keep(path, found)
            os.utime(path, (2e9 - age, 2e9 - age))
    asked = ("rank", data, *RANK, "--budget", 0, "--json", "--among", "arch:test_resnet")
    assert by_name(three(*asked).done().json)[NET]["prior"]["value"] == pytest.approx(0.2)


@pytest.mark.long
def test_what_advise_has_tried_on_other_data_is_history(
    three: Run, data: Path, tmp_path: Path
) -> None:
    other = save_scenes(tmp_path / "other", 10, first=5000)
    for name in (NET, OTHER):
        three("advise", other, "--base", name, *RANK, "--budget", 0, "--quiet").done()
    found = by_name(three("rank", data, *RANK, "--budget", 0, "--json").done().json)
    priors = {
        name: (each["prior"]["kind"], each["prior"]["data_sets"]) for name, each in found.items()
    }
    assert priors == {NET: ("history", 1), OTHER: ("history", 1), BLIND: ("history", 0)}
    # Of these very images nothing is taken.
    found = by_name(three("rank", other, *RANK, "--budget", 0, "--json").done().json)
    assert found[NET]["prior"]["kind"] == "size"


def test_published_results_are_taken_and_nonsense_is_told(
    three: Run, data: Path, tmp_path: Path
) -> None:
    table = tmp_path / "results.csv"
    rows = [("blind", "a", 90), ("net", "a", 80), ("test_efficientnet", "a", 70)]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("network", "dataset", "accuracy"), *rows])
    asked = ("rank", data, *RANK, "--budget", 0, "--results", table)
    ranking = three(*asked, "--json").done().json
    assert [(each["name"], each["prior"]["value"]) for each in ranking["networks"]] == [
        (BLIND, 10.0), (NET, 0.0), (OTHER, -10.0),
    ]  # fmt: skip
    for text, told in (
        ("network,dataset,accuracy\nresnet50,a,1\nresnet18,a,2\n", "have none of the 3 networks"),
        ("network,dataset,accuracy\nx,a,nan\n", "line 2: a network, a data set and a number"),
        ("network,dataset,accuracy\nx,a,1e300\n", "line 2: a network, a data set and a number"),
        ("network,dataset,accuracy\nx\n", "line 2: a network, a data set and a number"),
        ("network,dataset,accuracy\n", "no results below its first line"),
        ('network,dataset,accuracy\n"x', "no table of results"),
        ("model,top1\nx,1\n", "it has no column network"),
        ("\x00\xff", "no table of results"),
        ("", "it has no column network"),
    ):
        table.write_text(text, encoding="latin-1")
        three(*asked).refused(str(table) if "none of" not in told else "", told)
    three("rank", data, "--results", tmp_path / "missing.csv").refused("No such file")
    three("rank", data, "--results", tmp_path).refused("it is a folder")


def test_what_cannot_be_ranked_is_refused_at_once(
    three: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "prepare", None)
    three("rank", data, "--among", "resnet999").refused("unknown network that fits 'resnet999'")
    three("rank", data, "--among", "team/net OR team/blind").refused("there is no OR: ask for each")
    three("rank", data, "--among", "paramz<3").refused("did you mean params?")
    three("rank", data, "--among", 'name:"').refused("a quote is not closed")
    three("rank", data, "--budget", "soon").refused("'soon' is no duration: write 90s, 10m")
    three("rank", tmp_path / "none").refused("none")
    assert three("rank", data, "--top", 0).code == 2
    one = tmp_path / "one"
    shutil.copytree(data / "red", one / "train" / "red")
    shutil.copytree(data / "blue", one / "test" / "blue")
    three("rank", one, *RANK).refused(str(one))
    few = save_scenes(tmp_path / "few", 6)
    three("rank", few, *RANK).refused("are too few to rank networks by: 20 in 5 are needed")


def test_thousands_are_refused_with_a_hint(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.ranking.candidates.RANKED_NETWORKS", 2)
    said = three("rank", data, "--among", "team").refused("3 networks fit 'team', and at most 2")
    assert "add filters" in said.err


@pytest.mark.long
def test_what_fails_or_is_not_here_is_a_line_and_the_rest_is_ranked(three: Run, data: Path) -> None:
    """A checkpoint of no network, one whose features are no numbers, and published ones with odd
    names that nobody delivers.
    """
    wild = {name: value * 1e30 for name, value in load(weights(1)).items()}
    with closing(Workspace(Path.cwd())) as workspace:
        Path("net.safetensors").write_bytes(save(wild, {"format": "pt"}))
        origin = Origin(plugin="timm", architecture="test_resnet")
        import_file(workspace, Path("net.safetensors"), Reference.parse("team/wild"), origin)
        add_checkpoint(workspace, "team/toy", tensors())
        odd = [_entry(name) for name in ("far/$x_{1}$", "far/a b'\u202e")]
        workspace.registry.add_entries("timm", "1", odd, "2026-01-01")
    asked = ("rank", data, *RANK, "--among", "params>0")
    ranking = three(*asked, "--json").done().json
    found = by_name(ranking)
    assert ranking["winner"]
    assert (found["team/toy"]["state"], found["far/$x_{1}$"]["state"]) == ("failed", "not here")
    assert found["team/toy"]["why"]
    why = "the features of team/wild are NaN or infinite: they say nothing"
    assert found["team/wild"]["why"] == why
    said = three(*asked, "--pull").done()
    lines = {
        line.split("  ")[0]: line for line in said.out.partition("NOT MEASURED")[2].splitlines()
    }
    assert "failed" in lines["far/$x_{1}$"]
    assert "\u202e" not in said.out + said.err


@pytest.mark.parametrize("step", ["prepare", "measure"])
def test_whatever_a_network_raises_the_next_one_has_its_turn(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    errors = [AttributeError("odd size"), KeyError("blocks"), torch.OutOfMemoryError("no memory")]

    def refuse(*_: Any, **__: Any) -> None:
        raise errors.pop()

    monkeypatch.setattr({"prepare": work, "measure": module}[step], step, refuse)
    done = three("rank", data, *RANK, "--json")
    assert (done.code, "'pulled:yes' was measured: 3 failed" in done.err) == (1, True)
    found = done.json["networks"]
    reasons = ["no memory", "'blocks'", "odd size"]
    assert [each["why"] for each in found] == [f"it cannot be measured: {why}" for why in reasons]


@pytest.mark.long
def test_what_a_remote_has_is_pulled_when_it_is_its_turn(
    small: Run, three_zoo: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks at a remote: the most promising is pulled, and no more than are allowed."""
    small("remote", "add", "origin", three_zoo).done()
    small("fetch", "origin").done()
    asked = ("rank", data, *RANK, "--among", "team", "--json")
    found = by_name(small(*asked).done().json)
    assert (found[OTHER]["state"], found[BLIND]["state"]) == ("not here", "not here")
    none = small("rank", data, *RANK, "--among", f"name:{BLIND}")
    none.refused(f"--among 'name:{BLIND}' was measured: 1 not here", "--pull brings what")
    assert "PRIOR is what was known before" in none.out
    assert small(*asked, "--pull", "--budget", 0).done().json["ended"] == "budget"
    monkeypatch.setattr(module, "MOST_PULLED", 1)
    judged(monkeypatch)
    found = by_name(small(*asked, "--pull").done().json)
    assert sorted(each["state"] for each in found.values()) == ["measured", "measured", "not here"]
    pulled = next(name for name in (OTHER, BLIND) if found[name]["manifest"])
    assert found[pulled]["params"] >= found[BLIND]["params"]
    small("show", pulled).done()


def _entry(name: str) -> CatalogEntry:
    return CatalogEntry(name=name, backbone="timm", architecture="test_resnet", params=10**9)


def test_a_damaged_manifest_is_a_line(three: Run, data: Path) -> None:
    digest = three("show", BLIND, "--json").done().json["manifest"].partition(":")[2]
    Path("manifests", digest[:2], f"{digest}.json").unlink()
    asked = ("rank", data, *RANK, "--among", "arch:test_resnet", "--budget", 0, "--json")
    found = by_name(three(*asked).done().json)
    assert (found[BLIND]["state"], found[NET]["state"]) == ("failed", "not reached")


def test_ctrl_c_leaves_what_was_measured(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch)
    seen = list[str]()

    def interrupted(*_: Any, known_as: str, **__: Any) -> str:
        seen.append(known_as)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return known_as

    monkeypatch.setattr(work, "prepare", interrupted)
    done = three("rank", data, *RANK, "--json")
    assert (done.code, done.json["ended"]) == (130, "interrupted")
    states = [each["state"] for each in done.json["networks"]]
    assert states == ["measured", "not reached", "not reached"]
    assert done.json["winner"] == seen[0]
    said = three("rank", data, *RANK).done()
    assert "interrupted" not in said.out
    assert len(seen) == 4  # two were left
    assert seen[0] not in seen[1:]


@pytest.mark.long
def test_what_advise_has_read_is_measured_before_others(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the least of a budget, which may be too little for others."""
    asked = ("rank", data, *RANK, "--json")
    last = three(*asked, "--budget", 0).done().json["networks"][-1]["name"]
    three("advise", data, "--base", last, *RANK, "--budget", 0, "--quiet").done()
    who = judged(monkeypatch)
    monkeypatch.setattr(work.Work, "over", lambda _: bool(who))  # one is measured
    found = by_name(three(*asked).done().json)
    assert {name: each["state"] for name, each in found.items()} == {
        name: "measured" if name == last else "not reached" for name in (NET, OTHER, BLIND)
    }
    # Of other images it has read nothing.
    shutil.rmtree("cache/ranking")
    who.clear()
    three("rank", data, "--image-size", 64, "--json").done()
    assert who != [last]


def test_ctrl_c_before_images_are_read_shows_what_is_known_of_networks(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    known = three("rank", data, *RANK, "--budget", 0, "--json").done().json
    monkeypatch.setattr(module, "dataset_of", interrupted)
    said = three("rank", data, *RANK, "--out", tmp_path / "out")
    assert said.code == 130
    found = json.loads((tmp_path / "out" / "rank.json").read_text())
    assert (found["ended"], found["winner"], found["task"]) == ("interrupted", None, None)
    for name in ("name", "state", "prior"):
        assert [each[name] for each in found["networks"]] == [
            each[name] for each in known["networks"]
        ]
    head, *rows = said.out.strip().splitlines()
    assert head.split() == ["NOT", "MEASURED", "AS", "IT", "IS", "PRIOR"]
    assert [row.split()[0] for row in rows[:3]] == [each["name"] for each in known["networks"]]
    assert "PRIOR is what was known before" in said.out
    assert "NOTE: interrupted; the same command resumes where it stopped" in said.out


def test_after_ctrl_c_what_was_kept_before_is_ranked(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network that is last in turn was measured an hour ago; the first one is interrupted."""
    asked = ("rank", data, *RANK, "--json")
    last = three(*asked, "--budget", 0).done().json["networks"][-1]["name"]
    judged(monkeypatch)
    three(*asked, "--among", f"name:{last}").done()

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "prepare", interrupted)
    done = three(*asked)
    assert (done.code, done.json["ended"], done.json["winner"]) == (130, "interrupted", last)
    states = sorted(each["state"] for each in done.json["networks"])
    assert states == ["measured", "not reached", "not reached"]


@pytest.mark.long
def test_a_measurement_that_is_damaged_is_made_again(three: Run, data: Path) -> None:
    asked = ("rank", data, *RANK, "--among", f"name:{NET}", "--json")
    first = three(*asked).done().json["networks"][0]["measured"]["score"]
    (path,) = Path("cache", "ranking").glob("*.json")
    whole = path.read_bytes()
    assert kept(path, FeatureScores)
    for damage in (b"", b"[]", b'{"score": 1}', whole.replace(b'"score":', b'"score":"x",')):
        path.write_bytes(damage)
        assert kept(path, FeatureScores) is None
    path.write_bytes(whole.replace(b'"scores":[', b'"scores":[1.0,'))  # of other images
    assert three(*asked).done().json["networks"][0]["measured"]["score"] == first
    assert path.stat().st_size == pytest.approx(len(whole), abs=40)


def test_whatever_decides_a_figure_decides_whether_it_is_kept(
    three: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that come in splits, so that seed and groups decide the folds alone."""
    who = judged(monkeypatch)
    asked = ("rank", table_of(data, tmp_path), "--among", f"name:{NET}", "--quiet")
    options = (RANK, (*RANK, "--seed", 1), (*RANK, "--group-by", "video"), ("--image-size", 40))
    for count, others in enumerate(options, 1):
        three(*asked, *others).done()
        assert len(who) == count
    three(*asked, *RANK).done()
    assert len(who) == count
    for name, other in (
        ("READING", 99),
        ("TRAINING", 99),
        ("LIBRARIES", ("torch",)),
        ("version", lambda _: "9"),
    ):
        with monkeypatch.context() as today:
            today.setattr(work, name, other)
            three(*asked, *RANK).done()
        count += 1
        assert len(who) == count


@pytest.mark.long
def test_of_many_images_some_are_drawn_however_large_a_group_is(
    three: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MOST", 30)
    table = table_of(data, tmp_path)
    grouped = ("--group-by", "video", "--among", f"name:{NET}", "--json")
    for source, more in ((data, ("--budget", 0, "--json")), (table, grouped)):
        ranking = three("rank", source, *RANK, *more).done().json
        assert (ranking["images"], ranking["chance"]) == (30, pytest.approx(1 / 3, abs=0.02))
    assert ranking["networks"][0]["state"] == "measured"


def test_by_luck_alone_no_network_overtakes_a_better_prior(
    three: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image of 39 more says nothing about two networks; 4 more do."""
    table = tmp_path / "results.csv"
    rows = [(OTHER, "a", 90), (NET, "a", 89), (BLIND, "a", 70)]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("network", "dataset", "accuracy"), *rows])
    asked = ("rank", data, *RANK, "--results", table, "--json")
    first = set(range(20))
    for net, order in (({*range(21)}, [OTHER, NET, BLIND]), ({*range(24)}, [NET, OTHER, BLIND])):
        judged(monkeypatch, other=first, net=net, blind=first)
        ranking = three(*asked).done().json
        assert [each["name"] for each in ranking["networks"]] == order
        shutil.rmtree(Path("cache", "ranking"))


def test_images_of_one_group_show_a_difference_once(
    three: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six images more are a difference that is seen, unless they are of two groups."""
    even = {str(number) for number in range(0, 16, 2)}
    judged(monkeypatch, other=even, blind=even, net={*even, "1", "7"})
    asked = ("rank", data, *RANK, "--group-by", "([0-9]+)[.]png", "--json")
    grouped = by_name(three(*asked).done().json)
    assert {each["behind"] for each in grouped.values()} == {False}
    assert grouped[NET]["measured"]["score"] > grouped[OTHER]["measured"]["score"] + 0.14
    monkeypatch.setattr(module, "judges_of", without_groups)
    alone = by_name(three(*asked).done().json)
    assert {name for name, each in alone.items() if each["behind"]} == {OTHER, BLIND}


@pytest.mark.long
def test_neighbors_of_the_own_group_say_nothing(three: Run, tmp_path: Path) -> None:
    """Each picture is there three times, with a label that means nothing."""
    rows = ["path,label,video\n"]
    for number in range(16):
        picture = scene(number, "red")
        for copy in range(3):
            path = tmp_path / f"{number}_{copy}.png"
            picture.putpixel((copy, 0), (0, 0, 0))
            picture.save(path)
            rows.append(f"{path},{'ab'[number % 2]},{number}\n")
    table = tmp_path / "table.csv"
    table.write_text("".join(rows))
    asked = ("rank", table, *RANK, "--among", f"name:{NET}", "--group-by", "video", "--json")
    assert three(*asked).done().json["networks"][0]["measured"]["knn"] < 0.7


def test_labels_and_numbers_are_ranked_too(three: Run, data: Path, tmp_path: Path) -> None:
    rows = [
        (path, CLASSES.index(path.parent.name) + number / 100)
        for number, path in enumerate(sorted(data.glob("*/*")))
    ]
    table = tmp_path / "numbers.csv"
    table.write_text("path,label\n" + "".join(f"{path},{value}\n" for path, value in rows))
    task = ("--task", "regression")
    ranking = three("rank", table, *RANK, *task, "--among", f"name:{NET}", "--json").done().json
    assert ranking["measure"] == "r2"
    measured = ranking["networks"][0]["measured"]
    assert (measured["h_score"], ranking["chance"]) == (None, None)
    assert measured["score"] > 0.5
