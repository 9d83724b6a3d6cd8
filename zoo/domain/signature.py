"""Signature: who vouches for a checkpoint; and whom the user of this machine trusts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.errors import Unsupported

__all__ = [
    "MANIFEST_FILE",
    "POLICIES",
    "SIGNATURES",
    "Policy",
    "Signature",
    "Signed",
    "Signer",
    "Signers",
]

Policy = Literal["off", "warn", "enforce", "published"]
"""What is done of a checkpoint that nobody trusted has signed: it is kept, told of, refused; or
refused unless it comes from whoever publishes it, such as timm and the HF Hub.
"""
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""All of these."""
MANIFEST_FILE = "zoo-manifest.json"
"""What the manifest is called among the files that a signature is of."""
SIGNATURES = "signatures"
"""The folder beside these files that a program which checks them leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a signature of a checkpoint, or of a snapshot, is of.

    The manifest has the digest of every tensor, and what is said of them. So its own SHA-256 covers
    all; those of the files, which it states, are there for other programs, that know no manifest.

    Attributes:
        manifest: Which one it is.
        files: The SHA-256, as hex digits, of each of its files and of the manifest.
    """

    manifest: Digest
    files: Mapping[str, str]

    @classmethod
    def of(cls, manifest: Digest, document: Manifest | Snapshot, sha256: str) -> Self:
        """What is to be signed of a ``document``, whose bytes have that ``sha256``.

        Raises:
            Unsupported: A file is called as its manifest is, or lies where signatures do.
        """
        if isinstance(document, Snapshot):
            files = {file.path: file.sha256.hex for file in document.files}
        else:
            files = {file.name: file.sha256.hex for file in document.weights}
            files |= {file.name: file.sha256.hex for file in document.files}
        for name in files:
            if name == MANIFEST_FILE or name.partition("/")[0] == SIGNATURES:
                raise Unsupported(f"no signature can be of {manifest}: a file is called '{name}'")
        return cls(manifest=manifest, files={**files, MANIFEST_FILE: sha256})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Signature(Result):
    """A signature of a checkpoint, as it was checked.

    Attributes:
        manifest: The checkpoint, or the snapshot.
        digest: That of the signature's own bytes.
        kind: How it was made: with a ``key``, a ``certificate``; empty if that is not known.
        by: The fingerprint of the key, or whom the certificate is of: as it says itself, and so
            proven only if there is no problem.
        signer: What the user calls the key, or the authority of the certificate; empty if it is
            none that is trusted.
        problem: Why it does not count; empty if it does.
        at: When it was put where it is.
    """

    manifest: Digest
    digest: Digest
    kind: Literal["", "key", "certificate"] = ""
    by: str = ""
    signer: str = ""
    problem: str = ""
    at: str = ""

    @property
    def maker(self) -> str:
        """Who says that they made it, for people."""
        if self.kind == "key":
            return f"the key {self.by[:12]}"
        return self.by or f"({self.digest.short})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Signer(Result):
    """Somebody whose signatures count.

    Attributes:
        name: What the user calls them.
        kind: Whether it is a public ``key``, or an ``authority`` that certifies keys.
        by: The fingerprint of the key, or the name in the authority's certificate.
        pem: The key, or the certificates.
    """

    name: str
    kind: Literal["key", "authority"]
    by: str
    pem: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Signers(Result):
    """Whom the user trusts to sign, and which names have to be signed.

    Attributes:
        signers: The former, by name.
        policies: What is done of names without a signature, by the pattern that they match; the
            longest one counts.
    """

    signers: tuple[Signer, ...]
    policies: Mapping[str, Policy]
