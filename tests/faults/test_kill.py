"""Processes are killed at any moment: what was there stays, what is there is whole, and doing it
again completes it without sending anything twice.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from blake3 import blake3
from fakes import work
from fakes.forks import KILLED, Ended, Forks

from zoo.contracts import Kind, Remote
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, UnknownName
from zoo.moves import append_deletion
from zoo.store import Store
from zoo.store.uploads import STALE_SECONDS
from zoo.store.verify import verify
from zoo.transfer import sync
from zoo.workspace import Workspace

NAME = "team/loop"
WARM = 3
ROUND = 25
"""Kills in one place, which is then swept, and left before checking it takes long."""


class CountingStore(Store):
    """Remembers what was really written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: list[Digest] = []

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        kept = super().write(kind, digest, pieces)
        self.written += [digest] if kept else []
        return kept


class Counting(Workspace):
    """A zoo whose store and remote count."""

    place: CountingStore

    def __init__(self, root: Path, remote: Path | None = None) -> None:
        super().__init__(root)
        self.store = CountingStore(root)
        self.place = CountingStore(remote or root)

    def remote(self, where: str, *, create: bool = False) -> Remote:
        return self.place if where == str(self.place.root) else super().remote(where, create=create)


class Scene:
    """One operation: what it starts from, how it is run, and how it is run again.

    Attributes:
        work: The function of `fakes.work` that a killed process runs.
        folder: Where all of it happens.
        home: The zoo that works.
        shared: The remote.
        theirs: The zoo that pulls.
        step: Counts what was set up.
    """

    work: ClassVar[str]
    fresh_remote: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.shared, self.theirs = (folder / n for n in ("home", "shared", "theirs"))
        self.roots = (self.home, self.shared, self.theirs)
        for root in (self.home, self.theirs):
            Workspace.create(root).close()
        self.step = 0

    def prepare(self) -> None:
        """Make new work."""

    def args(self) -> tuple[str, ...]:
        """What the work is called with."""
        raise NotImplementedError

    @property
    def target(self) -> Path:
        """The store that is written to."""
        return self.home

    def again(self) -> list[Digest]:
        """Do it again, in this process; what was written."""
        raise NotImplementedError

    def name(self) -> str:
        return f"{NAME}:v{self.step}"

    def make(self, *, child: bool = False) -> tuple[str, str]:
        """Import a checkpoint nobody has yet, or a child of the last one; name and digest."""
        self.step += 1
        path = self.weights(child=child)
        parent = self.digest if child else ""
        self.digest = work.import_file(str(self.home), str(path), self.name(), parent)
        return self.name(), self.digest

    def weights(self, *, child: bool = False) -> Path:
        path = self.folder / "in.safetensors"
        return work.save(path, self.step - child, scale=1.0001 if child else 1.0)


class Import(Scene):
    work = "import_file"

    def prepare(self) -> None:
        self.step += 1
        self.weights()

    def args(self) -> tuple[str, ...]:
        return str(self.home), str(self.folder / "in.safetensors"), self.name()

    def again(self) -> list[Digest]:
        zoo = Counting(self.home)
        work.import_into(zoo, *self.args()[1:])
        return zoo.store.written  # type: ignore[attr-defined,no-any-return]


class Push(Scene):
    """Every other push is of a fine-tune, which goes as a delta."""

    work = "push"

    def prepare(self) -> None:
        self.make(child=self.step % 2 == 1)

    def args(self) -> tuple[str, ...]:
        return str(self.home), self.name(), str(self.shared)

    @property
    def target(self) -> Path:
        return self.shared

    def again(self) -> list[Digest]:
        Store.connect(str(self.shared), create=True)
        zoo = Counting(self.home, self.shared)
        sync.push(zoo, *self.args()[1:])
        return zoo.place.written


class FirstPush(Push):
    """Into a folder that is not there yet."""

    def prepare(self) -> None:
        shutil.rmtree(self.shared, ignore_errors=True)
        if not self.step:
            self.make()


