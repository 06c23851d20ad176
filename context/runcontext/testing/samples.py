"""Runs to fill a store with, the questions to ask it, and the answers that every store gives."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from runcontext.record import RunRecord, RunStatus
from runcontext.tracking.search import PARENT_TAG
from runcontext.tracking.store import Batch, MetricPoint, NewRun, RunUpdate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.tracking.store import StoredRun, TrackingStore

RUN_NAME_TAG = "mlflow.runName"
START = 1_700_000_000_000
"""When the sample's first run starts, in milliseconds since the epoch."""


def run_id_at(milliseconds: int) -> str:
    """Make a run id as ``start_run`` would have made it then (RFC 9562, section 5.7)."""
    return f"{milliseconds:012x}7{uuid.uuid4().hex[13:]}"


def new_run(experiment_name: str, *, start_time: int = START, run_name: str = "calm-crab-1", **fields: Any) -> NewRun:
    """Make a run that no store has, with the tags that ``start_run`` gives it.

    Args:
        experiment_name: its experiment.
        start_time: milliseconds since the epoch, UTC.
        run_name: its name.
        fields: ``run_id``, ``tags``, ``parent_run_id`` and the others of NewRun.
    """
    parent: str | None = fields.get("parent_run_id")
    own = {RUN_NAME_TAG: run_name, **({} if parent is None else {PARENT_TAG: parent})}
    tags = {**own, **fields.pop("tags", {})}
    run_id = fields.pop("run_id", None) or run_id_at(start_time)
    return NewRun(run_id, run_name, experiment_name, start_time, tags, **fields)


