"""zoo pull --into-hf-cache: the hub's own client finds what was pulled, without fetching it."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.sampled import every
from fakes.served import Served, serving
from huggingface_hub import HfApi, constants, hf_hub_download, scan_cache_dir

from zoo.domain.hashes import git_hasher
from zoo.domain.progress import silent
from zoo.errors import Corrupt, Unavailable
from zoo.exchange import hub_cache
from zoo.exchange.hub_cache import Repository, fill_hub_cache
from zoo.workspace import Workspace


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    Workspace.create(tmp_path / "served").close()
    with serving(tmp_path / "served") as served:
        yield served


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of huggingface_hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return folder


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are fetched."""
    names: list[str] = []
    real = hub_cache._fetched

    def noted(repository: Repository, commit: str, file: Any) -> Any:
        names.append(file.path)
        return real(repository, commit, file)

    monkeypatch.setattr(hub_cache, "_fetched", noted)
    return names


def log_in(toy: Run, team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(team.token("team", "append") + "\n"))
    toy("login", team.url).done()


@pytest.mark.long
def test_weights_are_linked_and_not_fetched(
    toy: Run, team: Served, cache: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(toy, team, monkeypatch)
    toy("push", "team/base", "--to", team.url).done()
    again = toy("push", "team/base", "--to", team.url).done()
    assert "not read" not in again.err, "the server reads it by itself"
    assert "by size" not in again.out
    options = ("pull", "team/base", "--from", team.url, "--into-hf-cache")
    done = toy(*options).done()
    assert "in the cache of huggingface_hub, too: 2 files, 1 of them from this zoo\n" in done.err
    assert fetched
    assert not [name for name in fetched if name.endswith(".safetensors")]
    (repo,) = scan_cache_dir(cache).repos
    (revision,) = repo.revisions
    assert (repo.repo_id, {*revision.refs}) == ("team/base", {"main"})
    # As the client itself checks it; offline it needs no server.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (name,) = (file.file_name for file in revision.files if file.file_name.endswith("safetensors"))
    path = Path(hf_hub_download("team/base", name, cache_dir=cache))
    (weights,) = toy("show", "team/base", "--json").json["weights"]
    assert weights["sha256"] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetched.clear()
    again = toy(*options, "--json").done().json["hub_cache"]
    assert (again["folder"], again["here"]) == (str(path.parent), 1)
    assert not fetched


@pytest.mark.long
def test_a_tag_is_the_revision_of_that_name(
    toy: Run, team: Served, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(toy, team, monkeypatch)
    toy("tag", "team/base", "team/base:dev").done()
    toy("push", "team/base:dev", "--to", team.url).done()
    toy("pull", "team/base:dev", "--from", team.url, "--into-hf-cache").done()
    (repo,) = scan_cache_dir(cache).repos
    assert [{*revision.refs} for revision in repo.revisions] == [{"dev"}]


def test_files_that_are_no_checkpoint_come_from_here_too(
    toy: Run, team: Served, cache: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client of the hub has sent them."""
    log_in(toy, team, monkeypatch)
    api = HfApi(team.url, token=team.token("team", "write"))
    api.create_repo("team/files")
    for name, data in (("README.md", CARD), ("old/net.bin", b"1" * 5000)):
        api.upload_file(path_or_fileobj=data, path_in_repo=name, repo_id="team/files")
    options = ("pull", "team/files", "--from", team.url, "--into-hf-cache", "--json")
    filled = toy(*options).done().json["hub_cache"]
    assert (filled["here"], filled["files"]) == (2, 2)
    assert not fetched
    assert Path(filled["folder"], "README.md").read_bytes() == CARD
    assert Path(filled["folder"], "old/net.bin").read_bytes() == b"1" * 5000


def test_what_cannot_be_is_told(
    toy: Run, team: Served, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder has no commits; and of a server that shows nothing, nothing comes in."""
    (tmp_path / "folder").mkdir()
    toy("push", "team/base", "--to", tmp_path / "folder").done()
    line = ("pull", "team/base", "--into-hf-cache")
    toy(*line, "--from", tmp_path / "folder").refused("has no commits", "zoo export")
    toy(*line).refused("needs --from")
    log_in(toy, team, monkeypatch)
    toy("push", "team/base", "--to", team.url).done()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    toy(*line, "--from", team.url).refused("offline")
    assert not cache.exists()


CARD = b"# a card"
GIT = git_hasher(len(CARD))
GIT.update(CARD)
SOUND = {
    "id": "team/base",
    "sha": "a" * 40,
    "siblings": [{"rfilename": "docs/README.md", "size": len(CARD), "blobId": GIT.hexdigest()}],
}


class Hostile(BaseHTTPRequestHandler):
    """A server that answers what the test says, and calls its files by paths."""

    told: Mapping[str, object] = SOUND
    sent = CARD

    def do_GET(self) -> None:
        data = json.dumps(self.told).encode() if self.path.startswith("/api/") else self.sent
        self.send_response(200)
        self.send_header("ETag", '"../../../escaped"')
        self.send_header("X-Repo-Commit", "../escaped")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hostile() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def written(root: Path) -> list[str]:
    return sorted(str(each.relative_to(root)) for each in root.rglob("*") if not each.is_dir())


@pytest.fixture
def fill(toy: Run, hostile: str) -> Callable[[], None]:
    """Fills the cache from that server with what is here."""

    def filled() -> None:
        with closing(Workspace(Path.cwd())) as workspace:
            _, digest = workspace.names.resolve("team/base")
            repository = Repository(hostile, False, "team/base", None)
            fill_hub_cache(workspace, digest, repository, silent)

    return filled


def test_names_are_of_the_bytes_whatever_a_server_calls_them(
    fill: Callable[[], None], cache: Path
) -> None:
    fill()
    repo = "models--team--base"
    assert written(cache) == [
        f"{repo}/blobs/{GIT.hexdigest()}",
        f"{repo}/refs/main",
        f"{repo}/snapshots/{'a' * 40}/docs/README.md",
    ]
    assert (cache / repo / "snapshots" / ("a" * 40) / "docs/README.md").read_bytes() == CARD


@pytest.mark.parametrize(
    "odd",
    every(
        4,
        [
            {"sha": "../x"},
            {"sha": "/tmp/x"},
            {"sha": None},
            {"siblings": [{"rfilename": "../x", "size": 1, "blobId": "a" * 40}]},
            {"siblings": [{"rfilename": "/x", "size": 1, "blobId": "a" * 40}]},
            {"siblings": [{"rfilename": "a//x", "size": 1, "blobId": "a" * 40}]},
            {"siblings": [{"rfilename": "x", "size": 1, "blobId": "../x"}]},
            {"siblings": [{"rfilename": "x", "blobId": "a" * 40}]},
            {"siblings": [{"size": 1}]},
            {"siblings": 3},
            {"siblings": [SOUND["siblings"][0]] * 2},
        ],
        beside=pytest.mark.long,
    ),
)
def test_answers_that_are_none_are_refused(
    fill: Callable[[], None], cache: Path, odd: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hostile, "told", {**SOUND, **odd})
    with pytest.raises(Unavailable, match="no repository"):
        fill()
    assert not cache.exists()


@pytest.mark.parametrize("sent", [b"# a Card", CARD[:-1], CARD * 1000])
def test_other_bytes_are_not_kept(
    fill: Callable[[], None], cache: Path, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hostile, "sent", sent)
    with pytest.raises(Corrupt):
        fill()
    assert not written(cache)
