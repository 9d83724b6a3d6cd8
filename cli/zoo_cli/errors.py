"""Errors in the user's words: what happened, and the command that helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any, cast

from zoo import errors as e
from zoo import plugins

__all__ = ["explain"]

Hint = Callable[[Any], str]
PLUGINS = ("backbone", "head", "source")


def explain(error: e.ZooError) -> list[str]:
    """Lines to print: the fact, then what to do about it."""
    lines = [f"error: {_fact(error)}"]
    for kind, hint in HINTS:
        if isinstance(error, kind):
            lines += [f"  {line}" for line in hint(error).splitlines() if line]
            break
    return lines


def _fact(error: e.ZooError) -> str:
    if isinstance(error, e.InvalidData):
        shown, more = error.problems[:10], len(error.problems) - 10
        listed = "\n".join(f"  - {problem}" for problem in shown)
        return f"{error.where} cannot be trained on:\n{listed}" + (
            f"\n  - and {more} more" if more > 0 else ""
        )
    return str(error)


def _unknown(error: e.UnknownName) -> str:
    near = f"did you mean {' or '.join(error.near)}?" if error.near else ""
    if error.hint.startswith("zoo tag"):
        return f"the name was deleted; restore it: {error.hint}"
    if error.hint.startswith("zoo pull"):
        return f"it is known, but not here: {error.hint}"
    if error.hint:
        return error.hint
    if near:
        return near
    if error.kind in PLUGINS:
        return f"known here: {', '.join(plugins.names(f'zoo.{error.kind}s'))}"
    if error.kind == "remote":
        return (
            "zoo remote lists the remotes that have a name; a folder needs none\n"
            f"kinds of remotes known here: {', '.join(plugins.names('zoo.remotes'))}"
        )
    return "zoo search WORD lists what is known; zoo index timm adds timm's checkpoints"


def _conflict(error: e.Conflict) -> str:
    if error.current.startswith("blake3:"):
        return (
            "nothing was changed; zoo pull NAME --from REMOTE brings that one here (zoo log keeps "
            "yours)\nor give yours another tag: zoo tag NAME NAME:mine; push --force moves the name"
        )
    if error.current:
        return "nothing was changed; zoo remote remove NAME makes a remote's name free"
    return "nothing was changed"


def _invalid_data(error: e.InvalidData) -> str:
    if Path(error.where).suffix.lower() in (".csv", ".tsv", ".parquet"):
        return (
            "a table has a row for each image: its path, and its label (a class), labels (a|b), or "
            "target (a number)"
        )
    return "put the images of each class in a folder of its own: DATA/daisy/1.jpg, DATA/rose/2.jpg"


def _unavailable(error: e.Unavailable) -> str:
    if error.what.endswith("registry.db"):
        if "index" in error.reason:  # it says who can help, and how
            return "what is here can be read all the same; nothing was changed"
        return "the zoo's folder must be writable: its index is a database"
    return "check the name and the connection; zoo remote lists known remotes"


def _corrupt(error: e.Corrupt) -> str:
    if error.what.endswith("registry.db"):
        return (
            f"it is an index only: zoo reindex --home {Path(error.what).parent} sets it aside and "
            "makes it again from the store"
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
    """The command that replaces what is damaged; a zoo has an index, and a remote none."""
    if where and not Path(where, "registry.db").exists():
        return f"mend it from a zoo that has it whole: zoo verify {where} --repair"
    here = "mend this zoo from where it is whole: zoo verify --repair --from REMOTE"
    return here if where else f"{here}\n(a remote from this zoo: zoo verify REMOTE --repair)"


HINTS: tuple[tuple[type[e.ZooError], Hint], ...] = (
    (e.NoZoo, lambda _: "make one here: zoo init\nor name one: --home DIR, or ZOO_HOME=DIR"),
    (e.UnknownName, lambda x: _unknown(cast(e.UnknownName, x))),
    (e.InvalidFreeze, lambda x: (
        (f"did you mean {' or '.join(x.near)}?\n" if x.near else "")
        + "a freeze spec is none, all, a unit or stage (zoo tree lists them), "
        "a count (6, or -2 for all but two), or a share (75%)"
    )),
    (e.InvalidReference, lambda _: "a reference looks like team/flowers or team/flowers:v3; "
                                   "a digest is blake3: and 64 hex digits"),
    (e.InvalidWeights, lambda _: "nothing was imported"),
    (e.InvalidData, lambda x: _invalid_data(cast(e.InvalidData, x))),
    (e.Conflict, lambda x: _conflict(cast(e.Conflict, x))),
    (e.NotAFile, lambda x: "zoo follows no links inside a zoo or remote, and opens nothing but "
                           f"files there; look what it is:\nls -l {quote(x.what)}\nto keep a zoo "
                           "on another disk, move all of it there and link its own folder"),
    (e.Forbidden, lambda x: x.mend),
    (e.Corrupt, lambda x: _corrupt(cast(e.Corrupt, x))),
    (e.Untrusted, lambda x: f"if you trust that file: zoo trust {x.name}\nor, in Python, register "
                            f"what makes it: zoo_torch.register({x.name!r}, factory)"),
    (e.Unsupported, lambda x: "a newer zoo may know it: pip install -U zoo-registry"
                              if "format" in str(x) or "codec" in str(x) else ""),
    (e.Diverged, lambda x: "nothing was saved; try a smaller rate: "
                           f"{f'--phases {x.phase}@' if x.phase else '--lr '}{x.lr / 10:g}"),
    (e.MissingObject, lambda _: "pull it again from where it is whole"),
    (e.MissingPackage, lambda x: x.install),
    (e.DiskFull, lambda _: "free some space and run the same command again; nothing was lost"),
    (e.Unavailable, lambda x: _unavailable(cast(e.Unavailable, x))),
)  # fmt: skip
