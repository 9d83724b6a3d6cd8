"""The files of docs/deploy, as they stand there: nginx in front, and systemd beneath."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.sending import sha256
from fakes.served import Served, serving
from fakes.smuggled import smuggled
from safetensors.numpy import save_file

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
SENDS = Path(__file__).parent / "stock_sends.py"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
OPENSSL = shutil.which("openssl")
ANALYZE = shutil.which("systemd-analyze")
TRIES = 500
NOTHING: Mapping[str, str] = {}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
        return port


def configure(folder: Path, served: Served, port: int) -> None:
    """Write the site as it is in the docs, but for names, ports and paths, below ``/zoo/``."""
    text = (DEPLOY / "nginx.conf").read_text()
    for there, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server 127.0.0.1:8765": f"server {served.url.partition('//')[2]}",
        "server_name zoo.lab.org": "server_name localhost",
        "/etc/ssl/zoo.lab.org.pem": f"{folder}/cert.pem",
        "/etc/ssl/private/zoo.lab.org.key": f"{folder}/key.pem",
        "/var/log/nginx/zoo.log": f"{folder}/access.log",
        "location / {": "location /zoo/ {",
    }.items():
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;"
        f"events {{}}\nhttp {{\n{temporary}{text}\n}}\n"
    )
    assert OPENSSL
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip


class Proxied:
    """A served zoo behind nginx, at ``https://localhost:PORT/zoo``."""

    def __init__(self, served: Served, port: int, folder: Path) -> None:
        self.served, self.port, self.folder = served, port, folder
        self.url = f"https://localhost:{port}/zoo"
        self.context = ssl.create_default_context(cafile=folder / "cert.pem")

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=self.context)

    def ask(
        self,
        path: str,
        said: Mapping[str, str] = NOTHING,
        method: str = "GET",
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        with closing(self.connect()) as connection:
            connection.request(method, path, body, dict(said))
            got = connection.getresponse()
            return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, make_zoo: Callable[[Path], None]
) -> Iterator[Proxied]:
    if not NGINX or not OPENSSL:
        pytest.skip("needs nginx (Debian's nginx-light) and openssl")
    folder, port = tmp_path_factory.mktemp("proxied"), free_port()
    make_zoo(folder / "zoo")
    with serving(folder / "zoo", f"https://localhost:{port}/zoo") as served:
        configure(folder, served, port)
        command = [NGINX, "-p", str(folder), "-c", f"{folder}/nginx.conf", "-g", "daemon off;"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                yield started(Proxied(served, port, folder), process)
            finally:
                process.terminate()
                process.wait(60)


def started(proxied: Proxied, process: subprocess.Popen[bytes]) -> Proxied:
    for _ in range(TRIES):
        try:
            with closing(socket.create_connection(("127.0.0.1", proxied.port))):
                return proxied
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
    raise AssertionError("nginx does not answer")


def test_files_come_through(proxied: Proxied) -> None:
    """Redirects stay below the path, and ranges and tags go through."""
    token = {"Authorization": f"Bearer {proxied.served.token('ann')}"}
    at = "/zoo/team/net/resolve/main/more.safetensors"
    status, headers, _ = proxied.ask(at, token)
    assert status == 307
    where = headers["location"]
    assert where.startswith("/zoo/team/net/resolve/")
    status, headers, whole = proxied.ask(where, token)
    assert (status, int(headers["content-length"])) == (200, len(whole))
    assert headers["x-repo-commit"] in where
    status, headers, part = proxied.ask(where, token | {"Range": "bytes=5-20"})
    assert (status, part) == (206, whole[5:21])
    assert proxied.ask(where, token | {"If-None-Match": headers["etag"]})[0] == 304
    assert proxied.ask(where, token, "HEAD")[1]["content-length"] == str(len(whole))
    status, headers, _ = proxied.ask("/zoo/api/models?limit=1", token)
    assert headers["link"].startswith(f"<{proxied.url}/api/models?")
    assert proxied.ask("/zoo/api/models/team/net/revision/no%2Fsuch", token)[0] == 404
    assert proxied.ask("/elsewhere")[0] == 404
    assert proxied.ask("/zoo/metrics")[0] == 401
    assert proxied.ask("/zoo/readyz")[0] == 200


def test_whose_address_it_is_and_no_secret_in_the_log(proxied: Proxied) -> None:
    before = proxied.served.accounts.audit.head().number
    said = {"X-Forwarded-For": "198.51.100.7", "Authorization": "Bearer hf_no"}
    assert proxied.ask("/zoo/api/whoami-v2?seal=secret.text", said)[0] == 401
    (row,) = proxied.served.accounts.audit.rows(after=before, limit=9)
    assert row.address == "127.0.0.1", "as nginx saw it, whatever the client said"
    log, ends = "", time.monotonic() + 10
    while '"GET /zoo/api/whoami-v2" 401' not in log:  # it is written after the answer
        assert time.monotonic() < ends, log
        log = (proxied.folder / "access.log").read_text()
    assert "secret" not in log


def test_no_request_is_hidden_in_another_one(proxied: Proxied) -> None:
    """What nginx hands on is as many requests here as there: no answer is left for others."""
    for said in smuggled("localhost", "/zoo/"):
        last = b"GET /zoo/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = b""
        with closing(proxied.connect()) as connection:
            connection.connect()
            connection.sock.sendall(said + last)
            connection.sock.settimeout(5)
            with suppress(OSError):
                while piece := connection.sock.recv(65536):
                    answer += piece
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 200")), (
            said,
            answer,
        )
        for _ in range(3):
            assert proxied.ask("/zoo/api/agent-harnesses")[0] == 200
            assert proxied.ask("/zoo/no/such/page")[0] == 404


