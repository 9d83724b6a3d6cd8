"""Again: whether a signature is by the same key as another one, and of the same."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zoo.errors import MALFORMED
from zoo.signing.bundle import read_material

__all__ = ["is_by", "says_same"]

HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
"""By the size of a key, as the library has them."""


def is_by(earlier: bytes, bundle: bytes, key: Path, password: str) -> bool:
    """Whether an ``earlier`` signature was made with the private ``key`` and the certificates, if
    any, that ``bundle`` was made with just now: what it says of itself, anybody can write.
    """
    try:
        if read_material(bundle) != read_material(earlier):
            return False
        envelope = _envelope(earlier)
        kind, payload = envelope["payloadType"].encode(), b64decode(envelope["payload"])
        private = load_pem_private_key(key.read_bytes(), password.encode() or None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)  # it has made one
        # https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        (signature,) = envelope["signatures"]
        method = ec.ECDSA(HASHES[private.curve.key_size])
        private.public_key().verify(b64decode(signature["sig"]), signed, method)
    except (*MALFORMED, LookupError, InvalidSignature):
        return False
    return True


def says_same(bundle: bytes, earlier: bytes) -> bool:
    """Whether two signatures, whose outsides were read, are of the same. Their bytes differ: the
    library writes the keys of an object in another order in each process.
    """
    try:
        one, other = _envelope(bundle), _envelope(earlier)
        kinds = one["payloadType"] == other["payloadType"]
        return kinds and _statement(one) == _statement(other)
    except (*MALFORMED, LookupError):
        return False


def _statement(envelope: dict[str, Any]) -> object:
    statement: object = json.loads(b64decode(envelope["payload"]))
    return statement


def _envelope(bundle: bytes) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(bundle)["dsseEnvelope"]  # bounded by `read_material`
    return envelope
