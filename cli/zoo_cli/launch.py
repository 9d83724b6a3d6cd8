"""Start a command again in several processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zoo.errors import InvalidOption, MissingPackage

__all__ = ["launch_processes"]


def launch_processes(how: str) -> None:
    """Become accelerate's launcher of this very command line, without its ``--launch``.

    Args:
        how: accelerate's config file, or a number of processes on this machine.

    Raises:
        InvalidOption: It is neither.
        MissingPackage: accelerate is not installed.
    """
    from importlib.util import find_spec

    if find_spec("accelerate") is None:
        raise MissingPackage("accelerate", "pip install 'zoo-registry[accelerate]'")
    if how.isdecimal() and int(how) > 0:
        options = ["--num_processes", how, "--num_machines", "1", "--mixed_precision", "no"]
        options += ["--multi_gpu"] if _gpus() >= int(how) > 1 else ["--cpu"]
    elif Path(how).is_file():
        options = ["--config_file", how]
    else:
        raise InvalidOption(f"--launch takes a number of processes or a config file, not {how}")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    again = ["-m", "zoo_cli", *_without(sys.argv[1:], "--launch")]
    os.execv(sys.executable, [*launcher, *again])  # noqa: S606 - no shell is wanted


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _without(arguments: list[str], option: str) -> list[str]:
    kept: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == option:
            next(left, None)
        elif not argument.startswith(f"{option}="):
            kept.append(argument)
    return kept
