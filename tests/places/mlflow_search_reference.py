"""Answers searches with MLflow's own SqlAlchemyStore on SQLite: run by MLflow's interpreter, with JSON in and out.

Reads ``{"runs": [...], "queries": [[filter, order_by], ...], "filters": [...]}`` from standard input, where ``{0}`` in
a filter stands for the id of the first run. Prints the runs' ids, each query's ids in their order or None where MLflow
refuses it, and each filter's comparisons likewise. Its argument is a database with MLflow's tables.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.search_utils import SearchUtils


def made(store: SqlAlchemyStore, experiment_id: str, row: dict[str, Any]) -> str:
    """Make one run; give its id."""
    tags = [RunTag(*each) for each in row["tags"].items()]
    run_id = store.create_run(
        experiment_id, row["tags"]["mlflow.user"], row["start_time"], tags, row["run_name"]
    ).info.run_id
    metrics = [Metric(key, float(value), timestamp, step) for key, value, timestamp, step in row["metrics"]]
    params = [Param(*each) for each in row["params"].items()]
    store.log_batch(run_id, metrics, params, [])
    if row["status"] != "RUNNING":
        store.update_run_info(run_id, RunStatus.from_string(row["status"]), row["end_time"], None)
    return run_id


def answered(
    store: SqlAlchemyStore, experiment_id: str, ids: list[str], filter_string: str, order_by: list[str]
) -> list[str] | None:
    """Give the ids of a search's answer, None where it is refused."""
    for number, run_id in enumerate(ids):
        filter_string = filter_string.replace(f"{{{number}}}", run_id)
    with contextlib.suppress(MlflowException):
        found = store.search_runs([experiment_id], filter_string, ViewType.ALL, 1_000, order_by)
        return [each.info.run_id for each in found]
    return None


def parsed(filter_string: str) -> list[list[Any]] | None:
    """Give the comparisons that MLflow finds in a filter, None where it finds none or would refuse one."""
    try:
        found = SearchUtils.parse_search_filter(filter_string)
        for each in found:
            kind, key, comparator = each["type"], each["key"], each["comparator"].upper()
            checks = (
                SearchUtils.is_metric(kind, comparator),
                SearchUtils.is_param(kind, comparator),
                SearchUtils.is_tag(kind, comparator),
                SearchUtils.is_dataset(kind, comparator),
                SearchUtils.is_attribute(kind, key, comparator),
            )
            assert any(checks)
            # These it reads, and then no database takes them.
            assert isinstance(each["value"], tuple) is (comparator in {"IN", "NOT IN"})
            value = float(each["value"]) if kind == "metric" else each["value"]
            each.update(key=SearchUtils.translate_key_alias(key) if kind == "attribute" else key, value=value)
            each["comparator"] = comparator
    except Exception:  # noqa: BLE001 - whatever it raises, it takes no such filter
        return None
    return [[each["type"], each["key"], each["comparator"], each["value"]] for each in found]


def main() -> None:
    """Answer everything."""
    asked = json.load(sys.stdin)
    store = SqlAlchemyStore(f"sqlite:///{sys.argv[1]}", "file:///nowhere")
    experiment_id = store.create_experiment("reference")
    ids = [made(store, experiment_id, each) for each in asked["runs"]]
    answers = [answered(store, experiment_id, ids, *each) for each in asked["queries"]]
    json.dump({"ids": ids, "answers": answers, "parsed": [parsed(each) for each in asked["filters"]]}, sys.stdout)


main()
