"""Quotas: how many bytes namespaces may hold."""

from __future__ import annotations

from sqlalchemy import Engine, delete, select

from zoo.domain.reference import check_namespace
from zoo.errors import InvalidOption
from zoo.registry.engine import reading, writing
from zoo.registry.sql import put
from zoo.serve.who import schema
from zoo.serve.who.audit import record

__all__ = ["Quotas"]

TABLE = schema.quota
MOST = 1 << 60


class Quotas:
    """What was said of namespaces."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> dict[str, int]:
        """Bytes, by namespace."""
        statement = select(TABLE.c.namespace, TABLE.c.bytes).order_by(TABLE.c.namespace)
        with reading(self._engine) as connection:
            return {row.namespace: row.bytes for row in connection.execute(statement)}

    def get(self, namespace: str) -> int | None:
        """Bytes that a namespace may hold; None if nobody has said how many."""
        statement = select(TABLE.c.bytes).where(TABLE.c.namespace == namespace)
        with reading(self._engine) as connection:
            return connection.scalar(statement)

    def set(self, namespace: str, bytes_: int | None) -> None:
        """Say how many bytes a namespace may hold; None: as many as there is room for.

        Raises:
            InvalidReference: It can be none.
            InvalidOption: There are no so many.
        """
        check_namespace(namespace)
        if bytes_ is not None and not 0 <= bytes_ <= MOST:
            raise InvalidOption("a quota is a number of bytes, such as 200GB")
        with writing(self._engine) as connection:
            if bytes_ is None:
                connection.execute(delete(TABLE).where(TABLE.c.namespace == namespace))
            else:
                row = {"namespace": namespace, "bytes": bytes_}
                put(connection, TABLE, [row], ["bytes"])
            detail = "none" if bytes_ is None else f"{bytes_} bytes"
            record(connection, "quota set", namespace, detail)
