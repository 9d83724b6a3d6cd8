"""Every error that zoo raises on purpose.

Errors carry data; ``str(error)`` states the fact. What to do about it is said by the command line,
in one table (``zoo_cli.errors``), unless whoever raises the error knows better: its ``hint``.

    ZooError
    |-- NotFound
    |   |-- NoZoo                no zoo in this folder or above it
    |   |-- UnknownName          a name that nothing answers to, with near names
    |   `-- MissingObject        an object or manifest that the store should hold
    |-- Invalid
    |   |-- InvalidReference     a malformed name, tag or digest
    |   |-- InvalidManifest      a manifest that breaks the format
    |   |-- InvalidWeights       a weights file that is damaged, unsafe, or of another network
    |   |-- InvalidFreeze        a freeze spec that this hierarchy does not have
    |   |-- InvalidImage         an image that is missing or unreadable
    |   |-- InvalidData          a dataset that cannot be trained on
    |   `-- InvalidOption        an option out of range, or one that does not apply
    |-- Diverged                 a training whose loss is NaN or infinite
    |-- Conflict                 a name that moved, or is taken
    |   |-- Protected            a name that may be neither moved nor deleted
    |   `-- WouldReplace         a name that would be taken from work that only one side has
    |-- Corrupt                  bytes that are not what their digest says
    |   `-- NotAFile             a link, pipe or device where a file or folder should be
    |-- Untrusted                code that a checkpoint names, and that the user has not allowed
    |-- Unsupported              a format, plugin or network that this version cannot handle
    |-- Unavailable              a source or remote that does not answer or does not exist
    |-- MissingPackage           an optional dependency that is not installed
    |-- BrokenPlugin             a plugin that fails to import, or shares its name with another
    |-- Forbidden                a folder or file whose rights do not allow what was asked
    `-- DiskFull                 no space left where we write
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Literal

__all__ = [
    "MALFORMED",
    "BrokenPlugin",
    "Conflict",
    "Corrupt",
    "DiskFull",
    "Diverged",
    "Forbidden",
    "Invalid",
    "InvalidData",
    "InvalidFreeze",
    "InvalidImage",
    "InvalidManifest",
    "InvalidOption",
    "InvalidReference",
    "InvalidWeights",
    "MissingObject",
    "MissingPackage",
    "NoZoo",
    "NotAFile",
    "NotFound",
    "Protected",
    "Unavailable",
    "UnknownName",
    "Unsupported",
    "Untrusted",
    "WouldReplace",
    "ZooError",
    "disk_errors",
]


class ZooError(Exception):
    """Base of every error that zoo raises on purpose.

    Attributes:
        hint: What to do about it; None leaves that to the command line, empty is nothing.
    """

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        self.hint = hint
        super().__init__(text)


class NotFound(ZooError):
    """Something that was asked for does not exist."""


class NoZoo(NotFound):
    """There is no zoo in the folder ``start`` or, if looked ``upward``, in any above it."""

    def __init__(self, start: Path, *, upward: bool) -> None:
        self.start, self.upward = start, upward
        super().__init__(f"no zoo in {start}" + (" or any folder above it" if upward else ""))


class UnknownName(NotFound):
    """Nothing of this ``kind`` is called ``name``; ``near`` holds similar names."""

    def __init__(
        self, kind: str, name: str, near: Sequence[str] = (), hint: str | None = None
    ) -> None:
        self.kind, self.name, self.near = kind, name, tuple(near)
        super().__init__(f"unknown {kind} '{name}'", hint=hint)
        if near:
            self.add_note(f"did you mean {' or '.join(near)}?")


class MissingObject(NotFound):
    """The store lacks an object or manifest that something refers to."""

    def __init__(self, kind: str, digest: str, where: str) -> None:
        self.kind, self.digest, self.where = kind, digest, where
        super().__init__(f"{kind} {digest} is missing from {where}")


class Invalid(ZooError):
    """An input that cannot be used; the text says what was found."""


class InvalidReference(Invalid):
    """A malformed name, tag or digest."""


class InvalidManifest(Invalid):
    """A manifest that breaks the format."""


class InvalidWeights(Invalid):
    """A weights file that is damaged, unsafe, or belongs to another network."""

    def __init__(self, file: Path | str, reason: str) -> None:
        self.file, self.reason = str(file), reason
        super().__init__(f"{file}: {reason}")


class InvalidFreeze(Invalid):
    """A freeze spec that this hierarchy does not have; ``near`` holds names that it has."""

    def __init__(self, spec: str, reason: str, near: Sequence[str] = ()) -> None:
        self.spec, self.reason, self.near = spec, reason, tuple(near)
        super().__init__(f"cannot freeze '{spec}': {reason}")


class InvalidImage(Invalid):
    """An image that is missing, unreadable, or cannot be transformed."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path}: {reason}")


