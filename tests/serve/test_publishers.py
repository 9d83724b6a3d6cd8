"""Jobs that get a token for what their issuer says of them, and those that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes.jobs import CLAIMS, github, job, serving_jobs
from fakes.oidc import OidcProvider, by_public_key, signed
from fakes.served import Got, Served, commit, serving

from zoo.errors import InvalidOption, InvalidReference, UnknownName
from zoo.serve.hub.exchange import GRANT, KINDS
from zoo.serve.who import publishers as module
from zoo.workspace import Workspace

JOB = {"sub": "repo:lab/flowers:ref:refs/heads/main", "repository": "lab/flowers",
       "repository_id": "42", "ref": "refs/heads/main", "run_id": "1001"}  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Served]:
    with serving_jobs(tmp_path / "zoo") as served:
        yield served


@pytest.fixture
def issuer() -> Iterator[OidcProvider]:
    with OidcProvider() as made:
        made.user = dict(JOB)
        yield made


def exchange(
    served: Served, token: str, resource: str = "", *, form: bool = False, **more: str
) -> Got:
    sent = {"grant_type": GRANT, "subject_token_type": KINDS[0], "subject_token": token}
    sent |= ({"resource": resource} if resource else {}) | more
    body = urlencode(sent) if form else json.dumps(sent)
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    return served.ask("/oauth/token", "POST", body=body.encode(), Content_Type=kind)


def given(served: Served, token: str, resource: str = "") -> str:
    got = exchange(served, token, resource)
    assert got.status == 200, got
    return str(got.json["access_token"])


def test_a_job_gets_a_token_to_append_for_a_while(zoo: Served, issuer: OidcProvider) -> None:
    made = zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    got = exchange(zoo, job(zoo, issuer))
    assert got.headers["cache-control"] == "no-store"
    token = got.json["access_token"]
    assert got.json == {
        "access_token": token, "token_type": "bearer", "expires_in": 900, "scope": "append",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }  # fmt: skip
    (kept,) = zoo.accounts.tokens("ci")
    assert (kept.purpose, kept.only, kept.ends_with) == ("append", ("lab/flowers",), made.id)
    body = json.dumps({"organization": "lab", "name": "flowers"}).encode()
    assert zoo.ask("/api/repos/create", "POST", token=token, body=body).status == 200
    assert commit(zoo.url, "lab/flowers", "one", token).status == 200
    other = json.dumps({"organization": "lab", "name": "other"}).encode()
    assert zoo.ask("/api/repos/create", "POST", token=token, body=other).status == 403
    assert zoo.ask("/api/repos/delete", "DELETE", token=token, body=body).status == 403
    (row,) = [r for r in zoo.accounts.audit.rows(limit=99) if r.action == "token exchanged"]
    assert (row.who, row.name, row.result) == ("ci", "lab/flowers", "done")
    assert row.detail.startswith(
        f"{made.id}: ref=refs/heads/main, repository=lab/flowers, sub=repo:lab/flowers:ref:"
    )
    assert "run_id=1001" in row.detail
    assert kept.expires
    assert kept.expires <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 900))


def test_what_is_not_the_job_that_was_meant(zoo: Served, issuer: OidcProvider) -> None:
    """Each is refused by the same words, whatever is wrong; the audit log has the reason."""
    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    now, said = int(time.time()), set()
    with OidcProvider() as stranger:
        stranger.user, stranger.key = dict(JOB), "other"
        for token in (
            job(zoo, issuer, repository="evil/flowers"), job(zoo, issuer, ref="refs/heads/x"),
            job(zoo, issuer, repository="LAB/flowers"),
            job(zoo, issuer, repository=["lab/flowers"]),
            job(zoo, issuer, repository=None), job(zoo, issuer, ref="refs/heads/main\n"),
            job(zoo, issuer, aud="https://hub.elsewhere.org"), job(zoo, issuer, aud=f"{zoo.url}/"),
            job(zoo, issuer, aud=[zoo.url, "https://elsewhere.org"]), job(zoo, issuer, aud=None),
            job(zoo, issuer, exp=now - 70), job(zoo, issuer, nbf=now + 90),
            job(zoo, issuer, exp=None),
            job(zoo, stranger), job(zoo, issuer, iss=stranger.url),
            signed(stranger.told(zoo.url, iss=issuer.url), kid="other"),
            signed(issuer.told(zoo.url), alg="none"), by_public_key(issuer.told(zoo.url)),
            "x", "a.b.c", "",
        ):  # fmt: skip
            got = exchange(zoo, token)
            assert (got.status, got.json["error"]) == (400, "invalid_grant"), token
            said.add(got.json["error_description"])
    assert len(said) == 1
    assert zoo.accounts.tokens() == []
    refused = [r.detail for r in zoo.accounts.audit.rows(limit=99) if r.action == "refused"]
    assert refused
    assert stranger.asked == {}, "nobody is asked whom no admin has named"
    assert exchange(zoo, job(zoo, issuer)).status == 200


def test_a_token_is_exchanged_once(zoo: Served, issuer: OidcProvider) -> None:
    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    shown = job(zoo, issuer)
    assert exchange(zoo, shown).status == 200
    for again in (shown, f"{shown}=", f"{shown}A"):
        assert exchange(zoo, again).json["error"] == "invalid_grant"
    assert len(zoo.accounts.tokens("ci")) == 1
    assert exchange(zoo, job(zoo, issuer), form=True).status == 200, "a form does, too"


def test_it_is_remembered_for_as_long_as_it_could_be_shown(
    zoo: Served, issuer: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Later:
            return super().now(tz) + timedelta(seconds=250)

    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    shown = job(zoo, issuer, exp=int(time.time()) + 300)
    assert exchange(zoo, shown).status == 200
    monkeypatch.setattr("zoo.serve.who.spent.datetime", Later)
    assert exchange(zoo, job(zoo, issuer)).status == 200, "which forgets what has expired"
    assert exchange(zoo, shown).json["error"] == "invalid_grant"


def test_of_many_that_show_one_token_one_gets_one(zoo: Served, issuer: OidcProvider) -> None:
    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    shown = job(zoo, issuer)
    assert exchange(zoo, job(zoo, issuer)).status == 200, "its keys are known"
    with ThreadPoolExecutor(8) as pool:
        found = [got.status for got in pool.map(lambda _: exchange(zoo, shown), range(16))]
    assert sorted(found) == [200, *[400] * 15]


def test_a_job_that_acts_as_an_admin_is_no_admin(zoo: Served, issuer: OidcProvider) -> None:
    zoo.accounts.add("root", admin=True)
    zoo.accounts.set_level("secret", level="private")
    admin = zoo.token("root", "write")
    made = json.dumps({"organization": "secret", "name": "net"}).encode()
    assert zoo.ask("/api/repos/create", "POST", token=admin, body=made).status == 200
    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="root")
    token = given(zoo, job(zoo, issuer))
    assert zoo.ask("/api/models/secret/net", token=admin).status == 200
    assert zoo.ask("/api/models/secret/net", token=token).code == "RepoNotFound"
    for path in ("/zoo/v1/audit", "/metrics", "/-/people.json"):
        assert zoo.ask(path, token=token).code == "Forbidden", path


def test_for_which_repository(zoo: Served, issuer: OidcProvider) -> None:
    add = zoo.accounts.publishers.add
    add("lab/flowers-*", issuer.url, CLAIMS, account="ci")
    for resource, fine in (
        ("lab/flowers-1", True), ("lab/flowers", False), ("lab", False), ("", False),
        ("lab/flowers-1:v1", False), ("evil/flowers-1", False), ("lab/flowers-*", False),
        ("../flowers-1", False), ("lab/flowers-1/x", False), ("lab/x", False),
    ):  # fmt: skip
        got = exchange(zoo, job(zoo, issuer), resource)
        assert (got.status == 200) == fine, (resource, got)
        assert fine or got.json["error"] == "invalid_target"
    assert [each.only for each in zoo.accounts.tokens("ci")] == [("lab/flowers-1",)]
    add("lab/x", issuer.url, CLAIMS, account="ci")
    assert exchange(zoo, job(zoo, issuer)).json["error"] == "invalid_target", "which of the two"
    assert exchange(zoo, job(zoo, issuer), "lab/x").status == 200
    zoo.accounts.add("bo")
    add("bo", issuer.url, {"sub": "deploy"})
    one = given(zoo, job(zoo, issuer, sub="deploy", repository="bo/net"))
    assert zoo.ask("/api/whoami-v2", token=one).json["name"] == "bo"
    for resource in ("bo", "bo/net"):
        assert (
            exchange(zoo, job(zoo, issuer, sub="deploy", repository="bo/net"), resource).status
            == 200
        )


def test_a_publisher_that_is_removed_ends_its_tokens(zoo: Served, issuer: OidcProvider) -> None:
    publishers = zoo.accounts.publishers
    one = publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    token = given(zoo, job(zoo, issuer))
    assert zoo.ask("/api/whoami-v2", token=token).status == 200
    publishers.remove(one.id)
    assert zoo.ask("/api/whoami-v2", token=token).code == "InvalidToken"
    assert exchange(zoo, job(zoo, issuer)).json["error"] == "invalid_grant"
    publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    token = given(zoo, job(zoo, issuer))
    zoo.accounts.remove("ci")
    assert zoo.ask("/api/whoami-v2", token=token).code == "InvalidToken"
    assert (publishers.all(), exchange(zoo, job(zoo, issuer)).status) == ([], 400)
    with pytest.raises(UnknownName):
        publishers.remove(one.id)


def test_old_tokens_of_jobs_are_forgotten(
    zoo: Served, issuer: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    given(zoo, job(zoo, issuer))
    (old,) = zoo.accounts.tokens("ci")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(time.time() + 2 * 86400, tz)

    monkeypatch.setattr(module, "datetime", Later)
    given(zoo, job(zoo, issuer))
    assert old.id not in [each.id for each in zoo.accounts.tokens("ci")]


def test_an_issuer_that_is_away(zoo: Served, issuer: OidcProvider) -> None:
    zoo.accounts.publishers.add("lab/flowers", issuer.url, CLAIMS, account="ci")
    issuer.answers["/keys"] = 500
    got = exchange(zoo, job(zoo, issuer))
    assert (got.status, got.code, got.headers["retry-after"]) == (503, "Busy", "2")


def test_behind_a_proxy_a_token_is_for_its_url_alone(tmp_path: Path, issuer: OidcProvider) -> None:
    """However it is asked."""
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo", "https://zoo.lab.org/models") as served:
        served.accounts.add("ci")
        served.accounts.publishers.add("ci/net", issuer.url, CLAIMS)
        public = signed(issuer.told("https://zoo.lab.org/models"))
        assert exchange(served, job(served, issuer)).status == 400
        assert exchange(served, public).status == 200


def test_what_is_asked_wrongly(zoo: Served, issuer: OidcProvider) -> None:
    assert exchange(zoo, "x", subject_token_type="x").json["error"] == "invalid_request"
    assert exchange(zoo, "x", grant_type="password").json["error"] == "unsupported_grant_type"
    assert exchange(zoo, "x" * 70_000).code == "BadRequest"
    assert exchange(zoo, "x" * 70_000, form=True).code == "BadRequest"
    got = zoo.ask("/oauth/token", "POST", body=b"[1]", Content_Type="application/json")
    assert got.code == "BadRequest"


def test_what_cannot_be_a_publisher(zoo: Served) -> None:
    add, github = zoo.accounts.publishers.add, "https://token.actions.githubusercontent.com"
    for path in ("../x", "*/x", "lab/", "lab/a:v1", "lab/**", "lab/a/b", "", "*"):
        with pytest.raises(InvalidReference):
            add(path, github, CLAIMS, account="ci")
    for claims in (
        {}, {"aud": "x"}, {"": "x"}, {"ref": ""}, {"ref": "refs/heads/main"},
        {"repository_owner": "lab"}, {f"c{n}": "x" for n in range(30)}, {"sub": "x" * 999},
        {"job_workflow_ref": "lab/flowers/.github/workflows/a.yml@refs/heads/main"},
    ):  # fmt: skip
        with pytest.raises(InvalidOption):
            add("lab/x", github, claims, account="ci")
    with pytest.raises(InvalidOption, match="no issuer"):
        add("lab/x", f"{github}.", {"ref": "refs/heads/main"}, account="ci")
    with pytest.raises(InvalidOption, match="is a team"):
        add("lab/x", github, CLAIMS)
    with pytest.raises(UnknownName, match="nobody"):
        add("nobody/x", github, CLAIMS)
    with pytest.raises(InvalidOption, match="no issuer"):
        add("ci/x", "http://ci.lab.org", CLAIMS)
    assert module.text_of(True) == "true"
    assert module.text_of(7) == "7"
    assert module.text_of(["x"]) is None


def test_a_job_of_github_logs_in(
    zoo: Served, issuer: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `zoo login`, and by the hub's own client, as they are; GitHub's service is a fake."""
    add = zoo.accounts.publishers.add
    add("lab/*", issuer.url, {"repository_id": "42"}, account="ci")
    with github(issuer) as (job_has, asked):
        environment = {
            **os.environ, **job_has,
            "XDG_CONFIG_HOME": str(tmp_path / "own"), "HF_ENDPOINT": zoo.url,
            "HF_HOME": str(tmp_path / "hf"), "HF_OIDC_RESOURCE": "lab/new", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        environment.pop("HF_TOKEN", None)
        words = [sys.executable, "-m", "zoo_cli", "login", zoo.url, "--oidc", "--for", "lab/new"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert "knows you as ci, with a token to append" in done.stderr
        assert asked[0][1] == "Bearer job"
        pytest.importorskip("huggingface_hub._oidc", reason="it knows no jobs")
        code = "from huggingface_hub import HfApi; print(HfApi().create_repo('lab/new'))"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{zoo.url}/lab/new"
    assert [each.only for each in zoo.accounts.tokens("ci")] == [("lab/new",)] * 2
