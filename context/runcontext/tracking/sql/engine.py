"""Connections to a database: few, opened on use, never shared with a forked process.

A SQLite database that is written to is in WAL mode, so that readers never wait for a writer, and its writers queue at
the beginning of their transaction (``BEGIN IMMEDIATE``; sqlite.org, "Write-Ahead Logging" and "Transaction"). Servers
are asked for READ COMMITTED, which is what PostgreSQL and SQL Server do by themselves: MySQL's own level makes runs
that begin side by side deadlock. Who reads with several statements asks for REPEATABLE READ, and SQLite does no other.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, exc

from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.tracking.sql.addresses import DRIVERS, below
from runcontext.tracking.sql.problems import (
    WRITABLE_FOLDER,
    is_about_options,
    missing_driver,
    reported,
    wrong_options,
)
from runcontext.tracking.uris import encoded

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect, Engine

    from runcontext.tracking.sql.addresses import Address

__all__ = [
    "BUSY_SECONDS",
    "LOCK_SECONDS",
    "check_is_file",
    "file_identity",
    "open_engine",
    "prepare_file",
    "reported",
    "snapshot",
    "writing",
]

BUSY_SECONDS = 60
"""How long a writer waits for others: 64 that begin at once on a slow disk need some of it."""

LOCK_SECONDS = 20
"""How long a server lets us wait for a lock: less than we wait for its answer, so that it is the lock that is named."""

_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 30
_PAUSE_SECONDS = 0.01
_WRITES = "runcontext_writes"
_SNAPSHOT = "runcontext_snapshot"

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "pysqlite": {"timeout": BUSY_SECONDS},
    # libpq's parameters: a server that has gone away without a word is given up after a minute.
    "psycopg": {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "runcontext",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    },
    "pymysql": {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _ANSWER_SECONDS,
        "write_timeout": _ANSWER_SECONDS,
        # A text that does not fit is an error, whatever the server's own mode: nothing is cut without a word.
        "init_command": "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), SESSION"
        f" innodb_lock_wait_timeout = {LOCK_SECONDS}",
    },
    "pyodbc": {"timeout": _CONNECT_SECONDS},
}

_TEXTS: dict[str, dict[str, Any]] = {"psycopg": {"client_encoding": "utf8"}, "pymysql": {"charset": "utf8mb4"}}
"""Whatever the URI or the server says, runs have every character; the server's own encoding is its own affair."""

_ENCODINGS = ("UTF8", "SQL_ASCII")
"""PostgreSQL's that keep every character; the second takes all bytes as they are."""

_INFORMED = ("psycopg", "psycopg2")
"""PostgreSQL's drivers that tell what a server said of itself when they connected."""

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_inherited: list[Any] = []


def open_engine(address: Address) -> Engine:
    """Give an engine for a database, with nothing connected yet; several threads, and forked processes, may use it.

    Raises:
        StoreError: the database's driver is not installed, or does not understand an option of the URI.
    """
    options: dict[str, Any] = {
        "connect_args": _arguments(address),
        "hide_parameters": True,
        "pool_size": 1,
        "max_overflow": 4,
        "pool_timeout": BUSY_SECONDS,
    }
    if address.file is None:
        options |= {"pool_pre_ping": True, "pool_recycle": 1_800}
        if address.dialect in DRIVERS:
            # Other engines, which artifacts may be kept in, may not know it.
            options["isolation_level"] = "READ COMMITTED"
    try:
        engine = create_engine(address.url, **options)
    except (ImportError, exc.NoSuchModuleError) as error:
        raise missing_driver(address, error) from None
    except (TypeError, ValueError) as error:
        raise wrong_options(address, error) from None
    _engines.add(engine)
    event.listen(engine, "do_connect", functools.partial(_connect, address))
    if address.file is not None:
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "checkin", _forget_snapshot)
        event.listen(engine, "begin", _begin)
    return engine


def _arguments(address: Address) -> dict[str, Any]:
    driver = address.url.get_driver_name()
    given = address.url.query
    arguments = {key: value for key, value in _ARGUMENTS.get(driver, {}).items() if key not in given}
    if driver == "pymysql" and address.url.password is not None:
        # Of a text it would take Latin-1.
        arguments["password"] = str(address.url.password).encode()
    return arguments | _TEXTS.get(driver, {})


def writing(engine: Engine) -> Engine:
    """Give the same engine, for transactions that write: on SQLite they queue where they begin."""
    return engine.execution_options(**{_WRITES: True})


def snapshot(engine: Engine) -> Engine:
    """Give the same engine, for transactions whose statements all read what the first of them found."""
    return engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="REPEATABLE READ")


