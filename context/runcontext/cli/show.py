"""``runcontext show RUN``: all that is known of one run.

``--json`` prints what ``runcontext ls --json`` prints of a run, and beside that ``"end_reason"`` (null where none is on
record), ``"host"`` and ``"pid"`` of the process that the run belongs to, ``"context"`` (what ``runcontext capture
--json`` prints, attachments with their paths; null where none was captured) and ``"artifacts"``: ``[{"path",
"size_bytes"}]``, paths below the run's folder of artifacts. ``--html FILE`` writes a page of the run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runcontext.cli import context, output, place
from runcontext.cli.output import Table
from runcontext.presentation import view
from runcontext.record import Context, json_number
from runcontext.tracking.local import END_REASON_TAG

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from runcontext.record import RunRecord

_NOTHING = Context(tags={}, outcomes={}, conflicts=(), attachments=())


def main(options: argparse.Namespace) -> int:
    """Find the run that is meant, and print it."""
    where = place.chosen(options.tracking_uri)
    run = where.find(options.run)
    captured = where.context(run)
    identity = where.identity(run)
    files = where.files(run)
    sending = where.sending(run)
    if options.json:
        output.print_json(_as_json(run, captured, identity, files))
        return 0
    known = captured or _NOTHING
    process = f"{identity.get('pid', '')} on {identity.get('host', '')}"
    if options.html is None and not output.is_for_people():
        output.print_tables(_lines(run, known, view.identity(run, process, sending), files))
    else:
        origins = context.origins(known)
        context.show(view.of_run(run, known, process=process, files=files, sending=sending, origins=origins), options)
    return 0


def _lines(
    run: RunRecord, captured: Context, known: list[tuple[str, str]], files: list[tuple[str, int]]
) -> list[Table]:
    return [
        Table("", (), known, "run"),
        Table("", (), list(run.params.items()), "param"),
        Table("", (), _metric_rows(run), "metric"),
        *context.lines(captured, {tag: value for tag, value in run.tags.items() if tag != END_REASON_TAG}),
        _artifact_lines(run, captured, files),
    ]


def _as_json(
    run: RunRecord, captured: Context | None, identity: Mapping[str, Any], files: list[tuple[str, int]]
) -> dict[str, Any]:
    return {
        **run.to_json(),
        "end_reason": run.tags.get(END_REASON_TAG),
        "host": identity.get("host"),
        "pid": identity.get("pid"),
        "context": None if captured is None else captured.to_json(),
        "artifacts": [{"path": path, "size_bytes": size} for path, size in files],
    }


def _metric_rows(run: RunRecord) -> list[tuple[str, str]]:
    return [(name, str(json_number(value))) for name, value in run.metrics.items()]


def _artifact_lines(run: RunRecord, captured: Context, files: list[tuple[str, int]]) -> Table:
    """Give a line for each of the run's files, and for each attachment that was left out, with the reason."""
    root = "." if run.path is None else run.path / "artifacts"
    attached = {os.path.relpath(each.path, root): each for each in captured.attachments if each.path is not None}
    rows = []
    for path, size in files:
        attachment = attached.get(path)
        if attachment is None:
            rows.append((path, str(size), "", ""))
            continue
        redacted = f"{attachment.redacted} redacted" if attachment.redacted else ""
        note = "; ".join(each for each in (redacted, attachment.reason or "") if each)
        rows.append((path, str(size), attachment.provider, note))
    for each in captured.attachments:
        if each.path is None:
            size_text = "" if each.size_bytes is None else str(each.size_bytes)
            rows.append((each.name, size_text, each.provider, f"left out: {each.reason}"))
    return Table("", (), rows, "artifact")
