"""Outgoing: a request to an address that somebody has given, which must not lead into the network
that this machine is in, nor take long.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from io import BufferedReader, RawIOBase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM, create_connection, getaddrinfo, socket
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

from zoo.errors import Unavailable

__all__ = ["ask", "post"]

SECONDS = 10.0
"""All of it takes no longer, however slowly the other side sends or takes."""
MOST = 256 * 1024
"""Bytes of an answer: of a provider, which may have three tokens with all groups of somebody."""
PORTS = {"http": 80, "https": 443}
TARGET = "/%:@!$&'()*+,;=~?[]"
"""What is sent as it is, beside letters and digits."""
# Addresses that have one of IPv4 in their last 32 bits: of NAT64, and IPv4-compatible ones.
EMBEDS = IPv6Network("64:ff9b::/96"), IPv6Network("::/96")
LOCAL = IPv6Network("64:ff9b:1::/48")
"""NAT64 to wherever the network likes."""


def post(url: str, body: bytes, headers: Mapping[str, str], *, private: bool) -> int:
    """Send something once; the status of the answer. No redirect is followed, no proxy is asked.

    The name is looked up once, and that address is connected to: a second look might give another.

    Raises:
        Unavailable: It cannot be reached, does not answer, or is in a private network and
            ``private`` does not allow that. It says no more than that: who reads it need not know
            what this machine's network looks like.
    """
    status, _ = _sent("POST", url, body, headers, private=private, reads=False)
    return status  # what it says does not matter, and may not end


def ask(url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Ask an address that who runs the server has named, which may be in a private network, or send
    it a ``body``; the status and the answer. Else it is as `post`.

    Raises:
        Unavailable: It cannot be reached, does not answer, or says too much.
    """
    method = "GET" if body is None else "POST"
    return _sent(method, url, body, headers, private=True, reads=True)


def _sent(
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    private: bool,
    reads: bool,
) -> tuple[int, bytes]:
    parts, ends = urlsplit(url), monotonic() + SECONDS
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    try:
        addresses = getaddrinfo(host, port, type=SOCK_STREAM)
        address = str(addresses[0][4][0])
    except (OSError, UnicodeError) as error:  # the latter of what can be no name of a machine
        raise Unavailable(host, "its name leads to no address", hint="") from error
    if not private and not _is_public(ip_address(address.partition("%")[0])):
        raise Unavailable(host, "it is in a private network", hint="")
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    sent = {"Host": parts.netloc, "User-Agent": "zoo", **headers}
    try:
        with create_connection((address, port), _left(ends)) as line:
            if parts.scheme == "https":
                line = ssl.create_default_context().wrap_socket(line, server_hostname=host)
            with line:
                connection = HTTPConnection("-")  # what it is called is in the headers
                connection.sock = _Line(line, ends)
                connection.request(method, quote(target, safe=TARGET), body, sent)
                answer = connection.getresponse()
                return answer.status, answer.read() if reads else b""
    except TimeoutError as error:
        raise Unavailable(host, "it does not answer in time", hint="") from error
    except ssl.SSLError as error:
        raise Unavailable(host, "TLS fails, or its certificate is none for it", hint="") from error
    except _TooLong as error:
        raise Unavailable(host, f"it answers with more than {MOST:,} bytes", hint="") from error
    except (HTTPException, OSError, ValueError) as error:
        raise Unavailable(host, "it cannot be reached, or answers no HTTP", hint="") from error


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is in no private network, nor has an address in one for what it leads to."""
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return True
    inner = address.ipv4_mapped or address.sixtofour
    if any(address in each for each in EMBEDS):
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in LOCAL or address.is_site_local:
        return False
    return inner is None or _is_public(inner)


class _TooLong(Exception):
    """An answer that does not end."""


class _Line(RawIOBase):
    """A connection, all of which ``ends`` at a time; as much of a socket as `http.client` needs."""

    def __init__(self, line: socket, ends: float) -> None:
        self._line, self._ends, self._came = line, ends, 0

    def sendall(self, data: bytes) -> None:
        """Send all."""
        self._line.settimeout(_left(self._ends))
        self._line.sendall(data)

    def makefile(self, mode: str) -> BufferedReader:
        """What comes, as a file that may be read once this is closed."""
        assert mode == "rb", mode
        return BufferedReader(_Line(self._line, self._ends))

    def readable(self) -> bool:
        """As a file tells."""
        return True

    def readinto(self, into: Any) -> int:
        """Take what comes next, of an answer that is not long."""
        self._line.settimeout(_left(self._ends))
        count = self._line.recv_into(into)
        self._came += count
        if self._came > MOST:
            raise _TooLong
        return count


def _left(ends: float) -> float:
    """Seconds until then. Raises `TimeoutError` if there are none."""
    if (left := ends - monotonic()) <= 0:
        raise TimeoutError
    return left
