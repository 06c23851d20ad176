"""``runcontext show RUN``: all that is known of one run.

``--json`` prints what ``runcontext ls --json`` prints of a run, and beside that ``"end_reason"`` (null where none is on
record), ``"host"`` and ``"pid"`` of the process that the run belongs to, ``"context"`` (what ``runcontext capture
--json`` prints, attachments with their paths; null where none was captured) and ``"artifacts"``: ``[{"path",
"size_bytes"}]``, paths below the run's folder of artifacts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runcontext import fluent
from runcontext.cli import context, output, times
from runcontext.cli.ls import took_milliseconds
from runcontext.cli.output import Column, Table
from runcontext.record import Context, RunStatus, json_number
from runcontext.tracking import reading
from runcontext.tracking.local import END_REASON_TAG

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from runcontext.record import RunRecord

_NOTHING = Context(tags={}, outcomes={}, conflicts=(), attachments=())


def main(options: argparse.Namespace) -> int:
    """Find the run that is meant, and print it."""
    store = fluent.current_store(options.tracking_uri)
    run = reading.find_run(store, options.run)
    captured = reading.read_context(store, run.run_id)
    identity = store.open_run(run.run_id).identity
    if options.json:
        output.print_json(_as_json(run, captured, identity))
        return 0
    known = captured or _NOTHING
    output.print_tables(
        [
            _run_table(run, identity),
            Table("", (Column("Param", 16), Column("Value", 16)), list(run.params.items()), "param"),
            Table("", (Column("Metric", 16), Column("Last value", 16)), _metric_rows(run), "metric"),
            *context.tables(known, {tag: value for tag, value in run.tags.items() if tag != END_REASON_TAG}),
            _artifact_table(run, known),
        ]
    )
    return 0


def _as_json(run: RunRecord, captured: Context | None, identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **run.to_json(),
        "end_reason": run.tags.get(END_REASON_TAG),
        "host": identity.get("host"),
        "pid": identity.get("pid"),
        "context": None if captured is None else captured.to_json(),
        "artifacts": [{"path": path, "size_bytes": size} for path, size in _files(run)],
    }


def _run_table(run: RunRecord, identity: Mapping[str, Any]) -> Table:
    rows = [("run", run.run_id), ("name", run.run_name), ("experiment", run.experiment_name)]
    rows += [("status", run.status.value), ("reason", run.tags.get(END_REASON_TAG, ""))]
    rows += [("started", times.moment(run.start_time))]
    if run.end_time is not None:
        rows += [("ended", f"{times.moment(run.end_time)}, after {times.duration(took_milliseconds(run))}")]
    if run.status is RunStatus.RUNNING:
        # Whether it still does can only be seen on its own host; its last event is what everybody can see.
        rows += [("last event", times.moment(run.last_event_time))]
    rows += [("process", f"{identity.get('pid', '')} on {identity.get('host', '')}")]
    rows += [("parent", run.parent_run_id or ""), ("folder", str(run.path))]
    return Table("", (Column(""), Column("", 16)), [row for row in rows if row[1]], "run")


def _metric_rows(run: RunRecord) -> list[tuple[str, str]]:
    return [(name, str(json_number(value))) for name, value in run.metrics.items()]


def _artifact_table(run: RunRecord, captured: Context) -> Table:
    """Give the table of the run's files, and of the attachments that were left out, with the reason."""
    root = run.path / "artifacts"
    attached = {os.path.relpath(each.path, root): each for each in captured.attachments if each.path is not None}
    rows = []
    for path, size in _files(run):
        attachment = attached.get(path)
        note = f"{attachment.redacted} redacted" if attachment is not None and attachment.redacted else ""
        rows.append((path, str(size), "" if attachment is None else attachment.provider, note))
    for each in captured.attachments:
        if each.path is None:
            size_text = "" if each.size_bytes is None else str(each.size_bytes)
            rows.append((each.name, size_text, each.provider, f"left out: {each.reason}"))
    columns = (Column("Artifact", 16), Column("Bytes", is_number=True), Column("Provider", 10), Column("", 12))
    return Table("", columns, rows, "artifact")


def _files(run: RunRecord) -> list[tuple[str, int]]:
    """Give the run's artifacts by path, with their sizes in bytes."""
    root = run.path / "artifacts"
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            try:
                found.append((os.path.relpath(path, root), os.lstat(path).st_size))
            except FileNotFoundError:
                # It had a temporary name, and is whole by now.
                continue
    return sorted(found)
