"""Logins by a device: a program shows a code, somebody who is signed in confirms it, and it has a
token that may do no more than theirs.
"""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes.sampled import every
from fakes.served import Got, Served, serving
from fakes.signed import Signed, sign_in
from lxml import html

from zoo.errors import Conflict, Unavailable, UnknownName
from zoo.logins import ServerUrl
from zoo.registry.engine import writing
from zoo.serve.http.call import client_of
from zoo.serve.hub import device as routes
from zoo.serve.who import devices
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.devices import Entry, TooManyTries, spend
from zoo.serve.who.open import FILE
from zoo.workspace import Workspace
from zoo_http import device as login

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
AGENT = "hf_hub/2.4.0; <b>python</b>/3.11"
PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()


def as_told(served: Served, code: str, text: str) -> str:
    """What a program says, with the names that docs/serve.md has."""
    (shown,) = {found for found in re.findall("[A-Z]{4}-[A-Z]{4}", PAGE) if found[0] == "R"}
    return text.replace(served.url, "https://zoo.lab.org").replace(code, shown)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program need not wait for long."""
    for module in (devices, routes):
        monkeypatch.setattr(module, "PAUSE", 1)
    monkeypatch.setattr(devices, "SLACK_MS", 1000)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as served:
        yield served


def post(served: Served, path: str, **fields: str) -> Got:
    body = urlencode(fields).encode()
    return served.ask(path, "POST", body=body, User_Agent=AGENT)


def begin(served: Served, **fields: str) -> dict[str, Any]:
    got = post(served, "/oauth/device", client_id="x", **fields)
    assert (got.status, got.headers["cache-control"]) == (200, "no-store")
    told: dict[str, Any] = got.json
    return told


def poll(served: Served, begun: dict[str, Any]) -> dict[str, Any]:
    asked = {"grant_type": GRANT, "device_code": begun["device_code"], "client_id": "x"}
    got = post(served, "/oauth/token", **asked)
    assert got.status == (200 if "access_token" in got.json else 400)
    assert got.headers["cache-control"] == "no-store"
    told: dict[str, Any] = got.json
    return told


def confirm(who: Signed, begun: dict[str, Any], purpose: str = "write", name: str = "hf") -> Got:
    sent = {"user_code": begun["user_code"], "purpose": purpose, "name": name}
    return who.send("/-/device", do="let-in", **sent)


def test_a_program_is_let_in_by_a_page(team: Served) -> None:
    who = sign_in(team.url, team.token("ann", "write"))
    begun = begin(team)
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", begun["user_code"])
    assert begun["verification_uri"] == f"{team.url}/-/device"
    assert begun["verification_uri_complete"].startswith(begun["verification_uri"])
    assert (begun["expires_in"], begun["interval"]) == (900, 1)
    assert poll(team, begun) == {"error": "authorization_pending"}
    path = begun["verification_uri_complete"].removeprefix(team.url)
    page = who.page(path)
    shown = " ".join(page.xpath("string(//main)").split())
    for text in ("act as ann", begun["user_code"], AGENT, "127.0.0.1"):
        assert text in shown
    assert page.xpath("//select[@name='purpose']/option/@value") == ["read", "append", "write"]
    assert page.xpath("//select[@name='purpose']/option[@selected]/@value") == ["read"]
    twin = who.get(path.replace("device?", "device.json?")).json
    assert (twin["device"]["client"], twin["wants"]) == (AGENT, "read")
    got = confirm(who, begun)
    assert (got.status, got.headers["location"]) == (303, "/-/device?done=let-in")
    told = poll(team, begun)
    assert (told["token_type"], told["scope"], told["expires_in"]) == ("bearer", "write", 7776000)
    assert team.ask("/api/whoami-v2", token=told["access_token"]).json["name"] == "ann"
    assert poll(team, begun) == {"error": "invalid_grant"}, "it is given once"
    kept = {each.id: each for each in team.accounts.tokens("ann")}[told["access_token"][4:12]]
    assert (kept.name, kept.purpose, kept.ends_with) == ("hf", "write", None)
    rows = team.accounts.audit.newest(limit=3)
    assert [(row.action, row.who) for row in rows] == [
        ("device let in", "ann"), ("token made", "ann"), ("token used", ""),
    ]  # fmt: skip
    assert "at 127.0.0.1 to write" in rows[0].detail


def test_who_is_not_signed_in_is_led_to_that(team: Served) -> None:
    begun = begin(team)
    path = begun["verification_uri_complete"].removeprefix(team.url)
    got = team.ask(path, Accept="text/html")
    assert got.status == 401
    (link,) = html.fromstring(got.body.decode()).xpath("//main//a[.='Sign in']/@href")
    assert link == "/sign-in?" + urlencode({"next": path})
    assert AGENT.encode() not in got.body


def test_what_is_not_let_in_is_told_so(team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    who = sign_in(team.url, team.token("ann", "write"))
    begun = begin(team)
    who.did("/-/device", do="refuse", user_code=begun["user_code"].lower().replace("-", " "))
    assert confirm(who, begun).status == 400, "it is settled"
    assert poll(team, begun) == {"error": "access_denied"}
    assert team.accounts.audit.newest(limit=1)[0].action == "device refused"
    late = begin(team)
    with monkeypatch.context() as patch:
        patch.setattr(devices, "datetime", _later(timedelta(minutes=15, seconds=1)))
        assert poll(team, late) == {"error": "expired_token"}
        assert confirm(who, late).status == 400
        begin(team)
        assert poll(team, late) == {"error": "expired_token"}
    with monkeypatch.context() as patch:
        patch.setattr(devices, "datetime", _later(timedelta(minutes=31)))
        begin(team)
    assert poll(team, late) == {"error": "invalid_grant"}, "it is forgotten"
    assert poll(team, {"device_code": "x"}) == {"error": "invalid_grant"}
    got = post(team, "/oauth/token", grant_type="password", username="ann")
    assert (got.status, got.json["error"]) == (400, "unsupported_grant_type")
    asked = team.ask("/oauth/token", "POST", body=b'{"grant_type": "token-exchange"}')
    assert asked.json["error"] == "unsupported_grant_type"


def _later(by: timedelta) -> type[datetime]:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + by

    return Later


def test_who_asks_too_often_is_to_slow_down(team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "SLACK_MS", 100)
    clock = [1_000_000_000_000_000_000]
    monkeypatch.setattr(devices, "time_ns", lambda: clock[0])
    begun, told = begin(team), []
    for seconds in (0, 0.5, 6, 6, 3, 6, 16):  # 1 s at first, 5 more for each time
        clock[0] += int(seconds * 10**9)
        told.append(poll(team, begun)["error"])
    slow, pending = "slow_down", "authorization_pending"
    assert told == [pending, slow, pending, pending, slow, slow, pending]
    told = [poll(team, begun)["error"] for _ in range(20)]
    assert told == [slow] * 20
    clock[0] += 61 * 10**9
    assert poll(team, begun)["error"] == pending, "no pause is longer than a minute"


def test_it_gets_no_more_than_who_lets_it_in_has(team: Served) -> None:
    for purpose, only in (("read", ()), ("append", ("lab",)), ("write", ("lab", "team/x"))):
        token = team.token("ann", purpose, only=only, lasts=3600)
        who, begun = sign_in(team.url, token), begin(team, scope="openid write")
        path = f"/-/device?user_code={begun['user_code']}"
        page = who.page(path)
        assert page.xpath("//select[@name='purpose']/option/@value")[-1] == purpose
        assert ("asks for more" in page.xpath("string(//main)")) == (purpose != "write")
        if purpose != "write":
            assert "is for one of" in who.error("/-/device", do="let-in", purpose="write",
                                                user_code=begun["user_code"])  # fmt: skip
        assert confirm(who, begun, purpose).status == 303
        told = poll(team, begun)
        assert told["scope"] == purpose
        assert 3500 < told["expires_in"] <= 3600, "it ends no later"
        kept = {each.id: each for each in team.accounts.tokens()}[told["access_token"][4:12]]
        assert (kept.purpose, kept.only, kept.ends_with) == (purpose, only, token[4:12])
        again = begin(team)
        assert confirm(sign_in(team.url, told["access_token"]), again, "read").status == 303
        more = poll(team, again)["access_token"]
        late = begin(team)
        assert confirm(who, late, "read").status == 303
        team.accounts.revoke(token[4:12])
        for each in (told["access_token"], more):
            assert team.ask("/api/whoami-v2", token=each).code == "InvalidToken", "and with it"
        assert poll(team, late) == {"error": "access_denied"}, "who let it in may not any more"


def test_whoever_lets_it_in_it_may_no_more_than_their_token(team: Served) -> None:
    token, begun = team.token("ann", "read"), begin(team)
    letters = begun["user_code"].replace("-", "")
    code = team.server.hub.seals.secret(f"code of a device {letters}")
    entry = Entry(account="ann", name="x", purpose="write", token=token[4:12])
    assert team.accounts.devices.let_in(code, entry)
    assert poll(team, begun)["scope"] == "read"


def test_codes_cannot_be_guessed(team: Served) -> None:
    """Wrong ones count for a token, by whichever page and process it gives them."""
    who, other = (sign_in(team.url, team.token(name, "write")) for name in ("ann", "ben"))
    (token,) = (each.id for each in team.accounts.tokens("ann"))
    begun = begin(team)
    for wrong in ("BBBB-BBBB", "x", "BBBB-BBBC"):
        page = who.page(f"/-/device?user_code={wrong}")
        assert "No program waits" in page.xpath("string(//*[@role='alert'])")
    who.error("/-/device", do="let-in", user_code="BBBB-BBBD", purpose="read")
    with closing(Accounts.of(Workspace(team.root))) as another:
        assert another.devices.find("wrong", token) is None
        with pytest.raises(TooManyTries):
            another.devices.find("wrong", token)
    right = f"/-/device?user_code={begun['user_code']}"
    got = who.get(right)
    assert (got.status, got.code) == (429, "TooMany")
    assert AGENT.encode() not in got.body
    assert confirm(who, begun).code == "TooMany"
    row = team.accounts.audit.newest(limit=1)[0]
    assert (row.action, row.result, row.who) == ("refused", "TooMany", "ann")
    assert "act as ben" in other.page(right).xpath("string(//main)")
    again = sign_in(team.url, team.token("ann", "write"))
    assert again.get(right).status == 200, "those of one token keep out no other"
    for code in ("", "%20", "%C3%9F" * 20, "%00"):
        assert other.get(f"/-/device?user_code={code}").status == 200


def test_what_a_stranger_sends_counts_for_nobody(team: Served) -> None:
    """Neither a link on another site, nor a code that was right; each is looked up when asked."""
    who, begun = sign_in(team.url, team.token("ann", "write")), begin(team)
    path = f"/-/device?user_code={begun['user_code']}"
    for _ in range(2):
        for site in ("cross-site", "same-site"):
            for code in ("BBBB-BBBB", begun["user_code"]):
                got = team.ask(
                    f"/-/device?user_code={code}", Accept="text/html", Cookie=who.cookie,
                    Sec_Fetch_Site=site,
                )  # fmt: skip
                assert got.status == 200
                assert AGENT.encode() not in got.body
                assert f'value="{code}"'.encode() in got.body
    assert "act as ann" in who.page(path).xpath("string(//main)")
    assert confirm(who, begun).status == 303
    poll(team, begun)
    for _ in range(7):
        assert who.get(path).status == 200, "it was right"


def test_a_name_that_no_token_has_lets_nobody_in(team: Served) -> None:
    who, begun = sign_in(team.url, team.token("ann", "write")), begin(team)
    sent = {"do": "let-in", "user_code": begun["user_code"], "purpose": "read"}
    assert "100 letters" in who.error("/-/device", **sent, name="x" * 101)
    assert poll(team, begun) == {"error": "authorization_pending"}
    who.did("/-/device", **sent, name="x" * 100)
    assert "access_token" in poll(team, begun)


def test_a_code_outlasts_a_failure(team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    who, begun = sign_in(team.url, team.token("ann", "write")), begin(team)
    assert confirm(who, begun).status == 303

    def fail(*_: object, **__: object) -> None:
        raise Conflict("the database is in use")

    with monkeypatch.context() as patch:
        patch.setattr("zoo.serve.who.accounts.record", fail)  # at the end of the transaction
        asked = {"grant_type": GRANT, "device_code": begun["device_code"]}
        assert post(team, "/oauth/token", **asked).status == 503
    assert "access_token" in poll(team, begun)


def test_who_lets_it_in_may_have_ended_meanwhile(
    team: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even after that was looked at."""
    token, begun = team.token("ann", "write"), begin(team)
    assert confirm(sign_in(team.url, token), begun).status == 303
    real = Accounts.new_token

    def late(accounts: Accounts, *args: Any, **options: Any) -> Any:
        accounts.revoke(token[4:12])
        return real(accounts, *args, **options)

    monkeypatch.setattr(Accounts, "new_token", late)
    assert poll(team, begun) == {"error": "access_denied"}


