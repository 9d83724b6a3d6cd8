"""Processes are killed at any moment: what was there stays, what is there is whole, and doing it
again completes it without sending anything twice.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pytest
from blake3 import blake3
from fakes import work
from fakes.forks import KILLED, Ended, Forks
from fakes.sampled import sampled
from fakes.scenes import Delete, FirstPush, Import, Prune, Pull, Push, Scene, Tag

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.store import Store
from zoo.store.folder import FolderBackend
from zoo.store.verify import verify

WARM = 3
Told = Callable[[str], None]
ROUND = 25
"""Kills in one place, which is then swept, and left before checking it takes long."""


def files(root: Path) -> dict[str, float]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("registry.db")
    }


def held(root: Path) -> set[str]:
    """Hex digests of the objects and manifests that are whole."""
    return {
        p.stem
        for kind in ("objects", "encoded", "manifests", "encoded-manifests")
        for p in root.glob(f"{kind}/??/*")
    }


def moves(root: Path) -> dict[Reference, tuple[RefEntry, ...]]:
    store = Store(FolderBackend(root))
    return {ref: store.history(ref) for ref in store.refs()}


def assert_whole(root: Path, before: dict[Reference, tuple[RefEntry, ...]]) -> None:
    """Every file is what its name says, nothing that was acknowledged is lost, and no name leads
    to what is not there.
    """
    if not (root / "zoo.json").exists():
        assert before == {}
        assert held(root) == set()
        return
    for kind in ("objects", "manifests"):
        for path in root.glob(f"{kind}/??/*"):
            assert blake3(path.read_bytes()).hexdigest() == path.stem
    after = moves(root)
    for ref, entries in before.items():
        assert after[ref][: len(entries)] == entries
    assert sum(map(len, after.values())) - sum(map(len, before.values())) in (0, 1)
    assert verify(Store.open(root)).damages == ()


def sweep(root: Path) -> int:
    """What killed processes left blocks nothing, and goes; the number of leftovers."""
    left = [path for path in (root / "tmp").rglob("*") if path.is_file()]
    before = moves(root)
    work.prune(str(root))
    assert [path for path in (root / "tmp").rglob("*") if path.is_file()] == []
    assert moves(root) == before
    assert verify(Store.open(root)).damages == ()
    return len(left)


class Siege:
    """Kills processes of one scene, and keeps count."""

    def __init__(self, forks: Forks, kind: type[Scene], folder: Path, seed: int) -> None:
        self.forks, self.kind, self.folder = forks, kind, folder
        self.draw = random.Random(seed)
        self.count: Counter[str] = Counter()
        self.duration = 0.0

    def run(self, kills: int) -> None:
        """Go on until so many kills have met their process at work."""
        while self.count["inside"] < kills and self.count["tried"] < 3 * kills:
            scene = self.kind(self.folder / str(self.count["tried"]))
            self.duration = self.duration or self.measure(scene)
            scene.prepare()  # so that there is always something to lose
            scene.again()
            for _ in range(min(ROUND, kills - self.count["inside"])):
                self.kill(scene)
            self.count["leftovers"] += sum(
                sweep(root) for root in scene.roots if (root / "zoo.json").exists()
            )
            shutil.rmtree(scene.folder)

    def measure(self, scene: Scene) -> float:
        took = []
        for _ in range(WARM):
            scene.prepare()
            ended = self.forks.run(scene.work, *scene.args())
            assert ended.status == 0
            took.append(ended.seconds)
        return median(took)

    def kill(self, scene: Scene) -> None:
        scene.prepare()
        before = {root: moves(root) for root in scene.roots}
        listed = files(scene.target)
        delay = self.draw.uniform(0.1, 1.02) * self.duration
        ended = self.forks.run(scene.work, *scene.args(), kill_after=delay)
        self.aim(ended)
        self.tell(ended, changed=files(scene.target) != listed)
        for root in scene.roots:
            assert_whole(root, before[root])
        arrived = held(scene.target)
        written = scene.again()
        assert not arrived & {digest.hex for digest in written}
        self.count["resumed"] += bool(written) and ended.status == KILLED
        for root in scene.roots:
            assert_whole(root, before[root])

    def aim(self, ended: Ended) -> None:
        """Follow the work's duration, which changes with the load: what it took when it was done,
        and a little more when it was not.
        """
        self.duration = ended.seconds if ended.status == 0 else self.duration * 1.02

    def tell(self, ended: Ended, *, changed: bool) -> None:
        assert ended.status in (0, KILLED)
        self.count["tried"] += 1
        self.count["inside"] += ended.status == KILLED
        self.count["left traces"] += ended.status == KILLED and changed


SCENES: dict[str, tuple[type[Scene], int]] = {
    "import": (Import, 220),
    "push": (Push, 220),
    "first push": (FirstPush, 60),
    "pull": (Pull, 200),
    "tag": (Tag, 120),
    "delete": (Delete, 100),
    "prune": (Prune, 120),
}
"""Each with its kills in the long suite: 1,040. Those that came too late do not count."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: a kill loses no more than there, and a step is short."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


def besiege(forks: Forks, name: str, folder: Path, told: Told, kills: int) -> Counter[str]:
    siege = Siege(forks, SCENES[name][0], folder, seed=len(name))
    began = time.monotonic()
    siege.run(kills)
    assert siege.count["inside"] == kills
    told(
        f"kills | {name} | {dict(siege.count)}, work {siege.duration * 1000:.0f} ms, "
        f"{time.monotonic() - began:.0f} s"
    )
    return siege.count


@pytest.mark.parametrize("name", sampled(SCENES, ["push"]))
def test_killed_now_and_then(forks: Forks, folder: Path, told: Told, name: str) -> None:
    besiege(forks, name, folder, told, kills=3)


@pytest.mark.long
@pytest.mark.parametrize("name", SCENES)
def test_killed_often(forks: Forks, folder: Path, told: Told, name: str) -> None:
    besiege(forks, name, folder, told, kills=SCENES[name][1] // 3)


@pytest.mark.long
@pytest.mark.whole
@pytest.mark.parametrize("name", SCENES)
def test_killed_a_thousand_times(forks: Forks, folder: Path, told: Told, name: str) -> None:
    assert sum(kills for _, kills in SCENES.values()) >= 1000
    count = besiege(forks, name, folder, told, kills=SCENES[name][1])
    assert count["left traces"] >= count["inside"] // 10
