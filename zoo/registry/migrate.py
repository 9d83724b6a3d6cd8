"""Migrate: bring a database to the schema that this program knows.

Alembic is slow to import, so it is imported only where there is something to do.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from zoo.errors import Corrupt, Unsupported, how_to_update
from zoo.registry import index, schema, terms
from zoo.registry.engine import reading, shown, writing
from zoo.registry.tables import create_tables

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "check_known", "is_newer", "migrate", "revision"]

HEAD = "0018"
SCRIPTS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version"


def migrate(engine: Engine) -> None:
    """Bring the database to revision `HEAD`; a new one gets all tables.

    Raises:
        Unsupported: A newer program, or another one, made the database.
    """
    with reading(engine) as connection:
        now = check_known(connection)
    done = now == HEAD or (now is None and HEAD == schema.REVISION and _create(engine))
    while not done:
        done = _step(engine)


def _create(engine: Engine) -> bool:
    """Make all tables as they are now; False if another process was faster."""
    with writing(engine) as connection:
        if revision(connection) is not None:
            return False
        create_tables(connection, schema.metadata, VERSION_TABLE, HEAD)
        index.create(connection)
        connection.execute(schema.term_version.insert().values(version=terms.VERSION))
    return True


def _step(engine: Engine) -> bool:
    # Each migration is one transaction, and looks again under the lock: another process may have
    # been faster.
    with writing(engine) as connection:
        if revision(connection) != HEAD:
            _run_next(connection)
        return revision(connection) == HEAD


def revision(connection: Connection) -> str | None:
    """The schema of the database; None if it is empty.

    Raises:
        Unsupported: Another program made it.
        Corrupt: It has our tables, and does not say of which schema they are.
    """
    tables = set(inspect(connection).get_table_names())
    version = None
    if VERSION_TABLE in tables:
        version = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    if version is not None:
        return str(version)
    if tables & set(schema.metadata.tables):
        raise Corrupt(shown(connection.engine), "the version of its schema", "none")
    if tables - {VERSION_TABLE}:
        raise Unsupported(f"{shown(connection.engine)} is a database of another program")
    return None


def is_newer(version: str | None) -> bool:
    """Whether only a newer program knows this schema."""
    return version is not None and version.isdigit() and version > HEAD


def check_known(connection: Connection) -> str | None:
    """See that no newer program has made the database, or brought it up to date, by now.

    Returns its `revision`.

    Raises:
        Unsupported: One has; what it keeps there is not known here.
    """
    if not is_newer(version := revision(connection)):
        return version
    where, file = shown(connection.engine), connection.dialect.name == "sqlite"
    home = quote(str(Path(where).parent))
    raise Unsupported(
        f"{where} was made by a newer zoo: it has schema {version}, and this one knows up to "
        f"{HEAD}; nothing was changed",
        hint=f"{how_to_update()}\n"
        + (
            "or make this one's from the store, which keeps the newer one beside it: "
            f"zoo reindex --home {home}"
            if file
            else "or set ZOO_DB to another one"
        ),
    )


def _run_next(connection: Connection) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = revision(connection)
    if current is not None and current not in known:
        where = shown(connection.engine)
        if not current.isdigit():
            raise Corrupt(where, "the version of its schema", repr(current))
        raise Unsupported(f"{where} has schema {current}, which this program does not know")
    command.upgrade(config, "+1")


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    # '%' starts an interpolation in a configuration value.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
