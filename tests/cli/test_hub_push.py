"""Pushing to a hub: what is there already, what it refuses, and how it is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.hub_home import SECRET, own_hub
from fakes.hub_server import HubServer, Status
from fakes.hub_zoo import repository, sharded, weights
from fakes.sampled import every
from huggingface_hub import RepoCard, constants
from safetensors.torch import load

import zoo
from zoo_hub import client

PLACE = "hf://lab/net"
HAND = "---\nlicense: cc-by-4.0\nlanguage: en\n# a remark\n---\n# Mine\n\nBy hand.\n"

# The client itself uses what its HTTP library would rather see gone.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub of our own, where the user may write."""
    yield from own_hub(monkeypatch, tmp_path, member=True)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What zoo, and the client, would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(client, "sleep", slept.append)
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def files(hub: HubServer, repo: str = "lab/net") -> Mapping[str, bytes]:
    known = hub.repos[repo]
    return known.commits[known.refs["main"]]


def test_weights_of_an_earlier_push_do_not_win(small: Any, hub: HubServer) -> None:
    hub.commit("lab/parts", sharded(1))
    assert small("pull", "x/parts", "--from", "hf://lab/parts").code == 0
    assert small("push", "team/net", "--to", PLACE).code == 0
    done = small("push", "x/parts", "--to", PLACE)
    assert done.code == 0
    assert "deleted in hf://lab/net" in done.err
    assert "model.safetensors" in done.err
    assert "model.safetensors" not in files(hub)
    assert {name: files(hub)[name] for name in sharded(1)} == {
        **sharded(1), "config.json": files(hub)["config.json"],
    }  # fmt: skip
    done = small("push", "team/net", "--to", PLACE, "--json")
    assert done.json["revision"] == hub.repos["lab/net"].refs["main"]
    assert sorted(files(hub)) == [".gitattributes", "README.md", "config.json", "model.safetensors"]
    assert files(hub)["model.safetensors"] == weights(100)


@pytest.mark.long
def test_an_adapter_is_merged(small: Any, hub: HubServer, few: Path) -> None:
    tune = ("finetune", "team/net", "--data", few, "--image-size", 32, "--epochs", 1)
    small(*tune, "--strategy", "lora", "--freeze", "layer3", "--save", "team/lora").done()
    small("push", "team/lora", "--to", PLACE).done()
    there = load(files(hub)["model.safetensors"])
    with zoo.open() as z:
        own = z.load("team/lora").state_dict()
    assert there.keys() == own.keys()
    assert all(torch.equal(there[name], own[name]) for name in own)
    small("pull", "x/back", "--from", PLACE).done()
    assert "adapter" not in small("show", "x/back", "--json").done().json


@pytest.mark.long
def test_a_push_of_other_classes_is_refused(small: Any, hub: HubServer) -> None:
    for seed, names in enumerate(("abc", "abd", "KQR")):
        Path(f"{seed}.safetensors").write_bytes(weights(seed))
        Path("names.txt").write_text("\n".join(names))
        how = (
            "--architecture",
            "test_resnet",
            "--classes",
            "names.txt",
            "--dataset",
            f"of {names}",
        )
        small("import", f"{seed}.safetensors", "--as", f"x/n{seed}", *how).done()
    assert "replaced" not in small("push", "x/n0", "--to", PLACE, "--note", "of May").done().out
    assert hub.repos["lab/net"].messages[hub.repos["lab/net"].refs["main"]] == "zoo push: of May"
    done = small("push", "x/n1", "--to", PLACE).done()
    assert "\n  what was there is replaced\n  classes: 1 new (d), 1 gone (c)\n" in done.out
    assert "trained on of abd, was of abc" in done.out
    there = hub.repos["lab/net"].refs["main"]
    small("push", "x/n2", "--to", PLACE).refused(
        f"{PLACE} is for something else: no class in common: 3 new (K, Q, R), 3 gone (a, b, d)",
        f"it is now commit {there[:12]}", f"zoo push x/n2 --to {PLACE}-of-kqr", "push --force",
    )  # fmt: skip
    assert hub.repos["lab/net"].refs["main"] == there
    forced = small("push", "x/n2", "--to", PLACE, "--force", "--json").done().json
    assert forced["change"]["new_classes"] == ["K", "Q", "R"]
    small("push", "x/n2", "--to", f"{PLACE}-of-kqr").done()


def test_a_push_of_another_task_is_refused(small: Any, hub: HubServer) -> None:
    Path("net.safetensors").write_bytes(weights(3))
    Path("names.txt").write_text("age\nsize\nweight")
    how = ("--architecture", "test_resnet", "--classes", "names.txt", "--task")
    for task in ("multi-label", "regression"):
        small("import", "net.safetensors", "--as", f"x/{task}", *how, task).done()
    small("push", "x/multi-label", "--to", PLACE).done()
    there = hub.repos["lab/net"].refs["main"]
    small("push", "x/regression", "--to", PLACE).refused(
        f"{PLACE} is for something else: the task is regression, was multi-label"
    )
    assert hub.repos["lab/net"].refs["main"] == there
    done = small("push", "x/regression", "--to", PLACE, "--force").done()
    assert "what was there is replaced\n  the task is regression, was multi-label\n" in done.out


