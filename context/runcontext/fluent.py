"""The fluent interface: ``start_run()`` and what is logged to the run that is active."""

from __future__ import annotations

import os
import sys

from runcontext import capture, run, starting
from runcontext.project import working_directory
from runcontext.run import Run
from runcontext.settings import Settings, put_in_force
from runcontext.tracking import destination, local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeVar

    from runcontext.artifacts.repository import ArtifactInfo
    from runcontext.record import Context, RunRecord, RunStatus
    from runcontext.tracking.store import RunPage, TrackingStore

    _Read = TypeVar("_Read")

_tracking_uri: str | None = None
_experiment_name: str | None = None


def start_run(
    *,
    run_name: str | None = None,
    run_id: str | None = None,
    experiment_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
    providers: Sequence[Any] | None = None,
) -> Run:
    """Start a run and make it the active one: ``with runcontext.start_run() as run:``.

    It returns as soon as the run is on disk; its context arrives while the program works.

    Args:
        run_name: a name for people; one is made up unless given.
        run_id: a run to resume; its context is the one captured when it was made.
        experiment_name: its experiment; that of ``set_experiment()``, RUNCONTEXT_EXPERIMENT_NAME, or "Default".
        nested: start it inside the active run, as its child.
        parent_run_id: the run that it is a child of, where that is not the active one.
        tags: tags to set; no captured fact overrides them.
        description: a text about the run, kept as the tag ``mlflow.note.content``.
        tracking_uri: where it goes: a folder, or the URI of a place that it is sent to besides; that of
            ``set_tracking_uri()``, or RUNCONTEXT_TRACKING_URI, unless given.
        providers: only these, names or objects; all unless given, none for ``[]``.

    Raises:
        RuntimeError: a run is active already, and ``nested`` is not set.
        StoreError: the run cannot be kept there; the message says how to choose another place.
        ValueError, TypeError: a tag is ill-formed, or ``providers`` lists what is no provider.
    """
    return starting.start(
        run_name=run_name,
        run_id=run_id,
        experiment_name=experiment_name or _experiment_name,
        nested=nested,
        parent_run_id=parent_run_id,
        tags=tags,
        description=description,
        tracking_uri=tracking_uri or _tracking_uri,
        providers=None if providers is None else list(providers),
    )


def end_run(status: str | RunStatus = "FINISHED") -> None:
    """End the active run; where there is none, nothing happens.

    Args:
        status: FINISHED, FAILED or KILLED.
    """
    current = _only_run()
    if current is not None:
        current.end(str(status))


def active_run() -> Run | None:
    """Give the run that this thread or task is in, None where it is in none."""
    return run.active()


def log_param(key: str, value: Any) -> Any:
    """Record a param of the active run; see ``Run.log_param``."""
    return _target().log_param(key, value)


def log_params(params: Mapping[str, Any]) -> None:
    """Record several params of the active run; see ``Run.log_params``."""
    _target().log_params(params)


def log_metric(key: str, value: float, step: int | None = None, timestamp: int | None = None) -> None:
    """Record a point of a metric of the active run; see ``Run.log_metric``."""
    _target().log_metric(key, value, step, timestamp)


def log_metrics(metrics: Mapping[str, float], step: int | None = None, timestamp: int | None = None) -> None:
    """Record a point of several metrics of the active run; see ``Run.log_metrics``."""
    _target().log_metrics(metrics, step, timestamp)


def set_tag(key: str, value: Any) -> None:
    """Set a tag of the active run; see ``Run.set_tag``."""
    _target().set_tag(key, value)


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set several tags of the active run; see ``Run.set_tags``."""
    _target().set_tags(tags)


def log_artifact(local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Copy a file or a folder into the active run's artifacts; see ``Run.log_artifact``."""
    _target().log_artifact(local_path, artifact_path)


