"""Admin pages: people, rights, protected names, webhooks, storage, the audit log; all of it for
admins, and for others what they own.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from fakes.paged import HTML, canaries, text_of
from fakes.served import Served, serving
from fakes.signed import Signed, sign_in
from lxml import html

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import Corrupt
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages import audit as audit_page
from zoo.serve.pages import people as people_page
from zoo.serve.pages import pruning, storage
from zoo.serve.pages.later import Later
from zoo.serve.watch.scrub import FILE as SCRUB
from zoo.serve.who import webhooks as who_hooks
from zoo.serve.who.alone import LinkHolder
from zoo.transfer import maintenance

ADMIN = ("/-/people", "/-/people/ann", "/-/patterns", "/-/webhooks", "/-/storage",
         "/-/storage/prune", "/-/audit")  # fmt: skip


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, make_zoo: Callable[[Path], None]
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("admin") / "zoo"
    make_zoo(root)
    with serving(root) as served:
        served.token("ann")
        served.accounts.set_level("secret", level="private")
        yield served


@pytest.fixture(scope="module")
def admin(served: Served) -> Signed:
    return sign_in(served.url, served.token("admin", "write"))


def told(served: Served, count: int = 1) -> list[tuple[str, str, str]]:
    """Who did what with what last."""
    rows = served.accounts.audit.newest(limit=count)
    return [(row.who, row.action, row.name) for row in rows]


def test_nobody_but_admins_with_a_token_to_write_sees_them(served: Served, admin: Signed) -> None:
    for path in ADMIN:
        twin = f"{path}/index.json" if path.endswith("ann") else f"{path}.json"
        assert admin.get(path).status == admin.get(twin).status == 200
        assert served.ask(path, Accept=HTML).status == 401
        for account, purpose, only in (
            ("ann", "write", ()), ("admin", "read", ()), ("admin", "append", ()),
            ("admin", "write", ("team",)),
        ):  # fmt: skip
            who = sign_in(served.url, served.token(account, purpose, only=only))
            got = who.get(path)
            assert got.status in (403, 404), (path, account, purpose, only)
            assert b"ann</a></th>" not in got.body
            assert b">Admin</a>" not in who.get("/").body
            assert (b"Admin, with another token" in who.get("/").body) == (account == "admin")
            assert who.send(path, do="add-user", name="eve").status in (403, 405)
    assert b">Admin</a>" in admin.get("/").body
    assert [each.name for each in served.accounts.all() if each.name == "eve"] == []


def test_accounts_and_teams_are_made_and_deleted(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = admin.secret("/-/people", do="add-user", name="dora", purpose="append", admin="no")
    assert served.ask("/api/whoami-v2", token=first).json["name"] == "dora"
    assert told(served, 3)[:2] == [("admin", "account made", "dora"),
                                   ("admin", "token made", first[4:12])]  # fmt: skip
    admin.secret("/-/people", do="add-user", name="root", purpose="write", admin="yes")
    admin.did("/-/people", do="add-team", name="lab")
    admin.did("/-/namespaces/lab", do="grant", who="dora", role="maintainer")
    assert told(served) == [("admin", "role given", "lab")]
    found = admin.get("/-/people.json").json
    users = {each["name"]: (each["admin"], each["tokens"]) for each in found["users"]}
    assert (users["dora"], users["root"]) == ((False, 1), (True, 1))
    assert [(each["name"], each["members"]) for each in found["teams"]] == [
        ("lab", {"dora": "maintainer"})
    ]
    assert found["others"] == ["secret", "shown", "team"]
    person = admin.get("/-/people/dora/index.json").json
    assert [(row["path"], row["role"]) for row in person["roles"]] == [("lab", "maintainer")]
    for wrong, said in (
        ("dora", "an account 'dora' already"), ("lab", "a team 'lab' already"), ("a/b", "a/b"),
    ):  # fmt: skip
        assert said in admin.error("/-/people", do="add-user", name=wrong)
    assert "one of: read" in admin.error("/-/people", do="add-user", name="nil", purpose="all")
    assert "nil" not in {each.name for each in served.accounts.all()}
    assert "your own account" in admin.error("/-/people", do="remove", name="admin")
    assert "unknown account" in admin.error("/-/people", do="remove", name="lab").lower()
    admin.did("/-/people", do="remove", name="lab", kind="team")
    admin.did("/-/people", do="remove", name="dora", kind="account")
    assert told(served) == [("admin", "account deleted", "dora")]
    assert served.ask("/api/whoami-v2", token=first).code == "InvalidToken"
    assert admin.get("/-/people/dora").status == 404
    admin.did("/-/people", do="remove", name="root", kind="account")
    monkeypatch.setattr(people_page, "SHOWN", 2)
    found = admin.get("/-/people.json").json
    assert (len(found["users"]), len(found["others"])) == (2, 2)
    assert found["left"] == len(served.accounts.all()) - 2 + 1
    found = admin.get("/-/people.json?q=nn").json
    assert ([each["name"] for each in found["users"]], found["left"]) == (["ann"], 0)
    assert "more are not shown" in text_of(admin.page("/-/people"))


def test_tokens_of_others(served: Served, admin: Signed) -> None:
    made = admin.secret("/-/people/ann", do="make", name="ci", purpose="write", days="9")
    assert served.ask("/api/whoami-v2", token=made).json["name"] == "ann"
    assert told(served, 2)[0] == ("admin", "token made", made[4:12])
    mine = served.accounts.tokens("admin")[0].id
    assert "unknown token" in admin.error("/-/people/ann", do="revoke", id=mine).lower()
    admin.did("/-/people/ann", do="revoke", id=made[4:12])
    assert served.ask("/api/whoami-v2", token=made).code == "InvalidToken"


def test_what_ends_soon_makes_nothing_that_lasts(served: Served) -> None:
    """Whoever has stolen an admin's session of an hour has no account or token the hour after."""
    token = served.token("admin", "write", lasts=3600)
    who, ends = sign_in(served.url, token), _expires(served, token)
    for days in ("", "9"):
        made = who.secret("/-/people/ann", do="make", name="ci", purpose="write", days=days)
        assert _expires(served, made) == ends
    again = sign_in(served.url, made).secret("/-/settings", do="make", name="x", purpose="write")
    assert _expires(served, again) == ends, "nor by what it has made"
    for admin in ("yes", "no"):
        got = who.send("/-/people", do="add-user", name="thief", purpose="write", admin=admin)
        assert (got.status, got.code) == (403, "Forbidden")
        assert "zoo serve user add" in got.headers["x-error-message"]
    assert "thief" not in {each.name for each in served.accounts.all()}
    assert who.page("/-/people").xpath("//form[.//input[@value='add-user']]") == []
    assert "that does not expire" in text_of(who.page("/-/people"))


