"""Listing: the files of a store by digest, as its backend lists them; nothing is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOTDIR, ENXIO, EPERM
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from zoo.contracts import Folder, Kind
from zoo.domain.digest import Digest
from zoo.domain.stored import StoredFile
from zoo.errors import (
    Corrupt,
    Forbidden,
    Invalid,
    InvalidReference,
    MissingObject,
    Unsupported,
    ZooError,
)

if TYPE_CHECKING:
    from zoo.store.store import Store

__all__ = [
    "ENCODED_AS",
    "KIND_NAMES",
    "Listing",
    "is_below",
    "list_folder",
    "map_each",
    "name_of",
    "pruned",
    "read_one",
]

OF_ONE_FILE = (EISDIR, ENOTDIR, EACCES, EPERM, ELOOP, ENXIO, ENAMETOOLONG)
"""What the system says where one file is not as it should be: another kind, or not ours to read."""
KIND_NAMES: dict[Kind, str] = {
    "objects": "object",
    "encoded": "encoded object",
    "manifests": "manifest",
    "encoded-manifests": "encoded manifest",
}
ENCODED_AS: dict[Kind, Kind] = {"objects": "encoded", "manifests": "encoded-manifests"}
"""As which kind an object or a manifest is kept that is not kept as it is."""

P = ParamSpec("P")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a backend lists in one folder of a store.

    Attributes:
        files: Each file where it belongs, by its digest; sorted.
        misplaced: Files that do not belong there, each with the reason.
        unlisted: Folders, such as ``objects/ab``, that cannot be listed, with the reason.
    """

    files: dict[Digest, StoredFile] = field(default_factory=dict)
    misplaced: list[tuple[StoredFile, str]] = field(default_factory=list)
    unlisted: dict[str, ZooError] = field(default_factory=dict)


def name_of(folder: Folder, digest: Digest) -> str:
    """The name in the store of what is kept under a digest."""
    suffix = ".json" if folder == "manifests" else ""
    return f"{folder}/{digest.hex[:2]}/{digest.hex}{suffix}"


def list_folder(store: Store, folder: Folder) -> Listing:
    """List one folder. Nothing is read."""
    files, unlisted = store.readable_files(folder)
    listing = Listing(unlisted=unlisted)
    for file in sorted(files, key=lambda file: file.name):
        try:
            digest = Digest("blake3", PurePosixPath(file.name).stem)
        except InvalidReference:
            listing.misplaced.append((file, "does not belong in a store"))
            continue
        if file.name == name_of(folder, digest):
            listing.files[digest] = file
        else:
            listing.misplaced.append((file, "is in the wrong folder"))
    return listing


def is_below(name: str, folders: Iterable[str]) -> bool:
    """Whether a name, such as ``objects/ab/abcdef…`` or ``team/flowers``, is one of these folders,
    or in one.
    """
    return any(not folder or f"{name}/".startswith(f"{folder}/") for folder in folders)


def pruned(store: Store, manifests: Iterable[Digest]) -> set[Digest]:
    """The manifests that were deleted on purpose, and are not back among ``manifests``."""
    # The mark alone proves nothing: a prune may have been killed between it and the deletion.
    return set(list_folder(store, "pruned").files) - set(manifests)


def read_one(
    read: Callable[Concatenate[Item, P], Answer], item: Item, *more: P.args, **known: P.kwargs
) -> Answer | ZooError | OSError:
    """What ``read`` gives for one item of a store, or what is wrong with that one alone.

    Raises:
        Unavailable, DiskFull, OSError: It is the store that fails, or what it is read into.
    """
    try:
        return read(item, *more, **known)
    except (Corrupt, Forbidden, Invalid, MissingObject, Unsupported) as error:
        return error
    except OSError as error:
        if error.errno not in OF_ONE_FILE:
            raise
        return error


def map_each(
    store: Store, function: Callable[[Item], Answer], items: Iterable[Item]
) -> Iterator[Answer]:
    """``function`` of every item, in order, as many at once as ``store`` serves well."""
    with ThreadPoolExecutor(store.at_once) as pool:
        yield from pool.map(function, items)
