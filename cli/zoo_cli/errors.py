"""Errors in the user's words: what happened, and the command that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from zoo import errors as e

__all__ = ["explain"]

Hint = Callable[[Any], str]


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
    if error.hint:
        return f"it is in the catalog: {error.hint}"
    if near:
        return near
    return "zoo search WORD lists what is known; zoo index timm adds timm's checkpoints"


HINTS: tuple[tuple[type[e.ZooError], Hint], ...] = (
    (e.NoZoo, lambda _: "make one here: zoo init\nor name one: --home DIR, or ZOO_HOME=DIR"),
    (e.UnknownName, lambda x: _unknown(cast(e.UnknownName, x))),
    (e.InvalidFreeze, lambda x: (
        (f"did you mean {' or '.join(x.near)}?\n" if x.near else "")
        + "a freeze spec is none, all, a unit or stage (zoo tree lists them), "
        "a count (6, or -2 for all but two), or a share (75%)"
    )),
    (e.InvalidReference, lambda _: "a reference looks like team/flowers or team/flowers:v3"),
    (e.InvalidWeights, lambda _: "nothing was imported"),
    (e.InvalidData, lambda _: "put the images of each class in a folder of its own: "
                              "DATA/daisy/1.jpg, DATA/rose/2.jpg"),
    (e.Conflict, lambda x: "nothing was changed; zoo log shows what a name points at"
                           if x.current else "nothing was changed"),
    (e.Corrupt, lambda _: "nothing was kept or loaded; pull it again from where it is whole"),
    (e.MissingObject, lambda _: "pull it again from where it is whole"),
    (e.MissingPackage, lambda x: x.install),
    (e.DiskFull, lambda _: "free some space and run the same command again; nothing was lost"),
    (e.Unavailable, lambda _: "check the name and the connection; zoo remote lists known remotes"),
)  # fmt: skip
