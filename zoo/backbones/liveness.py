"""Cuts by live ranges: where all that later units need passes through one place.

A boundary is no cut if a value made before it is used after it without entering there. That is the
live range of compiler textbooks (Aho et al., Compilers, section 8.4), taken over one recorded run.
Only what depends on the image counts: the rest is the same for every image, so that a frozen unit
that makes it need not run again (`zoo.backbones.from_cut` keeps it).
It decides every boundary at once; the poison test (`zoo.testing.cuts`) proves one at a time by
really running from there, and the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from zoo.backbones.record import Call, Operation, Recording

__all__ = ["cuts", "depending", "is_chain"]


def cuts(recording: Recording, units: Sequence[Sequence[Call]]) -> list[bool]:
    """For each unit in order, whether the boundary before it is a cut. ``units`` has for each every
    call of its modules that have parameters, by time.
    """
    # Of ranges of time only the ends are marked, +1 and -1: the running sum says how many ranges
    # lie over a time. Ranges are many, and long.
    blocked = [0] * (recording.root.end + 2)
    for calls in units:
        # A unit that runs on after a later one has begun cannot be left out there.
        _mark(blocked, calls[0].start + 1, max(call.end for call in calls) + 1)
    _mark_live(blocked, recording.operations, recording.root, {recording.image})
    blocks = list(accumulate(blocked))
    return [blocks[calls[0].start] == 0 for calls in units]


def depending(recording: Recording) -> set[int]:
    """Storages that at some time held a value that depends on the image."""
    dependent = {recording.image}
    for op in recording.operations:
        if not dependent.isdisjoint(op.reads):
            dependent.update(op.writes)
    return dependent


def is_chain(operations: Sequence[Operation], call: Call, children: Sequence[Call]) -> bool:
    """Whether ``children`` follow one another, each getting all that the next ones need.

    False for a residual block: its shortcut passes by the children. ``operations`` are those of
    the whole run.
    """
    inner = [op for op in operations if call.start <= op.time <= call.end]
    entered = {storage for op in inner if op.time == call.start for storage in op.writes}
    blocked = [0] * (call.end + 2)
    _mark_live(blocked, inner, call, entered)
    blocks = list(accumulate(blocked))
    return not any(blocks[child.start] for child in children[1:])


def _mark(marks: list[int], begin: int, end: int) -> None:
    marks[begin] += 1
    marks[end] -= 1


def _mark_live(
    blocked: list[int], operations: Sequence[Operation], call: Call, sources: set[int]
) -> None:
    """Mark the times strictly between the making and each use of every value that depends on
    ``sources``.
    """
    since_by_storage = dict.fromkeys(sources, call.start)
    for op in operations:
        live = [since_by_storage[storage] for storage in op.reads if storage in since_by_storage]
        for since in live:
            if op.time > since + 1:
                _mark(blocked, since + 1, op.time)
        # The copy of what enters is the source itself: it is not made anew.
        if op.time == call.start and sources & set(op.writes):
            continue
        for storage in op.writes:
            if live:
                since_by_storage[storage] = op.time
            else:
                since_by_storage.pop(storage, None)
    for storage in call.outputs:
        if storage in since_by_storage and call.end > since_by_storage[storage] + 1:
            _mark(blocked, since_by_storage[storage] + 1, call.end)
