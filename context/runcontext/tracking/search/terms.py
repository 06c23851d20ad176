"""What a filter and an ordering are made of, once they are parsed.

The words are MLflow's (its documentation, "Search Runs"; ``mlflow/utils/search_utils.py`` of 3.17, ``SearchUtils``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["attribute", "metric", "param", "tag", "dataset"]
"""What a comparison is about."""

KINDS: dict[str, Kind] = {
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "metric": "metric",
    "metrics": "metric",
    "parameter": "param",
    "parameters": "param",
    "param": "param",
    "params": "param",
    "tag": "tag",
    "tags": "tag",
    "dataset": "dataset",
    "datasets": "dataset",
}
"""The word before the dot -> what it means."""

ATTRIBUTES: dict[str, str] = {
    "run_id": "run_id",
    "run_name": "run_name",
    "run name": "run_name",
    "Run name": "run_name",
    "Run Name": "run_name",
    "status": "status",
    "artifact_uri": "artifact_uri",
    "user_id": "user_id",
    "start_time": "start_time",
    "created": "start_time",
    "Created": "start_time",
    "end_time": "end_time",
}
"""What users write -> the attribute that it means."""

NUMERIC_ATTRIBUTES = frozenset(("start_time", "end_time"))
"""Attributes that are milliseconds since the epoch; all others are texts."""

DATASET_ATTRIBUTES = ("name", "digest", "context")

NUMERIC_COMPARATORS = ("=", "!=", "<", "<=", ">", ">=")
TEXT_COMPARATORS = ("=", "!=", "LIKE", "ILIKE")
LIST_COMPARATORS = ("IN", "NOT IN")
PRESENCE_COMPARATORS = ("IS NULL", "IS NOT NULL")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One part of a filter; all parts must hold.

    - ``key``: the name of a metric, param or tag, or one of the attributes ``run_id``, ``run_name``, ``status``,
      ``artifact_uri``, ``user_id``, ``start_time`` and ``end_time``, however the user wrote it.
    - ``comparator``: in upper case: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``LIKE``, ``ILIKE``, ``IN``,
      ``NOT IN``, ``IS NULL``, ``IS NOT NULL``.
    - ``value``: a float of a metric; an int or a float of a numeric attribute; a tuple of texts for ``IN`` and
      ``NOT IN``; None for ``IS NULL`` and ``IS NOT NULL``; else a text.
    """

    kind: Kind
    key: str
    comparator: str
    value: str | float | tuple[str, ...] | None

    @property
    def is_numeric(self) -> bool:
        """Whether it compares numbers."""
        return is_numeric(self.kind, self.key)


@dataclass(frozen=True, slots=True)
class Ordering:
    """One of the keys that runs are ordered by; ``key`` is as in Comparison, ``kind`` never ``dataset``."""

    kind: Kind
    key: str
    is_ascending: bool

    @property
    def is_numeric(self) -> bool:
        """Whether it orders by numbers."""
        return is_numeric(self.kind, self.key)


def is_numeric(kind: Kind, key: str) -> bool:
    """Say whether values of this key are numbers."""
    return kind == "metric" or (kind == "attribute" and key in NUMERIC_ATTRIBUTES)


def accepted_comparators(kind: Kind, key: str) -> tuple[str, ...]:
    """Give the comparators that there are for a key."""
    if is_numeric(kind, key):
        return NUMERIC_COMPARATORS
    if kind in {"param", "tag"}:
        return (*TEXT_COMPARATORS, *PRESENCE_COMPARATORS)
    if kind == "dataset" or key == "run_id":
        return (*TEXT_COMPARATORS, *LIST_COMPARATORS)
    return TEXT_COMPARATORS
