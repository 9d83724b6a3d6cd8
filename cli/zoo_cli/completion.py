"""Completion in a shell: names of checkpoints, units, heads, remotes and runs. docs/completion.md.

What cannot be known at once is not completed: torch is never imported, and no error is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from zoo.domain.license_ids import HUB
from zoo.domain.presets import PRESETS
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo import Zoo

__all__ = ["completed"]

Find = Callable[["Zoo", click.Context, str], Iterable[str]]
MOST = 200
"""Names that are shown at most."""


class _Completed(click.types.StringParamType):
    """Text: one of the words that ``find`` knows of the zoo to work in, or another; and where
    ``files``, a path.
    """

    def __init__(self, find: Find | None, *, files: bool) -> None:
        self._find, self._files = find, files

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Those words that begin with what is typed."""
        words = self._words(ctx, incomplete) if self._find else []
        # First: bash drops what came before it, and takes paths where no word is left.
        paths = [CompletionItem(incomplete, type="file")] if self._files else []
        return paths + [CompletionItem(word) for word in words if word.startswith(incomplete)]

    def _words(self, ctx: click.Context, incomplete: str) -> list[str]:
        import zoo

        try:
            with zoo.open(ctx.meta.get("home")) as opened:
                return sorted({*self._find(opened, ctx, incomplete)}) if self._find else []
        except (ZooError, OSError):
            return []


def _names(zoo: Zoo, _: click.Context, incomplete: str) -> Iterable[str]:
    return (row.name for row in zoo.search(name=f"{incomplete}*", limit=MOST))


def _to_delete(zoo: Zoo, ctx: click.Context, incomplete: str) -> Iterable[str]:
    if not ctx.params.get("restore"):
        return _names(zoo, ctx, incomplete)
    if ctx.params.get("remote"):  # what was deleted there, only the remote knows
        return ()
    return islice(zoo.deleted(incomplete), MOST)


def _units(zoo: Zoo, ctx: click.Context, _: str) -> Iterable[str]:
    # Behind an option without its value, click leaves what came before as it is.
    name = ctx.params.get("base") or ctx.params.get("name") or next(iter(ctx.args), None)
    return (*DEPTHS.get(str(ctx.info_name), ()), *(zoo.units(name) if name else ()))


def _plugins(group: str) -> Find:
    def names(_zoo: Zoo, _ctx: click.Context, _incomplete: str) -> Iterable[str]:
        from importlib.metadata import entry_points  # slow to import

        return entry_points(group=group).names

    return names


def _architectures(zoo: Zoo, _: click.Context, incomplete: str) -> Iterable[str]:
    return (known.architecture for known in zoo.architectures(f"{incomplete}*").architectures)


def _data(zoo: Zoo, _: click.Context, incomplete: str) -> Iterable[str]:
    return zoo.known_data(f"{incomplete}*")


def _words(*words: str) -> Find:
    return lambda _zoo, _ctx, _incomplete: words


def _remotes(zoo: Zoo, _: click.Context, _incomplete: str) -> Iterable[str]:
    return zoo.remotes()


def _runs(zoo: Zoo, _: click.Context, _incomplete: str) -> Iterable[str]:
    return ("last", *(run.id for run in zoo.runs()))


DEPTHS = {"finetune": ("all", "auto", "none")}
"""What else --freeze and --at take."""
FINDS: dict[str, Find] = {
    **dict.fromkeys(("name", "names", "base", "a", "b", "against", "parent"), _names),
    **dict.fromkeys(("freeze", "at", "truncate", "without"), _units),
    **dict.fromkeys(("remote", "remotes", "to"), _remotes),
    **dict.fromkeys(("resume", "run", "ids"), _runs),
    "dataset": _data,
    "device": _words("auto", "cpu", "cuda", "mps"),
    "head": _plugins("zoo.heads"),
    "backbone": _plugins("zoo.backbones"),
    "license": _words(*HUB),
    "log": _plugins("zoo.trackers"),
    "architecture": _architectures,
    "source": _plugins("zoo.sources"),
}
"""What a parameter of a command is, by its name."""
FILES = ("data", "location", "remote", "remotes", "root", "to")
"""What may be a path."""
OTHERS: dict[tuple[str, str], Find | None] = {
    ("add", "name"): None,
    ("delete", "names"): _to_delete,
    ("import", "name"): None,
    ("remove", "name"): _remotes,
    ("trust", "name"): None,
    ("finetune", "source"): _words(*PRESETS),
    ("list-arch", "pattern"): _architectures,
    ("verify", "source"): _remotes,
}
"""The same for those that are something else in one command."""
OTHER_FILES = (("finetune", "source"), ("verify", "source"))


def completed(command: click.Command) -> None:
    """Let the shell complete what the command takes."""
    for param in command.params:
        name = str(param.name)
        find = OTHERS.get((str(command.name), name), FINDS.get(name))
        files = name in FILES or (command.name, name) in OTHER_FILES
        if (find or files) and isinstance(param.type, click.types.StringParamType):
            param.type = _Completed(find, files=files)
