"""An MLflow tracking server as a place of runs, spoken to over its REST API, without MLflow installed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runcontext import log, redaction
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.record import RunStatus
from runcontext.tracking.http import ServerRefusalError, ServerSession
from runcontext.tracking.mlflow import rows, searching, sending
from runcontext.tracking.mlflow.rest import ABSENT, ALREADY_THERE, MLflowRest
from runcontext.tracking.mlflow.rows import is_deleted
from runcontext.tracking.store import STATUS_TAG, Batch, BatchLimits, StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.record import RunRecord
    from runcontext.tracking.mlflow.rest import Row
    from runcontext.tracking.mlflow.session import MLflowSession
    from runcontext.tracking.store import NewRun, Query, Refusal, RunPage, RunUpdate


class MLflowServerStore:
    """The runs of one MLflow tracking server.

    A run is found again by the id that it got there, and as long as nobody knows that by its tag ``runcontext.run_id``,
    so that it is there once whatever became of an answer.

    Args:
        uri: the tracking URI, ``https://HOST[:PORT][/PATH]``.
        session: what answers its requests; the server itself unless given.
    """

    def __init__(self, uri: str, *, session: MLflowSession | None = None) -> None:
        """Read the settings; nothing is asked of the server yet.

        Raises:
            StoreError: the URI is malformed, or a variable of MLflow's cannot be used.
        """
        self._tracking_uri = uri
        self._server: MLflowSession = ServerSession(uri) if session is None else session
        self._reader = MLflowRest(self._server, is_patient=True)
        # Who writes comes again by himself.
        self._writer = MLflowRest(self._server, is_patient=False)
        self._experiment_names: dict[str, str] = {}
        self._parents: dict[str, tuple[str, str | None]] = {}
        self._unsure: set[str] = set()

    @property
    def uri(self) -> str:
        """The tracking URI, fit to be shown."""
        return self._server.uri

    @property
    def limits(self) -> BatchLimits:
        """What runs/log-batch takes."""
        return BatchLimits()

    # --- writing ------------------------------------------------------------------------------------------------

    def create_run(self, run: NewRun) -> StoredRun:
        """Give the run of ``run.run_id``, making it and its experiment where they are not there.

        Raises:
            StoreUnavailableError: not now; asked again it makes no second run.
            StoreError: the experiment or the run was deleted there, or the server refuses.
        """
        run = replace(run, parent_remote_id=self._parent_remote_id(run))
        known = self._on_record(run)
        # Its experiment may have another name by now.
        experiment_id = self._experiment_of(run) if known is None else str(known["info"]["experiment_id"])
        found = self._writer.runs_with_id(run.run_id, [experiment_id])
        if known is None:
            found = found or self._make(run, experiment_id)
        row = known or self._alive(run.run_id, found)[0]
        self._delete_empty_twins(run, row, found)
        if run.parent_run_id is not None:
            self._parents[run.run_id] = (run.parent_run_id, run.parent_remote_id)
        info = row["info"]
        stored = StoredRun(run.run_id, info["run_id"], self._url(info), info.get("artifact_uri") or None)
        self._complete(stored, run, rows.tags_of(row))
        return stored

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Take a batch; give what the server will never take, after all the rest is in.

        Raises:
            StoreUnavailableError: some of it may be in; it is to be sent again as a repeat.
            StoreError: the run is gone, or the server refuses all of it.
        """
        tags = rows.sent_tags(batch.tags, self._parents.get(run.run_id))
        return sending.send(self._writer, run, replace(batch, tags=tags), self.limits)

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Record how a run stands; LOST, which MLflow has no word for, is FAILED with a tag.

        Raises:
            StoreUnavailableError: it may or may not be recorded; to send it again does no harm.
            StoreError: the run is gone, or the server refuses.
        """
        is_lost = update.status is RunStatus.LOST
        if is_lost:
            self._writer.post("runs/set-tag", {"run_id": run.remote_id, "key": STATUS_TAG, "value": "LOST"})
        body: dict[str, Any] = {"run_id": run.remote_id, "status": rows.sent_status(update.status)}
        if update.end_time is not None:
            body["end_time"] = update.end_time
        if update.run_name:
            body["run_name"] = update.run_name
        self._writer.post("runs/update", body)
        if not is_lost:
            self._delete_tag(run, STATUS_TAG)

    def _parent_remote_id(self, run: NewRun) -> str | None:
        """Give the id of a run's parent here, also of a run that is the server's own or was sent from elsewhere."""
        if run.parent_run_id is None or run.parent_remote_id is not None:
            return run.parent_remote_id
        try:
            row = self._writer.run(run.parent_run_id)
        except ServerRefusalError:
            # Who may not see the parent makes the child nevertheless.
            return None
        if row is not None:
            return str(row["info"]["run_id"])
        everywhere = [str(each["experiment_id"]) for each in self._writer.experiments()]
        found = self._writer.runs_with_id(run.parent_run_id, everywhere)
        alive = [each for each in found if not is_deleted(each["info"])]
        return str(_fullest_first(alive)[0]["info"]["run_id"]) if alive else None

    def _on_record(self, run: NewRun) -> Row | None:
        """Give the run that this one is known to be here, None where nobody knows of any."""
        if run.remote_id is None:
            return None
        row = self._writer.run(run.remote_id)
        if row is None:
            message = (
                f"run {run.run_id} was {run.remote_id} at {self.uri}, and that is gone; delete mirror.json and"
                " mirror.artifacts.jsonl in its folder to have it sent anew"
            )
            raise StoreError(message)
        if is_deleted(row["info"]):
            # It may have been deleted with its experiment, which is to be restored first.
            self._check_experiment(self._writer.experiment(row["info"]["experiment_id"]))
        return self._alive(run.run_id, [row])[0]

    def _experiment_of(self, run: NewRun) -> str:
        if run.experiment_id is not None:
            row = self._writer.experiment(run.experiment_id)
        else:
            row = self._writer.experiment_named(run.experiment_name) or self._make_experiment(run)
        if row is None:
            message = f"there is no experiment {run.experiment_id or run.experiment_name!r} at {self.uri}; name another"
            raise StoreError(message)
        self._check_experiment(row)
        return str(row["experiment_id"])

    def _check_experiment(self, row: Row | None) -> None:
        if row is not None and is_deleted(row):
            message = (
                f"experiment {row['name']!r} was deleted at {self.uri}: restore it there (`mlflow experiments restore"
                f" --experiment-id {row['experiment_id']}`), or choose another name"
            )
            raise StoreError(message)

    def _make_experiment(self, run: NewRun) -> Row | None:
        body = {"name": run.experiment_name}
        if run.artifact_uri is not None:
            body["artifact_location"] = run.artifact_uri
        try:
            made = self._writer.post("experiments/create", body)
        except ServerRefusalError as error:
            if error.error_code != ALREADY_THERE:
                raise
            # Another process was faster.
            return self._writer.experiment_named(run.experiment_name)
        return {"experiment_id": self._writer.field(made, "experiment_id")}

    def _make(self, run: NewRun, experiment_id: str) -> list[Row]:
        """Make a run, and give it with those that came of what was given up before."""
        try:
            body = rows.creation(run, experiment_id)
            made = [self._writer.field(self._writer.post("runs/create", body), "run")]
        except StoreUnavailableError:
            self._unsure.add(run.run_id)
            raise
        if run.run_id in self._unsure:
            # What was given up may have been done meanwhile.
            made = self._writer.runs_with_id(run.run_id, [experiment_id]) or made
        self._unsure.discard(run.run_id)
        return made

    def _delete_empty_twins(self, run: NewRun, used: Row, found: Iterable[Row]) -> None:
        """Delete what lost answers have made beside the run that all go by; it is as it was made, and nothing more."""
        used_id = used["info"]["run_id"]
        for twin in found:
            remote_id = twin["info"]["run_id"]
            if remote_id == used_id or is_deleted(twin["info"]):
                continue
            if not rows.is_as_made(twin, run) or not self._is_deleted_now(remote_id):
                log.warn_once(
                    f"run {run.run_id} is at {self.uri} twice: as {used_id}, which is used, and as {remote_id}"
                )

    def _is_deleted_now(self, remote_id: str) -> bool:
        try:
            self._writer.post("runs/delete", {"run_id": remote_id})
        except StoreUnavailableError:
            raise
        except StoreError:
            # Not everybody who may make a run may delete one, and not every store can.
            return False
        return True

    def _complete(self, stored: StoredRun, run: NewRun, known: Mapping[str, str]) -> None:
        """Add the tags that are too long to be sent with the run, or that an attempt which was cut off left out."""
        missing = {key: value for key, value in rows.tags_of_new(run).items() if key not in known}
        if missing:
            for refusal in self.log_batch(stored, Batch(0, tags=missing)):
                log.warn_once(f"{self.uri} refuses the tag {refusal.key!r} of run {run.run_id}: {refusal.reason}")

    def _delete_tag(self, run: StoredRun, key: str) -> None:
        # To ask first keeps a server's log free of refusals; another process may have set it since we last looked.
        if key not in rows.tags_of(self._writer.run(run.remote_id) or {}):
            return
        try:
            self._writer.post("runs/delete-tag", {"run_id": run.remote_id, "key": key})
        except ServerRefusalError as error:
            if error.error_code != ABSENT:
                raise

    # --- reading ------------------------------------------------------------------------------------------------

    def get_run(self, run_id: str) -> RunRecord:
        """Give the run of this id: ours, or the server's own.

        Raises:
            StoreError: there is no such run, or it was deleted.
        """
        row = self._reader.run(run_id)
        found = self._reader.runs_with_id(run_id, self._all_experiments()) if row is None else [row]
        if not found:
            message = f"no run {run_id!r} at {self.uri}"
            raise StoreError(message)
        return self._record(self._alive(run_id, found)[0])

    def search_runs(self, query: Query) -> RunPage:
        """Give the runs that fit.

        Raises:
            ValueError: the filter, an ordering or the page token is none; the message says where.
            StoreError: the server cannot be asked.
        """
        return searching.found(
            query, lambda: self._experiments_of(query), lambda body: map(self._record, self._reader.runs(body))
        )

    def artifacts(self, run: StoredRun) -> ArtifactRepository:
        """Give the place of a run's artifacts.

        Raises:
            StoreError: its artifact URI has a scheme that nothing here serves.
        """
        from runcontext.artifacts.places import open_repository
        from runcontext.artifacts.server_paths import check_is_here

        artifact_uri = run.artifact_uri
        if artifact_uri is None or redaction.MARK in artifact_uri:
            row = self._reader.run(run.remote_id)
            artifact_uri = None if row is None else row["info"].get("artifact_uri")
        if not artifact_uri:
            message = f"{self.uri} names no place for the artifacts of run {run.run_id}"
            raise StoreError(message)
        check_is_here(artifact_uri, self.uri)
        return open_repository(artifact_uri, tracking_uri=self._tracking_uri)

    def close(self) -> None:
        """Let go of connections."""
        self._server.close()

    def _alive(self, run_id: str, found: Sequence[Row]) -> Sequence[Row]:
        """Give the runs that were not deleted: the fullest first, of equals one that has ended, and the first by id."""
        alive = [row for row in found if not is_deleted(row["info"])]
        if not alive:
            restore = f"`mlflow runs restore --run-id {found[0]['info']['run_id']}`"
            message = f"run {run_id} was deleted at {self.uri}: restore it there ({restore})"
            raise StoreError(message)
        return _fullest_first(alive)

    def _record(self, row: Row) -> RunRecord:
        info = row["info"]
        return rows.record_of(row, self._experiment_name(info["experiment_id"]), self._url(info))

    def _url(self, info: Row) -> str | None:
        base = self._server.base_url
        return None if base is None else f"{base}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}"

    def _experiments_of(self, query: Query) -> Sequence[str]:
        if query.experiment_names is None:
            return self._all_experiments()
        named = [self._reader.experiment_named(name) for name in dict.fromkeys(query.experiment_names)]
        return self._remembered([row for row in named if row is not None and not is_deleted(row)])

    def _all_experiments(self) -> list[str]:
        return self._remembered(list(self._reader.experiments()))

    def _remembered(self, experiments: Sequence[Row]) -> list[str]:
        names = {str(row["experiment_id"]): str(row["name"]) for row in experiments}
        self._experiment_names.update(names)
        return list(names)

    def _experiment_name(self, experiment_id: str) -> str:
        if experiment_id not in self._experiment_names:
            row = self._reader.experiment(experiment_id)
            self._experiment_names[experiment_id] = experiment_id if row is None else str(row["name"])
        return self._experiment_names[experiment_id]


def _fullest_first(found: Iterable[Row]) -> list[Row]:
    return sorted(found, key=lambda row: (-rows.weight(row), rows.is_running(row), row["info"]["run_id"]))
