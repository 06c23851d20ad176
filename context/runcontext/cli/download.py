"""``runcontext download RUN [PATH]``: fetch a run's artifacts into a folder.

``--json`` prints ``{"schema": 1, "run_id", "artifact_path", "path"}``: where in the run's artifacts, null for all of
them, and the absolute local path of it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runcontext.artifacts import reading
from runcontext.artifacts.progress import TransferBar
from runcontext.cli import output, place
from runcontext.cli.ls import SHORT_ID_DIGITS
from runcontext.project import working_directory

if TYPE_CHECKING:
    import argparse

    from runcontext.tracking.store import TrackingStore


def main(options: argparse.Namespace) -> int:
    """Find the run that is meant, and fetch."""
    run = place.chosen(options.tracking_uri).find(options.run)
    folder = options.to or f"artifacts-{run.run_id[-SHORT_ID_DIGITS:]}"
    elsewhere = None if run.path is not None else _store(options.tracking_uri)
    try:
        with TransferBar("downloading") as bar:
            found = reading.download(run, elsewhere, options.path, folder, progress=bar)
    finally:
        if elsewhere is not None:
            elsewhere.close()
    path = os.path.abspath(found)
    if options.json:
        row = {"run_id": run.run_id, "artifact_path": options.path, "path": path}
        output.print_json({"schema": output.SCHEMA, **row})
    elif sys.stdout is not None:
        sys.stdout.write(f"{path}\n")
    return 0


def _store(tracking_uri: str) -> TrackingStore:
    from runcontext.tracking import destination, places

    return places.open_store(destination.absolute(tracking_uri, working_directory()))
