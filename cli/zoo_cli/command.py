"""What every command has: ``--home``, ``--json``, completion, a word on an argument too many."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo import config
from zoo_cli.completion import completed
from zoo_cli.output import note

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.serve.who.accounts import Accounts

__all__ = [
    "batch_size_option",
    "HOME",
    "PATH",
    "PLACE",
    "POSITIVE",
    "WHOLE",
    "Command",
    "agreed",
    "command",
    "device_option",
    "devices_option",
    "dry_run",
    "flag",
    "group",
    "note_option",
    "on_option",
    "open_accounts",
    "open_zoo",
    "quiet_option",
    "shared_device_option",
    "said_option",
    "tell_if_deprecated",
    "tta_option",
    "workers_option",
]


class _Path(click.Path):
    """A path, which is not empty: to Python that is the current folder, to a shell a slip."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if value == "":
            self.fail("a path is needed, and this is an empty text", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)
PLACE = _Path()
"""A path, or a URL."""
POSITIVE = click.IntRange(min=1)
flag = partial(click.option, is_flag=True)


def _remember(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta["home"] = value


HOME = click.Option(
    ["--home"],
    type=click.Path(file_okay=False, path_type=Path),
    expose_value=False,
    callback=_remember,  # the program takes it, too, before the command's name
    help="The zoo to work in (default: ZOO_HOME, else the nearest one upward from here).",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the accelerator if there is one), cpu, cuda, cuda:1, mps.",
)
tta_option = click.option(
    "--tta",
    default="",
    metavar="flip|N",
    help="Test-time augmentation: the mean of the probabilities of several views of each image, "
    "itself and mirrored (flip), or so many (up to 12).",
)
devices_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the accelerator if there is one), cpu, cuda, cuda:1, mps; several, of which each "
    "has its own trials: cuda:0,cuda:1, all.",
)
shared_device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the accelerator if there is one), cpu, cuda, cuda:1, mps; several, which share the "
    "images: cuda:0,cuda:1, all.",
)
on_option = click.option(
    "--on",
    default="",
    show_default=False,
    metavar="CLUSTER",
    help="Run on a Ray cluster: ray://HOST:10001, or ray  [default: this machine]",
)
batch_size_option = click.option(
    "--batch-size", type=POSITIVE, default=32, show_default=True, help="Images that run at once."
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    expose_value=False,
    callback=lambda context, _, count: context.with_resource(config.reading_by(count)),
    help="Processes that read images, at most  [default: ZOO_WORKERS; else 4 beside a CPU that "
    "computes, for a GPU as many as there are cores]",
)
quiet_option = flag("--quiet", help="Do not say how far it is.")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
WHOLE = "help_all"
"""Whether help shows all options, in the ``meta`` of a context."""


def _show_all(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[WHOLE] = True
        click.echo(context.get_help())
        context.exit()


HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show all options.",
)


class Command(click.Command):
    """A command.

    Attributes:
        extra: The option that an argument too many belongs to, as far as can be guessed.
        first: The options that its help shows, in this order, if not all.
    """

    extra: str = ""
    first: tuple[str, ...] = ()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options: those that most people need, unless all are asked for."""
        if not self.first or ctx.meta.get(WHOLE):
            super().format_options(ctx, formatter)
            return
        known = {name: option for option in self.get_params(ctx) for name in option.opts}
        shown = (known[name].get_help_record(ctx) for name in (*self.first, "--help-all", "--help"))
        with formatter.section("Options"):
            formatter.write_dl([record for record in shown if record])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; where there is an argument too many, show the form that works."""
        line = list(args)  # click empties its own
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            given, extra, _ = self.make_parser(ctx).parse_args(list(line))
            problem = (
                f"Got unexpected extra argument ({extra[0]})." if extra else str(error.message)
            )
            extra = extra or self._last_of_two(given)
            taken = {parameter.name for parameter in self.params if self.extra in parameter.opts}
            if not self.extra or len(extra) != 1 or taken & given.keys() or "--" in line:
                raise
            # The last of its kind: an argument before it may be the same word.
            at = len(line) - 1 - line[::-1].index(extra[0])
            form = shlex.join([*line[:at], self.extra, *line[at:]])
            ctx.fail(f"{problem or error.format_message()} Write: {ctx.command_path} {form}")

    def _last_of_two(self, given: Mapping[str, object]) -> list[str]:
        """The second of two arguments, of which there may be any number."""
        for parameter in self.params:
            values = given.get(parameter.name or "")
            if parameter.nargs == -1 and isinstance(values, list | tuple) and len(values) == 2:
                return [str(values[1])]
        return []