def test_what_a_token_that_expires_lets_in_expires_with_it(team: Served) -> None:
    token, begun = team.token("ann", "write", lasts=3600), begin(team)
    assert confirm(sign_in(team.url, token), begun).status == 303
    told = poll(team, begun)
    assert 3590 < told["expires_in"] <= 3600
    kept = {each.id: each for each in team.accounts.tokens("ann")}
    made, by = kept[told["access_token"][4:12]], kept[token[4:12]]
    assert (made.expires, made.ends_with) == (by.expires, None)


def test_to_write_is_never_chosen_already(team: Served) -> None:
    for account, wants, chosen in (
        ("ann", "write", "append"), ("ann", "read", "read"), ("admin", "append", "append"),
    ):  # fmt: skip
        who, begun = sign_in(team.url, team.token(account, "write")), begin(team, scope=wants)
        page = who.page(f"/-/device?user_code={begun['user_code']}")
        assert page.xpath("//select[@name='purpose']/option[@selected]/@value") == [chosen]
        assert ("You are an admin" in page.xpath("string(//main)")) == (account == "admin")


def test_a_code_that_is_none_waits_for_no_writer(team: Served) -> None:
    with writing(team.accounts._engine):
        began = time.monotonic()
        assert poll(team, {"device_code": "x"}) == {"error": "invalid_grant"}
        assert time.monotonic() - began < 3


