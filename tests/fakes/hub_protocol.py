"""What a request to the hub, its answer, and a repository are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Repo", "Request", "error", "etag", "git_hash", "is_lfs", "json_answer"]

LFS_SUFFIXES = (".safetensors", ".bin")


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def token(self) -> str | None:
        value = self.headers.get("authorization", "")
        return value.removeprefix("Bearer ") or None


@dataclass(frozen=True)
class Answer:
    """What goes back. After ``cut`` bytes of the body the connection ends, by RST if ``reset``."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    reset: bool = False


@dataclass
class Repo:
    """A repository: files by commit, commits by branch or tag, and large files that were sent."""

    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    modified: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def commit(self, name: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        bodies = {path: hashlib.sha1(body).hexdigest() for path, body in files.items()}
        content = repr((name, self.refs.get(branch), sorted(bodies.items())))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[branch] = commit
        return commit

    def readable(self, token: str | None, members: set[str]) -> bool:
        return not self.info.get("private") or token in members

    def pin(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def etag(path: str, body: bytes) -> str:
    return hashlib.sha256(body).hexdigest() if is_lfs(path) else git_hash(body)


def git_hash(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def json_answer(value: object, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})