def prepare_file(address: Address, engine: Engine) -> None:
    """Make the folder of a SQLite database, and put it into WAL mode, which its file remembers; nothing of others.

    A file system that cannot do WAL keeps the mode that it can do. To be called inside ``reported``.
    """
    if address.file is None:
        return
    check_is_file(address)
    folder = os.path.dirname(address.file)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        message = f"{address.shown} cannot be used: {folder} cannot be made: {error.strerror}; {WRITABLE_FOLDER}"
        raise StoreError(message) from None
    with contextlib.closing(_connected(engine)) as connection:
        cursor = connection.cursor()
        give_up = time.monotonic() + BUSY_SECONDS
        # Where others have the file open, SQLite refuses the change at once, without the wait that it keeps elsewhere.
        while not _is_in_wal_mode(engine, cursor):
            if time.monotonic() > give_up:
                message = f"{address.shown} cannot be used now: other processes keep it from going into WAL mode"
                raise StoreUnavailableError(message)
            time.sleep(_PAUSE_SECONDS)


def check_is_file(address: Address) -> None:
    """Refuse a SQLite database where there is a folder.

    Raises:
        StoreError: there is one; the message says what to do.
    """
    if address.file is not None and os.path.isdir(address.file):
        example = below(address.shown, "runs.db")
        message = f"{address.shown} is a folder; a file is expected: {example} names one in it"
        raise StoreError(message)


def file_identity(address: Address) -> tuple[int, int]:
    """Tell a SQLite database's file from another in its place: zeros where there is none, and of other engines."""
    try:
        found = os.stat(address.file) if address.file is not None else None
    except OSError:
        found = None
    return (0, 0) if found is None else (found.st_dev, found.st_ino)


def _connected(engine: Engine) -> Any:
    # What the driver raises there is not SQLAlchemy's, as it is elsewhere.
    try:
        return engine.raw_connection()
    except engine.dialect.loaded_dbapi.Error as error:
        raise exc.DatabaseError(None, None, error) from None


def _is_in_wal_mode(engine: Engine, cursor: Any) -> bool:
    """Say whether it is, or cannot be; False where others are in the way."""
    try:
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
    except engine.dialect.loaded_dbapi.Error as error:
        if "locked" in str(error):
            return False
        raise exc.DatabaseError(None, None, error) from None
    return True


def _close_files() -> None:
    # SQLite takes a file that was open at the fork for locked by the child too, which then loses what it writes to it
    # (sqlite.org, "How To Corrupt An SQLite Database File", 2.6): none is open but those in use by another thread.
    for engine in list(_engines):
        if engine.dialect.name == "sqlite":
            engine.dispose()


def _leave_connections_to_parent() -> None:
    # SQLAlchemy's documentation, "Using Connection Pools with Multiprocessing or os.fork()". They are kept, and not
    # used: even to close one here could end it there.
    for engine in list(_engines):
        _inherited.append(engine.pool)
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_files, after_in_child=_leave_connections_to_parent)


def _connect(address: Address, dialect: Dialect, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
    try:
        connection: Any = dialect.connect(*arguments, **options)
    except dialect.loaded_dbapi.Error as error:
        if is_about_options(error):
            raise wrong_options(address, error) from None
        raise
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        # Drivers check little of what they are given.
        raise wrong_options(address, error) from None
    if address.file is not None and not _is_readable(address.file, dialect, connection):
        connection.close()
        record.info[_SNAPSHOT] = True
        # sqlite.org, "Write-Ahead Logging", "Read-Only Databases".
        return dialect.connect(f"file:{encoded(address.file, '/')}?mode=ro&immutable=1", uri=True, **options)
    encoding = connection.info.parameter_status("server_encoding") if dialect.driver in _INFORMED else None
    if encoding is not None and encoding not in _ENCODINGS:
        connection.close()
        message = f"{address.shown} has the encoding {encoding}, in which texts are lost: create it with ENCODING UTF8"
        raise StoreError(message)
    return connection


def _is_readable(file: str, dialect: Dialect, connection: Any) -> bool:
    """Say whether a file is read as any other; one in WAL mode is not where nothing can be made or locked beside it.

    True too where its journal holds something: what it says then counts, and the error is the user's to see.
    """
    if os.access(file, os.W_OK) and os.access(os.path.dirname(file), os.W_OK):
        return True
    try:
        connection.execute("SELECT 1 FROM sqlite_master").close()
    except dialect.loaded_dbapi.OperationalError as error:
        is_about_writing = any(words in str(error) for words in ("readonly database", "unable to open"))
        return not is_about_writing or _size(f"{file}-wal") > 0
    return True


def _size(file: str) -> int:
    try:
        return os.path.getsize(file)
    except OSError:
        return 0


def _forget_snapshot(_: Any, record: Any) -> None:
    # SQLite takes such a file for one that never changes: what is asked next sees what was written since.
    if record.info.pop(_SNAPSHOT, False):
        record.invalidate()


def _leave_transactions_to_us(connection: Any, _: Any) -> None:
    # The driver would begin one only before a change, and end it before a CREATE TABLE (SQLAlchemy's documentation of
    # SQLite, "Enabling Non-Legacy SQLite Transactional Modes").
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
