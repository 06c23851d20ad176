"""Finds runs in a database: filters and orderings as SQL, whose answers equal those of ``runcontext.tracking.search``.

The engine narrows down and orders; ``matches`` then has the last word on each record, since engines differ in what LIKE
does, and none has Python's lower case. So a condition here may let too much through, and never too little. Values are
bound, never written into a statement.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select, true

from runcontext.resolution import writable
from runcontext.tracking.search import Comparison, Ordering, decode_token, matches, parse, parse_order
from runcontext.tracking.search.matching import USER_TAG
from runcontext.tracking.sql import ordering
from runcontext.tracking.sql.ordering import LARGEST_INTEGER, TABLES, TEXTS, TIMES
from runcontext.tracking.sql.schema import EXPERIMENTS, LATEST_METRICS, RUNS, ExactText, stored_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Select

    from runcontext.record import RunRecord
    from runcontext.tracking.store import Query

_MOST_LISTED = 1_000
_MOST_PIECES = 5
_LONGEST_PIECE = 1_000


@dataclass(frozen=True, slots=True)
class Search:
    """A query, read: comparisons, orderings, and the position after which the page begins, None for the first.

    ``names`` are those of experiments that are too many for a statement, None where it holds them.
    """

    query: Query
    comparisons: tuple[Comparison, ...]
    orderings: tuple[Ordering, ...]
    position: Any
    names: frozenset[str] | None

    @classmethod
    def of(cls, query: Query) -> Search:
        """Read a query.

        Raises:
            ValueError: the filter, an ordering or the page token is none.
        """
        comparisons, orderings = parse(query.filter_string), parse_order(query.order_by)
        given = query.experiment_names or ()
        names = frozenset(map(writable, given)) if len(given) > _MOST_LISTED else None
        return cls(query, comparisons, orderings, decode_token(query), names)

    @property
    def is_decided_by_statement(self) -> bool:
        """Whether all that the statement finds fits."""
        return not self.comparisons and self.names is None

    def fits(self, record: RunRecord) -> bool:
        """Have the last word on a run that the statement found."""
        return (self.names is None or record.experiment_name in self.names) and matches(record, self.comparisons)


def statement(search: Search, position: Any, most: int, artifact_uri: ColumnElement[str]) -> Select[Any]:
    """Give the statement that finds the ids of at most ``most`` runs that may fit, in order, after a position.

    ``artifact_uri`` is the expression of a run's artifact URI as it is shown.

    Raises:
        ValueError: the position is none of such an order.
    """
    keys, tables = ordering.keys_of(search.orderings, position, artifact_uri)
    found = select(RUNS.c.run_id).select_from(tables)
    names = search.query.experiment_names
    if names is not None and search.names is None:
        wanted = select(EXPERIMENTS.c.experiment_id).where(EXPERIMENTS.c.name.in_(names))
        found = found.where(RUNS.c.experiment_id.in_(wanted))
    found = found.where(*(_condition(each, artifact_uri) for each in search.comparisons))
    if position is not None:
        found = found.where(ordering.after(keys))
    return found.order_by(*(key.column.asc() if key.is_ascending else key.column.desc() for key in keys)).limit(most)


# --- conditions -----------------------------------------------------------------------------------------------------


def _condition(comparison: Comparison, artifact_uri: ColumnElement[str]) -> ColumnElement[bool]:
    kind, key = comparison.kind, comparison.key
    if kind == "dataset":
        # No run of ours has one, and what a run does not have matches nothing.
        return false()
    if kind == "attribute" and key == "user_id":
        kind, key = "tag", USER_TAG
    if kind == "attribute":
        if key in TIMES:
            return _time_condition(TIMES[key], comparison)
        return _text_condition(artifact_uri if key == "artifact_uri" else TEXTS[key], comparison)
    table = TABLES[kind]
    here = and_(table.c.run_id == RUNS.c.run_id, table.c.name == key)
    if comparison.comparator == "IS NULL":
        return ~exists().where(here)
    holds = _number_condition(comparison) if kind == "metric" else _text_condition(table.c.value, comparison)
    return exists().where(and_(here, holds))


def _text_condition(column: ColumnElement[str], comparison: Comparison) -> ColumnElement[bool]:
    comparator, value = comparison.comparator, comparison.value
    if isinstance(value, tuple):
        if len(value) > _MOST_LISTED:
            return true()
        return column.in_(value) if comparator == "IN" else column.not_in(value)
    if comparator in {"=", "!="}:
        return column == value if comparator == "=" else column != value
    if comparator == "LIKE":
        return column.like(_wider(str(value)))
    if comparator == "ILIKE":
        return func.lower(column, type_=ExactText()).like(_wider(str(value)).lower())
    return true()


def _wider(pattern: str) -> str:
    """Give a pattern that fits whatever ``pattern`` fits, and means the same to LIKE on every engine.

    Plain characters stay, the first thousand of each piece, up to the fifth; anything else becomes ``%``: escapes and
    classes of other engines, letters that an engine may not know the case of or count as two, what is too long for one.
    """
    pieces = re.split(r"[^A-Za-z0-9 .,:;/=+@#-]+", pattern)
    cut = [each if len(each) <= _LONGEST_PIECE else each[:_LONGEST_PIECE] + "%" for each in pieces[:_MOST_PIECES]]
    return "%".join(cut if len(cut) == len(pieces) else [*cut, ""])


def _number_condition(comparison: Comparison) -> ColumnElement[bool]:
    value, special = LATEST_METRICS.c.value, LATEST_METRICS.c.special
    wanted = stored_number(float(comparison.value))[0]  # type: ignore[arg-type]
    if comparison.comparator == "!=":
        return or_(special.is_not(None), value != wanted)
    # An infinity is stored as the largest double: that its neighbours come through is for `matches` to see.
    return {"=": value == wanted, ">": value >= wanted, ">=": value >= wanted}.get(
        comparison.comparator, value <= wanted
    )


def _time_condition(column: ColumnElement[int], comparison: Comparison) -> ColumnElement[bool]:
    wanted, comparator = float(comparison.value), comparison.comparator  # type: ignore[arg-type]
    if isinstance(comparison.value, int):
        low = high = comparison.value
    else:
        low, high = (_integer(wanted, each) for each in (math.floor, math.ceil))
    if comparator in {"=", "!="}:
        is_equal = column == low if low == high else false()
        return is_equal if comparator == "=" else and_(column.is_not(None), ~is_equal)
    return column >= low if comparator in {">", ">="} else column <= high


def _integer(number: float, rounded: Callable[[float], int]) -> int:
    within = max(min(number, float(LARGEST_INTEGER)), -float(LARGEST_INTEGER))
    return max(min(rounded(within), LARGEST_INTEGER), -LARGEST_INTEGER)
