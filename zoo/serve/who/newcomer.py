"""Newcomer: an account that is made on the command line."""

from __future__ import annotations

from zoo.serve.who.accounts import Accounts
from zoo.store.sent import forget_sent
from zoo.workspace import Workspace

__all__ = ["add_account"]


def add_account(workspace: Workspace, accounts: Accounts, name: str, *, admin: bool) -> None:
    """Make an account, for which nothing is there of what a former one of its name has sent.

    Raises:
        Conflict, InvalidReference: As `Accounts.add`.
    """
    accounts.add(name, admin=admin)
    forget_sent(workspace.store, name)  # before it has a token
