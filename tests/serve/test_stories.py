"""What people do with the hub's own tools: the `hf` command, its file system, and copies."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from fakes.served import Served
from huggingface_hub import CommitOperationCopy, CommitOperationDelete, HfApi, HfFileSystem
from huggingface_hub.hf_api import RepoFile

HF = Path(os.sys.executable).with_name("hf")  # type: ignore[attr-defined]
UNKNOWN = re.compile(r" (POST|GET|HEAD|PUT|DELETE) (\S+) (404 NotFound|405|501)")
LARGE = bytes(range(256)) * 8192
"""A file of 2 MiB, which is sent by Xet or Git LFS."""

Hf = Callable[..., Any]


@pytest.fixture
def api(served: Served) -> HfApi:
    return HfApi(endpoint=served.url, token=served.token("sue", "write"))


@pytest.fixture
def hf(served: Served, api: HfApi, tmp_path: Path) -> Hf:
    """Runs `hf` with nothing set but the address and a token; what it printed, as JSON if asked."""
    environment = {
        **os.environ, "HF_ENDPOINT": served.url, "HF_TOKEN": str(api.token), "NO_PROXY": "*",
        "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [HF, *arguments], env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


def refused(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Requests of clients that the server does not know, beside those for later versions of Xet."""
    found = (UNKNOWN.search(record.getMessage()) for record in caplog.records)
    return {f"{each[1]} {each[2]}" for each in found if each and not each[2].startswith("/xet/")}


@pytest.mark.long
def test_a_day_with_hf(
    hf: Hf, api: HfApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zoo.serve")
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    (folder / "deep/large.bin").write_bytes(LARGE)
    hf("repos", "create", "sue/mine", "--private")
    hf("upload", "sue/mine", str(folder))
    assert {each["id"] for each in hf("repos", "ls", "--json")} >= {"sue/mine"}
    into = tmp_path / "into"
    hf("download", "sue/mine", "--local-dir", str(into))
    assert (into / "deep/large.bin").read_bytes() == LARGE
    hf("download", "sue/mine")
    assert "sue/mine" in hf("cache", "verify", "sue/mine")
    hf("repos", "tag", "create", "sue/mine", "v1")
    hf("repos", "branch", "create", "sue/mine", "dev")
    hf("repos", "settings", "sue/mine", "--public")
    hf("repos", "duplicate", "sue/mine", "sue/other")
    assert {each["id"] for each in hf("models", "ls", "--author", "sue", "--sort", "downloads",
                                      "--json")} >= {"sue/mine", "sue/other"}  # fmt: skip
    assert hf("models", "info", "sue/mine", "--json")["id"] == "sue/mine"
    hf("repos", "move", "sue/other", "sue/moved")
    hf("repos", "delete-files", "sue/moved", "deep/large.bin")
    assert api.list_repo_files("sue/moved") == ["README.md"]
    for repo in ("sue/moved", "sue/mine"):
        hf("repos", "tag", "delete", repo, "v1", "--yes")  # what is protected is not deleted along
        hf("repos", "delete", repo, "--yes")
        assert not api.repo_exists(repo)
    assert refused(caplog) == set()
    assert any("POST /v1/telemetry 200" in each.getMessage() for each in caplog.records)


@pytest.mark.long
def test_webhooks_with_hf(hf: Hf) -> None:
    url = "https://ci.lab.org/zoo"
    made = hf(
        "webhooks", "create", "--url", url, "--watch", "user:sue", "--domain", "repo", "--json"
    )
    assert [each["id"] for each in hf("webhooks", "ls", "--json")] == [made["id"]]
    hf("webhooks", "disable", made["id"])
    assert hf("webhooks", "info", made["id"], "--json")["disabled"]
    hf("webhooks", "enable", made["id"])
    hf("webhooks", "update", made["id"], "--url", f"{url}/2")
    assert hf("webhooks", "info", made["id"], "--json")["url"] == f"{url}/2"
    hf("webhooks", "delete", made["id"], "--yes")
    assert hf("webhooks", "ls", "--json") == []


def test_files_are_written_as_on_a_disk(served: Served, api: HfApi) -> None:
    api.create_repo("sue/disk", exist_ok=True)
    fs = HfFileSystem(endpoint=served.url, token=api.token)
    with fs.open("sue/disk/a/one.txt", "w") as file:
        file.write("one")
    fs.pipe_file("sue/disk/large.bin", LARGE)
    fs.cp_file("sue/disk/large.bin", "sue/disk/b/large.bin")
    fs.mv("sue/disk/a/one.txt", "sue/disk/a/two.txt")
    assert fs.read_text("sue/disk/a/two.txt") == "one"
    assert fs.cat_file("sue/disk/b/large.bin", start=256, end=300) == LARGE[256:300]
    assert sorted(fs.glob("sue/disk/**/*.bin")) == ["sue/disk/b/large.bin", "sue/disk/large.bin"]
    assert not fs.exists("sue/disk/a/one.txt")
    fs.rm("sue/disk/b", recursive=True)
    assert sorted(api.list_repo_files("sue/disk")) == ["a/two.txt", "large.bin"]
    assert fs.info("sue/disk/large.bin")["size"] == len(LARGE)
    listed: Any = fs.ls("sue/disk")
    assert [each["name"] for each in listed] == ["sue/disk/a", "sue/disk/large.bin"]


def test_files_are_copied_and_moved_in_a_commit(api: HfApi) -> None:
    api.create_repo("sue/copies", exist_ok=True)
    api.create_repo("sue/source", exist_ok=True)
    for repo in ("sue/copies", "sue/source"):
        for path, data in (("small.txt", b"small"), ("large.bin", LARGE)):
            api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=repo)
    before = api.model_info("sue/copies").sha
    known = "src_repo_id" in signature(CommitOperationCopy).parameters  # in later versions
    other: Any = {"src_repo_id": "sue/source", "src_repo_type": "model"} if known else {}
    api.create_commit(
        "sue/copies",
        [
            CommitOperationCopy("large.bin", "deep/copy.bin"),
            CommitOperationCopy("small.txt", "deep/copy.txt"),
            CommitOperationDelete("large.bin"),
        ],
        commit_message="move",
    )
    api.create_commit(
        "sue/copies",
        [
            CommitOperationCopy("large.bin", "large.bin", src_revision=before),
            CommitOperationCopy("small.txt", "other.txt", **other),
        ],
        commit_message="bring back",
    )
    found = api.list_repo_tree("sue/copies", recursive=True)
    files = {each.path: each for each in found if isinstance(each, RepoFile)}
    assert sorted(files) == [
        "deep/copy.bin", "deep/copy.txt", "large.bin", "other.txt", "small.txt",
    ]  # fmt: skip
    assert files["deep/copy.bin"].lfs == files["large.bin"].lfs
    assert files["other.txt"].blob_id == files["small.txt"].blob_id
