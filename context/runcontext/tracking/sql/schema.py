"""The tables that a database keeps runs in, and the version of their schema.

    runcontext_experiments      experiment_id, name
    runcontext_runs             run_id (ours), experiment_id, run_name, status, start_time, end_time, parent_run_id,
                                artifact_uri, last_batch
    runcontext_params           run_id, name, value
    runcontext_tags             run_id, name, value
    runcontext_latest_metrics   run_id, name, value, special, step, timestamp: one point for each metric
    runcontext_metric_points    run_id, name, batch, position, value, special, step, timestamp: every point
    runcontext_batches          run_id, sequence: what has been taken, so that nothing is taken twice
    runcontext_alembic_version  version_num: the version of this schema

Names begin with ``runcontext_``, so that the tables can live in a database beside others. Times are milliseconds since
the epoch, UTC. Names and texts are compared as they are, letter by letter, on every engine.

A number that an engine cannot hold has ``special``: ``NaN`` (``value`` is null), or ``Infinity`` and ``-Infinity``
(``value`` is the largest or the smallest double, so that plain SQL sorts and compares it).

Versions are ``MAJOR.MINOR``. A minor version only adds tables, or columns that may be left out: who knows an earlier
minor version reads and writes a later one of the same major version as before. A major version changes what is there:
who knows only an earlier one refuses it. Writing upgrades an earlier version; reading never changes anything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mssql, mysql, postgresql
from sqlalchemy.types import TypeDecorator

from runcontext.resolution import MAX_KEY_CHARACTERS, writable

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

VERSION = "1.0"
"""The schema that this module describes, and the newest revision below ``migrations``."""

VERSION_TABLE = "runcontext_alembic_version"
PREFIX = "runcontext_"

LONGEST_RUN_ID = 64
LONGEST_NAME = MAX_KEY_CHARACTERS
LONGEST_EXPERIMENT_NAME = 500  # MLflow's limit (mlflow.utils.validation); also what an index of every engine can hold

LARGEST_DOUBLE = 1.7976931348623157e308
NAN, INFINITY, NEGATIVE_INFINITY = "NaN", "Infinity", "-Infinity"


class ExactText(TypeDecorator[str]):
    """Text that equals only itself, on every engine: letters' case, accents and trailing spaces count.

    Its order is that of Unicode's code points, as Python's (on SQL Server that of UTF-16's code units). SQL Server
    alone takes texts for equal that differ in trailing spaces only.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        """Take at most ``length`` characters; None for any number."""
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Give the engine's own type, with the collation that compares code points."""
        return dialect.type_descriptor(_exact_type(dialect, self.length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's form
        """Give what every engine can hold: PostgreSQL has no NUL, and none has lone surrogates."""
        return None if value is None else writable(value)


def _exact_type(dialect: Dialect, length: int | None) -> TypeEngine[Any]:
    if dialect.name == "postgresql":
        return postgresql.VARCHAR(length, collation="C") if length else postgresql.TEXT(collation="C")
    if dialect.name in ("mysql", "mariadb"):
        # Of the collations by code point only these compare trailing spaces, and neither server knows the other's.
        collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
        return mysql.VARCHAR(length, collation=collation) if length else mysql.MEDIUMTEXT(collation=collation)
    if dialect.name == "mssql":
        return mssql.NVARCHAR(length, collation="Latin1_General_100_BIN2")
    return String(length) if length else Text()


TABLE_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}
"""What MySQL and MariaDB are told of a table: transactions, and all of Unicode."""

METADATA = MetaData()


def _table(name: str, *columns: Any) -> Table:
    return Table(PREFIX + name, METADATA, *columns, **TABLE_OPTIONS)


def _run_id() -> Column[str]:
    return Column("run_id", ExactText(LONGEST_RUN_ID), primary_key=True)


def _name() -> Column[str]:
    return Column("name", ExactText(LONGEST_NAME), primary_key=True)


def _point() -> tuple[Column[Any], ...]:
    return (
        Column("value", Double()),
        Column("special", ExactText(16)),
        Column("step", BigInteger, nullable=False),
        Column("timestamp", BigInteger, nullable=False),
    )


EXPERIMENTS = _table(
    "experiments",
    Column("experiment_id", Integer, primary_key=True),
    Column("name", ExactText(LONGEST_EXPERIMENT_NAME), nullable=False, unique=True),
)
RUNS = _table(
    "runs",
    _run_id(),
    Column("experiment_id", Integer, ForeignKey(EXPERIMENTS.c.experiment_id), nullable=False),
    Column("run_name", ExactText(), nullable=False),
    Column("status", ExactText(16), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("parent_run_id", ExactText(LONGEST_RUN_ID)),
    Column("artifact_uri", ExactText()),
    Column("last_batch", BigInteger, nullable=False),
    Index("runcontext_runs_by_start", "start_time"),
)
PARAMS = _table("params", _run_id(), _name(), Column("value", ExactText(), nullable=False))
TAGS = _table("tags", _run_id(), _name(), Column("value", ExactText(), nullable=False))
LATEST_METRICS = _table("latest_metrics", _run_id(), _name(), *_point())
# The key is that of the point itself: a batch that were taken twice after all would be refused by the engine.
METRIC_POINTS = _table(
    "metric_points",
    _run_id(),
    _name(),
    Column("batch", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    *_point(),
)
BATCHES = _table("batches", _run_id(), Column("sequence", BigInteger, primary_key=True, autoincrement=False))
VERSIONS = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def stored_number(value: float) -> tuple[float | None, str | None]:
    """Give the columns ``value`` and ``special`` of a number."""
    if math.isnan(value):
        return None, NAN
    if math.isinf(value):
        return (LARGEST_DOUBLE, INFINITY) if value > 0 else (-LARGEST_DOUBLE, NEGATIVE_INFINITY)
    return float(value), None


def number_of(value: float | None, special: str | None) -> float:
    """Give the number that the columns ``value`` and ``special`` hold."""
    if special is not None:
        return float(special)
    return math.nan if value is None else value


def is_too_long(name: str, longest: int) -> bool:
    """Say whether a name has no room in its column; SQL Server counts UTF-16's code units, and so all do."""
    return len(name) > longest or (not name.isascii() and len(name.encode("utf-16-le", "replace")) > 2 * longest)
