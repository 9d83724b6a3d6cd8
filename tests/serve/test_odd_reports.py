"""Whatever a server takes of a run, its pages and commands can show."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.program import zoo
from fakes.reported import make_run, told_there, with_token, write_lines
from fakes.served import Served, serving

from zoo.lookup.reporting import facts, report_run
from zoo.workspace import Workspace

RUNS = "/zoo/v1/runs"
SMALL = (0, 1, -1, 1e300, -1e300, 0.5, 1e-300)
NUMBERS = (*SMALL, 2**63 - 1, -(2**63), float(2**53))
COUNTS = (0, -1, 5, 2**62, 2**63 - 1)
KEYS = ("time", "loss", "lr", "images_per_second", "accuracy", "memory_bytes", "epoch", "r2", "a b",
        "accuracy_low", "accuracy_high", "mean_average_precision", "test_images", "test_groups",
        "test_seen")  # fmt: skip
FIGURES = ("recall", "recall_low", "recall_high", "f1")


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as served:
        yield served


def recipe(pick: Callable[..., Any]) -> dict[str, Any]:
    return {
        "data": pick(["x", "a/b", ""]), "task": pick(["classification", "regression", "auto", "z"]),
        "strategy": pick(["probe", "full", "gradual", "xx"]), "epochs": pick([0, 5, 2**62, -3]),
        "phases": pick([[], ["all:2", "x:3@1"], ["a"]]), "seed": pick([0, -1]), "lr": pick(SMALL),
    }  # fmt: skip


def line(draw: random.Random) -> dict[str, Any]:
    pick = draw.choice
    kind = pick(["step", "probe", "epoch", "blend", "test"])
    said = {"kind": kind, "steps": pick([0, 1, 5, 2**63 - 1])}
    said |= {key: pick(NUMBERS) for key in KEYS if draw.random() < 0.5}
    said |= {"c": pick([[], [1e300], [1, 2]])} if kind == "probe" else {}
    said |= {"knn": pick([{}, {"1": 1e300}, {"999999": 0}])} if draw.random() < 0.3 else {}
    return said | ({"name": pick(["", "average of", "<b>"])} if draw.random() < 0.5 else {})


def results(pick: Callable[..., Any]) -> dict[str, Any]:
    pair = {"true": "a", "predicted": "", "images": pick(COUNTS)}
    shares = {name: pick(SMALL) for name in ("share", "low", "high")}
    classes = [{"name": name, "images": pick(COUNTS),
                "figures": {figure: pick([*SMALL, None]) for figure in FIGURES}}
               for name in ("a", "", "<i>")]  # fmt: skip
    point = {"unit": "a", "features": pick(COUNTS), "knn": pick([None, *SMALL])}
    return {
        "report.json": {"images": pick(COUNTS), "groups": pick([None, *COUNTS]), "classes": classes,
                        "confusions": [pair | shares] * pick([0, 3])},
        "confusion.json": {"classes": ["a", "b"][: pick([0, 1, 2])], "counts": [[pick(COUNTS), 1]]},
        "depth.json": {"chosen": "a", "points": [
            point | {"score": pick(SMALL), "error": pick(SMALL)}] * pick([0, 1, 3])},
    }  # fmt: skip


def report_oddly(team: Served, token: str, of: dict[str, Any], draw: random.Random) -> str:
    """Report a run of odd values; what it is called."""
    pick = draw.choice
    told = team.ask(RUNS, "POST", token=token, body=json.dumps(of).encode())
    name, at = str(told.json["id"]), 0
    for _ in range(4):
        data = b"".join(json.dumps(line(draw)).encode() + b"\n" for _ in range(5))
        got = team.ask(f"{RUNS}/{name}/lines/1/{at}", "POST", token=token, body=data)
        assert got.status == 200, got
        at = got.json["bytes"]
    for file, value in results(pick).items():
        body = json.dumps(value).encode()
        assert team.ask(f"{RUNS}/{name}/{file}", "PUT", token=token, body=body).status == 201
    if draw.random() < 0.5:
        names = ("accuracy", "accuracy_low", "accuracy_high", "r2", "zz", "", "a\nb")
        metrics = {key: pick(SMALL) for key in names if draw.random() < 0.6}
        made = {"manifest": pick(["", f"blake3:{'0' * 64}"]), "metrics": metrics, "warning": "x\ny"}
        result = {**made, "seconds": pick([0, 1e300]), "gained": pick(["", "\x1b[2J"])}
        body = json.dumps({**of, "status": "done", "result": result}).encode()
        assert team.ask(RUNS, "POST", token=token, body=body).status == 200
    return name


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 80), marks=pytest.mark.long)], ids=str
)
def test_what_is_taken_can_be_shown(team: Served, tmp_path: Path, seeds: range) -> None:
    token = team.token("eve", "append")
    for seed in seeds:
        draw = random.Random(seed)
        run = make_run(tmp_path / "runs", "eve/net", seed + 1)
        said = {**facts(run), "status": "running", "recipe": recipe(draw.choice)}
        said["started"] = draw.choice(["2026-01-01T00:00:00Z", "9999-99-99T99:99:99Z"])
        name = report_oddly(team, token, said, draw)
        for path in (f"/-/runs/{name}", f"/-/runs/{name}.json", f"/-/runs/{name}/events", "/runs"):
            assert team.ask(path, token=token).status == 200, (seed, path)
        for words in (("runs",), ("runs", "show", name), ("runs", "compare", name, name)):
            done = zoo("--home", team.root, *words).done()
            assert "\x1b" not in done.out


def test_whatever_a_run_says_of_itself_is_taken(
    team: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too long, or no figure, is left out here, and keeps nothing else from being told."""
    with_token(monkeypatch, team.url, team.token("eve", "append"))
    long = {"label_column": ",".join(f"column{n}" for n in range(90)), "data": "x" * 400}
    odd = {"group_by": "(a)\n", "phases": [f"{n}:1" for n in range(300)], "of_later": [[{}]]}
    figures = {
        "a" * 90: 1.0,
        "1st": 2.0,
        "": 3.0,
        "loss": 1e305,
        "accuracy": 0.5,
        "é": float("inf"),
    }
    run = make_run(
        tmp_path / "runs", "eve/net", base="b" * 900, device="d" * 90, status="done",
        recipe={**long, **odd, "task": "classification"},
        result={"manifest": f"blake3:{'0' * 64}", "metrics": figures, "warning": "w" * 9000,
                "gained": {"text": "g" * 9000}, "seconds": 1.0},
    )  # fmt: skip
    write_lines(run, [
        {"kind": "epoch", "steps": 1, "name": f"n\n{'m' * 900}", **figures},
        {"kind": "step", "steps": -1}, {"kind": "step", "steps": 2**70}, {"kind": "step"},
        {"kind": "step", "steps": 2, **{f"a{n}": n for n in range(900)}},
        {"kind": "probe", "steps": 0, "c": [1, float("nan"), "x"] * 90, "knn": None},
    ])  # fmt: skip
    page = report_run(run, team.url).removeprefix(team.url)
    shown = team.ask(f"{page}.json", token=team.token("eve")).json
    assert (shown["status"], shown["score"]["value"]) == ("done", 0.5)
    (lines,) = told_there(team).values()
    assert [each["kind"] for each in lines] == ["epoch", "step", "probe"]
    assert lines[0]["accuracy"] == 0.5
