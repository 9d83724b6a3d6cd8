from __future__ import annotations

from math import inf, nan

import pytest

from zoo.domain.duration import budget_for, seconds_of, time_of
from zoo.errors import InvalidOption


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("0", 0),
        ("90s", 90),
        ("3min", 180),
        ("10m", 600),
        ("1h30m", 5400),
        (" 1H ", 3600),
        (0, 0),
        (2.5, 2.5),
    ],
)
def test_what_a_user_writes_or_a_number_of_seconds(span: str | float, seconds: float) -> None:
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("span", ["", "soon", "10", "-1s", "1.5h", -1, nan, inf])
def test_what_is_none_is_refused(span: str | float) -> None:
    with pytest.raises(InvalidOption, match="is no duration"):
        seconds_of(span)


def test_seconds_up_to_a_hundred_then_minutes() -> None:
    assert [time_of(seconds) for seconds in (0.4, 99, 180)] == ["0 s", "99 s", "3 min"]


def test_a_budget_is_enough_for_what_is_estimated_and_can_be_written() -> None:
    assert [budget_for(seconds) for seconds in (0, 40, 41, 200, 1e6)] == [
        "1m", "1m", "2m", "5m", "25000m",
    ]  # fmt: skip
    assert seconds_of(budget_for(1e6)) == 1.5e6
