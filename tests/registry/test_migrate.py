from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fakes.sampled import sampled
from registry.databases import definitions, dump, execute
from sqlalchemy import URL

from zoo.domain.catalog import CatalogEntry, Location
from zoo.errors import Unsupported
from zoo.registry import Query, Registry, migrate, schema
from zoo.registry.engine import open_engine, reading
from zoo.registry.engines import read_url

Place = Path | str

BREAKS = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "next", "HEAD"
def upgrade():
    op.create_table("extra", sa.Column("id", sa.Integer))
    op.execute("DELETE FROM item")
    op.drop_table("metric")
    op.execute("SELECT * FROM no_such_table")
"""

OLD_ROWS = """
INSERT INTO source VALUES ('hub', '1', 'then', 1);
INSERT INTO entry VALUES (7, 'hub/resnet50.a1', 'timm', 'resnet50', 'a1', 'mit', 'o/r', 3, 224, 160,
    '[0.5, 0.5, 0.5]', NULL, 'bicubic', 0.9, 'center', 1000, 'hub/resnet50.a1');
INSERT INTO listing VALUES (7, 'hub', 'hub', 'o/r');
INSERT INTO checkpoint VALUES ('blake3:AA', 'timm', 'resnet50', 'linear', 2, 10, 64, NULL,
    3, 32, 32, NULL, NULL, NULL, NULL, NULL, '{"data": "/data/petals/", "epochs": 1}',
    '2025-01-01', 'timm/resnet50 linear hub/resnet50.a1');
INSERT INTO metric VALUES ('blake3:AA', 'accuracy', 0.9);
INSERT INTO class_name VALUES ('blake3:AA', 0, 'straße'), ('blake3:AA', 1, 'rose');
INSERT INTO parent VALUES ('blake3:AA', 'blake3:BB', 'finetune', 'hub/resnet50.a1');
INSERT INTO ref VALUES ('team', 'flowers', 'v3', 1, 'blake3:AA', '2025-01-02');
"""
OLD_REMOTE_ROWS = """
INSERT INTO remote_ref VALUES ('lab', 'team', 'roses', 'latest', 1, 'blake3:AA', '2025-01-02');
"""
CONDITIONAL = ("ix_item_created", "ix_item_manifest", "ix_item_named")
AA, BB = "a" * 64, "b" * 64


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    # A '%' in the path must not be taken for an interpolation.
    scripts = tmp_path / "100% scripts"
    shutil.copytree(migrate.SCRIPTS, scripts)

    def install(source: str) -> None:
        (scripts / "versions" / "next.py").write_text(source.replace("HEAD", migrate.HEAD))
        monkeypatch.setattr(migrate, "SCRIPTS", scripts)
        monkeypatch.setattr(migrate, "HEAD", "next")

    return install


def is_index(name: str | None) -> bool:
    """Whether a table is a part of the index of terms, which no schema of tables can tell."""
    return (name or "").startswith("item_term")


def python(code: str, *arguments: object) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)


def test_the_migrations_make_the_tables_of_the_schema(
    registry: Registry, fresh: Place, another: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(_: object, name: str | None, *__: object) -> bool:
        # Nor are those with a condition in the schema: the second comparison has them.
        return not is_index(name) and name not in CONDITIONAL

    with reading(registry._engine) as connection:
        options = {"compare_type": True, "include_object": compared}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    # The comparison above looks at no primary keys, and at nothing of the index of terms.
    Registry.open(fresh).close()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "REVISION", "none")  # migration by migration
        Registry.open(another).close()
    assert dump(fresh, whole=True) == dump(another, whole=True)


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_migrations_are_frozen() -> None:
    for script in (migrate.SCRIPTS / "versions").glob("*.py"):
        assert "import zoo" not in script.read_text()
        assert "from zoo" not in script.read_text()


def test_a_search_of_an_up_to_date_registry_imports_no_more_than_it_uses(path: Path) -> None:
    Registry.open(path).close()
    code = """
import sys
from pathlib import Path
from zoo.registry import Query, Registry
with Registry.open(Path(sys.argv[1])) as registry:
    registry.search(Query(words=("x",)))
