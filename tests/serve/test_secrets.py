"""Secrets are nowhere but with whom they were given to: each test here is watched for that."""

from __future__ import annotations

import logging
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from fakes import postgres
from fakes.leaks import Leaks

from zoo.serve.who.accounts import Accounts
from zoo.serve.who.tokens import new_secret
from zoo.workspace import Workspace


def test_the_watch_finds_what_is_planted(tmp_path: Path, watch: Leaks) -> None:
    """In a file, in a log, and in an answer."""
    token, code = str(new_secret()), "k" * 43
    watch.keep(code)
    planted = tmp_path / "planted"
    planted.write_text(f"x{token}x")
    (tmp_path / "code").write_bytes(b"\0" + code.encode())
    watch.search_files([tmp_path], lambda path: path.name == "code")
    assert watch.found == [str(planted)]
    logging.getLogger("zoo.serve").warning("made %s", code)
    assert watch.found.pop() == "the log: made %s"
    logging.getLogger("zoo.serve").warning(
        "made %s", token
    )  # a token is left out of what is logged
    assert watch.found == [str(planted)]
    for path in (planted, tmp_path / "code"):
        path.unlink()
    watch.made.discard(code.encode())
    watch.found.clear()


@pytest.mark.parametrize("where", ["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def test_no_secret_is_in_a_dump_of_the_accounts(
    where: str,
    tmp_path: Path,
    watch: Leaks,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if where == "postgres":
        server: postgres.Server = request.getfixturevalue("postgres_server")
        monkeypatch.setenv("ZOO_DB", server.database("dumped"))
    before = len(watch.made)
    with closing(Workspace.create(tmp_path / "zoo")) as zoo, closing(Accounts.of(zoo)) as accounts:
        accounts.add("ann", admin=True)
        token, _ = accounts.new_token("ann", "test", "write")
        accounts.sessions.new(token.id)
        assert accounts.devices.begin("h" * 64, client="c", address="127.0.0.1", wants="write")
    assert len(watch.made) == before + 3
    if where == "postgres":
        programs = postgres.programs()
        assert programs
        command = (programs / "pg_dump", "-h", server.folder, "-U", "zoo", "dumped")
        dump = subprocess.run(command, check=True, capture_output=True).stdout
        assert token.id.encode() in dump
        watch.search("the dump", dump)
    watch.search_files([tmp_path], lambda path: False)
    assert watch.found == []
