"""The program ``zoo``."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from errno import EDQUOT, EFBIG, ENOSPC
from importlib.metadata import version

import click

from zoo import config
from zoo.errors import DiskFull, ZooError
from zoo_cli import (
    advise,
    bench,
    compare,
    delete,
    demo,
    edit,
    evaluate,
    import_files,
    login,
    maintain,
    rank,
    remotes,
    runs,
    search,
    serve,
    share,
    show,
    sign,
    start,
    train,
    ui,
    use,
)
from zoo_cli.command import HOME
from zoo_cli.errors import STATUS, failure, tell
from zoo_cli.launch import in_turn
from zoo_cli.output import print_error, readers_may_leave, warnings_noted

__all__ = ["cli", "main", "program"]


SECTIONS = {
    "Start": "init clone index demo",
    "Look up": "search ls show tree log best list-arch compare diff identify ui",
    "Share": "pull push fetch remote login logout tag mv sign signatures import edit export serve",
    "Fine-tune and use": (
        "rank advise finetune rerun runs evaluate bench predict features adapt average"
    ),
    "Maintain": "verify prune repack reindex delete protect deprecate trust signers plugins",
}
"""All commands, as they are listed."""
ALIASES = {"eval": "evaluate", "info": "show", "list": "ls", "rm": "delete", "train": "finetune"}
"""Other names of commands, which people try."""
WORDS = {
    "average": "soup merge",
    "bench": "benchmark latency speed",
    "delete": "remove",
    "delete --restore": "restore undelete",
    "edit": "annotate describe set",
    "evaluate": "test validate",
    "export": "onnx convert",
    "fetch": "status",
    "finetune": "fit",
    "import": "add",
    "init": "create",
    "log": "history",
    "mv": "move rename",
    "prune": "gc",
    "pull": "download get install",
    "push": "publish upload",
    "remote": "remotes",
    "search": "find models",
    "show": "cat",
    "tag": "copy cp",
}
"""Our commands, and what other programs (git, timm, hf, docker) call something like them."""
ELSEWHERE = {word: ours for ours, words in WORDS.items() for word in words.split()}


class Commands(click.Group):
    """The commands; a word of another program is answered with ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; ``help`` is ``--help``."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say what it is called here."""
        if ours := ELSEWHERE.get(args[0]):
            ctx.fail(f"No such command '{args[0]}'. Here it is: zoo {ours}")
        return super().resolve_command(ctx, [ALIASES.get(args[0], args[0]), *args[1:]])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; of several processes that are interrupted the first one says so."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if config.rank():
                sys.exit(STATUS["interrupted"])
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under the headings of `SECTIONS`."""
        column = max(map(len, self.list_commands(ctx)))
        room = formatter.width - column - 6  # as click reckons it
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                commands = ((name, self.commands[name]) for name in names.split())
                formatter.write_dl(
                    [(f"{name:{column}}", one.get_short_help_str(room)) for name, one in commands]
                )


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(version("zoo-registry"), prog_name="zoo")
def cli() -> None:
    """A model zoo for people who fine-tune vision models.

    Look up a pretrained checkpoint, freeze it by depth, fine-tune it on your images, and share the
    result: a teammate pulls it by name, with its preprocessing and class names.

    \b
      zoo init
      zoo index timm
      zoo pull timm/tf_efficientnet_lite0.in1k
      zoo finetune timm/tf_efficientnet_lite0.in1k --data flowers/ --freeze blocks.4 \\
          --save team/flowers
      zoo push team/flowers --to /mnt/team/zoo
    """


cli.params.append(HOME)
MODULES = (
    advise,
    bench,
    compare,
    delete,
    demo,
    edit,
    evaluate,
    import_files,
    login,
    maintain,
    rank,
    remotes,
    runs,
    search,
    serve,
    share,
    show,
    sign,
    start,
    train,
    ui,
    use,
)
for module in MODULES:
    for command in module.__all__:
        cli.add_command(getattr(module, command))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    # Pillow's, where a large image is cropped: `zoo.domain.limits` has limits of its own.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    arguments = sys.argv[1:] if arguments is None else arguments
    with readers_may_leave():
        try:
            with in_turn(), warnings_noted():
                status = cli.main(arguments, prog_name="zoo", standalone_mode=False)
            sys.exit(status if isinstance(status, int) else 0)
        except (click.ClickException, ZooError, KeyboardInterrupt, click.Abort, OSError) as error:
            sys.exit(_tell(error, as_json="--json" in _options(arguments)))


def program() -> None:
    """The program ``zoo``: `main`; a second Ctrl-C ends what still waits as it exits."""
    try:
        main()
    except SystemExit as left:
        if left.code == STATUS["interrupted"]:
            # Else Python would print where its threads and finalizers were, each time.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise


def _tell(error: BaseException, *, as_json: bool) -> int:
    """Say on stderr what a command failed of; its exit status."""
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG):
        error = DiskFull(error.filename or "the disk")
    failed = failure(error)
    if as_json:
        print_error(failed.to_json())
    elif isinstance(error, click.ClickException):
        error.show()
    else:
        tell(failed)
    return STATUS.get(failed.code, 1)


def _options(arguments: Sequence[str]) -> Sequence[str]:
    """What may be an option: a usage error comes before the command has read its own."""
    arguments = list(arguments)
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
