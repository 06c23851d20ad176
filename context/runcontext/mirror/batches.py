"""Cuts what a run's events hold to what a store takes at once, the same way each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runcontext.resolution import cut
from runcontext.tracking.store import Batch, MetricPoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runcontext.mirror.feed import Entry
    from runcontext.tracking.store import BatchLimits

_ITEM_BYTES = 64


def of_entries(entries: list[Entry], limits: BatchLimits) -> Iterator[Batch]:
    """Give the metrics and params of ``entries`` in batches, numbered from 1."""
    batch = _Filling(limits)
    for entry in entries:
        for point in _points(entry.event):
            if not batch.take_metric(point):
                yield batch.emptied()
                batch.take_metric(point)
        for key, value in entry.event.get("params", {}).items():
            if not batch.take_param(key, cut(value, limits.param_characters)):
                yield batch.emptied()
                batch.take_param(key, cut(value, limits.param_characters))
    if batch.items:
        yield batch.emptied()


def of_tags(tags: Mapping[str, str], limits: BatchLimits) -> Iterator[dict[str, str]]:
    """Give tags in portions that fit a batch."""
    batch = _Filling(limits)
    for key, value in tags.items():
        if not batch.take_tag(key, value):
            yield dict(batch.emptied().tags)
            batch.take_tag(key, value)
    if batch.items:
        yield dict(batch.emptied().tags)


def _points(event: Mapping[str, Any]) -> Iterator[MetricPoint]:
    for key, value in event.get("metrics", {}).items():
        yield MetricPoint(key, float(value), event.get("at", event["t"]), event.get("step", 0))


class _Filling:
    """A batch that is being filled; what does not fit any more is not taken."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._sequence = 0
        self._empty()

    def _empty(self) -> None:
        self._metrics: list[MetricPoint] = []
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._bytes = 0

    @property
    def items(self) -> int:
        return len(self._metrics) + len(self._params) + len(self._tags)

    def emptied(self) -> Batch:
        self._sequence += 1
        batch = Batch(self._sequence, tuple(self._metrics), self._params, self._tags)
        self._empty()
        return batch

    def take_metric(self, point: MetricPoint) -> bool:
        if not self._has_room(len(self._metrics), self._limits.metrics, point.key):
            return False
        self._metrics.append(point)
        return True

    def take_param(self, key: str, value: str) -> bool:
        if self._params.get(key, value) != value or not self._has_room(
            len(self._params), self._limits.params, key + value
        ):
            return False
        self._params[key] = value
        return True

    def take_tag(self, key: str, value: str) -> bool:
        if not self._has_room(len(self._tags), self._limits.tags, key + value):
            return False
        self._tags[key] = value
        return True

    def _has_room(self, count: int, most: int, text: str) -> bool:
        size = len(text.encode("utf-8", "surrogatepass")) + _ITEM_BYTES
        fits = count < most and self.items < self._limits.total and self._bytes + size <= self._limits.bytes
        if fits or not self.items:
            # What fits no batch at all goes alone: the store says what is wrong with it.
            self._bytes += size
            return True
        return False
