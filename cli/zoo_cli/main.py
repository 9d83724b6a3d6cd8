"""The program ``zoo``."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from errno import ENOSPC
from importlib.metadata import version

import click

from zoo.errors import DiskFull, ZooError
from zoo_cli import (
    adapt,
    care,
    compare,
    demo,
    features,
    find,
    follow,
    lineage,
    manage,
    overview,
    runs,
    share,
    train,
    trust,
)
from zoo_cli.command import home_option
from zoo_cli.errors import explain
from zoo_cli.launch import in_turn
from zoo_cli.output import Notes, note

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("zoo-registry"), prog_name="zoo")
@home_option
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


for command in (
    manage.init, manage.index, manage.plugins, manage.remote,
    find.search, find.show, find.tree, lineage.log, compare.diff, compare.identify,
    overview.best, overview.list_arch, overview.reindex,
    train.finetune, train.rerun, runs.runs, train.predict, features.features, adapt.adapt,
    share.pull, share.push, share.import_, share.export, share.tag, follow.clone, follow.fetch,
    trust.trust,
    care.delete, care.protect, care.prune, care.verify, demo.demo,
):  # fmt: skip
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    # Pillow's, where a large image is cropped: `zoo.domain.limits` has limits of its own.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    tell = Notes()
    logging.getLogger("zoo").addHandler(tell)
    try:
        with in_turn():
            status = cli.main(arguments, prog_name="zoo", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ZooError as error:
        _fail(error)
    except (KeyboardInterrupt, click.Abort):
        note("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left: nothing to say to nobody
        sys.exit(1)
    except OSError as error:
        if error.errno == ENOSPC:
            _fail(DiskFull(error.filename or "the disk"))
        note(
            f"error: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        )
        sys.exit(1)
    finally:
        logging.getLogger("zoo").removeHandler(tell)


def _fail(error: ZooError) -> None:
    for line in "\n".join(explain(error)).splitlines():
        note(line)
    sys.exit(1)
