"""zoo rank and zoo advise on several devices, and on a Ray cluster: the same comes of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fakes.colored import save_scenes
from fakes.prepared import NET
from fakes.program import zoo
from fakes.ranked import add_networks

from zoo.advice import candidates
from zoo.advice.candidates import Row
from zoo.ranking import finals, measured, rank

ROW = Row("everything", "none", "frozen")
RANK = ("--image-size", 32, "--top", 2, "--among", "team", "--json")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One recipe, two folds, two epochs: what whoever hands out trials decides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "FOLDS", 2)
        patch.setattr(finals, "EPOCHS", 2)
        patch.setattr(candidates, "EPOCHS", 2)
        patch.setattr(candidates, "ROWS", (ROW,))
        patch.setattr(finals, "TRIED", (ROW,))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_zoo: Path) -> Path:
    """A zoo with three networks, and 42 pictures of three colors."""
    root = tmp_path_factory.mktemp("several")
    add_networks(Path(shutil.copytree(small_zoo, root / "zoo")))
    save_scenes(root / "data", 14)
    return root


@pytest.fixture(scope="module")
def alone(place: Path) -> dict[str, Any]:
    """The ranking by one process."""
    return ranked(place, place.with_name("alone"), "--device", "cpu")


def ranked(place: Path, copy: Path, *options: object) -> dict[str, Any]:
    """The ranking in a copy of that zoo, without what is of a time: who is the quickest of those
    that are as good as the best, and so comes first, is of one, too.
    """
    if not copy.exists():
        shutil.copytree(place / "zoo", copy)
    said = zoo("--home", copy, "rank", place / "data", *RANK, *options).done()
    found: dict[str, Any] = timeless(said.json)
    assert found.pop("winner")
    found["networks"].sort(key=lambda each: str(each["name"]))
    return found


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if name not in ("seconds", "ms")}
        return {name: timeless(each) for name, each in kept.items()}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def trained(copy: Path) -> dict[str, int]:
    """When each of its trials was last trained."""
    return {
        each.parent.name: each.stat().st_mtime_ns for each in copy.glob("trials/*/metrics.jsonl")
    }


def test_two_workers_rank_as_one_process_does(
    place: Path, alone: dict[str, Any], tmp_path: Path
) -> None:
    """And what one has kept the other does not do again."""
    assert all(each["outcomes"] for each in alone["networks"] if each["finalist"])
    copy = tmp_path / "two"
    assert ranked(place, copy, "--device", "cpu,cpu") == alone
    before = trained(copy)
    assert ranked(place, copy, "--device", "cpu") == alone
    assert trained(copy) == before


def test_two_workers_advise_as_one_process_does(place: Path, tmp_path: Path) -> None:
    plans = []
    for device in ("cpu", "cpu,cpu"):
        home = Path(shutil.copytree(place / "zoo", tmp_path / device))
        line = ("advise", place / "data", "--base", NET, "--image-size", 32, "--device", device)
        plan = timeless(zoo("--home", home, *line, "--json").done().json)["plan"]
        assert any(each["kind"] == "training" for each in plan["tried"])
        plans.append((plan["advised"], [(each["name"], each["score"]) for each in plan["tried"]]))
    assert plans[0] == plans[1]


@needs_ray
@pytest.mark.filterwarnings("ignore")  # Ray's own, of files that it leaves open
def test_a_killed_driver_on_ray_is_gone_on_with_and_ranks_as_one_process_does(
    place: Path, alone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")  # not one that is here by chance
    copy = Path(shutil.copytree(place / "zoo", tmp_path / "ray"))
    script = f"from {__name__} import *; be_killed({str(place)!r}, {str(copy)!r})"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path}
    said = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=False)
    assert said.returncode == -signal.SIGKILL, said
    known = {path: path.stat().st_mtime_ns for path in copy.glob("cache/ranking/*.json")}
    assert len(known) == 2
    found = ranked(place, copy, "--on", "ray")
    assert found | {"data": alone["data"]} == alone
    assert {path: path.stat().st_mtime_ns for path in known} == known


def be_killed(place: str, copy: str) -> None:
    """Rank on Ray, and be killed when two networks are measured."""
    kept = list[Path]()

    def keep(path: Path, found: Any) -> None:
        measured.keep(path, found)
        kept.append(path)
        if len(kept) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    pytest.MonkeyPatch().setattr(rank, "keep", keep)
    ranked(Path(place), Path(copy), "--on", "ray")
