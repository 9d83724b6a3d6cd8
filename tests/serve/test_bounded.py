"""What is sent to a server may claim any size: its parsers take little memory for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.bounded import bounded_python

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("examples", [pytest.param(20), pytest.param(1000, marks=pytest.mark.long)])
def test_parsers_take_little_memory_for_what_claims_to_be_large(
    examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    done = bounded_python("-m", "fakes.hostile_bodies", examples, megabytes=400, seconds=300)
    assert done.code == 0, done.err[-2000:]
    assert done.out.split() == ["ranges", "commits", "shards", "xorbs", "headers", "pickles"]
