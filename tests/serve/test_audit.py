"""The audit log: all that is changed is told, and what is changed in it shows."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.served import Served, serving

from zoo.errors import DiskFull
from zoo.registry.engine import writing
from zoo.serve import run
from zoo.serve.hub import watching
from zoo.serve.who import audit as module
from zoo.serve.who.audit import ACTIONS, Row
from zoo.serve.who.tokens import new_secret

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, make_zoo: Callable[[Path], None]
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("audit") / "zoo"
    make_zoo(root)
    with serving(root) as served:
        yield served


def test_who_changed_what_is_told(served: Served) -> None:
    accounts = served.accounts
    token = served.token("ann", "write")
    accounts.grant("team", "ann", "owner")

    def did(what: Callable[[], object]) -> list[tuple[str, str]]:
        before = accounts.audit.head().number
        what()
        return [(row.action, row.name) for row in accounts.audit.rows(after=before, limit=99)]

    def ask(path: str, method: str, **body: object) -> Callable[[], object]:
        def send() -> None:
            sent = json.dumps(body).encode()
            assert served.ask(path, method, token=token, body=sent).status == 200

        return send

    api, repo = "/api/models/ann/new", {"organization": "ann", "name": "new"}
    assert did(ask("/api/repos/create", "POST", **repo)) == [
        ("token used", token[4:12]), ("repository made", "ann/new"),
    ]  # fmt: skip
    sent = did(lambda: served.commit("ann/new", "hi", token))
    assert sent == [("name made", "ann/new")]
    sent = did(lambda: served.commit("ann/new", "ho", token))
    assert sent == [("name moved", "ann/new")]
    assert did(ask(f"{api}/branch/b", "POST")) == [("name made", "ann/new:b")]
    assert did(ask(f"{api}/branch/b", "DELETE")) == [("name deleted", "ann/new:b")]
    tagged = [("name made", "ann/new:t"), ("name protected", "ann/new:t")]
    assert did(ask(f"{api}/tag/main", "POST", tag="t")) == tagged
    assert did(ask(f"{api}/settings", "PUT", visibility="private")) == [("level set", "ann/new")]
    assert did(ask("/api/repos/move", "POST", fromRepo="ann/new", toRepo="team/new")) == [
        ("rules copied", "team/new"), ("repository moved", "ann/new"),
    ]  # fmt: skip
    api = "/api/models/team/new"
    assert did(ask(f"{api}/tag/t", "DELETE")) == [("name deleted", "team/new:t")]
    assert did(ask("/api/repos/delete", "DELETE", organization="team", name="new")) == [
        ("name deleted", "team/new"), ("repository deleted", "team/new"),
    ]  # fmt: skip
    assert did(lambda: accounts.grant("team", "ann", None)) == [("role taken", "team")]
    assert did(lambda: accounts.protect("*/x", on=True)) == [("pattern set", "*/x")]
    assert did(lambda: accounts.protect("*/x", on=False)) == [("pattern ended", "*/x")]
    assert did(lambda: accounts.add("lab", team=True)) == [("team made", "lab")]
    assert did(lambda: accounts.remove("lab", team=True)) == [("team deleted", "lab")]
    assert did(lambda: accounts.revoke(token[4:12])) == [("token revoked", token[4:12])]
    assert did(lambda: accounts.revoke(token[4:12])) == []
    assert did(lambda: accounts.remove("ann")) == [("account deleted", "ann")]
    below = {row.name for row in accounts.audit.rows(name="ann/new", limit=99)}
    assert below == {"ann/new", "ann/new:b", "ann/new:t"}
    row = accounts.audit.rows(name="team/new", limit=1)[0]
    assert (row.who, row.token, row.address) == ("ann", token[4:12], "127.0.0.1")
    assert re.fullmatch(r"[0-9a-f]{16}", row.request)
    accounts_row = accounts.audit.newest(limit=1)[0]
    assert (accounts_row.address, accounts_row.token) == ("", "")


def test_what_was_refused_is_told_and_not_too_often(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, ben = served.accounts.audit, served.token("ben", "write")
    before, wrong = audit.head().number, str(new_secret())
    settings = "/api/models/team/net/settings"
    served.ask("/api/whoami-v2", token=wrong)
    served.ask("/api/whoami-v2", token="hf_elsewhere")
    for _ in range(3):
        served.ask(settings, "PUT", token=ben, body=b"{}")
    served.ask(settings, "PUT", body=b"{}")
    served.ask("/api/models/team/nil")  # to read what is not there is no such try
    served.ask("/lfs/objects/" + "0" * 64, "PUT", body=b"?")
    rows = audit.rows(after=before, limit=99)
    told = [(row.result, row.who, row.token, row.name) for row in rows if row.action == "refused"]
    assert told == [
        ("InvalidToken", "", wrong[4:12], ""), ("InvalidToken", "", "", ""),
        ("Forbidden", "ben", ben[4:12], "team/net"), ("RepoNotFound", "", "", "team/net"),
        ("InvalidSeal", "", "", ""),
    ]  # fmt: skip
    assert "role of owner in team/net" in rows[3].detail
    assert "2 more refused tries" in rows[4].detail
    assert not any(secret[13:] in repr(row.to_json()) for row in rows for secret in (ben, wrong))
    monkeypatch.setattr(module, "MINUTE", 0.0)
    served.ask(settings, "PUT", token=ben, body=b"{}")
    assert audit.head().number == rows[-1].number + 1, "in the next minute it is told again"
    monkeypatch.setattr(module, "MOST", 0)
    served.ask("/api/whoami-v2", token=str(new_secret()))
    assert audit.head().number == rows[-1].number + 1


def test_a_change_that_cannot_be_told_is_told_by_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DiskFull("accounts.db")

    monkeypatch.setattr(module, "record", fail)
    served.accounts.audit.note("pruned", "", "1 file")
    assert "the audit log lacks that pruned:  1 file (" in caplog.text


def test_what_is_changed_in_it_shows(served: Served) -> None:
    audit, engine = served.accounts.audit, served.accounts.audit._engine
    head, wrong = audit.check()
    assert (head, wrong) == (audit.head(), [])
    assert head.number > 5
    for change, told in (
        ("UPDATE audit SET who = 'eve' WHERE number = 2", ["row 2 was changed"]),
        ("DELETE FROM audit WHERE number = 3", ["row 3 is missing"]),
        ("UPDATE audit SET hash = before WHERE number = 4",
         ["row 4 was changed", "row 5 does not follow the one before it"]),
    ):  # fmt: skip
        with writing(engine) as connection:
            connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM audit")
            connection.exec_driver_sql(change)
        assert audit.check() == (head, told)
        with writing(engine) as connection:
            connection.exec_driver_sql("DELETE FROM audit")
            connection.exec_driver_sql("INSERT INTO audit SELECT * FROM kept")
            connection.exec_driver_sql("DROP TABLE kept")
    assert audit.check() == (head, [])
    with writing(engine) as connection:  # what is cut off at the end shows by the head alone
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM audit")
        connection.exec_driver_sql(f"DELETE FROM audit WHERE number = {head.number}")
    assert audit.check()[1] == []
    assert audit.head() != head
    with writing(engine) as connection:
        last = f"SELECT * FROM kept WHERE number = {head.number}"
        connection.exec_driver_sql(f"INSERT INTO audit {last}")
        connection.exec_driver_sql("DROP TABLE kept")


def test_admins_read_it_over_http(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = served.token("admin")
    assert served.ask("/zoo/v1/audit", token=served.token("ben")).code == "Forbidden"
    limited = served.token("admin", only=("team",))
    assert served.ask("/zoo/v1/audit", token=limited).code == "Forbidden"
    rows = served.ask("/zoo/v1/audit", token=admin).json
    page = served.ask("/zoo/v1/audit?limit=2", token=admin)
    assert page.json == rows[:2]
    path = re.search(r"<http://[\d.:]+(/.*)>; rel=\"next\"", page.headers["link"])
    assert path
    assert served.ask(path[1], token=admin).json == rows[2:4]
    monkeypatch.setattr(watching, "PAGE", 3)
    assert len(served.ask("/zoo/v1/audit?limit=9", token=admin).json) == 3
    assert {row["who"] for row in served.ask("/zoo/v1/audit?who=ben", token=admin).json} <= {"ben"}
    assert served.ask("/zoo/v1/audit?since=2999-01-01", token=admin).json == []
    # As the page says, with standard tools.
    values = [value for key, value in rows[0].items() if key != "hash"]
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == rows[0]["hash"]
    assert Row(**rows[0]).number == 1


def test_its_head_is_told_once_a_day(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "TEND_SECONDS", 0.01)
    monkeypatch.setattr(run, "LEAD_SECONDS", 0.01)
    with caplog.at_level(logging.INFO), serving(served.root):
        while "newest row" not in caplog.text:
            time.sleep(0.01)
        time.sleep(0.1)
    said = f"the newest row of the audit log is {served.accounts.audit.head()}"
    told = [record.thread for record in caplog.records if record.getMessage() == said]
    assert len(told) == len({*told}), "each server tells it once; one runs beside"
    assert told


def test_the_page_has_all_that_is_told() -> None:
    assert re.findall(r"^\| `([a-z ]+)` \| (.+) \|$", PAGE, re.MULTILINE) == [*ACTIONS.items()]
