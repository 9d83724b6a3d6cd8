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

__all__ = ["keep_beside", "keep_rules"]


def keep_rules(workspace: Workspace, name: str, new: str) -> tuple[str, str] | None:
    """Say of a new name what was said of the old one, where the zoo has accounts; both without
    their tags, where what is beside one goes along, too.

    Raises:
        UnknownName, InvalidReference: There is no such name, or nothing can be called so.
        Conflict: The new one is there, and more may read it.
    """
    old, to = workspace.names.reference(name), Reference.parse(new)
    if old.path == to.path or not (config.database() or (workspace.root / FILE).exists()):
        return None
    workspace.names.target(name)
    there = _is_there(workspace, to.path)
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
            return None
        paths = {each.path for each in rules.given()}
        if old.path in paths and to.path not in paths:
            accounts.repos.copy_rules(old.path, to.path)
        if is_wider(accounts.rules(), to.path, old.path):
            accounts.set_level(to.path, level=rules.access(old.path).level)
    return old.path, to.path


def keep_beside(workspace: Workspace, old: str, new: str) -> None:
    """Count downloads of a repository as those of its new name, and have its webhooks follow, once
    none of its tags is left.
    """
    if not _is_there(workspace, old):
        with closing(Accounts.of(workspace)) as accounts:
            accounts.downloads.move(old, new)
            for hook in accounts.webhooks.all():
                if hook.path == old:
                    accounts.webhooks.follow(hook, new)


def _is_there(workspace: Workspace, path: str) -> bool:
    store = workspace.store
    newest = [store.read_ref(each) for each in store.refs() if each.path == path]
    return any(entry and not entry.deleted for entry in newest)
