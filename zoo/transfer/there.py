"""What the other side holds already: whether it is sound, and mending what is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from zoo.contracts import Remote
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.errors import Corrupt, MissingObject
from zoo.store import Store
from zoo.store.encoded import encoded_header, read_encoded, read_object
from zoo.store.held import each, name_of
from zoo.store.retry import maintained
from zoo.transfer.at_once import WORKERS

__all__ = ["heal", "mend", "seems_whole"]


def seems_whole(place: Remote, digest: Digest, size: int) -> bool:
    """Whether an object that ``place`` holds, as it is or encoded, can be had from there.

    In a folder it is read and hashed. Elsewhere that would be a download: its size is compared, and
    of a delta, whether its base is there.

    Args:
        place: Where it is.
        digest: Its name.
        size: Bytes that it has.
    """
    plain = not place.missing("objects", [digest])
    try:
        if isinstance(place, Store):
            if plain:
                return place.is_sound("objects", digest)
            deque(read_encoded(place, digest), maxlen=0)  # that hashes it
            return True
        if plain:
            return place.size("objects", digest) == size
        header = encoded_header(place, digest)
        return header.size == size and (header.base is None or _stands(place, header.base))
    except (Corrupt, MissingObject):
        return False


def _stands(place: Remote, base: Digest) -> bool:
    if not place.missing("objects", [base]):
        return True
    return encoded_header(place, base).base is None


def mend(
    store: Store, remote: Remote, items: Collection[Digest], progress: Progress
) -> frozenset[Digest]:
    """Replace what ``remote`` holds damaged of ``items``, which ``store`` holds; which that was.

    Raises:
        Corrupt: ``store`` holds it damaged too, or ``remote`` can replace nothing.
    """
    broken = []
    with ThreadPoolExecutor(WORKERS) as pool, progress("checking", len(items)) as task:
        sizes = [store.size("objects", item) for item in items]
        for item, whole in zip(items, _whole(pool, remote, items, sizes), strict=True):
            task.advance()
            if not whole:
                broken.append(item)
    for item in broken:
        place = maintained(remote)
        if place is None:
            raise Corrupt(f"object {item}", str(item), "other bytes", "the remote")
        place.replace("objects", item, [store.view("objects", item)])
        place.remove(name_of("encoded", item))
    return frozenset(broken)


def _whole(
    pool: ThreadPoolExecutor, remote: Remote, items: Iterable[Digest], sizes: Iterable[int]
) -> Iterator[bool]:
    return pool.map(lambda item, size: seems_whole(remote, item, size), items, sizes)


def heal(store: Store, source: Remote, sizes: dict[Digest, int]) -> None:
    """Replace what ``store`` holds damaged of the objects of a checkpoint that ``source`` holds.

    Args:
        store: Holds them.
        source: Holds them, too.
        sizes: Bytes of each, at least.

    Raises:
        Corrupt, MissingObject: ``source`` does not hold one sound either.
    """
    sound = each(store, lambda item: store.is_sound("objects", item), sizes)
    for item in [item for item, good in zip(sizes, sound, strict=True) if not good]:
        store.replace("objects", item, read_object(source, item, least=sizes[item]))
