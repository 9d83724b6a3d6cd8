"""Machines that serve one zoo: each a ``zoo serve`` with a folder of its own, over one bucket and
one database.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

__all__ = ["Machine", "account", "machine"]


@dataclass(frozen=True)
class Machine:
    """A machine that answers at ``url``."""

    url: str
    root: Path
    process: subprocess.Popen[str]


@contextmanager
def machine(root: Path, store: str, *, cache: str = "64MB", workers: int = 2) -> Iterator[Machine]:
    """Another machine, in a new folder, with the key of one that is beside it."""
    root.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", "0",
               "--workers", str(workers), "--store", store, "--cache", cache]  # fmt: skip
    log = (root.parent / f"{root.name}.log").open("a")
    with log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ.copy()
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            line = process.stdout.readline()
            url = re.search(r"http://[\d.:]+\d", line)
            assert url, Path(log.name).read_text()
            yield Machine(url[0], root, process)
        finally:
            process.terminate()


def hand_key(of: Path, to: Path) -> None:
    """Copy the key of a machine to the folder of the next one, once that is a machine's."""
    shutil.copy2(of / "seals.key", to / "seals.key")


def account(root: Path, name: str, *, admin: bool = False) -> str:
    """A token to write, of a new account."""
    with closing(Workspace(root)) as made, closing(Accounts.of(made)) as who:
        who.add(name, admin=admin)
        return str(who.new_token(name, "x", "write")[1])