def _expires(served: Served, token: str) -> str | None:
    return {each.id: each.expires for each in served.accounts.tokens()}[token[4:12]]


def test_who_owns_something_says_who_may_do_what(served: Served) -> None:
    accounts = served.accounts
    olga = sign_in(served.url, served.token("olga", "write"))
    accounts.grant("team", "olga", "owner")
    for path in ("/-/access/team/net", "/-/namespaces/team", "/-/namespaces/olga"):
        of = path.removeprefix("/-/").partition("/")[2]
        assert olga.get(path).status == olga.get(f"{path}/index.json").status == 200
        olga.did(path, do="level", level="private")
        assert told(served) == [("olga", "level set", of)]
        assert accounts.rules().access(of).level == "private"
        olga.did(path, do="level", level="")
        olga.did(path, do="grant", who="ann", role="writer")
        assert accounts.rules().access(of).roles["ann"] == "writer"
        rows = olga.get(f"{path}/index.json").json["roles"]
        assert ("ann", "writer", of) in [(row["who"], row["role"], row["path"]) for row in rows]
        assert "none of" in olga.error(path, do="grant", who="ann", role="king")
        assert "unknown account" in olga.error(path, do="grant", who="no", role="reader").lower()
        assert "none of" in olga.error(path, do="level", level="all")
        olga.did(path, do="take", who="ann")
        assert "ann" not in accounts.rules().access(of).roles
        assert told(served) == [("olga", "role taken", of)]
    assert b"/-/access/team/net" in olga.get("/team/net").body
    assert b"/-/access/team/net" not in sign_in(
        served.url, served.token("olga")).get("/team/net").body  # fmt: skip
    accounts.grant("team", "olga", None)


