"""Signs of life end with what they are of."""

from __future__ import annotations

import time
from threading import Thread

import pytest

from zoo.domain.owner import renewing


def test_an_interrupt_as_it_begins_leaves_no_thread_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would say for ever that something is under way."""
    signs, begun = list[float](), Thread.start

    def start(thread: Thread) -> None:
        begun(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(Thread, "start", start)
    with (
        pytest.raises(KeyboardInterrupt),
        renewing(lambda: signs.append(time.monotonic()), every=0.01),
    ):
        pass
    known = len(signs)
    time.sleep(0.1)
    assert len(signs) == known
