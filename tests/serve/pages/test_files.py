"""Files and versions: what there is to fetch, and what each commit moved."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.checkpoints import add_checkpoint, store_weights, tensors
from fakes.paged import NASTY, canaries, page, text_of
from fakes.served import CONFIG, Served, serving, with_files

import zoo
from zoo.domain.reference import Reference
from zoo.serve.keep.git import blob_id
from zoo.serve.pages import files, versions
from zoo.store.listing import name_of
from zoo.store.manifests import FORMS
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/net``, of which each commit moves something else; ann may write."""
    root = tmp_path_factory.mktemp("moved") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        ref, values = Reference.parse("team/net"), tensors()
        first = add_checkpoint(workspace, "team/old", values)
        first = workspace.commit(with_files(workspace, first, config_json=CONFIG), ref, "import")
        one = workspace.store.manifest(first)
        values["layer1.1.conv.weight"] = values["layer1.1.conv.weight"] + np.float32(1)
        with workspace.store.upload():
            weights = store_weights(workspace.store, values)
        two = replace(
            one, weights=(weights,), provenance={"note": f"one unit {NASTY[0]}"},
            metrics={"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75},
        )  # fmt: skip
        workspace.commit(two, ref, NASTY[1])
        workspace.commit(replace(two, classes=("a", "b", "c")), ref, "edit")
    with serving(root) as served:
        served.accounts.set_level("team", level="public")
        served.token("ann", "write")
        served.accounts.grant("team", "ann", "writer")
        yield served


def test_files_are_those_that_clients_see(tuned: Served) -> None:
    found = tuned.ask("/team/tuned/files.json?revision=v1").json
    told = tuned.ask("/api/models/team/tuned/revision/v1?blobs=true").json
    assert found["commit"]["id"] == told["sha"]
    rows = {row["path"]: row for row in found["rows"]}
    assert [*rows] == [each["rfilename"] for each in told["siblings"]]
    for each in told["siblings"]:
        row = rows[each["rfilename"]]
        assert (row["size"], row["git"]) == (each["size"], each["blobId"])
        assert row["sha256"] == each.get("lfs", {}).get("sha256", "")
    assert rows["config.json"]["made"]
    assert found["size"] == sum(each["size"] for each in told["siblings"])


def test_each_can_be_fetched_and_is_never_shown(tuned: Served) -> None:
    _, tree = page(tuned, "/team/tuned/files")
    links = tree.xpath("//table//a[@download]/@href")
    assert len(links) == 4
    with zoo.open(tuned.root) as opened:
        store, names = opened.workspace.store, opened.workspace.names
        weights = store.manifest(names.resolve("team/tuned")[1]).weights[0]
    assert weights.sha256.hex in text_of(tree)
    sizes = set()
    for link in links:
        got = tuned.ask(link, Accept="text/html")
        assert got.status == 200
        assert got.headers["content-disposition"].startswith("attachment")
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-security-policy"].startswith("sandbox")
        sizes.add(len(got.body))
    assert weights.size in sizes


def send(served: Served, repo: str, paths: dict[str, str], message: str = "m") -> None:
    """Make a repository of somebody's own, and send files."""
    token = served.token("eve", "write")
    named = json.dumps({"name": repo.partition("/")[2]}).encode()
    served.ask("/api/repos/create", "POST", token=token, body=named)
    lines: list[object] = [{"key": "header", "value": {"summary": message}}]
    lines += [{"key": "file", "value": {"path": k, "content": v}} for k, v in paths.items()]
    body = "\n".join(map(json.dumps, lines)).encode()
    got = served.ask(f"/api/models/{repo}/commit/main", "POST", token=token, body=body)
    assert got.status == 200, got


def test_folders_are_opened_one_by_one(moved: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    token = moved.token("eve", "write")
    send(moved, "eve/deep", {"a/b/c.txt": "c", "a/d.txt": "dd", "e.txt": "e", "a.txt": "a"})
    found = moved.ask("/eve/deep/files.json", token=token).json
    assert [(row["name"], row["folder"]) for row in found["rows"]] == [
        ("a", True), ("a.txt", False), ("e.txt", False)
    ]  # fmt: skip
    _, tree = page(moved, "/eve/deep/files", token)
    (link,) = tree.xpath("//th/a/@href")
    _, tree = page(moved, link, token)
    assert tree.xpath("//tbody//th/descendant-or-self::*/text()[normalize-space()]") == [
        "b/", "d.txt"
    ]  # fmt: skip
    _, tree = page(moved, "/eve/deep/files?path=a/d.txt", token)
    assert len(tree.xpath("//tbody/tr")) == 1, "the address of one file at the hub leads here"
    assert blob_id(b"dd") in text_of(tree)
    assert moved.ask("/eve/deep/files?path=nothing", token=token).code == "EntryNotFound"
    monkeypatch.setattr(files, "PAGE", 2)
    _, tree = page(moved, "/eve/deep/files", token)
    (more,) = tree.xpath("//a[@rel='next']/@href")
    assert text_of(page(moved, more, token)[1], "//tbody/tr/th") == "e.txt"


def test_names_of_files_are_texts(moved: Served) -> None:
    token = moved.token("eve", "write")
    names = [text.replace("/", "_").replace(":", ";") for text in NASTY if text.isprintable()]
    paths = dict.fromkeys(names, "x")
    send(moved, "eve/nasty", {f"in {name}/{name}": "x" for name in names})
    send(moved, "eve/nasty", paths | {"page.html": "<script>alert(1)</script>"}, NASTY[0])
    for place in ("/files", "/versions", "", "/files?path=page.html"):
        got, tree = page(moved, f"/eve/nasty{place}", token)
        assert (got.status, canaries(tree)) == (200, []), place
    _, tree = page(moved, "/eve/nasty/files", token)
    assert {*paths} <= {each.strip() for each in tree.xpath("//th/text()")}
    for link in tree.xpath("//a[@download]/@href"):
        assert moved.ask(link, token=token).body in (b"x", b"<script>alert(1)</script>")


def send_pickles(served: Served, token: str) -> None:
    """A file of weights, one that runs a command, and one that is neither."""
    served.ask("/api/repos/create", "POST", token=token, body=b'{"name": "pickles"}')
    weights = io.BytesIO()
    torch.save({"a": torch.ones(2)}, weights)
    hostile = f"cposix\nsystem\n(S'touch ran'\ntR0c{NASTY[0]}\nx\n."
    contents = {"pytorch_model.bin": weights.getvalue(), "optimizer.pt": hostile.encode(),
                "other.bin": bytes(99), "named.txt": hostile.encode()}  # fmt: skip
    lines: list[object] = [{"key": "header", "value": {"summary": "m"}}]
    for path, data in contents.items():
        value = {"path": path, "content": b64encode(data).decode(), "encoding": "base64"}
        lines.append({"key": "file", "value": value})
    body = "\n".join(map(json.dumps, lines)).encode()
    assert served.ask(
        "/api/models/eve/pickles/commit/main", "POST", token=token, body=body
    ).status == 200  # fmt: skip


def test_pickles_are_told_with_what_they_import(
    moved: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first who asks is not kept waiting; nothing is run."""
    monkeypatch.chdir(tmp_path)
    token, works = moved.token("eve", "write"), list[Callable[[], object]]()
    send_pickles(moved, token)
    monkeypatch.setattr(files._later, "begin", lambda more: works.extend(more))
    rows = {
        row["path"]: row for row in moved.ask("/eve/pickles/files.json", token=token).json["rows"]
    }
    pending = {path for path, row in rows.items() if row["pickle"]}
    assert pending == {"pytorch_model.bin", "optimizer.pt", "other.bin"}
    assert "load this page again" in text_of(page(moved, "/eve/pickles/files", token)[1])
    for work in works:
        work()
    works.clear()
    rows = {
        row["path"]: row for row in moved.ask("/eve/pickles/files.json", token=token).json["rows"]
    }
    weights, hostile = (rows[name]["pickle"] for name in ("pytorch_model.bin", "optimizer.pt"))
    assert weights["modules"] == ["collections", "torch", "torch._utils"]
    assert (weights["other"], weights["problem"]) == ([], "")
    assert hostile["other"] == ["posix.system", f"{NASTY[0]}.x"]
    assert rows["other.bin"]["pickle"] is None
    _, tree = page(moved, "/eve/pickles/files", token)
    assert canaries(tree) == []
    heads = [[*each.itertext()] for each in tree.xpath("//tbody//th")]
    told = {first.strip(): " ".join("".join(more).split()) for first, *more in heads}
    assert "imports collections, torch, torch._utils" in told["pytorch_model.bin"]
    assert "own" not in told["pytorch_model.bin"]
    assert "own posix.system" in told["optimizer.pt"]
    assert "pickle" not in told["other.bin"] + told["named.txt"]
    assert works == [], "each is looked at once"
    assert [*tmp_path.iterdir()] == []


def test_pickles_that_take_long_to_fetch_are_not(
    moved: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = moved.token("eve", "write")
    send(moved, "eve/far", {"far.bin": "cposix\nsystem\n.", "next.bin": "x"})
    monkeypatch.setattr(files, "FETCHED", 4)
    monkeypatch.setattr(files, "_is_plain", lambda _: False)
    monkeypatch.setattr(files, "AT_ONCE", 1)
    for count in (1, 2):
        monkeypatch.setattr(files._later, "begin", lambda more: [each() for each in more])
        moved.ask("/eve/far/files.json", token=token)
        rows = moved.ask("/eve/far/files.json", token=token).json["rows"]
        assert rows[0]["pickle"]["problem"] == files.TOO_LARGE.problem, count
    assert rows[1]["pickle"] is None


def test_a_version_says_what_it_moved_who_and_why(moved: Served) -> None:
    found = moved.ask("/team/net/versions.json").json
    edit, second, first = found["commits"]
    assert first["moved"]["first"]
    assert (first["moved"]["total"], first["moved"]["files"]) == (3, ["config.json"])
    assert second["moved"]["units"] == ["layer1.1"]
    assert (second["moved"]["changed"], second["moved"]["total"]) == (1, 3)
    assert second["score"]["value"] == 0.5
    assert edit["moved"] == {**second["moved"], "units": [], "changed": 0, "classes": True}
    assert edit["names"] == ["main"]
    told = moved.ask("/api/models/team/net/commits/main").json
    for one, other in zip(found["commits"], told, strict=True):
        assert (one["id"], one["title"], one["at"]) == (other["id"], other["title"], other["date"])
        assert one["by"] == other["authors"][0]["user"]
    _, tree = page(moved, "/team/net/versions")
    assert canaries(tree) == []
    said = text_of(tree)
    assert f"one unit {NASTY[0]}" in said
    assert NASTY[1] in said
    assert "1 of 3 units changed: layer1.1" in said
    assert "No weights changed. The class names changed." in said
    assert "accuracy 0.5000 (0.250 to 0.750)" in said


def test_a_fine_tune_moves_the_units_that_it_trained(tuned: Served) -> None:
    found = tuned.ask("/team/tuned/versions.json").json
    assert [each["name"] for each in found["names"]] == ["main", "v1"]
    assert [each["fixed"] for each in found["names"]] == [False, True]
    assert {each["by"] for each in found["names"]} == {found["commits"][0]["by"]} != {""}
    assert found["commits"][0]["moved"]["units"] == ["layer3.0", "layer4.0", "head"]
    assert found["commits"][0]["note"] == "two units trained"
    _, tree = page(tuned, "/team/tuned/versions")
    new, old = (each["id"] for each in found["commits"])
    assert {*tree.xpath("//a[starts-with(@href, '/compare?')]/@href")} == {
        "/compare?names=team%2Ftuned%3Av1&names=team%2Ftuned",
        f"/compare?names=team%2Ftuned%3A{old}&names=team%2Ftuned%3A{new}",
    }
    before = tree.xpath("//a[text()='what it was before']/@href")
    assert before == [f"/team/tuned/versions?revision={name}" for name in ("main", "v1")]
    _, tree = page(tuned, f"/team/tuned/versions?revision={found['commits'][1]['id']}")
    assert len(tree.xpath("//ol[@class='commits']/li")) == 1


def test_commits_come_in_pages(moved: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "PAGE", 2)
    _, tree = page(moved, "/team/net/versions")
    assert len(tree.xpath("//ol[@class='commits']/li")) == 2
    assert "layer1.1" in text_of(tree), "the last one on a page is compared with one of the next"
    (older,) = tree.xpath("//a[@rel='next']/@href")
    _, tree = page(moved, older)
    assert "The first one: 3 units" in text_of(tree)
    assert not tree.xpath("//a[@rel='next']")


def test_files_that_were_sent_beside_weights(moved: Served) -> None:
    assert moved.commit("team/net", "# words", moved.token("ann", "write")).status == 200
    found = moved.ask("/team/net/versions.json").json["commits"][0]
    assert (found["title"], found["by"]) == ("# words", "ann")
    assert found["moved"]["changed"] == 0
    assert "README.md" in found["moved"]["files"]
    assert page(moved, "/team/net/layers")[0].status == 200, "its checkpoint is what it was"


def test_what_a_prune_has_taken_is_told(tmp_path: Path) -> None:
    root = tmp_path / "zoo"
    with closing(Workspace.create(root)) as workspace:
        for seed in (1, 2):
            base = add_checkpoint(workspace, "team/x", tensors(seed))
            whole = with_files(workspace, base, config_json=CONFIG)
            workspace.commit(whole, Reference.parse("team/net"), "import")
        first = workspace.store.history(Reference.parse("team/net"))[0].manifest
    with serving(root) as served:
        served.accounts.set_level("team", level="public")
        before = served.ask("/team/net/versions.json").json["commits"]
        for form in FORMS:
            (root / name_of(form, first)).unlink(missing_ok=True)
        found = served.ask("/team/net/versions.json").json["commits"]
        assert [each["id"] for each in found] == [each["id"] for each in before]
        assert [each["moved"]["gone"] for each in found] == [True, True]
        assert served.ask(f"/team/net?revision={found[1]['id']}").code == "EntryNotFound"