def test_a_token_for_some_names_says_who_may_read_and_changes_nothing_else(
    served: Served, admin: Signed
) -> None:
    hook = served.accounts.webhooks.add("https://ci.lab.org", "team")
    admin.did("/-/patterns", do="protect", pattern="team/*")
    served.accounts.grant("team", "ann", "reader")
    who = sign_in(served.url, served.token("team", "write", only=("team",)))
    before = served.accounts.audit.head().number
    for path in ("/-/namespaces/team", "/-/access/team/net"):
        for sent in (
            {"do": "grant", "who": "ann", "role": "owner"}, {"do": "take", "who": "ann"},
            {"do": "protect", "pattern": "team/net"}, {"do": "unprotect", "pattern": "team/*"},
            {"do": "add-hook", "url": "https://evil.example"}, {"do": "remove-hook", "id": hook.id},
        ):  # fmt: skip
            got = who.send(path, **sent)
            assert (got.status, got.code) == (403, "Forbidden"), sent
        assert who.page(path).xpath("//main//input[@name='do']/@value") == ["level"]
        assert who.page(path).xpath("//main//button[@name='do']/@value") == []
    rows = served.accounts.audit.rows(after=before, limit=99)
    assert {row.action for row in rows} <= {"refused", "token used"}
    who.did("/-/namespaces/team", do="level", level="private")
    who.did("/-/namespaces/team", do="level", level="")
    admin.did("/-/patterns", do="unprotect", pattern="team/*")
    served.accounts.grant("team", "ann", None)
    served.accounts.webhooks.remove(hook.id)


def test_what_one_does_not_own_looks_as_if_it_were_not_there(served: Served) -> None:
    accounts = served.accounts
    served.token("ben")
    accounts.grant("team", "ben", "maintainer")
    narrow = served.token("team", "write", only=("shown",))
    tokens = [served.token("ben", "write"), served.token("team"), narrow,
              served.token("eve", "write")]  # fmt: skip
    for token in tokens:
        who = sign_in(served.url, token)
        for sends in (False, True):

            def ask(path: str, who: Signed = who, sends: bool = sends) -> tuple[int, str, bytes]:
                got = who.send(path, do="level", level="public") if sends else who.get(path)
                return got.status, got.code, got.body.replace(path.encode(), b"")

            gone = ask("/-/namespaces/nothing")
            assert gone[0] == 404
            for name in ("team", "secret", "a%2Fb", "%00"):
                got = ask(f"/-/namespaces/{name}")
                assert (got[0], got[1]) == (gone[0], gone[1]), name
            assert ask("/-/access/secret/net")[:2] == ask("/-/access/secret/none")[:2]
            seen = 404 if token == narrow else 403
            assert ask("/-/access/team/net")[0] == seen, "that one can be read"
        for name in ("", "team", "team/net", "secret/net", "nothing", "a:b:c", "\x00"):
            log = who.get(f"/-/audit?name={quote(name)}")
            assert (log.status, log.code) == (404, "NotFound"), name
    assert accounts.rules().access("team").level == "internal"
    accounts.grant("team", "ben", None)


def test_an_owner_sees_what_was_done_with_it_and_not_from_where(served: Served) -> None:
    accounts = served.accounts
    uma = sign_in(served.url, served.token("uma", "write"))
    accounts.grant("team/net", "uma", "owner")
    accounts.grant("team", "ann", "reader")
    accounts.set_level("team", level="private")
    uma.did("/-/access/team/net", do="level", level="")
    assert accounts.audit.newest(limit=1)[0].address == "127.0.0.1"
    try:
        page = uma.get("/-/access/team/net/index.json").json
        assert {row["who"] for row in page["roles"]} == {"uma"}, "not who is in the namespace"
        assert (page["holds"], page["quota"]) == (None, None)
        assert page["changes"][0]["name"] == "team/net"
        found = uma.get("/-/audit.json?name=team/net").json
        assert {row["name"].partition(":")[0] for row in found["rows"]} == {"team/net"}
        for text in (json.dumps(found), json.dumps(page), uma.get("/-/access/team/net").body):
            assert "127.0.0.1" not in str(text)
        assert {row["token"] for row in found["rows"]} == {""}
        assert (found["total"], found["head"]) == (0, "")
        assert uma.get("/-/audit?name=team").status == 404
    finally:
        accounts.set_level("team")
        for path, who in (("team/net", "uma"), ("team", "ann")):
            accounts.grant(path, who, None)
    named = served.token("abcd1234", "write")  # as the id of a token might be
    accounts.audit.note("token revoked", "abcd1234")
    rows = sign_in(served.url, named).get("/-/audit.json?name=abcd1234").json["rows"]
    assert rows == []
    asked = sign_in(served.url, named).get("/-/audit.json?name=abcd1234&action=token%20revoked")
    assert asked.json["rows"] == []