def test_a_slow_sender_keeps_nobody_waiting(proxied: Proxied) -> None:
    data = os.urandom(300_000)
    token = {"Authorization": f"Bearer {proxied.served.token('eve', 'write')}"}
    made = proxied.ask("/zoo/api/repos/create", token, "POST", b'{"name": "slow"}')
    assert made[0] == 200
    asked = {"operation": "upload", "objects": [{"oid": sha256(data), "size": len(data)}]}
    batch = "/zoo/eve/slow.git/info/lfs/objects/batch"
    told: Any = json.loads(proxied.ask(batch, token, "POST", json.dumps(asked).encode())[2])
    href: str = told["objects"][0]["actions"]["upload"]["href"]
    assert href.startswith(proxied.url)
    with closing(proxied.connect()) as slow:
        slow.putrequest("PUT", href.partition(f":{proxied.port}")[2])
        slow.putheader("Content-Length", str(len(data)))
        slow.endheaders(data[:1000])
        for _ in range(3):
            assert proxied.ask("/zoo/healthz")[0] == 200
        arriving = proxied.served.server.hub.metrics.uploads
        while not next(iter(arriving.collect())).samples[0].value:
            time.sleep(0.01)  # it comes through before all of it was sent
        slow.send(data[1000:])
        assert slow.getresponse().status == 200


@pytest.mark.long
def test_a_stock_client_sends_a_large_file_in_parts(proxied: Proxied, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    (sent / "deep").mkdir(parents=True)
    (sent / "any.bin").write_bytes(os.urandom(130 << 20))
    (sent / "deep" / "notes.txt").write_text("text")
    (sent / "README.md").write_text("A folder.\n")
    save_file({"a": np.arange(1000, dtype=np.float32)}, sent / "model.safetensors")
    env = {
        **os.environ, "HF_ENDPOINT": proxied.url, "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": proxied.served.token("max", "write"), "HF_HUB_DISABLE_XET": "1",
        "SSL_CERT_FILE": str(proxied.folder / "cert.pem"), "NO_PROXY": "localhost",
        "REQUESTS_CA_BUNDLE": str(proxied.folder / "cert.pem"),
        "HF_HUB_ETAG_TIMEOUT": "60", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(SENDS), "max/large", str(sent)]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["whole"]
    assert told["before"]
    assert "/zoo/lfs/parts/" in (proxied.folder / "access.log").read_text()
    assert not [*(proxied.folder / "proxy").rglob("*.*")], "nothing went over nginx's disk"


@pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["zoo.service", "zoo-repack.timer"])
def test_systemd_takes_the_units(tmp_path: Path, name: str) -> None:
    program = Path(sys.executable).with_name("zoo")
    for each in DEPLOY.glob("zoo*.*"):
        text = each.read_text()
        assert text.count("/opt/zoo/bin/zoo ") == (each.suffix == ".service")
        (tmp_path / each.name).write_text(text.replace("/opt/zoo/bin/zoo", str(program)))
    assert ANALYZE
    done = subprocess.run([ANALYZE, "verify", "--man=no", tmp_path / name], check=False,
                          capture_output=True, text=True)  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "zoo" in line]
    assert (done.returncode, said) == (0, []), done.stderr
