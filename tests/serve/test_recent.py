"""What is kept in memory is bounded, also where values grow."""

from __future__ import annotations

from zoo.serve.keep.recent import LruCache


def test_values_that_grow_are_counted_as_they_are_put() -> None:
    recent: LruCache[int, list[int]] = LruCache(100, len)
    for key in range(50):
        value = recent.put(key, [0])
        value += [0] * 9
        recent.put(key, value)
    held = [key for key in range(50) if recent.get(key)]
    assert held == [*range(40, 50)]
    recent.get(40)
    recent.put(50, [0] * 10)
    assert [key for key in (40, 41) if recent.get(key)] == [40], "the one used last stays"
