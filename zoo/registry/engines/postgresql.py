"""PostgreSQL: a database on a server.

Writers queue for one lock of the whole index, as on SQLite: to write is quick, and nothing then
depends on which of two came first. It is an advisory lock, held by the transaction, so that it goes
with a writer that is killed. Readers see one snapshot and never wait.

Text there cannot hold the character 0, which names and cards from anybody may: it is kept as a
character for private use, the one that `zoo.registry.terms` takes for it.
"""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from zoo.errors import Corrupt, DiskFull, Invalid, MissingPackage, Unavailable, ZooError

if TYPE_CHECKING:
    from psycopg import Connection as Session

__all__ = ["DRIVER", "begin", "create", "meaning", "shown"]

DRIVER = "postgresql+psycopg"
BUSY_SECONDS = 60
CONNECT_SECONDS = 30
READER = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
WRITER = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
    # One lock for each schema: a server's databases share none.
    "SELECT pg_advisory_xact_lock(hashtext('zoo'), hashtext(current_schema()))"
)
ZERO, KEPT = "\x00", "\ue000"
ESCAPED = re.compile(r"\\(u0000|.)")
FULL = ("53100",)
DAMAGED = ("XX001", "XX002")
TOO_LARGE = {
    "22003": "a number is too large to be stored",
    "54000": "a text is too long to be stored",
}
UNUSABLE = {
    "25006": "it is read-only",
    "42501": "no permission",
    "53300": "it has too many connections",
    "55P03": f"someone else held the lock for {BUSY_SECONDS} seconds",
}


def create(url: URL) -> Engine:
    """An engine on a database.

    Raises:
        MissingPackage: The driver is not installed.
    """
    if find_spec("psycopg") is None:
        raise MissingPackage(
            "psycopg, which connects to PostgreSQL,", "pip install 'zoo-registry[postgres]'"
        )
    engine = create_engine(
        url,
        # A plan that is made once for all values would not know how common the wanted terms are.
        connect_args={"prepare_threshold": None, "connect_timeout": CONNECT_SECONDS},
        # A server may have been started anew since.
        pool_pre_ping=True,
        json_serializer=_to_json,
        json_deserializer=_from_json,
    )
    event.listen(engine, "connect", _configure)
    return engine


def begin(connection: Connection, *, write: bool) -> None:
    """Begin; a writer waits for the lock now."""
    connection.exec_driver_sql(WRITER if write else READER)


def meaning(error: DBAPIError, where: str) -> ZooError | None:
    """What a failure means; None if it is a mistake of ours."""
    from psycopg import OperationalError

    code = getattr(error.orig, "sqlstate", None) or ""
    if code in DAMAGED:
        return Corrupt(where, "a whole database", str(error.orig))
    if code in FULL:
        return DiskFull(where)
    if code in TOO_LARGE:
        return Invalid(TOO_LARGE[code])
    if code in UNUSABLE:
        return Unavailable(where, UNUSABLE[code])
    lost = error.connection_invalidated or not code or code.startswith(("08", "28", "3D", "57P"))
    if isinstance(error.orig, OperationalError) and lost:
        return Unavailable(where, " ".join(str(error.orig).split()))
    return None


def shown(url: URL) -> str:
    """The server and the database, without who connects and how."""
    host = url.host or url.query.get("host") or "localhost"
    return f"the database {url.database or ''} at {host}"


def _configure(session: Session[object], _record: object) -> None:
    from psycopg.types.string import StrDumperUnknown, TextLoader

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace(ZERO, KEPT))

    class Loader(TextLoader):
        def load(self, data: Any) -> Any:
            text = super().load(data)
            return text.replace(KEPT, ZERO) if isinstance(text, str) else text

    session.adapters.register_dumper(str, Dumper)
    for kind in ("text", "varchar"):
        session.adapters.register_loader(kind, Loader)
    # To compile a search takes longer than the search.
    session.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'; SET jit = off")
    session.commit()


def _to_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return ESCAPED.sub(lambda found: KEPT if found[1] == "u0000" else found[0], text)


def _from_json(text: str | bytes) -> object:
    written = text if isinstance(text, str) else text.decode()
    return json.loads(written.replace(KEPT, "\\u0000"))
