"""Runs in a database: SQLite, PostgreSQL, MySQL, MariaDB and SQL Server, through SQLAlchemy and Alembic.

Nothing here is imported before a database is used.
"""

from __future__ import annotations

from runcontext.errors import StoreError

try:
    from runcontext.tracking.sql.store import SqlStore
except ImportError as error:
    if (error.name or "").partition(".")[0] != "sqlalchemy":
        raise
    _message = (
        "a database needs SQLAlchemy 2.0.25 or newer, which is not installed: pip install 'runcontext[sql]' for SQLite,"
        " 'runcontext[postgresql]', 'runcontext[mysql]' or 'runcontext[mssql]' with its driver"
    )
    raise StoreError(_message) from error

__all__ = ["SqlStore"]
