"""Claim: who a signature says made it. Nothing of that is proven yet, and all of it is bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from zoo.domain.progress import clean
from zoo.errors import MALFORMED
from zoo.signing.bundle import SHOWN, read_material

__all__ = ["Claim", "claim_of", "fingerprint", "subject", "why_not_now"]

UNREADABLE = (
    *MALFORMED,
    LookupError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)
NOT_TO_SIGN = "its certificate does not say that it is for digital signatures"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who says that they made a signature.

    Attributes:
        kind: With what.
        by: The fingerprint of the key, or whom the certificate is of.
        problem: Why the certificate counts for nobody; empty if it may count.
    """

    kind: Literal["key", "certificate"]
    by: str
    problem: str = ""


def claim_of(bundle: bytes) -> Claim:
    """Read the outside of a signature.

    Raises:
        ValueError: It is none, or one of another kind.
    """
    material = read_material(bundle)
    if isinstance(material, str):
        return Claim("key", material)
    try:
        chain = tuple(x509.load_der_x509_certificate(each) for each in material)
        problem = why_not_now(chain) or ("" if _may_sign(chain[0]) else NOT_TO_SIGN)
        return Claim("certificate", subject(chain[0]), problem)
    except UNREADABLE as error:
        raise ValueError(f"it is damaged: {clean(error)[:SHOWN]}") from error


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether a certificate says that its key is for signatures. The library takes others, too."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return False
    return usage.value.digital_signature


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """What signatures call a key: the SHA-256 of its PEM."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def subject(certificate: x509.Certificate) -> str:
    """Whom a certificate is of, without what a terminal would do something with."""
    return clean(certificate.subject.rfc4514_string())[:SHOWN]


def why_not_now(certificates: Sequence[x509.Certificate]) -> str:
    """Why certificates do not count at this time; empty if they do.

    The library takes the time at which the certificate began: nothing tells when a signature was
    made, and one of a key that was lost since could be of any time.
    """
    now = datetime.now(UTC)
    for each in certificates:
        if each.not_valid_after_utc < now:
            return (
                f"the certificate of {subject(each)} ended on {each.not_valid_after_utc:%Y-%m-%d}"
            )
        if each.not_valid_before_utc > now:
            begins = f"{each.not_valid_before_utc:%Y-%m-%d}"
            return f"the certificate of {subject(each)} begins on {begins}"
    return ""
