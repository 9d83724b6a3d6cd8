"""Evaluations: small JSON files beside a zoo's store, which its index is made of again.

evaluations/<checkpoint>/<data>.json, both digests: one for each checkpoint and data.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from functools import partial

from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.limits import JSON_FILE_BYTES
from zoo.errors import Corrupt, Forbidden, Invalid, InvalidReference
from zoo.store.disk import Disk
from zoo.store.listing import read_one

__all__ = ["drop_evaluations", "evaluations", "keep_evaluation", "unread_evaluations"]

LOG = logging.getLogger("zoo")
FOLDER = "evaluations"
HEX = re.compile("[0-9a-f]{64}")


def keep_evaluation(disk: Disk, evaluated: Evaluated) -> None:
    """Keep an evaluation, in the place of an earlier one of the same checkpoint and data.

    Raises:
        DiskFull, Forbidden: It cannot be written.
    """
    data = json.dumps(evaluated.to_kept(), indent=2) + "\n"
    name = _file(evaluated.manifest.hex, Digest.parse(evaluated.data_digest).hex)
    disk.put(name, data.encode())


def evaluations(disk: Disk, manifest: Digest) -> list[Evaluated]:
    """All evaluations of a checkpoint, newest first; one that cannot be read is told."""
    found = []
    for file in _files(disk, manifest.hex):
        evaluated = read_one(partial(_read, disk), file)
        if isinstance(evaluated, Evaluated):
            found.append(evaluated)
        else:
            LOG.warning("%s is left out: %s", file, evaluated)
    return sorted(found, key=lambda each: each.at, reverse=True)


def unread_evaluations(disk: Disk) -> Iterator[tuple[str, str]]:
    """The files that cannot be read, each with the reason."""
    for folder in filter(HEX.fullmatch, disk.folders(FOLDER)):
        for file in _files(disk, folder):
            problem = read_one(partial(_read, disk), file)
            if isinstance(problem, Exception):
                yield file, str(problem)


def drop_evaluations(disk: Disk, here: Callable[[Digest], bool]) -> None:
    """Delete those of checkpoints that are not ``here`` any more; what is another's stays."""
    for folder in filter(HEX.fullmatch, disk.folders(FOLDER)):
        if here(Digest("blake3", folder)):
            continue
        try:
            for file in _files(disk, folder):
                disk.remove(file)
        except Forbidden as error:
            LOG.warning("evaluations of a checkpoint that is gone stay: %s", error)
        disk.remove_folder(f"{FOLDER}/{folder}")


def _file(manifest: str, data: str) -> str:
    return f"{FOLDER}/{manifest}/{data}.json"


def _files(disk: Disk, manifest: str) -> list[str]:
    names = disk.names(f"{FOLDER}/{manifest}")
    return [
        _file(manifest, name.removesuffix(".json"))
        for name in names
        if name.endswith(".json") and HEX.fullmatch(name.removesuffix(".json"))
    ]


def _read(disk: Disk, name: str) -> Evaluated:
    """One evaluation.

    Raises:
        Invalid: It is damaged, or of something else than its name says.
        Forbidden, NotAFile: It cannot be read.
    """
    try:
        content = json.loads(disk.read(name, JSON_FILE_BYTES))
        evaluated = Evaluated.from_json(content if isinstance(content, dict) else {})
        data = Digest.parse(evaluated.data_digest)
        if name != _file(evaluated.manifest.hex, data.hex):
            raise ValueError("it is of another checkpoint, or of other data, than its name says")
    except (ValueError, RecursionError, FileNotFoundError, Corrupt, InvalidReference) as error:
        raise Invalid(f"it is damaged: {error}; delete it, and evaluate again") from error
    return evaluated
