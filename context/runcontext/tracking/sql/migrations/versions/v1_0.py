"""The first schema: experiments, runs, params, tags, metrics, and which batches were taken."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, Table

from runcontext.tracking.sql.schema import TABLE_OPTIONS, ExactText

revision = "1.0"
down_revision = None
branch_labels = None
depends_on = None

metadata = MetaData()


def upgrade() -> None:
    """Make the tables that are not there."""
    metadata.create_all(op.get_bind(), checkfirst=True)


def _run_id() -> Column[str]:
    return Column("run_id", ExactText(64), primary_key=True)


def _name() -> Column[str]:
    return Column("name", ExactText(250), primary_key=True)


def _number(name: str, *, is_key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=is_key, nullable=False, autoincrement=False)


experiments = Table(
    "runcontext_experiments",
    metadata,
    Column("experiment_id", Integer, primary_key=True),
    Column("name", ExactText(500), nullable=False, unique=True),
    **TABLE_OPTIONS,
)
Table(
    "runcontext_runs",
    metadata,
    _run_id(),
    Column("experiment_id", Integer, ForeignKey(experiments.c.experiment_id), nullable=False),
    Column("run_name", ExactText(), nullable=False),
    Column("status", ExactText(16), nullable=False),
    _number("start_time"),
    Column("end_time", BigInteger),
    Column("parent_run_id", ExactText(64)),
    Column("artifact_uri", ExactText()),
    _number("last_batch"),
    Index("runcontext_runs_by_start", "start_time"),
    **TABLE_OPTIONS,
)
for _texts in ("params", "tags"):
    Table(
        f"runcontext_{_texts}",
        metadata,
        _run_id(),
        _name(),
        Column("value", ExactText(), nullable=False),
        **TABLE_OPTIONS,
    )
Table(
    "runcontext_latest_metrics",
    metadata,
    _run_id(),
    _name(),
    Column("value", Double()),
    Column("special", ExactText(16)),
    _number("step"),
    _number("timestamp"),
    **TABLE_OPTIONS,
)
Table(
    "runcontext_metric_points",
    metadata,
    _run_id(),
    _name(),
    _number("batch", is_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("value", Double()),
    Column("special", ExactText(16)),
    _number("step"),
    _number("timestamp"),
    **TABLE_OPTIONS,
)
Table("runcontext_batches", metadata, _run_id(), _number("sequence", is_key=True), **TABLE_OPTIONS)
