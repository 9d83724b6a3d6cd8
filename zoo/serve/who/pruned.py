"""Pruned: the audit log of a zoo that has accounts is told what a prune has deleted."""

from __future__ import annotations

from contextlib import closing

from zoo import config
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.open import FILE
from zoo.workspace import Workspace

__all__ = ["tell_pruned"]


def tell_pruned(workspace: Workspace, files: int, bytes_: int) -> None:
    """Tell of a prune of a zoo, if it has accounts."""
    if files and (config.database() or (workspace.root / FILE).exists()):
        with closing(Accounts.of(workspace)) as accounts:
            accounts.audit.note("pruned", "", f"{files} files, {bytes_} bytes")
