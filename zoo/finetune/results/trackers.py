"""Trackers: where else the figures of a run go. One that fails is left out; the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from zoo import plugins
from zoo.contracts import Tracker
from zoo.errors import InvalidOption, ZooError

__all__ = ["ALWAYS", "Log", "Trackers", "check_installed", "named"]

ALWAYS = "tensorboard"
"""What is used unasked where it is installed."""
METHODS = ("start", "log", "picture", "finish")

Log = Sequence[str | Tracker] | str | Tracker
"""Trackers as callers give them: by the names of plugins, or as objects."""


def named(log: Log) -> tuple[str, ...]:
    """The names among them, for a run that is resumed."""
    return tuple(each for each in _several(log) if isinstance(each, str))


def check_installed(log: Log) -> None:
    """See that trackers can be used, as far as that shows without importing them.

    Raises:
        UnknownName, MissingPackage, BrokenPlugin: One cannot.
        InvalidOption: An object is no tracker.
    """
    for each in _several(log):
        if isinstance(each, str):
            plugins.check_packages("zoo.trackers", each)
        else:
            _checked(each)


class Trackers:
    """The trackers of a run, by name; the names of objects are those of their classes.

    Raises:
        UnknownName, MissingPackage, BrokenPlugin: One that was asked for cannot be used.
        InvalidOption: An object is no tracker.
    """

    def __init__(self, log: Log = ()) -> None:
        self._all: dict[str, Tracker] = {}
        with suppress(ZooError):  # nobody asked for it
            self._all[ALWAYS] = plugins.tracker(ALWAYS)
        for each in _several(log):
            name = each if isinstance(each, str) else type(each).__name__
            self._all[name] = plugins.tracker(each) if isinstance(each, str) else _checked(each)

    def start(self, run: Mapping[str, object], step: int, warn: Callable[[str], None]) -> None:
        """See `zoo.contracts.Tracker`; ``warn`` is told of each that fails, once."""
        self._warn = warn
        self._each(lambda tracker: tracker.start(run, step))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `zoo.contracts.Tracker.log`."""
        self._each(lambda tracker: tracker.log(step, values))

    def picture(self, name: str, file: Path) -> None:
        """See `zoo.contracts.Tracker.picture`."""
        self._each(lambda tracker: tracker.picture(name, file))

    def finish(self, report: Mapping[str, object]) -> None:
        """See `zoo.contracts.Tracker.finish`."""
        self._each(lambda tracker: tracker.finish(report))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._all.items()):
            try:
                call(tracker)
            # It is others' code and raises whatever it likes: hours of training outlive it.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                del self._all[name]
                reason = str(error) or type(error).__name__
                self._warn(f"the tracker {name} fails and is left out; the run goes on: {reason}")


def _several(log: Log) -> Sequence[str | Tracker]:
    return [*log] if isinstance(log, list | tuple) else [cast("str | Tracker", log)]


def _checked(tracker: Tracker) -> Tracker:
    if lacks := [name for name in METHODS if not callable(getattr(tracker, name, None))]:
        kind = type(tracker).__name__
        raise InvalidOption(f"log takes names and trackers; {kind} lacks {', '.join(lacks)}")
    return tracker
