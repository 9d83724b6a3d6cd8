"""Claims: what an issuer says in a token that it has signed (JWT), once that is checked."""

from __future__ import annotations

import time
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from zoo.serve.sso import check_sso
from zoo.serve.sso.issuer import Issuer, Key

__all__ = ["LEEWAY", "Claims", "InvalidToken", "issuer_of", "verified"]

Claims = Mapping[str, object]
KIND: Mapping[str, str] = {
    **{f"{name}{bits}": "RSA" for name in ("RS", "PS") for bits in (256, 384, 512)},
    **{f"ES{bits}": "EC" for bits in (256, 384, 512)},
    **dict.fromkeys(("EdDSA", "Ed25519"), "OKP"),
}
"""Kinds of keys, by the signatures that they make. None is a secret that both sides have: whoever
knows a public key could sign by it.
"""
MOST = 64 * 1024
"""Bytes of a token: of who is in 1,000 groups with long names or ids, too."""
LEEWAY = 60
"""Seconds by which clocks may differ."""
LONGEST = 24 * 3600
"""Seconds that a token may last: for so long it is remembered."""
LATEST = 1 << 40
"""Seconds since 1970 that a token may speak of: some ten thousand years."""
MODULUS = range(340, 1370)
"""Letters of a modulus of 2048 to 8192 bits."""
T = TypeVar("T")


class InvalidToken(Exception):
    """A token that proves nothing. It says why, for who runs the server."""


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: Annotated[str, Meta(max_length=500)] | None = None


class _Issued(msgspec.Struct, frozen=True):
    iss: str


def issuer_of(text: str) -> str:
    """Who is said to have signed a token; nothing is checked yet.

    Raises:
        Untrusted: It is no token.
    """
    return _part(text, 1, _Issued).iss


def verified(text: str, issuer: Issuer, audience: str) -> Claims:
    """The claims of a token that an issuer has signed for ``audience``, and that is good now.

    Raises:
        Untrusted: It is none.
        Unavailable: The issuer does not tell its keys.
        MissingPackage: What checks signatures is not installed.
    """
    check_sso()
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    header = _part(text, 0, _Header)
    if header.alg not in KIND:
        raise InvalidToken(f"signed by {header.alg[:20]!a}, which is not taken")
    keys = [key for key in issuer.keys(header.kid) if _signs(key, KIND[header.alg])]
    if len(keys) != 1:
        raise InvalidToken("signed by a key that its issuer does not have")
    # It is what providers still call Ed25519, of whose curve alone keys are taken.
    warnings.filterwarnings("ignore", "EdDSA is deprecated")
    try:
        plain: dict[str, str | list[str]] = {
            name: text for name, text in keys[0].items() if isinstance(text, str)
        }
        key = JWKRegistry.import_key(plain)
        claims: Claims = jwt.decode(text, key, algorithms=[header.alg]).claims
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidToken("its signature is wrong, or its key") from error
    _check(claims, issuer.url, audience)
    return claims


def _check(claims: Claims, issuer: str, audience: str) -> None:
    """See that claims are of an issuer, for somebody, and good now."""
    now = time.time()
    if claims.get("iss") != issuer:
        raise InvalidToken("of another issuer")
    claim = claims.get("aud")
    audiences = claim if isinstance(claim, list) else [claim]
    # What is for several, one of them could show to the others.
    alone = len(audiences) == 1 or claims.get("azp") == audience
    if audience not in audiences or not alone:
        raise InvalidToken("for somebody else")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise InvalidToken("of nobody")
    ends, begins = _time(claims, "exp"), _time(claims, "nbf", 0)
    if ends + LEEWAY <= now:
        raise InvalidToken("it has expired")
    if max(begins, _time(claims, "iat", 0)) - LEEWAY > now:
        raise InvalidToken("it is not good yet")
    if ends - now > LONGEST:
        raise InvalidToken("it lasts for more than a day")


def _time(claims: Claims, name: str, default: int | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LATEST:
        raise InvalidToken(f"it does not say when ({name})")  # as what is no number
    return value


def _signs(key: Key, kind: str) -> bool:
    """Whether a key is one of a kind, for signatures, of a size that is safe and quick."""
    modulus = key.get("n", "")
    safe = kind == "EC"
    if kind == "RSA":
        safe = isinstance(modulus, str) and len(modulus) in MODULUS
    elif kind == "OKP":
        safe = key.get("crv") == "Ed25519"
    return key.get("kty") == kind and key.get("use", "sig") == "sig" and safe


def _part(text: str, at: int, kind: type[T]) -> T:
    """The header or the claims, as they stand there."""
    parts = text.split(".")
    if len(text) > MOST:
        raise InvalidToken(
            f"its token has {len(text):,} bytes, more than {MOST:,}: fewer groups fit"
        )
    if len(parts) != 3 or not text.isascii():
        raise InvalidToken("no token of OpenID Connect")
    try:
        return msgspec.json.decode(urlsafe_b64decode(parts[at] + "==="), type=kind)
    except (ValueError, RecursionError):
        raise InvalidToken("no token of OpenID Connect") from None
