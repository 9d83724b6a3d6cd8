"""Lineage: what derives from what, what bytes say of that, and who may know of it."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fakes.browser import browsing
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import page
from fakes.served import Served, serving

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages import lineage
from zoo.serve.pages.later import Later
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def ann(trained: Served) -> str:
    return trained.token("ann")


def digest_of(served: Served, name: str) -> Digest:
    entry = served.server.hub.workspace.store.read_ref(Reference.parse(name))
    assert entry
    return entry.manifest


def proofs(served: Served, path: str, token: str) -> dict[tuple[str, str], str]:
    """What is said of each edge, by the names at its ends."""
    found = served.ask(f"{path}.json", token=token).json
    names = {node["digest"]: node["name"] for node in found["nodes"]}
    return {(names[e["parent"]], names[e["child"]]): e["proof"] for e in found["edges"]}


def test_fine_tunes_are_proven_by_bytes_and_what_only_says_so_is_not(
    trained: Served,
    ann: str,
) -> None:
    said = proofs(trained, "/team/base/lineage", ann)
    assert said["team/base", "team/net"] == said["team/base", "team/probe"] == "proven"
    assert said["team/base", "team/strange"] == "contradicted"
    _, tree = page(trained, "/team/base/lineage", ann)
    drawn = tree.xpath("//svg[@class='graph']")[0]
    assert drawn.xpath(".//*[@class='edge contradicted']/text/text()") == ["contradicted"]
    assert len(drawn.xpath(".//*[@class='edge proven']")) == 3
    (warning,) = tree.xpath("//p[@class='error']/text()")
    assert warning.startswith("team/strange is said to derive from team/base, but its bytes")


def test_every_checkpoint_is_a_link(trained: Served, ann: str) -> None:
    _, tree = page(trained, "/team/base/lineage", ann)
    there = {"/team/base", "/team/net", "/team/seed", "/team/probe", "/team/strange", "/team/grand"}
    assert {*tree.xpath("//svg[@class='graph']//a/@href")} == there
    assert {*tree.xpath("//tbody//th//a/@href")} == there


def test_what_may_not_be_read_has_no_name(trained: Served, ann: str) -> None:
    hidden = digest_of(trained, "secret/child")
    got, tree = page(trained, "/team/grand/lineage", ann)
    twin = trained.ask("/team/grand/lineage.json", token=ann)
    assert b"secret" not in got.body + twin.body
    # The manifest, which may be read, has it anyway; nothing else is told.
    (node,) = [one for one in twin.json["nodes"] if one["digest"] == str(hidden)]
    assert {name for name, value in node.items() if value} == {"digest", "side", "where"}
    assert node["where"] == {"repo": "", "tag": "", "past": False}
    assert hidden.short in tree.xpath("string(//svg[@class='graph'])")
    assert "not visible to you" in tree.xpath("string(//svg[@class='graph'])")
    said = proofs(trained, "/team/grand/lineage", ann)
    assert said["", "team/grand"] == said["team/net", ""] == "declared"
    admin = trained.token("admin")
    assert proofs(trained, "/team/grand/lineage", admin)["secret/child", "team/grand"] == "proven"
    assert b"secret/child" in trained.ask("/team/net/lineage", token=admin).body


def test_a_descendant_that_may_not_be_read_is_not_there(
    trained: Served,
    ann: str,
) -> None:
    trained.accounts.set_level("team/grand", level="private")
    try:
        found = trained.ask("/team/net/lineage.json", token=ann).json
    finally:
        trained.accounts.set_level("team/grand", level="internal")
    assert "descendant" not in {node["side"] for node in found["nodes"]}
    assert found["more_below"] == 0


def test_a_license_that_leaves_out_a_limit_is_told(trained: Served, ann: str) -> None:
    _, tree = page(trained, "/team/strange/lineage", ann)
    told = " ".join(tree.xpath("//p[@class='error']/text()"))
    assert "given as mit, but team/base, which it derives from, is non-commercial" in told
    assert tree.xpath("//span[@class='tag warn']/text()") == ["non-commercial"]


@pytest.mark.parametrize("path", ["/secret/child/lineage", "/secret/child/runs"])
def test_a_repository_that_may_not_be_read_looks_as_if_it_were_not_there(
    trained: Served,
    ann: str,
    path: str,
) -> None:
    hidden, _ = page(trained, path, ann)
    absent, _ = page(trained, path.replace("child", "other"), ann)
    assert hidden.status == absent.status == 404
    assert hidden.body.replace(b"child", b"other") == absent.body


def test_what_a_name_had_once_leads_to_its_versions(
    trained: Served,
    tmp_path: Path,
) -> None:
    shutil.copytree(trained.root, tmp_path / "zoo")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        other = workspace.store.read_ref(Reference.parse("team/probe"))
        assert other
        workspace.move(Reference.parse("team/net"), other.manifest, "tag")
    with serving(tmp_path / "zoo") as served:
        _, tree = page(served, "/secret/child/lineage", served.token("admin"))
    (link,) = tree.xpath("//tbody//th//a[contains(., 'team/net')]")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        (was, *_) = workspace.store.history(Reference.parse("team/net"))
        made = str(workspace.store.manifest(was.manifest).created).replace("T", " ")[:16]
    called = f"team/net, earlier ({made})"  # it may have had several
    assert (link.text, link.get("href")) == (called, "/team/net/versions")
    assert any(text.startswith(made) for text in tree.xpath("//svg//text/text()"))


@pytest.mark.long
def test_terms_are_in_sight_on_a_phone(trained: Served) -> None:
    trained.accounts.set_level("team", level="public")
    with browsing() as browser:
        tab = browser.new_page(viewport={"width": 375, "height": 800})
        tab.goto(f"{trained.url}/team/grand/lineage")
        for column in ("License", "Use"):
            box = tab.get_by_role("columnheader", name=column).bounding_box()
            assert box
            assert box["x"] + box["width"] <= 375


@pytest.mark.long
def test_of_many_some_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        base = add_checkpoint(workspace, "team/base")
        for number in range(57):
            parent = Parent(manifest=base, relation="finetune", ref="team/base")
            add_checkpoint(workspace, f"team/n{number}", tensors(0), parents=(parent,),
                           provenance={"note": str(number)})  # fmt: skip
        hidden = add_checkpoint(workspace, "lab/x", parents=(parent,), license="mit")
    with serving(tmp_path / "zoo") as served:
        served.accounts.set_level("lab", level="private")
        got, tree = page(served, "/team/base/lineage", served.token("ann"))
    assert "and 17 more below" in tree.xpath("string(//main)")
    assert len(tree.xpath("//svg[@class='graph']//a")) == 41
    assert len(got.body) < 100_000
    assert hidden.short.encode() not in got.body


def test_a_version_without_a_checkpoint_says_what_to_do(
    trained: Served,
    ann: str,
) -> None:
    token = trained.token("ann", "write")
    assert trained.commit("ann/words", "only words", token).status < 500
    got, tree = page(trained, "/ann/words/lineage", token)
    if got.status == 404:  # it is made first
        trained.ask("/api/repos/create", "POST", token=token, body=b'{"name": "words"}')
        assert trained.commit("ann/words", "only words", token).status == 200
        got, tree = page(trained, "/ann/words/lineage", token)
    assert got.status == 200
    assert tree.xpath("string(//h2)") == "No checkpoint here"


def test_a_revision_that_is_none(trained: Served, ann: str) -> None:
    got, tree = page(trained, "/team/net/lineage?revision=%3Cscript%3E", ann)
    assert (got.status, got.code) == (404, "RevisionNotFound")
    assert not tree.xpath("//main//script")


def test_what_takes_long_is_told_the_next_time(
    trained: Served, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "SMALL", 0)
    monkeypatch.setattr(lineage, "_checks", LruCache(9))
    path, pair = "/team/strange/lineage", ("team/base", "team/strange")
    assert lineage.LATER in page(trained, path, ann)[0].body.decode()
    for _ in range(400):
        if proofs(trained, path, ann)[pair] == "contradicted":
            break
        time.sleep(0.05)
    assert proofs(trained, path, ann)[pair] == "contradicted"


def test_what_is_damaged_proves_nothing(trained: Served, tmp_path: Path) -> None:
    shutil.copytree(trained.root, tmp_path / "zoo")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        _, digest = workspace.names.resolve("team/strange")
        largest = max(workspace.store.manifest(digest).tensors, key=lambda each: each.nbytes)
    for path in (tmp_path / "zoo").rglob(f"{largest.object.hex}*"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.unlink()
        path.write_bytes(content)
    with serving(tmp_path / "zoo") as served, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineage, "_checks", LruCache(9))
        got, _ = page(served, "/team/strange/lineage", served.token("ann"))
        patch.setattr(lineage, "_failed", LruCache(9))
        patch.setattr(lineage, "SMALL", 0)
        later, _ = page(served, "/team/strange/lineage", served.token("ann"))
        for _ in range(400):
            last, _ = page(served, "/team/strange/lineage", served.token("ann"))
            if lineage.LATER not in last.body.decode():
                break
            time.sleep(0.05)
        patch.setattr(lineage, "AGAIN", 0.0)
        again, _ = page(served, "/team/strange/lineage", served.token("ann"))
    assert lineage.LATER in later.body.decode()
    assert lineage.LATER in again.body.decode(), "it may be mended"
    for told in (got, last):
        assert told.status == 200
        assert lineage.UNREADABLE in told.body.decode()
        assert str(tmp_path) not in told.body.decode()


def test_one_that_fails_keeps_nobody_waiting() -> None:
    done = threading.Event()

    def fails() -> None:
        raise ValueError

    Later().begin([fails, done.set])
    assert done.wait(10)
