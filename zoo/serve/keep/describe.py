"""Describe: the configuration of checkpoints, which only their library knows.

Runs in a process of its own, which has torch: ``python -m zoo.serve.keep.describe ZOO``. It reads a
digest a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from zoo.domain.digest import Digest
from zoo.errors import BrokenPlugin, MissingPackage, NotFound, Untrusted, ZooError
from zoo.workspace import Workspace

__all__ = ["ConfigTexts", "describe"]

MENDED = (BrokenPlugin, MissingPackage, NotFound, Untrusted)
"""What the operator can do something about: it may be another time next time."""


class ConfigTexts(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of a configuration, by name.

    Attributes:
        texts: The texts; empty where there is a problem.
        problem: Why there is none.
        passing: Whether that may be otherwise another time.
    """

    texts: dict[str, str] = {}
    problem: str = ""
    passing: bool = False


def describe(workspace: Workspace, digest: Digest) -> ConfigTexts:
    """The configuration of a checkpoint, or why there is none."""
    from zoo.exchange.exporting import configuration  # torch

    try:
        return ConfigTexts(texts=configuration(workspace.store.manifest(digest)))
    except ZooError as error:
        return ConfigTexts(problem=str(error), passing=isinstance(error, MENDED))
    except Exception as error:  # noqa: BLE001 - a library's, of one checkpoint
        return ConfigTexts(problem=f"{type(error).__name__}: {error}", passing=True)


def main() -> None:
    """Answer the lines on stdin until they end."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    workspace = Workspace(Path(sys.argv[1]))  # with it, what its user trusts
    with suppress(BrokenPipeError), answers:  # the server has ended
        for line in sys.stdin:
            described = describe(workspace, Digest.parse(line.strip()))
            answers.write(msgspec.json.encode(described) + b"\n")
            answers.flush()


if __name__ == "__main__":
    main()
