"""An address of https is told only where its certificate is for its name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from zoo.errors import Unavailable
from zoo.serve.watch.outgoing import post

x509 = pytest.importorskip("cryptography.x509")


class Accepts(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204 if self.headers["X-Kept"] == "yes" else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def write_certificate(path: Path, host: str) -> None:
    """A certificate of its own for ``host``, and its key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    made: Any = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(datetime.now(UTC) - timedelta(days=1))
    made = made.not_valid_after(datetime.now(UTC) + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    signed = made.sign(key, hashes.SHA256())
    path.write_bytes(text + signed.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A server of TLS for ``localhost``, and its certificate."""

    def look_up(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, Any]]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]  # some machines know it by IPv6 first

    monkeypatch.setattr("zoo.serve.watch.outgoing.getaddrinfo", look_up)
    path = tmp_path / "localhost.pem"
    write_certificate(path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with HTTPServer(("127.0.0.1", 0), Accepts) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_port}/hook", path
        server.shutdown()
        thread.join()


def test_who_shows_a_certificate_for_its_name_is_told(
    secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, path = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert post(url, b"{}", {"X-Kept": "yes"}, private=True) == 204
    with pytest.raises(Unavailable, match="its certificate is none for it"):
        post(url.replace("localhost", "127.0.0.1"), b"{}", {}, private=True)


def test_who_shows_one_that_nobody_vouches_for_is_not(secure: tuple[str, Path]) -> None:
    with pytest.raises(Unavailable, match="its certificate is none for it"):
        post(secure[0], b"{}", {}, private=True)
