"""Reads runs back: identity, journals and context of a folder merged into one record.

A reader takes what is there: a torn last line, a run whose context is still on its way, a folder that somebody is
deleting. It never raises for one bad run, and it writes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType

from runcontext import codec, log, process, ranks, resolution
from runcontext.errors import StoreError
from runcontext.mirror import state as mirror_state
from runcontext.record import Context, RunRecord, RunStatus
from runcontext.tracking import local
from runcontext.tracking.journal import NO_EVENT, event_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from runcontext.tracking.local import LocalStore
    from runcontext.tracking.store import Query, RunPage

_LATEST_AT_END_MILLISECONDS = 90_000
"""Longer than any companion waits for what is said at the end of a run."""


def get_run(store: LocalStore, run_id: str) -> RunRecord:
    """Give the run of this id.

    Raises:
        StoreError: there is no such run in ``store``.
    """
    # What is no name of a folder must not lead out of the store.
    is_name = run_id == os.path.basename(run_id) and run_id not in {"", os.curdir, os.pardir}
    record = read_run(store.run_path(run_id)) if is_name else None
    if record is None:
        message = f"no run {run_id!r} in {store.path}"
        raise StoreError(message)
    return record


def search(store: LocalStore, query: Query) -> RunPage:
    """Give one page of the runs of ``store`` that fit, the latest start first unless another order is asked for.

    Raises:
        ValueError: the filter, an ordering or the page token is none; the message says where.
    """
    from runcontext.tracking import local_search

    return local_search.search_runs(store, query)


def search_runs(
    store: LocalStore, *, experiment_names: Sequence[str] | None = None, max_results: int | None = None
) -> RunPage:
    """Give the runs of ``store``, newest first.

    Args:
        store: where to look.
        experiment_names: only runs of these experiments; None for all.
        max_results: at most so many; None for all.
    """
    from runcontext.tracking.store import Query

    names = None if experiment_names is None else tuple(experiment_names)
    return search(store, Query(experiment_names=names, max_results=max_results))


def find_run(store: LocalStore, words: str) -> RunRecord:
    """Give the run that a person means: a unique beginning or ending of its id, its name, or ``latest``.

    Raises:
        StoreError: none or several fit; the message lists them.
    """
    from runcontext.tracking import local_search
    from runcontext.tracking.finding import LATEST, NO_RUNS, the_only
    from runcontext.tracking.store import Query

    ids = sorted(local_search.run_ids(store), reverse=True)
    if not ids:
        message = NO_RUNS.format(store.path)
        raise StoreError(message)
    if words == LATEST:
        # Of runs that started in one millisecond the last has the highest id.
        found = local_search.latest(store, Query(max_results=1))
        return the_only(sorted(found, key=lambda run: (run.start_time, run.run_id))[-1:], words, store.path)
    fitting = [each for each in ids if each.startswith(words.lower()) or each.endswith(words.lower())]
    if fitting:
        return the_only([get_run(store, each) for each in fitting], words, store.path)
    return the_only([run for run in search_runs(store) if run.run_name == words], words, store.path)


def read_context(store: LocalStore, run_id: str) -> Context | None:
    """Give the context of a run as far as it is on disk, None where none of it is."""
    return context_in(store.run_path(run_id))


def context_in(path: str | os.PathLike[str]) -> Context | None:
    """Give the context that a run's folder holds, as far as it is there, None where none of it is."""
    row = context_row(os.fspath(path))
    return None if row is None else Context.from_json(row, Path(path) / "artifacts")


def final_status(path: str) -> Mapping[str, Any] | None:
    """Give the last status event that a run's own processes wrote, None while there is none."""
    found = [event for event in _events(path) if "status" in event]
    return found[-1] if found and found[-1]["status"] != "RUNNING" else None


def fatal_signal(path: str) -> str | None:
    """Give the signal whose record in a run's folder says that it ended the program."""
    for name in local.FATAL_SIGNALS:
        try:
            if os.path.getsize(os.path.join(path, f"{name}.txt")):
                return name
        except OSError:
            continue
    return None


def read_run(path: str, experiment_names: Sequence[str] | None = None) -> RunRecord | None:
    """Give the run in a folder; None where there is none that can be read, or it is of another experiment."""
    try:
        identity = json_file(os.path.join(path, "run.json"))
        if identity is None or (experiment_names is not None and identity["experiment_name"] not in experiment_names):
            return None
        return _record(path, identity)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warn_once(f"the run in {path} cannot be read ({type(error).__name__}: {error}): it is left out")
        return None


def _record(path: str, identity: Mapping[str, Any]) -> RunRecord:
    state = state_of(path, identity)
    context = context_row(path)
    status, end_time, reason = ending(path, identity, state)
    end_tags = {local.END_REASON_TAG: reason} if reason else {}
    return RunRecord(
        run_id=identity["run_id"],
        run_name=state.tags.get("mlflow.runName") or identity["run_name"],
        experiment_name=identity["experiment_name"],
        status=RunStatus(status),
        start_time=identity["start_time"],
        end_time=end_time,
        tags=MappingProxyType({**(context["tags"] if context else {}), **end_tags, **state.tags}),
        params=MappingProxyType(state.params),
        metrics=MappingProxyType({name: point[2] for name, point in state.metrics.items()}),
        parent_run_id=identity.get("parent_run_id"),
        last_event_time=state.last_time,
        path=Path(path),
        **_elsewhere(path, identity),
    )


