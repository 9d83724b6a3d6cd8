"""Owner: the one zoo whose index a database on a server is."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select, update

from zoo.errors import Conflict
from zoo.registry.engine import reading, shown, writing
from zoo.registry.schema import owner

__all__ = ["claim", "keep_filled"]


def claim(engine: Engine, zoo: str) -> bool:
    """Take the index for the zoo of this id; whether all that its store holds was put in.

    Raises:
        Conflict: It is another zoo's.
    """
    with reading(engine) as connection:
        row = connection.execute(select(owner)).one_or_none()
    if row is None:
        with writing(engine) as connection:
            row = connection.execute(select(owner)).one_or_none()
            if row is None:
                connection.execute(insert(owner), {"id": zoo, "filled": False})
                return False
    if row.id != zoo:
        raise Conflict(f"{shown(engine)} is the index of another zoo; ZOO_DB must name its own")
    return bool(row.filled)


def keep_filled(engine: Engine) -> None:
    """Keep that all that the store holds was put in."""
    with writing(engine) as connection:
        connection.execute(update(owner).values(filled=True))