def test_names_are_protected(served: Served, admin: Signed) -> None:
    admin.did("/-/patterns", do="protect", pattern="*/prod")
    assert told(served) == [("admin", "pattern set", "*/prod")]
    assert "stands for no names" in admin.error("/-/patterns", do="protect", pattern="x")
    team = sign_in(served.url, served.token("team", "write"))
    space, repo = "/-/namespaces/team", "/-/access/team/net"
    for path, pattern in ((space, "team/*:v*"), (space, "team/net"), (repo, "team/net:v?")):
        team.did(path, do="protect", pattern=pattern)
        team.did(path, do="unprotect", pattern=pattern)
        assert told(served) == [("team", "pattern ended", pattern)]
    for path, pattern in itertools.product((space, repo), ("*/prod", "tea?/x", "shown/net", "*/*")):
        for do in ("protect", "unprotect"):
            assert "for other names" in team.error(path, do=do, pattern=pattern)
    assert "for other names" in team.error(repo, do="protect", pattern="team/*")
    admin.did("/-/patterns", do="protect", pattern="team/n*:x")
    rows = team.get(f"{repo}/index.json").json["patterns"]
    assert rows == [{"pattern": "team/n*:x", "own": False}]
    rows = team.get(f"{space}/index.json").json["patterns"]
    assert rows == [{"pattern": "*/prod", "own": False}, {"pattern": "team/n*:x", "own": True}]
    for pattern in ("*/prod", "team/n*:x"):
        admin.did("/-/patterns", do="unprotect", pattern=pattern)
    assert admin.get("/-/patterns.json").json == {"patterns": []}


