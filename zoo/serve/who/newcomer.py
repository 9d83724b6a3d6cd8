"""Newcomer: an account that is made on the command line, or by signing in for the first time."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from zoo.serve.who.accounts import Accounts
from zoo.store.sent import forget_sent
from zoo.workspace import Workspace

__all__ = ["add_account"]


def add_account(
    workspace: Workspace,
    accounts: Accounts,
    name: str,
    *,
    admin: bool,
    also: Callable[[Connection], None] | None = None,
) -> None:
    """Make an account, for which nothing is there of what a former one of its name has sent.

    Raises:
        Conflict, InvalidReference: As `Accounts.add`.
    """
    accounts.add(name, admin=admin, also=also)
    forget_sent(workspace.store, name)  # before it has a token
