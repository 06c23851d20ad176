"""A batch cut to what a server takes in one request, and to single items where it refuses one.

The limits are those of mlflow.utils.validation; the text of each item is made once, so that a request's size is known.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runcontext.record import json_number
from runcontext.resolution import cut
from runcontext.tracking.mlflow.rows import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runcontext.tracking.store import Batch, BatchLimits, MetricPoint

_FIELDS = {"metric": "metrics", "param": "params", "tag": "tags"}
_ENVELOPE_BYTES = 512

# How servers say it: "... exceeds the maximum length of 250 characters", and before 2.10 "... length limit of 500".
_LIMIT = re.compile(r"(?:maximum length of|length limit of)\s+(\d+)")


@dataclass(frozen=True, slots=True)
class Item:
    """One metric point, param or tag on its way: ``point`` of a metric, ``value`` of the others, and its JSON."""

    kind: str
    key: str
    text: bytes
    value: str = ""
    point: MetricPoint | None = None


Identity = tuple[int, int, "float | str"]
"""What tells two points of one metric apart on a server with a database: time, step, value (its ``metric_pk``)."""


def items_of(batch: Batch, limits: BatchLimits) -> list[Item]:
    """Give the items of a batch, values that are too long cut with a mark."""
    params = [text_item("param", key, cut(value, limits.param_characters)) for key, value in batch.params.items()]
    metrics = [Item("metric", each.key, _text(_metric(each)), point=each) for each in batch.metrics]
    tags = [text_item("tag", key, cut(value, limits.tag_characters)) for key, value in batch.tags.items()]
    return [*params, *metrics, *tags]


def text_item(kind: str, key: str, value: str) -> Item:
    """Make an item of a param or a tag."""
    return Item(kind, key, _text({"key": key, "value": value}), value)


def shortened(item: Item, detail: str) -> Item | None:
    """Give an item cut to the limit that a server names in its refusal, None where that is not its trouble."""
    limit = _LIMIT.search(detail)
    if limit is None or len(item.value) <= int(limit.group(1)):
        return None
    return text_item(item.kind, item.key, cut(item.value, int(limit.group(1))))


def portions(items: Sequence[Item], limits: BatchLimits) -> Iterator[list[Item]]:
    """Cut items into what one request may hold."""
    most = {"metric": limits.metrics, "param": limits.params, "tag": limits.tags}
    portion: list[Item] = []
    counts = dict.fromkeys(most, 0)
    size = _ENVELOPE_BYTES
    for item in items:
        is_full = counts[item.kind] >= most[item.kind] or len(portion) >= limits.total
        if portion and (is_full or size + len(item.text) >= limits.bytes):
            yield portion
            portion, counts, size = [], dict.fromkeys(most, 0), _ENVELOPE_BYTES
        portion.append(item)
        counts[item.kind] += 1
        size += len(item.text) + 1
    if portion:
        yield portion


def body(remote_id: str, items: Sequence[Item]) -> bytes:
    """Give the JSON of one runs/log-batch."""
    lists = [
        b'"%s":[%s]' % (field.encode(), b",".join(each.text for each in items if each.kind == kind))
        for kind, field in _FIELDS.items()
    ]
    return b'{"run_id":%s,%s}' % (_text(remote_id), b",".join(lists))


def identity(timestamp: int | str, step: int | str, value: float | str) -> Identity:
    """Give what a point is known by, whether it is on its way or comes from a server."""
    number = value_of(value)
    # NaN is not equal to itself.
    return int(timestamp), int(step), "NaN" if number != number else number  # noqa: PLR0124


def _metric(point: MetricPoint) -> Mapping[str, Any]:
    return {"key": point.key, "value": json_number(point.value), "timestamp": point.timestamp, "step": point.step}


def _text(value: Any) -> bytes:
    # A lone surrogate is left as the escape that JSON has for it: the server judges it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
