"""Rows that are kept beside a file until it is whole, whatever happens to who writes them."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

import pytest

from zoo.errors import Conflict, DiskFull, NotAFile
from zoo.store.rows import open_rows

MADE = {"checkpoint": "a", "top": 3}
ROWS = [("a.png", "cat", 0.5, None), ("\udcff\n.png", None, None, "is no image")]


def begun(target: Path, count: int = 2) -> Path:
    """Rows of a run that was cut off."""
    with suppress(KeyboardInterrupt), open_rows(target, MADE, resume=False, force=False) as to:
        to.add(ROWS[at % 2] for at in range(count))
        raise KeyboardInterrupt
    return target.with_name(f"{target.name}.partial")


def read(target: Path, multiple: int = 1) -> list[list[object]]:
    with open_rows(target, MADE, resume=True, force=False) as rows:
        assert rows.cut(multiple) % multiple == 0
        return [[*row] for row in rows.read()]


def test_whoever_goes_on_has_the_rows(tmp_path: Path) -> None:
    begun(tmp_path / "t")
    assert read(tmp_path / "t") == [[*row] for row in ROWS]
    with open_rows(tmp_path / "t", MADE, resume=True, force=False) as rows:
        rows.add(ROWS[:1])
        rows.delete()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("multiple", "kept"), [(1, 7), (2, 6), (3, 6), (4, 4), (8, 0)])
def test_batches_stay_whole(tmp_path: Path, multiple: int, kept: int) -> None:
    begun(tmp_path / "t", 7)
    assert len(read(tmp_path / "t", multiple)) == kept
    assert len(read(tmp_path / "t")) == kept, "the others are cut off"


@pytest.mark.parametrize(
    "torn", [b'["a.p', b"\0" * 100, b'{"a": 1}\n["a"]\n', b"[" * 99999 + b"\n"]
)
def test_what_a_crash_leaves_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = begun(tmp_path / "t")
    with path.open("ab") as file:
        file.write(torn)
    assert len(read(tmp_path / "t")) == 2
    assert read(tmp_path / "t") == [[*row] for row in ROWS]


def test_rows_are_not_lost_by_a_slip(tmp_path: Path) -> None:
    path = begun(tmp_path / "t")
    with pytest.raises(Conflict, match="is left of a run that was cut off") as told, open_rows(
        tmp_path / "t", MADE, resume=False, force=False
    ):  # fmt: skip
        pass
    assert told.value.advice == "--resume continues it, --force begins anew"
    with pytest.raises(Conflict, match="top was 3, and is 5 now"), open_rows(
        tmp_path / "t", {**MADE, "top": 5}, resume=True, force=False
    ):  # fmt: skip
        pass
    assert len(path.read_bytes().splitlines()) == 3
    with open_rows(tmp_path / "t", MADE, resume=False, force=True) as rows:
        assert not [*rows.read()]


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "t.partial").write_text("mine\n")
    with pytest.raises(Conflict, match="is no file of rows"):
        read(tmp_path / "t")
    assert (tmp_path / "t.partial").read_text() == "mine\n"
    (tmp_path / "u.partial").symlink_to(tmp_path / "t.partial")
    with pytest.raises(NotAFile), open_rows(tmp_path / "u", MADE, resume=False, force=True):
        pass
    os.mkfifo(tmp_path / "v.partial")
    with pytest.raises(NotAFile), open_rows(tmp_path / "v", MADE, resume=False, force=True):
        pass
    assert (tmp_path / "t.partial").read_text() == "mine\n"


def test_nothing_is_left_where_there_is_no_row(tmp_path: Path) -> None:
    begun(tmp_path / "t", 0)
    assert not [*tmp_path.iterdir()]


def test_one_process_writes(tmp_path: Path) -> None:
    begun(tmp_path / "t")
    with open_rows(tmp_path / "t", MADE, resume=True, force=False) as rows:
        for resume in (True, False):
            with pytest.raises(Conflict, match="another process is writing"), open_rows(
                tmp_path / "t", MADE, resume=resume, force=not resume
            ):  # fmt: skip
                pass
        rows.delete()
        with open_rows(tmp_path / "t", MADE, resume=False, force=False):
            pass  # of that name is another file now


def test_a_full_disk_keeps_what_is_there(tmp_path: Path) -> None:
    path, (soft, hard) = begun(tmp_path / "t"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        with pytest.raises(DiskFull):
            add(tmp_path / "t")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes().endswith(b'["a.png", ')
    assert read(tmp_path / "t") == [[*row] for row in ROWS]


def add(target: Path) -> None:
    with open_rows(target, MADE, resume=True, force=False) as rows:
        rows.add(ROWS)


def test_a_worker_that_outlives_it_has_no_lock(tmp_path: Path) -> None:
    begun(tmp_path / "t")
    (stays, ends), (begins, told) = os.pipe(), os.pipe()
    with open_rows(tmp_path / "t", MADE, resume=True, force=False):
        if not (child := os.fork()):
            os.close(ends)
            os.write(told, b".")
            os.read(stays, 1)  # as long as its parent has the other end
            os._exit(0)
        os.read(begins, 1)
    assert len(read(tmp_path / "t")) == 2
    os.close(ends)
    assert os.waitpid(child, 0)[1] == 0
    for each in (stays, begins, told):
        os.close(each)
