"""Reads runs out of a database into records."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from runcontext.record import RunRecord, RunStatus
from runcontext.tracking.sql.schema import EXPERIMENTS, LATEST_METRICS, PARAMS, RUNS, TAGS, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Table
    from sqlalchemy.engine import Connection

MOST_AT_ONCE = 500
"""Runs that are read by one statement."""


def records(
    connection: Connection, run_ids: Sequence[str], artifact_uri: Callable[[str, str | None], str | None]
) -> list[RunRecord]:
    """Give the runs of these ids, in this order, leaving out those that there are not; at most ``MOST_AT_ONCE``.

    ``artifact_uri`` is given a run's id and what is stored of its artifact URI, and gives what may be shown.
    """
    columns = (*(each for each in RUNS.c if each.name not in {"experiment_id", "last_batch"}), EXPERIMENTS.c.name)
    rows = connection.execute(select(*columns).join(EXPERIMENTS).where(RUNS.c.run_id.in_(run_ids))).mappings().all()
    tags, params = _texts(connection, TAGS, run_ids), _texts(connection, PARAMS, run_ids)
    metrics = _metrics(connection, run_ids)
    found = {}
    for row in rows:
        run_id = row["run_id"]
        found[run_id] = RunRecord(
            run_id=run_id,
            run_name=row["run_name"],
            experiment_name=row["name"],
            status=RunStatus(row["status"]),
            start_time=row["start_time"],
            end_time=row["end_time"],
            tags=MappingProxyType(tags.get(run_id, {})),
            params=MappingProxyType(params.get(run_id, {})),
            metrics=MappingProxyType(metrics.get(run_id, {})),
            parent_run_id=row["parent_run_id"],
            last_event_time=row["start_time"] if row["end_time"] is None else row["end_time"],
            path=None,
            remote_id=run_id,
            artifact_uri=artifact_uri(run_id, row["artifact_uri"]),
        )
    return [found[each] for each in run_ids if each in found]


def _texts(connection: Connection, table: Table, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for run_id, name, value in _rows(connection, table, run_ids, table.c.value):
        found.setdefault(run_id, {})[name] = value
    return found


def _metrics(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    columns = (LATEST_METRICS.c.value, LATEST_METRICS.c.special)
    for run_id, name, value, special in _rows(connection, LATEST_METRICS, run_ids, *columns):
        found.setdefault(run_id, {})[name] = number_of(value, special)
    return found


def _rows(connection: Connection, table: Table, run_ids: Sequence[str], *columns: Any) -> Sequence[Any]:
    wanted = select(table.c.run_id, table.c.name, *columns).where(table.c.run_id.in_(run_ids))
    return connection.execute(wanted.order_by(table.c.run_id, table.c.name)).all()
