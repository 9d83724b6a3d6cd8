"""ImportReport: what of a foreign file became the checkpoint, and what did not."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.domain.result import Result
from zoo.domain.words import up_to

__all__ = ["NONE_FOUND", "ImportReport"]

LISTED = 3
NONE_FOUND = "none here resembles it"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ImportReport(Result):
    """What was taken of a file of weights.

    Attributes:
        key: The key that they were under; empty where the file is nothing but weights.
        other_keys: Other keys, or beginnings of names, that hold weights; ``--key`` takes one of
            them.
        stripped: What all names began with.
        left_out: Keys of what else is in the file.
        tensors_left_out: Names of tensors that are not of the network.
        headless: Whether the network has no head, as the weights have none.
        network: The architecture, and who says so, where that is not the user.
        metrics: What the weights were measured to have by their script, and who says so.
        classes: Where the class names are from; empty if they are unknown.
        task: Where it is from what the outputs mean; empty if nobody says it.
        preprocessing: Where the preprocessing is from; empty if it is unknown.
        unknown: What nobody says: ``classes``, ``preprocessing`` or settings of it.
        parent: The parent that was found, and by what; empty if none was looked for.
        folder: What an exported folder states of them, and what of that was not taken.
        here: The name of the checkpoint that is here with the same bytes; empty if none is.
        here_has: What that has beside what the file and the user say.
        differs: What differs from that by what is said now: it is another checkpoint then.
        stated_elsewhere: Imports of the same bytes here, with what was stated of each: none of it
            was taken.
    """

    key: str = ""
    other_keys: tuple[str, ...] = ()
    stripped: str = ""
    left_out: tuple[str, ...] = ()
    tensors_left_out: tuple[str, ...] = ()
    headless: bool = False
    network: str = ""
    metrics: str = ""
    classes: str = ""
    task: str = ""
    preprocessing: str = ""
    unknown: tuple[str, ...] = ()
    parent: str = ""
    folder: str = ""
    here: str = ""
    here_has: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    stated_elsewhere: str = ""

    def __str__(self) -> str:
        """What was taken, in one line; empty if all of the file was, as it is."""
        parts = [f"took {self.key:.60}"] if self.key else []
        if self.other_keys:
            several = "takes the other" if len(self.other_keys) == 1 else "takes another"
            parts.append(f"--key {' or '.join(self.other_keys[:LISTED])} {several}")
        if self.stripped:
            parts.append(f"stripped {self.stripped}")
        if out := [*self.tensors_left_out, *self.left_out]:
            parts.append(f"left out {up_to([f'{name:.60}' for name in out], LISTED)}")
        if self.headless:
            parts.append("it has no head")
        return "; ".join(parts)

    @property
    def summary(self) -> str:
        """Whether it is here already, and who says what its network, its metrics, its classes, its
        task, its preprocessing and its parent are, in one line.
        """
        by = {
            "class names": self.classes,
            "task": self.task,
            "preprocessing": self.preprocessing,
        }
        whose = "same bytes as" if self.differs else "here already as"
        here = f"{whose} {self.here}" if self.here else ""
        here += f", with its {', '.join(self.here_has)}" if self.here_has else ""
        if self.differs:
            here += f"; another checkpoint, with {', '.join(self.differs)} of its own"
        if self.stated_elsewhere:
            here = f"same bytes as {self.stated_elsewhere}: what was stated there is not taken"
        parts = [part for part in (here, self.network, self.metrics) if part]
        if self.folder:
            parts.append(f"stated by the folder: {self.folder}")
        parts += [f"{what} from {source}" for what, source in by.items() if source]
        if self.unknown:
            named = (name.replace("_", " ") for name in self.unknown)
            parts.append(f"unknown: {', '.join(named)}")
        if self.parent:
            parts.append(f"parent: {self.parent}")
        return "; ".join(parts)
