"""A service in front of the one that speaks S3: it can lose, forget and refuse what passes."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["CUT", "KEY_ID", "SECRET", "Answer", "Front"]

KEY_ID, SECRET = "AKIAEXAMPLEKEYID", "verysecretaccesskey"

CUT = 0
"""The status of an answer that never comes: the line is cut off."""
Answer = tuple[int, list[tuple[str, str]], bytes]


class Front:
    """What stands between client and service; requests pass one at a time.

    Attributes:
        ignores: Headers that it does not know.
        fails: Answers of its own to come, as (method, part of the path, status, pass it on first).
        seen: Method and path of every request.
    """

    def __init__(self, port: int) -> None:
        self.ignores: set[str] = set()
        self.fails: list[tuple[str, str, int, bool]] = []
        self.seen: list[str] = []
        self._port = port
        self._lock = threading.Lock()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with front._lock:
                    status, headers, data = front.answer(self, body)
                if status == CUT:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        self.seen.append(f"{request.command} {request.path}")
        for fail in self.fails:
            method, part, status, first = fail
            if method == request.command and part in request.path:
                self.fails.remove(fail)
                if first:
                    self._pass_on(request, body)
                text = b"<Error><Code>Odd</Code></Error>" + request.headers.as_bytes()
                return status, [("Content-Length", str(len(text)))], text
        return self._pass_on(request, body)

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        inner = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in self.ignores}
        inner.request(request.command, request.path, body, headers)
        response = inner.getresponse()
        data = response.read()
        inner.close()
        found = response.getheaders()
        if request.command != "HEAD":
            found = [pair for pair in found if pair[0].lower() != "content-length"]
            found.append(("Content-Length", str(len(data))))
        return response.status, found, data

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