def test_only_what_decides_the_loading_is_deleted_and_only_with_force(
    small: Any, hub: HubServer
) -> None:
    foreign = {"pytorch_model.bin": b"x", "open_clip_config.json": b"{}",
               "adapter_config.json": b"", "preprocessor_config.json": b"{}"}  # fmt: skip
    kept = {"notes.txt": b"x", "onnx/model.bin": b"x", "optimizer.bin": b"x", "LICENSE": b"x"}
    hub.commit("lab/net", {**foreign, **kept})
    assert small("push", "team/net", "--to", PLACE).code == 1
    assert files(hub) == {**foreign, **kept}
    done = small("push", "team/net", "--to", PLACE, "--force")
    assert done.code == 0
    assert all(name in done.err for name in foreign)
    assert files(hub).keys() == kept.keys() | {"README.md", "config.json", "model.safetensors"}


def test_a_card_written_by_hand_is_joined(small: Any, hub: HubServer) -> None:
    hub.commit("lab/net", {".gitattributes": b"", "README.md": HAND.encode()})
    for _ in range(2):
        assert small("push", "team/net", "--to", PLACE).code == 0
        card = RepoCard(files(hub)["README.md"].decode())
        assert card.data.to_dict() == {
            "license": "cc-by-4.0", "language": "en", "library_name": "timm",
            "pipeline_tag": "image-classification", "tags": ["zoo", "timm"],
        }  # fmt: skip
        assert card.text.startswith("\n# Mine\n\nBy hand.\n\n<!-- zoo:begin ")
        assert card.text.count("## Lineage") == 1
    # What somebody changes in a card of zoo's stays as well, and what zoo wrote is renewed.
    changed = files(hub)["README.md"].decode() + "\nMore.\n"
    changed = changed.replace("pipeline_tag: image-classification", "pipeline_tag: other")
    hub.commit("lab/net", {**files(hub), "README.md": changed.encode()})
    assert small("tag", "team/net", "team/again").code == 0
    assert small("push", "team/again", "--to", PLACE, "--force").code == 0
    text = files(hub)["README.md"].decode()
    assert "pipeline_tag: other" in text
    assert "\nBy hand.\n\nMore.\n" in text
    assert "This is `team/again`" in text
    assert "This is `team/net`" not in text


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (b"---\nlicense: [mit\n---\n# Mine\n", "front matter of README.md cannot be read"),
        (b"---\n- mit\n---\n# Mine\n", "front matter of README.md cannot be read"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"x" * (2 << 20), "2097152 bytes"),
    ],
    ids=["yaml", "list", "bytes", "long"],
)
def test_a_card_that_cannot_be_joined_is_not_replaced(
    small: Any, hub: HubServer, card: bytes, says: str
) -> None:
    hub.commit("lab/net", {"README.md": card})
    done = small("push", "team/net", "--to", PLACE)
    assert (done.code, says in done.err) == (1, True), done.err
    assert files(hub) == {"README.md": card}


@pytest.mark.long
def test_two_people_push_to_one_repository(
    small: Any, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small("push", "team/net", "--to", PLACE).code == 0
    first = Path.cwd()
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path / "second")  # a teammate, who has pushed nothing yet
    small("init")
    assert small("pull", "their/net", "--from", f"{PLACE}@main").code == 0
    assert small("adapt", "their/net", "their/new", "--classes", 5).code == 0
    done = small("push", "their/new", "--to", PLACE)
    assert (done.code, done.err) == (0, "")
    monkeypatch.chdir(first)
    refused = small("push", "team/net", "--to", PLACE)
    assert (refused.code, "not pushed from here" in refused.err) == (1, True)
    assert small("pull", "team/theirs", "--from", PLACE).code == 0
    assert small("push", "team/theirs", "--to", PLACE).code == 0
    assert small("push", "team/net", "--to", "hf://lab/other").code == 0


