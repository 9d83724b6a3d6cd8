"""Keys and certificates of people who sign, made for a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

__all__ = ["Authority", "Key", "make_key"]

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Key:
    """A pair of keys, in the files ``private`` and ``public``."""

    def __init__(self, folder: Path, name: str, key: Private, password: str) -> None:
        self.key = key
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        hidden: KeySerializationEncryption = NoEncryption()
        if password:
            hidden = BestAvailableEncryption(password.encode())
        self.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        self.private.chmod(0o600)
        form = PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, form))


def make_key(
    folder: Path, name: str, *, curve: str = "P-256", password: str = "", is_rsa: bool = False
) -> Key:
    """A new pair."""
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-224": ec.SECP224R1()}
    key: Private = ec.generate_private_key(curves[curve])
    if is_rsa:
        key = rsa.generate_private_key(65537, 2048)
    return Key(folder, name, key, password)


class Authority:
    """Who certifies keys; ``file`` has its own certificate, which ends after ``days``."""

    def __init__(self, folder: Path, name: str, *, days: float = 3650) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.file = folder / f"{name}.crt"
        self._write(self.file, name, self.key.public_key(), days=days, is_authority=True)

    def certify(
        self,
        key: Key,
        name: str,
        *,
        days: float = 30,
        began: float = 60,
        signs: bool | None = True,
        file: str = "",
    ) -> Path:
        """The certificate of a key, called ``name``, which began so many days ago and ends in
        ``days``, in a ``file``; without ``signs``, it is for something else, and says nothing of
        what it is for where that is None.
        """
        path = self.folder / (file or f"{name}-by-{self.name}.crt")
        public = key.key.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        self._write(path, name, public, days=days, began=began, signs=signs)
        return path

    def _write(
        self,
        file: Path,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        days: float,
        began: float = 90,
        is_authority: bool = False,
        signs: bool | None = True,
    ) -> None:
        now = datetime.now(UTC)

        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        usage = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only", "crl_sign"), False,
        )  # fmt: skip
        made = (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=began))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if signs is not None:
            said = x509.KeyUsage(
                digital_signature=signs and not is_authority,
                key_cert_sign=is_authority,
                key_encipherment=not signs,
                **usage,
            )
            made = made.add_extension(said, critical=True)
        file.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
