"""Shown: how numbers, sizes and times are written on pages."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from zoo.domain import words
from zoo.domain.task import COUNTS
from zoo.domain.words import ago

__all__ = [
    "ago",
    "amount",
    "breaks",
    "called",
    "day",
    "lasting",
    "moment",
    "percent",
    "size",
    "whole",
]

NONE = "\N{EN DASH}"
SIGNS = re.compile(r"(?<=[/_.:-])")


def whole(number: int | None) -> str:
    """A count in full: ``1,234,567``; a dash for None."""
    return NONE if number is None else f"{number:,}"


def amount(number: float | None) -> str:
    """A count in short: ``4.7M``; a dash for None."""
    return NONE if number is None else words.amount(number)


def size(number: float | None) -> str:
    """Bytes: ``18.7 MB``; a dash for None."""
    return NONE if number is None else words.size(number)


def breaks(text: str) -> Markup:
    """A long name that may go on in the next line after one of its signs."""
    return Markup("<wbr>").join(escape(part) for part in SIGNS.split(text))


def called(figure: str) -> str:
    """A figure's name in plain words."""
    return COUNTS.get(figure, figure.replace("_", " "))


def percent(share: float | None) -> str:
    """A share, which is whole only if it is: ``97.3%``; a dash for None."""
    return NONE if share is None else words.percent(share)


def lasting(seconds: float) -> str:
    """A time that something takes: ``0:01:05``; a dash for one that nothing takes."""
    try:
        return str(timedelta(seconds=round(seconds)))
    except (OverflowError, ValueError):
        return NONE


def day(time: str | datetime | None) -> Markup:
    """A time in UTC as its day, with all of it for who points at it; a dash for None."""
    if not time:
        return escape(NONE)
    text = time.isoformat() if isinstance(time, datetime) else time
    whole = text.replace("T", " ")[:16]
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(text, whole, text[:10])


def moment(time: str | None) -> Markup:
    """A time in UTC to the minute; a dash for None."""
    if not time:
        return escape(NONE)
    return Markup('<time datetime="{}">{}</time>').format(time, time.replace("T", " ")[:16])