def test_no_address_fills_the_table(team: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MOST_OF_ADDRESS", 2)
    begin(team)
    begin(team)
    got = post(team, "/oauth/device")
    assert (got.status, got.code, got.headers["retry-after"]) == (429, "TooMany", "900")


def test_a_network_that_fills_the_table_loses_its_oldest(
    team: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "MOST", 4)
    monkeypatch.setattr(devices, "MOST_OF_ADDRESS", 3)
    began = datetime(2026, 11, 29, tzinfo=UTC)
    clock = {"now": began}

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock["now"]

    monkeypatch.setattr(devices, "datetime", Clock)

    def wait(code: str, address: str) -> str | None:
        clock["now"] += timedelta(seconds=1)
        return team.accounts.devices.begin(code, client="x", address=address, wants="")

    many = [wait(f"m{n}", f"2001:db8::{n}") for n in range(4)]
    assert all(many[:3])
    assert many[3] is None, "a /64 is one network"
    assert all(wait(code, address) for code, address in (("o", "1.2.3.4"), ("p", "2001:db8:1::1")))
    found = [team.accounts.devices.find(code, "ann") is not None for code in ("m0", "m1", "o", "p")]
    assert found == [False, True, True, True]


@pytest.mark.long
def test_who_sends_slowly_shuts_nobody_else_out(team: Served) -> None:
    """Without a token, too: each address has its own share."""
    token, host = team.token("ann"), team.url.removeprefix("http://")
    head = f"POST /sign-in HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin\r\n"
    slow = [
        socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), 5, ("127.0.0.2", 0))
        for _ in range(10)
    ]
    for line in slow:
        line.sendall(f"{head}Content-Length: 100\r\n\r\nx".encode())
    time.sleep(1)
    began = time.monotonic()
    assert sign_in(team.url, token).cookie
    assert time.monotonic() - began < 15
    for line in slow:
        line.close()