class Pull(Push):
    work = "pull"

    def prepare(self) -> None:
        super().prepare()
        work.push(*super().args())

    def args(self) -> tuple[str, ...]:
        return str(self.theirs), self.name(), str(self.shared)

    @property
    def target(self) -> Path:
        return self.theirs

    def again(self) -> list[Digest]:
        zoo = Counting(self.theirs)
        sync.pull(zoo, *self.args()[1:])
        found = zoo.registry.ref(Reference.parse(self.name()))
        zoo.close()
        assert str(found) == self.digest
        return zoo.store.written  # type: ignore[attr-defined,no-any-return]


class Tag(Scene):
    """One name moves to and fro."""

    work = "tag"

    def prepare(self) -> None:
        if not self.step:
            self.made = [self.make()[1] for _ in range(2)]
        self.step += 1

    def args(self) -> tuple[str, ...]:
        return str(self.home), self.made[self.step % 2], f"{NAME}:moving"

    def again(self) -> list[Digest]:
        work.tag(*self.args())
        assert_known(self.home, f"{NAME}:moving", self.made[self.step % 2])
        return []


class Delete(Scene):
    work = "delete"

    def prepare(self) -> None:
        if not self.step:
            self.make()
        self.step += 1
        work.tag(str(self.home), self.digest, self.name())

    def args(self) -> tuple[str, ...]:
        return str(self.home), self.name()

    def again(self) -> list[Digest]:
        with suppress(UnknownName):  # it was done
            work.delete(*self.args())
        assert_known(self.home, self.name(), None)
        return []


class Prune(Scene):
    """A remote, where a checkpoint and its fine-tune, a delta, are needed no more, and two are."""

    work = "prune"

    def prepare(self) -> None:
        names = [self.make(child=number % 2 == 1)[0] for number in range(2 if self.step else 4)]
        for name in names:
            work.push(str(self.home), name, str(self.shared))
        if self.step > 4:
            for name in names:
                append_deletion(Store.open(self.shared), Reference.parse(name))

    def args(self) -> tuple[str, ...]:
        return (str(self.shared),)

    @property
    def target(self) -> Path:
        return self.shared

    def again(self) -> list[Digest]:
        age_signs(self.shared)
        work.prune(*self.args())
        assert len(list((self.shared / "manifests").glob("??/*"))) == 4
        return []


def assert_known(root: Path, name: str, digest: str | None) -> None:
    """The index says of a name what the store says."""
    zoo = Workspace(root)
    found = zoo.registry.ref(Reference.parse(name))
    zoo.close()
    assert (str(found) if found else None) == digest


def age_signs(root: Path) -> None:
    """Let a day go by."""
    old = time.time() - STALE_SECONDS - 60
    for path in [*(root / "tmp").glob("prune*"), *(root / "tmp" / "uploads").glob("*")]:
        os.utime(path, (old, old))


def files(root: Path) -> dict[str, float]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("registry.db")
    }


def held(root: Path) -> set[str]:
    """Hex digests of the objects and manifests that are whole."""
    return {
        p.stem for kind in ("objects", "encoded", "manifests") for p in root.glob(f"{kind}/??/*")
    }


def moves(root: Path) -> dict[Reference, tuple[RefEntry, ...]]:
    store = Store(root)
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
    """What killed processes left blocks nothing for ever, and goes; the number of leftovers."""
    left = [path for path in (root / "tmp").rglob("*") if path.is_file()]
    alive = [path for path in left if path.parent.name == "uploads" or path.match("tmp/prune*")]
    if alive:
        with pytest.raises(Conflict):
            work.prune(str(root))
    age_signs(root)
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


def besiege(forks: Forks, name: str, folder: Path, kills: int) -> Counter[str]:
    siege = Siege(forks, SCENES[name][0], folder, seed=len(name))
    began = time.monotonic()
    siege.run(kills)
    assert siege.count["inside"] == kills
    print(f"\n{name}: {dict(siege.count)}, work {siege.duration * 1000:.0f} ms, "  # noqa: T201
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    return siege.count


@pytest.mark.parametrize("name", SCENES)
def test_killed_now_and_then(forks: Forks, folder: Path, name: str) -> None:
    besiege(forks, name, folder, kills=6)


@pytest.mark.long
@pytest.mark.parametrize("name", SCENES)
def test_killed_a_thousand_times(forks: Forks, folder: Path, name: str) -> None:
    assert sum(kills for _, kills in SCENES.values()) >= 1000
    count = besiege(forks, name, folder, kills=SCENES[name][1])
    assert count["left traces"] >= count["inside"] // 10
