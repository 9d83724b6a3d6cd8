"""A browser that signs in again has one session: the one before has ended."""

from __future__ import annotations

from urllib.parse import urlencode

from fakes.served import Got, Served


def sign_in(served: Served, token: str, cookie: str) -> Got:
    headers = {"Sec_Fetch_Site": "same-origin"} | ({"Cookie": cookie} if cookie else {})
    return served.ask("/sign-in", "POST", body=urlencode({"token": token}).encode(), **headers)


def repos(served: Served, cookie: str) -> set[str]:
    return {row["repo"] for row in served.ask("/index.json", Cookie=cookie).json["rows"]}


def test_the_session_before_ends(served: Served) -> None:
    first = sign_in(served, served.token("ann"), "").headers["set-cookie"].partition(";")[0]
    assert "team/net" in repos(served, first)
    wrong = sign_in(served, "zoo_nothing", first)
    assert wrong.status == 401
    assert "team/net" in repos(served, first), "who mistypes is signed in still"
    second = sign_in(served, served.token("ben"), first).headers["set-cookie"].partition(";")[0]
    assert second != first
    assert "team/net" in repos(served, second)
    assert repos(served, first) == repos(served, "")