def test_only_an_address_is_taken_for_one() -> None:
    for said, taken in (("::1", "::1"), ("10.0.0.1", "10.0.0.1"), ("<b>my lab</b>", ""), ("", "")):
        assert client_of({"type": "http", "client": (said, 1)}) == taken
    assert client_of({"type": "http", "client": None}) == ""


def test_no_code_is_kept(team: Served) -> None:
    begun = begin(team)
    kept = b"".join(path.read_bytes() for path in team.root.glob(f"{FILE}*"))
    assert AGENT.encode() in kept
    for secret in (begun["device_code"], begun["user_code"], begun["user_code"].replace("-", "")):
        assert secret.encode() not in kept


def test_only_our_own_page_lets_it_in(team: Served) -> None:
    token = team.token("ann", "write")
    who, begun = sign_in(team.url, token), begin(team)
    body = urlencode({"do": "let-in", "user_code": begun["user_code"], "purpose": "write"}).encode()
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}, {}):
        for by in ({"Cookie": who.cookie}, {"Authorization": f"Bearer {token}"}):
            got = team.ask("/-/device", "POST", body=body, **by, **headers)
            assert got.code == "Forbidden"
    assert poll(team, begun) == {"error": "authorization_pending"}


def test_an_account_that_is_gone_lets_nobody_in(team: Served) -> None:
    who, begun = sign_in(team.url, team.token("ann", "write")), begin(team)
    assert confirm(who, begun).status == 303
    team.accounts.remove("ann")
    assert poll(team, begun) == {"error": "invalid_grant"}


