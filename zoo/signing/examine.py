"""Examine: whether a signature is one of a checkpoint, by somebody whom the user trusts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from OpenSSL import crypto

from zoo.domain.digest import Digest
from zoo.domain.progress import clean
from zoo.domain.signature import Signature, Signed, Signer
from zoo.errors import MALFORMED
from zoo.signing.claim import Claim, claim_of, why_not_now
from zoo.signing.library import KnownDigests, verifying

__all__ = ["examine"]

UNKNOWN_KEY = "its key is none that you trust"
NO_AUTHORITY = "its certificate leads to no authority that you trust"
FORGED = "it was not made with that key"
OF_ANOTHER = "it is of something else: another checkpoint, or this one before it was changed"
FAILURES = (*MALFORMED, LookupError, UnsupportedAlgorithm, crypto.Error)
"""What the library raises beside of a signature that is none."""


def examine(bundle: bytes, digest: Digest, signed: Signed, signers: Iterable[Signer]) -> Signature:
    """Check a signature, whose bytes have that ``digest``, of what is ``signed``."""
    try:
        claim = claim_of(bundle)
    except ValueError as error:
        return Signature(manifest=signed.manifest, digest=digest, problem=str(error))
    signer, problem = "", ""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "model.sig").write_bytes(bundle)
        if claim.kind == "key":
            signer, problem = _by_key(claim, signed, signers, folder)
        else:
            signer, problem = _by_certificate(claim, signed, signers, folder)
    return Signature(
        manifest=signed.manifest,
        digest=digest,
        kind=claim.kind,
        by=claim.by,
        signer=signer,
        problem=problem,
    )


def _by_key(
    claim: Claim, signed: Signed, signers: Iterable[Signer], folder: Path
) -> tuple[str, str]:
    """Who of these it is by, and what is wrong with it."""
    of_it = (each for each in signers if each.kind == "key" and each.by == claim.by)
    signer = next(of_it, None)
    if signer is None:
        return "", UNKNOWN_KEY
    (folder / "key.pem").write_text(signer.pem)
    config = verifying.Config().use_elliptic_key_verifier(public_key=folder / "key.pem")
    return signer.name, _problem(config, signed, folder)


def _by_certificate(
    claim: Claim, signed: Signed, signers: Iterable[Signer], folder: Path
) -> tuple[str, str]:
    """As `_by_key`; the first authority that the certificate leads to counts."""
    if claim.problem:
        return "", claim.problem
    reason = NO_AUTHORITY
    for signer in (each for each in signers if each.kind == "authority"):
        roots = x509.load_pem_x509_certificates(signer.pem.encode())
        if ended := why_not_now(roots):
            reason = f"{NO_AUTHORITY}: {ended}"
            continue
        (folder / "roots.pem").write_text(signer.pem)
        config = verifying.Config().use_certificate_verifier(
            certificate_chain=[folder / "roots.pem"]
        )
        problem = _problem(config, signed, folder)
        if problem != NO_AUTHORITY:
            return signer.name, problem
    return "", reason


def _problem(config: verifying.Config, signed: Signed, folder: Path) -> str:
    known = KnownDigests(signed)
    try:
        config.set_hashing_config(known).verify(folder, folder / "model.sig")
    except crypto.X509StoreContextError:
        return NO_AUTHORITY
    except InvalidSignature:
        return FORGED
    except FAILURES as error:
        if known.asked:
            return OF_ANOTHER
        return f"it cannot be checked: {clean(error)[:200]}"
    return ""
