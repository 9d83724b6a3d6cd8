"""What lies damaged in a zoo loses nothing that is made beside it."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, manifest_of, store_weights, tensors

from zoo import config
from zoo.domain.catalog import CatalogEntry, Location, Release, SourceFile
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Invalid, NotAFile, WouldReplace
from zoo.exchange.acquire import _check
from zoo.exchange.origins import base_models, keep_published, published
from zoo.exchange.publishing import _pulled
from zoo.exchange.reuse import LocalFiles
from zoo.registry import KnownEntry
from zoo.store.disk import Disk
from zoo.workspace import Workspace

REF = Reference.parse("lab/net")
PULLED = {"source": "timm", "locator": "lab/net@1", "revision": "7"}
CATALOG = Location("timm", "lab/net")


def file_of(workspace: Workspace, digest: Digest) -> Path:
    return workspace.root / "manifests" / digest.hex[:2] / f"{digest.hex}.json"


def derived(workspace: Workspace) -> tuple[Digest, Manifest]:
    """A checkpoint's digest, and what is made of it."""
    base = add_checkpoint(workspace, "team/base", provenance=PULLED)
    parent = Parent(manifest=base, relation="finetune", ref="team/base")
    weights = store_weights(workspace.store, tensors())
    return base, replace(manifest_of(weights), parents=(parent,))


@pytest.mark.parametrize("damage", ["long", "link", "folder", "junk"])
def test_a_list_of_what_was_published_that_cannot_be_read(
    workspace: Workspace, damage: str
) -> None:
    _, manifest = derived(workspace)
    path = workspace.root / "published.json"
    if damage == "long":
        path.write_bytes(b" " * (2 << 20))
    elif damage == "link":
        path.symlink_to("zoo.json")
    elif damage == "folder":
        path.mkdir()
    else:
        path.write_text("[" * 100_000)
    assert base_models(workspace, manifest) == []


def test_a_damaged_ancestor_ends_no_push(workspace: Workspace) -> None:
    base, manifest = derived(workspace)
    digest = workspace.commit(manifest, Reference.parse("team/new"), "test")
    assert list(_pulled(workspace, "lab/net", digest, manifest)) == ["7"]
    flip_byte(file_of(workspace, base))
    assert list(_pulled(workspace, "lab/net", digest, manifest)) == []


@pytest.mark.parametrize("damage", ["damaged", "missing"])
@pytest.mark.parametrize("why", ["pull from timm", "finetune"])
def test_a_name_whose_manifest_cannot_be_read_is_as_its_history_says(
    workspace: Workspace, damage: str, why: str
) -> None:
    manifest = manifest_of(store_weights(workspace.store, tensors()), provenance=PULLED)
    path = file_of(workspace, workspace.commit(manifest, REF, why))
    if damage == "missing":
        path.unlink()
    else:
        flip_byte(path)
    listed = CatalogEntry(name="lab/net", backbone="timm", architecture="x", location=CATALOG)
    entry = KnownEntry(entry=listed, sources=("timm",), locations=(CATALOG,), params=None)
    check, here = _check(workspace, REF, CATALOG, force=False), workspace.store.read_ref(REF)
    if why == "finetune":
        assert workspace.names.is_own(REF, entry)
        with pytest.raises(WouldReplace):
            check(here)
    else:
        assert not workspace.names.is_own(REF, entry)
        check(here)
        assert workspace.commit(manifest, REF, why).hex == path.stem  # as the pull does
        assert workspace.store.manifest(Digest("blake3", path.stem)) == manifest


def test_no_manifest_is_read_past_what_one_can_have(workspace: Workspace, tmp_path: Path) -> None:
    path = file_of(workspace, Digest.parse(f"blake3:{'1' * 64}"))
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, 256 << 20)
    promised = SourceFile("README.md", 3, git="0" * 40)
    release = Release(source="hub", locator="a/b", revision="1", files=(promised,), weights="")
    tracemalloc.start()
    try:
        assert not LocalFiles(workspace.store, release).restore(promised, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()


def test_two_that_publish_at_once_are_both_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (Digest.parse(f"blake3:{digit * 64}") for digit in "12")
    keep_published(workspace, "hf://a/one", "1", one)
    monkeypatch.setattr("zoo.store.disk.LOOKS", 1)
    with workspace.own("published.json").change(), pytest.raises(Conflict):
        keep_published(workspace, "hf://a/two", "2", two)
    keep_published(workspace, "hf://a/two", "2", two)
    assert set(published(workspace)) == {"hf://a/one", "hf://a/two"}


def test_own_files_that_are_links_or_deep_are_told_as_such(workspace: Workspace) -> None:
    deep = workspace.root / "remotes.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(Invalid, match=r"remotes\.json is damaged: .*; fix or delete it"):
        workspace.remotes.all()
    workspace.trust.allow("one:make", "/one.py")
    (listed,) = config.settings().glob("trusted-*.json")
    listed.unlink()
    listed.symlink_to(deep)
    with pytest.raises(NotAFile, match="link"):
        workspace.trust.all()


def test_two_that_trust_at_once_are_both_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.store.disk.LOOKS", 1)
    workspace.trust.allow("one:make", "/one.py")
    with Disk(config.settings()).alone():
        with pytest.raises(Conflict):
            workspace.trust.allow("two:make", "/two.py")
        with pytest.raises(Conflict):
            workspace.trust.forbid("one:make")
    workspace.trust.allow("two:make", "/two.py")
    assert set(workspace.trust.all()) == {"one:make", "two:make"}
