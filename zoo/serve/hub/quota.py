"""Quota: what would be more than a namespace may hold is refused.

How much of a file is new is known once all of it is here: its tensors may be. So a file is refused
before it is sent only where it cannot fit at all, else once it has come, and nothing of it stays.
What was sent and not committed may be as much as the quota, apart from what names lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zoo.domain.digest import Digest
from zoo.serve.http.errors import Refused

if TYPE_CHECKING:
    from zoo.serve.hub.ask import Ask

__all__ = ["check_fits", "check_more", "check_size", "sending"]

WAITING = " that were sent and not committed, which count for a day"
Sizes = Iterable[tuple[Digest, int]]


def check_size(ask: Ask, size: int) -> None:
    """See that a file of ``size`` bytes may fit into the namespace of the repository.

    Raises:
        Refused: The namespace is full, or may never hold so much.
    """
    namespace, room = ask.repo.partition("/")[0], ask.hub.room
    quota = ask.hub.accounts.quotas.get(namespace)
    if quota is None or not size:
        return
    if size > quota:
        raise Refused("Forbidden", f"{namespace} may hold {quota:,} bytes: {size:,} are too many")
    with room.sending(namespace, (), quota - 1) as held:
        if held.total >= quota:
            waits = room.after(namespace).total < quota
            text = f"{namespace} may hold {quota:,} bytes and holds {held.total:,}"
            raise Refused("Forbidden", f"{text}{WAITING if waits else ''}")


def check_fits(ask: Ask, objects: Sizes, repo: str = "") -> None:
    """See that the namespace of the repository, or of another one, may hold these objects; those
    that it holds already take no more.

    Raises:
        Refused: It may not.
    """
    namespace, room = (repo or ask.repo).partition("/")[0], ask.hub.room
    if (quota := ask.hub.accounts.quotas.get(namespace)) is None:
        return
    sizes = [*objects]
    if room.after(namespace, sizes).total <= quota:
        return
    new, total = room.after(namespace, sizes, anew=True)
    if new and total > quota:
        text = f"{namespace} may hold {quota:,} bytes: {new:,} more make it {total:,}"
        raise Refused("Forbidden", text)


def check_more(ask: Ask, repo: str, size: int) -> None:
    """See that the namespace of a repository may hold so many bytes more that are no objects.

    Raises:
        Refused: It may not.
    """
    namespace, room = repo.partition("/")[0], ask.hub.room
    quota = ask.hub.accounts.quotas.get(namespace)
    if quota is None or room.after(namespace).total + size <= quota:
        return
    if (used := room.after(namespace, anew=True).total) + size > quota:
        raise Refused("Forbidden", f"{namespace} may hold {quota:,} bytes and holds {used:,}")


@contextmanager
def sending(ask: Ask, objects: Sizes) -> Iterator[None]:
    """Keep what is sent to the namespace of the repository in here, if that may hold it.

    Raises:
        Refused: It may not.
    """
    namespace, room = ask.repo.partition("/")[0], ask.hub.room
    if (quota := ask.hub.accounts.quotas.get(namespace)) is None:
        yield
        return
    sizes = [*objects]
    with room.sending(namespace, sizes, quota) as (new, total):
        if new and total > quota:
            waits = room.after(namespace, sizes).total <= quota
            text = f"{namespace} may hold {quota:,} bytes: {new:,} more make it {total:,}"
            raise Refused("Forbidden", f"{text}{WAITING if waits else ''}")
        yield
