"""Words: numbers of things, as messages say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from zoo.domain.limits import NOTE_LETTERS
from zoo.errors import InvalidOption

__all__ = [
    "NOTHING_GAINED",
    "ago",
    "amount",
    "checked_note",
    "not_finite",
    "of_groups",
    "percent",
    "plural",
    "shortened",
    "size",
    "some",
    "too_good",
    "up_to",
]

NOTHING_GAINED = "nothing gained"
"""What a text of what training gained over a probe ends with where that is what was kept."""
HOUR, DAY = 60, 24 * 60
UNITS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
ENOUGH_GROUPS = 10
"""Groups of images from which on how alike those of one are can be seen (`docs/evaluate.md`)."""
NAMED = 4
"""Names that a sentence lists of many."""
LONGEST = 40
"""Characters of a name that it shows."""


def ago(then: str) -> str:
    """How long ago a time is, UTC, ISO 8601: ``12 minutes ago``."""
    minutes = max(0, int((datetime.now(UTC) - datetime.fromisoformat(then)).total_seconds() // 60))
    if minutes >= 2 * DAY:
        return f"{plural(minutes // DAY, 'day')} ago"
    if minutes >= 2 * HOUR:
        return f"{plural(minutes // HOUR, 'hour')} ago"
    return f"{plural(minutes, 'minute')} ago"


def plural(number: int, one: str, several: str = "") -> str:
    """``1 file``, ``3 files``; ``several`` is what does not just end in s."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def size(number: float) -> str:
    """Bytes for people: ``18.7 MB``."""
    for unit in ("B", "kB", "MB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def percent(share: float) -> str:
    """A share for people, which is whole only if it is: ``97.3%``."""
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def amount(number: float) -> str:
    """A count for people: ``4.7M``."""
    for limit, unit in UNITS:
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:g}"


def up_to(names: Sequence[str], most: int) -> str:
    """Up to ``most`` of some names, and how many more there are: ``a, b and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def some(names: Sequence[str]) -> str:
    """The first four of some names, each shortened, and how many more there are."""
    return up_to([shortened(name, LONGEST) for name in names], NAMED)


def shortened(name: str, letters: int) -> str:
    """A name of so many letters at most, the last of which says that there were more."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def checked_note(note: str) -> str:
    """What a user says of a checkpoint, in one line.

    Raises:
        InvalidOption: It is too long, or has characters that cannot be shown.
    """
    line = " ".join(note.split())
    if len(line) > NOTE_LETTERS:
        raise InvalidOption(f"the note has {len(line)} letters; the most is {NOTE_LETTERS}")
    if not line.isprintable():
        raise InvalidOption(f"the note has characters that cannot be shown: {line[:60]!a}")
    return line


def not_finite(names: Sequence[str]) -> str:
    """What to say of tensors with NaN or infinite values; empty if there are none."""
    return f"NaN or infinite values in {some(names)}" if names else ""


def of_groups(groups: float) -> str:
    """What intervals are of, where images belong together."""
    text = f"these images are in {plural(int(groups), 'group')}; "
    if groups < ENOUGH_GROUPS:
        return f"{text}too few to tell how alike those of one group are, so intervals are rough"
    return (
        f"{text}those of one group are alike, so the intervals are of groups, not of single images"
    )


def too_good(seen: int, images: int, name: str) -> str:
    """What to say of figures on images of which ``name``, a checkpoint or run, has seen so many."""
    return (
        f"{seen:,} of the {plural(images, 'test image')} {'is' if seen == 1 else 'are'} among "
        f"those that {name} was trained on or chosen by: figures on these are too good"
    )
