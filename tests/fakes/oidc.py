"""A provider of OpenID Connect, with faults on demand.

    with OidcProvider() as provider:
        provider.user = {"sub": "1", "preferred_username": "ann"}
        code, state = provider.signed_in(address)

Whoever comes to its page is signed in as `user`, at once. What it would say is changed by what is
put into `header`, `claims` and `answers`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
import warnings
from base64 import b64decode, urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

__all__ = ["CLIENT", "SECRET", "OidcProvider", "by_public_key", "signed"]

CLIENT, SECRET = "zoo-client", "a secret / of +zoo's"
KEYS: dict[str, RSAKey | ECKey | OKPKey] = {
    "one": RSAKey.generate_key(2048, {"kid": "one"}),
    "other": RSAKey.generate_key(2048, {"kid": "other"}),
    "curve": ECKey.generate_key("P-256", {"kid": "curve"}),
    "edwards": OKPKey.generate_key("Ed25519", {"kid": "edwards"}),
    "448": OKPKey.generate_key("Ed448", {"kid": "448"}),
}
Claims = dict[str, Any]


def signed(claims: Claims, *, kid: str = "one", alg: str = "RS256", key: Any = None) -> str:
    """A token, signed by a key of the provider, or by another one."""
    header = {"alg": alg} | ({"kid": kid} if kid else {})
    if alg == "none":
        return f"{encoded(header)}.{encoded(claims)}."
    text, own = json.dumps(claims).encode(), key or KEYS[kid or "one"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "EdDSA is deprecated")
        return jws.serialize_compact(header, text, own, algorithms=[alg])


def by_public_key(claims: Claims) -> str:
    """A token that is signed by HS256, and the public key as a secret."""
    head, secret = encoded({"alg": "HS256", "kid": "one"}), KEYS["one"].as_pem(private=False)
    text = f"{head}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def encoded(what: object) -> str:
    """As parts of a token are written."""
    data = what if isinstance(what, bytes) else json.dumps(what).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class OidcProvider:
    """The provider.

    Attributes:
        user: Who signs in.
        claims: What else is in its tokens, or instead.
        document: What else is in its document.
        answers: Bytes that are answered at a path, or a status.
        key: The key that it signs by, and those that it shows.
        asked: How often it was asked for each path.
        wants_secret: Whether it takes codes only with one.
        mint: How a token is made of its claims.
    """

    user: Claims = field(default_factory=lambda: {"sub": "1"})
    claims: Claims = field(default_factory=dict)
    document: Claims = field(default_factory=dict)
    answers: dict[str, bytes | int] = field(default_factory=dict)
    key: str = "one"
    shown: list[str] = field(default_factory=lambda: ["one"])
    asked: Counter[str] = field(default_factory=Counter)
    wants_secret: bool = True
    mint: Any = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The issuer."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def told(self, audience: str = CLIENT, **more: Any) -> Claims:
        """The claims of a token that is good."""
        now = int(time.time())
        made = {"iss": self.url, "aud": audience, "iat": now, "exp": now + 300}
        return {**made, **self.user, **more, **self.claims}

    def signed_in(self, address: str) -> dict[str, str]:
        """What a browser brings back that was sent to an address of the provider."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        self.asked[parts.path] += 1
        if parts.path == "/authorize":
            back = self.signed_in(request.path)
            to = self.codes[back["code"]]["redirect_uri"]
            request.send_response(302)
            request.send_header("Location", f"{to}?{urlencode(back)}")
            request.end_headers()
            return
        keys = [KEYS[name].as_dict(private=False) for name in self.shown]
        documents: dict[str, Claims] = {
            "/.well-known/openid-configuration": {
                "issuer": self.url, "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token", **self.document,
            },
            "/keys": {"keys": keys},
        }  # fmt: skip
        self._send(request, parts.path, documents.get(parts.path))

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        self.asked[request.path] += 1
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        sent = {name: values[0] for name, values in parse_qs(body).items()}
        asked = self.codes.pop(sent["code"], None)  # each is good once
        challenge = encoded(hashlib.sha256(sent["code_verifier"].encode()).digest())
        right = asked and challenge == asked["code_challenge"]
        right = right and sent["redirect_uri"] == asked["redirect_uri"]  # type: ignore[index]
        if self.wants_secret:
            said = b64decode(request.headers.get("Authorization", "")[6:]).decode()
            right = right and [unquote_plus(each) for each in said.split(":")] == [CLIENT, SECRET]
        if not right:
            self._send(request, request.path, None)
            return
        assert asked
        claims = self.told(nonce=asked["nonce"])
        token = self.mint(claims) if self.mint else signed(claims, kid=self.key)
        self._send(request, request.path, {"token_type": "Bearer", "id_token": token})

    def _send(self, request: BaseHTTPRequestHandler, path: str, document: Claims | None) -> None:
        answer = self.answers.get(path, 400 if document is None else json.dumps(document).encode())
        request.send_response(answer if isinstance(answer, int) else 200)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        if isinstance(answer, bytes):
            request.wfile.write(answer)
