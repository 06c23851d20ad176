"""Tracking stores that were written for MLflow, used unchanged: entry points of ``mlflow.tracking_store``.

What MLflow asks of them is ``mlflow.store.tracking.abstract_store.AbstractStore``, of which they are subclasses, or
look like one. Each is asked as MLflow's own client and server ask it, and answers like an MLflow server: so a run is
kept, found and repeated there as on a server, by the same code.
"""

from __future__ import annotations

import inspect
import json
import threading
from typing import TYPE_CHECKING, Any

from runcontext import plugins
from runcontext.errors import PluginError, StoreError, StoreUnavailableError
from runcontext.redaction import redact_url
from runcontext.tracking import search
from runcontext.tracking.http import ServerRefusalError
from runcontext.tracking.mlflow import entities
from runcontext.tracking.mlflow.server import MLflowServerStore
from runcontext.tracking.plugin_store import chain, store_error
from runcontext.tracking.store import PARENT_RUN_ID_TAG, RUN_ID_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from runcontext.plugins import Plugin

METHODS = (
    "create_experiment",
    "get_experiment",
    "search_experiments",
    "create_run",
    "get_run",
    "update_run_info",
    "log_batch",
    "get_metric_history",
    "search_runs",
)
"""What a store must have; without ``get_experiment_by_name``, ``set_tag``, ``delete_tag``, ``delete_run`` it can do."""

_API = "/api/2.0/mlflow/"
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_LATER = frozenset(("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"))
"""Codes of ``mlflow.exceptions.MlflowException`` for what may go right later."""

_REFUSALS = {_ABSENT: 404, "RESOURCE_ALREADY_EXISTS": 400, "INVALID_PARAMETER_VALUE": 400, "BAD_REQUEST": 400}
"""Its codes for what never will, and the HTTP statuses of MLflow's server for them (``ERROR_CODE_TO_HTTP_STATUS``)."""

_ITEM_ERRORS = (ValueError, TypeError, FileExistsError, NotADirectoryError, IsADirectoryError)
_ITEM_ERROR_NAMES = ("DataError", "StatementError")
_OWN_TAGS = (RUN_ID_TAG, PARENT_RUN_ID_TAG, search.PARENT_TAG)
_VIEWS = {"ACTIVE_ONLY": 1, "DELETED_ONLY": 2, "ALL": 3}
"""``mlflow.entities.ViewType``."""


_making_experiments = threading.Lock()
"""Stores of files look whether a name is taken, and then take it: two threads at once would make two experiments."""


class MLflowPluginStore(MLflowServerStore):
    """One store of a plugin for MLflow, as one of ours."""

    def __init__(self, plugin: Plugin, uri: str) -> None:
        """Build it as MLflow does: ``builder(store_uri=..., artifact_uri=...)``.

        Raises:
            StoreError: it cannot be loaded or built, or lacks a method; the message names plugin and package.
        """
        super().__init__(uri, session=PluginSession(plugin, uri))


