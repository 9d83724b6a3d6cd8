"""A clock that is handed in, where waiting for the real one would take whole seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

__all__ = ["earlier"]


@contextmanager
def earlier(*, seconds: int = 2) -> Iterator[None]:
    """Moves of names that are made within are dated so many seconds ago.

    They are dated in whole seconds, so one made just now is not older than an age of zero.
    """
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.reflog.now", lambda: at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        yield
