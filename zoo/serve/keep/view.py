"""View: the files of a checkpoint or a snapshot as clients of the hub see them.

Those of a snapshot are what was sent. Those of a checkpoint are its weights and its other files,
byte-identical, and what its manifest says as ``config.json`` and ``README.md``. The view is kept
beside the store by the digest of the manifest, ``views/ab/abcdef….json``, also when a prune takes
the checkpoint: a later version may say it in other words, and the ids of commits, which clients
name their caches by, must not change.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from shlex import quote

import msgspec

from zoo.domain.card import card_text, only_zoo_line
from zoo.domain.description import only_zoo_loads
from zoo.domain.digest import Digest
from zoo.domain.file_names import why_unsafe
from zoo.domain.limits import VIEW_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.network import CONFIG
from zoo.domain.plain import Json
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import Corrupt, Invalid
from zoo.serve.keep.card import card_metadata
from zoo.serve.keep.front import front_matter
from zoo.serve.keep.git import blob_id, pointer
from zoo.store import Store
from zoo.store.capabilities import read_small, sync
from zoo.store.encoded import read_object

__all__ = [
    "CARD",
    "WEIGHTS",
    "View",
    "ViewedFile",
    "is_large",
    "keep_view",
    "read_view",
    "config_summary",
    "checkpoint_view",
    "snapshot_view",
]

CARD = "README.md"
LARGE = 1 << 20
"""Bytes of a file that is kept by Git LFS, which knows it by its SHA-256."""
WEIGHTS = ".safetensors"
"""How files end that are, whatever their size."""
NETWORKS, NAME_LETTERS = 16, 200
"""So many names of networks are taken from a ``config.json``, of so many letters each."""


class ViewedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a view.

    Attributes:
        path: Its name.
        size: Its bytes.
        git: The id that Git gives to it, or to the pointer in its place.
        sha256: Of its bytes, if it is kept by Git LFS.
        text: All of it, if it was made here.
    """

    path: str
    size: int
    git: str
    sha256: str | None = None
    text: str | None = None

    @property
    def etag(self) -> str:
        """What clients know its bytes by."""
        return self.sha256 or self.git


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files of a checkpoint or a snapshot, sorted by their paths.

    Attributes:
        files: The files.
        problem: Why a checkpoint has no ``config.json``.
        sent: Whether they are those of a snapshot, and none was made here.
        front: What a README that was sent says in front, as JSON.
        config: What transformers looks at of a ``config.json`` that was sent, as JSON.
    """

    files: tuple[ViewedFile, ...] = ()
    problem: str = ""
    sent: bool = False
    front: str = "{}"
    config: str = "{}"

    def file(self, path: str) -> ViewedFile | None:
        """The file of that path; None if there is none."""
        at = bisect_left(self.files, path, key=lambda file: file.path)
        file = self.files[at] if at < len(self.files) else None
        return file if file and file.path == path else None


# Made here, by one thread: what msgspec knows of a class it finds out when it first meets it.
DECODER = msgspec.json.Decoder(View)
ENCODER = msgspec.json.Encoder()


def _key(manifest: Digest) -> str:
    return f"views/{manifest.hex[:2]}/{manifest.hex}.json"


def read_view(store: Store, manifest: Digest) -> View | None:
    """The view that is kept of a checkpoint or a snapshot; None if none is.

    Raises:
        Invalid: It is damaged.
    """
    try:
        data = read_small(store.backend, _key(manifest), VIEW_BYTES)
    except FileNotFoundError:
        return None
    try:
        return DECODER.decode(data)
    except (msgspec.DecodeError, Corrupt) as error:
        where = f"{store}/{_key(manifest)}"
        raise Invalid(
            f"{where} is damaged: {error}", hint=f"delete it: rm {quote(where)}"
        ) from error


def keep_view(store: Store, manifest: Digest, view: View) -> View:
    """Keep a view, unless one is kept already, or it is larger than what is read again; that which
    counts: another process may have been faster, and have another version of a library.
    """
    data = ENCODER.encode(view)
    if len(data) > VIEW_BYTES or store.backend.create(_key(manifest), data):
        sync(store.backend)
        return view
    return read_view(store, manifest) or view


def checkpoint_view(
    store: Store,
    digest: Digest,
    manifest: Manifest,
    configuration: Mapping[str, str],
    problem: str = "",
) -> View:
    """The view of a checkpoint, with the texts of its library's ``configuration`` by name.

    Raises:
        MissingObject: One of its files is not here.
    """
    files = {file.path: file for file in _own(store, manifest)}
    why = only_zoo_loads(manifest)
    remarks = [only_zoo_line(manifest, why)] if why else []
    remarks += [f"It has no config.json: {' '.join(problem.split())}"] if problem else []
    card = card_text(digest, manifest, card_metadata(manifest), remarks)
    texts = {**configuration, CARD: card}
    for name, text in texts.items():
        data = text.encode()
        file = ViewedFile(path=name, size=len(data), git=blob_id(data), text=text)
        files.setdefault(name, file)
    whole = CONFIG in files
    return View(
        files=tuple(files[name] for name in sorted(files)), problem="" if whole else problem
    )


def is_large(path: str, size: int) -> bool:
    """Whether a file is kept by Git LFS."""
    return size > LARGE or bool(size and path.endswith(WEIGHTS))


def snapshot_view(store: Store, snapshot: Snapshot) -> View:
    """The view of a snapshot: its files.

    Raises:
        MissingObject: Its README is not here.
    """
    front: Json = {}
    with suppress(ValueError):  # then it says nothing
        front = front_matter(_text(store, snapshot, CARD))
    return View(
        files=tuple(map(_viewed, snapshot.files)),
        sent=True,
        front=json.dumps(front),
        config=json.dumps(config_summary(_text(store, snapshot, CONFIG))),
    )


def _text(store: Store, snapshot: Snapshot, path: str) -> str:
    """A small file of a snapshot; empty if there is none."""
    file = snapshot.by_path.get(path)
    if file is None or file.object is None or file.size > LARGE:
        return ""
    data = b"".join(read_object(store, file.object, least=file.size))[: file.size]
    return data.decode(errors="replace")


def config_summary(text: str) -> Json:
    """What transformers looks at of a ``config.json`` before it downloads anything."""
    try:
        config = json.loads(text or "{}")
    except (ValueError, RecursionError):  # somebody's file
        return {}
    if not isinstance(config, dict):
        return {}
    kind, networks = config.get("model_type"), config.get("architectures")
    summary: Json = {"model_type": kind} if _is_name(kind) else {}
    if isinstance(networks, list) and len(networks) <= NETWORKS and all(map(_is_name, networks)):
        summary["architectures"] = networks
    return summary


def _is_name(value: object) -> bool:
    """Whether a value of somebody's file is a short text; JSON knows halves of characters, too."""
    if not isinstance(value, str) or len(value) > NAME_LETTERS:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _viewed(file: SnapshotFile) -> ViewedFile:
    if file.git is None or is_large(file.path, file.size):
        return _large(file.path, file.size, file.sha256)
    return ViewedFile(path=file.path, size=file.size, git=file.git)


def _own(store: Store, manifest: Manifest) -> Iterator[ViewedFile]:
    """The checkpoint's own files, first those that win where two have one name. Left out are names
    that could be run, or loaded as code, where somebody downloads them.
    """
    for weights in manifest.weights:
        if not why_unsafe(weights.name):
            yield _large(weights.name, weights.size, weights.sha256)
    for file in manifest.files:
        if why_unsafe(file.name):
            continue
        if is_large(file.name, file.size):
            yield _large(file.name, file.size, file.sha256)
        else:
            data = b"".join(store.read("objects", file.object, 0, file.size))
            yield ViewedFile(path=file.name, size=file.size, git=blob_id(data))


def _large(name: str, size: int, sha256: Digest) -> ViewedFile:
    git = blob_id(pointer(sha256.hex, size))
    return ViewedFile(path=name, size=size, git=git, sha256=sha256.hex)
