from __future__ import annotations

import os
from pathlib import Path

from zoo.store.atomic import write_whole

DAY = 86400


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    """And nothing else: names that are alike may be the user's."""
    target = tmp_path / "run.json"
    for name, age in {
        ".run.json.0123abcd": 2 * DAY,
        ".run.json.89abcdef": DAY / 2,
        ".run.json.backup00": 2 * DAY,
        ".other.json.0123abcd": 2 * DAY,
    }.items():
        path = tmp_path / name
        path.touch()
        now = path.stat().st_mtime
        os.utime(path, (now - age, now - age))
    write_whole(target, [b"new"])
    assert target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.json.0123abcd",
        ".run.json.89abcdef",
        ".run.json.backup00",
        "run.json",
    ]
