"""The program ``zoo``."""

from __future__ import annotations

import signal
import sys
import warnings
from collections import UserDict
from collections.abc import Mapping, Sequence
from errno import EDQUOT, EFBIG, ENOSPC
from importlib import import_module
from typing import Any

import click

from zoo import config
from zoo.errors import DiskFull, Unsupported, ZooError
from zoo_cli.command import HOME
from zoo_cli.errors import STATUS, failure, tell
from zoo_cli.launch import in_turn
from zoo_cli.output import print_error, readers_may_leave, warnings_noted

__all__ = ["cli", "main", "program"]

MISMATCH = "operator torchvision::"
"""Begins what torch says of a torchvision that was built for another one, when it is imported."""
REINSTALL = "install both anew, from one place: pip install --force-reinstall torch torchvision"

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Start": {
        "init": ("start:init", "Make a zoo in FOLDER."),
        "clone": ("remotes:clone", "Make a zoo in FOLDER that follows the store at REMOTE."),
        "index": ("start:index", "List the checkpoints of SOURCE, to search and pull them."),
        "demo": ("demo:demo", "Run the main job on real weights and images in FOLDER."),
    },
    "Look up": {
        "search": ("search:search", "Search all checkpoints: here, at remotes, and published."),
        "ls": ("search:ls", "List the checkpoints in this zoo, the newest first."),
        "show": ("show:show", "Show what is known of a checkpoint, here or elsewhere."),
        "tree": ("show:tree", "Print the units, stages and head of a network."),
        "log": ("show:log", "Show the lineage of NAME, and what it pointed at before."),
        "best": ("search:best", "Show the checkpoint with the best result on a dataset."),
        "list-arch": ("search:list_arch", "List the architectures that there are weights of."),
        "compare": (
            "compare:compare",
            "Show checkpoints side by side: what differs, and all figures.",
        ),
        "diff": ("compare:diff", "Compare the checkpoints A and B, unit by unit."),
        "identify": (
            "compare:identify",
            "Say which checkpoint a weights FILE is, or derives from.",
        ),
        "ui": ("ui:ui", "Open this zoo's pages in a browser, until Ctrl-C."),
    },
    "Share": {
        "pull": ("share:pull", "Bring a checkpoint here: published weights, or a team's."),
        "push": ("share:push", "Send checkpoints to a remote, or publish one on the HF Hub."),
        "fetch": ("remotes:fetch", "Learn what REMOTE, or each named remote, has now."),
        "remote": (
            "remotes:remote",
            "List the remotes that have a short name here, or change them.",
        ),
        "login": ("login:login", "Keep a token for the server of a zoo at URL."),
        "logout": ("login:logout", "Forget the token for the server at URL."),
        "token": ("tokens:token", "List your own tokens at a server, or make and revoke them."),
        "tag": ("share:tag", "Point the reference NEW at the checkpoint NAME."),
        "mv": ("share:mv", "Rename the checkpoint NAME to NEW."),
        "sign": ("sign:sign", "Sign what NAME points at, with your key."),
        "signatures": ("sign:signatures", "Show who has signed what NAME points at."),
        "import": ("import_files:import_", "Keep a weights FILE as a checkpoint."),
        "edit": ("edit:edit", "State what nobody wrote down of a checkpoint."),
        "export": ("share:export", "Write a checkpoint to FOLDER, for its own library to load."),
        "serve": ("serve:serve", "Serve the zoo to clients of the model hub, until Ctrl-C."),
    },
    "Fine-tune and use": {
        "rank": ("rank:rank", "Say which networks suit the images in DATA."),
        "advise": ("advise:advise", "Say what DATA shows, what BASE knows, and how to fine-tune."),
        "finetune": ("train:finetune", "Fine-tune BASE on your images, and keep the result."),
        "rerun": ("train:rerun", "Fine-tune again as NAME was: same base, images and recipe."),
        "runs": ("runs:runs", "List the fine-tunes that were begun here, newest first."),
        "evaluate": (
            "evaluate:evaluate",
            "Measure NAME on the labeled images in DATA, class by class.",
        ),
        "bench": ("bench:bench", "Measure how fast NAME runs here, and the memory that it takes."),
        "predict": ("use:predict", "Predict classes, labels or numbers of IMAGES with NAME."),
        "features": ("use:features", "Write the features of each image in DATA, as NAME sees it."),
        "adapt": ("use:adapt", "Keep NAME as NEW: shallower, or for other images or classes."),
        "average": ("use:average", "Keep the mean of the weights of several fine-tunes as NEW."),
    },
    "Maintain": {
        "verify": ("maintain:verify", "Hash everything in the zoo, or in REMOTE, again."),
        "prune": ("delete:prune", "Show what nothing needs any more, and delete it."),
        "repack": (
            "maintain:repack",
            "Make REMOTE smaller: keep related checkpoints as differences.",
        ),
        "reindex": ("maintain:reindex", "Make the index, registry.db, again."),
        "delete": ("delete:delete", "Delete names, here or at a remote."),
        "protect": ("delete:protect", "Keep a name where it is."),
        "deprecate": ("delete:deprecate", "Say that a name is to be used no more, and WHY."),
        "trust": ("maintain:trust", "Allow checkpoints here to import and run their network NAME."),
        "signers": ("sign:signers", "List whom you trust to sign, or change that."),
        "plugins": ("start:plugins", "List the plugins, and whether they work."),
    },
}
"""All commands as they are listed: where each is, and the first sentence of its help, so that what
is not run is not imported.
"""
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


class _Later(UserDict[str, Any]):
    """Commands by their names, from where each is; it is imported when somebody asks for it."""

    def __getitem__(self, name: str) -> click.Command:
        """The command; KeyError: there is none of that name."""
        module, attribute = self.data[name].split(":")
        command: click.Command = getattr(import_module(f"zoo_cli.{module}"), attribute)
        return command


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
        for heading, rows in SECTIONS.items():
            with formatter.section(heading):
                commands = (click.Command(name, help=text) for name, (_, text) in rows.items())
                formatter.write_dl(
                    [(f"{one.name:{column}}", one.get_short_help_str(room)) for one in commands]
                )


@click.group(
    cls=Commands,
    commands=_Later(
        {name: where for rows in SECTIONS.values() for name, (where, _) in rows.items()}
    ),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(package_name="zoo-registry", prog_name="zoo")
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
        except RuntimeError as error:
            if MISMATCH not in str(error):
                raise
            mismatch = Unsupported(f"torchvision does not fit torch: {error}", hint=REINSTALL)
            sys.exit(_tell(mismatch, as_json="--json" in _options(arguments)))


def program() -> None:
    """The program ``zoo``: `main`; a second Ctrl-C ends what still waits as it exits."""
    config.spin_briefly()
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
