"""Settings: one's own tokens and roles, as far as the token goes by which one is signed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fakes.paged import HTML, NASTY, canaries
from fakes.served import Served, serving
from fakes.signed import SAME, sign_in

from zoo.serve.who.audit import Row

PATH = "/-/settings"
TOKEN = re.compile("zoo_[0-9A-Za-z]{8}_[0-9A-Za-z]{46}")


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, make_zoo: Callable[[Path], None]
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("settings") / "zoo"
    make_zoo(root)
    with serving(root) as served:
        served.accounts.add("lab", team=True)
        served.token("ann")
        served.accounts.grant("lab", "ann", "owner")
        served.accounts.grant("team", "lab", "writer")
        served.accounts.grant("secret/net", "ann", "reader")
        yield served


def test_a_token_is_made_shown_once_and_revoked(served: Served) -> None:
    who = sign_in(served.url, served.token("ann", "write"))
    made = who.secret(PATH, do="make", name="ci", purpose="append", days="7", only="lab team/net")
    assert TOKEN.fullmatch(made)
    assert served.ask("/api/whoami-v2", token=made).json["name"] == "ann"
    page, twin = who.get(PATH).body.decode(), who.get(f"{PATH}.json")
    assert "ci" in page
    (row,) = [each for each in twin.json["tokens"] if each["id"] == made[4:12]]
    assert row | {"made": "", "expires": "", "used": ""} == {
        "id": made[4:12], "name": "ci", "purpose": "append", "only": ["lab", "team/net"],
        "made": "", "expires": "", "used": "", "ended": "", "ends_with": None, "here": False,
    }  # fmt: skip
    for text in (page, twin.body.decode(), repr([row.to_json() for row in _rows(served)])):
        assert made[13:] not in text
    noted = next(each for each in _rows(served)[::-1] if each.action == "token made")
    assert (noted.who, noted.name, noted.address) == ("ann", made[4:12], "127.0.0.1")
    who.did(PATH, do="revoke", id=made[4:12])
    assert served.ask("/api/whoami-v2", token=made).code == "InvalidToken"
    assert [row.who for row in _rows(served) if row.action == "token revoked"] == ["ann"]
    assert who.get(f"{PATH}.json").json["tokens"][-1]["ended"] == "revoked"
    assert "Done." in who.get(f"{PATH}?done=revoke").body.decode()


def _rows(served: Served) -> list[Row]:
    return served.accounts.audit.newest(limit=99)


def test_a_token_makes_none_that_outlasts_it(served: Served) -> None:
    for account, path in (("ann", PATH), ("admin", PATH), ("admin", "/-/people/admin")):
        token = served.token(account, "write", lasts=3600)
        who = sign_in(served.url, token)
        made = [who.secret(path, do="make", purpose="write", days=days) for days in ("", "7")]
        kept = {each.id: each for each in served.accounts.tokens(account)}
        for each in made:
            assert kept[each[4:12]].expires == kept[token[4:12]].expires


def test_what_cannot_be_is_told_in_the_form(served: Served) -> None:
    who = sign_in(served.url, served.token("ann", "write"))
    before = len(served.accounts.tokens())
    fine = {"do": "make", "name": "x", "purpose": "read"}
    for wrong, said in (
        ({"purpose": "all"}, "one of: read, append, write"), ({"days": "0"}, "more than no time"),
        ({"days": "-1"}, "a number of days"), ({"days": "9" * 9}, "a number of days"),
        ({"only": "a/b/c"}, "a/b/c"), ({"name": "x" * 101}, "at most 100 letters"),
        ({"name": "a\u202eb"}, "cannot be shown"), ({"name": "a\x00"}, "cannot be shown"),
    ):  # fmt: skip
        assert said in who.error(PATH, **{**fine, **wrong})
    assert len(served.accounts.tokens()) == before
    for do in ("", "nothing"):
        assert who.send(PATH, do=do).status == 400
    other = served.token("ben", "write")
    assert "unknown token" in who.error(PATH, do="revoke", id=other[4:12]).lower()
    assert who.error(PATH, do="revoke", id=other[4:12]) == who.error(
        PATH, do="revoke", id="00000000"
    ).replace("00000000", other[4:12]), "nobody learns which tokens there are"
    assert served.ask("/api/whoami-v2", token=other).status == 200


def test_a_session_changes_no_more_than_its_token_may(served: Served) -> None:
    other = served.token("ann")
    for purpose, only in (("read", ()), ("append", ()), ("write", ("lab",))):
        token = served.token("ann", purpose, only=only)
        who = sign_in(served.url, token)
        page = who.page(PATH)
        assert page.xpath("//main//form") == []
        for sent in ({"do": "make", "purpose": "read"}, {"do": "revoke", "id": other[4:12]}):
            got = who.send(PATH, **sent)
            assert (got.status, got.code) == (403, "Forbidden")
        ids = [each["id"] for each in who.get(f"{PATH}.json").json["tokens"]]
        assert ids == [token[4:12]] if only else other[4:12] in ids
    assert served.ask("/api/whoami-v2", token=other).status == 200
    assert served.ask(PATH, Accept=HTML).status == 401


def test_teams_and_roles_are_told_as_far_as_the_token_is_for_them(served: Served) -> None:
    who = sign_in(served.url, served.token("ann", "write"))
    rows = who.get(f"{PATH}.json").json["roles"]
    assert [(row["path"], row["role"], row["by"], row["team"], row["owned"]) for row in rows] == [
        ("lab", "owner", "", True, True), ("secret/net", "reader", "", False, False),
        ("team", "writer", "lab", False, False),
    ]  # fmt: skip
    links = who.page(PATH).xpath("//main//tbody//a/@href")
    assert links == ["/-/namespaces/ann", "/-/namespaces/lab"]
    narrow = sign_in(served.url, served.token("ann", "write", only=("team",)))
    assert [row["path"] for row in narrow.get(f"{PATH}.json").json["roles"]] == ["team"]


def test_another_site_changes_nothing(served: Served) -> None:
    token = served.token("ann", "write")
    who = sign_in(served.url, token)
    body = urlencode({"do": "revoke", "id": token[4:12]}).encode()
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}, {}):
        got = served.ask(PATH, "POST", body=body, Cookie=who.cookie, **headers)
        assert got.code == "Forbidden"
    assert who.get(PATH).status == 200
    got = served.ask(PATH, "POST", body=body, Cookie=who.cookie, **SAME)
    assert got.status == 303
    assert who.get(PATH).status == 401, "its own session has ended with it"


def test_texts_that_attack_stay_texts(served: Served) -> None:
    who = sign_in(served.url, served.token("ann", "write"))
    for text in NASTY:
        if text.isprintable():
            served.accounts.new_token("ann", text)
    page = who.page(PATH)
    assert canaries(page) == []
    assert NASTY[0] in [each.strip() for each in page.xpath("//tbody/tr/th/text()")]


def test_who_mistypes_a_token_sees_the_form_again(served: Served) -> None:
    got = served.ask("/sign-in", "POST", body=b"token=zoo_x", Accept=HTML, **SAME)
    assert got.status == 401
    assert b"no token of this server" in got.body
    assert b'name="token"' in got.body
