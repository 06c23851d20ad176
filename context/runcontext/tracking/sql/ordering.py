"""The order of found runs as SQL, and where a page of them begins.

An order is a list of columns without nulls: for each key of the user's whether the run has it (0 a value, 1 NaN, 2
none), then the value, and for metrics a number that is beyond all others; then the start and the run id. A page begins
after the position of the last run of the page before, which is its values of the same keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, case, func, literal

from runcontext.tracking.search import Ordering
from runcontext.tracking.search.matching import USER_TAG
from runcontext.tracking.sql.schema import (
    INFINITY,
    LARGEST_DOUBLE,
    LATEST_METRICS,
    NAN,
    NEGATIVE_INFINITY,
    PARAMS,
    RUNS,
    TAGS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import FromClause, Table

TABLES: dict[str, Table] = {"metric": LATEST_METRICS, "param": PARAMS, "tag": TAGS}
TIMES: dict[str, ColumnElement[Any]] = {"start_time": RUNS.c.start_time, "end_time": RUNS.c.end_time}
TEXTS: dict[str, ColumnElement[Any]] = {
    "run_id": RUNS.c.run_id,
    "run_name": RUNS.c.run_name,
    "status": RUNS.c.status,
}
LARGEST_INTEGER = 2**63 - 1

_VALUE, _NAN, _MISSING = 0, 1, 2
_ALWAYS_THERE = {"start_time", *TEXTS}
_ENDING = (Ordering("attribute", "start_time", is_ascending=False), Ordering("attribute", "run_id", is_ascending=True))


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an order; ``position`` is its value where a page begins."""

    column: ColumnElement[Any]
    is_ascending: bool
    position: Any


def keys_of(
    orderings: Sequence[Ordering], position: Any, artifact_uri: ColumnElement[str]
) -> tuple[list[Key], FromClause]:
    """Give the columns of an order, and the tables that they are in.

    ``position`` is that of a page's token, None for the first page; ``artifact_uri`` the expression of a run's.

    Raises:
        ValueError: the position is none of such an order.
    """
    tables: FromClause = RUNS
    keys: list[Key] = []
    every = (*orderings, *_ENDING)
    seen: set[tuple[str, str]] = set()
    for ordering, place in zip(every, _checked(position, every), strict=True):
        # SQL Server refuses a column that is there twice, and the second says nothing more.
        if (ordering.kind, ordering.key) not in seen:
            seen.add((ordering.kind, ordering.key))
            columns, tables = _columns(ordering, tables, artifact_uri)
            keys += _keys(ordering, columns, place)
    return keys, tables


def after(keys: Sequence[Key]) -> ColumnElement[bool]:
    """Say that a run stands after a position: beyond it by the first key by which it is not level.

    It is one list however many keys there are, since SQLite's parser has no room for conditions within each other.
    """
    decisions: list[tuple[ColumnElement[bool], int]] = []
    for key in keys:
        above, below = key.column > key.position, key.column < key.position
        decisions += [(above, int(key.is_ascending)), (below, int(not key.is_ascending))]
    first = keys[0]
    # What the list says of the first key, in a form that an index can answer.
    bound = first.column >= first.position if first.is_ascending else first.column <= first.position
    return and_(bound, case(*decisions, else_=0) == 1)


def _columns(
    ordering: Ordering, tables: FromClause, artifact_uri: ColumnElement[str]
) -> tuple[tuple[ColumnElement[Any], ...], FromClause]:
    """Give what a key is ordered by, its rank first where it may be missing, and the tables that this needs."""
    kind, key = ordering.kind, ordering.key
    if kind == "attribute" and key in _ALWAYS_THERE:
        return ((TIMES | TEXTS)[key],), tables
    if kind == "attribute" and key != "user_id":
        return _ranked(artifact_uri if key == "artifact_uri" else TIMES[key], ordering), tables
    if kind == "attribute":
        kind, key = "tag", USER_TAG
    table = TABLES[kind].alias()
    tables = tables.outerjoin(table, and_(table.c.run_id == RUNS.c.run_id, table.c.name == key))
    if kind != "metric":
        return _ranked(table.c.value, ordering), tables
    special = table.c.special
    rank = case((table.c.run_id.is_(None), _MISSING), (special == NAN, _NAN), else_=_VALUE)
    beyond = case((special == INFINITY, 1), (special == NEGATIVE_INFINITY, -1), else_=0)
    return (rank, func.coalesce(table.c.value, literal(0.0)), beyond), tables


def _ranked(column: ColumnElement[Any], ordering: Ordering) -> tuple[ColumnElement[Any], ...]:
    empty = literal(0 if ordering.is_numeric else "", column.type)
    return case((column.is_(None), _MISSING), else_=_VALUE), func.coalesce(column, empty, type_=column.type)


def _keys(ordering: Ordering, columns: Sequence[ColumnElement[Any]], place: Any) -> list[Key]:
    rank, value = place or (None, None)
    if ordering.kind == "metric":
        number = float(value or 0)
        beyond = int(math.copysign(1, number)) if math.isinf(number) else 0
        places = [rank, max(min(number, LARGEST_DOUBLE), -LARGEST_DOUBLE), beyond]
    else:
        empty = 0 if ordering.is_numeric else ""
        places = [rank, empty if rank else value][-len(columns) :]
    # The rank is first, whichever the direction: what is missing comes last.
    first = [True] if len(columns) > 1 else []
    ascending = [*first, *[ordering.is_ascending] * (len(columns) - len(first))]
    return [Key(*each) for each in zip(columns, ascending, places, strict=True)]


def _checked(position: Any, orderings: Sequence[Ordering]) -> list[Any]:
    """Give a position's places, one for each ordering; it comes from the user again.

    Raises:
        ValueError: it is none of such an order.
    """
    if position is None:
        return [None] * len(orderings)
    is_list = isinstance(position, list) and len(position) == len(orderings)
    if not is_list or not all(map(_is_place, position, orderings)):
        message = "the page token is not one of this search; the token of the page before is expected"
        raise ValueError(message)
    return list(position)


def _is_place(place: Any, ordering: Ordering) -> bool:
    if not isinstance(place, list) or len(place) != 2:  # noqa: PLR2004
        return False
    rank, value = place
    if type(rank) is not int or rank not in (_VALUE, _NAN, _MISSING):
        return False
    if rank != _VALUE:
        return bool(value == 0) and not (ordering.kind == "attribute" and ordering.key in _ALWAYS_THERE)
    return _is_value(value, ordering)


def _is_value(value: Any, ordering: Ordering) -> bool:
    if not ordering.is_numeric:
        return isinstance(value, str)
    if ordering.kind == "metric" and isinstance(value, float):
        return not math.isnan(value)
    # Compared as it is: a float has no room for every integer.
    return type(value) is int and abs(value) <= (LARGEST_DOUBLE if ordering.kind == "metric" else LARGEST_INTEGER)