heavy = {"alembic", "rich", "torch", "timm", "sqlalchemy.dialects.postgresql"}
heavy &= sys.modules.keys()
assert not heavy, heavy
"""
    python(code, path)


def test_a_migration_that_fails_half_way_leaves_everything(
    fresh: Place,
    make_entry: Callable[..., CatalogEntry],
    next_migration: Callable[[str], None],
) -> None:
    with Registry.open(fresh) as registry:
        registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    before = dump(fresh)
    next_migration(BREAKS)
    with pytest.raises(Exception, match="no_such_table"):
        Registry.open(fresh)
    assert dump(fresh) == before


@pytest.mark.long
def test_each_migration_is_a_transaction_of_its_own(
    fresh: Place, next_migration: Callable[[str], None]
) -> None:
    before = migrate.HEAD
    next_migration(BREAKS)
    with pytest.raises(Exception, match="no_such_table"):
        Registry.open(fresh)
    written = "\n".join(dump(fresh))
    assert "pk_metric" in written
    assert f"alembic_version: ('{before}',)" in written
    assert "extra" not in written


def test_an_older_registry_is_brought_up_to_date(
    fresh: Place,
    make_entry: Callable[..., CatalogEntry],
    next_migration: Callable[[str], None],
) -> None:
    with Registry.open(fresh) as registry:
        registry.replace_entries("timm", "1", [make_entry("timm/a.b")], "now")
    next_migration(BREAKS.replace("no_such_table", "extra").replace("DELETE FROM", "SELECT * FROM"))
    with Registry.open(fresh) as registry:
        assert registry.entry("timm/a.b") is not None
    assert "extra" in "\n".join(dump(fresh))


@pytest.mark.parametrize("released", sampled(["0001", "0002", "0003"], ["0001"]))
def test_a_registry_of_any_released_schema_is_brought_up_to_date(
    fresh: Place, where: Place, monkeypatch: pytest.MonkeyPatch, released: str
) -> None:
    with monkeypatch.context() as older:
        older.setattr(migrate, "HEAD", released)
        file = isinstance(fresh, Path)
        url = URL.create("sqlite", database=str(fresh)) if file else read_url(str(fresh))
        engine = open_engine(url)
        migrate.migrate(engine)
        engine.dispose()
    execute(fresh, OLD_ROWS.replace("AA", AA).replace("BB", BB))
    if released > "0001":
        execute(fresh, OLD_REMOTE_ROWS.replace("AA", AA))
    with Registry.open(fresh) as registry:
        assert registry.search(Query())[0].name == "team/flowers:v3"
        (flowers,) = registry.search(
            Query.parse("STRASSE dataset:petals accuracy>=0.9 parent:hub/* pulled:yes")
        )
        assert (flowers.metrics, flowers.datasets) == ({"accuracy": 0.9}, ("petals",))
        (listed,) = registry.search(Query.parse("resnet50 license:mit source:hub input=224"))
        assert (listed.name, listed.mean, listed.tag) == ("hub/resnet50.a1", (0.5, 0.5, 0.5), "a1")
        known = registry.entry("hub/resnet50.a1")
        assert known is not None
        assert (known.sources, known.locations) == (("hub",), (Location("hub", "o/r"),))
        assert registry.near("team/flowrs")[0] == "team/flowers:v3"
        at_remotes = [found.remotes for found in registry.search(Query.parse("roses"))]
        assert at_remotes == ([("lab",)] if released > "0001" else [])
    assert definitions(fresh) == definitions(where)


def test_terms_of_an_older_program_are_made_again(
    fresh: Place, make_entry: Callable[..., CatalogEntry]
) -> None:
    with Registry.open(fresh) as registry:
        registry.replace_entries("timm", "1", [make_entry("timm/a.b", card="espresso")], "now")
    deleted = "INSERT INTO item_term(item_term) VALUES ('delete-all')"
    execute(fresh, deleted if isinstance(fresh, Path) else "DELETE FROM item_term")
    with Registry.open(fresh) as registry:
        assert registry.search(Query.parse("espresso")) == []
    execute(fresh, "UPDATE term_version SET version = version - 1")
    with Registry.open(fresh) as registry:
        assert [found.name for found in registry.search(Query.parse("espresso"))] == ["timm/a.b"]


def test_a_newer_registry_is_refused_and_left_alone(fresh: Place) -> None:
    Registry.open(fresh).close()
    execute(fresh, "UPDATE alembic_version SET version_num = '9999'")
    before = dump(fresh)
    with pytest.raises(Unsupported, match="9999"):
        Registry.open(fresh)
    assert dump(fresh) == before


def test_the_database_of_another_program_is_refused_and_left_alone(fresh: Place) -> None:
    execute(fresh, "CREATE TABLE theirs (id INTEGER)")
    before = dump(fresh)
    with pytest.raises(Unsupported, match="another program"):
        Registry.open(fresh)
    assert dump(fresh) == before
