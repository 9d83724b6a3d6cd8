"""Tokens: how they are written, and what is kept of them.

    zoo_1a2B3c4D_<40 letters and digits><6 of a checksum>

The first part is public, and finds the token; the secret has 238 bits. Of that its SHA-256 is kept:
a slow hash would add nothing. The checksum tells a slip from a token that was revoked, and lets
scanners of secrets be sure.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from zlib import crc32

__all__ = ["Secret", "digest_of", "new_secret", "read_secret", "utc_text", "without_tokens"]

LETTERS = string.digits + string.ascii_letters
TOKEN = re.compile(r"zoo_([0-9A-Za-z]{8})_([0-9A-Za-z]{40})([0-9A-Za-z]{6})")
LIKE_TOKEN = re.compile(r"zoo_([0-9A-Za-z]{8})_[0-9A-Za-z]{6,}")


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A token: the public ``id``, and the ``secret`` behind it."""

    id: str
    secret: str

    def __str__(self) -> str:
        body = f"{self.id}_{self.secret}"
        return f"zoo_{body}{_checksum(body)}"

    @property
    def kept(self) -> str:
        """What is kept of the secret."""
        return digest_of(self.secret)

    def is_kept_as(self, kept: str) -> bool:
        """Whether that is what was kept of this one."""
        return compare_digest(self.kept, kept)


def digest_of(text: str) -> str:
    """What is kept of a text that nobody can guess, in place of it."""
    return hashlib.sha256(text.encode()).hexdigest()


def utc_text(time: datetime) -> str:
    """A time in UTC, in whole seconds, as the accounts have it: such texts sort as their times."""
    return f"{time.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def new_secret() -> Secret:
    """A new token."""
    return Secret(*("".join(secrets.choice(LETTERS) for _ in range(n)) for n in (8, 40)))


def read_secret(text: str) -> Secret | None:
    """Read a token; None if the text is none, or has a slip."""
    match = TOKEN.fullmatch(text)
    if match is None or _checksum(f"{match[1]}_{match[2]}") != match[3]:
        return None
    return Secret(match[1], match[2])


def without_tokens(text: str) -> str:
    """A text without what looks like a token, or a part of one; the public part stays."""
    return LIKE_TOKEN.sub(r"zoo_\1_…", text)


def _checksum(text: str) -> str:
    number, digits = crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(LETTERS))
        digits = LETTERS[digit] + digits
    return digits