@pytest.mark.parametrize("said", every(2, ["let-in", "refuse"], beside=pytest.mark.long))
@pytest.mark.long
def test_the_stock_program_logs_in(team: Served, tmp_path: Path, said: str) -> None:
    """`hf auth login` where nobody types, as it is."""
    pytest.importorskip("huggingface_hub.utils._oauth_device", reason="it asks for a token only")
    hf = Path(sys.executable).parent / "hf"
    if not hf.exists():
        pytest.skip("the hf program is not installed")
    who = sign_in(team.url, team.token("ann", "write"))
    environment = {key: text for key, text in os.environ.items() if key != "HF_TOKEN"} | {
        "HF_ENDPOINT": team.url, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    with subprocess.Popen(
        [hf, "auth", "login"], env=environment, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout
        code, lines = "", list[str]()
        while not code or "enter the code" not in lines[-1]:
            lines.append(process.stdout.readline())
            code = "".join(re.findall("code=(.*)", lines[-1])) or code
        sent = {"user_code": code, "purpose": "write", "name": "laptop"}
        who.did("/-/device", do=said, **sent)
        told = process.stdout.read()
    asked = "".join(line for line in lines if "URL" in line or code in line)
    assert all(line in PAGE for line in as_told(team, code, asked).splitlines())
    assert (process.returncode == 0) == (said == "let-in"), told
    if said == "refuse":
        assert "denied" in told
        return
    assert "Token is valid (permission: write).\n" in told
    done = subprocess.run([hf, "auth", "whoami"], env=environment, check=True, text=True,
                          capture_output=True)  # fmt: skip
    assert "ann" in done.stdout
    assert "laptop" in (tmp_path / "hf" / "stored_tokens").read_text()


@pytest.mark.parametrize("said", every(2, ["let-in", "refuse"], beside=pytest.mark.long))
def test_zoo_login_needs_no_token(team: Served, tmp_path: Path, said: str) -> None:
    who = sign_in(team.url, team.token("ann", "write"))
    command = [sys.executable, "-m", "zoo_cli", "login", team.url, "--browser", "--json"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "own")}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        assert process.stdout
        page = process.stderr.readline()
        code = page.rpartition("=")[2].strip()
        for line in (page, process.stderr.readline()):
            assert as_told(team, code, line) in PAGE, "as the page has it"
        assert who.get(f"/-/device.json?user_code={code}").json["wants"] == "append"
        sent = {"user_code": code, "purpose": "append", "name": "zoo"}
        who.did("/-/device", do=said, **sent)
        out, told = process.stdout.read(), process.stderr.read()
    if said == "refuse":
        assert process.returncode == 1
        assert "it was not let in" in told
        return
    assert json.loads(out)["account"] == "ann, with a token to append", told
    (kept,) = (tmp_path / "own").rglob("tokens.json")
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("page", "own"),
    [
        ("{}/-/device?user_code=x", True), ("http://evil.example/-/device", False),
        ("{}.evil.example/-/device", False), ("{}@evil.example/-/device", False),
        ("{}", False), ("http://127.0.0.1:1/-/device", False), ("{}/../-/device", False),
        ("javascript:alert(1)", False), ("", False), ("https{}/-/device", False),
        ("{}\\@evil.example/", False), ("{}/-/device\u202e", False),
    ],
)  # fmt: skip
def test_only_a_page_of_the_server_is_shown(page: str, own: bool) -> None:
    url = ServerUrl.parse("http://zoo.lab.org:8765")
    assert login._is_of(url, page.replace("https{}", f"https{str(url)[4:]}").format(url)) == own
    below = ServerUrl.parse("https://lab.org/zoo")
    assert login._is_of(below, "https://lab.org:443/zoo/-/device")
    assert not login._is_of(below, "https://lab.org/zoology/-/device")
    assert not login._is_of(below, "https://lab.org/-/device")


