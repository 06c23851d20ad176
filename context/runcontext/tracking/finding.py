"""Finds the run that a person means, in any store: a unique beginning or ending of its id, its name, or ``latest``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runcontext.errors import StoreError
from runcontext.tracking.store import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runcontext.record import RunRecord
    from runcontext.tracking.store import TrackingStore

LATEST = "latest"
NO_RUNS = "no runs in {}; `runcontext run -- COMMAND` and start_run() make them"

_MOST_LISTED = 5
_MOST_AT_ONCE = 20
"""So many runs that start in one millisecond are told apart."""


def find_run(store: TrackingStore, words: str) -> RunRecord:
    """Give the run that a person means: a unique beginning or ending of its id, its name, or ``latest``.

    Raises:
        StoreError: none or several fit, and the message lists them; or the store cannot be read.
    """
    newest = store.search_runs(Query(max_results=_MOST_AT_ONCE if words == LATEST else 1))
    if not newest:
        raise StoreError(NO_RUNS.format(store.uri))
    if words == LATEST:
        # Of runs that started in one millisecond the last has the highest id.
        return max(newest, key=lambda run: (run.start_time, run.run_id))
    found = [run for run in _like(store, "run_id", f"{words}%") if run.run_id.lower().startswith(words.lower())]
    found += [
        run
        for run in _like(store, "run_id", f"%{words}")
        if run.run_id.lower().endswith(words.lower()) and run not in found
    ]
    named = found or [run for run in _like(store, "run_name", words) if run.run_name == words]
    return the_only(named, words, store.uri)


def the_only(found: Sequence[RunRecord], words: str, place: str) -> RunRecord:
    """Give the one run that was found.

    Raises:
        StoreError: none was, or several were; the message lists them.
    """
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{each.run_id[-8:]} {each.run_name}" for each in found[:_MOST_LISTED])
    more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    several = f"{len(found)} runs fit {words!r}: {listed}{more}; the last 8 digits name one of them"
    none = f"no run in {place} is called {words!r}, and no run's id begins or ends so; `runcontext ls` lists them"
    message = several if found else none
    raise StoreError(message)


def _like(store: TrackingStore, attribute: str, pattern: str) -> Sequence[RunRecord]:
    # A pattern has no escape, and a text no way to hold both quotes: what is found is looked at again.
    quoted = pattern.replace("'", "_").replace("\\", "_")
    return store.search_runs(Query(filter_string=f"{attribute} ILIKE '{quoted}'"))
