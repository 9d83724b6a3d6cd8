"""Secrets are nowhere but with whom they were given to: each test here is watched for that."""

from __future__ import annotations

import logging
import subprocess
import sys
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


def test_the_watch_finds_what_processes_write(
    capfd: pytest.CaptureFixture[str], watch: Leaks
) -> None:
    """On what they have inherited to write a log to."""
    writes = f"import sys; sys.stderr.write('made {new_secret()}')"
    subprocess.run([sys.executable, "-c", writes], check=True)
    sections = [("Captured stdout call", "none"), ("Captured stderr call", capfd.readouterr().err)]
    report = pytest.TestReport("x", ("x", 1, "x"), {}, "passed", None, "teardown", sections)
    watch.judge(report)
    assert report.failed
    assert report.longrepr == "a secret is in Captured stderr call"
    assert watch.found == []


def test_no_secret_is_in_the_accounts(tmp_path: Path, watch: Leaks) -> None:
    before = len(watch.made)
    accounts_in(tmp_path)
    assert len(watch.made) == before + 3
    watch.search_files([tmp_path], lambda path: False)
    assert watch.found == []


@pytest.mark.long
def test_databases_that_tests_use_are_searched(
    tmp_path: Path,
    watch: Leaks,
    postgres_server: postgres.Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the end of each file of tests."""
    monkeypatch.setenv("ZOO_DB", postgres_server.database("dumped"))
    token = accounts_in(tmp_path)
    dump = dict(postgres_server.dumps())["dumped"]
    assert token.encode() in dump
    watch.search("the dump", dump)
    assert watch.found == []
    assert dict(postgres_server.dumps()) == {}
    assert postgres_server in postgres.RUNNING


def accounts_in(folder: Path) -> str:
    """Have accounts of a zoo there, with each kind of secret; the public part of a token."""
    with closing(Workspace.create(folder / "zoo")) as zoo, closing(Accounts.of(zoo)) as accounts:
        accounts.add("ann", admin=True)
        token, _ = accounts.new_token("ann", "test", "write")
        accounts.sessions.new(token.id)
        assert accounts.devices.begin("h" * 64, client="c", address="127.0.0.1", wants="write")
    return token.id
