"""The tables that a database keeps artifacts in.

    runcontext_artifacts            artifact_key, folder_key, root, path, content_id, size_bytes, sha256, uploaded_time
    runcontext_artifact_folders     folder_key, parent_key, root, path
    runcontext_artifact_chunks      content_id, number, content: a file's bytes in pieces
    runcontext_artifact_leftovers   content_id, touched_time: pieces that are no artifact's, or not yet
    runcontext_artifact_schema      version: of these tables

A path is found by the SHA-256 of its root and itself: an index of every engine can hold that, and none takes two paths
for one whose letters differ in case, accents or trailing spaces. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mssql, mysql

from runcontext.tracking.sql.schema import PREFIX, TABLE_OPTIONS, ExactText

VERSION = 1
_DIGITS = 64
_ID_DIGITS = 32

_BYTES = (
    LargeBinary()
    # A plain BLOB of MySQL ends at 64 KiB; a plain one of SQL Server is IMAGE, which it means to drop.
    .with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    .with_variant(mssql.VARBINARY("max"), "mssql")  # type: ignore[no-untyped-call]
)

METADATA = MetaData()


def _table(name: str, *columns: Any) -> Table:
    options: dict[str, Any] = {**TABLE_OPTIONS}
    return Table(PREFIX + name, METADATA, *columns, **options)


ARTIFACTS = _table(
    "artifacts",
    Column("artifact_key", String(_DIGITS), primary_key=True),
    Column("folder_key", String(_DIGITS), nullable=False),
    Column("root", ExactText(), nullable=False),
    Column("path", ExactText(), nullable=False),
    Column("content_id", String(_ID_DIGITS), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(_DIGITS), nullable=False),
    Column("uploaded_time", BigInteger, nullable=False),
    Index(f"{PREFIX}artifacts_by_folder", "folder_key"),
)
FOLDERS = _table(
    "artifact_folders",
    Column("folder_key", String(_DIGITS), primary_key=True),
    Column("parent_key", String(_DIGITS), nullable=False),
    Column("root", ExactText(), nullable=False),
    Column("path", ExactText(), nullable=False),
    Index(f"{PREFIX}artifact_folders_by_parent", "parent_key"),
)
CHUNKS = _table(
    "artifact_chunks",
    Column("content_id", String(_ID_DIGITS), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", _BYTES, nullable=False),
)
LEFTOVERS = _table(
    "artifact_leftovers",
    Column("content_id", String(_ID_DIGITS), primary_key=True),
    Column("touched_time", BigInteger, nullable=False),
    Index(f"{PREFIX}artifact_leftovers_by_time", "touched_time"),
)
SCHEMA = _table(
    "artifact_schema",
    Column("version", Integer, primary_key=True, autoincrement=False),
)


def key_of(root: str, path: str) -> str:
    """Give the key of a file or folder; ``""`` is the root itself."""
    return hashlib.sha256(f"{root}\0{path}".encode()).hexdigest()
