"""Signatures: what is put beside a manifest. One is there for whoever has that manifest and may
read the name that it was put under: who else has the same, and signs it, is told to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURE_BYTES, SIGNATURES
from zoo.domain.stored import Stored
from zoo.errors import Corrupt
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.quota import check_more
from zoo.serve.hub.sealed import refusing
from zoo.serve.keep.patient import patient_upload
from zoo.serve.native.keys import signature_of
from zoo.serve.native.taking import require_sending, small
from zoo.signing.bundle import read_material
from zoo.store.signatures import Kept, keep_signature, signatures_under

__all__ = ["put_signature", "seen"]


def seen(ask: Ask, files: Iterable[Stored]) -> Iterator[Stored]:
    """Those of some signatures that are there for who asks."""
    kept = {file: found for file in files if (found := signature_of(file))}
    there = ask.hub.reach.there(ask, {each.manifest for each in kept.values()})
    for file, each in kept.items():
        if each.manifest in there and ask.may("read", each.path):
            yield file


def put_signature(ask: Ask, to: Kept, pieces: Iterable[bytes]) -> None:
    """Keep a signature of a manifest that is there for who sends it.

    Raises:
        Refused: They may not write to that name, or its namespace is full; there are many already;
            or the bytes are others, or no signature.
    """
    require_sending(ask)
    if not ask.may("write", to.path):
        raise ask.forbidden("write", to.path)
    if to.manifest not in ask.hub.reach.there(ask, [to.manifest]):
        raise Refused("Lacking", f"{to.manifest} is not there for you: send it first")
    data = small(pieces, SIGNATURE_BYTES)
    try:
        read_material(data)
    except ValueError as error:
        raise Refused("BadRequest", f"this is no signature: {error}") from None
    found = Digest("blake3", blake3(data).hexdigest())
    with refusing():
        if found != to.digest:
            raise Corrupt("what is sent", str(to.digest), str(found))
    store = ask.hub.workspace.store
    with patient_upload(store):
        there = signatures_under(store, to.manifest, to.path)
        if to.digest not in there:
            if len(there) >= SIGNATURES:
                raise Refused("Conflict", f"{to.path} has {SIGNATURES} signatures of it already")
            check_more(ask, to.path, len(data))
            keep_signature(store, to.manifest, to.path, data)
            ask.hub.room.signed(to.path.partition("/")[0], len(data))
            ask.hub.accounts.audit.note("signature added", to.path, f"{to.manifest}: {found}")
