"""Run the program in a fork of this process that may take so much memory and time, and no more."""

from __future__ import annotations

import json
import os
import resource
import traceback
from pathlib import Path

import torch
from fakes.strangers import Said, say

import zoo.finetune.run

__all__ = ["KILLED", "bounded"]

KILLED = -1
IMPORTED = (zoo.finetune.run,)
"""What commands import counts as had, not as taken."""


def bounded(*arguments: object, megabytes: int, seconds: int) -> Said:
    """``zoo ARGUMENTS`` with so many megabytes more than this process has, and so much CPU time.

    The code is `KILLED` where it had to be ended.
    """
    answer, say_it = os.pipe()
    child = os.fork()
    if not child:
        _run(say_it, arguments, megabytes, seconds)
    os.close(say_it)
    with os.fdopen(answer, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status or not said:
        return Said(KILLED, "", f"ended with {status}")
    return Said(*json.loads(said))


def _run(say_it: int, arguments: tuple[object, ...], megabytes: int, seconds: int) -> None:
    try:
        torch.set_num_threads(1)  # those of this process did not come along
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + megabytes * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        done = say(*arguments)
        os.write(say_it, json.dumps([done.code, done.out[-4000:], done.err[-4000:]]).encode())
    except BaseException:  # noqa: BLE001 - told, and the process ends here in any case
        os.write(say_it, json.dumps([2, "", traceback.format_exc()[-4000:]]).encode())
    finally:
        os._exit(0)
