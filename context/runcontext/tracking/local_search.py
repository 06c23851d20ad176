"""Searches a ``.runcontext`` folder, reading no more runs than the answer needs where the latest are asked for.

Run ids sort by time, to the millisecond in which the run was made: an id says when its run started before any of its
files is read.
"""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING, Any

from runcontext.tracking import local, reading
from runcontext.tracking.store import RunPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runcontext.record import RunRecord
    from runcontext.tracking.local import LocalStore
    from runcontext.tracking.store import Query

LONGEST_TO_MAKE_MILLISECONDS = 100
"""How much later than its id is made a run may start: longer than a start takes on any machine that is not stopped."""


def run_ids(store: LocalStore) -> list[str]:
    """Give the ids of all runs, in no order."""
    try:
        return os.listdir(os.path.join(store.path, "runs"))
    except OSError:
        return []


def search_runs(store: LocalStore, query: Query) -> RunPage:
    """Give one page of the runs that fit.

    Raises:
        ValueError: the filter, an ordering or the page token is none; the message says where.
    """
    if query.order_by:
        from runcontext.tracking.search import page_of

        return page_of(_records(store, run_ids(store), query), query)
    found = latest(store, query)
    page = RunPage(found[: query.max_results])
    if page and len(page) < len(found):
        from runcontext.tracking.search import encode_token, position_of

        page.token = encode_token(query, position_of(page[-1], ()))
    return page


def latest(store: LocalStore, query: Query) -> list[RunRecord]:
    """Give the runs that fit, the latest start first: of ``max_results`` one more, where there is, and perhaps others.

    Raises:
        ValueError: as ``search_runs`` does.
    """
    if query.max_results is None and not query.filter_string and not query.page_token:
        # A listing of everything is not to wait for the import of what it does not need.
        found = list(_records(store, run_ids(store), query))
    else:
        found = list(_Wanted(query).taken(store))
    found.sort(key=lambda record: (-record.start_time, record.run_id))
    return found


class _Wanted:
    """What is asked of a run beyond its experiment: the filter, the place of the page, and how many there are to be."""

    def __init__(self, query: Query) -> None:
        """Read them; raises ValueError where one is none."""
        from runcontext.tracking import search

        search.check(query)
        self._query = query
        self._comparisons = search.parse(query.filter_string)
        self._position: Any = search.decode_token(query)
        self._page_start = None if self._position is None else search.start_of(self._position)
        self._matches, self._comes_after = search.matches, search.comes_after

    def taken(self, store: LocalStore) -> Iterator[RunRecord]:
        """Give runs that fit, until no other can be among those that are asked for."""
        enough = None if self._query.max_results is None else self._query.max_results + 1
        starts: list[int] = []
        for run_id in self._latest_first(run_ids(store)):
            made_at = local.time_of_run_id(run_id)
            if enough == len(starts) and made_at is not None and made_at + LONGEST_TO_MAKE_MILLISECONDS < starts[0]:
                return
            for record in filter(self._fits, _records(store, [run_id], self._query)):
                yield record
                (heapq.heappushpop if enough == len(starts) else heapq.heappush)(starts, record.start_time)

    def _latest_first(self, ids: list[str]) -> list[str]:
        """Give the ids of runs that may be behind the page before; those that say no time first, to be read anyway."""
        times = {run_id: local.time_of_run_id(run_id) for run_id in ids}
        start = self._page_start
        left = [run_id for run_id, time in times.items() if start is None or time is None or time <= start]
        return sorted(left, key=lambda run_id: (times[run_id] is None, run_id), reverse=True)

    def _fits(self, record: RunRecord) -> bool:
        is_after = self._position is None or self._comes_after(record, self._position, ())
        return is_after and self._matches(record, self._comparisons)


def _records(store: LocalStore, ids: list[str], query: Query) -> Iterator[RunRecord]:
    for run_id in ids:
        record = reading.read_run(store.run_path(run_id), query.experiment_names)
        if record is not None:
            yield record
