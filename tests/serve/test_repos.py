"""Repositories are made, moved, deleted, and shown to more or fewer; names stay where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import stored_snapshot
from fakes.clock import earlier
from fakes.served import Got, Served, serving
from sqlalchemy import inspect

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption, InvalidReference, UnknownName
from zoo.registry.engine import open_engine, writing
from zoo.registry.engines import sqlite
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.operations import applied
from zoo.serve.who import open as opening
from zoo.serve.who import schema
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.open import FILE
from zoo.serve.who.renaming import keep_rules
from zoo.transfer.names import rename
from zoo.workspace import Workspace


@pytest.fixture
def zoo(tmp_path: Path, make_zoo: Callable[[Path], None]) -> Workspace:
    make_zoo(tmp_path / "zoo")
    return Workspace(tmp_path / "zoo")


def tell(served: Served, method: str, path: str, token: str | None, **said: object) -> Got:
    body = json.dumps(said).encode()
    return served.ask(path, method, token=token, body=body)


def create(served: Served, token: str | None, repo: str, **said: object) -> Got:
    namespace, _, name = repo.partition("/")
    return tell(served, "POST", "/api/repos/create", token, organization=namespace, name=name,
                **said)  # fmt: skip


def delete(served: Served, token: str, repo: str) -> Got:
    namespace, _, name = repo.partition("/")
    return tell(served, "DELETE", "/api/repos/delete", token, organization=namespace, name=name)


def move(served: Served, token: str, old: str, new: str) -> Got:
    return tell(served, "POST", "/api/repos/move", token, fromRepo=old, toRepo=new, type="model")


def test_an_empty_repository_has_no_commit_and_is_there(served: Served) -> None:
    """`upload_large_folder` before 2.0 asks what it is at its main branch before it sends any."""
    cora = served.token("cora", "write")
    create(served, cora, "cora/bare")
    main = "/api/models/cora/bare/revision/main"
    assert served.ask(f"{main}?expand=xetEnabled", token=cora).json["id"] == "cora/bare"
    assert served.ask("/api/models/cora/bare", token=cora).json["siblings"] == []
    for query in ("", "?expand=sha"):
        assert served.ask(f"{main}{query}", token=cora).code == "RevisionNotFound"
    other = served.ask("/api/models/cora/bare/revision/dev?expand=tags", token=cora)
    assert other.code == "RevisionNotFound"


def test_an_empty_repository_is_made(served: Served) -> None:
    cleo, ann = served.token("cleo", "append"), served.token("ann")
    made = tell(served, "POST", "/api/repos/create", cleo, name="new", organization=None,
                type="model", private=False, sdk=None)  # fmt: skip
    assert (made.status, made.json["url"]) == (200, f"{served.url}/cleo/new")
    again = create(served, cleo, "cleo/new")
    assert (again.status, again.json["url"]) == (409, f"{served.url}/cleo/new")
    for url in ("", "/auth-check", "/refs"):
        assert served.ask(f"/api/models/cleo/new{url}", token=ann).status == 200, url
    assert served.ask("/api/models/cleo/new/auth-check/write", token=cleo).status == 200
    assert served.ask("/api/models/cleo/new", token=ann).json["private"]
    assert served.ask("/api/models/cleo/new").code == "RepoNotFound", "public was not asked for"
    assert served.ask("/api/models/cleo/new/tree/main", token=ann).json == []
    gone = served.ask("/cleo/new/resolve/main/README.md", token=ann)
    assert gone.code == "EntryNotFound"
    assert create(served, cleo, "cleo/NEW").code == "BadRequest", "it differs in case alone"
    assert create(served, cleo, "cleo/hidden", visibility="private").status == 200
    assert served.ask("/api/models/cleo/hidden", token=ann).code == "RepoNotFound"
    assert served.ask("/api/models/cleo/hidden", token=cleo).status == 200
    for who, count in ((cleo, 2), (ann, 1)):
        assert served.ask("/api/users/cleo/overview", token=who).json["numModels"] == count


def test_nobody_learns_what_is_there_by_making_it(served: Served) -> None:
    """A stranger is told the same of a name that is taken, of a free one, and of any namespace."""
    ann = served.token("ann", "write")
    said = {
        (got.status, got.code, got.body.replace(repo.encode(), b"REPO"))
        for repo in ("secret/net", "secret/nil", "free/net", "shown/net", "team/net")
        for got in [create(served, ann, repo)]
    }
    text = (
        b"that needs the role of writer in REPO, which an admin can give: "
        b"zoo serve role REPO ann writer"
    )
    assert said == {(403, "Forbidden", b'{"error":"' + text + b'"}')}
    assert create(served, None, "free/net").code == "NoToken"
    assert b"one to append" in create(served, served.token("ann"), "ann/net").body


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"name": "a/b"}, "BadRequest"), ({"name": ".."}, "BadRequest"), ({}, "BadRequest"),
        ({"name": "x", "type": "dataset"}, "NotImplemented"), ({"name": 1}, "BadRequest"),
        ({"name": "con"}, "BadRequest"), ({"name": "x", "visibility": "all"}, "BadRequest"),
        ({"name": "x" * 200}, "BadRequest"), ({"name": ""}, "BadRequest"),
    ],
)  # fmt: skip
def test_what_can_be_no_repository(served: Served, said: dict[str, object], code: str) -> None:
    token = served.token("dora", "write")
    assert tell(served, "POST", "/api/repos/create", token, **said).code == code
    assert served.ask("/api/repos/create", "POST", token=token, body=b"[" * 99999).code == (
        "BadRequest"
    )


@pytest.mark.parametrize("namespace", ["api", "v1", "Zoo", "sign-in", "datasets"])
def test_nothing_new_is_called_as_an_address_of_the_server(served: Served, namespace: str) -> None:
    """Nobody has such an account; admins own all namespaces."""
    admin, new = served.token("admin", "write"), f"{namespace}/net"
    path = "/api/models/team/net/duplicate"
    assert served.ask("/api/models/team/net", token=admin).status == 200
    for got in (
        create(served, admin, new),
        move(served, admin, "team/net", new),
        tell(served, "POST", path, admin, repository=new),
    ):
        assert (got.code, got.json["error"]) == (
            "BadRequest", f"{new} cannot be a new name here: addresses of the server begin so",
        )  # fmt: skip
    entry = RefEntry.from_bytes(
        served.ask("/zoo/v1/store/refs/team/net/latest/00000001.json", token=admin).body, 1
    )
    key = f"/zoo/v1/store/refs/{new}/latest/00000001.json"
    got = served.ask(key, "PUT", token=admin, body=entry.to_bytes(), If_None_Match="*")
    assert got.code == "BadRequest"
    assert "addresses of the server" in got.json["error"]
    assert served.ask("/api/models/team/net", token=admin).status == 200


def test_who_may_read_it_is_said_by_its_owner(served: Served) -> None:
    ann, cleo = served.token("ann", "write"), served.token("cleo", "write")
    url = "/api/models/cleo/open/settings"
    create(served, cleo, "cleo/open")
    assert tell(served, "PUT", url, ann, visibility="public").code == "Forbidden"
    assert tell(served, "PUT", url, served.token("cleo"), private=True).code == "Forbidden"
    for said, status in (({"visibility": "public"}, 200), ({"private": True}, 401)):
        assert tell(served, "PUT", url, cleo, **said).status == 200
        assert served.ask("/api/models/cleo/open").status == status
    assert tell(served, "PUT", url, ann, visibility="public").code == "RepoNotFound"
    assert tell(served, "PUT", url, cleo, gated="auto").code == "NotImplemented"
    assert tell(served, "PUT", url, cleo, gated=False).status == 200


def test_a_repository_that_moves_keeps_its_commits_and_is_found(zoo: Workspace) -> None:
    zoo.close()
    with serving(zoo.root) as served:
        ann, admin = served.token("ann", "write"), served.token("admin", "write")
        served.accounts.set_level("team/net", level="private")
        served.accounts.grant("team/net", "ann", "reader")
        ben = served.token("ben")

        def commits(repo: str, revision: str) -> list[str]:
            got = served.ask(f"/api/models/{repo}/commits/{revision}", token=ann)
            return [each["id"] for each in got.json]

        late = "/api/models/team/net/branch/late"
        assert tell(served, "POST", late, admin, startingPoint="dev").status == 200
        assert served.ask("/api/models/team/net/branch/dev", "DELETE", token=admin).status == 200
        before = {name: commits("team/net", name) for name in ("main", "late", "v1")}
        assert move(served, ann, "team/net", "ann/net").code == "Forbidden"
        served.accounts.grant("team/net", "ann", "owner")
        assert move(served, ann, "team/net", "lab/net").code == "Forbidden", "she is none there"
        assert move(served, ann, "team/net", "team/net").code == "Conflict"
        assert move(served, admin, "team/net", "shown/net").code == "Conflict"
        assert move(served, ann, "team/net", "ann/net").json["url"] == f"{served.url}/ann/net"
        assert before == {name: commits("ann/net", name) for name in before}
        refs = served.ask("/api/models/ann/net/refs", token=ann).json
        assert [each["name"] for each in refs["tags"]] == ["v1"], "what was protected still is"
        old = served.ask(f"/team/net/resolve/{before['main'][0]}/config.json?x=1", token=ann)
        new = f"/ann/net/resolve/{before['main'][0]}/config.json?x=1"
        assert (old.status, old.headers["location"]) == (307, new)
        assert served.ask(new, token=ann).status == 200
        coded = served.ask("/api/models/te%61m/net/tree/a%2Fb", token=ann)
        assert coded.headers["location"] == "/api/models/ann/net/tree/a%2Fb"
        for path in ("/api/models/team/net", "/api/models/ann/net"):
            assert served.ask(path, token=ben).code == "RepoNotFound", "it is private still"
        assert move(served, ann, "ann/net", "ann/web").status == 200
        again = served.ask("/api/models/team/net", token=ann)
        assert again.headers["location"] == "/api/models/ann/web"
        assert create(served, admin, "team/net").status == 200, "the old name is free"
        assert served.ask("/api/models/team/net", token=ann).json["siblings"] == []


def test_who_reads_what_moves(served: Served) -> None:
    """A namespace that is private does not stay behind, and nobody brings along whom they like; who
    has a role in the new namespace reads it.
    """
    accounts, cleo, _ = served.accounts, served.token("cleo", "write"), served.token("dan")
    accounts.add("den", team=True)
    accounts.set_level("den", level="private")
    accounts.grant("den", "cleo", "owner")
    create(served, cleo, "den/x")
    assert move(served, cleo, "den/x", "cleo/x").status == 200
    levels = {each.path: each.level for each in accounts.rules().given()}
    assert levels["cleo/x"] == "private"
    accounts.grant("den", "cleo", "writer")
    for name, level in (("y", "public"), ("z", "private")):
        create(served, cleo, f"cleo/{name}")
        accounts.set_level(f"cleo/{name}", level=level)
        accounts.grant(f"cleo/{name}", "ann", "owner")
        assert move(served, cleo, f"cleo/{name}", f"den/{name}").status == 200
        ann = served.token("ann", "write")
        assert served.ask(f"/api/models/den/{name}", token=ann).code == "RepoNotFound"
        assert served.ask(f"/api/models/den/{name}", token=cleo).status == 200
    accounts.grant("den", "dan", "reader")
    for token, code in ((served.token("dan"), ""), (served.token("eve"), "RepoNotFound")):
        assert served.ask("/api/models/den/z", token=token).code == code, "it was private"
    accounts.grant("cleo/x", "ann", "reader")
    assert move(served, cleo, "cleo/x", "cleo/w").status == 200
    assert served.ask("/api/models/cleo/w", token=ann).status == 200, "in one's own, all goes along"


@pytest.mark.long
def test_a_move_that_was_cut_off_is_done_again(
    zoo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the third entry, of the name or a tag of it: the request fails, and is sent again."""
    logs = {tag: zoo.store.history(Reference("team", "net", tag)) for tag in ("latest", "v1")}
    zoo.close()
    with serving(zoo.root) as served:
        token, store = served.token("admin", "write"), served.server.hub.workspace.store
        done: list[Reference] = []
        append = store.append_ref

        def stopped(ref: Reference, entry: RefEntry) -> None:
            if len(done) == 3:
                raise RuntimeError
            done.append(ref)
            append(ref, entry)

        with monkeypatch.context() as patch:
            patch.setattr(store, "append_ref", stopped)
            assert move(served, token, "team/net", "lab/web").code == "Failed"
        assert move(served, token, "team/net", "lab/web").status == 200
        for tag, log in logs.items():
            assert store.history(Reference("lab", "web", tag)) == log
            newest = store.read_ref(Reference("team", "net", tag))
            assert newest
            assert newest.renamed == Reference("lab", "web", tag)


