"""Tiny checkpoints made by hand: real safetensors files, no torch, no network."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from blake3 import blake3
from safetensors.numpy import save_file

from zoo.contracts import Backend, Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Backbone, Head, Manifest, Preprocessing, WeightsFile
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import Unavailable
from zoo.serve.keep.git import blob_id
from zoo.store import Store
from zoo.store.encoded import read_object
from zoo.store.files import add_weights
from zoo.workspace import Workspace

__all__ = [
    "FailingStore",
    "Tensors",
    "add_checkpoint",
    "assert_sound",
    "entry",
    "files_of",
    "flip_byte",
    "objects_in",
    "raw_file",
    "store_checkpoint",
    "store_weights",
    "stored_snapshot",
    "tensors",
    "tree",
]

Tensors = dict[str, np.ndarray[Any, Any]]
PREPROCESSING = Preprocessing(
    input_size=(3, 8, 8),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    interpolation="bilinear",
    crop_pct=1.0,
    crop_mode="center",
)


class FailingStore(Store):
    """Stops answering at write number ``fails_at``, counted from 1; remembers what was written."""

    fails_at = 0

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.writes: list[Kind] = []
        self._counting = threading.Lock()

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        with self._counting:
            self.writes.append(kind)
            fails = len(self.writes) == self.fails_at
        if fails:
            raise Unavailable(str(self.root), "stopped answering")
        return super().write(kind, digest, pieces)


def tensors(seed: int = 0) -> Tensors:
    """One tensor that is an object of its own, and small ones in four groups."""
    draw = np.random.default_rng(seed).standard_normal
    return {
        "layer1.0.conv.weight": draw((128, 128)).astype(np.float32),
        "layer1.0.bn.weight": draw(8).astype(np.float32),
        "layer1.0.bn.bias": draw(8).astype(np.float32),
        "layer1.1.conv.weight": draw((4, 4)).astype(np.float32),
        "fc.weight": draw((3, 8)).astype(np.float32),
        "fc.bias": draw(3).astype(np.float32),
    }


def raw_file(header: Mapping[str, Any] | str | bytes, body: bytes = b"") -> bytes:
    """A safetensors file with exactly this header and body, sound or not."""
    if not isinstance(header, str | bytes):
        header = json.dumps(header)
    encoded = header.encode() if isinstance(header, str) else header
    return len(encoded).to_bytes(8, "little") + encoded + body


def store_weights(store: Store, values: Tensors) -> WeightsFile:
    """Save the tensors with the real library and add the file."""
    path = store.staging / f"{uuid4().hex}.safetensors"
    try:
        save_file(values, path, {"format": "pt"})
        return add_weights(store, path)
    finally:
        path.unlink(missing_ok=True)


def store_checkpoint(store: Store, values: Tensors | None = None, **known: Any) -> Digest:
    """Keep tensors and their manifest; nothing names it."""
    manifest = manifest_of(store_weights(store, tensors() if values is None else values), **known)
    return store.put("manifests", manifest.to_bytes())


def add_checkpoint(
    workspace: Workspace, name: str, values: Tensors | None = None, **known: Any
) -> Digest:
    """Keep a checkpoint under a name, as an import does."""
    weights = store_weights(workspace.store, tensors() if values is None else values)
    return workspace.commit(manifest_of(weights, **known), Reference.parse(name), "test")


def manifest_of(weights: WeightsFile, **known: Any) -> Manifest:
    fields: dict[str, Any] = {
        "backbone": Backbone(plugin="toy", architecture="toynet"),
        "head": Head(kind="native", num_classes=3),
        "preprocessing": PREPROCESSING,
        "weights": (weights,),
        **known,
    }
    return Manifest(**fields)


def entry(number: int, manifest: Digest, previous: Digest | None = None) -> RefEntry:
    """A move of a ref."""
    at = "2026-01-02T03:04:05Z"
    return RefEntry(number=number, manifest=manifest, previous=previous, at=at, by="me", why="test")


def objects_in(store: Store, kind: str = "objects") -> set[str]:
    """Hex digests of all that the store holds of a kind."""
    return {path.stem for path in (store.root / kind).rglob("*") if path.is_file()}


def files_of(workspace: Workspace) -> list[str]:
    """All files that the store of a zoo holds now, those that were left lying about included."""
    folders = [workspace.root / name for name in ("objects", "manifests", "refs", "tmp")]
    return sorted(
        path.relative_to(workspace.root).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    )


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root``, with its bytes."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def flip_byte(path: Path, position: int = -1) -> None:
    """Damage a file of a store."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)


def assert_sound(store: Store) -> None:
    """Every file is what its name says, and whoever can read a ref can read all that it needs."""
    for kind in ("objects", "manifests"):
        for path in (store.root / kind).rglob("*"):
            if path.is_file():
                assert path.stem == blake3(path.read_bytes()).hexdigest(), path
    for ref in store.refs():
        moves = store.history(ref)
        assert [move.number for move in moves] == list(range(1, len(moves) + 1))
        for move in moves:
            for digest, least in store.document(move.manifest).objects():
                plain = b"".join(read_object(store, digest, least=least))
                assert len(plain) >= least
                assert blake3(plain).hexdigest() == digest.hex


def stored_snapshot(
    store: Store, texts: Mapping[str, bytes], checkpoint: Digest | None = None
) -> Digest:
    """Keep a snapshot of these files, and of a checkpoint's weights with it; nothing names it."""
    files = []
    for path, data in texts.items():
        sha256 = Digest("sha256", hashlib.sha256(data).hexdigest())
        item = store.put("objects", data)
        files.append(
            SnapshotFile(path=path, size=len(data), sha256=sha256, git=blob_id(data), object=item)
        )
    if checkpoint:
        files += [SnapshotFile.of(weights) for weights in store.manifest(checkpoint).weights]
    return store.put("manifests", Snapshot.of(files, checkpoint).to_bytes())
