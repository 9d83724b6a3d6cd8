"""Session: requests to one server, on connections that stay."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock
from typing import TypeVar
from urllib.parse import quote

import msgspec
from urllib3 import BaseHTTPResponse, PoolManager, Timeout

from zoo.domain.limits import ANSWER_BYTES
from zoo.errors import Forbidden, Unavailable, ZooError
from zoo.logins import ServerUrl, login_for, renew_token
from zoo_http.errors import on_the_way, refusal
from zoo_http.exchange import AGAIN, OVER, another

__all__ = ["AT_ONCE", "JSON", "Session"]

AT_ONCE = 8
"""Requests at a time: a server gives ten places to a token."""
KEPT = 32
"""Connections that stay: a fetch reads more at a time than a push sends."""
CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
KEEPING_SECONDS = 600.0
"""What is sent is hashed and made durable before it is answered."""
LONGEST_WAIT = 30.0
PIECE = 256 * 1024
T = TypeVar("T")
JSON = {"Content-Type": "application/json"}


class Session:
    """Requests to a server, with the token for it. It is sent nowhere else: what leads elsewhere is
    not followed. A job of CI whose token has expired gets another, and goes on.
    """

    def __init__(
        self,
        url: ServerUrl,
        token: str | None,
        keeping: float = KEEPING_SECONDS,
        job: str | None = None,
    ) -> None:
        self.url, self._token, self._keeping, self._job = url, token, keeping, job
        self._renewing = Lock()
        self._pool = PoolManager(maxsize=KEPT, retries=False)

    @classmethod
    def of(cls, location: str, keeping: float = KEEPING_SECONDS) -> Session:
        """To the server at a location, with the token that is kept for it; it may take so many
        seconds to keep what it is sent.

        Raises:
            InvalidOption: It is no URL of a server.
        """
        url = ServerUrl.parse(location)
        token, job = login_for(url)
        return cls(url, token, keeping, job)

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> int:
        """The status of an answer whose body tells nothing; those in ``fine`` are no failure, too.

        Raises:
            Unavailable, Forbidden, …: As `zoo_http.errors` says.
        """
        answer = self.open(method, path, body=body, headers=headers, fine=fine)
        self.leave(answer)
        return answer.status

    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> BaseHTTPResponse:
        """An answer whose body is still to be read; otherwise as `ask`."""
        token = self._token
        answer = self._sent(method, path, body, headers)
        if answer.status == 401 and token and self._job is not None:
            self.leave(answer)
            self._renew(token)
            answer = self._sent(method, path, body, headers)
        if not (200 <= answer.status < 300 or answer.status in fine):
            raise self._refused(answer)
        if answer.headers.get("content-encoding", "identity") != "identity":
            answer.close()  # it was not asked for, and may be small for what it unpacks to
            raise Unavailable(str(self.url), "something on the way packs what is sent", hint="")
        return answer

    def _sent(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> BaseHTTPResponse:
        sent = {"Accept-Encoding": "identity", "User-Agent": "zoo", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        read = READ_SECONDS if body is None else self._keeping
        with on_the_way(self.url):
            return self._pool.request(
                method,
                f"{self.url}/zoo/v1{quote(path, safe='/*')}",
                body=body,
                headers=sent,
                preload_content=False,
                redirect=False,
                timeout=Timeout(connect=CONNECT_SECONDS, read=read),
            )

    def _renew(self, old: str) -> None:
        """Have another token than an ``old`` one, unless another thread or program got one.

        Raises:
            Forbidden: There is none, or who is logged in by now is somebody else.
        """
        with self._renewing:
            if self._token != old or self._job is None:
                return
            kept, job = login_for(self.url)
            if kept is None or job != self._job:
                text = f"{OVER}, and the login that is kept is no longer its own"
                raise Forbidden(str(self.url), text, AGAIN.format(self.url))
            if kept == old:
                kept = another(self.url, self._job)
                renew_token(self.url, old, kept)
            self._token = kept

    def leave(self, answer: BaseHTTPResponse) -> None:
        """Be done with an answer: its connection is used again if little of the body is left."""
        with on_the_way(self.url):
            answer.read(PIECE, decode_content=False)
            if answer.read(1, decode_content=False):
                answer.close()
            else:
                answer.release_conn()

    def _refused(self, answer: BaseHTTPResponse) -> ZooError:
        self.leave(answer)
        wait = answer.headers.get("retry-after", "")
        if wait.isdigit():
            time.sleep(min(float(wait), LONGEST_WAIT))
        return refusal(self.url, answer.status, answer.headers, known=bool(self._token))

    def read(self, path: str, kind: type[T], data: object = None, *, most: int = ANSWER_BYTES) -> T:
        """What is answered in JSON, of at most ``most`` bytes; ``data`` is sent, if it is anything.

        Raises:
            Unavailable: It is something else; or as `ask`.
        """
        if data is None:
            answer = self.open("GET", path)
        else:
            answer = self.open("POST", path, body=msgspec.json.encode(data), headers=JSON)
        return self.decoded(answer, kind, most)

    def decoded(self, answer: BaseHTTPResponse, kind: type[T], most: int = ANSWER_BYTES) -> T:
        """What an answer says in JSON; raises as `read`."""
        try:
            return msgspec.json.decode(self._whole(answer, most), type=kind)
        except (msgspec.MsgspecError, RecursionError):
            text = "no zoo answers there, or in a way that is not understood"
            raise Unavailable(str(self.url), text, hint="") from None

    def _whole(self, answer: BaseHTTPResponse, most: int) -> bytes:
        data = bytearray()
        with on_the_way(self.url):
            while piece := answer.read(PIECE, decode_content=False):
                data += piece
                if len(data) > most:
                    answer.close()
                    text = f"it answers with more than {most} bytes"
                    raise Unavailable(str(self.url), text, hint="")
            answer.release_conn()
        return bytes(data)

    def tell(self, path: str, data: object) -> None:
        """Send something in JSON; raises as `ask`."""
        self.ask("POST", path, body=msgspec.json.encode(data), headers=JSON)
