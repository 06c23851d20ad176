"""Makes the tables of artifacts, once, under the database's lock; knows which version of them a database has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, select

from runcontext.artifacts.database.tables import METADATA, SCHEMA, VERSION
from runcontext.errors import StoreError
from runcontext.tracking.sql.upgrading import locked

if TYPE_CHECKING:
    from sqlalchemy import Connection


def is_there(connection: Connection, shown: str) -> bool:
    """Say whether a database has the tables.

    Raises:
        StoreError: a newer runcontext made them otherwise.
    """
    if not inspect(connection).has_table(SCHEMA.name):
        return False
    version = connection.scalar(select(SCHEMA.c.version))
    if version is not None and version > VERSION:
        message = (
            f"{shown} keeps artifacts in version {version} of their tables, and this runcontext knows {VERSION}:"
            " upgrade runcontext to the version that the others who write there use"
        )
        raise StoreError(message)
    return version is not None


def make(connection: Connection, shown: str) -> None:
    """Make the tables where nobody else has; the version comes last, so that a half-made schema is made whole.

    Raises:
        StoreUnavailableError: somebody else makes them, and does not come to an end.
        StoreError: a newer runcontext made them otherwise.
    """
    with locked(connection, shown):
        if not is_there(connection, shown):
            METADATA.create_all(connection)
            connection.execute(insert(SCHEMA).values(version=VERSION))
        connection.commit()
