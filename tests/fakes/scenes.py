"""Operations that may be killed: what each starts from, how it is run, and how it is run again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from fakes import work

from zoo.contracts import Backend, Kind
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import UnknownName
from zoo.reflog import append_deletion
from zoo.remotes import Remotes
from zoo.store import Store
from zoo.store.folder import FolderBackend
from zoo.transfer import sync
from zoo.workspace import Workspace

__all__ = ["Delete", "FirstPush", "Import", "Prune", "Pull", "Push", "Scene", "Tag"]

NAME = "team/loop"


class CountingStore(Store):
    """Remembers what was really written."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
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
        self.store = CountingStore(FolderBackend(root))
        self.place = CountingStore(FolderBackend(remote or root))

    @property
    def remotes(self) -> Remotes:
        return CountingRemotes(self, self.root, self.own("remotes.json"), lambda: self.registry)


class CountingRemotes(Remotes):
    """Its remotes, of which one counts."""

    def __init__(self, zoo: Counting, *args: Any) -> None:
        super().__init__(*args)
        self.place = zoo.place

    def connect(self, where: str, *, create: bool = False) -> Store:
        here = where == str(self.place.root)
        return self.place if here else super().connect(where, create=create)


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
    digest: str

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
        Store.create(self.shared)
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
        work.prune(*self.args())
        assert len(list(self.shared.glob("*manifests/??/*"))) == 4
        return []


def assert_known(root: Path, name: str, digest: str | None) -> None:
    """The index says of a name what the store says."""
    zoo = Workspace(root)
    found = zoo.registry.ref(Reference.parse(name))
    zoo.close()
    assert (str(found) if found else None) == digest
