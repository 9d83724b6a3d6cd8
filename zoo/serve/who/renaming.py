"""Renaming: what was said of a name goes along where it gets another one on the command line."""

from __future__ import annotations

from contextlib import closing

from zoo import config
from zoo.domain.reference import Reference
from zoo.errors import Conflict
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.open import FILE
from zoo.serve.who.rules import is_wider
from zoo.workspace import Workspace

__all__ = ["keep_rules"]


def keep_rules(workspace: Workspace, name: str, new: str) -> None:
    """Say of a new name what was said of the old one, where the zoo has accounts.

    Raises:
        UnknownName, InvalidReference: There is no such name, or nothing can be called so.
        Conflict: The new one is there, and more may read it.
    """
    old, to = workspace.names.reference(name), Reference.parse(new)
    if old.path == to.path or not (config.database() or (workspace.root / FILE).exists()):
        return
    workspace.names.target(name)
    store = workspace.store
    newest = [store.read_ref(each) for each in store.refs() if each.path == to.path]
    there = any(entry and not entry.deleted for entry in newest)
    with closing(Accounts.of(workspace)) as accounts:
        rules = accounts.rules()
        if there:
            if is_wider(rules, to.path, old.path):
                was, now = (rules.access(path).level for path in (old.path, to.path))
                raise Conflict(
                    f"{old.path} is {was}, and {to.path}, which is there, is {now}",
                    hint=f"nothing was changed; say first who may read it: zoo serve access "
                    f"{to.path} {was}",
                )
            return
        said = {each.path for each in rules.given()}
        accounts.downloads.move(old.path, to.path)
        if old.path in said and to.path not in said:
            accounts.repos.copy_rules(old.path, to.path)
        if is_wider(accounts.rules(), to.path, old.path):
            accounts.set_level(to.path, level=rules.access(old.path).level)
