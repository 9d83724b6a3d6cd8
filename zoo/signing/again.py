"""Again: whether a signature says what another one says already, by the same key."""

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

__all__ = ["repeats"]

HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
"""By the size of a key, as the library has them."""


def repeats(made: bytes, earlier: bytes, key: Path, password: str) -> bool:
    """Whether a signature that was ``made`` with the private ``key`` says what an ``earlier`` one
    says, with the same certificates, if any, and that was made with this key, too: what it says of
    itself, anybody can write.
    """
    try:
        if read_material(made) != read_material(earlier):
            return False
        new, old = _envelope(made), _envelope(earlier)
        kind, payload = old["payloadType"].encode(), b64decode(old["payload"])
        if new["payload"] != old["payload"] or new["payloadType"] != old["payloadType"]:
            return False
        private = load_pem_private_key(key.read_bytes(), password.encode() or None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)  # it has made one
        # https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        (signature,) = old["signatures"]
        method = ec.ECDSA(HASHES[private.curve.key_size])
        private.public_key().verify(b64decode(signature["sig"]), signed, method)
    except (*MALFORMED, LookupError, InvalidSignature):
        return False
    return True


def _envelope(bundle: bytes) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(bundle)["dsseEnvelope"]  # bounded by `read_material`
    return envelope
