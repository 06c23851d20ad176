"""What every place of runs can do: take what a run's journals hold, in batches, and give it back.

A store never sees the program: the mirror and ``runcontext sync`` write to it, readers read from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.record import RunRecord, RunStatus

RUN_ID_TAG = "runcontext.run_id"
"""The tag that holds our run id where a place gives runs ids of its own."""

PARENT_RUN_ID_TAG = "runcontext.parent_run_id"
"""The tag that holds our id of the parent there."""

STATUS_TAG = "runcontext.status"
"""The tag that holds a status which such a place has no word for: LOST."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be made in a store: what its run.json says.

    - ``start_time``: milliseconds since the epoch, UTC.
    - ``tags``: those it was started with, ``mlflow.runName`` among them.
    - ``remote_id``: the id that the store gave this run when it made it, None where that is not on record.
    - ``parent_run_id``: our id; ``parent_remote_id`` the same run's id in this store, None where it is not known:
      it may be a run of the store's own nevertheless, or one that was sent from elsewhere.
    - ``artifact_uri``: where the user wants artifacts of new experiments or runs, None for the store's own choice.
    - ``experiment_id``: an experiment of the store's, by its id there, where a plugin or MLflow's variable names one
      and the user no name; a store without such ids goes by the name.
    """

    run_id: str
    run_name: str
    experiment_name: str
    start_time: int
    tags: Mapping[str, str]
    parent_run_id: str | None = None
    parent_remote_id: str | None = None
    artifact_uri: str | None = None
    experiment_id: str | None = None
    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as a store knows it.

    - ``remote_id``: the store's own id of it; our ``run_id`` where it uses that.
    - ``url``: a page that shows it, None where there is none.
    - ``artifact_uri``: where its artifacts go; it may hold credentials, and is not to be shown.
    """

    run_id: str
    remote_id: str
    url: str | None
    artifact_uri: str | None


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One point of a metric; ``timestamp`` in milliseconds since the epoch, UTC; NaN and infinities are values."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one call of ``log_batch`` may hold, and what is cut to fit, with a mark; the local run has it whole.

    ``bytes`` counts keys and values in UTF-8, with 64 more for each item.
    """

    metrics: int = 1_000
    params: int = 100
    tags: int = 100
    total: int = 1_000
    bytes: int = 900_000
    param_characters: int = 6_000
    tag_characters: int = 8_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What a store is to take at once.

    - ``sequence``: 1 for the run's first batch, and one more for each after it. Of one sequence number the content
      is always the same, also after a crash of who sends it.
    - ``is_repeat``: an earlier attempt may have been taken, its answer lost: nothing of it may be there twice.
    """

    sequence: int
    metrics: tuple[MetricPoint, ...] = ()
    params: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    tags: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """How a run stands; ``end_time`` in milliseconds since the epoch, UTC, None while it goes on."""

    status: RunStatus
    end_time: int | None
    run_name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One item that a store will never take: ``kind`` is metric, param, tag or artifact."""

    kind: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs to find.

    - ``experiment_names``: only runs of these experiments; None for all.
    - ``filter_string``, ``order_by``: as MLflow's ``search_runs`` takes them; see ``runcontext.tracking.search``.
    - ``max_results``: at most so many; None for all.
    - ``page_token``: what the page before gave.
    """

    experiment_names: tuple[str, ...] | None = None
    filter_string: str = ""
    order_by: tuple[str, ...] = ()
    max_results: int | None = None
    page_token: str | None = None


class RunPage(list["RunRecord"]):
    """Runs that were found; ``token`` asks for those after them, None where there are none."""

    token: str | None = None


class TrackingStore(Protocol):
    """A place where runs are kept.

    What goes wrong raises StoreUnavailableError where it may go right later without anybody doing something (no
    connection, a server that restarts, a lock), and else StoreError; both name the place with its credentials redacted.
    """

    @property
    def uri(self) -> str:
        """The tracking URI, fit to be shown: without credentials."""
        ...

    @property
    def limits(self) -> BatchLimits:
        """How much it takes at once."""
        ...

    def create_run(self, run: NewRun) -> StoredRun:
        """Give the run of ``run.run_id``, making it and its experiment where they are not there.

        Asked twice it gives the same run, also where the answer to the first call was lost. One whose ``remote_id``
        is on record is that run or an error, never another one.
        """
        ...

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Take a batch; give what it will never take, after all the rest is in."""
        ...

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Record how a run stands."""
        ...

    def get_run(self, run_id: str) -> RunRecord:
        """Give the run of this id: ours, or the store's own of a run that somebody else made.

        Raises:
            StoreError: there is no such run.
        """
        ...

    def search_runs(self, query: Query) -> RunPage:
        """Give the runs that fit.

        Raises:
            ValueError: the filter, an ordering or the page token is none; the message says where.
        """
        ...

    def artifacts(self, run: StoredRun) -> ArtifactRepository:
        """Give the place of a run's artifacts.

        Raises:
            StoreError: its artifact URI has a scheme that nothing here serves.
        """
        ...

    def close(self) -> None:
        """Let go of connections; a later call makes new ones."""
        ...
