"""The local store behind the interface of all stores: a ``.runcontext`` folder as a place that runs are copied to.

A copy has the files of any run of the local store (``runcontext.tracking.local``), so that every reader of them reads
it. Its run.json names no process, and its one journal has a line for each batch: whole or torn, so that a batch is
there once or not at all, and its sequence number beside it, so that it is not taken again.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from runcontext import codec, locks
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.project import working_directory
from runcontext.record import json_number
from runcontext.tracking import local, local_search, reading
from runcontext.tracking.journal import NO_EVENT, event_in
from runcontext.tracking.local import LocalStore, RunFolder
from runcontext.tracking.store import BatchLimits, StoredRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.record import RunRecord
    from runcontext.tracking.store import Batch, NewRun, Query, Refusal, RunPage, RunUpdate

_JOURNAL = "events/copy.jsonl"
_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_RUN_NAME_TAG = "mlflow.runName"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")
"""MLflow's rule for run ids (``mlflow/utils/validation.py``, ``_RUN_ID_REGEX``), in ASCII: they name folders here."""

_LIMITS = BatchLimits(
    metrics=10_000,
    params=10_000,
    tags=10_000,
    total=10_000,
    bytes=8 * 1024 * 1024,
    param_characters=1_000_000,
    tag_characters=1_000_000,
)


class FolderStore:
    """Runs in a folder, for whoever writes or reads them as in any other place.

    Args:
        uri: the folder, a path or a ``file:`` URI; a relative one begins at the working directory.

    Raises:
        StoreError: it names no folder.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        """Name the folder; nothing is touched yet."""
        self._store = LocalStore.at(uri, working_directory())
        self._journals: dict[str, _CopyJournal] = {}

    @property
    def uri(self) -> str:
        """The folder's path."""
        return self._store.uri

    @property
    def limits(self) -> BatchLimits:
        """How much it takes at once."""
        return _LIMITS

    def create_run(self, run: NewRun) -> StoredRun:
        """Give the run of ``run.run_id``, making it where it is not there.

        Raises:
            StoreError: its id is not fit to name a folder, or says another time than its start.
        """
        self._check_id(run)
        folder = RunFolder(self._store.run_path(run.run_id), _identity(run))
        with _Writing(folder.path):
            if not os.path.isfile(folder.file("run.json")):
                # Another process that makes it at this moment writes the same.
                folder.restore()
        return self._stored(run.run_id)

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Take a batch, once; nothing of one is ever refused."""
        points = [[each.key, each.step, each.timestamp, json_number(each.value)] for each in batch.metrics]
        event = {
            "sequence": batch.sequence,
            "as_of": max((each.timestamp for each in batch.metrics), default=0),
            **({"points": points} if points else {}),
            **({"params": dict(batch.params)} if batch.params else {}),
            **({"tags": dict(batch.tags)} if batch.tags else {}),
        }
        with _Writing(self._store.run_path(run.run_id)):
            self._journal(run).append(event, once_as=batch.sequence)
        return ()

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Record how a run stands."""
        event = {
            "status": update.status.value,
            "end_time": update.end_time,
            "as_of": update.end_time or 0,
            # Nobody is to look for the process of a copy.
            "process": {},
            "tags": {_RUN_NAME_TAG: update.run_name},
        }
        with _Writing(self._store.run_path(run.run_id)):
            self._journal(run).append(event)

    def get_run(self, run_id: str) -> RunRecord:
        """Give the run of this id.

        Raises:
            StoreError: there is no such run.
        """
        if _RUN_ID.fullmatch(run_id) is None:
            message = f"no run {run_id!r} in {self.uri}: a run id is of letters, digits, - and _"
            raise StoreError(message)
        return reading.get_run(self._store, run_id)

    def search_runs(self, query: Query) -> RunPage:
        """Give the runs that fit.

        Raises:
            ValueError: the filter, an ordering or the page token is none; the message says where.
        """
        return local_search.search_runs(self._store, query)

    def artifacts(self, run: StoredRun) -> ArtifactRepository:
        """Give the place of a run's artifacts: a folder within the run's."""
        from runcontext.artifacts.local import LocalRepository

        return LocalRepository(os.path.join(self._store.run_path(run.run_id), "artifacts"))

    def close(self) -> None:
        """Let go of nothing: no file stays open."""

    def _check_id(self, run: NewRun) -> None:
        if _RUN_ID.fullmatch(run.run_id) is None:
            message = f"run id {run.run_id!r} cannot name a folder in {self.uri}: letters, digits, - and _ are expected"
            raise StoreError(message)
        made_at = local.time_of_run_id(run.run_id)
        if made_at is not None and not made_at <= run.start_time <= made_at + local_search.LONGEST_TO_MAKE_MILLISECONDS:
            message = (
                f"run {run.run_id} is said to have started at {run.start_time} ms, and its id says {made_at}: "
                f"{self.uri} finds the latest runs by their ids; the id that was made when it started is expected"
            )
            raise StoreError(message)

    def _stored(self, run_id: str) -> StoredRun:
        artifact_uri = os.path.join(self._store.run_path(run_id), "artifacts")
        return StoredRun(run_id=run_id, remote_id=run_id, url=None, artifact_uri=artifact_uri)

    def _journal(self, run: StoredRun) -> _CopyJournal:
        path = self._store.run_path(run.run_id)
        if not os.path.isfile(os.path.join(path, "run.json")):
            message = f"no run {run.run_id!r} in {self.uri}"
            raise StoreError(message)
        return self._journals.setdefault(run.run_id, _CopyJournal(os.path.join(path, _JOURNAL), run.run_id))