@pytest.mark.long
def test_zoo_login_shows_no_page_elsewhere_and_asks_again(
    team: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, shown, url = sign_in(team.url, team.token("ann", "write")), [], ServerUrl.parse(team.url)

    def let_in(page: str, code: str) -> None:
        shown.append(page)
        who.did("/-/device", do="let-in", user_code=code, purpose="read", name="zoo")

    real, fails = login._send, [500, 503]

    def send(pool: Any, at: ServerUrl, what: str, fields: dict[str, str]) -> Any:
        if what == "token" and fails:
            return login._Sent(fails.pop(), "", b"")
        return real(pool, at, what, fields)

    monkeypatch.setattr(login, "_send", send)
    assert login.enter(url, "read", let_in).startswith("zoo_")
    assert not fails
    body = {"device_code": "x", "user_code": "x", "verification_uri": "http://evil.example/"}
    sent = login._Sent(200, "", json.dumps(body).encode())
    monkeypatch.setattr(login, "_send", lambda *_: sent)
    with pytest.raises(Unavailable, match="not its own"):
        login.enter(url, "read", let_in)
    assert len(shown) == 1


def test_who_types_no_token_in_a_terminal_is_told_of_the_page(team: Served, tmp_path: Path) -> None:
    who = sign_in(team.url, team.token("ann", "write"))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "zoo_cli", "login", team.url], stdin=theirs, text=True,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "own")}, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr
        os.close(theirs)
        asked = ""
        while not asked.endswith("in a browser): "):  # what is typed before that is not taken
            asked += process.stderr.read(1)
        os.write(ours, b"\n")
        code = ""
        while not code:
            code = "".join(re.findall("user_code=(.{9})", process.stderr.readline()))
        who.did("/-/device", do="let-in", user_code=code, purpose="read", name="zoo")
        assert "knows you as ann, with a token to read" in process.stderr.read()
    os.close(ours)
    assert process.returncode == 0


def test_an_entry_says_whose_it_is(team: Served) -> None:
    """What one process has let in, another gives; the later of two has no effect."""
    team.token("ann", "write")
    (token,) = team.accounts.tokens("ann")
    entry = Entry(account="ann", name="x", purpose="read", token=token.id)
    secret = team.accounts.devices.begin("c", client="x", address="", wants="")
    assert secret
    with closing(Accounts.of(Workspace(team.root))) as another:
        assert another.devices.let_in("c", entry)
        assert not team.accounts.devices.refuse("c", "ann")
        assert team.accounts.devices.poll(secret) == entry
        another.new_token("ann", "x", by=token.id, also=partial(spend, secret=secret))
        with pytest.raises(UnknownName):
            team.accounts.new_token("ann", "x", by=token.id, also=partial(spend, secret=secret))
        assert another.devices.poll(secret) == "invalid_grant"