class PluginSession:
    """Answers requests of MLflow's REST API out of the methods of a plugin's store.

    What the plugin raises, ``exit()`` among it, names it, and is what a server's failure would be: something that may
    go right later, a refusal, or an error that somebody must see to.
    """

    def __init__(self, plugin: Plugin, uri: str) -> None:
        """Build the store.

        Raises:
            StoreError: it cannot be loaded or built, or lacks a method; the message names plugin and package.
        """
        self._plugin = plugin
        self._raw_uri = uri
        try:
            builder = plugins.load(plugin)
            self._store = self._do("cannot be built", lambda: builder(store_uri=uri, artifact_uri=None))
            plugins.check_shape(plugin, self._store, METHODS)
        except PluginError as error:
            raise StoreError(str(error)) from None
        self._entities = entities.found()
        self._answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "experiments/create": self._create_experiment,
            "experiments/get": self._get_experiment,
            "experiments/get-by-name": self._get_experiment_by_name,
            "experiments/search": self._search_experiments,
            "metrics/get-history": self._get_history,
            "runs/create": self._create_run,
            "runs/delete": self._delete_run,
            "runs/delete-tag": self._delete_tag,
            "runs/get": self._get_run,
            "runs/log-batch": self._log_batch,
            "runs/search": self._search_runs,
            "runs/set-tag": self._set_tag,
            "runs/update": self._update_run,
        }

    @property
    def uri(self) -> str:
        """The tracking URI, fit to be shown."""
        return redact_url(self._raw_uri)

    @property
    def base_url(self) -> str | None:
        """No page that anybody knows shows its runs."""
        return None

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, is_patient: bool = True) -> dict[str, Any]:
        """Read; a plugin does its own waiting."""
        del is_patient
        return self._answered(path, params or {})

    def search(self, path: str, body: Mapping[str, Any], *, is_patient: bool = True) -> dict[str, Any]:
        """Read what is asked for with a body."""
        del is_patient
        return self._answered(path, body)

    def post(self, path: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Write."""
        return self._answered(path, json.loads(body) if isinstance(body, bytes) else body)

    def close(self) -> None:
        """Let the plugin go; MLflow has no word for it."""

    def _answered(self, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = path.removeprefix(_API)
        found: dict[str, Any] = self._do(f"could not do {endpoint}", lambda: self._answers[endpoint](asked))
        return found

    def _do(self, what: str, work: Callable[[], Any]) -> Any:
        return plugins.guarded(self._plugin, what, work, passing=(StoreError,), raising=_failure, uri=self._raw_uri)

    # --- experiments --------------------------------------------------------------------------------------------

    def _create_experiment(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with _making_experiments:
            made = self._store.create_experiment(
                name=asked["name"], artifact_location=asked.get("artifact_location"), tags=[]
            )
        return {"experiment_id": str(made)}

    def _get_experiment(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self._store.get_experiment(experiment_id=asked["experiment_id"])
        return {"experiment": _experiment(self._there(found, asked["experiment_id"]))}

    def _get_experiment_by_name(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        name = asked["experiment_name"]
        if callable(getattr(self._store, "get_experiment_by_name", None)):
            found = self._store.get_experiment_by_name(name)
        else:
            found = next((each for each in self._all_experiments() if each.name == name), None)
        return {"experiment": _experiment(self._there(found, name))}

    def _all_experiments(self) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._store.search_experiments(view_type=_VIEWS["ALL"], page_token=token)
            found += page
            token = getattr(page, "token", None)
            if not token:
                return found

    def _search_experiments(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        page = self._store.search_experiments(
            view_type=_VIEWS[asked["view_type"]], max_results=asked["max_results"], page_token=asked.get("page_token")
        )
        return {"experiments": [_experiment(each) for each in page], **_token_of(page)}

    # --- runs ---------------------------------------------------------------------------------------------------

    def _create_run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        # Stores of files make the run, and then look at its tags: others than ours follow, one by one where they must.
        tags = [each for each in asked["tags"] if each["key"] in _OWN_TAGS]
        made = self._store.create_run(
            experiment_id=asked["experiment_id"],
            user_id=asked["user_id"],
            start_time=asked["start_time"],
            tags=[self._entities.tag(each["key"], each["value"]) for each in tags],
            run_name=asked["run_name"],
        )
        return {"run": self._row(made)}

    def _get_run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"run": self._row(self._there(self._store.get_run(asked["run_id"]), asked["run_id"]))}

    def _delete_run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._store.delete_run(asked["run_id"])
        return {}

    def _search_runs(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        comparisons = search.parse(asked["filter"])
        page = self._store.search_runs(
            experiment_ids=list(asked["experiment_ids"]),
            filter_string=_without_patterns(comparisons),
            run_view_type=_VIEWS[asked["run_view_type"]],
            max_results=asked["max_results"],
            order_by=list(asked.get("order_by", ())),
            page_token=asked.get("page_token"),
        )
        wanted = [(each.key, each.value) for each in comparisons if each.kind == "tag" and each.comparator == "="]
        # Not every store takes a filter seriously, and by this one a run is known.
        fitting = [each for each in page if all(each.data.tags.get(key) == value for key, value in wanted)]
        return {"runs": [self._row(each) for each in fitting], **_token_of(page)}

    def _update_run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        # Before MLflow 1.28 a run's name was a tag alone.
        named = {"run_name": asked.get("run_name")} if self._takes("update_run_info", "run_name") else {}
        status = entities.STATUSES[asked["status"]]
        self._store.update_run_info(asked["run_id"], run_status=status, end_time=asked.get("end_time"), **named)
        return {}

    def _log_batch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        made = self._entities
        points = [
            made.metric(each["key"], float(each["value"]), each["timestamp"], each["step"])
            for each in asked.get("metrics", ())
        ]
        params = [made.param(each["key"], each["value"]) for each in asked.get("params", ())]
        tags = [made.tag(each["key"], each["value"]) for each in asked.get("tags", ())]
        self._store.log_batch(run_id=asked["run_id"], metrics=points, params=params, tags=tags)
        return {}

    def _set_tag(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._log_batch({"run_id": asked["run_id"], "tags": [asked]})

    def _delete_tag(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if callable(getattr(self._store, "delete_tag", None)):
            self._store.delete_tag(asked["run_id"], asked["key"])
        return {}

    def _get_history(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        pages = {name: asked[name] for name in ("max_results", "page_token") if name in asked}
        more = pages if self._takes("get_metric_history", "max_results") else {}
        page = self._store.get_metric_history(run_id=asked["run_id"], metric_key=asked["metric_key"], **more)
        return {"metrics": [_point(each) for each in page], **_token_of(page)}

    # --- what comes back ----------------------------------------------------------------------------------------

    def _there(self, found: Any, name: str) -> Any:
        if found is None:
            message = f"{self.uri} has no {name!r} ({self._plugin})"
            raise ServerRefusalError(message, status=_REFUSALS[_ABSENT], error_code=_ABSENT, detail=message)
        return found

    def _row(self, run: Any) -> dict[str, Any]:
        info, data = run.info, run.data
        status = info.status
        row = {
            "run_id": info.run_id,
            "run_name": getattr(info, "run_name", None),
            "experiment_id": str(info.experiment_id),
            "status": entities.WORDS.get(status, status),
            "start_time": info.start_time,
            "end_time": info.end_time,
            "artifact_uri": info.artifact_uri,
            "lifecycle_stage": info.lifecycle_stage,
        }
        return {
            "info": row,
            "data": {"metrics": _metrics(data), "params": _pairs(data.params), "tags": _pairs(data.tags)},
        }

    def _takes(self, method: str, parameter: str) -> bool:
        try:
            parameters = inspect.signature(getattr(self._store, method)).parameters
        except (TypeError, ValueError):
            return True
        return parameter in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _without_patterns(comparisons: Iterable[search.Comparison]) -> str:
    # Each store has its own idea of LIKE: that of files finds no text with a line break. Whoever asks looks again.
    kept = [each for each in comparisons if each.comparator not in {"LIKE", "ILIKE"}]
    return search.render(kept).filter_string


def _experiment(experiment: Any) -> dict[str, Any]:
    return {
        "experiment_id": str(experiment.experiment_id),
        "name": experiment.name,
        "lifecycle_stage": experiment.lifecycle_stage,
    }


def _metrics(data: Any) -> list[dict[str, Any]]:
    objects = getattr(data, "_metric_objs", None)
    if objects is not None:
        return [_point(each) for each in objects]
    # Of a store with entities of its own: how late the latest point is nobody knows, so that each history is asked for.
    return [
        {"key": key, "value": value, "timestamp": entities.UNKNOWN, "step": entities.UNKNOWN}
        for key, value in data.metrics.items()
    ]


def _point(metric: Any) -> dict[str, Any]:
    return {"key": metric.key, "value": metric.value, "timestamp": metric.timestamp, "step": metric.step or 0}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _token_of(page: Any) -> dict[str, str]:
    token = getattr(page, "token", None)
    return {"next_page_token": token} if token else {}


def _failure(message: str, error: BaseException) -> StoreError:
    errors = chain(error)
    codes = [code for each in errors if isinstance(code := getattr(each, "error_code", None), str)]
    if _LATER.intersection(codes):
        return StoreUnavailableError(message)
    if any(isinstance(each, _ITEM_ERRORS) or type(each).__name__ in _ITEM_ERROR_NAMES for each in errors):
        return ServerRefusalError(message, status=400, error_code=codes[0] if codes else None, detail=message)
    code = next((each for each in codes if each in _REFUSALS), None)
    if code is not None:
        return ServerRefusalError(message, status=_REFUSALS[code], error_code=code, detail=message)
    return store_error(message, error)
