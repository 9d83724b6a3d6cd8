"""Open: the database of accounts. In a zoo it is a file of its own, as its index may be deleted and
made again at any time; where the index is on a server, it is in the same database.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from zoo import config
from zoo.errors import Unsupported, how_to_update
from zoo.registry.engine import open_engine, reading, shown, writing
from zoo.registry.engines import read_url, sqlite
from zoo.registry.tables import create_tables
from zoo.serve.who.schema import REVISION, VERSION_TABLE, metadata
from zoo.workspace import Workspace

__all__ = ["FILE", "open_accounts", "open_file"]

FILE = "accounts.db"
SCRIPTS = Path(__file__).parent / "migrations"


def open_accounts(workspace: Workspace) -> Engine:
    """The database of a zoo's accounts, made or brought up to date as needed.

    Raises:
        Unsupported: A newer program made it.
        Corrupt, Unavailable: It is damaged, or cannot be opened.
    """
    if url := config.database():
        workspace.registry  # noqa: B018 - first: it takes a database with other tables for another's
        engine = open_engine(read_url(url))
    else:
        return open_file(workspace.root / FILE)
    return _migrated(engine)


def open_file(path: Path) -> Engine:
    """The database in a file. Raises as `open_accounts` does."""
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)  # nobody else's business, whoever shares the zoo
    return _migrated(open_engine(sqlite.url_of(path)))


def _migrated(engine: Engine) -> Engine:
    try:
        _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _migrate(engine: Engine) -> None:
    with reading(engine) as connection:
        now = _revision(connection)
    if now == REVISION:
        return
    if now and now > REVISION:
        raise Unsupported(
            f"the accounts in {shown(engine)} are of a newer zoo; nothing was changed",
            hint=how_to_update(),
        )
    with writing(engine) as connection:
        now = _revision(connection)
        if now is None:
            create_tables(connection, metadata, VERSION_TABLE, REVISION)
            return
        if now == REVISION:
            return  # another process was faster
        from alembic import command  # slow to import
        from alembic.config import Config

        steps = Config()
        steps.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
        steps.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.upgrade(steps, "head")


def _revision(connection: Connection) -> str | None:
    if VERSION_TABLE not in inspect(connection).get_table_names():
        return None
    revision = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return None if revision is None else str(revision)
