"""Alone: a zoo that is open to whoever works on it, on their own machine, without accounts.

Other people of the machine reach its port, too, and so does every page that they have open. So what
opens it is a link that works once, for a browser that then has a cookie.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from threading import Lock

from zoo import config
from zoo.serve.who.may import Actor

__all__ = ["LinkHolder"]


class LinkHolder:
    """The one who has the link.

    Attributes:
        actor: Who that is: they may see everything, and change nothing.
    """

    def __init__(self) -> None:
        self.actor = Actor(name=config.author(), admin=True, token="zoo ui")  # noqa: S106
        self.key = secrets.token_urlsafe(32)
        self._session, self._used, self._lock = secrets.token_urlsafe(32), False, Lock()

    def open(self, key: str) -> str | None:
        """The secret of the session, for who has the key, the first time; None for others."""
        with self._lock:
            if self._used or not compare_digest(key.encode(), self.key.encode()):
                return None
            self._used = True
        return self._session

    def knows(self, session: str) -> bool:
        """Whether that is the secret of the session."""
        return compare_digest(session.encode(), self._session.encode())
