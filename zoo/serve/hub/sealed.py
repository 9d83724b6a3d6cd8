"""Sealed: requests that bring bytes and no token, to an address that was made for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from zoo.errors import Conflict, Corrupt, MissingObject, NotAFile
from zoo.serve.http.call import Call
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.who.audit import asked_by
from zoo.serve.who.seals import Seal

__all__ = ["opened", "refusing", "seal_of", "sealed"]

SECONDS = 86400
"""So long bytes can be sent to an address."""


def sealed(ask: Ask, what: str, of: str, *, size: int = 0, upload: str = "") -> tuple[str, Seal]:
    """A seal by which whoever asks may do something without their token; and what it says."""
    expires = int(time.time()) + SECONDS
    seal = Seal(
        token=ask.actor.id,
        repo=ask.repo,
        what=what,
        of=of,
        size=size,
        upload=upload,
        expires=expires,
    )
    return ask.hub.seals.write(seal), seal


def opened(ask: Ask, text: str, what: str, of: str) -> tuple[Ask, Seal]:
    """The request as that of whom a seal was made for.

    Raises:
        Refused: It is for something else, too old, or its owner may not do that any more.
    """
    seal = ask.hub.seals.read(text, what)
    if seal is None or seal.of != of:
        raise Refused("InvalidSeal")
    actor, rules = ask.hub.accounts.holder(seal.token, seal.repo)
    if actor is None:
        raise Refused("InvalidSeal")
    asked_by(actor.name, actor.id)
    ask = replace(ask, actor=actor, rules=rules, repo=seal.repo)
    if not ask.may("write", seal.repo):
        raise Refused("InvalidSeal")
    return ask, seal


def seal_of(call: Call) -> str:
    """The seal that a request has: clients of Git LFS are given it in an address, those of Xet as a
    token.
    """
    kind, _, text = call.headers.get("authorization", "").partition(" ")
    return call.query.get("seal", "") or (text.strip() if kind.lower() == "bearer" else "")


@contextmanager
def refusing() -> Iterator[None]:
    """Refuse what is wrong with bytes that were sent, or say that they can be sent again.

    Raises:
        Refused: They are not what was promised, or a prune is under way.
    """
    try:
        yield
    except NotAFile:  # it is the zoo's folder that is wrong
        raise
    except Corrupt as error:
        text = f"{error.what}: expected {error.expected}, found {error.found}"
        raise Refused("Mismatch", text) from error
    except (Conflict, MissingObject) as error:
        busy = {"Retry-After": "2"}
        raise Refused("Busy", "the zoo is being tidied up; send it again", headers=busy) from error
