"""Adopt: make a checkpoint of a snapshot whose files say what network it is.

Runs in a process of its own, which has torch: ``python -m zoo.serve.keep.adopt ZOO``. It is told
what to do by a line of JSON, and answers with one.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from zoo.domain.digest import Digest
from zoo.domain.file_names import fits_everywhere
from zoo.domain.limits import HEADER_BYTES
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import ZooError
from zoo.store.files import restore_file
from zoo.workspace import Workspace

__all__ = ["AdoptResult", "AdoptRequest"]

TOLD = (".json", ".md", ".txt", "LICENSE", "NOTICE")
"""How files begin or end that may tell more of it."""


class AdoptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be adopted.

    Attributes:
        name: The name that has it.
        snapshot: Its identity.
        seen: The checkpoints that it may be told to derive from, each with a name.
    """

    name: str
    snapshot: str
    seen: dict[str, str]


class AdoptResult(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint that was made; or why none was."""

    checkpoint: str = ""
    problem: str = ""


def adopted(workspace: Workspace, wanted: AdoptRequest) -> AdoptResult:
    """Make the checkpoint. Pickles are not looked at."""
    from zoo.exchange.adopting import adopt  # torch

    ref = Reference.parse(wanted.name)
    seen = {Digest.parse(digest): name for digest, name in wanted.seen.items()}
    try:
        snapshot = workspace.store.document(Digest.parse(wanted.snapshot))
        assert isinstance(snapshot, Snapshot)
        with workspace.scratch() as scratch:
            folder = scratch / ref.name
            folder.mkdir()
            for file in filter(_belongs, snapshot.files):
                restore_file(workspace.store, file.stored, folder / file.path)
            return AdoptResult(checkpoint=str(adopt(workspace, folder, ref, seen)))
    except ZooError as error:
        return AdoptResult(problem=str(error))
    except Exception as error:  # noqa: BLE001 - a library's, of these files
        return AdoptResult(problem=f"{type(error).__name__}: {error}")


def _belongs(file: SnapshotFile) -> bool:
    if "/" in file.path or not fits_everywhere(file.path):
        return False
    is_document = file.path.endswith(TOLD) or file.path.startswith(TOLD)
    return bool(file.weights) or (is_document and file.size <= HEADER_BYTES)


def main() -> None:
    """Answer the line on stdin."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    wanted = msgspec.json.decode(sys.stdin.buffer.readline(), type=AdoptRequest)
    workspace = Workspace(Path(sys.argv[1]))  # with it, what its user trusts
    with suppress(BrokenPipeError), answers:  # the server has ended
        answers.write(msgspec.json.encode(adopted(workspace, wanted)) + b"\n")


if __name__ == "__main__":
    main()
