"""How processes that read images are started."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from threading import Lock

import torch

__all__ = ["STARTED", "context_for", "without_script"]

STARTED = {"cuda": "forkserver"}
"""How they are started beside a kind of device, where that is not Python's usual way: a process
that has used a card has threads of the driver, and a copy of it has their locks as they were."""

ONE = Lock()
"""Held by the thread that starts some, as what they take for the script is of the whole process."""


def context_for(device: str, *modules: str) -> BaseContext | None:
    """What starts them beside a kind of device; None: Python's usual way. A process that has used a
    card may also read what is not for it. The ``modules`` of the first who asks are imported once.
    """
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    method = STARTED.get("cuda" if used else device)
    if method not in get_all_start_methods():  # not on Windows
        return None
    context = get_context(method)
    context.set_forkserver_preload([*modules])
    return context


@contextmanager
def without_script() -> Iterator[None]:
    """Processes that are started meanwhile do not run the script that this is: it may train, and
    say nothing of ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    with ONE:
        spec, file = main.__spec__, getattr(main, "__file__", None)
        main.__spec__ = None
        if file:
            del main.__file__
        try:
            yield
        finally:
            main.__spec__ = spec
            if file:
                main.__file__ = file
