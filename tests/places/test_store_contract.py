"""The contract of all stores: the local store keeps it, broken stores are noticed, and all stores answer alike."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.places.servers_mlflow import MLflowServer

from runcontext.errors import StoreError
from runcontext.record import RunRecord, RunStatus
from runcontext.testing import TrackingStoreContract, new_run
from runcontext.testing.samples import START, SampleRun, point
from runcontext.tracking import places
from runcontext.tracking.folder import FolderStore
from runcontext.tracking.search import page_of
from runcontext.tracking.store import (
    Batch,
    NewRun,
    Query,
    Refusal,
    RunPage,
    RunUpdate,
    StoredRun,
    TrackingStore,
)


class TestFolderStore(TrackingStoreContract):
    """A folder keeps to the contract."""

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], TrackingStore]:
        """Give what opens one store again and again."""
        return lambda: FolderStore(str(tmp_path / "store"))

    def points(self, store: TrackingStore, run: StoredRun, key: str) -> int | None:
        """Count the points in the run's journals."""
        found = 0
        folder = os.path.join(store.uri, "runs", run.run_id, "events")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found += sum(each[0] == key for line in file for each in json.loads(line).get("points", ()))
        return found


# --- stores that do not keep to it --------------------------------------------------------------------------------


class Repeating(FolderStore):
    """Takes a repeated batch once more."""

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        self._sequence = getattr(self, "_sequence", 100) + 1
        return super().log_batch(run, Batch(self._sequence, batch.metrics, batch.params, batch.tags))


class Skipping(FolderStore):
    """Takes no repeated batch, although it may be new."""

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        return () if batch.is_repeat else super().log_batch(run, batch)


class Forgetting(FolderStore):
    """Has no word for LOST."""

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        status = RunStatus.FAILED if update.status is RunStatus.LOST else update.status
        super().update_run(run, RunUpdate(status, update.end_time, update.run_name))


class Orphaning(FolderStore):
    """Does not say whose child a run is."""

    def create_run(self, run: NewRun) -> StoredRun:
        return super().create_run(NewRun(run.run_id, run.run_name, run.experiment_name, run.start_time, run.tags))


class Ignoring(FolderStore):
    """Ignores orderings and filters that it does not know."""

    def search_runs(self, query: Query) -> RunPage:
        return super().search_runs(Query(query.experiment_names, max_results=query.max_results))


class Talking(FolderStore):
    """Shows its password, and calls nothing wrong."""

    def get_run(self, run_id: str) -> RunRecord:
        try:
            return super().get_run(run_id)
        except StoreError as error:
            message = f"{error} at team://user:hunter2secret@host"
            raise StoreError(message) from error

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        try:
            super().update_run(run, update)
        except StoreError:
            return


class Restarting(FolderStore):
    """Gives the first page again for ever, whose token belongs to everybody."""

    def search_runs(self, query: Query) -> RunPage:
        page = super().search_runs(
            Query(query.experiment_names, query.filter_string, query.order_by, query.max_results)
        )
        page.token = "next" if query.page_token is None and page.token else None
        return page


@pytest.mark.parametrize(
    ("broken", "noticed_by"),
    [
        (Repeating, "test_a_repeated_batch"),
        (Skipping, "test_a_repeat_of_what_never_arrived"),
        (Forgetting, "test_records_are_alike"),
        (Orphaning, "test_a_parent_that_is_not_there"),
        (Ignoring, "test_searches_are_answered_alike"),
        (Talking, "test_a_run_that_is_not_there"),
        (Talking, "test_writing_to_a_run_that_is_not_there"),
        (Restarting, "test_pages"),
        (Restarting, "test_the_token_of_another_search"),
    ],
)
def test_a_broken_store_is_noticed(tmp_path: Path, broken: type[FolderStore], noticed_by: str) -> None:
    """Each promise that a store breaks fails the test of the contract that is about it."""

    class Contract(TestFolderStore):
        store_uri = "team://user:hunter2secret@host"

    def opened() -> TrackingStore:
        return broken(str(tmp_path / "store"))

    found: dict[str, Any] = {"store": opened(), "opened": opened, "experiment": "broken"}
    test = getattr(Contract(), noticed_by)
    names = test.__func__.__code__.co_varnames[1 : test.__func__.__code__.co_argcount]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(**{name: found[name] for name in names})


# --- all stores, the same runs ------------------------------------------------------------------------------------

