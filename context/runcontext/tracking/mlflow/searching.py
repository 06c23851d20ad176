"""Runs of an MLflow server that fit a query: the server is asked for what may fit, and the rest is judged here.

Its filter has no OR, no LOST and other ids, and its database an order of texts of its own: ``search.rendering`` says
what it can be asked, and ``search.matching`` what that leaves open, so that the answer is every other store's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runcontext.tracking import search
from runcontext.tracking.http import ServerRefusalError
from runcontext.tracking.search.rendering import render_order
from runcontext.tracking.store import RunPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from runcontext.record import RunRecord
    from runcontext.tracking.search import Comparison, Ordering
    from runcontext.tracking.store import Query

    Fetch = Callable[[Mapping[str, Any]], Iterator[RunRecord]]

_EXPERIMENTS_AT_ONCE = 500
_RUNS_AT_ONCE = 500
_BAD_REQUEST = 400


def found(query: Query, experiment_ids: Callable[[], Sequence[str]], fetch: Fetch) -> RunPage:
    """Give one page of the answer to a query.

    Args:
        query: what to find.
        experiment_ids: gives where to look, once the query is known to be one.
        fetch: gives the runs that a body of runs/search asks for, in the server's order, page after page.

    Raises:
        ValueError: the filter, an ordering, the page token or the number of runs is none.
    """
    search.check(query)
    comparisons = search.parse(query.filter_string)
    orderings = _without_repetition(search.parse_order(query.order_by))
    position = search.decode_token(query)
    rendered = search.render(_bounded(comparisons, orderings, position))
    ids = experiment_ids()

    def fits(run: RunRecord) -> bool:
        is_later = position is None or search.comes_after(run, position, orderings)
        return is_later and search.matches(run, rendered.comparisons)

    def asked(wanted: Sequence[str], order_by: Sequence[str], size: int) -> Iterator[RunRecord]:
        body = {"experiment_ids": list(wanted), "filter": rendered.filter_string, "run_view_type": "ACTIVE_ONLY"}
        return filter(fits, fetch({**body, "order_by": list(order_by), "max_results": size}))

    order = render_order(orderings)
    if query.max_results is not None and order.is_exact and 0 < len(ids) <= _EXPERIMENTS_AT_ONCE:
        size = min(_RUNS_AT_ONCE, query.max_results + 1)
        try:
            return _page(_first(asked(ids, order.order_by, size), query.max_results, orderings), query, orderings)
        except ServerRefusalError as error:
            # MLflow 2.22 cannot put in order what is found by its datasets.
            if error.status != _BAD_REQUEST:
                raise
    groups = (ids[at : at + _EXPERIMENTS_AT_ONCE] for at in range(0, len(ids), _EXPERIMENTS_AT_ONCE))
    return _page([run for group in groups for run in asked(group, (), _RUNS_AT_ONCE)], query, orderings)


def _page(fitting: Iterable[RunRecord], query: Query, orderings: Sequence[Ordering]) -> RunPage:
    runs = search.ordered(fitting, orderings)
    page = RunPage(runs[: query.max_results])
    if page and len(page) < len(runs):
        page.token = search.encode_token(query, search.position_of(page[-1], orderings))
    return page


def _first(runs: Iterable[RunRecord], most: int, orderings: Sequence[Ordering]) -> list[RunRecord]:
    """Give one run more than are wanted, and those that only their ids would put behind it."""
    taken: list[RunRecord] = []
    for each in runs:
        if len(taken) > most and _rank(each, orderings) != _rank(taken[most], orderings):
            break
        taken.append(each)
    return taken


def _rank(run: RunRecord, orderings: Sequence[Ordering]) -> list[Any]:
    return search.position_of(run, orderings)[:-1]


def _without_repetition(orderings: Iterable[Ordering]) -> tuple[Ordering, ...]:
    # The second of one key orders nothing, and MLflow refuses it.
    return tuple({(each.kind, each.key): each for each in reversed(tuple(orderings))}.values())[::-1]


def _bounded(comparisons: Sequence[Comparison], orderings: Sequence[Ordering], position: Any) -> Sequence[Comparison]:
    """Leave out what came before the page, as far as a filter can say that: by the time that runs started."""
    if position is None or orderings:
        return comparisons
    try:
        start_time = int(position[0][1])
    except (TypeError, ValueError, LookupError, OverflowError):
        # It is judged, and refused, with the first run.
        return comparisons
    return (*comparisons, search.Comparison("attribute", "start_time", "<=", start_time))
