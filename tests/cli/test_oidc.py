"""People and jobs that another service vouches for: the commands, as docs/sso.md shows them."""

from __future__ import annotations

import io
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes.jobs import CLAIMS, github, job, serving_jobs
from fakes.oidc import OidcProvider
from fakes.pages import masked
from fakes.prepared import Run
from fakes.served import Served

from zoo.errors import Forbidden, MissingPackage
from zoo.logins import ServerUrl, forget_token, keep_token
from zoo.serve import sso
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.audit import asked_by, asked_from
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend
from zoo_http.exchange import exchange
from zoo_http.session import Session

PAGE = (Path(__file__).parents[2] / "docs" / "sso.md").read_text()


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    with serving_jobs(tmp_path / "served") as served:
        yield served


@pytest.fixture
def issuer() -> Iterator[OidcProvider]:
    with OidcProvider() as made:
        made.user = {"sub": "repo:lab/flowers:ref:refs/heads/main", **CLAIMS}
        yield made


def test_a_job_logs_in_and_pushes(
    team: Served, issuer: OidcProvider, toy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.accounts.publishers.add("lab", issuer.url, CLAIMS, account="ci")
    login = ("login", team.url, "--oidc")
    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "ZOO_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    toy(*login).refused("nothing says which job this is", "id-token: write")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{job(team, issuer)}\n"))
    assert toy(*login, "--json").json["account"] == "ci, with a token to append"
    monkeypatch.setenv("ZOO_ID_TOKEN", job(team, issuer, ref="refs/heads/x"))
    toy(*login).refused("it gives this job no token", "zoo serve publisher")
    monkeypatch.setenv("ZOO_ID_TOKEN", job(team, issuer))
    toy(*login, "--for", "lab/base").done()
    for name in ("lab/base", "lab/more"):
        toy("tag", "team/base", name).done()
    toy("push", "lab/base", "--to", team.url).done()
    assert toy("push", "lab/more", "--to", team.url).code != 0, "it is for the other one"
    rows = [(row.action, row.who, row.name) for row in team.accounts.audit.rows(limit=99)]
    assert [row for row in rows if row[0].startswith("name")] == [("name made", "ci", "lab/base")]
    for words in (("--oidc", "--browser"), ("--for", "lab/base")):
        assert toy("login", team.url, *words).code == 2


