"""A log with an entry that is damaged: what its name is now is served, as are all other names; what
was before the damage is not shown, as nobody can tell whether it was deleted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint
from fakes.served import Got, Served, serving

from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.logins import ServerUrl, keep_token
from zoo.store.refs import entry_name
from zoo.transfer.sync import pull
from zoo.workspace import Workspace

NET, OTHER = "ann/net", "ann/other"
REF = Reference.parse(NET)


class Team:
    """A server whose name ``ann/net`` has had three commits, and somebody who reads from it."""

    def __init__(self, served: Served, mine: Workspace) -> None:
        self.served, self.mine = served, mine
        self.token, self.bob = served.token("ann", "write"), served.token("bob")
        served.accounts.set_level("ann", level="internal")
        keep_token(ServerUrl.parse(served.url), self.bob)

    def commits(self) -> list[str]:
        got = self.served.ask(f"/api/models/{NET}/commits/main", token=self.bob)
        assert got.status == 200, got.body
        return [each["id"] for each in got.json]

    def readme(self) -> Got:
        pinned = self.served.ask(f"/{NET}/resolve/main/README.md", token=self.bob)
        return self.served.ask(pinned.headers.get("location", "/"), token=self.bob)

    def pulled(self, name: str) -> None:
        ref, _ = pull(self.mine, name, self.served.url)
        there = self.served.server.hub.workspace.store.read_ref(ref)
        mine = self.mine.store.read_ref(ref)
        assert mine
        assert there
        assert mine.manifest == there.manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "zoo"
    with closing(Workspace.create(root)) as made:
        for name, value in ((NET, 1.0), (OTHER, 2.0)):
            add_checkpoint(made, name, {"w": np.full(9, value, np.float32)})
    return root


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path / "mine")) as mine:
        yield mine


def entry(root: Path, number: int) -> Path:
    return root / entry_name(REF, number)


def committed(root: Path, mine: Workspace, *texts: str) -> list[str]:
    with serving(root) as served:
        team = Team(served, mine)
        for text in texts:
            assert served.commit(NET, text, team.token).status == 200
        return team.commits()


@pytest.mark.parametrize("damage", ["other bytes", "a folder"])
def test_what_it_is_now_is_served(root: Path, mine: Workspace, damage: str) -> None:
    before = committed(root, mine, "one", "two", "three")
    second = entry(root, 2)
    kept = second.read_bytes()
    second.unlink()
    second.mkdir() if damage == "a folder" else second.write_bytes(b"}" * len(kept))
    with serving(root) as served:
        team = Team(served, mine)
        assert (team.readme().body, len(team.commits())) == (b"three", 2)
        team.pulled(NET)
        team.pulled(OTHER)
        assert served.commit(NET, "four", team.token).status == 200
        assert (team.readme().body, len(team.commits())) == (b"four", 3)
        first = f"/zoo/v1/store/{entry_name(REF, 1)}"
        assert served.ask(first, token=team.bob).status == 404
        second.rmdir() if damage == "a folder" else second.unlink()
        second.write_bytes(kept)
        assert team.commits()[1:] == before
        assert served.ask(first, token=team.bob).status == 200


def test_the_newest_is_told_of_and_others_are_served(root: Path, mine: Workspace) -> None:
    committed(root, mine, "one", "two")
    newest = max(entry(root, 1).parent.iterdir())
    newest.write_bytes(b"}")
    with serving(root) as served:
        team = Team(served, mine)
        team.pulled(OTHER)
        with pytest.raises(ZooError, match="copy that file"):
            team.pulled(NET)


def test_what_is_mended_is_shown_again(root: Path, mine: Workspace) -> None:
    """Without a restart, or another push: versions of before, and branches that begin there."""
    before = committed(root, mine, "one", "two", "three")
    with closing(Workspace(root)) as here:
        one = here.store.history(REF)[1].manifest.hex
    manifest = next(root.glob(f"manifests/**/*{one}*")).relative_to(root)
    damaged = entry(root, 3)
    kept = damaged.read_bytes()
    damaged.write_bytes(b"}")
    with serving(root) as served:
        assert served.commit(NET, "four", Team(served, mine).token).status == 200
    with serving(root) as served:  # finds what the first has noted
        team = Team(served, mine)
        assert served.ask(f"/zoo/v1/store/{manifest}", token=team.bob).status == 404
        branch = f"/api/models/{NET}/branch/dev"
        assert served.ask(branch, "POST", token=team.token).status == 200
        dev = f"/api/models/{NET}/commits/dev"
        shown = served.ask(dev, token=team.bob).json
        assert len(shown) <= len(before)
        damaged.write_bytes(kept)
        assert [each["id"] for each in served.ask(dev, token=team.bob).json][1:] == before
        end = time.monotonic() + 30
        while served.ask(f"/zoo/v1/store/{manifest}", token=team.bob).status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_one_that_is_gone_reaches_nothing(root: Path, mine: Workspace) -> None:
    """And whoever asks gets an answer."""
    committed(root, mine, "one")
    with closing(Workspace(root)) as here:
        two = here.store.history(REF)[1].manifest.hex
    manifest = next(root.glob(f"manifests/**/*{two}*")).relative_to(root)
    entry(root, 1).write_bytes(b"}")
    with serving(root) as served:
        team = Team(served, mine)
        assert served.commit(NET, "two", team.token).status == 200
        assert served.ask(f"/zoo/v1/store/{manifest}", token=team.bob).status == 200
        shutil.rmtree(entry(root, 1).parent)
        assert served.ask(f"/zoo/v1/store/{manifest}", token=team.bob).status == 404
