"""Code: who signs in at a provider comes back with a code, for which it tells who that is (the
authorization code flow of OpenID Connect, with PKCE).
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import msgspec

from zoo import config
from zoo.errors import Forbidden, Unavailable
from zoo.serve.sso.claims import Claims, InvalidToken, verified
from zoo.serve.sso.issuer import Issuer, Metadata
from zoo.serve.who.providers import Provider
from zoo.serve.who.seals import Seals

__all__ = ["AuthorizationRequest", "address", "claims_of", "read_secret_file"]

SCOPES = "openid email profile"
SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AuthorizationRequest:
    """What tells one try to sign in from others. All of it is made of what the browser that began
    it has, with this server's key, so that nothing is kept of a try that comes to nothing.

    Attributes:
        state: Comes back with the code.
        nonce: Is in the token that the provider signs.
        verifier: Shows that who gives the code has asked for it (PKCE, RFC 7636).
        back: The address to come back to.
    """

    state: str
    nonce: str
    verifier: str
    back: str

    @classmethod
    def of(cls, seals: Seals, cookie: str, back: str) -> AuthorizationRequest:
        """That of a browser with a cookie."""
        state, nonce, verifier = (
            seals.secret(f"{what} of signing in {cookie}")
            for what in ("state", "nonce", "verifier")
        )
        return cls(state=state, nonce=nonce, verifier=verifier, back=back)


class _Answer(msgspec.Struct, frozen=True):
    id_token: str


def address(issuer: Issuer, provider: Provider, way: AuthorizationRequest, *, again: bool) -> str:
    """Where somebody signs in; ``again``, if they have to though they have already.

    Raises:
        Unavailable: The provider does not answer.
    """
    at = _has(issuer, issuer.metadata().authorization_endpoint)
    challenge = urlsafe_b64encode(hashlib.sha256(way.verifier.encode()).digest())
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": way.back,
        "scope": SCOPES,
        "state": way.state,
        "nonce": way.nonce,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **({"prompt": "login"} if again else {}),
    }
    return f"{at}{'&' if '?' in at else '?'}{urlencode(asked)}"


def claims_of(
    issuer: Issuer, provider: Provider, way: AuthorizationRequest, code: str, who: str
) -> Claims:
    """Who has come back with a code, from the network ``who``.

    Raises:
        Untrusted: The provider does not say so, or for another try.
        Unavailable: It does not answer.
        Forbidden: The file with our secret cannot be read, or by others, too.
    """
    metadata = issuer.metadata()
    fields, headers = _known_by(provider, metadata)
    fields |= {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": way.back,
        "code_verifier": way.verifier,
    }
    at = _has(issuer, metadata.token_endpoint)
    status, data = issuer.post(at, urlencode(fields).encode(), headers, who)
    if status >= 500:
        raise Unavailable(issuer.url, f"it answers {status}", hint="")
    if status != 200:
        raise InvalidToken(f"the provider takes no such code, or not from this server ({status})")
    try:
        text = msgspec.json.decode(data, type=_Answer).id_token
    except (msgspec.MsgspecError, RecursionError):
        raise InvalidToken("the provider gives no token for the code") from None
    claims = verified(text, issuer, provider.client_id)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), way.nonce.encode()):
        raise InvalidToken("the provider's token is of another try")
    if claims.get("azp", provider.client_id) != provider.client_id:
        raise InvalidToken("the provider's token is for another client")
    return claims


def _has(issuer: Issuer, endpoint: str) -> str:
    if not endpoint:
        raise Unavailable(issuer.url, "it signs nobody in", hint="")
    return endpoint


def _known_by(provider: Provider, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
    """The fields and headers by which the provider knows this server."""
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    secret = config.sso_secret(provider.name)
    if provider.secret_file:
        secret = read_secret_file(Path(provider.secret_file))
    if not secret:
        return {"client_id": provider.client_id}, headers
    if "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
        both = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
        return {}, {**headers, "Authorization": f"Basic {b64encode(both.encode()).decode()}"}
    return {"client_id": provider.client_id, "client_secret": secret}, headers


def read_secret_file(path: Path) -> str:
    """The secret in a file.

    Raises:
        Forbidden: Everybody can read it.
        Unavailable: It cannot be read.
    """
    try:
        opened = path.open("rb")
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise Unavailable(str(path), reason, hint="it is to have the secret") from error
    with opened:
        if os.fstat(opened.fileno()).st_mode & 0o007:
            raise Forbidden(path, "everybody can read the secret in it", f"chmod o= {path}")
        return opened.read(SECRET_BYTES).decode("utf-8", "replace").strip()
