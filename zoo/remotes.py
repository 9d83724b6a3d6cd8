"""Remotes: stores elsewhere, and the short names that a zoo has for them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.contracts import SupportsLogin, SupportsTokens, Tokens
from zoo.domain.history import RefEntry
from zoo.domain.location import hub_address, is_http, is_word, scheme_of
from zoo.domain.reference import Reference
from zoo.domain.server_token import ServerToken
from zoo.domain.words import plural
from zoo.errors import Conflict, InvalidOption, Unavailable, UnknownName, ZooError
from zoo.logins import ServerUrl, forget_token, keep_token
from zoo.store import Store
from zoo.store.json_file import JsonFile
from zoo.store.refs import MARKER
from zoo.store.retry import Retrying

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = [
    "Remotes",
    "check_store",
    "connect",
    "location_of",
    "login",
    "login_by_job",
    "login_by_page",
    "logout",
    "revoke_token",
    "tokens_at",
]

SECRET = re.compile(r"[^:]+://([^/]*@|.*:.*@|.*[?#])")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
WANTS = "append"
"""What is asked for: to pull, and to push what is new; the page says what it is."""


def connect(location: str, *, create: bool = False) -> Store:
    """Connect to a folder, or to a URL whose scheme names a remote plugin.

    Raises:
        Unavailable: It does not answer, or is not there and ``create`` is off.
        InvalidOption: It holds credentials, or is an address of the model hub.
        UnknownName: No plugin for the scheme.
        BrokenPlugin: The plugin fails.
    """
    check_secrets(location)
    check_store(location)
    kind = scheme_of(location) or "folder"
    plugin = plugins.remote(kind)
    try:
        with plugins.blaming("zoo.remotes", kind, but=OSError):  # a disk may fail, too
            store = Store.connect(plugin.connect(location, create=create), create=create)
    except Unavailable as error:
        if error.hint is None:
            error.hint = "check the name and the connection; zoo remote lists known remotes"
        raise
    # A folder answers or does not; what is reached over a network may answer the next time.
    return store if store.is_near else Store(Retrying(store.backend))


def location_of(where: str) -> str:
    """A URL as it is, a path from the root on: the same wherever it is told."""
    return where if "://" in where else str(Path(where).expanduser().resolve())


def login(location: str, token: str, *, plain_http: bool = False, job: str | None = None) -> str:
    """Keep a token for a server, which is asked whose it is; that. See `keep_token` for a ``job``.

    Raises:
        InvalidOption: It is no URL of a server, or the token could be read on the way there.
        Unavailable, Forbidden: The server does not answer, or does not take it; nothing was kept.
    """
    url, plugin = _entered(location, plain_http=plain_http)
    account = plugin.account(str(url), token)
    keep_token(url, token, plain_http=plain_http, job=job)
    return account


def login_by_page(
    location: str, show: Callable[[str, str], None], *, plain_http: bool = False
) -> str:
    """Keep a token that the user gives by a page of a server; whose it is. ``show`` learns the
    address of the page, and the code that it must show.

    Raises:
        InvalidOption, Unavailable, Forbidden: As `login`; or the user has not done that.
    """
    url, plugin = _entered(location, plain_http=plain_http)
    return login(location, plugin.enter(str(url), WANTS, show), plain_http=plain_http)


def login_by_job(
    location: str, proof: str = "", *, name: str = "", plain_http: bool = False
) -> str:
    """Keep a token for what a service says of this job; whose it is. See `SupportsLogin.enter_job`.

    Raises:
        InvalidOption, Unavailable, Forbidden: As `login`; or the job gets none.
    """
    url, plugin = _entered(location, plain_http=plain_http)
    token = plugin.enter_job(str(url), proof, name)
    return login(location, token, plain_http=plain_http, job=name)


def _entered(location: str, *, plain_http: bool) -> tuple[ServerUrl, SupportsLogin]:
    """A server, and the plugin by which a user has an account there."""
    check_secrets(location)
    url = ServerUrl.parse(location)
    if not plain_http:
        url.check_private()
    plugin: object = plugins.remote(url.scheme)
    assert isinstance(plugin, SupportsLogin), plugin
    return url, plugin


def logout(location: str) -> None:
    """Forget the token for a server.

    Raises:
        UnknownName: There is none.
    """
    check_secrets(location)
    forget_token(ServerUrl.parse(location))


def tokens_at(location: str) -> Tokens:
    """The tokens of this user at a server.

    Raises:
        InvalidOption: It is no URL of a server.
    """
    check_secrets(location)
    plugin: object = plugins.remote(ServerUrl.parse(location).scheme)
    assert isinstance(plugin, SupportsTokens), plugin
    return plugin.tokens(location)


def revoke_token(location: str, which: str) -> ServerToken:
    """End a token of this user at a server, by its id or its name; that.

    Raises:
        UnknownName: There is none that is good.
        InvalidOption: Several are called so; or as `tokens_at`.
    """
    there = tokens_at(location)
    good = [each for each in there.all() if not each.ended]
    matches = [each for each in good if each.id == which] or [e for e in good if e.name == which]
    if not matches:
        near = difflib.get_close_matches(which, [each.name for each in good], n=3)
        raise UnknownName("token", which, near, f"zoo token ls {location} lists them")
    if len(matches) > 1:
        ids = " or ".join(each.id for each in matches)
        raise InvalidOption(f"{len(matches)} tokens are called '{which}'", hint=f"say which: {ids}")
    there.revoke(matches[0].id)
    return matches[0]


def check_secrets(location: str) -> None:
    """See that a location holds no credentials.

    Raises:
        InvalidOption: It may; it is not repeated.
    """
    if SECRET.match(location):
        raise InvalidOption("a location must not hold credentials: they would be stored and shown")


def _is_place(location: object) -> bool:
    """Whether the system could take it for a path or URL."""
    try:
        return isinstance(location, str) and b"\0" not in os.fsencode(location)
    except UnicodeEncodeError:
        return False


def check_store(location: str) -> None:
    """See that a location is not one of the model hub, where no stores are.

    Raises:
        InvalidOption: It is.
    """
    if address := hub_address(location):
        raise InvalidOption(
            f"'{location}' is not a store: a repository of the model hub has one checkpoint, and "
            "no refs",
            hint=f"zoo push NAME --to {address} publishes there, zoo pull NAME --from {address} "
            "takes it, zoo index hub --author ORG lists",
        )


class Remotes:
    """The remotes of the zoo in ``root``.

    Args:
        root: The zoo's folder.
        kept: The file that their short names are in.
        registry: Opens the zoo's index, which knows what they had when they were asked last.
    """

    def __init__(self, root: Path, kept: JsonFile, registry: Callable[[], Registry]) -> None:
        self._root, self._kept, self._registry = root, kept, registry

    def all(self) -> dict[str, str]:
        """Locations of the remotes that have a name here.

        Raises:
            Invalid, NotAFile, Forbidden: The list of them cannot be read.
        """
        locations = self._kept.read()
        for name, location in locations.items():
            if not _is_place(location):
                raise self._kept.damaged(f"where '{name}' is: {location!r:.40}")
        return locations

    def add(self, name: str, location: str) -> None:
        """Give a remote a short name.

        Raises:
            InvalidOption: The name could be taken for a path or URL, or the location for a secret,
                or it is at the model hub.
            UnknownName: No plugin for the scheme.
            Conflict: The name stands for another location.
        """
        if not NAME.fullmatch(name):
            raise InvalidOption(
                f"'{name}' is not a name for a remote: letters, digits, '-' and '_'"
            )
        check_secrets(location)
        check_store(location)
        plugins.remote(scheme_of(location) or "folder")
        location = location_of(location)
        with self._kept.change() as remotes:
            if remotes.get(name, location) != location:
                raise Conflict(
                    f"the remote '{name}' is taken",
                    remotes[name],
                    hint=f"nothing was changed; zoo remote remove {name} makes the name free",
                )
            remotes[name] = location

    def remove(self, name: str) -> None:
        """Forget a remote's short name; of one that was fetched by its location, what it had.

        Raises:
            UnknownName: No remote has it.
            Unavailable, DiskFull: The index cannot be written; nothing was changed.
        """
        self._registry().check_writable()
        fetched = "" if is_word(name) else location_of(name)  # known without a short name
        with self._kept.change() as remotes:
            if name not in remotes and not (fetched and self._known(fetched)):
                raise UnknownName("remote", name, sorted(remotes))
            name = name if remotes.pop(name, None) else fetched
        self._registry().replace_remote(name, {})

    def connect(self, where: str, *, create: bool = False) -> Store:
        """Connect to a named remote, a folder, or a URL whose scheme names a remote plugin.

        A single word is the name of a remote, or of a store in the current folder: none is made
        under it.

        Raises:
            Unavailable: It does not answer, or is not there and ``create`` is off, or names are
                known to have been there.
            UnknownName: No remote is called so, or no plugin is for the scheme.
        """
        named = self.all()
        name = self.name_of(where, named)
        location = named[name] if name else where
        if name is None and is_word(where) and not (Path(where) / MARKER).is_file():
            near = difflib.get_close_matches(where, named, n=3) or sorted(named)[:3]
            raise UnknownName(
                "remote", where, near, f"a folder is written with its path: ./{where}"
            )
        if "://" not in location and Path(location).expanduser().resolve() == self._root:
            raise InvalidOption("a zoo cannot be its own remote")
        # In the folder of a disk that is not mounted, a push would begin another store.
        known = self._known(name) if create and name else 0
        try:
            return connect(location, create=create and not known)
        except Unavailable as error:
            if known := known or (self._known(name) if name else 0):
                names = plural(known, "name was", "names were")
                error.hint = f"{names} there when it was last seen: "
                if is_http(location):
                    error.hint += "try again when the server runs; nothing was changed"
                else:
                    error.hint += (
                        "is its disk mounted?\n"
                        f"to begin anew there: zoo remote remove {name} && "
                        f"zoo remote add {name} {quote(location)}"
                    )
            raise

    def name_of(self, where: str, named: Mapping[str, str]) -> str | None:
        """The short name of what is given by it, or by its location; None if it has none."""
        if where in named or is_word(where):
            return where if where in named else None
        location = location_of(where)
        return next((name for name, other in named.items() if other == location), None)

    def _known(self, remote: str) -> int:
        """How many names are known to have been there; 0 if the index cannot be read."""
        with suppress(ZooError):
            return len(self._registry().remote_refs(remote))
        return 0

    def note(self, where: str, ref: Reference, entry: RefEntry) -> None:
        """Let the index know the newest entry of a ref at a remote, if that has a name here, or was
        fetched by its location.
        """
        name = self.name_of(where, self.all()) or location_of(where)
        if name in self.all() or self._known(name):
            # What was to be done is done: that the index knows of it only later is no failure.
            with suppress(ZooError):
                self._registry().note_remote(name, ref, entry)
