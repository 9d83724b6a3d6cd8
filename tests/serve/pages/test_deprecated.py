"""All names that are to be used no more, as far as who asks may read them, without an index."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.browser import barriers, browsing, sideways, watched
from fakes.paged import NASTY, canaries, page, text_of
from fakes.prepared import copy_zoo
from fakes.served import Served, serving

import zoo
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.serve.keep.deprecations import Deprecations
from zoo.store import Store

PATH = "/-/deprecated"


@pytest.fixture
def own(tuned_home: Path, tmp_path: Path) -> Iterator[Served]:
    """The zoo of `tuned`, to be changed: anybody may read ``team/tuned`` alone."""
    with serving(copy_zoo(tuned_home, tmp_path / "zoo")) as served:
        served.accounts.set_level("team", level="private")
        served.accounts.set_level("team/tuned", level="public")
        yield served


def names(served: Served, token: str | None = None) -> list[str]:
    return [row["name"] for row in served.ask(f"{PATH}.json", token=token).json["rows"]]


def await_names(own: Served, expected: list[str]) -> None:
    """See that these come to be told: after a look at all names there is none for a moment."""
    ends = time.monotonic() + 60
    while names(own) != expected:
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_what_was_said_on_the_command_line_or_at_the_server(own: Served) -> None:
    """Whenever it was: nothing is indexed, and nothing is known from before."""
    admin = own.token("admin", "write")
    assert "There is none" in text_of(page(own, PATH)[1])
    with zoo.open(own.root) as opened:
        opened.deprecate("team/tuned:v1", "use team/tuned, it has learned more")
        opened.deprecate("team/base", "use team/tuned")
    await_names(own, ["team/tuned:v1"])
    assert names(own, own.token("ben")) == ["team/tuned:v1"]
    assert names(own, admin) == ["team/base", "team/tuned:v1"]
    assert own.ask(f"{PATH}.json").json["total"] == 1
    _, tree = page(own, PATH)
    assert "use team/tuned, it has learned more" in text_of(tree)
    (link,) = tree.xpath("//tbody//a/@href")
    assert own.ask(link).status == 200
    with zoo.open(own.root) as opened:
        opened.deprecate("team/tuned:v1", "")
        opened.tag("team/tuned", "team/tuned:v2")
        opened.deprecate("team/tuned:v2", "no")
    await_names(own, ["team/tuned:v2"])
    with zoo.open(own.root) as opened:
        opened.delete("team/tuned:v2")
    await_names(own, [])
    _, home = page(own, "/", admin)
    assert home.xpath(f"//main//a[@href='{PATH}']")


class Counting(Store):
    """A store that keeps which names were read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.backend)
        self.names: list[str] = []

    def read_ref(self, ref: Reference) -> RefEntry | None:
        """See `Store`."""
        self.names.append(str(ref))
        return super().read_ref(ref)


def test_what_has_not_moved_is_not_read_again(own: Served) -> None:
    with zoo.open(own.root) as opened:
        opened.deprecate("team/tuned:v1", "use team/tuned")
        store = Counting(opened.workspace.store)
        known = Deprecations(store)
        hours_ago(opened.workspace.store.root, "team/base/latest", "team/tuned/latest")
        assert [*map(str, known.all()[0])] == ["team/tuned:v1"]
        assert sorted(store.names) == ["team/base", "team/tuned", "team/tuned:v1"]
        store.names.clear()
        while not store.names:
            time.sleep(0.01)
            known.all()
        assert store.names == ["team/tuned:v1"], "it changed so lately that it may change unseen"
        opened.deprecate("team/base", "use team/tuned")
        while len(known.all()[0]) < 2:
            time.sleep(0.01)
        assert "team/tuned" not in store.names


def hours_ago(root: Path, *names: str) -> None:
    """Let names have moved then."""
    for name in names:
        os.utime(root / "refs" / name, (time.time() - 7200,) * 2)


def test_who_asks_does_not_wait_for_all_names(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with zoo.open(own.root) as opened:
        opened.deprecate("team/tuned:v1", "use team/tuned")
    monkeypatch.setattr("zoo.serve.keep.deprecations.LOOK_SECONDS", 0.0)
    found = own.ask(f"{PATH}.json").json
    assert (found["rows"], found["complete"]) == ([], False)
    assert "Not all names were looked at yet" in text_of(page(own, PATH)[1])
    monkeypatch.undo()
    await_names(own, ["team/tuned:v1"])


def test_texts_do_nothing_and_pages_turn(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.serve.pages.deprecated.ROWS", 3)
    workspace = own.server.hub.workspace
    digest = workspace.names.resolve("team/tuned")[1]
    said = [each for each in NASTY if each.isprintable()]
    for number, text in enumerate(said):
        ref = Reference.parse(f"team/tuned:n{number}")
        workspace.move(ref, digest, "test")
        workspace.deprecate(ref, text)
    shown = ""
    for number in range(1, 4):
        got, tree = page(own, f"{PATH}?page={number}")
        assert got.status == 200
        assert canaries(tree) == []
        shown += text_of(tree)
    assert all(" ".join(text.split()) in shown for text in said[:9])
    assert "There is no page 4: this is the last" in text_of(page(own, f"{PATH}?page=4")[1])
    for odd in ("0", "-1", "99999999", "x"):
        got, tree = page(own, f"{PATH}?page={odd}")
        assert got.status == 200
        assert f"There is no page “{odd}”: this is the first" in text_of(tree)


@pytest.mark.long
def test_in_a_browser(own: Served) -> None:
    with zoo.open(own.root) as opened:
        opened.deprecate("team/tuned:v1", "use team/tuned")
    with browsing() as browser:
        page = browser.new_page()
        wrong = watched(page, own.url)
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(own.url + PATH)
            assert barriers(page) == []
            assert sideways(page) == []
        assert wrong == []
