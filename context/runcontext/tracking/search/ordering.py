"""Orders runs as MLflow does: by the keys that the user names, then the latest start first, then by run id.

Runs without a value come last, whichever the direction, and before them those whose metric is NaN (``mlflow/store/
tracking/sqlalchemy_store.py`` of 3.17, ``_get_orderby_clauses``). Texts are ordered by code points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runcontext.tracking.search.matching import value_of
from runcontext.tracking.search.terms import Ordering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runcontext.record import RunRecord

_VALUE, _NAN, _MISSING = 0, 1, 2
_NO_POSITION = "the page token is not one of this search; the token of the page before is expected"
_ENDING = (Ordering("attribute", "start_time", is_ascending=False), Ordering("attribute", "run_id", is_ascending=True))


def ordered(records: Iterable[RunRecord], orderings: Sequence[Ordering]) -> list[RunRecord]:
    """Give runs in their order; without orderings the latest start first."""
    found = sorted(records, key=lambda record: (-record.start_time, record.run_id))
    # Python's sort keeps the order of equals, reversed too.
    for each in reversed(orderings):
        found.sort(key=sort_key(each), reverse=not each.is_ascending)
    return found


def sort_key(ordering: Ordering) -> Callable[[RunRecord], tuple[int, Any]]:
    """Give a key of runs for ``sorted(..., reverse=not ordering.is_ascending)``."""
    kind, key = ordering.kind, ordering.key
    if ordering.is_ascending:
        return lambda record: _ranked(value_of(record, kind, key))

    def descending(record: RunRecord) -> tuple[int, Any]:
        rank, value = _ranked(value_of(record, kind, key))
        return -rank, value

    return descending


def position_of(record: RunRecord, orderings: Sequence[Ordering]) -> list[Any]:
    """Give where a run stands in an order, as JSON holds it: for the token of the page that it ends."""
    return [list(_ranked(value_of(record, each.kind, each.key))) for each in (*orderings, *_ENDING)]


def start_of(position: Any) -> int:
    """Give the start time in a position of the order that no orderings make.

    Raises:
        ValueError: the position is none of that order.
    """
    try:
        (_, start), _ = position
    except (TypeError, ValueError) as error:
        raise ValueError(_NO_POSITION) from error
    if not isinstance(start, int):
        raise ValueError(_NO_POSITION)  # noqa: TRY004 - it is the user's text
    return start


def comes_after(record: RunRecord, position: Any, orderings: Sequence[Ordering]) -> bool:
    """Say whether a run stands after a position.

    Raises:
        ValueError: the position is none of such an order.
    """
    keys = (*orderings, *_ENDING)
    try:
        if len(position) != len(keys):
            raise ValueError(_NO_POSITION)  # noqa: TRY301 - as what is found wrong below
        for each, (rank, value) in zip(keys, position, strict=True):
            here = _ranked(value_of(record, each.kind, each.key))
            if here[0] != rank:
                return bool(here[0] > rank)
            if here[1] != value:
                return bool(here[1] > value) is each.is_ascending
    except (TypeError, ValueError) as error:
        raise ValueError(_NO_POSITION) from error
    return False


def _ranked(value: str | float | None) -> tuple[int, Any]:
    if value is None:
        return _MISSING, 0
    if value != value:  # noqa: PLR0124 - NaN is the one number that differs from itself
        return _NAN, 0
    return _VALUE, value
