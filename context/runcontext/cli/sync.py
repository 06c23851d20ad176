"""``runcontext sync [RUN]``: send what is not yet where runs go.

``--json`` prints ``{"schema": 1, "runs": [{"run_id", "run_name", "uri", "status", "reason", "url"}]}``: ``uri`` without
credentials, ``status`` one of sent, running (all so far), busy (another process is sending it) and failed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from runcontext import cli, fluent
from runcontext.cli import output
from runcontext.cli.ls import SHORT_ID_DIGITS
from runcontext.cli.output import Column, Table
from runcontext.tracking import reading

if TYPE_CHECKING:
    import argparse

    from runcontext.mirror.syncing import Synced
    from runcontext.tracking.local import LocalStore

_UNSENT = 1


def main(options: argparse.Namespace) -> int:
    """Send the runs; the exit status is 1 where something is still to be sent."""
    store, elsewhere = fluent.current_destination(options.tracking_uri)
    done = _sent(store, elsewhere, options)
    if options.json:
        output.print_json({"schema": output.SCHEMA, "runs": [asdict(each) for each in done]})
    elif done:
        output.print_tables([_table(done)])
    else:
        cli.complain(f"every run in {store.path} is where it goes")
    return _UNSENT if any(each.status == "failed" for each in done) else 0


def _sent(store: LocalStore, elsewhere: str | None, options: argparse.Namespace) -> list[Synced]:
    from runcontext.artifacts.progress import TransferBar
    from runcontext.mirror.syncing import Syncing

    done = []
    with TransferBar("sending") as bar:
        syncing = Syncing(store, [] if elsewhere is None else [elsewhere], progress=bar)
        if options.run is None:
            run_ids, is_asked_for = syncing.pending(), False
        else:
            run_ids = syncing.with_ancestors(reading.find_run(store, options.run).run_id)
            is_asked_for = options.tracking_uri is not None
        for each in syncing.run(run_ids, elsewhere, is_asked_for=is_asked_for):
            done.append(each)
            if each.reason is not None:
                cli.complain(f"run {each.run_id[-SHORT_ID_DIGITS:]} {each.run_name}: {each.reason}")
    return done


def _table(done: list[Synced]) -> Table:
    columns = (Column("Run"), Column("Name", 12), Column("Status"), Column("Where", 20))
    rows = [(each.run_id[-SHORT_ID_DIGITS:], each.run_name, each.status, each.url or each.uri) for each in done]
    return Table("", columns, rows)
