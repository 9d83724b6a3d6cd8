"""Adopter: snapshots get the checkpoints that are among their files, when there is time."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue

import msgspec

from zoo import config
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import Conflict, InvalidReference, ZooError
from zoo.serve.keep.adopt import AdoptRequest, AdoptResult
from zoo.store.capabilities import folders
from zoo.workspace import Workspace

__all__ = ["ADOPTED", "Adopter"]

LOG = logging.getLogger("zoo.serve")
ADOPTED = "adopt"
"""Why a name moves from a snapshot to the same files with their checkpoint."""
SECONDS = 1800
"""A checkpoint is made in so long, or not at all."""
ANSWER = msgspec.json.Decoder(AdoptResult)


class Adopter:
    """Has the snapshots of a zoo adopted, one after the other, each in a process of its own;
    ``moved`` is told of each name that moves.
    """

    def __init__(self, workspace: Workspace, moved: Callable[[Reference, RefEntry], None]) -> None:
        self._workspace, self._moved = workspace, moved
        self._names: SimpleQueue[str] = SimpleQueue()
        self._wanted: dict[str, tuple[AdoptRequest, str]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def ask(self, wanted: AdoptRequest, author: str) -> None:
        """Have a snapshot adopted; the name that has it moves for ``author``, and so do its tags.
        Of several that a name has had meanwhile, the last one is.
        """
        self._wanted[wanted.name] = wanted, author
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="adopt", daemon=True)
                self._thread.start()
        self._names.put(wanted.name)

    def close(self) -> None:
        """End what is under way."""
        self._closed = True
        self._names.put("")
        if self._process:
            self._process.kill()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        while (name := self._names.get()) and not self._closed:
            wanted, author = self._wanted.pop(name, (None, ""))
            if wanted is None:  # it was done already
                continue
            try:
                done = self._adopted(wanted)
                if done.checkpoint:
                    with config.acting_as(author):
                        self._move(wanted, Digest.parse(done.checkpoint))
                elif not self._closed:
                    LOG.warning("%s holds files only: %s", wanted.name, done.problem)
            except (ZooError, OSError) as error:
                LOG.warning("%s holds files only for now: %s", wanted.name, error)
            except Exception:
                LOG.exception("%s holds files only for now", wanted.name)

    def _adopted(self, wanted: AdoptRequest) -> AdoptResult:
        command = [sys.executable, "-m", "zoo.serve.keep.adopt", str(self._workspace.root)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as self._process:
            if self._closed:
                self._process.kill()
            try:
                line = msgspec.json.encode(wanted) + b"\n"
                output, _ = self._process.communicate(line, timeout=SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                return AdoptResult(problem=f"it took more than {SECONDS} seconds")
            except BrokenPipeError:  # it has died
                output = b""
        try:
            return ANSWER.decode(output)
        except msgspec.DecodeError:
            return AdoptResult(problem="what makes checkpoints has failed; the log tells of what")

    def _move(self, wanted: AdoptRequest, checkpoint: Digest) -> None:
        """Point the name, and tags of it, at the same files with their checkpoint, where they are
        still at them. Who may read one may read all.
        """
        workspace, ref = self._workspace, Reference.parse(wanted.name)
        snapshot, moved = Digest.parse(wanted.snapshot), False
        document = workspace.store.document(snapshot)
        assert isinstance(document, Snapshot)
        with workspace.store.upload():
            whole = Snapshot.of(document.files, checkpoint)
            digest = workspace.store.put("manifests", whole.to_bytes())
            for tag in folders(workspace.store.backend, f"refs/{ref.path}/"):
                try:
                    each = replace(ref, tag=tag)
                except InvalidReference:  # no name of the zoo's
                    continue
                there = workspace.store.read_ref(each)
                if there and not there.deleted and there.manifest == snapshot:
                    self._moved(each, workspace.adopt(each, there, digest, ADOPTED))
                    moved = True
        if not moved:
            raise Conflict(f"{ref} has moved on")