def test_webhooks_and_their_tries(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = served.accounts.webhooks
    secret = admin.secret("/-/webhooks", do="add-hook", url="http://10.0.0.1/x", private="yes")
    (made,) = hooks.all()
    assert secret == served.server.hub.seals.secret(f"webhook {made.id}")
    assert (made.path, made.private) == ("", True)
    monkeypatch.setattr(who_hooks, "KEPT", 2)
    for row in (7, 8, 4):
        (as_read,) = hooks.all()
        hooks.note(as_read, row, after=3, status="it does not answer", failures=2)
    (row,) = admin.get("/-/webhooks.json").json["hooks"]
    assert (row["status"], row["failures"], row["after"], row["ended"]) == (
        "it does not answer", 2, 3, False,
    )  # fmt: skip
    assert [each["row"] for each in row["tries"]] == [4, 8], "the last ones, newest first"
    assert "2 of 20 failures" in text_of(admin.page("/-/webhooks"))
    assert secret not in admin.get("/-/webhooks").body.decode()
    team = sign_in(served.url, served.token("team", "write"))
    for url in ("http://ci.lab.org/x", "ftp://x", "https://a:b@c", "javascript:alert(1)"):
        assert team.error("/-/namespaces/team", do="add-hook", url=url, private="yes")
    team.secret("/-/access/team/net", do="add-hook", url="https://ci.lab.org/<b>x</b>")
    assert canaries(team.page("/-/access/team/net")) == []
    (own,) = team.get("/-/namespaces/team/index.json").json["hooks"]
    assert (own["path"], own["private"]) == ("team/net", False), "others' are not shown"
    assert "unknown webhook" in team.error(
        "/-/namespaces/team", do="remove-hook", id=made.id).lower()  # fmt: skip
    monkeypatch.setattr("zoo.serve.hub.hooks.MOST", 1)
    again = {"do": "add-hook", "url": "https://ci.lab.org/"}
    assert "already" in team.error("/-/access/team/net", **again)
    team.did("/-/namespaces/team", do="remove-hook", id=own["id"])
    assert told(served) == [("team", "webhook removed", "team/net")]
    admin.did("/-/webhooks", do="remove-hook", id=made.id)
    assert hooks.all() == []


def test_what_is_stored_and_shared(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_sums", LruCache(4))
    for path, size in (("runs/x/state.pt", 5_000), ("cache/deep/x", 7)):
        (served.root / path).parent.mkdir(parents=True)
        (served.root / path).write_bytes(b"x" * size)
    store = served.server.hub.workspace.store
    assert "no number of bytes" in admin.error(
        "/-/storage", do="quota", namespace="team", bytes="x"
    )
    admin.did("/-/storage", do="quota", namespace="team", bytes="2.5 MB")
    assert told(served) == [("admin", "quota set", "team")]
    assert served.accounts.quotas.get("team") == 2_500_000
    found = admin.get("/-/storage.json").json
    rows = {row["name"]: row for row in found["namespaces"]}
    refs = [ref for ref in store.readable_refs()[0] if ref != Reference.parse("team/parts")]
    objects = [dict(store.document(entry.manifest).objects())
               for ref in refs if (entry := store.read_ref(ref))]  # fmt: skip
    whole = sum(sum(each.values()) for each in objects)
    once = {digest: size for each in objects for digest, size in each.items()}
    assert (found["alone"], found["once"]) == (whole, sum(once.values()))
    assert whole > sum(once.values())
    assert sum(row["alone"] for row in rows.values()) == whole
    assert rows["team"]["quota"] == 2_500_000
    assert rows["team"]["holds"] == served.server.hub.room.after("team").total
    files = [path for name in ("objects", "manifests") for path in (served.root / name).rglob("*")]
    sizes = [path.stat().st_size for path in files if path.is_file()]
    assert (found["files"], found["bytes"]) == (len(sizes), sum(sizes))
    assert f"{100 * (1 - sum(once.values()) / whole):.1f}%" in text_of(admin.page("/-/storage"))
    beside = {row["kind"]: row["bytes"] for row in found["beside"]}
    assert beside["runs"] == 5_000
    assert beside["caches of training"] == 7
    every = [path.lstat().st_size for path in served.root.rglob("*") if not path.is_dir()]
    assert abs(found["whole"] - sum(every)) < 1_000_000, "but for what is written meanwhile"
    assert {"runs", "caches of training"} <= {*admin.page("/-/storage").xpath("//tbody//th/text()")}
    space = admin.get("/-/namespaces/team/index.json").json
    assert (space["quota"], space["holds"]) == (2_500_000, rows["team"]["holds"])
    admin.did("/-/storage", do="quota", namespace="team", bytes="none")
    assert served.accounts.quotas.get("team") is None


def test_what_names_lead_to_is_read_when_one_has_moved(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = admin.get("/-/storage.json").json, list[object]()
    count = storage._read

    def counted(ask: Ask, manifests: Sequence[Digest]) -> object:
        read.append(manifests)
        return count(ask, manifests)

    monkeypatch.setattr(storage, "_read", counted)
    same = admin.get("/-/storage.json").json
    assert {**same, "free": 0} == {**before, "free": 0}  # of the disk, which others use, too
    assert read == []
    workspace, ref = served.server.hub.workspace, Reference.parse("team/again")
    entry = workspace.store.read_ref(Reference.parse("team/net"))
    assert entry
    workspace.move(ref, entry.manifest, "tag")
    after = admin.get("/-/storage.json").json
    assert read
    assert after["alone"] > before["alone"]
    assert after["once"] == before["once"]
    workspace.delete(ref)
    again = admin.get("/-/storage.json").json
    assert (again["alone"], again["once"]) == (before["alone"], before["once"])
    gone = Reference.parse("exp/gone")
    workspace.move(gone, entry.manifest, "tag")
    workspace.delete(gone)
    rows = {row["name"]: row for row in admin.get("/-/storage.json").json["namespaces"]}
    assert rows["exp"]["names"] == rows["exp"]["once"] == 0
    assert rows["exp"]["holds"] > 0, "until a prune"


def test_what_a_scrub_found(served: Served, admin: Signed) -> None:
    assert "No scrub has begun yet" in text_of(admin.page("/-/storage"))
    last = {"began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T01:00:00Z", "files": 9,
            "bytes": 99, "damaged": ["object blake3:<b>"]}  # fmt: skip
    now = {"began": "2026-01-08T00:00:00Z", "files": 3, "bytes": 33, "at": [2, "ab"]}
    (served.root / SCRUB).write_text(json.dumps({"by": "x", "last": last, "now": now}))
    found = admin.get("/-/storage.json").json
    assert (found["last"]["damaged"], found["last"]["names"]) == (1, ["object blake3:<b>"])
    assert (found["now"]["files"], found["now"]["ended"]) == (3, "")
    text = text_of(admin.page("/-/storage"))
    assert "3 of" in text
    assert "object blake3:<b>" in text
    (served.root / SCRUB).unlink()


def test_what_a_prune_would_free(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PATIENCE", 60)
    workspace = served.server.hub.workspace
    assert admin.get("/-/storage/prune.json").json["files"] == 0, "all of it is young"
    path = "/-/storage/prune.json?keep=0&grace=0"
    found = admin.get(path).json
    plan = maintenance.plan_prune(workspace, None, keep_days=0, grace_days=0)
    assert plan.doomed
    assert (found["files"], found["bytes"]) == (len(plan.doomed), plan.bytes)
    assert sum(row["bytes"] for row in found["doomed"]) == plan.bytes
    assert [each["names"] for each in found["checkpoints"]] == [["team/parts"]]
    gone = plan.checkpoints[0]
    page = admin.page(path.replace(".json", ""))
    row = text_of(page, "//table[contains(., 'Had the name')]/tbody/tr")
    assert f"deleted {gone.at[:10]}" in row
    assert f"by {gone.by}" in row
    assert "team/net derives from it" in row, "and another name, to tell rows apart"
    assert "zoo prune --keep 0 --grace 0" in text_of(page)
    assert page.xpath("//main//form[@method='post']") == [], "it deletes nothing"
    assert admin.send("/-/storage/prune", do="prune").status == 405
    assert {**admin.get(path).json, "at": found["at"]} == found, "nothing was changed"
    assert found["checkpoints"][0]["bytes"] == plan.checkpoints[0].bytes > 0
    for wrong in (
        "keep=-1",
        "grace=x",
        "keep=1e9",
        f"keep={'9' * 9}",
        "keep=36501",
        "keep=٣",
        "caches=1.",
        "grace=36500.5",
    ):
        name, typed = wrong.split("=")
        got = admin.get(f"/-/storage/prune?{urlencode({name: typed, 'other': 1})}")
        assert got.status == 400
        shown = html.fromstring(got.body.decode())
        assert f"{name} is {typed!a}" in text_of(shown, "//main//*[@role='alert']")
        assert shown.xpath(f"string(//input[@name='{name}']/@value)") == typed
        assert shown.xpath("//main//table") == []

    def fails(*_: object, **__: object) -> None:
        raise Corrupt("manifest x", "a", "b")

    monkeypatch.setattr(maintenance, "plan_prune", fails)
    assert "There is no plan" in text_of(admin.page("/-/storage/prune"))


def test_a_plan_that_takes_long_is_worked_out_beside_the_page(
    admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once: it is good for a while."""
    path, goes_on, begun = "/-/storage/prune", Event(), list[object]()
    plan = maintenance.plan_prune

    def slow(*given: Any, **days: Any) -> Any:
        begun.append(days)
        assert goes_on.wait(60)
        return plan(*given, **days)

    monkeypatch.setattr(maintenance, "plan_prune", slow)
    monkeypatch.setattr(pruning, "PATIENCE", 0.0)
    monkeypatch.setattr(pruning, "SHARE", 1e9)
    monkeypatch.setattr(pruning, "_works", LruCache(16))
    for query in ("", "", "?keep=3"):
        page = admin.page(f"{path}{query}")
        assert "being worked out" in text_of(page)
        assert "Nothing would go" not in text_of(page), "that is not known yet"
        again = page.xpath("//a[text()='look again']/@href")[0]
        assert again == f"{path}?keep={query[-1:] or 90}&grace=14"
    until = time.monotonic() + 60
    while not begun and time.monotonic() < until:  # another thread does it
        time.sleep(0.01)
    assert len(begun) == 1
    goes_on.set()
    while admin.get(f"{path}.json").json["working"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    page = admin.page(path)
    assert "Nothing would go" in text_of(page)
    assert "being worked out" not in text_of(page)
    assert len(begun) == 1


def test_a_plan_is_worked_out_by_one_process_for_all(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of which has its own memory: it is kept where all see it."""
    goes_on, begun, plan = Event(), list[object](), maintenance.plan_prune

    def slow(*given: Any, **days: Any) -> Any:
        begun.append(days)
        assert goes_on.wait(60)
        return plan(*given, **days)

    def another_process() -> None:
        monkeypatch.setattr(pruning, "_works", LruCache(16))
        monkeypatch.setattr(pruning, "_later", Later())

    monkeypatch.setattr(maintenance, "plan_prune", slow)
    monkeypatch.setattr(pruning, "PATIENCE", 0.0)
    monkeypatch.setattr(pruning, "SHARE", 1e9)
    path = "/-/storage/prune.json?keep=0&grace=0"
    for _ in range(3):
        another_process()
        assert admin.get(path).json["working"]
    until = time.monotonic() + 60
    while not begun and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(begun) == 1, "one at a time"
    goes_on.set()
    while (found := admin.get(path).json)["working"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert found["files"] > 0
    another_process()
    assert admin.get(path).json == found, "and what it found is known"
    assert len(begun) == 1
    file = served.root / "plans" / "prune.json"
    false = {"plan": {"asked": ["0", "0", ""]}, "done": 0.0, "good": time.time() + 9000}
    planted = (
        {"plan": {"asked": ["1", "0", ""]}},  # of other days
        {"good": 1e308},  # which would stay as long as the file
        {"done": 1e308},
    )
    for damaged in (
        b"{", b'{"0 0 ": {"plan": 7}}', b"[]", b'{"0 0 ": {"x":' + b"[" * 200_000,
        *(json.dumps({"0 0 ": {**false, **each}}).encode() for each in planted),
    ):  # fmt: skip
        file.chmod(0o600)
        file.write_bytes(damaged)
        another_process()
        while (again := admin.get(path).json)["working"]:
            assert time.monotonic() < until
        assert {**again, "at": found["at"]} == found, damaged[:99]
    assert len(begun) == 8


def test_ones_own_zoo_has_no_accounts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = LinkHolder()
    monkeypatch.setattr(served.server.hub, "alone", alone)
    who = Signed(served.url, f"zoo-{urlsplit(served.url).port}={alone.open(alone.key)}")
    for path in (*ADMIN, "/-/settings", "/-/device", f"/-/namespaces/{alone.actor.name}",
                 "/-/access/team/net", "/-/audit?name=team"):  # fmt: skip
        seen = path.startswith("/-/storage")
        assert who.get(path).status in ((200,) if seen else (403, 404)), path
        assert who.send(path.partition("?")[0], do="level", level="").status in (400, 403, 404, 405)
    assert not who.page("/-/storage").xpath("//a[contains(@href, '/-/namespaces')]")
    assert served.ask("/oauth/device", "POST").status == 401
    assert served.ask("/oauth/device", "POST", Cookie=who.cookie).status == 401


def test_the_audit_log_is_paged_and_filtered(
    served: Served, admin: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "PAGE", 7)
    for number in range(20):
        served.accounts.audit.note("pruned", "", f"<b>{number}</b>")
    served.accounts.audit.note("pattern set", "team/*", "")
    admin.did("/-/storage", do="quota", namespace="team", bytes="2.5 MB")
    numbers: list[int] = []
    path = "/-/audit"
    while path:
        page = admin.page(path)
        assert canaries(page) == []
        numbers += [int(text) for text in page.xpath("//tbody/tr/th/text()")]
        path = next(iter(page.xpath("//a[@rel='next']/@href")), "")
        assert len(numbers) < 2000
    newest = served.accounts.audit.head().number
    assert numbers == [*range(newest, 0, -1)]

    def asked(**query: str) -> list[tuple[str, str, str]]:
        rows = admin.get(f"/-/audit.json?{urlencode(query)}").json["rows"]
        return [(row["who"], row["action"], row["name"]) for row in rows]

    assert {action for _, action, _ in asked(action="pattern set")} == {"pattern set"}
    assert {who for who, _, _ in asked(who="admin")} == {"admin"}
    assert {name.partition("/")[0] for _, _, name in asked(name="team")} == {"team"}
    both = asked(name="team", action="quota set", who="admin")
    assert {*both} == {("admin", "quota set", "team")}
    assert asked(action="nothing") == asked(who="x' OR 1=1") == []
    page = admin.page("/-/audit?action=quota%20set&who=admin")
    assert page.xpath("//select[@name='action']/option[@selected]/@value") == ["quota set"]
    assert page.xpath("string(//input[@name='who']/@value)") == "admin"
    head = admin.get("/-/audit.json").json
    assert (head["total"], head["head"]) == (newest, served.accounts.audit.head().hash)
