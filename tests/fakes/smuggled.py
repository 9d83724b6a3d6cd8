"""Requests that a server and a proxy in front of it could read differently, as bytes."""

from __future__ import annotations

__all__ = ["smuggled"]


def smuggled(host: str, path: str = "/") -> list[bytes]:
    """What is no request, or would be two in one, for ``host``."""
    ok = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
    texts = (
        "GARBAGE\r\n\r\n",
        f"{ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"{ok}X: a\r\n b\r\n\r\n",
        f"{ok}Content-Length: x\r\n\r\n",
        f"{ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        f"{ok}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        f"{ok}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        f"{ok}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        f"{ok}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
        f"GET {path} HTTP/1.1\nHost: {host}\n\n",
    )
    return [text.encode() for text in texts]
