"""Writes a parsed query again in MLflow's syntax, for a server that keeps our words in tags of its runs.

A server has ids of its own, no status LOST, no OR, and a database whose LIKE and order of texts nobody knows. So what
is asked of it is at least what fits, never less; ``Rendered.comparisons`` then say of each run that comes back whether
it fits, and ``RenderedOrder.is_exact`` whether the order that it comes in is ours. Only what every MLflow since 2.0
takes is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from runcontext.record import RunStatus
from runcontext.tracking.search.grammar import parse
from runcontext.tracking.search.matching import USER_TAG, matching_statuses
from runcontext.tracking.search.terms import Comparison
from runcontext.tracking.store import PARENT_RUN_ID_TAG, RUN_ID_TAG, STATUS_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runcontext.tracking.search.terms import Kind, Ordering

PARENT_TAG = "mlflow.parentRunId"
"""The tag in which MLflow keeps its own id of a run's parent; in ours it is our id."""

_WORDS = {
    RunStatus.RUNNING: frozenset(("RUNNING", "SCHEDULED")),
    RunStatus.FINISHED: frozenset(("FINISHED",)),
    RunStatus.FAILED: frozenset(("FAILED",)),
    RunStatus.KILLED: frozenset(("KILLED",)),
    # Which of the two a run has there is for the store that writes it; the tag says LOST.
    RunStatus.LOST: frozenset(("FAILED", "KILLED")),
}
_ALL_WORDS = frozenset().union(*_WORDS.values())
_RUN_ID_DIGITS = 32
_VERSION_DIGIT = 12


@dataclass(frozen=True, slots=True)
class Rendered:
    """A filter as a server is asked.

    - ``filter_string``: what to ask for: it fits every run that is to be found, and perhaps others.
    - ``comparisons``: what ``matches`` is to say of each run that comes back, our words in place.
    """

    filter_string: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class RenderedOrder:
    """Orderings as a server is asked, with what makes the order of equals ours.

    ``is_exact`` is False where the server's order of texts may be another: then all runs that fit are to be fetched
    and put in order with ``ordered``.
    """

    order_by: tuple[str, ...]
    is_exact: bool


def render(comparisons: Iterable[Comparison]) -> Rendered:
    """Write a filter for a server of MLflow's."""
    comparisons = tuple(comparisons)
    clauses = [clause for each in comparisons if (clause := _clause(each)) is not None]
    # Datasets are not in our records, and an artifact URI is there without its credentials: those the server answers.
    checked = tuple(each for each in comparisons if each.kind != "dataset" and each.key != "artifact_uri")
    return Rendered(" AND ".join(dict.fromkeys(clauses)), checked)


def render_order(orderings: Sequence[Ordering], comparisons: Iterable[Comparison] = ()) -> RenderedOrder:
    """Write orderings for a server of MLflow's; ``comparisons`` are those of the same search."""
    # MLflow 2.22 fails where a dataset is asked for and a metric, param or tag is to put the runs in order.
    asks_for_datasets = any(each.kind == "dataset" for each in comparisons)
    if asks_for_datasets or not all(each.is_numeric for each in orderings):
        return RenderedOrder((), is_exact=False)
    rendered = [f"{_name(each.kind, each.key)} {'ASC' if each.is_ascending else 'DESC'}" for each in orderings]
    if ("attribute", "start_time") not in [(each.kind, each.key) for each in orderings]:
        rendered.append("attributes.start_time DESC")
    # MLflow itself goes on with its own run id.
    return RenderedOrder((*rendered, f"{_name('tag', RUN_ID_TAG)} ASC"), is_exact=True)


def _clause(comparison: Comparison) -> str | None:
    """Give one clause, None where nothing that MLflow has fits all that is asked for."""
    kind, key, comparator, value = comparison.kind, comparison.key, comparison.comparator, comparison.value
    if (kind, key) == ("attribute", "status"):
        return _status(comparison)
    if (kind, key) == ("attribute", "run_id"):
        return _id(comparison, RUN_ID_TAG)
    if (kind, key) == ("tag", PARENT_TAG):
        return _id(comparison, PARENT_RUN_ID_TAG)
    if (kind, key) == ("attribute", "user_id"):
        comparison = Comparison("tag", USER_TAG, comparator, value)
    return _plain(comparison)


