"""``runcontext ls``: the runs, newest first.

``--json`` prints ``{"schema": 1, "runs": [RUN]}``, each RUN ``{"schema": 1, "run_id", "run_name", "experiment_name",
"status", "start_time", "end_time", "tags", "params", "metrics", "parent_run_id", "last_event_time", "path",
"remote_id", "url", "artifact_uri", "is_mirrored"}``. Times are milliseconds since the epoch; ``end_time`` is null while
the run goes on. Metrics are the latest values, those that are not finite the strings NaN, Infinity and -Infinity.
``path`` is null of a run that was read from elsewhere, ``is_mirrored`` of one that goes nowhere else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runcontext import cli
from runcontext.cli import output, place
from runcontext.cli.output import Column, Table
from runcontext.presentation import times
from runcontext.tracking.store import Query

if TYPE_CHECKING:
    import argparse

    from runcontext.record import RunRecord

SHORT_ID_DIGITS = 8
_SOURCE_TAG = "mlflow.source.name"


def main(options: argparse.Namespace) -> int:
    """List the runs of the store."""
    where = place.chosen(options.tracking_uri)
    names = None if options.experiment is None else (options.experiment,)
    query = Query(names, options.filter or "", tuple(options.order_by or ()), options.max)
    try:
        runs = where.search(query)
    except ValueError as error:
        cli.complain(str(error))
        return 2
    if options.json:
        output.print_json({"schema": output.SCHEMA, "runs": [run.to_json() for run in runs]})
        return 0
    if not runs:
        of_experiment = "" if names is None else f" of experiment {options.experiment!r}"
        cli.complain(f"no runs{of_experiment} in {where.name}")
    output.print_tables([_table(runs)])
    return 0


def _table(runs: list[RunRecord]) -> Table:
    columns = (
        Column("Run"),
        Column("Name", 12),
        Column("Experiment", 7),
        Column("Status"),
        Column("Started"),
        Column("Took", is_number=True),
        Column("Source", 8),
        Column("Sent"),
    )
    if not output.is_for_people():
        return Table("", columns, [_row(run) for run in runs])
    rows = [_row_for_people(run) for run in runs]
    # For people only where some run goes elsewhere.
    width = len(columns) - all(run.is_mirrored is None for run in runs)
    return Table("", columns[:width], [row[:width] for row in rows])


def _row_for_people(run: RunRecord) -> tuple[str, ...]:
    started, took = times.short_moment(run.start_time), times.duration(took_milliseconds(run))
    return _fields(run, started, took)


def _row(run: RunRecord) -> tuple[str, ...]:
    return _fields(run, times.moment(run.start_time), f"{took_milliseconds(run) / 1_000:.3f}")


def _fields(run: RunRecord, started: str, took: str) -> tuple[str, ...]:
    source = run.tags.get(_SOURCE_TAG, "")
    short_id = run.run_id[-SHORT_ID_DIGITS:]
    sent = "" if run.is_mirrored is None else "yes" if run.is_mirrored else "no"
    return short_id, run.run_name, run.experiment_name, run.status.value, started, took, source, sent


def took_milliseconds(run: RunRecord) -> int:
    """Give how long a run took, or has gone on until now."""
    end = time.time_ns() // 1_000_000 if run.end_time is None else run.end_time
    return max(0, end - run.start_time)
