"""Cookie: what a browser that is signed in sends with each request."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import cookie_parser

from zoo.serve.http.call import Call

__all__ = ["read_cookie", "set_cookie"]


def read_cookie(call: Call, of: str = "") -> str:
    """The secret of the session that a request is ``of``, or of something else; empty if it is of
    none.
    """
    return cookie_parser(call.headers.get("cookie", "")).get(_name(call.base, of), "")


def set_cookie(call: Call, secret: str, seconds: int, of: str = "") -> str:
    """The header by which a browser has the secret for so long; 0: not any more. Scripts never see
    it, and requests that another site has the browser send come without it, but for links.
    """
    secure = "; Secure" if _is_secure(call.base) else ""
    kept = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    return f"{_name(call.base, of)}={secret}; {kept}"


def _name(base: str, of: str) -> str:
    """The cookie's name: browsers see to it that no other host sets one that begins so; on
    loopback, where they cannot, each port has its own, as there may be several servers.
    """
    zoo = f"zoo-{of}" if of else "zoo"
    return f"__Host-{zoo}" if _is_secure(base) else f"{zoo}-{urlsplit(base).port or 80}"


def _is_secure(base: str) -> bool:
    return base.startswith("https://")