def test_a_job_waits_while_its_issuer_is_away(
    team: Served, issuer: OidcProvider, toy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.accounts.publishers.add("lab", issuer.url, CLAIMS, account="ci")
    monkeypatch.setattr("zoo.serve.sso.issuer.FAILED", 0.0)
    monkeypatch.setenv("ZOO_ID_TOKEN", job(team, issuer))
    pauses: list[float] = []

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            issuer.answers.clear()

    monkeypatch.setattr("zoo_http.exchange.sleep", wait)
    issuer.answers["/keys"] = 500
    toy("login", team.url, "--oidc").done()
    assert pauses == [2.0, 4.0]
    issuer.answers["/.well-known/openid-configuration"] = 500
    team.server.hub.issuers._known.clear()
    toy("login", team.url, "--oidc").refused("it gives this job no token")
    assert pauses == [2.0, 4.0, 2.0, 4.0, 8.0, 0.0]


@pytest.mark.long
def test_a_push_that_takes_longer_than_its_token(
    team: Served, issuer: OidcProvider, toy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the job may say again which it is, it goes on; elsewhere it is told what helps."""
    team.accounts.publishers.add("lab", issuer.url, CLAIMS, account="ci")
    monkeypatch.setattr("zoo.serve.hub.exchange.LASTS", 2.0)
    put, puts = HttpBackend._put, list[str]()

    def put_slowly(self: HttpBackend, key: str, *sent: Any) -> bool:
        puts.append(key.partition("/")[0])
        if puts in (["objects"], [*puts[:-1], "refs"]):
            time.sleep(2.1)
        return put(self, key, *sent)

    with github(issuer) as (environment, asked), monkeypatch.context() as patch:
        patch.setattr(HttpBackend, "_put", put_slowly)
        for name, value in environment.items():
            patch.setenv(name, value)
        toy("login", team.url, "--oidc", "--for", "lab/base").done()
        toy("tag", "team/base", "lab/base").done()
        toy("push", "lab/base", "--to", team.url).done()
        assert len(asked) == 3, f"it logged in, and got two others: {puts}"
        tokens = [each for each in team.accounts.tokens("ci") if each.used]
        assert [each.only for each in tokens] == [("lab/base",)] * 3
    monkeypatch.setenv("ZOO_ID_TOKEN", job(team, issuer))
    for name in ("lab/next", "lab/last"):
        toy("tag", "team/base", name).done()
    toy("login", team.url, "--oidc", "--for", "lab/next").done()
    time.sleep(2.1)
    said = toy("push", "lab/next", "--to", team.url).refused("the token of this job has expired")
    assert "it gives this job no token" in said.err, "what said so was shown already"
    assert f"zoo login {team.url} --oidc < FILE" in said.err
    monkeypatch.delenv("ZOO_ID_TOKEN")
    toy("push", "lab/next", "--to", team.url).refused("the token of this job has expired")
    monkeypatch.setenv("ZOO_ID_TOKEN", job(team, issuer))
    toy("push", "lab/next", "--to", team.url).done()
    time.sleep(2.1)
    monkeypatch.setenv("ZOO_ID_TOKEN", job(team, issuer))
    assert toy("push", "lab/last", "--to", team.url).code != 0, "another one is for lab/next, too"
    assert {each.only for each in team.accounts.tokens("ci")} == {("lab/base",), ("lab/next",)}


def test_a_job_goes_on_as_nobody_else(
    team: Served, issuer: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever logs in on the same machine meanwhile is not who sends what the job does."""
    team.accounts.publishers.add("lab", issuer.url, CLAIMS, account="ci")
    monkeypatch.setattr("zoo.serve.hub.exchange.LASTS", 1.0)
    url, path = ServerUrl.parse(team.url), "/list/refs/"
    own = team.token("admin", "write")
    changes: dict[str, Callable[[], None]] = {
        "a login of somebody": lambda: keep_token(url, own),
        "another job's": lambda: keep_token(url, own, job="lab/other"),
        "none": lambda: forget_token(url),
        "the same job, again": lambda: keep_token(url, own, job="lab/base"),
    }
    began = {}
    for name in changes:
        token = exchange(url, job(team, issuer), "lab/base")
        keep_token(url, token, job="lab/base")
        began[name] = Session.of(team.url)
    assert began["none"].ask("GET", path) == 200
    time.sleep(1.1)
    for name, change in changes.items():
        keep_token(url, "expired", job="lab/base")
        change()
        if name == "the same job, again":
            assert began[name].ask("GET", path) == 200
            continue
        with pytest.raises(Forbidden, match="the token of this job has expired") as raised:
            began[name].ask("GET", path)
        assert "no longer its own" in raised.value.reason, name


def shown(line: str) -> str:
    """What the page shows below a line that is typed."""
    joined = PAGE.replace(" \\\n", " ")
    text = re.split(rf"^\$ {re.escape(line)}\n", re.sub(" +", " ", joined), flags=re.MULTILINE)[1]
    return re.split(r"^(?:\$ |```)", text, flags=re.MULTILINE)[0]


def plain(text: str) -> str:
    return masked(re.sub(r"publisher-[0-9a-f]{8}", "publisher-ID", text))


def test_the_commands_are_as_the_page_says(toy: Run) -> None:
    def typed(line: str) -> str:
        said = toy(*shlex.split(line)[1:])
        assert said.code == 0, said
        return plain(str(said.out + said.err))

    secret = Path("secret")
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    lines = re.findall(r"^\$ (zoo serve .*)$", re.sub(r" \\\n +", " ", PAGE), re.MULTILINE)
    add = lines[0]
    toy(*shlex.split(add)[1:]).refused("everybody can read the secret", "chmod o=")
    secret.chmod(0o600)
    for account in ("ann", "ci"):
        toy("serve", "user", "add", account).done()
    for team in ("lab", "vision"):
        toy("serve", "team", "add", team).done()
    for line in lines:
        if "rm publisher-" in line:
            (made,) = toy("serve", "publisher", "--json").json
            line = line.replace("publisher-3f9a1c22", made["id"])
            assert typed(line).startswith("publisher-ID is removed")
        else:
            assert typed(line) == plain(shown(line)), line
    assert "there is a provider" in toy(*shlex.split(add)[1:]).err
    assert "s3cret" not in toy("serve", "sso", "--json").out
    assert "lab-vision  vision  writer  id" in toy("serve", "sso").out
    toy(
        "serve",
        "sso",
        "add",
        "x",
        "--issuer",
        "https://x.org",
        "--client-id",
        "x",
        "--team-of",
        "a=nobody",
        "--groups-claim",
        "groups",
    ).refused("unknown team", "zoo serve team add nobody")
    toy("serve", "sso", "unlink", "lab", "248289761001").done()
    for name in ("lab", "id"):
        toy("serve", "sso", "rm", name).done()
    toy("serve", "sso", "rm", "lab").refused("unknown provider")
    assert "by tokens alone" in toy("serve", "sso").err
    assert "no jobs get tokens" in toy("serve", "publisher").err
    assert toy("serve", "publisher", "add", "lab/x", "--issuer", "https://x.org", "--claim", "x",
               "--as", "ci").code == 2  # fmt: skip


def test_who_was_linked_by_a_token_is_told_when_it_is_revoked(toy: Run) -> None:
    """Whatever they are called: they stay, and whoever revokes it may have lost it to them."""
    toy("serve", "user", "add", "ann").done()
    toy("serve", "sso", "add", "lab", "--issuer", "https://x.org", "--client-id", "x").done()
    (token,) = toy("serve", "token", "--json").json
    subjects = ("a b; x", "zoo_1a2B3c4D_aaaaaaaaaa", "gone")
    with closing(Workspace(Path.cwd())) as workspace, closing(Accounts.of(workspace)) as accounts:
        with asked_from("192.0.2.1", "request"):
            asked_by("ann", token["id"])
            for subject in subjects:
                accounts.providers.link_own("https://x.org", subject, "ann", subject, 60.0)
        accounts.providers.link("https://x.org", "by an admin", "ann")
        accounts.providers.unlink("https://x.org", "gone")
    said = toy("serve", "token", "revoke", token["id"]).done().err
    assert "by it, a b; x at https://x.org was linked to ann, and stays so" in said
    assert "zoo serve sso unlink NAME 'a b; x'" in said
    again = toy("serve", "token", "revoke", token["id"], "--json").json
    assert [each["subject"] for each in again["linked"]] == [*subjects[:2]]


def test_what_is_not_installed_is_named(toy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sso, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match="joserfc"):
        sso.check_sso()
    toy("serve", "sso", "add", "lab", "--issuer", "https://x.org", "--client-id", "x").refused(
        "joserfc", "pip install 'zoo-registry[sso]'"
    )
    assert "joserfc" not in toy("serve", "sso").err


@pytest.mark.long
def test_the_server_imports_it_only_where_it_is_used() -> None:
    import subprocess

    code = "import sys, zoo.serve.run, zoo.serve.app; print('joserfc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
