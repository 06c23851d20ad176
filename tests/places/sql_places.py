"""The databases that tests of SqlStore run against, and runs to put into them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine

from runcontext.tracking.sql import SqlStore, addresses
from runcontext.tracking.store import Batch, MetricPoint, NewRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest
    from sqlalchemy import Connection

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.tracking.store import StoredRun

ENGINES = ("sqlite", "postgresql", "mariadb")


def uri_of(engine: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Give the URI of an empty database; skips where there is no server for it."""
    return f"sqlite:///{folder / 'runs.db'}" if engine == "sqlite" else str(request.getfixturevalue(f"{engine}_url"))


@contextlib.contextmanager
def opened(uri: str) -> Iterator[SqlStore]:
    """Give a store that is closed in the end."""
    store = SqlStore(uri)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def artifacts_of(store: SqlStore, run: StoredRun) -> Iterator[ArtifactRepository]:
    """Give the repository of a run's artifacts, which is closed in the end."""
    repository = store.artifacts(run)
    try:
        yield repository
    finally:
        repository.close()


@contextlib.contextmanager
def connected(uri: str) -> Iterator[Connection]:
    """Give a connection of the test's own, which sees what is really there."""
    engine = create_engine(addresses.parsed(uri).url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def new_run(number: int, **fields: Any) -> NewRun:
    """Give a run to be made; its id is made of ``number``."""
    fields = {"run_name": f"run {number}", "experiment_name": "Default", "start_time": 1_000 + number, **fields}
    return NewRun(run_id=f"{number:032x}", tags=fields.pop("tags", {}), **fields)


def points(metrics: Mapping[str, float], step: int = 0, timestamp: int = 5) -> tuple[MetricPoint, ...]:
    """Give one point of each metric."""
    return tuple(MetricPoint(key, value, timestamp, step) for key, value in metrics.items())


def batch(sequence: int = 1, metrics: Mapping[str, float] | None = None, **fields: Any) -> Batch:
    """Give a batch."""
    return Batch(sequence, metrics=points(metrics or {}), **fields)