def log_artifacts(local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Copy what is in a folder into the active run's artifacts; see ``Run.log_artifacts``."""
    _target().log_artifacts(local_dir, artifact_path)


def log_text(text: str, artifact_file: str) -> None:
    """Write a text as an artifact of the active run; see ``Run.log_text``."""
    _target().log_text(text, artifact_file)


def get_run(run_id: str, *, tracking_uri: str | os.PathLike[str] | None = None) -> RunRecord:
    """Read a run back.

    Args:
        run_id: its id; that of another's run in a place that gives ids of its own is taken too.
        tracking_uri: where to look: a folder, or the URI of a place; on this machine unless given, where every run is.

    Raises:
        TypeError: ``run_id`` is no text.
        StoreError: there is no such run, or the place cannot be read.
    """
    if not isinstance(run_id, str):
        message = f"run_id is {run_id!r}; the id of a run, a text, is expected"
        raise TypeError(message)
    return _read(tracking_uri, lambda elsewhere: _record(run_id, elsewhere, tracking_uri))


def search_runs(
    experiment_names: Sequence[str] | None = None,
    max_results: int | None = None,
    *,
    filter_string: str = "",
    order_by: Sequence[str] | None = None,
    page_token: str | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
) -> RunPage:
    """Read runs back, newest first unless another order is asked for.

    Args:
        experiment_names: only runs of these experiments; all unless given.
        max_results: at most so many; all unless given.
        filter_string: only runs that fit, as MLflow's ``search_runs`` takes it: ``"metrics.loss < 0.1 AND
            tags.mlflow.user = 'ada'"``.
        order_by: by which keys, as MLflow takes them: ``["metrics.loss ASC", "start_time DESC"]``.
        page_token: the ``token`` of the page before, for those after it.
        tracking_uri: where to look: a folder, or the URI of a place; on this machine unless given, where every run is.

    Returns:
        The runs, a list; its ``token`` asks for those after them, None where there are none.

    Raises:
        ValueError: the filter, an ordering or the page token is none; the message says where.
        StoreError: the place cannot be read.
    """
    from runcontext.tracking import reading
    from runcontext.tracking.store import Query

    names = (experiment_names,) if isinstance(experiment_names, str) else experiment_names
    order = (order_by,) if isinstance(order_by, str) else tuple(order_by or ())
    query = Query(None if names is None else tuple(names), filter_string, order, max_results, page_token)

    def found(elsewhere: TrackingStore | None) -> RunPage:
        return reading.search(current_store(tracking_uri), query) if elsewhere is None else elsewhere.search_runs(query)

    return _read(tracking_uri, found)


def list_artifacts(
    run_id: str, path: str | None = None, *, tracking_uri: str | os.PathLike[str] | None = None
) -> list[ArtifactInfo]:
    """List what is directly in a folder of a run's artifacts, sorted by path.

    Args:
        run_id: the run.
        path: the folder; the root unless given.
        tracking_uri: where to look: a folder, or the URI of a place; on this machine unless given.

    Raises:
        StoreError: there is no such run, or the place cannot be read.
    """
    from runcontext.artifacts import reading

    def listed(elsewhere: TrackingStore | None) -> list[ArtifactInfo]:
        with reading.artifacts_of(_record(run_id, elsewhere, tracking_uri), elsewhere) as repository:
            return list(repository.list_artifacts(path))

    return _read(tracking_uri, listed)


def download_artifacts(
    run_id: str,
    artifact_path: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
    *,
    tracking_uri: str | os.PathLike[str] | None = None,
) -> Path:
    """Fetch artifacts of a run, and give the local path of what was asked for.

    Args:
        run_id: the run.
        artifact_path: a file, or a folder with all that is in it; everything unless given.
        dst_path: the folder to write into, made where it is missing: ``artifact_path`` is kept below it. Unless given
            it is where the artifacts lie, of a run on this machine, and else a new temporary folder, yours to remove.
        tracking_uri: where to look: a folder, or the URI of a place; on this machine unless given.

    Raises:
        StoreError: there is no such run or artifact, or something did not arrive whole.
    """
    from pathlib import Path

    from runcontext.artifacts import reading

    folder = None if dst_path is None else os.fspath(dst_path)

    def fetched(elsewhere: TrackingStore | None) -> Path:
        return Path(reading.download(_record(run_id, elsewhere, tracking_uri), elsewhere, artifact_path, folder))

    return _read(tracking_uri, fetched)


def set_tracking_uri(uri: str | os.PathLike[str] | None) -> None:
    """Choose where later runs of this process go: a folder, or the URI of a place; None for the default place."""
    global _tracking_uri  # noqa: PLW0603 - MLflow's interface: one place a process
    _tracking_uri = None if uri is None else os.fspath(uri)


def get_tracking_uri() -> str:
    """Give where runs go now: a folder, or the URI of a place, without its credentials.

    Raises:
        StoreError: there is no default place here, or the one that was chosen cannot be.
    """
    store, elsewhere = current_destination(None)
    if elsewhere is None:
        return store.uri
    from runcontext.redaction import redact_url

    return redact_url(elsewhere)


def set_experiment(experiment_name: str) -> None:
    """Choose the experiment that later runs of this process belong to."""
    global _experiment_name  # noqa: PLW0603 - as above
    _experiment_name = experiment_name


def resolve_context(
    *, tags: Mapping[str, Any] | None = None, providers: Sequence[Any] | None = None, timeout: float | None = None
) -> Context:
    """Capture the context of this process, without a run; attachments are only measured.

    Args:
        tags: tags that override every captured fact.
        providers: only these, names or objects; all unless given.
        timeout: seconds to wait at most; RUNCONTEXT_TIMEOUT, or 5, unless given.

    Raises:
        ProviderError: with RUNCONTEXT_STRICT=1, when a provider failed.
        ValueError, TypeError: a tag is ill-formed, or ``providers`` lists what is no provider.
    """
    from runcontext.record import Context

    current = Settings.current(working_directory())
    if timeout is not None:
        current = current.with_environment({"RUNCONTEXT_TIMEOUT": str(timeout)})
    under_way = capture.Capture(
        current,
        named=None if providers is None else list(providers),
        caller_tags=run.checked_tags(tags or {}),
    )
    under_way.begin()
    under_way.wait()
    under_way.finish()
    under_way.raise_problems()
    return Context.from_json(under_way.row())


def current_store(tracking_uri: str | os.PathLike[str] | None) -> local.LocalStore:
    """Give the local store of a tracking URI, or of the one that runs go to now."""
    return current_destination(tracking_uri)[0]


def current_destination(tracking_uri: str | os.PathLike[str] | None) -> tuple[local.LocalStore, str | None]:
    """Give the local store of a tracking URI, or of the one that runs go to now, and where they are sent besides."""
    folder = working_directory()
    settings = Settings.current(folder)
    return destination.of(tracking_uri or _tracking_uri or settings.tracking_uri, settings, folder)


def _read(tracking_uri: str | os.PathLike[str] | None, read: Callable[[TrackingStore | None], _Read]) -> _Read:
    """Give what ``read`` finds in a place, which is None where it is a folder of this machine."""
    elsewhere = _elsewhere(tracking_uri)
    try:
        return read(elsewhere)
    finally:
        if elsewhere is not None:
            elsewhere.close()


def _record(run_id: str, elsewhere: TrackingStore | None, tracking_uri: str | os.PathLike[str] | None) -> RunRecord:
    from runcontext.tracking import reading

    return reading.get_run(current_store(tracking_uri), run_id) if elsewhere is None else elsewhere.get_run(run_id)


def _elsewhere(tracking_uri: str | os.PathLike[str] | None) -> TrackingStore | None:
    """Give the place to read from that is none of this machine's folders; None where it is one."""
    if tracking_uri is None or destination.is_local(os.fspath(tracking_uri)):
        return None
    from runcontext.tracking import places

    # A reader goes by the settings of this moment, not by those of the last run.
    put_in_force(Settings.current(working_directory()))
    return places.open_store(destination.absolute(os.fspath(tracking_uri), working_directory()))


def _target() -> Run:
    found = _only_run()
    if found is None:
        caller = sys._getframe(1).f_code.co_name
        message = f"{caller}(): no run is active; start one with `with runcontext.start_run():`"
        raise RuntimeError(message)
    return found


def _only_run() -> Run | None:
    """Give the active run; in a thread or a cell that is in none, the process's only open one."""
    found = run.active()
    if found is not None:
        return found
    candidates = list(run.open_runs())
    if len(candidates) > 1:
        names = ", ".join(f"{each.run_id[-8:]} {each.run_name}" for each in candidates)
        message = f"{len(candidates)} runs are open and none is active here: call it on the Run itself ({names})"
        raise RuntimeError(message)
    return candidates[0] if candidates else None
