"""Somebody who is signed in, in a browser, and sends the forms of pages."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from fakes.paged import HTML
from fakes.served import Got, ask
from lxml import html

__all__ = ["SAME", "Signed", "sign_in"]

SAME = {"Sec_Fetch_Site": "same-origin"}


@dataclass(frozen=True)
class Signed:
    """A session at a server."""

    url: str
    cookie: str

    def get(self, path: str, accept: str = HTML) -> Got:
        """A page, or its twin."""
        return ask(self.url, path, Accept=accept, Cookie=self.cookie)

    def page(self, path: str) -> html.HtmlElement:
        """A page as a browser reads it."""
        got = self.get(path)
        assert got.status == 200, (path, got)
        return html.fromstring(got.body.decode().replace("<wbr>", ""))

    def send(self, path: str, **fields: str) -> Got:
        """Send a form of a page of the server."""
        body = urlencode(fields).encode()
        return ask(self.url, path, "POST", body=body, Accept=HTML, Cookie=self.cookie, **SAME)

    def did(self, path: str, **fields: str) -> None:
        """See that a form has done what it says."""
        got = self.send(path, **fields)
        assert got.status == 303, (path, fields, got)

    def secret(self, path: str, **fields: str) -> str:
        """What a form shows once."""
        got = self.send(path, **fields)
        assert (got.status, got.headers["cache-control"]) == (200, "no-store"), got
        found: str = html.fromstring(got.body.decode()).xpath("string(//pre)")
        assert found, got
        return found

    def error(self, path: str, **fields: str) -> str:
        """Why a form has done nothing."""
        got = self.send(path, **fields)
        assert got.status == 400, (path, fields, got)
        return " ".join(
            html.fromstring(got.body.decode()).xpath("string(//*[@role='alert'])").split()
        )


def sign_in(url: str, token: str) -> Signed:
    """Sign in by a token."""
    body = urlencode({"token": token, "next": "/"}).encode()
    got = ask(url, "/sign-in", "POST", body=body, **SAME)
    assert got.status == 303, got
    return Signed(url, got.headers["set-cookie"].partition(";")[0])