def commit(served: Served, token: str, repo: str, path: str) -> Got:
    header = {"key": "header", "value": {"summary": f"add {path}"}}
    file = {"key": "file", "value": {"path": path, "content": path}}
    body = b"\n".join(json.dumps(line).encode() for line in (header, file))
    return served.ask(f"/api/models/{repo}/commit/main", "POST", token=token, body=body)


def files(served: Served, token: str, repo: str) -> list[str]:
    got = served.ask(f"/api/models/{repo}/tree/main", token=token)
    return [each["path"] for each in got.json]


def test_what_is_committed_while_a_repository_moves_goes_along(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name goes on between the copy of its log and its end, by a program beside the server."""
    token, workspace = served.token("mo", "write"), served.server.hub.workspace
    create(served, token, "mo/old")
    assert commit(served, token, "mo/old", "a").status == 200
    late = stored_snapshot(workspace.store, {"late": b"late"})
    done: list[str] = []

    def raced(*_: object) -> None:
        if not done:
            done.append("late")
            workspace.move(Reference.parse("mo/old"), late, "commit")

    monkeypatch.setattr("zoo.serve.keep.moving._check_same", raced)
    assert move(served, token, "mo/old", "mo/new").status == 200
    assert files(served, token, "mo/new") == ["late"]
    old = served.ask("/api/models/mo/old", token=token)
    assert old.headers["location"] == "/api/models/mo/new"


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("how", ["delete", "move"])
def test_a_commit_makes_no_repository_again(
    served: Served, monkeypatch: pytest.MonkeyPatch, how: str, empty: bool
) -> None:
    """It had begun when the repository was deleted, or moved."""
    token, repo = served.token("mo", "write"), f"mo/{how}-{empty}"
    create(served, token, repo)
    if not empty:
        assert commit(served, token, repo, "a").status == 200
    done: list[Got] = []

    def raced(*args: Any) -> Any:
        if not done:
            again = (delete(served, token, repo) if how == "delete"
                     else move(served, token, repo, f"{repo}-new"))  # fmt: skip
            done.append(again)
        return applied(*args)

    monkeypatch.setattr("zoo.serve.hub.commit.applied", raced)
    refused = commit(served, token, repo, "b")
    assert (refused.status, refused.code, done[0].status) == (409, "Conflict", 200)
    again = served.ask(f"/api/models/{repo}", token=token)
    assert (again.status, again.code) == ((404, "RepoNotFound") if how == "delete" else (307, ""))
    assert commit(served, token, repo, "b").status == again.status


def test_a_repository_is_deleted_unless_a_name_in_it_is_protected(zoo: Workspace) -> None:
    zoo.close()
    with serving(zoo.root) as served:
        admin = served.token("admin", "write")
        refused = delete(served, admin, "team/net")
        assert (refused.status, refused.code) == (403, "Forbidden")
        assert b"team/net:v1 is protected" in refused.body
        served.accounts.protect("shown/*", on=True)
        assert delete(served, admin, "shown/net").code == "Forbidden"
        assert delete(served, served.token("admin", "append"), "secret/net").code == "Forbidden"
        served.accounts.set_level("secret/net", level="private")
        assert delete(served, admin, "secret/net").status == 200
        assert delete(served, admin, "secret/net").code == "RepoNotFound"
        workspace = served.server.hub.workspace
        gone = workspace.store.read_ref(Reference.parse("secret/net"))
        assert gone
        assert (gone.deleted, gone.by) == (True, "admin"), "it is known who did it"
        workspace.restore(Reference.parse("secret/net"))
        ann = served.token("ann")
        assert served.ask("/api/models/secret/net", token=ann).code == "RepoNotFound"


def ask_as(served: Served, who: str, purpose: str = "write") -> Ask:
    """A request of somebody, as a handler gets it."""
    actor, rules = served.accounts.authenticate(served.token(who, purpose))
    assert actor
    ask: Ask = object.__new__(Ask)
    for name, value in {"hub": served.server.hub, "actor": actor, "rules": rules}.items():
        object.__setattr__(ask, name, value)
    return ask


def test_names_that_are_moved_and_deleted_on_the_command_line(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said of a name goes along, and no empty repository stays."""
    accounts, workspace = served.accounts, served.server.hub.workspace
    uma, vic = served.token("uma", "write"), served.token("vic")
    with monkeypatch.context() as patch:
        patch.setattr("zoo.serve.who.repos.now", lambda: "2026-01-01T00:00:00Z")
        for name in ("old", "other", "gone"):
            create(served, uma, f"uma/{name}")
            assert commit(served, uma, f"uma/{name}", "a").status == 200
    accounts.set_level("uma/old", level="private")
    accounts.grant("uma/old", "vic", "reader")
    with pytest.raises(Conflict, match="uma/other, which is there, is internal"):
        keep_rules(workspace, "uma/old", "uma/other:v1")
    keep_rules(workspace, "uma/old", "vic/new")
    rename(workspace, Reference.parse("uma/old"), Reference.parse("vic/new"))
    with earlier(seconds=-60):  # by a clock that is fast
        workspace.delete(Reference.parse("uma/gone"))
    assert served.ask("/api/models/vic/new", token=vic).status == 200
    given = {each.path: (each.level, each.roles) for each in accounts.rules().given()}
    assert given["vic/new"] == given["uma/old"] == ("private", {"vic": "reader"})
    for name in ("old", "gone"):
        assert served.ask(f"/api/models/uma/{name}", token=uma).code == "RepoNotFound"
    assert served.ask("/api/users/uma/overview", token=uma).json["numModels"] == 1
    assert commit(served, uma, "uma/gone", "b").code == "RepoNotFound"
    assert create(served, uma, "uma/gone").status == 200
    assert commit(served, uma, "uma/gone", "b").status == 200
    with pytest.raises(UnknownName):
        keep_rules(workspace, "uma/nothing", "uma/free")
    accounts.set_level("vic/new", level="public")
    keep_rules(workspace, "uma/other", "vic/free")
    assert accounts.rules().access("vic/free").level == "internal"


def test_names_of_files_only_are_listed_wherever_they_came_from(zoo: Workspace) -> None:
    snapshot = stored_snapshot(zoo.store, {"README.md": b"hello\n"})
    with earlier(seconds=-5):  # after all others
        zoo.move(Reference("team", "readme"), snapshot, "pull from lab")
    zoo.close()
    with serving(zoo.root) as served:
        ann, readme = served.token("ann"), "team/readme"
        served.accounts.add("team", team=True)
        for query in ("", "?author=team", "?search=READ"):
            listed = served.ask(f"/api/models{query}", token=ann).json
            assert listed[0]["id"] == readme, "it was changed last"
        for query in ("?author=secret", "?search=net", "?num_parameters=max:1B", "?filter=x"):
            listed = served.ask(f"/api/models{query}", token=ann).json
            assert readme not in [each["id"] for each in listed]
        of_team = "/api/organizations/team/settings/repositories"
        repos = {each["id"]: each for each in served.ask(of_team, token=ann).json}
        assert repos.keys() == {readme, "team/net"}
        assert (repos[readme]["storage"], repos[readme]["visibility"]) == (6, "internal")
        assert sum(each["storagePercent"] for each in repos.values()) == pytest.approx(100)
        assert served.ask("/api/settings/repositories", token=ann).json == []
        served.accounts.set_level(readme, level="private")
        assert [each["id"] for each in served.ask(of_team, token=ann).json] == ["team/net"]
        assert readme not in [each["id"] for each in served.ask("/api/models", token=ann).json]
        served.accounts.set_level("team", level="private")
        for name in ("team", "nobody"):
            path = f"/api/organizations/{name}/settings/repositories"
            assert served.ask(path, token=ann).code == "NotFound"


def test_names_that_a_pattern_stands_for_stay(served: Served) -> None:
    accounts, store = served.accounts, served.server.hub.workspace.store
    for who, role in (("cat", "writer"), ("mia", "maintainer")):
        served.token(who)
        accounts.grant("team", who, role)
    net = Reference.parse("team/net")
    now = store.read_ref(net)

    def refused(
        who: str, ref: Reference, *, onward: bool, there: bool, purpose: str = "write"
    ) -> str:
        try:
            ask_as(served, who, purpose).check_move(ref, now if there else None, onward=onward)
        except Refused as error:
            return error.message
        return ""

    assert refused("cat", net, onward=True, there=True, purpose="append") == ""
    assert refused("cat", net, onward=False, there=True) == ""
    assert "one to write" in refused("cat", net, onward=False, there=True, purpose="append")
    assert "role of writer" in refused("ann", net, onward=True, there=True)
    for pattern in ("team/*", "*/n?t:latest", "*/net"):
        accounts.protect(pattern, on=True)
        assert accounts.patterns() == [pattern]
        assert "team/net is protected" in refused("cat", net, onward=True, there=True)
        assert refused("mia", net, onward=False, there=True) == ""
        assert refused("cat", net, onward=False, there=False) == "", "once it is there"
        accounts.protect(pattern, on=False)
    for pattern in ("tea/*", "*/net:v*", "*/NET"):
        accounts.protect(pattern, on=True)
        assert refused("cat", net, onward=True, there=True) == ""
        accounts.protect(pattern, on=False)
    v1 = Reference.parse("team/net:v1")
    now = store.read_ref(v1)
    assert "is protected" in refused("cat", v1, onward=True, there=True), "by zoo protect"
    with pytest.raises(UnknownName):
        accounts.protect("*/net", on=False)
    for text in ("net", "a/b/c", "a/b:", "", "a /b", "x" * 300, f"a/{'*' * 9}"):
        with pytest.raises(InvalidReference):
            accounts.protect(text, on=True)


def test_a_namespace_has_so_many_patterns(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit looks at those of its own namespace, and at those for many, alone."""
    monkeypatch.setattr("zoo.serve.who.accounts.MOST_PATTERNS", 2)
    accounts = served.accounts
    said = ["*/prod", "many/a", "many/b", "manyx/a", "t?am/*", "[t]eam/*"]
    for pattern in said:
        accounts.protect(pattern, on=True)
    with pytest.raises(InvalidOption, match="2 patterns for many"):
        accounts.protect("many/c", on=True)
    assert accounts.patterns_for("many") == ["*/prod", "[t]eam/*", "many/a", "many/b", "t?am/*"]
    assert accounts.patterns_for("Many") == ["*/prod", "[t]eam/*", "t?am/*"]
    for pattern in said:
        accounts.protect(pattern, on=False)


def test_accounts_of_the_first_version_are_kept(tmp_path: Path) -> None:
    """Who was a reader is one, and a token is to read."""
    from alembic import command
    from alembic.config import Config

    workspace = Workspace.create(tmp_path / "zoo")
    engine = open_engine(sqlite.url_of(workspace.root / FILE))
    with writing(engine) as connection:
        steps = Config()
        steps.set_main_option("script_location", str(opening.SCRIPTS))
        steps.attributes |= {"connection": connection, "version_table": schema.VERSION_TABLE}
        command.upgrade(steps, "0001")
        for line in (
            "INSERT INTO account VALUES ('ann', true, '2026-01-01T00:00:00Z')",
            "INSERT INTO token VALUES "
            "('abc', 'ann', 'x', '', 'read', '2026-01-01T00:00:00Z', NULL, NULL, NULL)",
            "INSERT INTO reader VALUES ('team/net', 'ann')",
        ):
            connection.exec_driver_sql(line)
    accounts = Accounts.of(workspace)
    assert [(each.name, each.admin, each.team) for each in accounts.all()] == [("ann", True, False)]
    assert [(each.purpose, each.only) for each in accounts.tokens()] == [("read", ())]
    assert [(each.path, each.roles) for each in accounts.rules().given()] == [
        ("team/net", {"ann": "reader"})
    ]
    assert "reader" not in inspect(engine).get_table_names()
    engine.dispose()
    accounts.close()
    workspace.close()
