"""Present: whether what the other side has already is intact, and the repair of what is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from zoo.domain.digest import Digest
from zoo.domain.limits import OBJECT_SLACK
from zoo.domain.progress import Progress, silent
from zoo.errors import Corrupt, MissingObject, Unsupported
from zoo.store import Store
from zoo.store.encoded import encoded_header, read_encoded, read_object, where_is
from zoo.store.listing import name_of
from zoo.transfer.at_once import WORKERS

__all__ = ["check_whole", "repair_shared", "seems_whole"]


def seems_whole(store: Store, digest: Digest, size: int) -> bool:
    """Whether an object that ``store`` holds, as it is or encoded, can be read from there.

    In a folder it is read and hashed. Elsewhere that would be a download: its size is compared, and
    of a delta, whether its base is there.

    Args:
        store: Has the object.
        digest: Its name.
        size: Bytes that it has.

    Raises:
        Unsupported: It is encoded as only a newer version can read it.
    """
    plain = not store.missing("objects", [digest])
    try:
        if store.is_near:
            if plain:
                most = size + OBJECT_SLACK  # what is larger is not read
                return store.size("objects", digest) <= most and store.is_sound("objects", digest)
            deque(read_encoded(store, digest), maxlen=0)  # that hashes it
            return True
        if plain:
            return store.size("objects", digest) == size
        header = encoded_header(store, digest)
        return header.size == size and (header.base is None or _stands(store, header.base))
    except (Corrupt, MissingObject):
        return False


def _stands(store: Store, base: Digest) -> bool:
    if not store.missing("objects", [base]):
        return True
    return encoded_header(store, base).base is None


def repair_shared(
    store: Store, source: Store, sizes: Mapping[Digest, int], progress: Progress = silent
) -> tuple[frozenset[Digest], frozenset[Digest]]:
    """Replace what ``store`` holds damaged of objects that ``source`` holds, too.

    Args:
        store: The store to repair.
        source: Holds them, too.
        sizes: Bytes of each; those that it has at least, where ``store`` is a folder.
        progress: Told of the objects that are looked at.

    Returns:
        What was replaced, and what a newer version encoded there: nobody here can read that.

    Raises:
        Corrupt: ``source`` holds it damaged too.
    """
    intact = _intact(store, sizes, progress)
    broken = [item for item, is_whole in intact.items() if is_whole is False]
    for item in broken:
        store.replace("objects", item, read_object(source, item, least=sizes[item]))
        store.remove(name_of("encoded", item))
    return frozenset(broken), frozenset(
        item for item, is_whole in intact.items() if is_whole is None
    )


def check_whole(store: Store, sizes: Mapping[Digest, int]) -> frozenset[Digest]:
    """Read objects that only the folder ``store`` holds, and nobody here could replace.

    Args:
        store: The folder.
        sizes: Bytes of each, at least.

    Returns:
        What a newer version encoded there: nobody here can read that.

    Raises:
        Corrupt: One is damaged, or cannot be decoded.
    """
    intact = _intact(store, sizes)
    for item, is_whole in intact.items():
        if is_whole is False:
            what = "encoded object" if store.missing("objects", [item]) else "object"
            raise Corrupt(f"{what} {item}", str(item), "other bytes", where_is(store))
    return frozenset(item for item, is_whole in intact.items() if is_whole is None)


def _intact(
    store: Store, sizes: Mapping[Digest, int], progress: Progress = silent
) -> dict[Digest, bool | None]:
    """As `seems_whole` of each; None for what a newer version encoded."""

    def look(item: Digest) -> bool | None:
        try:
            return seems_whole(store, item, sizes[item])
        except Unsupported:
            return None

    intact = {}
    with ThreadPoolExecutor(WORKERS) as pool, progress("checking", len(sizes)) as task:
        for item, is_whole in zip(sizes, pool.map(look, sizes), strict=True):
            task.advance()
            intact[item] = is_whole
    return intact