def command(
    name: str | None = None,
    *,
    of: click.Group | None = None,
    extra: str = "",
    first: str = "",
    json: bool = True,
    home: bool = True,
) -> Callable[[Callable[..., None]], Command]:
    """Make a function a command, with ``--json`` and ``--home`` after its own options."""

    def decorate(function: Callable[..., None]) -> Command:
        done = click.command(name, cls=Command)(function)
        done.extra, done.first = extra, tuple(first.split())
        if json:
            done.params.append(JSON)
        if home:
            done.params.append(HOME)
        if first:
            done.params.append(HELP_ALL)
        completed(done)
        if of:
            of.add_command(done)
        return done

    return decorate


class _Group(click.Group):
    """Commands below another; ``delete`` is ``rm`` here, and ``list`` is ``ls``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in ("delete", "remove") and "rm" in self.commands:
            ctx.fail(f"No such command '{args[0]}'. Here it is: {ctx.command_path} rm")
        if args[0] == "list" and "ls" in self.commands:
            args = ["ls", *args[1:]]
        return super().resolve_command(ctx, args)


def group(function: Callable[..., None]) -> click.Group:
    """Make a function a command with others below it, with ``--json`` and ``--home``."""
    done = click.group(cls=_Group, invoke_without_command=True)(function)
    done.params += [JSON, HOME]
    return done


def open_zoo(*, quiet: bool = False, indexed: bool = False) -> Zoo:
    """The zoo to work in, closed with the command.

    Args:
        quiet: Nobody learns how far it is.
        indexed: All of the work is to ask its index: what that takes is loaded at once.
    """
    _load("zoo.facade")
    if indexed:
        _load("zoo.registry")
    import zoo

    context = click.get_current_context()
    served = context.find_root().invoked_subcommand == "serve"
    opened = zoo.open(context.meta.get("home"), progress=not quiet, served=served)
    context.call_on_close(opened.close)
    return opened


def tell_if_deprecated(zoo: Zoo, name: str) -> None:
    """Warn of a name that is to be used no more; one that is not known, its use is told of."""
    from zoo.errors import ZooError

    with suppress(ZooError):
        if reason := zoo.why_deprecated(name):
            note(f"WARNING: {name} is deprecated: {reason}")


def open_accounts() -> Accounts:
    """The accounts of the zoo to work in, closed with the command."""
    from zoo.serve.who.accounts import Accounts

    opened = Accounts.of(open_zoo().workspace)
    click.get_current_context().call_on_close(opened.close)
    return opened


@cache
def _load(module: str) -> None:
    """Import a module, and all that it needs, without the garbage collector, once for a process.

    What an import makes stays. The collector would look through all of it again and again, which
    was a tenth of the time of a search.
    """
    gc.disable()
    try:
        import_module(module)
    finally:
        gc.freeze()
        gc.enable()


note_option = click.option(
    "--note",
    default="",
    metavar="TEXT",
    help="What you say of it, in a line: it goes with the checkpoint, and zoo search finds it.",
)
said_option = click.option(
    "--note",
    default="",
    metavar="TEXT",
    help="What you say of it, in a line: the log of the name keeps it, and zoo log shows it.",
)
dry_run = flag("--dry-run", help="Only show what would be done, also with --yes.")


def agreed(question: str, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Whether to do what was shown: who can be asked is."""
    if dry_run or yes:
        return not dry_run
    return not as_json and sys.stdin.isatty() and click.confirm(question)
