from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.registry import Registry


def test_the_checkpoints_that_share_most_keys(
    registry: Registry, digest: Callable[[int], Digest], make_manifest: Callable[..., Manifest]
) -> None:
    for number, keys in enumerate(([1, 2, 3], [2, 3, -(2**63)], [9])):
        registry.add_checkpoint(digest(number), make_manifest())
        registry.keep_keys(digest(number), keys)
    found = registry.holders_of([2, 3, -(2**63), 2**63 - 1, 7])
    assert [(one.manifest, one.shared, one.total) for one in found] == [
        (digest(1), 3, 3),
        (digest(0), 2, 3),
    ]
    assert len(registry.holders_of([1, 2, 3], limit=1)) == 1
    assert registry.holders_of([]) == []


def test_keys_are_added_and_go_with_their_checkpoint(
    registry: Registry, digest: Callable[[int], Digest], make_manifest: Callable[..., Manifest]
) -> None:
    known, unknown = digest(1), digest(2)
    registry.add_checkpoint(known, make_manifest())
    registry.keep_keys(known, [1, 2], sampled=False)
    assert registry.without_keys([known, unknown]) == {known, unknown}
    registry.keep_keys(known, [2, 3])
    assert registry.without_keys([known, unknown]) == {unknown}
    assert registry.holders_of([1, 2, 3])[0].total == 3
    registry.keep_keys(known, [], sampled=False)
    assert registry.without_keys([known]) == set(), "samples stay known"
    registry.forget([known])
    assert registry.holders_of([1, 2, 3]) == []
    registry.add_checkpoint(known, make_manifest())
    assert registry.without_keys([known]) == {known}


def test_a_look_up_is_no_scan(path: Path) -> None:
    """A search by key must use the index of keys, however many checkpoints there are."""
    import sqlite3

    Registry.open(path).close()
    connection = sqlite3.connect(path)
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT fingerprint.manifest, count(*) FROM fingerprint "
        "JOIN tensor_key ON tensor_key.fingerprint_id = fingerprint.id "
        "WHERE tensor_key.key IN (SELECT value FROM json_each('[1,2]')) GROUP BY fingerprint.id"
    ).fetchall()
    connection.close()
    assert not [step for *_, step in plan if step.startswith("SCAN ") and "json" not in step]
