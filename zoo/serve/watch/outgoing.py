"""Outgoing: a request to an address that somebody has given, which must not lead into the network
that this machine is in.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from zoo.errors import Unavailable

__all__ = ["post"]

SECONDS = 10.0
PORTS = {"http": 80, "https": 443}


def post(url: str, body: bytes, headers: Mapping[str, str], *, private: bool) -> int:
    """Send something once; the status of the answer. No redirect is followed, no proxy is asked.

    The name is looked up once, and that address is connected to: a second look might give another.

    Raises:
        Unavailable: It cannot be reached, does not answer, or is in a private network and
            ``private`` does not allow that.
    """
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
    except (OSError, UnicodeError) as error:  # the latter of what can be no name of a machine
        raise Unavailable(host, getattr(error, "strerror", None) or str(error)) from error
    if not private and not ipaddress.ip_address(address.partition("%")[0]).is_global:
        raise Unavailable(host, "it is in a private network", hint="")
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(
            address,
            port,
            timeout=SECONDS,
            retries=False,
            assert_hostname=host,
            server_hostname=host,
        )
    else:
        pool = urllib3.HTTPConnectionPool(address, port, timeout=SECONDS, retries=False)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    sent = {"Host": parts.netloc, "User-Agent": "zoo", **headers}
    try:
        with pool:
            answer = pool.request(
                "POST", target, body=body, headers=sent, redirect=False, preload_content=False
            )
            answer.close()  # what it says does not matter, and may not end
    except (HTTPError, OSError, ValueError) as error:
        raise Unavailable(host, str(error)[:200]) from error
    return answer.status