class InvalidData(Invalid):
    """A dataset that cannot be trained on; ``problems`` lists every finding."""

    def __init__(
        self, where: Path | str, problems: Sequence[str], *, hint: str | None = None
    ) -> None:
        self.where, self.problems = str(where), tuple(problems)
        super().__init__(f"{where}: " + "; ".join(problems), hint=hint)


class InvalidOption(Invalid):
    """An option out of range, or one that does not apply here."""


class Diverged(ZooError):
    """The loss of a training became NaN or infinite at ``step``; ``lr`` was the recipe's
    rate, or that of the ``phase`` that has its own.
    """

    def __init__(self, step: int, lr: float, phase: str = "") -> None:
        self.step, self.lr, self.phase = step, lr, phase
        super().__init__(f"the training diverged at step {step}: its loss is NaN or infinite")


class Conflict(ZooError):
    """A name that somebody else moved meanwhile, or that is taken; ``current`` is its value."""

    def __init__(self, what: str, current: str = "", *, hint: str | None = None) -> None:
        self.what, self.current = what, current
        super().__init__(f"{what}; it is now {current}" if current else what, hint=hint)


class Protected(Conflict):
    """The name ``ref`` may be neither moved nor deleted here, or at the remote ``where``."""

    def __init__(self, ref: str, current: str, where: str = "") -> None:
        self.ref, self.where = ref, where
        super().__init__(f"{ref} is protected" + (f" at {where}" if where else ""), current)


class WouldReplace(Conflict):
    """A push to ``other``, or a pull from there, would take the name ``ref`` from work that is not
    known where the new one comes from; ``doing`` says which.
    """

    def __init__(
        self, doing: Literal["push", "pull"], ref: str, current: str, other: str, what: str
    ) -> None:
        self.doing, self.ref, self.other = doing, ref, other
        super().__init__(what, current)


class Corrupt(ZooError):
    """Bytes that are not what their digest says; ``where`` is the store that holds them."""

    def __init__(self, what: str, expected: str, found: str, where: str = "") -> None:
        self.what, self.expected, self.found, self.where = what, expected, found, where
        place = f" in {where}" if where else ""
        super().__init__(f"{what} is damaged{place}: expected {expected}, found {found}")


class NotAFile(Corrupt):
    """A link, pipe or device where a file or folder should be; nothing was read through it."""


class Unsupported(ZooError):
    """A format, plugin or network that this version cannot handle."""


class Untrusted(ZooError):
    """The import path ``name`` would import ``module`` from ``file``, which its user has not
    allowed; ``others`` are files that he has allowed it from.
    """

    def __init__(self, name: str, module: str, file: str, others: Sequence[str] = ()) -> None:
        self.name, self.module, self.file, self.others = name, module, file, tuple(others)
        allowed = f" (only from {', '.join(others)})" if others else ""
        super().__init__(
            f"the network '{name}' is not trusted{allowed}: to build it, zoo would import the "
            f"module '{module}', and so run {file}"
        )


class Unavailable(ZooError):
    """A source or remote that does not answer or does not exist."""

    def __init__(self, what: str, reason: str, *, hint: str | None = None) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"{what}: {reason}", hint=hint)


class MissingPackage(ZooError):
    """An optional dependency that is not installed; ``install`` is the command that helps."""

    def __init__(self, what: str, install: str) -> None:
        self.what, self.install = what, install
        super().__init__(f"{what} is not installed")


class BrokenPlugin(ZooError):
    """A plugin that fails to import, or shares its name with another."""


class Forbidden(ZooError):
    """Rights of ``path`` that do not allow what was asked; ``mend`` is the command that helps."""

    def __init__(self, path: Path | str, reason: str, mend: str) -> None:
        self.path, self.reason, self.mend = str(path), reason, mend
        super().__init__(f"{path}: {reason}")


class DiskFull(ZooError):
    """No space left (or a quota or size limit reached) at ``path``."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        super().__init__(f"no space left while writing {path}")


MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    InvalidReference,
)
"""What reading plain data raises that is not as it should be."""


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn 'no space left', 'over quota' and 'file too large' into `DiskFull`.

    Raises:
        DiskFull: When the body raises one of these.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise DiskFull(path) from error
        raise
