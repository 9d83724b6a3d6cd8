"""A server as a remote: log in, push, fetch, pull, clone; and what people get wrong."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from fakes.prepared import Run
from fakes.served import Served, serving

from zoo import config, remotes
from zoo.errors import Unavailable
from zoo.workspace import Workspace


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    Workspace.create(tmp_path / "served").close()
    with serving(tmp_path / "served") as served:
        yield served


def log_in(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))


def test_a_team_works_over_a_server(
    toy: Run,
    team: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, token = team.url, team.token("team", "append")
    caplog.set_level(logging.DEBUG)
    toy("pull", "team/new", "--from", url).refused("unknown checkpoint", f"zoo login {url}")
    toy("push", "team/base", "--to", url).refused("a token is needed", f"zoo login {url}")
    log_in(monkeypatch, "zoo_wrong")
    toy("login", url).refused("it does not take the token", "zoo serve token create")
    log_in(monkeypatch, token)
    said = [toy("login", url).done()]
    assert f"{url} knows you as team, with a token to append" in said[0].err
    said.append(toy("remote", "add", "lab", url).done())
    said.append(toy("push", "team/base", "--to", "lab").done())
    assert "sent in" in said[-1].out
    said.append(toy("fetch", "lab").done())
    assert "lab: 1 name" in said[-1].out
    with monkeypatch.context() as patch:
        patch.setattr(remotes, "connect", Mock(side_effect=Unavailable(url, "it does not answer")))
        down = toy("fetch", "lab").refused("1 name was there when it was last seen: try again")
        assert "remote remove" not in down.err
    said.append(toy("clone", url, str(tmp_path / "clone")).done())
    said.append(toy("--home", str(tmp_path / "clone"), "pull", "team/base").done())
    said.append(toy("--home", str(tmp_path / "clone"), "verify").done())
    said.append(toy("pull", "team/nothing", "--from", "lab").refused("team/base"))
    log_in(monkeypatch, team.token("team", "append"))
    assert toy("login", url, "--json").json["account"].startswith("team")
    admin = team.token("admin", "write")
    log_in(monkeypatch, admin)
    said.append(toy("login", url).done())
    said.append(toy("verify", url).done())
    said.append(toy("prune", url, "--dry-run").done())
    said.append(toy("repack", url).refused("is a zoo"))
    said.append(toy("logout", url).done())
    toy("logout", url).refused("unknown login")
    alone = toy("fetch", "lab").done()  # what only accounts may read
    assert "gone   team/base" in alone.out
    assert f"it was asked without a token, which not all names are shown to: zoo login {url}" in (
        " ".join(alone.err.split())
    )
    told = "".join(each.out + each.err for each in said) + caplog.text
    for secret in (token, admin):
        assert secret[13:] not in told
    assert (config.settings() / "tokens.json").stat().st_mode & 0o077 == 0


def test_what_is_wrong_is_told(toy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, "")  # it is not asked for
    toy("login", "http://zoo.lab.org").refused("would go over plain HTTP", "--plain-http")
    for url in ("zoo.lab.org", "https://ann:pw@zoo.lab.org", "ftp://zoo.lab.org"):
        told = toy("login", url).refused("not the URL of a server")
        assert "pw" not in told.err
    log_in(monkeypatch, "")
    toy("login", "http://127.0.0.1:1").refused("no token was given")
    log_in(monkeypatch, "zoo_x")
    toy("login", "http://127.0.0.1:1").refused("no server answers there")
    toy("fetch", "http://127.0.0.1:1").refused("no server answers there")
    assert not (config.settings() / "tokens.json").exists()
