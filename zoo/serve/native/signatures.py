"""Signatures: what is put beside a manifest. One is there for whoever has that manifest and may
read the name that it was put under: who else has the same, and signs it, is told to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURE_BYTES, SIGNATURES
from zoo.domain.stored import StoredFile
from zoo.errors import Corrupt
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.quota import check_more
from zoo.serve.hub.sealed import refusing
from zoo.serve.native.keys import signature_of
from zoo.serve.native.taking import require_sending, small
from zoo.signing.bundle import Material, read_material
from zoo.store.signatures import (
    StoredSignature,
    folder_of,
    keep_signature,
    kept_at,
    signatures_under,
)
from zoo.store.turn import patient_upload

__all__ = ["put_signature", "seen"]


def seen(ask: Ask, files: Iterable[StoredFile]) -> Iterator[StoredFile]:
    """Those of some signatures that are there for who asks."""
    kept = {file: signature for file in files if (signature := signature_of(file))}
    there = ask.hub.reach.there(ask, {each.manifest for each in kept.values()})
    for file, each in kept.items():
        if each.manifest in there and ask.may("read", each.path):
            yield file


def put_signature(ask: Ask, to: StoredSignature, pieces: Iterable[bytes]) -> None:
    """Keep a signature of a manifest that is there for who sends it.

    Raises:
        Refused: They may not write to that name, or its namespace is full; there are many already;
            or the bytes are others, or no signature.
    """
    require_sending(ask)
    ask.check_may("write", to.path)
    if to.manifest not in ask.hub.reach.there(ask, [to.manifest]):
        raise Refused("Lacking", f"{to.manifest} is not there for you: send it first")
    data = small(pieces, SIGNATURE_BYTES)
    try:
        material = read_material(data)
    except ValueError as error:
        raise Refused("BadRequest", f"this is no signature: {error}") from None
    actual = Digest("blake3", blake3(data).hexdigest())
    with refusing():
        if actual != to.digest:
            raise Corrupt("what is sent", str(to.digest), str(actual))
    store = ask.hub.workspace.store
    with patient_upload(store):
        there = signatures_under(store, to.manifest, to.path)
        if to.digest not in there:
            check_more(ask, to.path, len(data))
            if len(there) >= SIGNATURES and not _replace(ask, to, material):
                raise Refused("Conflict", f"{to.path} has {SIGNATURES} signatures of it already")
            keep_signature(store, to.manifest, to.path, data)
            ask.hub.room.signed(to.path.partition("/")[0], len(data))
            ask.hub.accounts.audit.note("signature added", to.path, f"{to.manifest}: {actual}")


def _replace(ask: Ask, to: StoredSignature, material: Material) -> int:
    """Drop those that who sent them has replaced by later ones of the same key, now with one of
    ``material``; how many. What one says of its key is not proven, and so nobody drops another's.
    """
    store, newest = ask.hub.workspace.store, {(ask.actor.name, material)}
    files = store.backend.list(f"{folder_of(to.manifest)}{to.path}/")
    there = {kept.digest: kept for file in files if (kept := kept_at(file))}
    dropped = 0
    for who, digest in _sent(ask, to):
        if kept := there.pop(digest, None):
            with suppress(Corrupt, FileNotFoundError):
                data = kept.read(store)
                if (one := (who, read_material(data))) in newest:
                    store.backend.delete(kept.key)
                    ask.hub.room.signed(to.path.partition("/")[0], -len(data))
                    dropped += 1
                newest.add(one)
    return dropped


def _sent(ask: Ask, to: StoredSignature) -> Iterator[tuple[str, Digest]]:
    """Who has sent which signatures of a manifest to a name, the newest first."""
    actions, most = ("signature added",), SIGNATURES * SIGNATURES
    rows = ask.hub.accounts.audit.newest(name=to.path, actions=actions, limit=most)
    for row in reversed(rows):
        manifest, _, digest = row.detail.partition(": ")
        if (row.name, manifest) == (to.path, str(to.manifest)):
            yield row.who, Digest.parse(digest)
