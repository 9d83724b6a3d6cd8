"""Session: requests to one server, on connections that stay."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from urllib3 import BaseHTTPResponse, PoolManager, Timeout

from zoo.errors import ZooError
from zoo.logins import ServerUrl, token_for
from zoo_http.errors import on_the_way, refusal

__all__ = ["AT_ONCE", "Session"]

AT_ONCE = 8
"""Requests at a time: a server gives ten places to a token."""
KEPT = 32
"""Connections that stay: a fetch reads more at a time than a push sends."""
CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
KEEPING_SECONDS = 600.0
"""What is sent is hashed and made durable before it is answered."""
LONGEST_WAIT = 30.0
JSON = {"Content-Type": "application/json"}


class Session:
    """Requests to a server, with the token for it. It is sent nowhere else: what leads elsewhere is
    not followed.
    """

    def __init__(self, url: ServerUrl, token: str | None) -> None:
        self.url, self._token = url, token
        self._pool = PoolManager(maxsize=KEPT, retries=False)

    @classmethod
    def of(cls, location: str) -> Session:
        """To the server at a location, with the token that is kept for it.

        Raises:
            InvalidOption: It is no URL of a server.
        """
        url = ServerUrl.parse(location)
        return cls(url, token_for(url))

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> BaseHTTPResponse:
        """An answer whose body is read already; those with a status in ``fine`` are, too.

        Raises:
            Unavailable, Forbidden, …: As `zoo_http.errors` says.
        """
        answer = self.open(method, path, body=body, headers=headers, fine=fine)
        with on_the_way(self.url):
            answer.data  # noqa: B018 - so the connection is free again
        return answer

    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> BaseHTTPResponse:
        """As `ask`, with a body that is still to be read."""
        sent = {"Accept-Encoding": "identity", "User-Agent": "zoo", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        read = READ_SECONDS if body is None else KEEPING_SECONDS
        with on_the_way(self.url):
            answer = self._pool.request(
                method,
                f"{self.url}/zoo/v1{quote(path, safe='/*')}",
                body=body,
                headers=sent,
                preload_content=False,
                redirect=False,
                timeout=Timeout(connect=CONNECT_SECONDS, read=read),
            )
        if 200 <= answer.status < 300 or answer.status in fine:
            return answer
        raise self._refused(answer)

    def _refused(self, answer: BaseHTTPResponse) -> ZooError:
        with on_the_way(self.url):
            answer.drain_conn()
        wait = answer.headers.get("retry-after", "")
        if wait.isdigit():
            time.sleep(min(float(wait), LONGEST_WAIT))
        return refusal(self.url, answer.status, answer.headers, known=bool(self._token))

    def read(self, path: str, said: object = None) -> dict[str, Any]:
        """What is answered in JSON; ``said`` is sent, if it is anything.

        Raises:
            Unavailable: It is none; or as `ask`.
        """
        answer = self.ask("GET", path) if said is None else self.tell(path, said)
        try:
            return msgspec.json.decode(answer.data, type=dict[str, Any])
        except msgspec.DecodeError:
            raise refusal(self.url, 404, {}, known=False) from None

    def tell(self, path: str, said: object) -> BaseHTTPResponse:
        """The answer to what is sent in JSON; raises as `ask`."""
        return self.ask("POST", path, body=msgspec.json.encode(said), headers=JSON)
