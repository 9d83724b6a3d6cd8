"""A manifest on its way to a remote: as the difference from its parent's where that is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from zoo.codec.text import encode_text
from zoo.domain.digest import Digest
from zoo.domain.limits import TEXT_BYTES
from zoo.errors import Corrupt, MissingObject, Unsupported
from zoo.store import Store
from zoo.store.listing import name_of
from zoo.store.manifests import manifest_bytes, manifest_header, read_base

__all__ = ["encode_manifest", "keep_manifest"]


def encode_manifest(
    store: Store, target: Store, digest: Digest, data: bytes, bases: Iterable[Digest]
) -> tuple[bytes | None, set[Digest]]:
    """Encode a manifest that ``target`` lacks as the difference from one of ``bases`` that it has.

    Once this gives a difference, ``target`` is a store that takes such (`docs/store.md`).

    Returns:
        The difference, None where the manifest is better sent as it is; and what it could be the
        difference from, and is damaged at ``target``.
    """
    if len(data) > TEXT_BYTES or target.has_manifest(digest):
        return None, set()
    damaged: set[Digest] = set()
    for base in _standing(target, bases):
        try:
            text = _base(store, target, base)
        except Corrupt:
            damaged.add(base)
            continue
        except (MissingObject, Unsupported):
            continue
        if len(text) > TEXT_BYTES:
            continue
        encoded = encode_text(data, text, base)
        if len(encoded) < len(data) and target.admit_encoded_manifests():
            return encoded, damaged
    return None, damaged


def keep_manifest(
    target: Store, digest: Digest, data: bytes, encoded: bytes | None, near: Store | None = None
) -> int:
    """Write a manifest, also in the place of a damaged one; the bytes that ``target`` lacked."""
    if not target.has_manifest(digest):
        if encoded is not None and target.write("encoded-manifests", digest, [encoded]):
            return len(encoded)
        if encoded is None and target.write("manifests", digest, [data]):
            return len(data)
    try:
        _check_base(target, digest)  # ``near`` may have what the target lacks
        manifest_bytes(target, digest, [near] if near else [])
    except (Corrupt, MissingObject):
        target.replace("manifests", digest, [data])
        target.remove(name_of("encoded-manifests", digest))
    except Unsupported:
        pass  # a newer version encoded it
    return 0


def _check_base(target: Store, digest: Digest) -> None:
    """See that ``target`` has what its manifest is encoded against.

    Raises:
        MissingObject: It has not.
        Corrupt: The header of the manifest is damaged.
        Unsupported: A newer version encoded it.
    """
    if target.missing("manifests", [digest]):
        base = manifest_header(target, digest).base
        if base is not None:
            target.require_manifest(base)


def _standing(target: Store, bases: Iterable[Digest]) -> Iterator[Digest]:
    """Of each that ``target`` has, its base there, or itself: deltas are one hop deep."""
    for each in bases:
        if not target.missing("manifests", [each]):
            yield each
            continue
        with suppress(MissingObject, Corrupt, Unsupported):
            yield manifest_header(target, each).base or each


def _base(store: Store, target: Store, digest: Digest) -> bytes:
    """The bytes of a base that both have; raises `Corrupt` if ``target`` has it damaged.

    In a folder it is read. Elsewhere that would be a download: sizes are compared.
    """
    if target.is_near:
        return read_base(target, digest)
    data = manifest_bytes(store, digest)
    if target.missing("manifests", [digest]):
        size = manifest_header(target, digest).size
    else:
        size = target.size("manifests", digest)
    if size != len(data):
        raise Corrupt(f"manifest {digest}", f"{len(data)} bytes", f"{size} bytes")
    return data
