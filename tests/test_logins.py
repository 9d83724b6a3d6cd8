"""Tokens for servers: where they are kept, and to whom they go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo import config
from zoo.errors import Forbidden, Invalid, InvalidOption, UnknownName
from zoo.logins import ServerUrl, forget_token, keep_token, login_for, renew_token, token_for

HOME = ServerUrl.parse("http://127.0.0.1:8765")
LAB = ServerUrl.parse("https://Zoo.Lab.org:443/zoo/")
PLAIN = ServerUrl.parse("http://zoo.lab.org")


def file() -> Path:
    return config.settings() / "tokens.json"


def test_a_token_is_kept_for_one_server() -> None:
    assert str(LAB) == "https://zoo.lab.org/zoo"
    assert str(ServerUrl.parse("http://[::1]:80")) == "http://[::1]"
    for url, token in ((HOME, "one"), (LAB, "two")):
        keep_token(url, token)
        assert token_for(url) == token
        assert file().stat().st_mode & 0o077 == 0
    for other in ("http://127.0.0.1:8766", "https://127.0.0.1:8765", "https://zoo.lab.org"):
        assert token_for(ServerUrl.parse(other)) is None
    forget_token(HOME)
    assert (token_for(HOME), token_for(LAB)) == (None, "two")
    with pytest.raises(UnknownName):
        forget_token(HOME)


def test_a_job_s_token_is_renewed_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_token(HOME, "one", job="lab/flowers")
    keep_token(LAB, "two")
    assert login_for(HOME) == ("one", "lab/flowers")
    assert (login_for(LAB), login_for(PLAIN)) == (("two", None), (None, None))
    for url in (HOME, LAB, PLAIN):
        renew_token(url, "one", "three")
    assert (token_for(HOME), token_for(LAB), token_for(PLAIN)) == ("three", "two", None)
    monkeypatch.setenv("ZOO_TOKEN", "y")
    monkeypatch.setenv("ZOO_SERVER", str(HOME))
    assert login_for(HOME) == ("y", None), "it is another one"


def test_logins_at_one_moment_are_all_kept() -> None:
    urls = [ServerUrl.parse(f"http://127.0.0.1:{port}") for port in range(1, 41)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda url: keep_token(url, str(url.port)), urls))
    assert [token_for(url) for url in urls] == [str(url.port) for url in urls]


def test_a_token_goes_where_nobody_else_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOption, match="plain HTTP"):
        keep_token(PLAIN, "x")
    assert token_for(PLAIN) is None
    keep_token(PLAIN, "x", plain_http=True)
    assert token_for(PLAIN) == "x"
    forget_token(PLAIN)
    monkeypatch.setenv("ZOO_TOKEN", "y")
    assert token_for(HOME) is None, "nobody said for which server"
    monkeypatch.setenv("ZOO_SERVER", "http://127.0.0.1:8765/")
    assert token_for(HOME) == "y"
    assert token_for(LAB) is None
    monkeypatch.setenv("ZOO_SERVER", str(PLAIN))
    with pytest.raises(InvalidOption, match="plain HTTP"):
        token_for(PLAIN)
    for host, private in (
        ("localhost", True),
        ("[::1]", True),
        ("127.9.9.9", True),
        ("localhost.evil.org", False),
        ("10.0.0.1", False),
    ):
        assert ServerUrl.parse(f"http://{host}").is_private == private


def test_a_login_that_was_written_by_hand_goes_nowhere_in_plain() -> None:
    keep_token(PLAIN, "x", plain_http=True)
    file().write_text(file().read_text().replace("true", "false"))
    with pytest.raises(InvalidOption, match="plain HTTP"):
        token_for(PLAIN)


def test_a_file_that_others_can_read_is_not_used() -> None:
    keep_token(HOME, "one")
    file().chmod(0o644)
    with pytest.raises(Forbidden, match="others can read"):
        token_for(HOME)
    file().chmod(0o600)
    for text in ("{", "[]", '{"x": 1}', "[" * 100_000):
        file().write_text(text)
        with pytest.raises(Invalid, match="damaged"):
            token_for(HOME)


@pytest.mark.parametrize(
    "text", ["zoo.lab.org", "ftp://x", "https://", "https://ann:pw@x", "http://x:y", "http://x?t=1"]
)
def test_what_is_no_url_of_a_server(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        ServerUrl.parse(text)
    assert "pw" not in str(caught.value)