TEXTS = (
    "a",
    "A",
    "aB",
    "ab",
    "",
    "100%",
    "a_b",
    "10",
    "9",
    "it's",
    "ärger",
    "ÄRGER",
    "日本",
    "two\nlines",
    "a\\b",
    "z ",
)
STATUSES = tuple(RunStatus)
FILTERS = (
    "",
    "metrics.m > 0 AND metrics.n <= 2",
    "metrics.m != 2.5",
    "params.p = 'a'",
    "params.p != 'a' AND tags.t LIKE '%a%'",
    "params.q ILIKE 'ärg%'",
    "params.q LIKE 'a\\b'",
    "tags.`two words` LIKE '_'",
    "tags.t IS NULL",
    "status != 'LOST' AND status != 'RUNNING'",
    "status = 'LOST'",
    "status LIKE '%ED'",
    f"start_time > {START + 2} AND end_time < {START + 9}",
    "run_name ILIKE 'THIRD%'",
    "user_id = 'ada' AND params.p IS NOT NULL",
)
ORDERS: tuple[tuple[str, ...], ...] = (
    (),
    ("metrics.m ASC",),
    ("metrics.n DESC", "metrics.m"),
    ("params.p ASC", "start_time ASC"),
    ("tags.t DESC",),
    ("status", "run_name DESC"),
    ("end_time DESC",),
)


def some_runs(experiment: str, count: int) -> list[SampleRun]:
    """Make runs of few different values, so that many are equal in some of them."""
    chance = random.Random(9)

    def texts(*keys: str) -> dict[str, str]:
        return {key: chance.choice(TEXTS) for key in keys if chance.random() < 0.7}

    def made() -> SampleRun:
        start, name = START + chance.randint(0, 5), chance.choice(["first", "second", "Third"])
        status = chance.choice(STATUSES)
        end = None if status is RunStatus.RUNNING else start + chance.randint(0, 9)
        user = {"mlflow.user": chance.choice(["ada", "grace"])} if chance.random() < 0.6 else {}
        values = (0.0, -1.5, 2.5, 1e-9, 3e20, float("nan"), float("inf"), float("-inf"))
        metrics = tuple(
            point(key, chance.choice(values), chance.randint(0, 2), START + number)
            for key in "mn"
            for number in range(chance.randint(0, 3))
        )
        new = new_run(experiment, start_time=start, run_name=name, tags={**user, **texts("t", "two words")})
        return SampleRun(new, metrics, texts("p", "q"), texts("u"), RunUpdate(status, end, name))

    return [made() for _ in range(count)]


@pytest.fixture(params=["folder", "sqlite", "postgresql_url", "mariadb_url", "mlflow_newest", "mlflow_2_22"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TrackingStore]:
    """Give each kind of store that can be had here; skips where its server cannot be."""
    if request.param == "folder":
        uri = str(tmp_path / "store")
    elif request.param == "sqlite":
        uri = f"sqlite:///{tmp_path}/runs.db"
    else:
        found = request.getfixturevalue(request.param)
        uri = found.url if isinstance(found, MLflowServer) else found
    store = places.open_store(uri)
    yield store
    store.close()


def test_every_store_answers_alike(any_store: TrackingStore, tmp_path: Path) -> None:
    """The same runs have the same records, and the same searches the same answers, in every store there is."""
    experiment = f"alike {tmp_path.name} {os.getpid()}"
    runs = some_runs(experiment, 18)
    for each in runs:
        each.write(any_store)
    records = [each.record() for each in runs]
    wrong = []
    for filter_string in FILTERS:
        for order_by in ORDERS if filter_string == "" else ORDERS[:2]:
            query = Query((experiment,), filter_string, order_by)
            expected = [each.run_id for each in page_of(records, query)]
            paged = [each.run_id for each in _all(any_store, query)]
            if paged != expected:
                wrong.append((filter_string, order_by, paged, expected))
    assert not wrong, wrong[0]
    for each in records:
        found = any_store.get_run(each.run_id)
        assert (found.run_name, found.status, found.end_time) == (each.run_name, each.status, each.end_time)
        assert (dict(found.tags), dict(found.params)) == (dict(each.tags), dict(each.params))
        assert repr(dict(sorted(found.metrics.items()))) == repr(dict(sorted(each.metrics.items())))


def _all(store: TrackingStore, query: Query) -> Iterator[RunRecord]:
    token: str | None = None
    while True:
        page = store.search_runs(Query(query.experiment_names, query.filter_string, query.order_by, 9, token))
        yield from page
        token = page.token
        if token is None:
            return
