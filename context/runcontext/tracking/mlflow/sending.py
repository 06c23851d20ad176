"""Sends a batch to an MLflow server so that all that it takes is there once, whatever it refuses or has already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runcontext.errors import StoreError
from runcontext.tracking.http import ServerRefusalError
from runcontext.tracking.mlflow import batches
from runcontext.tracking.mlflow.rest import ABSENT
from runcontext.tracking.mlflow.rows import is_deleted
from runcontext.tracking.store import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runcontext.tracking.mlflow.batches import Item
    from runcontext.tracking.mlflow.rest import MLflowRest
    from runcontext.tracking.store import Batch, BatchLimits, StoredRun

_ITEMS_FAULT = (400, 413, 422, 500)
"""Statuses by which a server refuses what a batch holds; 500 is one where asking again is of no use."""


def send(api: MLflowRest, run: StoredRun, batch: Batch, limits: BatchLimits) -> tuple[Refusal, ...]:
    """Send a batch, and give what the server will never take.

    Raises:
        StoreUnavailableError: some of it may be in.
        StoreError: the run is gone, or the server refuses all of it.
    """
    items = batches.items_of(batch, limits)
    if batch.is_repeat:
        items = _missing(api, run, items)
    portions = batches.portions(items, limits)
    return tuple(refusal for portion in portions for refusal in _send(api, run, portion))


def _send(api: MLflowRest, run: StoredRun, items: Sequence[Item]) -> list[Refusal]:
    try:
        api.post("runs/log-batch", batches.body(run.remote_id, items))
    except ServerRefusalError as error:
        if error.status not in _ITEMS_FAULT or error.error_code == ABSENT:
            raise
        _make_sure_of(api, run)
        return _send_in_parts(api, run, items, error)
    return []


def _send_in_parts(api: MLflowRest, run: StoredRun, items: Sequence[Item], error: ServerRefusalError) -> list[Refusal]:
    """Send in halves what was refused as a whole, down to what is at fault."""
    if len(items) == 1:
        shorter = batches.shortened(items[0], error.detail)
        if shorter is None:
            return [Refusal(items[0].kind, items[0].key, error.detail)]
        return _send(api, run, [shorter])
    refusals: list[Refusal] = []
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        # A server with files may have taken what came before the item that it refused.
        rest = _missing(api, run, half)
        refusals += _send(api, run, rest) if rest else []
    return refusals


def _make_sure_of(api: MLflowRest, run: StoredRun) -> None:
    row = api.run(run.remote_id)
    if row is None or is_deleted(row["info"]):
        message = f"run {run.run_id} ({run.remote_id}) was deleted at {api.server.uri}: restore it there"
        raise StoreError(message)


def _missing(api: MLflowRest, run: StoredRun, items: Sequence[Item]) -> list[Item]:
    """Leave out the points that the server has; params and tags are the same however often they are sent.

    Were one of these points there, the metric's latest point would be as late: else its history need not be read.
    """
    points = [each.point for each in items if each.point is not None]
    if not points:
        return list(items)
    row = api.run(run.remote_id) or {}
    latest = {each["key"]: _order(each) for each in row.get("data", {}).get("metrics", ())}
    firsts: dict[str, tuple[int, int]] = {}
    for point in points:
        at = (point.step, point.timestamp)
        firsts[point.key] = min(at, firsts.get(point.key, at))
    doubtful = [key for key, first in firsts.items() if key in latest and latest[key] >= first]
    there = {(key, each) for key in doubtful for each in api.history(run.remote_id, key)}
    return [each for each in items if each.point is None or (each.key, _identity(each)) not in there]


def _order(metric: Mapping[str, Any]) -> tuple[int, int]:
    return int(metric.get("step", 0)), int(metric["timestamp"])


def _identity(item: Item) -> batches.Identity | None:
    point = item.point
    return None if point is None else batches.identity(point.timestamp, point.step, point.value)
