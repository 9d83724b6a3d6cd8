"""zoo pull --into-hf-cache: the hub's own client finds what was pulled, without fetching it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.served import Served, serving
from huggingface_hub import constants, file_download, hf_hub_download, scan_cache_dir

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
    """The names of the files that it fetches."""
    names: list[str] = []
    for name in ("http_get", "xet_get"):
        real = getattr(file_download, name)

        def noted(*given: Any, _real: Any = real, **more: Any) -> Any:
            names.append(str(more.get("displayed_filename") or given[0]))
            return _real(*given, **more)

        monkeypatch.setattr(file_download, name, noted)
    return names


def log_in(toy: Run, team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(team.token("team", "append") + "\n"))
    toy("login", team.url).done()


def test_weights_are_linked_and_not_fetched(
    toy: Run, team: Served, cache: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(toy, team, monkeypatch)
    toy("push", "team/base", "--to", team.url).done()
    options = ("pull", "team/base", "--from", team.url, "--into-hf-cache")
    done = toy(*options).done()
    assert "1 of " in done.err
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


def test_a_tag_is_the_revision_of_that_name(
    toy: Run, team: Served, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(toy, team, monkeypatch)
    toy("tag", "team/base", "team/base:dev").done()
    toy("push", "team/base:dev", "--to", team.url).done()
    toy("pull", "team/base:dev", "--from", team.url, "--into-hf-cache").done()
    (repo,) = scan_cache_dir(cache).repos
    assert [{*revision.refs} for revision in repo.revisions] == [{"dev"}]


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
