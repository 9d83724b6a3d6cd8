from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from zoo.domain.catalog import CatalogEntry
from zoo.errors import Corrupt, DiskFull, Unavailable
from zoo.registry import Query, Registry, engine
from zoo.registry.engine import reading, writing

WRITERS, ROUNDS = 8, 6
WRITER = """
import sys, time
from pathlib import Path
from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.registry import Registry

path, go, me, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
manifest = Manifest.from_bytes(Path(sys.argv[5]).read_bytes())
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
for turn in range(rounds):
    with Registry.open(path) as registry:
        digest = Digest("blake3", f"{me * rounds + turn:064x}")
        registry.add_checkpoint(digest, manifest)
        entry = RefEntry(number=me * rounds + turn + 1, manifest=digest, previous=None, at="now",
                         by="me", why="test")
        registry.set_ref(Reference("team", f"of_{me}_{turn}"), entry)
        registry.set_ref(Reference("team", "shared"), entry)
        mine = [CatalogEntry(name=f"s{me}/m{n}.x", backbone="b", architecture="a")
                for n in range(turn + 1)]
        registry.replace_entries(f"s{me}", str(turn), mine, "now")
"""


def test_many_writers_lose_nothing_and_see_no_lock(
    path: Path, tmp_path: Path, make_manifest: Callable[..., object]
) -> None:
    go, manifest = tmp_path / "go", tmp_path / "manifest.json"
    manifest.write_bytes(make_manifest().to_bytes())  # type: ignore[attr-defined]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, *map(str, (path, go, me, ROUNDS, manifest))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for me in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    go.touch()
    # The database does not exist yet: they also race to create it.
    errors = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert errors == [""] * WRITERS
    with Registry.open(path) as registry:
        assert len(registry.refs()) == WRITERS * ROUNDS + 1
        assert registry.count(Query(pulled=False)) == WRITERS * ROUNDS
        assert max(number for _, _, number in registry.refs()) == WRITERS * ROUNDS
        shared = [number for ref, _, number in registry.refs() if ref.name == "shared"]
        assert shared == [WRITERS * ROUNDS]


def test_a_writer_holds_the_lock_from_the_start(registry: Registry, path: Path) -> None:
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with writing(registry._engine), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    with reading(registry._engine):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_readers_do_not_wait_for_a_writer(
    registry: Registry, path: Path, make_entry: Callable[..., CatalogEntry]
) -> None:
    registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM item")
    assert registry.count(Query()) == 1
    with reading(registry._engine) as connection:
        seen = "SELECT count(*) FROM item"
        assert connection.exec_driver_sql(seen).scalar() == 1
        writer.execute("COMMIT")  # nor does the writer wait for them
        assert connection.exec_driver_sql(seen).scalar() == 1
    writer.close()
    assert registry.count(Query()) == 0


def test_a_lock_that_never_ends_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, make_entry: Callable[..., CatalogEntry]
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    with Registry.open(path) as registry:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
        holder.close()
        assert registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now") == 1


def test_a_file_that_is_no_database_is_corrupt(path: Path) -> None:
    path.write_text("no database, " * 1000)
    with pytest.raises(Corrupt, match=r"registry\.db") as caught:
        Registry.open(path)
    assert isinstance(caught.value.__cause__, Exception)
    assert path.read_text() == "no database, " * 1000


def test_a_damaged_page_is_corrupt(path: Path, make_entry: Callable[..., CatalogEntry]) -> None:
    with Registry.open(path) as registry:
        many = [make_entry(f"timm/model_{number}.x") for number in range(500)]
        registry.replace_entries("timm", "1", many, "now")
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * (path.stat().st_size - 4096 * 20))
    with pytest.raises(Corrupt), Registry.open(path) as registry:
        registry.search(Query(limit=1000))


@pytest.mark.parametrize("where", [".", "missing/registry.db"])
def test_a_place_without_a_file_is_unavailable(tmp_path: Path, where: str) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        Registry.open(tmp_path / where)


def run(registry: Registry, *statements: str) -> None:
    with writing(registry._engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_registry_that_cannot_be_written_is_unavailable(registry: Registry) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        run(registry, "PRAGMA query_only=ON", "DELETE FROM item")


def test_a_full_disk_is_told_and_changes_nothing(registry: Registry) -> None:
    rows = [
        f"INSERT INTO source VALUES ('{number}', '{'x' * 4000}', 'now', 0)" for number in range(100)
    ]
    # The limit makes SQLite report what it reports for a full disk.
    with pytest.raises(DiskFull, match=r"registry\.db"):
        run(registry, "PRAGMA max_page_count=1", *rows)
    assert registry.indexed_version("0") is None


def test_other_errors_stay_what_they_are(registry: Registry) -> None:
    # A mistake of ours must not look like a damaged file.
    with pytest.raises(IntegrityError):
        run(registry, "INSERT INTO listing VALUES (1, 'nobody', NULL, NULL, NULL)")