def test_what_the_hub_does_not_take_is_sent_six_times_and_no_address_is_shown(
    small: Any, hub: HubServer, pauses: list[float], caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hub.fail_next(*[Status(503, where="/lfs/", method="PUT")] * 40)
    with caplog.at_level(logging.DEBUG):
        done = small("push", "team/net", "--to", PLACE)
    assert done.code == 1
    assert len(hub.requests("/lfs/", "PUT")) == 6
    assert pauses == [1, 2, 4, 8, 8]
    assert done.err.count("cannot be used now; next try in") == 5
    assert "503" in done.err
    shown = done.err + capsys.readouterr().err
    shown += "".join(each.getMessage() for each in caplog.records if each.name.startswith("hugg"))
    assert "secret" not in shown
    assert "http" not in shown
    assert "Repo card metadata" not in shown


def test_the_log_of_the_client_is_not_shown(
    small: Any, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger("huggingface_hub").handlers)
    for _ in range(2):
        done = small("push", "team/net", "--to", PLACE)
        assert (done.code, done.err) == (0, "")
    assert [each.name for each in caplog.records if each.name.startswith("hugg")] == []
    assert logging.getLogger("huggingface_hub").handlers == handlers


@pytest.mark.parametrize(
    "status", every(3, [400, 403, 409, 413, 422, 507], beside=pytest.mark.long)
)
def test_the_reason_of_the_hub_is_shown(
    small: Any, hub: HubServer, pauses: list[float], status: int
) -> None:
    why = f"Your storage is full (see http://x/?sig=1, {SECRET})"
    hub.fail_next(Status(status, body={"error": why}, where="/commit/", method="POST"))
    done = small("push", "team/net", "--to", PLACE)
    assert done.code == 1
    assert f"{status} " in done.err
    assert "Your storage is full (see …" in done.err
    assert SECRET not in done.err
    assert ("right to write" in done.err) == (status == 403)
    assert pauses == []


def test_a_card_that_the_hub_does_not_take(small: Any, hub: HubServer) -> None:
    why = '"license" must be one of [apache-2.0, mit]'
    hub.fail_next(Status(400, body={"errors": [{"message": why}]}, where="yaml", method="POST"))
    done = small("push", "team/net", "--to", PLACE)
    assert (done.code, f"does not take the card of 'lab/net': {why}" in done.err) == (1, True)
    assert hub.requests("/lfs/", "PUT") == []


def test_what_large_file_storage_refuses(small: Any, hub: HubServer) -> None:
    refused = {"objects": [{"oid": "1", "size": 1, "error": {"code": 413, "message": "too big"}}]}
    hub.fail_next(Status(200, body=refused, where="objects/batch", method="POST"))
    done = small("push", "team/net", "--to", PLACE)
    assert (done.code, "too big" in done.err) == (1, True)


@pytest.mark.parametrize(
    "command",
    [("push", "team/net", "--to", PLACE), ("pull", "x/net", "--from", PLACE), ("index", "hub")],
    ids=["push", "pull", "index"],
)
@pytest.mark.parametrize("token", ["hf_expired", ""])
def test_a_token_that_the_hub_does_not_take_is_named(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, command: Any, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    why = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.fail_next(*[Status(401, why if token else {}, where="/api/models")] * 2)
    done = small(*command)
    says = "does not take the token (HF_TOKEN" if token else "it wants a token: log in with"
    assert (done.code, says in done.err) == (1, True), done.err
    assert "hf_expired" not in done.err


def test_a_hub_without_xet_gets_files_by_git_lfs(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    done = small("push", "team/net", "--to", PLACE)
    assert (done.code, done.err) == (0, "")
    assert files(hub)["model.safetensors"] == weights(100)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_xet_that_lets_nobody_in_is_told_at_once(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, pauses: list[float], status: int
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.fail_next(*[Status(status, where="xet-write-token")] * 6)
    done = small("push", "team/net", "--to", PLACE)
    assert (done.code, f"answered {status}" in done.err) == (1, True)
    assert "HF_HUB_DISABLE_XET=1 in the environment" in done.err
    assert len(pauses) == (5 if status == 500 else 0)


@pytest.mark.long  # hf_xet itself, which waits between its tries
def test_a_store_of_xet_that_is_gone_is_not_waited_for_minutes(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "")
    monkeypatch.delenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS")  # and again at the end
    where = "http://127.0.0.1:1/cas"
    token = {"accessToken": "t", "exp": 4_000_000_000, "casUrl": where}
    headers = {"X-Xet-Cas-Url": where, "X-Xet-Access-Token": "t",
               "X-Xet-Token-Expiration": "4000000000"}  # fmt: skip
    hub.fail_next(*[Status(200, headers, token, where="xet-write-token")] * 9)
    began = time.monotonic()
    done = small("push", "team/net", "--to", PLACE)
    assert time.monotonic() - began < 60
    assert (done.code, "the upload failed; HF_HUB_DISABLE_XET=1" in done.err) == (1, True)
    assert where not in done.err


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, PermissionError])
def test_what_xet_raises_becomes_an_error_of_ours(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def upload(*_: object, **__: object) -> None:
        raise kind("Network error: Request error: HTTP status 404, domain: http://x/?sig=secret")

    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.preupload_lfs_files", upload)
    done = small("push", "team/net", "--to", PLACE)
    assert (done.code, "the upload failed; HF_HUB_DISABLE_XET=1" in done.err) == (1, True)
    assert "sig" not in done.err


@pytest.mark.parametrize(("after", "waits"), [("41", 41), ("date", 30), ("garbage", 0.5)])
def test_waits_are_told_and_a_date_is_one(
    small: Any, hub: HubServer, pauses: list[float], after: str, waits: float
) -> None:
    if after == "date":
        until = datetime.now(UTC) + timedelta(seconds=30)
        after = format_datetime(until, usegmt=True)
    hub.commit("lab/net", repository())
    hub.fail_next(Status(429, {"Retry-After": after}, where="/api/models"))
    done = small("index", "hub")
    assert done.code == 0
    assert pauses == [pytest.approx(waits, abs=2)]
    assert ("answered 429 Too Many Requests" in done.err) == (waits > 1)
    assert (f"next try in {pauses[0]:.0f} s" in done.err) == (waits > 1)
