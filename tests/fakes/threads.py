"""One thread for torch: sums in one order are bit-equal, on any number of cores."""

from __future__ import annotations

from collections.abc import Iterator

import torch

__all__ = ["one_thread"]


def one_thread() -> Iterator[None]:
    """The body of a fixture: ``pytest.fixture(autouse=True, scope="module")(one_thread)``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
