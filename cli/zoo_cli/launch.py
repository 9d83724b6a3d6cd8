"""Start a command again in several processes."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from time import sleep
from typing import TYPE_CHECKING, NoReturn

import click

from zoo import config
from zoo.errors import InvalidOption, MissingPackage, ZooError
from zoo_cli.errors import STATUS
from zoo_cli.output import note

if TYPE_CHECKING:
    from psutil import Process
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

__all__ = ["in_turn", "launch_processes"]

PATIENCE = 20.0
"""Seconds in which a launcher notices that one process has ended, and ends the others."""
HASTE = 5.0
"""Seconds in which a process that the terminal has interrupted ends."""


def launch_processes(how: str, device: str) -> None:
    """Run this very command line, without its ``--launch``, in several processes; then exit.

    Args:
        how: accelerate's config file, or a number of processes on this machine.
        device: What they are to train on.

    Raises:
        InvalidOption: It is neither, or there are not so many GPUs.
        MissingPackage: accelerate is not installed.
        SystemExit: All have ended; with the status of the first that failed, as a shell has it.
    """
    from importlib.util import find_spec

    count = int(how) if how.isdecimal() else 0
    if not count and not Path(how).is_file():
        raise InvalidOption(f"--launch takes a number of processes or a config file, not {how}")
    if find_spec("accelerate") is None:
        raise MissingPackage("accelerate", "pip install 'zoo-registry[accelerate]'")
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    again = ["-m", "zoo_cli", *_without(sys.argv[1:], "--launch")]
    logging.disable(logging.ERROR)  # the launcher tells in lines of its own what was told
    try:
        if count:
            _start(count, device, again)
        else:
            _start_as_configured(Path(how), again)
    except SignalException as error:
        if error.sigval is signal.SIGINT:
            sys.exit(STATUS["interrupted"])  # the first of them said so, and how to resume
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        _exit_as(error.failures)
    except CalledProcessError as error:  # accelerate's, of a single process
        sys.exit(error.returncode if error.returncode > 0 else 128 - error.returncode)
    finally:
        logging.disable(logging.NOTSET)
    sys.exit(0)


@contextmanager
def in_turn() -> Iterator[None]:
    """Let one of several processes tell what failed in all.

    The first tells its own errors at once. Others wait, and so does what comes of a process that is
    gone: meanwhile whoever started them ends them. What is an error of one alone, it tells then.
    """
    try:
        yield
    except click.Abort:  # an interrupt comes to all
        raise
    except Exception as error:
        own = isinstance(error, ZooError | click.ClickException | OSError)
        if config.processes() > 1:
            sleep(PATIENCE * ((config.rank() > 0) + (not own)))
        raise


def _exit_as(failures: Mapping[int, ProcessFailure]) -> NoReturn:
    """Exit as the first process that failed; others were ended by the launcher."""
    rank, failure = min(
        failures.items(), key=lambda one: (one[1].exitcode == -signal.SIGTERM, one[1].timestamp)
    )
    if failure.exitcode > 0:
        sys.exit(failure.exitcode)  # what went wrong was said by the process itself
    note(f"error: process {rank} was killed by {signal.Signals(-failure.exitcode).name}")
    sys.exit(128 - failure.exitcode)


def _start(count: int, device: str, again: list[str]) -> None:
    import torch
    from torch.distributed.run import main

    gpus = torch.cuda.device_count()
    if device != "cpu" and 0 < gpus < count:
        raise InvalidOption(
            f"--launch {count} needs as many GPUs, and this machine has {gpus}; with "
            "--device cpu the processes share the cores"
        )
    config.share_cores(count)
    with _logs() as logs:
        main(["--standalone", "--nproc-per-node", str(count), "--log-dir", logs, *again])


def _start_as_configured(path: Path, again: list[str]) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command, launch_command_parser
    from psutil import Process

    known = load_config_from_file(str(path))
    options: list[str] = []
    if known.use_cpu or known.distributed_type == "MULTI_CPU":
        again = [*again, "--device", "cpu"]
        if known.num_processes > 1 and known.distributed_type != "FSDP":
            # Without this, accelerate starts a single process on a CPU, or leaves it to MPI.
            options.append("--multi_gpu")
    others = Process().children()
    with _logs() as logs:
        given = ["--config_file", str(path), "--log_dir", logs, *options, *again]
        try:
            launch_command(launch_command_parser().parse_args(given))
        except KeyboardInterrupt:  # accelerate's launcher of a single process leaves it alone
            _interrupt(others)
            sys.exit(STATUS["interrupted"])


def _interrupt(others: Sequence[Process]) -> None:
    """See that all that was started, but ``others``, is interrupted, too, and has said so.

    A terminal interrupts it itself; a ``kill -INT`` of the launcher alone does not.
    """
    from psutil import NoSuchProcess, Process, wait_procs

    started = [each for each in Process().children() if each not in others]
    _, left = wait_procs(started, timeout=HASTE)
    for process in left:
        with suppress(NoSuchProcess):
            process.send_signal(signal.SIGINT)
    wait_procs(left)


def _logs() -> TemporaryDirectory[str]:
    """Where torch's launcher keeps its records; else it leaves a folder behind at each start."""
    return TemporaryDirectory(prefix="zoo-")


def _without(arguments: list[str], option: str) -> list[str]:
    others: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == option:
            next(left, None)
        elif not argument.startswith(f"{option}="):
            others.append(argument)
    return others
