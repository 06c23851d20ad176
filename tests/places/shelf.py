"""A store in memory, to send runs to, that fails where a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runcontext import RunRecord
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreUnavailableError
from runcontext.tracking.store import Batch, BatchLimits, NewRun, Query, Refusal, RunPage, RunUpdate, StoredRun

SMALL = BatchLimits(metrics=7, params=3, tags=4, total=9)
"""So that even a short run takes many batches."""


@dataclass
class Shelf:
    """A store in memory that keeps what the protocol asks for, and fails where it is told to."""

    fails: Callable[[str], str | None] = lambda _: None
    limits: BatchLimits = SMALL
    uri: str = "shelf:"
    runs: dict[str, NewRun] = field(default_factory=dict)
    points: list[tuple[str, float, int, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    updates: list[RunUpdate] = field(default_factory=list)
    made: int = 0
    sequences: list[int] = field(default_factory=list)
    contents: dict[int, Batch] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)

    def _may_fail(self, moment: str) -> None:
        reason = self.fails(moment)
        if reason is not None:
            raise StoreUnavailableError(reason)

    def create_run(self, run: NewRun) -> StoredRun:
        """Keep a run once."""
        self._may_fail("before create")
        if run.run_id not in self.runs:
            self.made += 1
            self.runs[run.run_id] = run
        self._may_fail("after create")
        return StoredRun(run.run_id, f"there-{self.made}", f"http://shelf/{run.run_id}", "shelf:/artifacts")

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Keep a batch once, by its number; without a number it would be there twice."""
        self._may_fail("before batch")
        assert run.run_id in self.runs
        assert batch.is_repeat or len(batch.metrics) <= self.limits.metrics
        if batch.sequence in self.sequences:
            assert batch.is_repeat
            known = self.contents[batch.sequence]
            assert repr((known.metrics, known.params)) == repr((batch.metrics, batch.params))
        else:
            assert not self.sequences or batch.sequence > max(self.sequences)
            self.sequences.append(batch.sequence)
            self.contents[batch.sequence] = batch
            self.points += [(each.key, each.value, each.timestamp, each.step) for each in batch.metrics]
            self.params.update({key: value for key, value in batch.params.items() if key not in self.refuses})
            self.tags.update(batch.tags)
        self._may_fail("after batch")
        return tuple(Refusal("param", key, "not taken") for key in batch.params if key in self.refuses)

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Keep how it stands."""
        self._may_fail("before update")
        assert run.run_id in self.runs
        self.updates.append(update)
        self._may_fail("after update")

    def get_run(self, run_id: str) -> RunRecord:
        """Give none back: a mirror does not read."""
        raise NotImplementedError(run_id)

    def search_runs(self, query: Query) -> RunPage:
        """Find none: a mirror does not search."""
        raise NotImplementedError(query)

    def artifacts(self, run: StoredRun) -> Shelf:
        """Be the repository too."""
        assert run.run_id in self.runs
        return self

    def upload_file(self, local_path: str, artifact_path: str) -> None:
        """Keep a file."""
        self._may_fail("before upload")
        self.files[artifact_path] = Path(local_path).read_bytes()
        self._may_fail("after upload")

    def download_file(self, artifact_path: str, local_path: str) -> None:
        """Give a file back."""
        Path(local_path).write_bytes(self.files[artifact_path])

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List nothing: a mirror does not look."""
        raise NotImplementedError(path)

    def close(self) -> None:
        """Hold nothing."""


@dataclass
class Shelves(Shelf):
    """A store of several runs, each on the shelf that is named for it."""

    shelves: dict[str, Shelf] = field(default_factory=dict)

    def create_run(self, run: NewRun) -> StoredRun:
        """Keep a run on its own shelf."""
        return self.shelves[run.run_id].create_run(run)

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Keep a batch there."""
        return self.shelves[run.run_id].log_batch(run, batch)

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Keep there how it stands."""
        self.shelves[run.run_id].update_run(run, update)

    def artifacts(self, run: StoredRun) -> Shelf:
        """Give that shelf."""
        return self.shelves[run.run_id]
