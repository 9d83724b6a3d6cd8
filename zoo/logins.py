"""Logins: the tokens that the user of this machine has for servers, each for one URL.

They lie in the user's own settings, in a file that nobody else can read; never in a zoo, which may
be shared. A token goes to the server that it was given for and to no other, and not over plain
HTTP to another machine, where whoever is on the way could read it.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from zoo import config
from zoo.errors import Forbidden, Invalid, InvalidOption, UnknownName, disk_errors

__all__ = ["ServerUrl", "forget_token", "keep_token", "login_for", "renew_token", "token_for"]

FILE = "tokens.json"
OWN = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}):[0-9]{1,5}(/[a-z0-9/_-]*)?")
"""Of a server on this machine all but its scheme: nothing in it is a password."""
PORTS = {"http": 80, "https": 443}
Kept = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a server is, as ``https://host:8765/path``; prints so.

    Attributes:
        scheme: ``http`` or ``https``.
        host: The name or address of the machine, in small letters.
        port: The port.
        path: What its paths begin with: empty, or beginning with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> ServerUrl:
        """Read a URL.

        Raises:
            InvalidOption: It is none of a server, or holds more than that.
        """
        try:
            url = urlsplit(text)
            port = url.port or PORTS[url.scheme]
        except (ValueError, KeyError):
            url, port = urlsplit(""), 0
        if not url.hostname or "@" in url.netloc or url.query or url.fragment:
            # It is not repeated: what does not belong there may be a password.
            bare = OWN.fullmatch(text)
            write = f"http://{text}" if bare else "https://zoo.lab.org"
            raise InvalidOption(f"this is not the URL of a server: write {write}")
        return cls(url.scheme, url.hostname, port, url.path.rstrip("/"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is sent there."""
        if self.scheme == "https" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_private(self) -> None:
        """See that nobody on the way can read what is sent there.

        Raises:
            InvalidOption: Others could.
        """
        if not self.is_private:
            raise InvalidOption(
                f"a token for {self} would go over plain HTTP, where others can read it on the way",
                hint="use https://, or an SSH tunnel to the machine; in a network that you trust: "
                f"zoo login --plain-http {self}",
            )


def token_for(url: ServerUrl) -> str | None:
    """The token for a server, if there is one. Raises as `login_for`."""
    return login_for(url)[0]


def login_for(url: ServerUrl) -> tuple[str | None, str | None]:
    """The token for a server, if there is one: that of the environment, else what was kept. And
    what it is for, if a job of CI has it, and may get another: a name, a namespace, or empty; None
    if no job has it.

    Raises:
        InvalidOption: It would go over plain HTTP to another machine.
        Forbidden, Invalid: What was kept can be read by others, or is damaged.
    """
    given = config.server_token()
    if given and ServerUrl.parse(given[0]) == url:
        url.check_private()
        return given[1], None
    kept = _read().get(str(url))
    if kept is None:
        return None, None
    if not kept.get("plain_http"):
        url.check_private()
    job = kept.get("job")
    return str(kept.get("token")), job if isinstance(job, str) else None


def renew_token(url: ServerUrl, old: str, token: str) -> None:
    """Keep another token in the place of an ``old`` one, unless something else is kept by now."""
    with _changing() as kept:
        if (login := kept.get(str(url))) and login.get("token") == old:
            login["token"] = token


def keep_token(
    url: ServerUrl, token: str, *, plain_http: bool = False, job: str | None = None
) -> None:
    """Keep a token for a server; ``plain_http`` lets it go there where others could read it. A
    ``job`` of CI has it for what that says.

    Raises:
        InvalidOption: It would go over plain HTTP to another machine.
    """
    if not plain_http:
        url.check_private()
    with _changing() as kept:
        more = ({"plain_http": True} if plain_http else {}) | ({} if job is None else {"job": job})
        kept[str(url)] = {"token": token, **more}


def forget_token(url: ServerUrl) -> None:
    """Forget the token for a server.

    Raises:
        UnknownName: There is none.
    """
    with _changing() as kept:
        if kept.pop(str(url), None) is None:
            hint = "nothing was kept for that server"
            raise UnknownName("login", str(url), sorted(kept), hint=hint)


def _path() -> Path:
    return config.settings() / FILE


def _read() -> Kept:
    path = _path()
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    with os.fdopen(file, "rb") as opened:
        if os.fstat(opened.fileno()).st_mode & 0o077:
            raise Forbidden(path, "others can read the tokens in it", f"chmod 600 {path}")
        try:
            content = json.loads(opened.read())
        except (ValueError, RecursionError):
            content = None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise Invalid(f"{path} is damaged; delete it, and log in again: zoo login URL")
    return content


@contextmanager
def _changing() -> Iterator[Kept]:
    """What is kept, to be changed by nobody else meanwhile; written unless an error leaves it."""
    folder = _path().parent
    with disk_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        locked = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # there are file systems without locks
            fcntl.flock(locked, fcntl.LOCK_EX)
        kept = _read()
        yield kept
        _write(kept)
    finally:
        os.close(locked)


def _write(kept: Kept) -> None:
    path = _path()
    with disk_errors(path):
        file, name = tempfile.mkstemp(dir=path.parent)  # which nobody else can read
        try:
            with os.fdopen(file, "w") as opened:
                json.dump(kept, opened, indent=2, sort_keys=True)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise
