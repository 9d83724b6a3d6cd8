"""Errors in the user's words: what happened, and the command that helps; or as JSON."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, cast

import click

from zoo import errors as e
from zoo import plugins

__all__ = ["STATUS", "Failure", "codes", "failure"]

Hint = Callable[[Any], str]
PLUGINS = ("backbone", "head", "source")
STATUS = {"usage": 2, "interrupted": 130}
"""The exit status of a code, where it is not 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a command failed of.

    Attributes:
        code: The kind of failure, for programs.
        message: What happened.
        hint: What to do about it; empty if nothing is known to help.
        shown: The message for people, where it has another form for them.
    """

    code: str
    message: str
    hint: str = ""
    shown: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"code": self.code, "message": self.message, "hint": self.hint or None}

    def __str__(self) -> str:
        hints = (f"  {line}" for line in self.hint.splitlines() if line)
        return "\n".join([f"error: {self.shown or self.message}", *hints])


def failure(error: BaseException) -> Failure:
    """What to tell of an error that ended a command."""
    if isinstance(error, e.ZooError):
        return Failure(code=_code(type(error)), message=str(error), hint=_hint(error),
                       shown=_shown(error))  # fmt: skip
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Failure(code="interrupted", message="interrupted")
    if isinstance(error, click.ClickException):
        return Failure(code="usage", message=error.format_message(), hint=_usage(error))
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return Failure(code="os_error", message=f"{error.strerror or error}{where}")
    raise TypeError(f"not an error that ends a command: {error!r}")


def codes() -> Iterator[tuple[str, int, str]]:
    """All codes, each with the exit status and what it means."""
    for kind in _kinds(e.ZooError):
        meaning = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        yield _code(kind), 1, meaning.replace("``", "`")
    yield "os_error", 1, "The operating system refuses what a command needs."
    yield "usage", STATUS["usage"], "A command line that is not understood."
    yield "interrupted", STATUS["interrupted"], "Ctrl-C, or the answer was no."


def _kinds(kind: type[e.ZooError]) -> Iterator[type[e.ZooError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == e.__name__:
            yield from _kinds(below)


def _code(kind: type[e.ZooError]) -> str:
    """The name of the error's class, in snake case; of one that is not ours, the nearest above."""
    ours = next(each for each in kind.__mro__ if each.__module__ == e.__name__)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", ours.__name__).lower()


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path} --help" if context else ""


def _shown(error: e.ZooError) -> str:
    if not isinstance(error, e.InvalidData):
        return ""
    shown, more = error.problems[:10], len(error.problems) - 10
    listed = "\n".join(f"  - {problem}" for problem in shown)
    return f"{error.where} cannot be trained on:\n{listed}" + (
        f"\n  - and {more} more" if more > 0 else ""
    )


def _hint(error: e.ZooError) -> str:
    """What whoever raised the error says, else what is said of its kind, after near names."""
    known = error.hint
    if known is None:
        known = next((hint(error) for kind, hint in HINTS if isinstance(error, kind)), "")
    if known.startswith("zoo delete --restore"):
        return f"the name was deleted; restore it: {known}"
    if known.startswith("zoo pull"):
        return f"it can be pulled: {known}"
    near = getattr(error, "near", ())
    if near and "did you mean" not in known:
        known = f"did you mean {' or '.join(near)}?\n{known}"
    return known.strip()


def _unknown(error: e.UnknownName) -> str:
    if error.near:
        return ""
    if error.kind in PLUGINS:
        return f"known here: {', '.join(plugins.names(f'zoo.{error.kind}s'))}"
    if error.kind == "kind of remote":
        return f"kinds of remotes known here: {', '.join(plugins.names('zoo.remotes'))}"
    if error.kind.startswith("checkpoint"):
        return "zoo search WORD lists what is known; zoo index timm adds timm's checkpoints"
    return LISTS.get(error.kind, "")


def _would_replace(error: e.WouldReplace) -> str:
    mine, other = f"zoo tag {error.ref} {_other_tag(error.ref, 'mine')}", quote(error.other)
    if error.doing == "push":
        return (
            f"nothing was changed; zoo pull {error.ref} --from {other} "
            f"--as {_other_tag(error.ref, 'theirs')} brings that one here\n"
            f"or give yours another name and push that: {mine}\n"
            "or move the name there: push --force (its history keeps the other one)"
        )
    if error.other.lower().startswith("hf:"):
        theirs = f"zoo pull {_other_tag(error.ref, 'theirs')} --from {other}"
    else:
        theirs = f"zoo pull {error.ref} --from {other} --as {_other_tag(error.ref, 'theirs')}"
    return (
        f"nothing was changed; bring theirs under another name: {theirs}\n"
        f"or move the name: pull --force (zoo log {error.ref} keeps yours; {mine} names it)"
    )


def _other_tag(ref: str, tag: str) -> str:
    path, _, old = ref.partition(":")
    return f"{path}:{old}-{tag}" if old else f"{path}:{tag}"


def _invalid_data(error: e.InvalidData) -> str:
    if Path(error.where).suffix.lower() in (".csv", ".tsv", ".parquet"):
        return (
            "a table has a row for each image: its path, and its label (a class), labels (a|b), or "
            "target (a number)"
        )
    return ""


def _corrupt(error: e.Corrupt) -> str:
    if error.what.endswith("registry.db"):
        home = quote(str(Path(error.what).parent))
        return (
            f"it is an index only: zoo reindex --home {home} sets it aside and makes it again from "
            "the store"
        )
    kind, _, digest = error.what.partition(" blake3:")
    if kind in ("object", "encoded object", "manifest") and digest:
        folder = "encoded" if kind.startswith("encoded") else f"{kind}s"
        suffix = ".json" if kind == "manifest" else ""
        return (
            f"nothing was kept or loaded; {_mending(error.where)}\n"
            f"it is {folder}/{digest[:2]}/{digest}{suffix}"
        )
    return "nothing was kept or loaded; pull it again from where it is whole"


def _mending(where: str) -> str:
    """The command that replaces what is damaged; a zoo has an index, or the id of one on a server,
    and a remote none.
    """
    if where and not any(Path(where, name).exists() for name in ("registry.db", "registry.id")):
        return f"mend it from a zoo that has it whole: zoo verify {quote(where)} --repair"
    here = "mend this zoo from where it is whole: zoo verify --repair --from REMOTE"
    return here if where else f"{here}\n(a remote from this zoo: zoo verify REMOTE --repair)"


def _unavailable(error: e.Unavailable) -> str:
    if error.what.endswith("registry.db"):
        if "index" in error.reason:  # it says who can help, and how
            return "what is here can be read all the same; nothing was changed"
        return "the zoo's folder must be writable: its index is a database"
    return ""


LISTS = {
    "architecture": "zoo list-arch lists the architectures",
    "remote": "zoo remote lists the remotes that have a name; a folder is written ./team or /team",
    "run": "zoo runs lists the runs",
}
"""How to see what there is of a kind."""

HINTS: tuple[tuple[type[e.ZooError], Hint], ...] = (
    (e.NoZoo, lambda _: "make one here: zoo init\nor name one: --home DIR, or ZOO_HOME=DIR"),
    (e.UnknownName, lambda x: _unknown(cast(e.UnknownName, x))),
    (e.InvalidFreeze, lambda _: "a freeze spec is none, all, a unit or stage (zoo tree lists them),"
                                " a count (6, or -2 for all but two), or a share (75%)"),
    (e.InvalidReference, lambda _: "a reference looks like team/flowers or team/flowers:v3; "
                                   "a digest is blake3: and 64 hex digits"),
    (e.InvalidData, lambda x: _invalid_data(cast(e.InvalidData, x))),
    (e.Protected, lambda x: f"end that first: zoo protect --off {x.ref}"
                            + (f" --at {quote(x.where)}" if x.where else "")),
    (e.WouldReplace, lambda x: _would_replace(cast(e.WouldReplace, x))),
    (e.Conflict, lambda _: "nothing was changed"),
    (e.NotAFile, lambda x: "zoo follows no links inside a zoo or remote, and opens nothing but "
                           f"files there; look what it is:\nls -l {quote(x.what)}\nto keep a zoo "
                           "on another disk, move all of it there and link its own folder"),
    (e.Forbidden, lambda x: x.mend),
    (e.Corrupt, lambda x: _corrupt(cast(e.Corrupt, x))),
    (e.Untrusted, lambda x: f"if you trust that file: zoo trust {x.name}\nor, in Python, register "
                            f"what makes it: zoo_torch.register({x.name!r}, factory)"),
    (e.Unsupported, lambda x: "a newer zoo may know it: pip install -U zoo-registry"
                              if re.search(r"\b(format|codec) \d", str(x)) else ""),
    (e.Diverged, lambda x: "nothing was saved; try a smaller rate: "
                           f"{f'--phases {x.phase}@' if x.phase else '--lr '}{x.lr / 10:g}"),
    (e.MissingObject, lambda _: "pull it again from where it is whole, or: zoo verify --repair "
                                "--from REMOTE"),
    (e.MissingPackage, lambda x: x.install),
    (e.DiskFull, lambda _: "free some space and run the same command again; nothing was lost"),
    (e.Unavailable, lambda x: _unavailable(cast(e.Unavailable, x))),
    (e.BrokenPlugin, lambda _: "zoo plugins lists which plugins work"),
)  # fmt: skip