@dataclass(frozen=True, slots=True)
class SampleRun:
    """A run, what is logged to it, and how it ends; ``update`` is None of one that goes on."""

    new: NewRun
    metrics: tuple[MetricPoint, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    update: RunUpdate | None = None

    def write(self, store: TrackingStore) -> StoredRun:
        """Write it to a store, as the mirror does."""
        stored = store.create_run(self.new)
        if self.metrics or self.params or self.tags:
            batch = Batch(sequence=1, metrics=self.metrics, params=self.params, tags=self.tags)
            refused = store.log_batch(stored, batch)
            assert refused == (), refused
        if self.update is not None:
            store.update_run(stored, self.update)
        return stored

    def record(self) -> RunRecord:
        """Give what every store is to say of it."""
        latest: dict[str, MetricPoint] = {}
        for each in self.metrics:
            known = latest.get(each.key)
            if known is None or (each.step, each.timestamp) >= (known.step, known.timestamp):
                latest[each.key] = each
        update = self.update or RunUpdate(RunStatus.RUNNING, None, self.new.run_name)
        return RunRecord(
            run_id=self.new.run_id,
            run_name=update.run_name,
            experiment_name=self.new.experiment_name,
            status=update.status,
            start_time=self.new.start_time,
            end_time=update.end_time,
            tags=MappingProxyType({**self.new.tags, **self.tags, RUN_NAME_TAG: update.run_name}),
            params=MappingProxyType(dict(self.params)),
            metrics=MappingProxyType({key: each.value for key, each in latest.items()}),
            parent_run_id=self.new.parent_run_id,
            last_event_time=update.end_time or self.new.start_time,
            path=None,
        )


def point(key: str, value: float, step: int = 0, timestamp: int = START) -> MetricPoint:
    """Make one point of a metric."""
    return MetricPoint(key=key, value=value, timestamp=timestamp, step=step)


def sample_runs(experiment_name: str) -> tuple[SampleRun, ...]:
    """Make runs that differ in all that a search can ask for, two of them started in one millisecond."""
    infinity, nan = float("inf"), float("nan")
    first = SampleRun(
        new_run(experiment_name, start_time=START, run_name="first", tags={"mlflow.user": "ada", "Team": "Vision"}),
        metrics=(point("loss", 0.5, 2), point("loss", 0.9, 1), point("acc uracy", 1e-9), point("big", 1e20)),
        params={"optimizer": "sgd", "batch-size": "32", "note": "it's 100% \\ sure_"},
        tags={"key/with: all.sorts-of_marks": "yes", "empty": ""},
        update=RunUpdate(RunStatus.FINISHED, START + 5_000, "first"),
    )
    child = SampleRun(
        new_run(experiment_name, start_time=START + 10, run_name="child of first", parent_run_id=first.new.run_id),
        metrics=(point("loss", nan), point("big", -infinity)),
        params={"optimizer": "SGD", "batch-size": "4"},
        update=RunUpdate(RunStatus.LOST, START + 60, "child of first"),
    )
    failed = SampleRun(
        new_run(experiment_name, start_time=START + 10, run_name="Ärger", tags={"mlflow.user": "grace"}),
        metrics=(point("loss", 0.25), point("big", infinity)),
        params={"optimizer": "adam", "note": 'says "no"'},
        update=RunUpdate(RunStatus.FAILED, START + 20, "Ärger"),
    )
    killed = SampleRun(
        new_run(experiment_name, start_time=START + 20, run_name="first"),
        metrics=(point("loss", -0.25, 7),),
        params={"optimizer": "adamw", "note": "ärger\nin two lines"},
        tags={"Team": "vision"},
        update=RunUpdate(RunStatus.KILLED, START + 30, "renamed"),
    )
    running = SampleRun(new_run(experiment_name, start_time=START + 30), params={"note": "ÄRGER"})
    bare = SampleRun(new_run(experiment_name, start_time=START + 40, run_name="bare"))
    return (first, child, failed, killed, running, bare)


FILTERS = (
    "",
    "metrics.loss < 0.5",
    "metrics.loss <= 0.5 AND metrics.loss > -1",
    "metrics.loss != 0.25",
    "metric.`acc uracy` = 1e-9",
    "metrics.big > 1e19",
    "metrics.big < 0",
    "params.optimizer = 'sgd'",
    "params.optimizer != 'sgd'",
    "params.optimizer LIKE 'adam%'",
    "params.optimizer LIKE 'S_D'",
    "params.optimizer ILIKE 's_d'",
    'params.`batch-size` = "32"',
    'params.note = "it\'s 100% \\ sure_"',
    "params.note LIKE '%\\ sure_'",
    "params.note LIKE 'ärger%'",
    "params.note ILIKE 'ärger%'",
    "params.note ILIKE '%TWO lines'",
    "params.missing = 'x'",
    "params.missing IS NULL",
    "params.optimizer IS NOT NULL AND tags.Team IS NULL",
    "tags.`key/with: all.sorts-of_marks` = 'yes'",
    "tags.Team = 'vision'",
    "tags.Team ILIKE 'VISION'",
    "tags.empty = ''",
    "tags.mlflow.runName = 'renamed'",
    "tags.mlflow.parentRunId IS NOT NULL",
    "tags.mlflow.parentRunId = '{first}'",
    "tags.mlflow.parentRunId != '{first}'",
    "status = 'FINISHED'",
    "status = 'FAILED'",
    "status = 'KILLED'",
    "status = 'LOST'",
    "status != 'KILLED'",
    "status != 'FAILED'",
    "status != 'LOST'",
    "status LIKE 'F%'",
    "status ILIKE '%LL%'",
    "run_id = '{first}'",
    "run_id != '{first}'",
    "run_id IN ('{first}', '{last}')",
    "run_id NOT IN ('{first}', '{last}')",
    "run_id LIKE '{first}%'",
    "run_name = 'first'",
    "attributes.`run name` LIKE '%first'",
    "user_id = 'ada'",
    "user_id != 'ada'",
    f"start_time >= {START + 10} and attribute.created < {START + 30}",
    f"end_time > {START + 25}",
    f"end_time != {START + 30}",
    "datasets.name = 'mnist'",
)
"""Filters that tell the sample's runs apart; ``{first}`` and ``{last}`` stand for the ids of its first and last."""

ORDERS: tuple[tuple[str, ...], ...] = (
    (),
    ("metrics.loss ASC",),
    ("metrics.loss DESC",),
    ("metrics.big DESC", "start_time ASC"),
    ("params.note",),
    ("params.optimizer DESC", "metrics.loss"),
    ("tags.Team ASC",),
    ("tags.`mlflow.parentRunId` DESC",),
    ("status ASC",),
    ("status DESC", "run_id DESC"),
    ("run_name",),
    ("run_id DESC",),
    ("end_time DESC",),
    ("start_time ASC",),
    ("user_id",),
)
"""Orderings that put the sample's runs into different orders."""
