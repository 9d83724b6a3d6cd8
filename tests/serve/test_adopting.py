"""A network that a stock client sends becomes a checkpoint of the zoo."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.adapters import adapted
from fakes.hub_zoo import make_zoo, repository
from fakes.program import zoo as program
from fakes.served import Served, serving, waited
from huggingface_hub import CommitOperationAdd, HfApi, close_session, constants
from safetensors.torch import load, save, save_file

import zoo
from zoo.domain.adapter import MERGED_FILE, without_adapter
from zoo.domain.manifest import FOUND, Parent
from zoo.domain.query import Query
from zoo.domain.reference import Reference
from zoo.errors import NoCheckpoint, Unsupported
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.identifying import file_keys
from zoo.serve.hub.adoption import adopt_what_is_left
from zoo.serve.keep.adopt import AdoptRequest, AdoptResult, adopted
from zoo.serve.keep.adopter import Adopter
from zoo.store.files import add_weights
from zoo.transfer.sync import pull
from zoo.workspace import Workspace


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A zoo with ``team/net``."""
    with serving(make_zoo(tmp_path / "zoo")) as served:
        yield served


@pytest.fixture
def at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a process of its own is done here, where torch is."""

    def here(_: Adopter, wanted: AdoptRequest) -> AdoptResult:
        return adopted(Workspace(served.root), wanted)

    monkeypatch.setattr(Adopter, "_adopted", here)


def fine_tune() -> Mapping[str, bytes]:
    """The network of ``team/net`` with another head."""
    files = dict(repository(100))
    state = load(files["model.safetensors"])
    state["fc.weight"] = torch.ones_like(state["fc.weight"])
    return {**files, "model.safetensors": save(state, {"format": "pt"}), "README.md": b"# Mine\n"}


def send(served: Served, repo: str, files: Mapping[str, bytes]) -> HfApi:
    api = HfApi(endpoint=served.url, token=served.token("ann", "write"))
    api.create_repo(repo, exist_ok=True)
    adds = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(repo, adds, commit_message="add")
    return api


def test_a_fine_tune_is_found_with_its_parent(
    served: Served, at_once: None, tmp_path: Path
) -> None:
    api = send(served, "ann/mine", fine_tune())
    before = api.model_info("ann/mine").sha
    manifest = waited(served, "ann/mine")
    assert manifest.backbone.architecture == "test_resnet"
    assert [(each.ref, each.relation) for each in manifest.parents] == [("team/net", FOUND)]
    assert api.model_info("ann/mine").sha == before, "its files are as they were"
    assert "timm" in (api.model_info("ann/mine").tags or [])
    workspace = served.server.hub.workspace
    assert [found.name for found in workspace.registry.search(Query(owner="ann"))] == ["ann/mine"]
    theirs = Workspace.create(tmp_path / "theirs")
    _, got = pull(theirs, "ann/mine", str(served.root))
    assert theirs.store.manifest(got.manifest) == manifest
    # A README is no other network.
    api.upload_file(path_or_fileobj=b"# Ours\n", path_in_repo="README.md", repo_id="ann/mine")
    assert waited(served, "ann/mine", 0) == manifest
    assert len(api.list_repo_commits("ann/mine")) == 2


@pytest.mark.parametrize("based", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.long
def test_the_same_weights_have_the_same_parent(served: Served, at_once: None, based: bool) -> None:
    """Never a sibling, which shares more with them than their parent does."""
    workspace = Workspace(served.root)
    net = workspace.names.resolve("team/net")[1]
    fold, state = workspace.store.manifest(net), load(fine_tune()["model.safetensors"])
    for name in ("team/fold", "team/sibling"):
        with new_checkpoint(workspace, Reference.parse(name), "test") as new:
            save_file(state, path := Path(new.scratch) / "model.safetensors")
            weights = add_weights(workspace.store, path, name="model.safetensors")
            whole = replace(fold, weights=(weights,))
            if based:
                parent = Parent(manifest=net, relation="finetune", ref="team/net")
                whole = whole.descending(fold, parent)
            new.commit(whole)
        state["bn1.bias"] = state["bn1.bias"] + 1
    send(served, "ann/mine", fine_tune())
    parents = [each.ref for each in waited(served, "ann/mine").parents]
    assert parents == (["team/net"] if based else [])


@pytest.mark.long
def test_a_merged_adapter_is_no_child_of_its_child(
    served: Served, at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder states a parent; without that it is found. What went on from it is none."""
    with zoo.open(served.root) as opened:
        adapted(opened.workspace, "team/net", "team/lora", under="layer3")
        digest = opened.workspace.names.resolve("team/lora")[1]
        known, state = (
            opened.workspace.store.manifest(digest),
            opened.load("team/lora").state_dict(),
        )
        state["bn1.bias"] = state["bn1.bias"] + 1
        parent = Parent(manifest=digest, relation="finetune", ref="team/lora")
        with new_checkpoint(opened.workspace, Reference.parse("team/biased"), "test") as new:
            save_file(state, Path(new.scratch) / MERGED_FILE)
            path = Path(new.scratch) / MERGED_FILE
            weights = add_weights(opened.workspace.store, path, name=MERGED_FILE)
            whole = replace(without_adapter(known).descending(known, parent), weights=(weights,))
            new.commit(whole)
        done = opened.export("team/lora", tmp_path / "lora").files
    files = {path.name: path.read_bytes() for path in done}
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "lora.safetensors").write_bytes(files["model.safetensors"])
    monkeypatch.chdir(served.root)
    line = ("import", "../runs", "--recursive", "--as", "own/{stem}", "--parent", "auto")
    (planned,) = program(*line, "--dry-run", "--json").done().json["files"]
    assert planned["parent"]["ref"] == "team/net"
    config = json.loads(files["config.json"])
    assert config["zoo"]["record"]["parent"]["ref"] == "team/net"
    send(served, "ann/stated", files)
    stated = waited(served, "ann/stated")
    assert [(each.ref, each.relation) for each in stated.parents] == [("team/net", "finetune")]
    del config["zoo"]["record"]["parent"]
    send(served, "ann/found", {**files, "config.json": json.dumps(config).encode()})
    found = waited(served, "ann/found")
    assert [(each.ref, each.relation) for each in found.parents] == [("team/net", FOUND)]
    served.accounts.set_level("team", level="private")
    send(served, "ann/alone", files)
    alone = waited(served, "ann/alone")
    assert not alone.parents
    assert "parent" not in alone.provenance


