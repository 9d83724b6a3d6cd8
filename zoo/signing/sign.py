"""Sign: make a signature of a checkpoint; and read the key of somebody whose signatures count."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from zoo.domain.limits import SIGNATURE_BYTES, SIGNER_BYTES
from zoo.domain.signature import Signed, Signer
from zoo.errors import MALFORMED, Forbidden, Invalid, InvalidOption, Unsupported, disk_errors
from zoo.signing.claim import claim_of, fingerprint, subject
from zoo.signing.library import KnownDigests, signing

__all__ = ["read_signer", "sign"]

CURVES = ("secp256r1", "secp384r1", "secp521r1")
CERTIFICATE = b"BEGIN CERTIFICATE-"
MAKE = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"


def sign(
    signed: Signed,
    key: Path,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
    *,
    password: str = "",
) -> bytes:
    """A signature of what is ``signed``, with the private ``key``, in PEM, whose ``password`` it
    is; with its ``certificate`` and the ``chain`` that leads from that to an authority.

    Raises:
        Invalid: The key is none, or not that of the certificate, which counts now.
        Forbidden: Others may read the key.
        Unsupported: There are too many files.
    """
    _check_files(*filter(None, (key, certificate)), *chain)
    config = signing.Config().set_hashing_config(KnownDigests(signed))
    with TemporaryDirectory() as scratch:
        to = Path(scratch, "model.sig")
        try:
            if certificate:
                config.use_certificate_signer(
                    private_key=key,
                    signing_certificate=certificate,
                    certificate_chain=chain or [certificate],  # it takes no empty one
                )
            else:
                secret = password.encode() or None
                # It hands on what it gets to a library that takes bytes.
                config.use_elliptic_key_signer(private_key=key, password=secret)  # type: ignore[arg-type]
            config.sign(scratch, to)
        except (*MALFORMED, UnsupportedAlgorithm) as error:
            raise _unusable(key, error) from error
        bundle = to.read_bytes()
    _check_secret(key)
    if len(bundle) > SIGNATURE_BYTES:
        files = len(signed.files)
        raise Unsupported(f"a signature of {files:,} files has more than {SIGNATURE_BYTES:,} bytes")
    if problem := claim_of(bundle).problem:
        raise InvalidOption(f"{problem}: nobody would take its signature")
    return bundle


def _check_files(*files: Path) -> None:
    """See that files are such, and no larger than keys and certificates are.

    Raises:
        Invalid: One is not.
        OSError: It cannot be looked at.
    """
    for file in files:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Invalid(f"{file} is no file")
        if status.st_size > SIGNER_BYTES:
            raise Invalid(f"{file} is no key: it has more than {SIGNER_BYTES:,} bytes")


def _check_secret(key: Path) -> None:
    """See, as ssh does, that a key of the user's own is for nobody else to read.

    Raises:
        Forbidden: It is.
    """
    status = key.stat()
    if status.st_uid == os.getuid() and status.st_mode & 0o077:
        problem = "others can read this key, and sign in your name"
        raise Forbidden(key, problem, f"chmod 600 {quote(str(key))}")


def _unusable(key: Path, error: Exception) -> InvalidOption:
    reason = (str(error).splitlines() or [""])[0]
    if "not given but private key is encrypted" in reason:
        return InvalidOption(f"{key} has a password", hint="have it asked for: --ask-password")
    if isinstance(error, AttributeError):  # a key of another kind has no curve
        reason = "it is on none of the curves P-256, P-384, P-521"
    return InvalidOption(f"{key} cannot sign: {reason:.200}", hint=MAKE)


def read_signer(name: str, file: Path) -> Signer:
    """Somebody called ``name`` whose signatures are to count, from a file in PEM: their public key,
    or the certificates of an authority.

    Raises:
        Invalid: It is neither, or both, or several keys.
        OSError: It cannot be read.
    """
    _check_files(file)
    with disk_errors(file), file.open("rb") as opened:
        pem = opened.read(SIGNER_BYTES)
    if b"PRIVATE KEY" in pem:
        public = f"openssl ec -in {file} -pubout -out public.pem"
        raise Invalid(f"{file} is a private key, which nobody else should have", hint=public)
    if len(keys := re.findall(rb"BEGIN [A-Z0-9 ]+-", pem)) > 1 and {*keys} != {CERTIFICATE}:
        raise Invalid(f"{file} has several keys", hint="put each into a file of its own")
    try:
        if CERTIFICATE in pem:
            roots = x509.load_pem_x509_certificates(pem)
            return Signer(name=name, kind="authority", by=subject(roots[0]), pem=pem.decode())
        key = load_pem_public_key(pem)
    except (*MALFORMED, UnsupportedAlgorithm) as error:
        raise Invalid(f"{file} is neither a public key nor a certificate, in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise Invalid(f"{file} is a key on none of the curves P-256, P-384, P-521", hint=MAKE)
    return Signer(name=name, kind="key", by=fingerprint(key), pem=pem.decode())
