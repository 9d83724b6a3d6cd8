"""Migrate: bring a database to the schema that this program knows.

Alembic is slow to import, so it is imported only where there is something to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from zoo.errors import Unsupported
from zoo.registry.engine import reading, shown, writing

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "migrate"]

HEAD = "0009"
SCRIPTS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version"


def migrate(engine: Engine) -> None:
    """Bring the database to revision `HEAD`; a new one gets all tables.

    Raises:
        Unsupported: A newer program, or another one, made the database.
    """
    with reading(engine) as connection:
        done = _revision(connection) == HEAD
    while not done:
        done = _step(engine)


def _step(engine: Engine) -> bool:
    # Each migration is one transaction, and looks again under the lock: another process may have
    # been faster.
    with writing(engine) as connection:
        if _revision(connection) != HEAD:
            _run_next(connection)
        return _revision(connection) == HEAD


def _revision(connection: Connection) -> str | None:
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE in tables:
        found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
        return None if found is None else str(found)
    if tables:
        where = shown(connection.engine)
        raise Unsupported(f"{where} is a database of another program")
    return None


def _run_next(connection: Connection) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = _revision(connection)
    if current is not None and current not in known:
        where = shown(connection.engine)
        raise Unsupported(f"{where} has schema {current}; this program knows up to {HEAD}")
    command.upgrade(config, "+1")


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    # '%' starts an interpolation in a configuration value.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
