"""Answers a filter over records, as MLflow's SqlAlchemyStore answers it on SQLite.

What a run does not have matches nothing but IS NULL: ``!=`` and ``NOT IN`` too ask for a value, which is another one.
NaN is unequal to every number, and neither below nor above one. Texts are compared by code points. In LIKE, ``%``
stands for any characters, line ends among them, and ``_`` for one; there is no escape character.
"""

from __future__ import annotations

import operator
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from runcontext.record import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runcontext.record import RunRecord
    from runcontext.tracking.search.terms import Comparison, Kind

USER_TAG = "mlflow.user"
"""The tag behind the attribute ``user_id``, which is what MLflow's client makes it from."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "IN": lambda found, listed: found in listed,
    "NOT IN": lambda found, listed: found not in listed,
}


def matches(record: RunRecord, comparisons: Iterable[Comparison]) -> bool:
    """Say whether every comparison holds for a run."""
    return all(_holds(value_of(record, each.kind, each.key), each) for each in comparisons)


def matching_statuses(comparison: Comparison) -> frozenset[RunStatus]:
    """Give the statuses that a comparison of the attribute ``status`` allows."""
    return frozenset(each for each in RunStatus if _holds(each.value, comparison))


def value_of(record: RunRecord, kind: Kind, key: str) -> str | float | None:
    """Give what a run has under a key, None where it has nothing: no run of ours has a dataset."""
    if kind == "attribute":
        return _attribute(record, key)
    if kind == "metric":
        return record.metrics.get(key)
    texts = {"tag": record.tags, "param": record.params}.get(kind, {})
    return texts.get(key)


def _attribute(record: RunRecord, key: str) -> str | float | None:
    if key == "user_id":
        return record.tags.get(USER_TAG)
    found: str | float | None = record.status.value if key == "status" else getattr(record, key)
    return found


@lru_cache(maxsize=256)
def like(pattern: str, *, ignores_case: bool) -> Callable[[str], bool]:
    """Give what says whether a text fits a LIKE or, without case, an ILIKE pattern.

    Without case, a letter and its other case are the same where each is one character, and only ASCII's own are
    counted with ASCII's letters. It takes linear time, save for ``_`` between two ``%``.
    """
    first, *others = (folded(pattern) if ignores_case else pattern).split("%")
    beginning, pieces = _piece(first), [_piece(each) for each in others]

    def fits(text: str) -> bool:
        text = folded(text) if ignores_case else text
        if not pieces:
            return beginning.fullmatch(text) is not None
        found = beginning.match(text)
        # The leftmost place of each piece leaves the most for those after it: nothing has to be tried again.
        for each in pieces[:-1]:
            found = each.search(text, found.end()) if found else None
        # A piece is as long as what it matches.
        end = len(text) - len(others[-1])
        return found is not None and found.end() <= end and pieces[-1].fullmatch(text, end) is not None

    return fits


def folded(text: str) -> str:
    """Give a text in lower case, character by character; what would become several, or ASCII, stays."""
    return text.lower() if text.isascii() else "".join(map(_lower, text))


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if character.isascii() or (len(lower) == 1 and not lower.isascii()) else character


def _piece(text: str) -> re.Pattern[str]:
    return re.compile("".join("." if each == "_" else re.escape(each) for each in text), re.DOTALL)


def _holds(found: str | float | None, comparison: Comparison) -> bool:
    comparator, value = comparison.comparator, comparison.value
    if comparator == "IS NULL":
        return found is None
    if found is None or comparator == "IS NOT NULL":
        return found is not None
    if comparator in {"LIKE", "ILIKE"}:
        return like(str(value), ignores_case=comparator == "ILIKE")(str(found))
    return _OPERATORS[comparator](found, value)
