"""What MLflow's stores take: its own classes where MLflow is installed, else records of the same fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STATUSES = {"RUNNING": 1, "SCHEDULED": 2, "FINISHED": 3, "FAILED": 4, "KILLED": 5}
"""``RunStatus`` of MLflow's protocol (``mlflow/protos/service.proto``)."""

WORDS = {number: word for word, number in STATUSES.items()}
UNKNOWN = 1 << 62
"""A step or time later than any other."""


@dataclass(frozen=True, slots=True)
class Entities:
    """The builders ``metric(key, value, timestamp, step)``, ``param(key, value)`` and ``tag(key, value)``."""

    metric: Callable[[str, float, int, int], Any]
    param: Callable[[str, str], Any]
    tag: Callable[[str, str], Any]


@dataclass(slots=True)
class _Metric:
    key: str
    value: float
    timestamp: int
    step: int
    # What later stores look at as well (``mlflow.entities.Metric``).
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None
    run_id: str | None = None


@dataclass(slots=True)
class _Pair:
    key: str
    value: str


def found() -> Entities:
    """Give MLflow's own classes; records of the same fields where there is no MLflow, and so nothing that needs it."""
    try:
        from mlflow.entities import Metric, Param, RunTag
    except ImportError:
        return Entities(_Metric, _Pair, _Pair)
    return Entities(Metric, Param, RunTag)
