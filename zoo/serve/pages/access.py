"""Access: who may do what in a namespace or with a repository; for who owns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from zoo.domain.reference import check_namespace
from zoo.errors import InvalidOption, InvalidReference
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.audit import Event, events_of
from zoo.serve.pages.form import Change, Form
from zoo.serve.pages.hooks import Hook, add_hook, hooks_where, remove_hook
from zoo.serve.who.may import LEVELS, ROLES

__all__ = [
    "NAMESPACE_FORMS",
    "REPO_FORMS",
    "AccessPage",
    "GrantRow",
    "Pattern",
    "look_namespace",
    "look_repo",
]

PathChange = Callable[[Ask, Form, str], str | None]
CHANGES = 10
"""The newest so many are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow:
    """A role: who has it, whether that is a team, and what it was given for: the repository, or
    its namespace.
    """

    who: str
    role: str
    team: bool
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What keeps names where they are; whether it stands for no others than those that are shown,
    so that who owns them may end it.
    """

    pattern: str
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPage:
    """A namespace or a repository.

    Attributes:
        path: Which.
        namespace: Its namespace; its own name, if it is one.
        team: Whether that is a team's.
        level: Who may read it: one of ``levels``.
        said: That, if it was said of it; empty: it is as its namespace, or as everything.
        levels: Those that there are.
        roles: Who has which.
        kinds: Those that there are.
        patterns: What keeps names in it where they are.
        hooks: Who is told of changes in it.
        quota: Bytes that a namespace may hold; None: as many as there is room for.
        holds: Bytes that it holds; None of a repository.
        newest: The number of the newest row of the audit log.
        changes: What was done last, newest first.
        unlimited: Whether who asks has a token for all names: else they say who may read, and
            change nothing else.
    """

    path: str
    namespace: str
    team: bool
    level: str
    said: str
    levels: tuple[str, ...]
    roles: tuple[GrantRow, ...]
    kinds: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    hooks: tuple[Hook, ...]
    quota: int | None
    holds: int | None
    newest: int
    changes: tuple[Event, ...]
    unlimited: bool


def look_repo(ask: Ask) -> AccessPage:
    """The repository that is asked about."""
    return _page(ask.knowing_all(), ask.repo)


def look_namespace(ask: Ask, owner: str) -> AccessPage:
    """A namespace. Raises `Refused` if who asks does not own it, whether it is there or not."""
    _check_owned(ask, owner)
    return _page(ask, owner)


def _check_owned(ask: Ask, namespace: str) -> None:
    try:
        check_namespace(namespace)
    except InvalidReference:
        owned = False
    else:
        owned = not ask.hub.alone and ask.may("share", namespace)
    if not owned:
        raise Refused("NotFound", "there is no such namespace, or it is not yours")


def _page(ask: Ask, path: str) -> AccessPage:
    accounts, access = ask.hub.accounts, ask.rules.access(path)
    teams = {each.name for each in accounts.all() if each.team}
    rules = {given.path: given for given in ask.rules.given()}
    # Who may not read the namespace learns nothing of who is in it.
    above = [access.namespace] if ask.may("read", access.namespace) else []
    given = [rules[each] for each in dict.fromkeys((path, *above)) if each in rules]
    own = rules.get(path)
    return AccessPage(
        path=path,
        namespace=access.namespace,
        team=access.namespace in teams,
        level=access.level,
        said=(own.level if own else None) or "",
        levels=LEVELS,
        roles=tuple(
            GrantRow(who=who, role=role, team=who in teams, path=each.path)
            for each in given
            for who, role in sorted(each.roles.items())
        ),
        kinds=ROLES,
        patterns=tuple(
            Pattern(pattern=each, own=_is_own(each, path))
            for each in accounts.patterns_for(access.namespace)
            if _covers(each, path)
        ),
        hooks=hooks_where(ask, _within(path)),
        quota=None if "/" in path else accounts.quotas.get(path),
        holds=None if "/" in path else ask.hub.room.after(path).total,
        newest=accounts.audit.head().number,
        changes=events_of(ask, path, CHANGES),
        unlimited=ask.actor.unlimited,
    )


def _within(path: str) -> Callable[[str], bool]:
    """Whether something is a namespace or repository, or in it."""
    return lambda each: each == path or each.startswith(f"{path}/")


def _covers(pattern: str, path: str) -> bool:
    """Whether a pattern stands for names of a repository, or for some in a namespace."""
    names = pattern.partition(":")[0]
    return fnmatchcase(path, names if "/" in path else names.partition("/")[0])


def _is_own(pattern: str, path: str) -> bool:
    """Whether it stands for such names alone."""
    names = pattern.partition(":")[0]
    return names == path if "/" in path else names.partition("/")[0] == path


def _set_level(ask: Ask, form: Form, path: str) -> None:
    ask.hub.accounts.set_level(path, level=form.text("level") or None)


def _grant(ask: Ask, form: Form, path: str) -> None:
    ask.hub.accounts.grant(path, form.text("who"), form.text("role"))


def _take(ask: Ask, form: Form, path: str) -> None:
    ask.hub.accounts.grant(path, form.text("who"), None)


def _protect(ask: Ask, form: Form, path: str) -> None:
    pattern = form.text("pattern")
    if not _is_own(pattern, path):
        example = f"{path}:v*" if "/" in path else f"{path}/*:v*"
        raise InvalidOption(f"'{pattern}' may stand for other names, too: write {example}")
    ask.hub.accounts.protect(pattern, on=form.text("do") == "protect")


def _remove_hook(ask: Ask, form: Form, path: str) -> None:
    remove_hook(ask, form, _within(path))


def _lasting(change: PathChange) -> PathChange:
    """A change by a token for all names alone: else what it makes would outlast it."""

    def changed(ask: Ask, form: Form, path: str) -> str | None:
        ask.check_unlimited()
        return change(ask, form, path)

    return changed


CHANGE: dict[str, PathChange] = {
    "level": _set_level,  # as clients of the hub do with such tokens, too
    "grant": _lasting(_grant),
    "take": _lasting(_take),
    "protect": _lasting(_protect),
    "unprotect": _lasting(_protect),
    "add-hook": _lasting(add_hook),
    "remove-hook": _lasting(_remove_hook),
}


def _of_repo(change: PathChange) -> Change:
    return lambda ask, form: change(ask, form, ask.repo)


def _of_namespace(change: PathChange) -> Change:
    def changed(ask: Ask, form: Form, owner: str) -> str | None:
        _check_owned(ask, owner)
        return change(ask, form, owner)

    return changed


REPO_FORMS = {do: _of_repo(change) for do, change in CHANGE.items()}
"""What the forms of a repository's page do."""
NAMESPACE_FORMS = {do: _of_namespace(change) for do, change in CHANGE.items()}
"""What those of a namespace's do."""
