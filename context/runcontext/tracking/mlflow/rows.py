"""A run as an MLflow server holds it, and as we do: ids, tags, status and numbers, both ways.

The rows are those of MLflow's REST API ("REST API", data structures Run, RunInfo and RunData).
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from runcontext import redaction
from runcontext.record import RunRecord, RunStatus
from runcontext.tracking.store import PARENT_RUN_ID_TAG, RUN_ID_TAG, STATUS_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.tracking.store import NewRun

NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"
USER_TAG = "mlflow.user"

LARGEST = sys.float_info.max
"""What an MLflow server keeps in a database in place of infinity (``SqlAlchemyStore.sanitize_metric_value``)."""

_SENT_WITH_RUN_CHARACTERS = 250
_SENT_WITH_RUN = 90
_STATUSES = {"SCHEDULED": RunStatus.RUNNING, **{each.value: each for each in RunStatus}}


def is_deleted(info: Mapping[str, Any]) -> bool:
    """Say whether somebody has deleted a run or an experiment there; it can be restored."""
    return info.get("lifecycle_stage") == "deleted"


def sent_status(status: RunStatus) -> str:
    """Give MLflow's word for a status; it has none for LOST."""
    return "FAILED" if status is RunStatus.LOST else status.value


def sent_tags(tags: Mapping[str, str], parent: tuple[str, str | None] | None) -> dict[str, str]:
    """Give tags as the server is to hold them: with its own id of the parent, and none where that is not known.

    Args:
        tags: as they are with us.
        parent: our id of the run's parent, and the server's.
    """
    found = dict(tags)
    if parent is not None and found.get(PARENT_TAG) == parent[0]:
        del found[PARENT_TAG]
        if parent[1] is not None:
            found[PARENT_TAG] = parent[1]
    return found


def tags_of_new(run: NewRun) -> dict[str, str]:
    """Give all the tags that a new run is to have on the server, our own among them."""
    parent = None if run.parent_run_id is None else (run.parent_run_id, run.parent_remote_id)
    ours = {RUN_ID_TAG: run.run_id}
    if run.parent_run_id is not None:
        ours[PARENT_RUN_ID_TAG] = run.parent_run_id
        if run.parent_remote_id is not None:
            ours[PARENT_TAG] = run.parent_remote_id
    return {**sent_tags(run.tags, parent), **ours}


def creation(run: NewRun, experiment_id: str) -> dict[str, Any]:
    """Give the body of runs/create.

    Only short tags are in it: the server judges no others there, and its database may fail on them.
    """
    tags = tags_of_new(run)
    name = tags.pop(NAME_TAG, None) or run.run_name
    short = [key for key, value in tags.items() if len(value) <= _SENT_WITH_RUN_CHARACTERS]
    # Ours are the last.
    chosen = short[-_SENT_WITH_RUN:]
    return {
        "experiment_id": experiment_id,
        # What MLflow's own client sends (mlflow.tracking._tracking_service.client, create_run).
        "user_id": tags.get(USER_TAG, "unknown")[:_SENT_WITH_RUN_CHARACTERS],
        "run_name": name,
        "start_time": run.start_time,
        "tags": [{"key": key, "value": tags[key]} for key in chosen],
    }


def is_running(row: Mapping[str, Any]) -> bool:
    """Say whether a run goes on, by its own word."""
    return bool(row["info"].get("status") == RunStatus.RUNNING.value)


def weight(row: Mapping[str, Any]) -> int:
    """Say how much a run holds."""
    data = row.get("data", {})
    return sum(len(data.get(kind, ())) for kind in ("metrics", "params", "tags"))


def is_as_made(row: Mapping[str, Any], run: NewRun) -> bool:
    """Say whether a run is one that was made for ``run``, and that nobody has touched since."""
    tags = tags_of(row).keys()
    return is_running(row) and weight(row) == len(tags) and tags <= {NAME_TAG, *tags_of_new(run)}


def tags_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Give a run's tags as the server has them."""
    return {each["key"]: each.get("value") or "" for each in row.get("data", {}).get("tags", ())}


def record_of(row: Mapping[str, Any], experiment_name: str, url: str | None) -> RunRecord:
    """Give a run of the server's as a record: what is ours of it in our words."""
    info, data, tags = row["info"], row.get("data", {}), tags_of(row)
    status = _STATUSES.get(info.get("status", ""), RunStatus.RUNNING)
    if tags.pop(STATUS_TAG, None) == RunStatus.LOST.value and status is RunStatus.FAILED:
        status = RunStatus.LOST
    start_time = int(info.get("start_time") or 0)
    # A run that was resumed keeps its earlier end there.
    end_time = None if status is RunStatus.RUNNING else int(info.get("end_time") or 0) or None
    run_id = tags.pop(RUN_ID_TAG, None) or info["run_id"]
    parent_run_id = tags.pop(PARENT_RUN_ID_TAG, None)
    if parent_run_id is not None:
        tags[PARENT_TAG] = parent_run_id
    return RunRecord(
        run_id=run_id,
        run_name=info.get("run_name") or tags.get(NAME_TAG) or run_id,
        experiment_name=experiment_name,
        status=status,
        start_time=start_time,
        end_time=end_time,
        tags=MappingProxyType(tags),
        params=MappingProxyType({each["key"]: each.get("value") or "" for each in data.get("params", ())}),
        metrics=MappingProxyType({each["key"]: value_of(each["value"]) for each in data.get("metrics", ())}),
        parent_run_id=parent_run_id or tags.get(PARENT_TAG),
        last_event_time=end_time or start_time,
        path=None,
        remote_id=info["run_id"],
        url=url,
        artifact_uri=redaction.redact_url(info["artifact_uri"]) if info.get("artifact_uri") else None,
    )


def value_of(value: float | str) -> float:
    """Read a metric's value: the number, or its word where JSON has none; the largest number means infinity."""
    number = float(value)
    if number >= LARGEST:
        return float("inf")
    return float("-inf") if number <= -LARGEST else number