def _plain(comparison: Comparison) -> str | None:
    if comparison.comparator == "IS NULL":
        # Servers before MLflow 3 do not have it.
        return None
    if comparison.comparator == "IS NOT NULL":
        return _written(Comparison(comparison.kind, comparison.key, "LIKE", "%"))
    return _written(_wider(comparison) if comparison.comparator in {"LIKE", "ILIKE"} else comparison)


def _status(comparison: Comparison) -> str | None:
    statuses = matching_statuses(comparison)
    if statuses == {RunStatus.LOST}:
        return _written(Comparison("tag", STATUS_TAG, "=", RunStatus.LOST.value))
    words: frozenset[str] = frozenset().union(*(_WORDS[each] for each in statuses))
    if len(words) == 1:
        return _written(Comparison("attribute", "status", "=", next(iter(words))))
    others = _ALL_WORDS - words
    if len(others) == 1:
        return _written(Comparison("attribute", "status", "!=", next(iter(others))))
    return _written(comparison) if not statuses else None


def _id(comparison: Comparison, tag: str) -> str | None:
    """Ask for runs by an id: ours in its tag, those that a server gave where it keeps them."""
    comparator, value = comparison.comparator, comparison.value
    if comparator == "=":
        return _written(Comparison("tag", tag, "=", value) if _is_own(str(value)) else comparison)
    if comparator != "IN" or not isinstance(value, tuple):
        # A run may have either kind of id, and there is no OR.
        return None
    if all(map(_is_own, value)):
        return _written(Comparison("tag", tag, "LIKE", _common_beginning(value) + "%"))
    return None if any(map(_is_own, value)) else _written(comparison)


def _common_beginning(texts: Sequence[str]) -> str:
    # What the first and the last in their order share, all between them share.
    pairs = zip(min(texts), max(texts), strict=True)
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _is_own(run_id: str) -> bool:
    """Say whether an id is one of ours (UUID version 7), and not of MLflow's (version 4)."""
    digits = "0123456789abcdef"
    return len(run_id) == _RUN_ID_DIGITS and run_id[_VERSION_DIGIT] == "7" and all(each in digits for each in run_id)


def _wider(comparison: Comparison) -> Comparison:
    """Give a pattern that fits at least as much in every database.

    In some a backslash escapes, ``_`` is one byte, or letters beyond ASCII have no case.
    """
    ignores_case = comparison.comparator == "ILIKE"
    wider = "".join(
        "%" if each in "\\_" or (ignores_case and not each.isascii()) else each for each in str(comparison.value)
    )
    return Comparison(comparison.kind, comparison.key, comparison.comparator, wider)


def _written(comparison: Comparison) -> str | None:
    """Write one comparison; None where MLflow's grammar has no way to."""
    text = f"{_name(comparison.kind, comparison.key)} {comparison.comparator} {_value(comparison.value)}"
    try:
        # After a backslash a quote may not be the end, as other clauses follow.
        is_read_alike = parse(text) == (comparison,) and "\\'" not in text and '\\"' not in text
    except ValueError:
        is_read_alike = False
    if is_read_alike:
        return text
    if comparison.comparator == "=" and "\\" in str(comparison.value):
        return _written(_wider(Comparison(comparison.kind, comparison.key, "LIKE", comparison.value)))
    return None


def _name(kind: Kind, key: str) -> str:
    if kind == "attribute":
        return f"attributes.{key}"
    quote = "`" if "`" not in key else '"'
    return f"{kind}s.{quote}{key}{quote}"


def _value(value: str | float | tuple[str, ...] | None) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    if isinstance(value, str):
        quote = "'" if "'" not in value else '"'
        return f"{quote}{value}{quote}"
    # sqlparse takes 1e20 for a number, and 1e+20 not.
    return repr(value).replace("e+", "e")
