"""Assets: the style sheet and scripts of the pages. Their addresses name their content, so that
browsers need not ask again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask

__all__ = ["asset", "asset_path"]

FOLDER = Path(__file__).parent / "static"
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
CSP = "default-src 'none'; frame-ancestors 'none'"
"""A worker has the policy that its script comes with: in a sandbox it could read no file."""
LONG = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    kind: str
    digest: str


@cache
def _assets() -> Mapping[str, _Asset]:
    files = [path for path in FOLDER.iterdir() if path.suffix in KINDS]
    return {path.name: _read(path) for path in files}


def _read(path: Path) -> _Asset:
    content = path.read_bytes()
    return _Asset(content, KINDS[path.suffix], hashlib.sha256(content).hexdigest()[:16])


def asset_path(name: str) -> str:
    """The path of a file in ``static``."""
    return f"/-/{_assets()[name].digest}/{name}"


def asset(ask: Ask, digest: str, file: str) -> Answer:
    """A file, under whichever digest: a page that was open while the server was updated goes on."""
    del ask
    if file not in _assets():
        raise Refused("NotFound")
    asset_file = _assets()[file]
    lasting = LONG if digest == asset_file.digest else {"Cache-Control": "no-cache"}
    headers = {"Content-Type": asset_file.kind, "Content-Security-Policy": CSP, **lasting}
    return Answer(headers=headers, body=asset_file.content)