@pytest.mark.long
def test_a_name_has_one_digest_whoever_tells_it(
    served: Served, at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It points at all files that were sent; told is the checkpoint that they are."""
    send(served, "ann/mine", fine_tune())
    waited(served, "ann/mine")
    for space in ("ann", "team"):
        served.accounts.set_level(space, level="public")
    digest = str(served.server.hub.workspace.names.resolve("ann/mine")[1])
    Workspace.create(tmp_path / "theirs")
    monkeypatch.chdir(tmp_path / "theirs")
    program("remote", "add", "there", served.url).done()
    program("fetch", "there").done()

    def told(*words: str) -> Any:
        return program(*words, "--json").done().json

    assert told("show", "ann/mine")["at_remotes"][0]["manifest"] == digest
    assert told("pull", "ann/mine")["manifest"] == digest
    (listed,) = told("ls", "ann/*")
    assert (listed["manifest"], listed["at_remotes"][0]["here"]) == (digest, "same")
    assert told("tag", "ann/mine", "ann/mine:v1")["manifest"] == digest
    assert told("show", "ann/mine:v1")["manifest"] == digest
    log = told("log", "ann/mine:v1")
    assert [log["manifest"], *(each["manifest"] for each in log["history"])] == [digest] * 2
    for sent in (
        ("push", "ann/mine:v1", "--to", "../store"),
        ("mv", "ann/mine:v1", "bob/it"),
        ("deprecate", "bob/it", "old"),
        ("delete", "bob/it", "--yes"),
        ("delete", "--restore", "bob/it"),
    ):
        entry = told(*sent)
        assert (entry["manifest"], entry.get("previous") or digest) == (digest, digest)
    program("protect", "ann/mine").done()
    program("delete", "ann/mine", "--yes").refused("is protected", f"it is now {digest}")
    program("protect", "--off", "ann/mine").done()
    # What is here came by no pull, and what is there was never here.
    program("tag", "ann/mine", "ann/new").done()
    program("push", "ann/new", "--to", "../store").done()
    make_zoo(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    program("tag", "team/net", "ann/new").done()
    program("push", "ann/new", "--to", "../store").refused(f"it is now {digest}")
    monkeypatch.chdir(tmp_path / "theirs")
    # All that was sent goes along.
    snapshot = Workspace(tmp_path / "theirs").store.read_ref(Reference.parse("bob/it"))
    assert snapshot
    assert str(snapshot.manifest) != digest
    # A README is no other checkpoint.
    api = HfApi(endpoint=served.url, token=served.token("ann", "write"))
    api.upload_file(path_or_fileobj=b"# Ours\n", path_in_repo="README.md", repo_id="ann/mine")
    again = told("pull", "ann/mine")
    assert (again["manifest"], again["moved_from"]) == (digest, None)
    then = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    assert told("tag", "ann/mine", "ann/old", "--at", then)["manifest"] == digest


@pytest.mark.long
def test_of_the_same_weights_the_one_named_first_is_told_first(
    served: Served, at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its name points at all files that were sent; by the command and by the page."""
    send(served, "ann/zebra", fine_tune())
    manifest, workspace = waited(served, "ann/zebra"), served.server.hub.workspace
    monkeypatch.setattr("zoo.reflog.now", lambda: "2099-01-01T00:00:00Z")
    workspace.commit(replace(manifest, license="mit"), Reference.parse("ann/ape"), "test")
    path = tmp_path / "it.safetensors"
    path.write_bytes(fine_tune()["model.safetensors"])
    with zoo.open(served.root) as opened:
        told = [each.name for each in opened.identify(path).matches]
    assert told[:2] == ["ann/zebra", "ann/ape"]
    keys = json.dumps(file_keys(path).to_json()).encode()
    got = served.ask("/-/identify.json", "POST", token=served.token("ann"), body=keys)
    assert [each["name"] for each in got.json["matches"]] == told


def test_nothing_private_is_told(served: Served, at_once: None) -> None:
    """A parent that who sent it may not read is none."""
    served.accounts.set_level("team", level="private")
    send(served, "ann/mine", fine_tune())
    manifest = waited(served, "ann/mine")
    assert not manifest.parents
    assert b"team/net" not in manifest.to_bytes()
    same = dict(repository(100))
    send(served, "ann/same", same)
    assert b"team/net" not in waited(served, "ann/same").to_bytes()


@pytest.mark.long
def test_parents_are_found_among_what_all_readers_may_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name and those who sent to it, by another token perhaps, learn of no others."""
    wanted: list[AdoptRequest] = []
    monkeypatch.setattr(Adopter, "ask", lambda _, each, author: wanted.append(each))
    files = {"config.json": b"{}", "model.safetensors": repository(100)["model.safetensors"]}

    def found() -> bool:
        """Whether its parent can be, now and after a restart."""
        send(served, "ann/mine", {**files, "number.txt": b"%d" % len(wanted)})
        (now,) = wanted[-1:]
        adopt_what_is_left(served.server.hub)
        assert wanted[-1] is not now
        assert [*now.seen.values()] == [*wanted[-1].seen.values()]
        return "team/net" in now.seen.values()

    assert found()
    served.accounts.set_level("ann", level="public")
    assert not found(), "it is internal"
    served.accounts.set_level("team", level="public")
    assert found()
    served.accounts.set_level("team", level="private")
    served.accounts.set_level("ann", level="internal")
    served.accounts.grant("team", "ann", "reader")
    assert not found(), "others read it, too"
    served.accounts.set_level("ann", level="private")
    assert found()
    served.token("ann", "append", only=("ann/mine",))
    adopt_what_is_left(served.server.hub)
    assert not wanted[-1].seen, "who knows with which token it was sent"


def test_files_that_are_no_network_stay_files(
    served: Served, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    files = {**fine_tune(), "config.json": b'{"architecture": "resnet50", "num_classes": 3}'}
    send(served, "ann/odd", files)
    until = time.monotonic() + 60
    while "ann/odd holds files only" not in caplog.text and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(NoCheckpoint):
        served.server.hub.workspace.names.resolve("ann/odd")
    assert list(served.server.hub.workspace.store.backend.list("tmp/tmp")) == []


@pytest.mark.long
def test_what_takes_too_long_is_ended(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zoo.serve.keep.adopter.SECONDS", 0.01)
    send(served, "ann/mine", fine_tune())
    until = time.monotonic() + 60
    while "more than 0.01 seconds" not in caplog.text and time.monotonic() < until:
        time.sleep(0.05)
    assert "ann/mine holds files only: it took more than 0.01 seconds" in caplog.text


@pytest.mark.long
def test_what_was_left_is_done_when_the_server_starts_again(
    served: Served, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Adopter, "ask", lambda *_: None)  # it is stopped before
        send(served, "ann/mine", fine_tune())
        send(served, "ann/files", {"README.md": b"hello"})
    with serving(served.root) as again:
        assert waited(again, "ann/mine").parents


@pytest.mark.long
@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_said_of_a_name_meanwhile_stays(
    served: Served, at_once: None, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """Protected, deprecated and tagged, it gets its checkpoint all the same."""
    wanted: list[tuple[AdoptRequest, str]] = []
    with monkeypatch.context() as patch:
        patch.setattr(Adopter, "ask", lambda _, *asked: wanted.append(asked))
        send(served, "ann/mine", fine_tune())
    workspace, ref = served.server.hub.workspace, Reference.parse("ann/mine")
    sent = workspace.store.read_ref(ref)
    assert sent
    tag, other = (Reference.parse(name) for name in ("ann/mine:v1", "ann/mine:v2"))
    workspace.move(tag, sent.manifest, "tag")
    workspace.move(other, workspace.names.resolve("team/net")[1], "tag")
    workspace.deprecate(ref, "too old")
    workspace.protect(ref, on=True)
    if restarted:
        adopt_what_is_left(served.server.hub)
    else:
        served.server.hub.adopter.ask(*wanted[0])
    assert waited(served, "ann/mine").parents
    served.server.hub.adopter.close()
    entry, tagged = workspace.store.read_ref(ref), workspace.store.read_ref(tag)
    assert entry
    assert tagged
    assert (entry.why, entry.protected, entry.deprecated) == ("adopt", True, "too old")
    assert (entry.by, tagged.manifest) == ("ann", entry.manifest)
    assert not tagged.protected
    left = workspace.store.read_ref(other)
    assert left
    assert left.why == "tag", "it has another checkpoint"


@pytest.mark.long
def test_a_process_of_its_own_does_it(served: Served) -> None:
    send(served, "ann/mine", fine_tune())
    assert waited(served, "ann/mine").parents


@pytest.mark.long
@pytest.mark.usefixtures("at_once")
def test_zoos_push_to_a_server_and_pull_from_it(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the hub's own routes: the repository is empty first, which the hub's never are."""
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", served.token("ann", "write"))
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    close_session()
    make_zoo(tmp_path / "mine")
    HfApi(endpoint=served.url, token=served.token("ann", "write")).create_repo("ann/empty")
    with zoo.open(tmp_path / "mine") as mine, zoo.init(tmp_path / "theirs") as theirs:
        with pytest.raises(Unsupported, match="'ann/empty' is empty"):
            theirs.pull("team/x", remote="hf://ann/empty")
        for repo in ("ann/empty", "ann/new"):
            mine.push("team/net", to=f"hf://{repo}")
            mine.push("team/net", to=f"hf://{repo}")  # nothing new
            expected = mine.load("team/net").state_dict()
            theirs.pull(repo, remote=f"hf://{repo}")
            for state in (theirs.load(repo).state_dict(), _served_state(served, repo)):
                assert all(torch.equal(state[name], value) for name, value in expected.items())
    close_session()


def _served_state(served: Served, repo: str) -> Mapping[str, torch.Tensor]:
    """The weights of a checkpoint that was made of what was sent."""
    waited(served, repo)
    with zoo.open(served.root) as opened:
        return opened.load(repo).state_dict()
