"""HEAD that is answered out of memory, on the event loop: as a thread would answer it, whatever has
happened since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, store_checkpoint
from fakes.served import CONFIG, Got, Served, serving, with_files

from zoo.domain.reference import Reference
from zoo.serve.app import App
from zoo.store.listing import name_of
from zoo.store.manifests import FORMS
from zoo.testing.memory import MemoryBackend
from zoo.workspace import Workspace

REPO = "team/net"
REF = Reference.parse(REPO)
FILES = ("model.safetensors", "config.json", "README.md", "no/such")


@dataclass
class Story:
    """A server, what is asked of it, and another process that changes the same zoo."""

    served: Served
    other: Workspace
    secret: str
    token: str
    commit: str
    by_threads: list[str] = field(default_factory=list)

    def heads(self, **headers: Any) -> list[Got]:
        """The answers to HEAD of each file, to the account and to anybody."""
        return [
            self.served.ask(f"/{REPO}/resolve/{self.commit}/{file}", "HEAD", token=who, **headers)
            for file in FILES
            for who in (self.token, None, "zoo_unknown")
        ]

    def on_the_loop(self, token: str | None) -> bool:
        """Whether HEAD of a file is answered so. It is not where anything was written since, as a
        server does on its own once it is started.
        """
        before = len(self.by_threads)
        self.served.ask(f"/{REPO}/resolve/{self.commit}/{FILES[0]}", "HEAD", token=token)
        return len(self.by_threads) == before

    def told(self) -> list[tuple[int, Mapping[str, str]]]:
        """What is told by them, but for what each request has of its own."""
        own = ("x-request-id", "date")
        return [
            (got.status, {name: text for name, text in got.headers.items() if name not in own})
            for got in (*self.heads(), *self.heads(If_None_Match='"x"', Range="bytes=0-3"))
        ]


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    root = tmp_path / "zoo"
    with closing(Workspace.create(root)) as made:
        bare = add_checkpoint(made, "team/bare", {"w": np.arange(9, dtype=np.float32)})
        made.commit(with_files(made, bare, config_json=CONFIG), REF, "import")
    with serving(root) as served, closing(Workspace(root)) as other:
        served.accounts.set_level(REPO, level="public")
        token = served.token("ann")
        secret = next(each.id for each in served.accounts.tokens("ann"))
        sha = served.ask(f"/api/models/{REPO}", token=token).json["sha"]
        story, answer = Story(served, other, secret, token, sha), App.answer

        def noted(self: App, call, route, fields):  # type: ignore[no-untyped-def]
            story.by_threads.append(call.path)
            return answer(self, call, route, fields)

        monkeypatch.setattr(App, "answer", noted)
        yield story


def prune(story: Story) -> None:
    """The checkpoint goes, and its name has another one."""
    store = story.other.store
    before = store.read_ref(REF)
    assert before
    story.other.move(REF, store_checkpoint(store, {"w": np.ones(3, np.float32)}), "tag")
    for form in FORMS:
        store.remove(name_of(form, before.manifest))


CHANGES: dict[str, Callable[[Story], object]] = {
    "nothing": lambda story: None,
    "hidden": lambda story: story.served.accounts.set_level(REPO, level="private"),
    "token ended": lambda story: story.served.accounts.revoke(story.secret),
    "account gone": lambda story: story.served.accounts.remove("ann"),
    "another version": lambda story: story.other.move(
        REF, store_checkpoint(story.other.store, {"w": np.ones(3, np.float32)}), "tag"
    ),
    "deleted": lambda story: story.other.delete(REF),
    "pruned": prune,
}


LONG = ("nothing", "token ended", "account gone", "deleted")
"""Whose siblings stay in `make test`."""


@pytest.mark.parametrize(
    "change",
    [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in CHANGES],
)
def test_it_is_what_a_thread_would_say(
    story: Story, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        story.told()
    CHANGES[change](story)
    out_of_memory = story.told()
    monkeypatch.setattr(App, "_known", lambda *_: None)
    assert out_of_memory == story.told()
    assert (out_of_memory[0][0] == 200) is (change in ("nothing", "another version"))


def soon(is_so: Callable[[], bool]) -> bool:
    """Whether it is so at once, or when what a server does at its start is over."""
    for _ in range(50):
        if is_so():
            return True
        time.sleep(0.2)
    return False


def test_no_thread_is_waited_for(story: Story) -> None:
    path = f"/{REPO}/resolve/{story.commit}/model.safetensors"
    first = story.served.ask(path, "HEAD", token=story.token)
    assert story.by_threads.count(path) == 1
    assert soon(partial(story.on_the_loop, story.token))
    again = story.served.ask(path, "HEAD", token=story.token)
    assert (first.status, again.status) == (200, 200)
    assert first.headers["content-length"] == again.headers["content-length"]
    before = story.by_threads.count(path)
    story.served.ask(path, token=story.token)
    assert story.by_threads.count(path) == before + 1


def test_what_is_written_down_is_so_by_a_thread(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would wait for whoever writes at that time."""
    assert soon(partial(story.on_the_loop, story.token))
    monkeypatch.setattr("zoo.serve.who.accounts.USED_SECONDS", -1)
    assert not story.on_the_loop(story.token)
    assert not story.on_the_loop("zoo_unknown")
    assert soon(partial(story.on_the_loop, None))


def test_a_download_is_counted_once(story: Story) -> None:
    story.heads()
    before = counted(story)
    story.served.ask(f"/{REPO}/resolve/{story.commit}/config.json", "HEAD", token=story.token)
    prune(story)
    story.served.ask(f"/{REPO}/resolve/{story.commit}/config.json", "HEAD", token=story.token)
    assert counted(story) == before + 1


def counted(story: Story) -> int:
    """How often the repository was downloaded, as its database has it."""
    downloads = story.served.accounts.downloads
    downloads.settle()
    return downloads._read()[REPO].all


FAR: dict[str, object] = {
    "zoo.serve.app.FolderBackend": MemoryBackend,  # it is in no folder, then
    "zoo.serve.who.accounts.Accounts.is_near": property(lambda _: False),
}


@pytest.mark.parametrize("far", FAR)
def test_a_network_is_waited_for_by_threads(
    story: Story, far: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database or a bucket that hangs keeps nobody else waiting."""
    monkeypatch.setattr(far, FAR[far])
    with serving(story.served.root) as another:
        path = f"/{REPO}/resolve/{story.commit}/config.json"
        for _ in range(3):
            assert another.ask(path, "HEAD", token=story.token).status == 200
    assert story.by_threads.count(path) == 3
