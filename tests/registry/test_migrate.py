from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from zoo.domain.catalog import CatalogEntry
from zoo.errors import Unsupported
from zoo.registry import Query, Registry, migrate, schema
from zoo.registry.engine import reading

BREAKS = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0004", "0003"
def upgrade():
    op.create_table("extra", sa.Column("id", sa.Integer))
    op.execute("DELETE FROM entry")
    op.drop_table("metric")
    op.execute("SELECT * FROM no_such_table")
"""


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    # A '%' in the path must not be taken for an interpolation.
    scripts = tmp_path / "100% scripts"
    shutil.copytree(migrate.SCRIPTS, scripts)

    def install(source: str) -> None:
        (scripts / "versions" / "0004_next.py").write_text(source)
        monkeypatch.setattr(migrate, "SCRIPTS", scripts)
        monkeypatch.setattr(migrate, "HEAD", "0004")

    return install


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def definitions(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'")
        return {" ".join(sql.split()) for (sql,) in rows if sql}
    finally:
        connection.close()


def python(code: str, *arguments: object) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)


def test_the_migrations_make_the_tables_of_the_schema(registry: Registry, path: Path) -> None:
    with reading(registry._engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    # The comparison above looks at no primary keys.
    declared = path.with_name("declared.db")
    engine = create_engine(f"sqlite:///{declared}")
    schema.metadata.create_all(engine)
    engine.dispose()
    assert definitions(path) == definitions(declared)


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_migrations_are_frozen() -> None:
    for script in (migrate.SCRIPTS / "versions").glob("*.py"):
        assert "import zoo" not in script.read_text()
        assert "from zoo" not in script.read_text()


def test_opening_an_up_to_date_registry_imports_no_alembic(path: Path) -> None:
    Registry.open(path).close()
    code = """
import sys
from pathlib import Path
from zoo.registry import Query, Registry
with Registry.open(Path(sys.argv[1])) as registry:
    registry.search(Query(words=("x",)))
heavy = {"alembic", "rich", "torch", "timm"} & sys.modules.keys()
assert not heavy, heavy
"""
    python(code, path)


def test_a_migration_that_fails_half_way_leaves_everything(
    path: Path,
    make_entry: Callable[..., CatalogEntry],
    next_migration: Callable[[str], None],
) -> None:
    with Registry.open(path) as registry:
        registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    before = dump(path)
    next_migration(BREAKS)
    with pytest.raises(Exception, match="no_such_table"):
        Registry.open(path)
    assert dump(path) == before


def test_each_migration_is_a_transaction_of_its_own(
    path: Path, next_migration: Callable[[str], None]
) -> None:
    next_migration(BREAKS)
    with pytest.raises(Exception, match="no_such_table"):
        Registry.open(path)
    written = "\n".join(dump(path))
    assert "CREATE TABLE metric" in written
    assert "INSERT INTO \"alembic_version\" VALUES('0003')" in written
    assert "extra" not in written


def test_an_older_registry_is_brought_up_to_date(
    path: Path,
    make_entry: Callable[..., CatalogEntry],
    next_migration: Callable[[str], None],
) -> None:
    with Registry.open(path) as registry:
        registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    next_migration(BREAKS.replace("no_such_table", "extra").replace("DELETE FROM", "SELECT * FROM"))
    with Registry.open(path) as registry:
        assert registry.entry("timm/a.b") is not None
    assert "CREATE TABLE extra" in "\n".join(dump(path))


def test_a_registry_of_the_first_schema_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch, make_entry: Callable[..., CatalogEntry]
) -> None:
    monkeypatch.setattr(migrate, "HEAD", "0001")
    with Registry.open(path) as registry:
        registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    assert "ix_checkpoint_created" not in "\n".join(dump(path))
    monkeypatch.undo()
    with Registry.open(path) as registry:
        assert registry.search(Query())[0].name == "timm/a.b"
    assert "ix_checkpoint_created" in "\n".join(dump(path))


def test_a_newer_registry_is_refused_and_left_alone(path: Path) -> None:
    Registry.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = dump(path)
    with pytest.raises(Unsupported, match="9999"):
        Registry.open(path)
    assert dump(path) == before


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    before = dump(path)
    with pytest.raises(Unsupported, match="another program"):
        Registry.open(path)
    assert dump(path) == before
