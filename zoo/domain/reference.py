"""Reference: a name that moves, ``namespace/name:tag``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from zoo.errors import InvalidReference

__all__ = ["DEFAULT_TAG", "PART", "Reference", "check_case", "check_namespace", "is_pattern"]

DEFAULT_TAG = "latest"
"""The tag of a name that is written without one."""
WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Devices of Windows, which has no files of these names, whatever follows the dot."""
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""The letters of each part of a name."""


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """``namespace/name:tag``, as in ``team/flowers:v3``; the tag is ``latest`` unless given.

    Every part starts with a letter, digit or underscore, goes on with those, dots and hyphens, has
    at most 128 characters, no ``..`` and no dot at the end: it becomes a folder name.
    """

    namespace: str
    name: str
    tag: str = DEFAULT_TAG

    def __post_init__(self) -> None:
        for part in (self.namespace, self.name, self.tag):
            if not PART.fullmatch(part) or ".." in part or part.endswith("."):
                raise InvalidReference(
                    f"'{self}' is not a reference: '{part}' must be 1 to 128 letters, digits, '.', "
                    "'_' or '-'"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``namespace/name`` or ``namespace/name:tag``.

        Raises:
            InvalidReference: The text is not a reference.
        """
        path, colon, tag = text.partition(":")
        namespace, slash, name = path.partition("/")
        if not slash or (colon and not tag):
            raise InvalidReference(
                f"'{text}' is not a reference: write namespace/name or namespace/name:tag"
            )
        return cls(namespace, name, tag or DEFAULT_TAG)

    def check_portable(self) -> None:
        """See that every system can hold files of this name. Older zoos made others, too.

        Raises:
            InvalidReference: One cannot.
        """
        for part in (self.namespace, self.name, self.tag):
            if WINDOWS.fullmatch(part):
                raise InvalidReference(
                    f"'{self}' cannot be a new name: Windows has no files called '{part}'", hint=""
                )

    @property
    def path(self) -> str:
        """``namespace/name``, without the tag."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return self.path if self.tag == DEFAULT_TAG else f"{self.path}:{self.tag}"


def check_namespace(text: str, what: str = "a namespace") -> None:
    """See that names can begin with a text, which is to be ``what``.

    Raises:
        InvalidReference: They cannot.
    """
    try:
        Reference(text, text)
    except InvalidReference as error:
        allowed = "1 to 128 letters, digits, '.', '_' or '-'"
        raise InvalidReference(f"'{text}' cannot be {what}: {allowed}", hint="") from error


def is_pattern(text: str) -> bool:
    """Whether a text is no reference, but stands for several, as a shell has it: ``team/*``."""
    return any(char in text for char in "*?[")


def check_case(ref: str, part: str, taken: Iterable[str]) -> None:
    """See that a part of the new name ``ref`` is not one of ``taken`` but for upper and lower case.

    Raises:
        InvalidReference: It is.
    """
    taken = set(taken)
    alike = sorted(name for name in taken if name.lower() == part.lower())
    if alike and part not in taken:
        raise InvalidReference(
            f"'{ref}' cannot be a new name: '{alike[0]}' is there, and Windows and macOS do not "
            f"tell it from '{part}'; write it that way, or choose another",
            hint="",
        )
