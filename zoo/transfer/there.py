"""What the other side holds already: whether it is sound, and mending what is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from zoo.contracts import Remote
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.errors import Corrupt, MissingObject, Unsupported
from zoo.store import Store
from zoo.store.encoded import encoded_header, read_encoded, read_object, where_is
from zoo.store.held import each, name_of
from zoo.store.retry import maintained
from zoo.transfer.at_once import WORKERS

__all__ = ["check_whole", "heal", "mend", "seems_whole"]


def seems_whole(place: Remote, digest: Digest, size: int) -> bool:
    """Whether an object that ``place`` holds, as it is or encoded, can be had from there.

    In a folder it is read and hashed. Elsewhere that would be a download: its size is compared, and
    of a delta, whether its base is there.

    Args:
        place: Where it is.
        digest: Its name.
        size: Bytes that it has.

    Raises:
        Unsupported: It is encoded as only a newer version can read it.
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
) -> tuple[frozenset[Digest], frozenset[Digest]]:
    """Replace what ``remote`` holds damaged of ``items``, which ``store`` holds.

    Returns:
        What was replaced, and what a newer version encoded there: nobody here can read that.

    Raises:
        Corrupt: ``store`` holds it damaged too, or ``remote`` can replace nothing.
    """
    broken, newer = [], []
    with ThreadPoolExecutor(WORKERS) as pool, progress("checking", len(items)) as task:
        sizes = [store.size("objects", item) for item in items]
        for item, whole in zip(items, _whole(pool, remote, items, sizes), strict=True):
            task.advance()
            if whole is None:
                newer.append(item)
            elif not whole:
                broken.append(item)
    for item in broken:
        place = maintained(remote)
        if place is None:
            raise Corrupt(f"object {item}", str(item), "other bytes")
        place.replace("objects", item, [store.view("objects", item)])
        place.remove(name_of("encoded", item))
    return frozenset(broken), frozenset(newer)


def check_whole(store: Store, sizes: dict[Digest, int]) -> frozenset[Digest]:
    """Read objects that only the folder ``store`` holds, and nobody here could replace.

    Args:
        store: Holds them.
        sizes: Bytes of each, at least.

    Returns:
        What a newer version encoded there: nobody here can read that.

    Raises:
        Corrupt: One is damaged, or cannot be decoded.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        found = dict(zip(sizes, _whole(pool, store, sizes, sizes.values()), strict=True))
    for item, whole in found.items():
        if whole is False:
            what = "encoded object" if store.missing("objects", [item]) else "object"
            raise Corrupt(f"{what} {item}", str(item), "other bytes", where_is(store))
    return frozenset(item for item, whole in found.items() if whole is None)


def _whole(
    pool: ThreadPoolExecutor, remote: Remote, items: Iterable[Digest], sizes: Iterable[int]
) -> Iterator[bool | None]:
    """As `seems_whole` of each; None for what a newer version encoded."""

    def whole(item: Digest, size: int) -> bool | None:
        try:
            return seems_whole(remote, item, size)
        except Unsupported:
            return None

    return pool.map(whole, items, sizes)


def heal(store: Store, source: Remote, sizes: dict[Digest, int]) -> frozenset[Digest]:
    """Replace what ``store`` holds damaged of the objects of a checkpoint that ``source`` holds.

    Args:
        store: Holds them.
        source: Holds them, too.
        sizes: Bytes of each, at least.

    Returns:
        What was replaced.

    Raises:
        Corrupt, MissingObject: ``source`` does not hold one sound either.
    """
    sound = each(store, lambda item: store.is_sound("objects", item), sizes)
    broken = frozenset(item for item, good in zip(sizes, sound, strict=True) if not good)
    for item in broken:
        store.replace("objects", item, read_object(source, item, least=sizes[item]))
    return broken
