"""Bundle: the outside of a signature. It is read by who keeps, sends or brings one, too, and they
need none of what checks it.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from zoo.domain.bounded import parse
from zoo.domain.limits import SIGNATURE_BYTES
from zoo.domain.progress import clean
from zoo.errors import MALFORMED

__all__ = ["SHOWN", "Material", "read_material"]

Material = str | tuple[bytes, ...]
"""The fingerprint of a key, or certificates."""

VALUES, NESTING = 64, 12
"""Of the bundle, which has some twenty values."""
FILES = 20_000
"""Values of the statement in it."""
SHOWN = 200
"""Letters of what strangers wrote that are shown."""


def read_material(bundle: bytes) -> Material:
    """What a signature says it was made with.

    Raises:
        ValueError: It is none, or one of another kind.
    """
    try:
        return _material(bundle)
    except (*MALFORMED, LookupError) as error:
        raise ValueError(f"it is damaged: {clean(error)[:SHOWN]}") from error


def _material(bundle: bytes) -> Material:
    if len(bundle) > SIGNATURE_BYTES:
        raise ValueError(f"it has more than {SIGNATURE_BYTES} bytes")
    raw = parse(bundle, values=VALUES, deepest=NESTING)
    # The library parses what is in it without a bound.
    parse(b64decode(raw["dsseEnvelope"]["payload"]), values=FILES, deepest=NESTING)
    material: dict[str, Any] = raw["verificationMaterial"]
    if "publicKey" in material:
        return clean(material["publicKey"]["hint"])[:SHOWN]
    if "x509CertificateChain" not in material:
        raise ValueError("it was made in a way that zoo does not know, such as sigstore's")
    certificates = material["x509CertificateChain"]["certificates"]
    return tuple(b64decode(each["rawBytes"]) for each in certificates)
