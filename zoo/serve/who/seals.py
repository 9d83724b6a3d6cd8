"""Seals: what an address that needs no token allows, signed, for some hours.

Clients send no token with the bytes of a file: the address says what may be sent there, by whom,
and until when. It counts as long as the token by which it was made.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from zoo.errors import Conflict, Corrupt
from zoo.machine import KEY
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.store.capabilities import read_small
from zoo.store.disk import Disk

__all__ = ["FILE", "MARK", "Seal", "Seals", "seals_of"]

FILE = KEY
"""The key, beside the accounts; who deletes it ends what is being sent."""
BYTES = 32
MARK, MARK_BYTES = "seals.id", 65
"""What tells whether a machine has the key of the others, in a store that they share."""


class Seal(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is allowed.

    Attributes:
        token: The public part of the token by which it is.
        repo: The repository that it is for.
        what: What may be done.
        of: With what: a file's SHA-256, or an upload.
        size: Bytes of the file.
        upload: What tells one upload of it from another.
        expires: Until when, in seconds since 1970.
    """

    token: str
    repo: str
    what: str
    of: str
    size: int = 0
    upload: str = ""
    expires: int


# Made here, by one thread: what msgspec knows of a class it finds out when it first meets it.
DECODER = msgspec.json.Decoder(Seal)
ENCODER = msgspec.json.Encoder()


def seals_of(store: Store) -> Seals:
    """The seals of a store's server. All machines that share the store have the same key, which is
    not in it: whoever may read the store could make seals.

    Raises:
        Conflict: This machine has another one.
    """
    seals = Seals(store.disk)
    if not isinstance(store.backend, CachedBackend):
        return seals
    mark, backend = f"{seals.secret('this key')}\n".encode(), store.backend
    if not backend.stat(MARK):
        backend.create(MARK, mark)
    if read_small(backend, MARK, MARK_BYTES) != mark:
        raise Conflict(
            f"{store.disk.root / FILE} is not the key of the other machines that serve {store}",
            hint=f"copy {FILE} from the folder of one of them; if it is lost, delete {MARK} in the "
            "bucket: what is being sent ends, and webhooks get other secrets",
        )
    return seals


class Seals:
    """Makes and reads seals with a key that only this zoo's server knows."""

    def __init__(self, disk: Disk) -> None:
        if not disk.stat(FILE):
            with disk.staged() as (file, name):  # for its owner alone
                file.write(secrets.token_bytes(BYTES))
                file.flush()
                disk.rename_first(name, FILE)
        self._key = disk.read(FILE, BYTES)
        if len(self._key) != BYTES:
            raise Corrupt(f"{disk.root}/{FILE}", f"{BYTES} bytes", f"{len(self._key)}")

    def secret(self, of: str) -> str:
        """A secret of something, which is always the same, and need not be kept."""
        return self._signature(f"secret of {of}")

    def write(self, seal: Seal) -> str:
        """A seal as text, for a part of an address."""
        body = urlsafe_b64encode(ENCODER.encode(seal)).rstrip(b"=").decode()
        return f"{body}.{self._signature(body)}"

    def read(self, text: str, what: str) -> Seal | None:
        """What a text allows, if it is one of ours, for that, and has not expired."""
        seal = self._read(text)
        return seal if seal and seal.what == what and seal.expires > time.time() else None

    def token(self, text: str) -> str:
        """The public part of the token that a seal was made by; empty if it is none of ours."""
        seal = self._read(text)
        return seal.token if seal else ""

    def _read(self, text: str) -> Seal | None:
        body, _, signature = text.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        return DECODER.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))

    def _signature(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()