class _CopyJournal:
    """The journal of a copy, which any process may write, one after the other."""

    def __init__(self, path: str, run_id: str) -> None:
        self._path = path
        self._run_id = run_id
        self._taken: set[int] = set()
        self._read_until = 0
        self._last_ms = 0

    def append(self, event: Mapping[str, Any], *, once_as: int | None = None) -> None:
        """Write one event, unless one of this sequence number is there; raises OSError."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with open(os.open(self._path, _APPENDING, 0o666), "rb") as file:
            locks.lock(file.fileno(), is_waiting=True)
            is_torn = self._take_in(file)
            if once_as is not None and once_as in self._taken:
                return
            self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
            header = b"" if self._read_until else _line({"schema": local.SCHEMA, "run_id": self._run_id})
            line = _line({"t": self._last_ms, **event})
            _write_all(file.fileno(), (b"\n" if is_torn else b"") + header + line)

    def _take_in(self, file: Any) -> bool:
        """Read what is new, also from other processes; say whether the last line is torn."""
        if os.fstat(file.fileno()).st_size < self._read_until:
            # Somebody deleted it.
            self._taken.clear()
            self._read_until = 0
        file.seek(self._read_until)
        is_torn = False
        for line in file:
            is_torn = not line.endswith(b"\n")
            event = NO_EVENT if is_torn else event_in(line)
            self._last_ms = max(self._last_ms, event["t"])
            if "sequence" in event:
                self._taken.add(event["sequence"])
            self._read_until += len(line)
        return is_torn


class _Writing:
    """Within it, an OSError becomes an error of the store that names the place."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Enter; nothing is prepared."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Say whether it may go right later: what no permission and no name forbids may."""
        if isinstance(error, (PermissionError, NotADirectoryError, IsADirectoryError)):
            message = f"cannot write the run in {self._path}: {error}; make it writable, or choose another place"
            raise StoreError(message) from error
        if isinstance(error, OSError):
            message = f"cannot write the run in {self._path} now: {error}"
            raise StoreUnavailableError(message) from error


def _identity(run: NewRun) -> dict[str, Any]:
    return {
        "schema": local.SCHEMA,
        "run_id": run.run_id,
        "run_name": run.run_name,
        "experiment_name": run.experiment_name,
        "start_time": run.start_time,
        "parent_run_id": run.parent_run_id,
        "tags": dict(run.tags),
    }


def _line(event: Mapping[str, Any]) -> bytes:
    return (codec.dumps(event) + "\n").encode()


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
