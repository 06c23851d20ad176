"""Brings a database to this version of the schema: by the first who writes to it, however many there are at once.

The revisions are Alembic's, below ``migrations``; which one a database has is in a version table of our own. One
process upgrades, under a lock of the database's, and the others wait for it. Who writes shares the version's row till
the end of the transaction, and who upgrades has it alone: what is written is of the version that was found. MySQL and
MariaDB cannot take back a half-made schema; each revision is written so that it can be begun again. There the row is
let go at the first change of a table, and waited for again where the version itself is changed.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, select, text

from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.tracking.sql import schema
from runcontext.tracking.sql.engine import LOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Select
    from sqlalchemy.engine import Connection

_LOCK = "runcontext_schema"
_LOCK_NUMBER = zlib.crc32(_LOCK.encode())
_MIGRATIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "migrations")


def version_of(connection: Connection) -> str | None:
    """Give the version of the schema that a database has, None where it has none."""
    if not inspect(connection).has_table(schema.VERSION_TABLE):
        return None
    return current_version(connection)


def current_version(connection: Connection) -> str | None:
    """Give the version of a schema that is there, which takes one statement."""
    return connection.execute(select(schema.VERSIONS.c.version_num)).scalar()


def shared_version(connection: Connection) -> str | None:
    """Give the version of a schema that is there, which nobody changes before this transaction ends."""
    return connection.execute(locking_version(is_shared=True)).scalar()


def locking_version(*, is_shared: bool) -> Select[Any]:
    """Give the statement that keeps the version as it is: for others who keep it too, or for nobody else.

    SQLite has one writer at a time. SQL Server has hints for it (its documentation, "Table Hints").
    """
    hint = "WITH (HOLDLOCK)" if is_shared else "WITH (HOLDLOCK, XLOCK)"
    version = select(schema.VERSIONS.c.version_num).with_hint(schema.VERSIONS, hint, "mssql")
    return version.with_for_update(read=is_shared)


def is_usable(version: str | None, shown: str) -> bool:
    """Say whether a schema is this version, or one of the same major version that only adds to it.

    Raises:
        StoreError: its major version is a later one, or it is no version of ours.
    """
    if version is None:
        return False
    found, ours = _numbers(version), _numbers(schema.VERSION)
    if found is None or ours is None or found[0] > ours[0]:
        message = (
            f"{shown} has schema {version}, and this runcontext knows {schema.VERSION}: upgrade runcontext to the "
            "version that the others who write there use"
        )
        raise StoreError(message)
    return found >= ours


def upgrade(connection: Connection, shown: str) -> None:
    """Make the schema, or bring an earlier version of it to this one; in the connection's own transaction.

    Raises:
        StoreUnavailableError: somebody else does so, and does not come to an end.
        StoreError: the schema is of a later version.
    """
    if is_usable(version_of(connection), shown):
        return
    with locked(connection, shown):
        # Who has waited for the lock finds it done.
        if not is_usable(_own_version(connection), shown):
            _run_revisions(connection)
            connection.commit()


def _own_version(connection: Connection) -> str | None:
    """Give the version that a database has once nobody writes any more who goes by it."""
    if version_of(connection) is None:
        return None
    return connection.execute(locking_version(is_shared=False)).scalar()


def _run_revisions(connection: Connection) -> None:
    try:
        from alembic import command
        from alembic.config import Config
    except ImportError as error:
        message = "making the tables of a database needs Alembic, which is not installed: pip install 'runcontext[sql]'"
        raise StoreError(message) from error

    config = Config()
    config.set_main_option("script_location", _MIGRATIONS.replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, schema.VERSION)


def _numbers(version: str) -> tuple[int, int] | None:
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


@contextlib.contextmanager
def locked(connection: Connection, shown: str) -> Iterator[None]:
    """Hold the database's one lock for whoever makes tables, till the end of the transaction or of the block.

    Raises:
        StoreUnavailableError: somebody else holds it, and does not let go.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
    elif dialect == "mssql":
        took = connection.execute(text(MSSQL_LOCK), {"name": _LOCK, "milliseconds": LOCK_SECONDS * 1_000}).scalar()
        _check(took is not None and took >= 0, shown)
    if dialect not in {"mysql", "mariadb"}:
        # The transaction's end lets go of the lock; SQLite's writers have one anyway.
        yield
        return
    # Names of locks are the server's, not the database's, and of at most 64 characters.
    name = f"{_LOCK}_{zlib.crc32(str(connection.engine.url.database).encode())}"
    took = connection.execute(
        text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_SECONDS}
    ).scalar()
    _check(took == 1, shown)
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


MSSQL_LOCK = (
    "DECLARE @took int; EXEC @took = sp_getapplock @Resource = :name, @LockMode = 'Exclusive',"
    " @LockOwner = 'Transaction', @LockTimeout = :milliseconds; SELECT @took"
)
"""How SQL Server is asked for the lock; 0 and 1 mean that it was given (its documentation, "sp_getapplock")."""


def _check(is_ours: bool, shown: str) -> None:  # noqa: FBT001 - one line of its two callers
    if not is_ours:
        message = f"{shown} cannot be used now: another process has been making its tables for {LOCK_SECONDS} s"
        raise StoreUnavailableError(message)
