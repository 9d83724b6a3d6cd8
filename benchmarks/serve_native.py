"""Rows of `benchmarks/serve.py`: `zoo push` and `zoo pull` over HTTP, beside a folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
from blake3 import blake3
from safetensors.numpy import load_file, save_file
from serve_rows import OWN, Bench, Row

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.store.files import add_weights, object_ranges
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace
from zoo_http.backend import HttpBackend
from zoo_http.session import Session

__all__ = ["natives"]

BASE, OVER, BESIDE = "team/base", "zoo serve", "folder"
DIGESTS = 10_000


def natives(bench: Bench) -> Iterator[Row]:
    """Pulls of all and of what a parent has not, a push of a new head, and many digests."""
    url = f"http://127.0.0.1:{bench.zoo.port}"
    os.environ |= {"ZOO_SERVER": url, "ZOO_TOKEN": bench.token}  # noqa: TID251
    yield from _pulls(bench, {OVER: url, BESIDE: str(bench.root)})
    yield from _pushes(bench, url)
    yield from _digests(bench, url)


def _pulls(bench: Bench, places: dict[str, str]) -> Iterator[Row]:
    whole, part, cpu = {}, {}, {}
    for name, where in places.items():
        with _zoo(bench) as mine:
            before = bench.zoo.cpu()
            whole[name] = _seconds(partial(pull, mine, bench.repo, where))
            cpu[name] = (bench.zoo.cpu() - before) / (bench.size / 1e9)
        with _zoo(bench) as mine:
            pull(mine, BASE, where)
            part[name] = _seconds(partial(pull, mine, bench.repo, where))
    yield "zoo pull, nothing here: s", whole
    yield "zoo pull, nothing here: s of the server's CPU per GB", {OVER: cpu[OVER]}
    yield "zoo pull, parent here: s", part


def _pushes(bench: Bench, url: str) -> Iterator[Row]:
    took, sent, folder = {}, {}, bench.folder / f"remote-{uuid4().hex}"
    with _zoo(bench) as mine, _counted() as asked:
        pull(mine, bench.repo, str(bench.root))
        name = _with_new_head(mine, bench.repo)
        push(mine, bench.repo, str(folder))
        for place, to in ((OVER, url), (BESIDE, str(folder))):
            asked.clear()
            began = time.perf_counter()
            sent[place] = float(push(mine, name, to)[1].sent_bytes)
            took[place] = time.perf_counter() - began
            if place == OVER:
                requests = float(len(asked))
    shutil.rmtree(folder)
    yield "zoo push, a new head: s", took
    yield "zoo push, a new head: bytes", sent
    yield "zoo push, a new head: requests", {OVER: requests}


def _digests(bench: Bench, url: str) -> Iterator[Row]:
    names = [blake3(b"%d" % at).hexdigest() for at in range(DIGESTS)]
    backend = HttpBackend.connect(url, create=False)
    before = bench.zoo.cpu()
    took = _seconds(lambda: backend.present([f"objects/{n[:2]}/{n}" for n in names]))
    yield f"{DIGESTS:,} digests: s", {OVER: took}
    yield f"{DIGESTS:,} digests: s of CPU", {OVER: bench.zoo.cpu() - before}


def _with_new_head(mine: Workspace, repo: str) -> str:
    """The checkpoint with another head, as a fine-tune of the head alone makes it."""
    entry = mine.store.read_ref(Reference.parse(repo))
    assert entry
    manifest = mine.store.manifest(entry.manifest)
    name = f"{OWN}/head-{uuid4().hex[:8]}"
    with mine.store.upload(), mine.scratch() as scratch:
        path = scratch / "model.safetensors"
        _write_with_new_head(mine, entry.manifest, path)
        parent = Parent(manifest=entry.manifest, relation="finetune", ref=repo)
        weights = replace(add_weights(mine.store, path), name=manifest.weights[0].name)
    mine.commit(
        replace(manifest, weights=(weights,), parents=(parent,)), Reference.parse(name), "x"
    )
    return name


def _write_with_new_head(mine: Workspace, digest: Digest, path: Path) -> None:
    (file,) = mine.store.manifest(digest).weights
    with path.open("wb") as out:
        for item, offset, count in object_ranges(file):
            out.write(mine.store.view("objects", item)[offset : offset + count])
    tensors = load_file(path)
    for name in ("head.weight", "head.bias"):
        tensors[name] = tensors[name] + np.float32(np.random.default_rng().normal())
    save_file(tensors, path, {"format": "pt"})


@contextmanager
def _zoo(bench: Bench) -> Iterator[Workspace]:
    """A new zoo."""
    root = bench.folder / f"mine-{uuid4().hex}"
    with closing(Workspace.create(root)) as made:
        yield made
    shutil.rmtree(root)


@contextmanager
def _counted() -> Iterator[list[str]]:
    """The requests that are sent meanwhile."""
    asked: list[str] = []
    before = Session.open

    def noted(self: Session, method: str, path: str, **known: object) -> object:
        asked.append(path)
        return before(self, method, path, **known)  # type: ignore[arg-type]

    Session.open = noted  # type: ignore[method-assign, assignment]
    try:
        yield asked
    finally:
        Session.open = before  # type: ignore[method-assign]


def _seconds(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began
