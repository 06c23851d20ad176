"""Where the subcommands look: this machine's store, or the place that ``--tracking-uri`` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runcontext import codec, fluent
from runcontext.errors import StoreError
from runcontext.mirror import state
from runcontext.project import working_directory
from runcontext.record import Context
from runcontext.tracking import reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.record import RunRecord
    from runcontext.tracking.local import LocalStore
    from runcontext.tracking.store import Query, RunPage, TrackingStore


_DEEPEST = 64
"""How many folders are followed into each other: no more than these are nested, and a listing may go in circles."""


class Place(Protocol):
    """A place of runs, as the subcommands see it."""

    name: str

    def search(self, query: Query) -> RunPage:
        """Give the runs that fit."""
        ...

    def find(self, words: str) -> RunRecord:
        """Give the run that a person means."""
        ...

    def context(self, run: RunRecord) -> Context | None:
        """Give a run's whole context, None where none was captured."""
        ...

    def identity(self, run: RunRecord) -> Mapping[str, Any]:
        """Give what is on record of the process that the run belongs to."""
        ...

    def files(self, run: RunRecord) -> list[tuple[str, int]]:
        """Give the run's artifacts by path, with their sizes in bytes."""
        ...

    def sending(self, run: RunRecord) -> list[tuple[str, str]]:
        """Give how far the run has been sent elsewhere: a name and a value each."""
        ...


def chosen(tracking_uri: str | None) -> Place:
    """Give the place that ``--tracking-uri`` names; this machine's store where it names a folder, or nothing does."""
    from runcontext.tracking import destination

    if tracking_uri is None or destination.is_local(tracking_uri):
        return _Local(fluent.current_store(tracking_uri))
    return _Elsewhere(tracking_uri)


class _Local:
    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.name = store.path

    def search(self, query: Query) -> RunPage:
        return reading.search(self._store, query)

    def find(self, words: str) -> RunRecord:
        return reading.find_run(self._store, words)

    def context(self, run: RunRecord) -> Context | None:
        return reading.read_context(self._store, run.run_id)

    def identity(self, run: RunRecord) -> Mapping[str, Any]:
        return self._store.open_run(run.run_id).identity

    def files(self, run: RunRecord) -> list[tuple[str, int]]:
        root = os.path.join(self._store.run_path(run.run_id), "artifacts")
        found = []
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found.append((os.path.relpath(path, root), os.lstat(path).st_size))
                except FileNotFoundError:
                    # It had a temporary name, and is whole by now.
                    continue
        return sorted(found)

    def sending(self, run: RunRecord) -> list[tuple[str, str]]:
        folder = self._store.run_path(run.run_id)
        found = state.read(folder)
        uri = str(self.identity(run).get("tracking_uri") or "") if found is None else found.uri
        if not uri:
            return []
        rest = state.unsent(folder, found)
        why = state.why_not(folder, found) if rest else ""
        unsent = f"no: {rest}{f' ({why})' if why else ''}; {state.what_sends(found)}"
        rows = [("tracking URI", uri), ("sent", unsent if rest else "yes")]
        if found is not None:
            rows += [("remote id", found.remote_id or ""), ("URL", found.url or "")]
            rows += [("refused", f"{each['kind']} {each['key']}: {each['reason']}") for each in found.refusals]
        return rows


class _Elsewhere:
    def __init__(self, tracking_uri: str) -> None:
        from runcontext.tracking import destination, places

        # Somebody waits for an answer: MLflow's seven attempts would take minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self._store: TrackingStore = places.open_store(destination.absolute(tracking_uri, working_directory()))
        self.name = self._store.uri

    def search(self, query: Query) -> RunPage:
        return self._store.search_runs(query)

    def find(self, words: str) -> RunRecord:
        from runcontext.tracking import finding

        return finding.find_run(self._store, words)

    def context(self, run: RunRecord) -> Context | None:
        from tempfile import TemporaryDirectory

        from runcontext.mirror.uploads import CONTEXT_ARTIFACT

        with TemporaryDirectory() as folder:
            file = Path(folder) / "context.json"
            try:
                self._artifacts(run).download_file(CONTEXT_ARTIFACT, str(file))
                return Context.from_json(codec.loads(file.read_text(encoding="utf-8")), Path())
            except (StoreError, OSError, ValueError, KeyError):
                # A run of somebody else's, or one whose artifacts cannot be read from here.
                return None

    def identity(self, run: RunRecord) -> Mapping[str, Any]:
        return {"host": run.tags.get("host.name"), "pid": run.tags.get("process.pid")}

    def files(self, run: RunRecord) -> list[tuple[str, int]]:
        try:
            repository = self._artifacts(run)
            return sorted(_below(repository, None))
        except StoreError as error:
            from runcontext import cli

            cli.complain(f"the artifacts of run {run.run_id} cannot be listed: {error}")
            return []

    def sending(self, run: RunRecord) -> list[tuple[str, str]]:
        return [("URL", run.url or "")]

    def _artifacts(self, run: RunRecord) -> Any:
        from runcontext.tracking.store import StoredRun

        if run.artifact_uri is None:
            message = f"run {run.run_id} has no artifacts at {self.name}"
            raise StoreError(message)
        return self._store.artifacts(StoredRun(run.run_id, run.remote_id or run.run_id, run.url, run.artifact_uri))


def _below(repository: Any, path: str | None, depth: int = 0) -> list[tuple[str, int]]:
    if depth > _DEEPEST:
        message = f"{repository.uri} lists folders in folders without an end: more than {_DEEPEST} of them at {path}"
        raise StoreError(message)
    found: list[tuple[str, int]] = []
    for each in repository.list_artifacts(path):
        found += _below(repository, each.path, depth + 1) if each.is_dir else [(each.path, each.size_bytes or 0)]
    return found
