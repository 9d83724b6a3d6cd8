"""A server that is killed where it is about to write: the n-th time that it opens a file to write,
renames, links, deletes, or that its database commits.

``python -m fakes.killed ROOT STORY`` is warm; each line on its input is a server, in a process of
its own: ``{"begin": 2, "end": 5, "at": 7}`` takes three steps of the story and kills it at the
seventh write of them (0: never), ``{"look": true}`` tells what the server answers. Steps are
requests, each of which is acknowledged, or is not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import numpy as np
from blake3 import blake3
from fakes.checkpoints import entry, store_checkpoint
from fakes.sending import sha256, shard, xorb
from fakes.served import Got, Served, ask, commit, serving
from safetensors.numpy import save
from sqlalchemy import event
from sqlalchemy.engine import Engine

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.remotes import connect
from zoo.serve.hub import lfs
from zoo.store.listing import name_of
from zoo.store.refs import entry_name
from zoo.store.verify import verify

__all__ = ["DONE", "IN_PARTS", "STORIES", "look", "run", "told_by"]

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
DONE = {200, 201, 202, 404, 409}
"""Of a step that is done again: it was done already, perhaps."""
Step = Callable[[Served, str], int]
REPO = "ann/line"
REF = Reference.parse(REPO)


class Deaths:
    """Counts the writes of this process, and kills it at one of them."""

    def __init__(self) -> None:
        self.at = self.count = 0
        self.armed = False
        sys.addaudithook(self._hook)
        event.listen(Engine, "commit", lambda _: self._met())

    def _hook(self, name: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        opens = name == "open" and isinstance(args[2], int) and args[2] & WRITES
        if opens or name in CHANGES:
            self._met()

    def _met(self) -> None:
        if not self.armed:
            return
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def _send(path: str, method: str, value: object = None) -> Step:
    def step(served: Served, token: str) -> int:
        body = b"" if value is None else json.dumps(value).encode()
        return ask(served.url, path, method, token=token, body=body).status

    return step


def _commit(text: str) -> Step:
    return lambda served, token: commit(served.url, REPO, text, token).status


def _weights(seed: int) -> bytes:
    values = np.random.default_rng(seed).standard_normal(9_000, "f4")
    return save({"a": values, "b.bias": np.ones(9, np.float32)})


def _lfs(seed: int) -> Step:
    """Sends a file and commits it."""

    def step(served: Served, token: str) -> int:
        data = _weights(seed)
        oid, size = sha256(data), len(data)
        batch = {"operation": "upload", "objects": [{"oid": oid, "size": size}]}
        told = ask(
            served.url, f"/{REPO}.git/info/lfs/objects/batch", "POST", token=token,
            body=json.dumps(batch).encode(),
        )  # fmt: skip
        if told.status != 200:
            return told.status
        (file,) = told.json["objects"]
        if "actions" in file:
            there = file["actions"]["upload"]["href"].removeprefix(served.url)
            if (got := ask(served.url, there, "PUT", body=data)).status != 200:
                return got.status
        return _commit_file(served, token, data, f"weights {seed}").status

    return step


def _commit_file(served: Served, token: str, data: bytes, title: str) -> Got:
    """Commit a file that was sent."""
    file = {"path": "model.safetensors", "algo": "sha256", "oid": sha256(data), "size": len(data)}
    lines = [{"key": "header", "value": {"summary": title}}, {"key": "lfsFile", "value": file}]
    body = "\n".join(map(json.dumps, lines)).encode()
    return ask(served.url, f"{MODEL}/commit/main", "POST", token=token, body=body)


def _post(served: Served, path: str, token: str, value: object) -> Got:
    return ask(served.url, path, "POST", token=token, body=json.dumps(value).encode())


def _path(url: str) -> str:
    """The part of a URL that a server is asked for."""
    return urlsplit(url)._replace(scheme="", netloc="").geturl()


def _all_done(*asked: Callable[[], Got]) -> int:
    """Ask one after the other, until something is refused; the status of the last one."""
    status = 200
    for each in asked:
        status = each().status
        if status not in DONE:
            break
    return status


def _multipart(seed: int) -> Step:
    """Sends a file in parts, and commits it."""

    @patch.object(lfs, "PART_BYTES", 20_000)
    def step(served: Served, token: str) -> int:
        data = _weights(seed)
        asked = {"oid": sha256(data), "size": len(data)}
        wanted = {"operation": "upload", "transfers": ["multipart"], "objects": [asked]}
        told = _post(served, f"/{REPO}.git/info/lfs/objects/batch", token, wanted)
        if told.status != 200:
            return told.status
        upload = told.json["objects"][0].get("actions", {}).get("upload")
        sends = list[Callable[[], Got]]()
        if upload:
            header = upload["header"]
            size = int(header.pop("chunk_size"))
            for number, url in header.items():
                part = data[size * (int(number) - 1) :][:size]
                sends.append(partial(ask, served.url, _path(url), "PUT", body=part))
            sends.append(partial(_post, served, _path(upload["href"]), "", asked))
        return _all_done(*sends, partial(_commit_file, served, token, data, f"parts {seed}"))

    return step


def _xet(seed: int) -> Step:
    """Sends a file as clients of Xet do, and commits it."""

    def step(served: Served, token: str) -> int:
        data = _weights(seed)
        told = ask(served.url, f"{MODEL}/xet-write-token/main", token=token)
        if told.status != 200:
            return told.status
        space, secret = _path(told.json["casUrl"]), told.json["accessToken"]
        name, body, count = xorb(data)
        whole = shard([(sha256(data), [(name, 0, count, len(data))])])
        send = partial(ask, served.url, method="POST", token=secret)
        return _all_done(
            partial(send, f"{space}/v1/xorbs/default/{name}", body=body),
            partial(send, f"{space}/v1/shards", body=whole),
            partial(_commit_file, served, token, data, f"xet {seed}"),
        )

    return step


@cache
def _checkpoint(seed: int) -> Mapping[str, bytes]:
    """The files of a store with one checkpoint, its manifest last."""
    values = np.random.default_rng(seed).standard_normal((2, 9_000), "f4")
    with TemporaryDirectory() as folder:
        store = connect(f"{folder}/remote", create=True)
        manifest = store_checkpoint(store, {"a": values[0], "b": values[1]})
        names = [name_of("objects", item) for item, _ in store.document(manifest).objects()]
        return {
            name: b"".join(store.backend.open(name))
            for name in (*sorted({*names}), name_of("manifests", manifest))
        }


def _push(number: int) -> Step:
    """Sends a checkpoint as zoo does, its first object in parts, and moves the name to it."""
    files, before = _checkpoint(number), _checkpoint(number - 1) if number > 1 else {}
    (first, large), *others = files.items()

    def step(served: Served, token: str) -> int:
        send = partial(ask, served.url, method="PUT", token=token)
        pieces = {blake3(part).hexdigest(): part for part in (large[:20_000], large[20_000:])}
        digest, previous = _manifest_of(files), _manifest_of(before) if before else None
        moved = replace(entry(number, digest, previous), by="ann", why="push").to_bytes()
        parts = [
            partial(send, f"/zoo/v1/parts/{at}-{name}/{first}", body=part)
            for at, (name, part) in enumerate(pieces.items())
        ]
        return _all_done(
            *parts,
            partial(_post, served, f"/zoo/v1/parts/{first}", token, {"parts": [*pieces]}),
            *(partial(send, f"/zoo/v1/store/{name}", body=data) for name, data in others),
            partial(
                send, f"/zoo/v1/store/{entry_name(REF, number)}", body=moved, If_None_Match="*"
            ),
        )

    return step


def _manifest_of(files: Mapping[str, bytes]) -> Digest:
    return Digest("blake3", [*files][-1].rpartition("/")[2].removesuffix(".json"))


MODEL = f"/api/models/{REPO}"
NAMED = {"name": "line", "organization": "ann"}
CREATE = _send("/api/repos/create", "POST", NAMED)
COPY = _send(f"{MODEL}/duplicate", "POST", {"repository": "ann/copy"})
MOVE = _send("/api/repos/move", "POST", {"fromRepo": REPO, "toRepo": "ann/other"})
BACK = _send("/api/repos/move", "POST", {"fromRepo": "ann/other", "toRepo": REPO})
DELETE = _send("/api/repos/delete", "DELETE", {"name": "other", "organization": "ann"})
STORIES: dict[str, Sequence[Step]] = {
    "commits": (
        CREATE, _commit("one"), _commit("two"),
        _send(f"{MODEL}/branch/side", "POST", {}),
        _send(f"{MODEL}/tag/main", "POST", {"tag": "v1"}),
        _send(f"{MODEL}/branch/side", "DELETE"),
    ),
    "weights": (CREATE, _lfs(0), _lfs(1)),
    "parts": (CREATE, _multipart(0), _multipart(1)),
    "xet": (CREATE, _xet(0), _xet(1)),
    "push": (CREATE, _push(1), _push(2)),
    "repositories": (
        CREATE, _commit("one"), _send(f"{MODEL}/branch/side", "POST", {}), COPY,
        _send(f"{MODEL}/settings", "PUT", {"private": True}), MOVE, BACK, MOVE, DELETE,
    ),
}  # fmt: skip
"""What is asked for, one after the other."""
IN_PARTS = (COPY, MOVE, BACK, DELETE)
"""Steps that may be done in part, name by name, and are completed when they are asked for again."""


def run(root: Path, steps: Sequence[Step], token: str, at: int) -> Iterator[int]:
    """Ask for them; the server is killed at its write ``at``. The status of each that was answered,
    and then, less than 0, the number of writes.
    """
    deaths = Deaths()
    with serving(root) as served:
        deaths.at, deaths.armed = at, True
        for step in steps:
            status = step(served, token)
            assert status in DONE, status
            yield status
        deaths.armed = False
    yield -deaths.count


def look(root: Path, token: str) -> object:
    """What the server tells, and whether its files are well."""
    with serving(root) as served:
        _, wrong = served.accounts.audit.check()
        damages = verify(served.server.hub.workspace.store).damages
        assert not wrong, wrong
        assert damages == (), damages
        return told_by(served, token)


def told_by(served: Served, token: str) -> object:
    """What a server tells."""
    found: dict[str, object] = {}
    for each in ("ann/line", "ann/other"):
        told = ask(served.url, f"/api/models/{each}", token=token)
        if told.status != 200:
            continue
        refs = ask(served.url, f"/api/models/{each}/refs", token=token).json
        commits = ask(served.url, f"/api/models/{each}/commits/main", token=token)
        found[each] = [
            told.json["private"],
            sorted(file["rfilename"] for file in told.json.get("siblings", ())),
            sorted(ref["name"] for kind in ("branches", "tags") for ref in refs[kind]),
            [row["title"] for row in commits.json] if commits.status == 200 else [],
        ]
    return found


def main(root: Path, story: str, token: str) -> None:
    """Answer each line with a line."""
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.close(reading)
            try:
                _child(root, story, token, asked, writing)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading) as file:
            said = file.read().split("\n")
        _, status = os.waitpid(child, 0)
        done = {"status": os.waitstatus_to_exitcode(status), "said": said[:-1]}
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


def _child(root: Path, story: str, token: str, asked: dict[str, Any], writing: int) -> None:
    if asked.get("look"):
        os.write(writing, f"{json.dumps(look(root, token))}\n".encode())
    else:
        steps = STORIES[story][asked["begin"] : asked["end"]]
        for said in run(root, steps, token, asked["at"]):
            os.write(writing, f"{said}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