def _elsewhere(path: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Give where a run's artifacts are, and what is known of it at the place that it is sent to, if any."""
    found = mirror_state.read(path)
    here = os.path.join(path, "artifacts")
    if found is None:
        return {"artifact_uri": here, **({"is_mirrored": False} if identity.get("tracking_uri") else {})}
    return {
        "remote_id": found.remote_id,
        "url": found.url,
        "artifact_uri": found.artifact_uri or here,
        "is_mirrored": mirror_state.is_all_sent(path, found),
    }


def state_of(path: str, identity: Mapping[str, Any]) -> RunState:
    """Give what all events of a run add up to, by time."""
    state = RunState(identity)
    for event in _events(path):
        state.apply(event)
    return state


class RunState:
    """What a run's events add up to."""

    def __init__(self, identity: Mapping[str, Any]) -> None:
        """Begin with what run.json says."""
        self.tags: dict[str, str] = dict(identity["tags"])
        self.params: dict[str, str] = {}
        self.metrics: dict[str, tuple[int, int, float]] = {}
        self.status: Mapping[str, Any] | None = None
        self.last_time: int = identity["start_time"]

    def apply(self, event: Mapping[str, Any]) -> None:
        """Add one event; those of all journals come by time."""
        time = event["t"]
        # A copy of a run (``runcontext.tracking.folder``) says when what it holds happened.
        self.last_time = max(self.last_time, event.get("as_of", time))
        self.tags.update(event.get("tags", {}))
        self.params.update(event.get("params", {}))
        for name, value in event.get("metrics", {}).items():
            self._add_point(name, event.get("step", 0), event.get("at", time), value)
        for point in event.get("points", ()):
            self._add_point(*point)
        if "status" in event:
            self.status = event

    def _add_point(self, name: str, step: int, timestamp: int, value: float | str) -> None:
        if name not in self.metrics or (step, timestamp) >= self.metrics[name][:2]:
            self.metrics[name] = step, timestamp, float(value)


def ending(path: str, identity: Mapping[str, Any], state: RunState) -> tuple[str, int | None, str | None]:
    """Give status, end time and reason: from the record of the run's end, else from what became of its process."""
    if state.status is not None and state.status["status"] != "RUNNING":
        return state.status["status"], state.status.get("end_time", state.status["t"]), state.status.get("reason")
    if state.status is not None:
        # Resumed: it is the resuming process that may have died.
        identity = state.status["process"]
    signal = fatal_signal(identity.get("signal_records") or path)
    if signal is not None and process.is_gone(identity):
        return "KILLED", state.last_time, signal
    if process.is_gone(identity):
        return "LOST", state.last_time, "the process ended without a word"
    return "RUNNING", None, None


def _events(path: str) -> list[Mapping[str, Any]]:
    """Give the events of all journals by time; those of one journal keep their order."""
    found = [event for journal in journals(path) for event in _lines(journal)]
    found.sort(key=lambda event: event["t"])
    return found


def journals(path: str) -> list[str]:
    """Give the journals in a run's folder."""
    folder = os.path.join(path, "events")
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".jsonl")]
    except OSError:
        return []


def _lines(journal: str) -> Iterator[Mapping[str, Any]]:
    with open(journal, "rb") as file:
        for line in file:
            event = event_in(line)
            if event is not NO_EVENT:
                yield event


def context_row(path: str) -> dict[str, Any] | None:
    """Give a run's context as JSON holds it, of all its processes, None where none of it is on disk."""
    first = json_file(os.path.join(path, local.CONTEXT_FILE))
    second = json_file(os.path.join(path, local.JOINED_CONTEXT_FILE))
    row = first or second if first is None or second is None else resolution.joined(first, second)
    return row if row is None else with_ranks(path, _at_last(path, row))


def with_ranks(path: str, row: dict[str, Any]) -> dict[str, Any]:
    """Give a run's context with what differs on the other ranks of its distributed job, where it has any."""
    try:
        ranks_here = {local.rank_of_context_file(name): name for name in os.listdir(path)}
    except OSError:
        return row
    others = {rank: _other_context(os.path.join(path, name)) for rank, name in ranks_here.items() if rank is not None}
    read = {rank: other for rank, other in others.items() if other is not None}
    return ranks.compared(row, read) if read else row


def _other_context(file: str) -> dict[str, Any] | None:
    try:
        row = json_file(file)
        return row if row is not None and row["tags"] is not None and row["outcomes"] is not None else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warn_once(f"{file} cannot be read ({type(error).__name__}: {error}): what differs there is not known")
        return None


def _at_last(path: str, row: dict[str, Any]) -> dict[str, Any]:
    """Give a context whose companion is gone, as in a container that ended, without hope for what was pending."""
    if not any(map(resolution.is_pending_at_end, row["outcomes"].values())):
        return row
    final = final_status(path)
    if final is not None:
        is_late = resolution.now_milliseconds() - final["t"] > _LATEST_AT_END_MILLISECONDS
        status, reason = "timed_out", "no answer after the end of the run"
    else:
        is_late = process.is_gone(json_file(os.path.join(path, "run.json")) or {})
        status, reason = "absent", "the run did not end by itself"
    return {**row, "outcomes": resolution.settled_at_end(row["outcomes"], status, reason)} if is_late else row


def context_file(path: str, name: str) -> dict[str, Any] | None:
    """Give one of the contexts in a run's folder as it is on disk, None where it cannot be read."""
    try:
        return json_file(os.path.join(path, name))
    except (OSError, ValueError, TypeError):
        return None


def json_file(path: str) -> dict[str, Any] | None:
    """Give the JSON object in a file, None where there is no file; raises OSError, ValueError, TypeError."""
    try:
        with open(path, "rb") as file:
            found = codec.loads(file.read().decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(found, dict):
        message = f"{path} holds no JSON object"
        raise TypeError(message)
    return found
