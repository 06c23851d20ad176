"""What every tracking store keeps to: subclass the contract in a test module, and pytest runs it.

::

    from runcontext.testing import TrackingStoreContract

    class TestTeamStore(TrackingStoreContract):
        store_uri = "team://localhost"
"""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import pytest

from runcontext.errors import StoreError
from runcontext.record import RunRecord, RunStatus
from runcontext.testing.samples import FILTERS, ORDERS, START, new_run, point, run_id_at, sample_runs
from runcontext.tracking import places
from runcontext.tracking.search import page_of
from runcontext.tracking.store import Batch, Query, RunUpdate, StoredRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runcontext.testing.samples import SampleRun
    from runcontext.tracking.store import TrackingStore

_FIELDS = (
    "run_id", "run_name", "experiment_name", "status", "start_time", "end_time", "tags", "params", "parent_run_id"
)  # fmt: skip
_KEYS = ("plain", "with space", "a/b", "a.b:c-d_e", "größe", "日本語", "k" * 250)
_VALUES = (
    "plain",
    "",
    " around ",
    "'single' \"double\" `back`",
    "C:\\path\\n",
    "two\nlines",
    "größe 日本語 🚀",
    "%_;--",
)


class TrackingStoreContract:
    """What the protocol ``runcontext.tracking.store.TrackingStore`` promises, asked of a real store.

    - ``store_uri``: the tracking URI of a store to write to; override the fixture ``opened`` where it takes more.
      Tests leave what is there alone: each makes an experiment of its own.
    - ``points``: override it where the author can look at all points that a store holds.
    """

    store_uri: ClassVar[str]

    @pytest.fixture
    def opened(self) -> Iterator[Callable[[], TrackingStore]]:
        """Give what opens the store, again with every call as another process would."""
        made: list[TrackingStore] = []

        def opened() -> TrackingStore:
            made.append(places.open_store(self.store_uri))
            return made[-1]

        yield opened
        for each in made:
            each.close()

    @pytest.fixture
    def store(self, opened: Callable[[], TrackingStore]) -> TrackingStore:
        """Give the store."""
        return opened()

    @pytest.fixture
    def experiment(self) -> str:
        """Give the name of an experiment that the store does not have."""
        return f"contract {uuid.uuid4().hex[:12]}"

    def points(self, store: TrackingStore, run: StoredRun, key: str) -> int | None:
        """Give how many points of a metric the store holds; None where that cannot be seen from here."""
        del store, run, key
        return None

    # --- writing ------------------------------------------------------------------------------------------------

    def test_what_it_says_of_itself(self, store: TrackingStore) -> None:
        """Its URI can be shown, since it holds no password, and it takes more than nothing at once."""
        secret = urlsplit(getattr(self, "store_uri", "")).password
        assert store.uri
        assert not secret or secret not in store.uri
        limits = store.limits
        assert min(limits.metrics, limits.params, limits.tags, limits.total, limits.bytes) > 0

    def test_a_new_run_comes_back(self, store: TrackingStore, experiment: str) -> None:
        """A run is RUNNING with the tags that it was made with, until more is said of it."""
        new = new_run(experiment, tags={"team": "vision", "mlflow.user": "ada"})
        stored = store.create_run(new)
        assert (stored.run_id, bool(stored.remote_id)) == (new.run_id, True)
        record = store.get_run(new.run_id)
        assert (record.run_id, record.run_name, record.experiment_name) == (new.run_id, new.run_name, experiment)
        assert (record.status, record.start_time, record.end_time) == (RunStatus.RUNNING, new.start_time, None)
        assert (dict(record.tags), dict(record.params), dict(record.metrics)) == (dict(new.tags), {}, {})
        assert record.parent_run_id is None
        assert record.last_event_time >= new.start_time

    def test_a_run_is_made_once(self, opened: Callable[[], TrackingStore], experiment: str) -> None:
        """Asked again, by this process or by another, for a run whose answer was lost, it gives the same run."""
        new = new_run(experiment)
        first, second = opened(), opened()
        stored = first.create_run(new)
        assert first.create_run(new).remote_id == second.create_run(new).remote_id == stored.remote_id
        assert opened().create_run(replace(new, remote_id=stored.remote_id)).remote_id == stored.remote_id
        assert [each.run_id for each in second.search_runs(Query((experiment,)))] == [new.run_id]

    def test_a_run_is_made_by_many_at_once(self, opened: Callable[[], TrackingStore], experiment: str) -> None:
        """Processes that make runs of a new experiment at one moment make one experiment and all the runs."""
        new = [new_run(experiment, start_time=START + number) for number in range(4)]
        stores = [opened() for _ in new]
        _at_once([partial(store.create_run, run) for store, run in zip(stores, new, strict=True)])
        found = stores[0].search_runs(Query((experiment,)))
        assert [each.run_id for each in found] == [each.run_id for each in reversed(new)]

    def test_parents(self, store: TrackingStore, experiment: str) -> None:
        """A run's parent comes back by our id, in the record and in MLflow's tag."""
        parent = new_run(experiment, start_time=START)
        remote_id = store.create_run(parent).remote_id
        child = new_run(experiment, start_time=START + 1, parent_run_id=parent.run_id, parent_remote_id=remote_id)
        store.create_run(child)
        record = store.get_run(child.run_id)
        assert (record.parent_run_id, dict(record.tags)) == (parent.run_id, dict(child.tags))

    def test_a_parent_that_is_not_there(self, store: TrackingStore, experiment: str) -> None:
        """A run whose parent was never sent says whose child it is nevertheless."""
        child = new_run(experiment, parent_run_id=run_id_at(START - 1))
        store.create_run(child)
        record = store.get_run(child.run_id)
        assert (record.parent_run_id, dict(record.tags)) == (child.parent_run_id, dict(child.tags))

    def test_batches(self, store: TrackingStore, experiment: str) -> None:
        """What later batches say of a tag replaces what earlier ones and the start said; the rest stays."""
        new = new_run(experiment, tags={"a": "start", "b": "start"})
        stored = store.create_run(new)
        store.log_batch(stored, Batch(1, params={"p": "1"}, tags={"b": "first", "c": "first"}))
        store.log_batch(stored, Batch(2, (point("m", 1.5),), {"q": "2"}, {"c": "second"}))
        record = store.get_run(new.run_id)
        assert dict(record.tags) == {**new.tags, "a": "start", "b": "first", "c": "second"}
        assert (dict(record.params), dict(record.metrics)) == ({"p": "1", "q": "2"}, {"m": 1.5})

    def test_a_repeated_batch(self, opened: Callable[[], TrackingStore], experiment: str) -> None:
        """A batch whose answer was lost is sent again, perhaps by another process, and nothing is there twice."""
        first, second = opened(), opened()
        stored = first.create_run(new_run(experiment))
        metrics = tuple(point("loss", number / 8, number) for number in range(20))
        batch = Batch(1, metrics, {"p": "1"}, {"t": "1"})
        first.log_batch(stored, batch)
        again = Batch(1, metrics, {"p": "1"}, {"t": "1"}, is_repeat=True)
        for store in (first, second):
            assert store.log_batch(stored, again) == ()
        record = second.get_run(stored.run_id)
        assert (dict(record.metrics), dict(record.params), record.tags["t"]) == ({"loss": 19 / 8}, {"p": "1"}, "1")
        assert self.points(second, stored, "loss") in {None, 20}

    def test_a_repeat_of_what_never_arrived(self, store: TrackingStore, experiment: str) -> None:
        """A repeat whose first attempt was lost on the way is taken."""
        stored = store.create_run(new_run(experiment))
        store.log_batch(stored, Batch(1, (point("loss", 0.5), point("loss", 0.25, 1)), is_repeat=True))
        assert dict(store.get_run(stored.run_id).metrics) == {"loss": 0.25}
        assert self.points(store, stored, "loss") in {None, 2}

    def test_equal_points_of_one_batch(self, store: TrackingStore, experiment: str) -> None:
        """Points of one step and time that differ in nothing else, or only in value, harm no other."""
        stored = store.create_run(new_run(experiment))
        store.log_batch(stored, Batch(1, (point("a", 1.0), point("a", 1.0), point("b", 2.0))))
        assert dict(store.get_run(stored.run_id).metrics) == {"a": 1.0, "b": 2.0}

    def test_the_latest_point(self, store: TrackingStore, experiment: str) -> None:
        """A metric's value is that of its highest step, below 0 too, and of equal ones that of the later time."""
        stored = store.create_run(new_run(experiment))
        store.log_batch(stored, Batch(1, (point("m", 1.0, 5), point("m", 2.0, 9, START), point("n", 3.0, -2))))
        store.log_batch(stored, Batch(2, (point("m", 4.0, 9, START + 1), point("m", 5.0, 7, START + 2))))
        store.log_batch(stored, Batch(3, (point("m", 6.0, 9, START - 1), point("n", 7.0, -3, START + 9))))
        assert dict(store.get_run(stored.run_id).metrics) == {"m": 4.0, "n": 3.0}

    def test_numbers(self, store: TrackingStore, experiment: str) -> None:
        """Every number comes back as it was: infinities, the largest and smallest there are, and NaN."""
        values = {"inf": math.inf, "-inf": -math.inf, "tiny": 5e-324, "precise": 0.1 + 0.2, "negative": -1e300}
        stored = store.create_run(new_run(experiment))
        store.log_batch(stored, Batch(1, (*(point(*each) for each in values.items()), point("nan", math.nan))))
        metrics = dict(store.get_run(stored.run_id).metrics)
        assert math.isnan(metrics.pop("nan"))
        assert metrics == values

    def test_thousands_of_points(self, store: TrackingStore, experiment: str) -> None:
        """As many points as it says that it takes at once, three times, are all there."""
        stored = store.create_run(new_run(experiment))
        many = min(store.limits.metrics, store.limits.total, store.limits.bytes // 128, 2_000)
        for number in range(3):
            points = tuple(point("loss", float(step), step) for step in range(number * many, (number + 1) * many))
            assert store.log_batch(stored, Batch(number + 1, points)) == ()
        assert dict(store.get_run(stored.run_id).metrics) == {"loss": 3.0 * many - 1}
        assert self.points(store, stored, "loss") in {None, 3 * many}

    def test_texts(self, store: TrackingStore, experiment: str) -> None:
        """Keys and values of any alphabet, with every quote, come back as they were; so do names."""
        texts = {key: _VALUES[number % len(_VALUES)] for number, key in enumerate(_KEYS)}
        texts |= {f"value {number}": value for number, value in enumerate(_VALUES)}
        new = new_run(f"{experiment} größe 🚀 'x'", run_name='Ärger 🚀 "x"')
        stored = store.create_run(new)
        metrics = tuple(point(key, 1.0) for key in texts)
        assert store.log_batch(stored, Batch(1, metrics, texts, texts)) == ()
        record = store.get_run(new.run_id)
        assert (record.experiment_name, record.run_name) == (new.experiment_name, new.run_name)
        assert dict(record.params) == texts
        assert dict(record.tags) == {**new.tags, **texts}
        assert dict(record.metrics) == dict.fromkeys(texts, 1.0)

    def test_long_values(self, store: TrackingStore, experiment: str) -> None:
        """Values as long as it says that it takes come back whole."""
        stored = store.create_run(new_run(experiment))
        params = {"p": "ä" * min(store.limits.param_characters, 20_000)}
        tags = {"t": "ä" * min(store.limits.tag_characters, 20_000)}
        assert store.log_batch(stored, Batch(1, params=params, tags=tags)) == ()
        record = store.get_run(stored.run_id)
        assert (record.params["p"], record.tags["t"]) == (params["p"], tags["t"])

    def test_a_param_that_changes(self, store: TrackingStore, experiment: str) -> None:
        """It is taken, or refused by name after all the rest of its batch is in."""
        stored = store.create_run(new_run(experiment))
        store.log_batch(stored, Batch(1, params={"p": "1"}))
        refused = store.log_batch(stored, Batch(2, (point("m", 1.0),), {"p": "2", "q": "3"}, {"t": "4"}))
        record = store.get_run(stored.run_id)
        assert (record.metrics["m"], record.params["q"], record.tags["t"]) == (1.0, "3", "4")
        assert [(each.kind, each.key) for each in refused] == ([] if record.params["p"] == "2" else [("param", "p")])
        assert all(each.reason for each in refused)

    @pytest.mark.parametrize("status", [each for each in RunStatus if each is not RunStatus.RUNNING])
    def test_ends(self, store: TrackingStore, experiment: str, status: RunStatus) -> None:
        """A run ends with any status and a time, may get another name, and may be resumed and end otherwise."""
        stored = store.create_run(new_run(experiment))
        for update in (
            RunUpdate(status, START + 7, "other"),
            RunUpdate(RunStatus.RUNNING, None, "other"),
            RunUpdate(RunStatus.FINISHED, START + 9, "third"),
            RunUpdate(status, START + 11, "third"),
        ):
            store.update_run(stored, update)
            record = store.get_run(stored.run_id)
            assert (record.status, record.end_time, record.run_name) == (
                update.status,
                update.end_time,
                update.run_name,
            )
        assert record.last_event_time >= START + 11

    # --- reading ------------------------------------------------------------------------------------------------

    def test_a_run_that_is_not_there(self, store: TrackingStore, experiment: str) -> None:
        """An unknown id, and what is none, raise StoreError naming it, without credentials."""
        store.create_run(new_run(experiment))
        for run_id in (run_id_at(START), uuid.uuid4().hex, "../../etc", "", "ä b"):
            with pytest.raises(StoreError) as caught:
                store.get_run(run_id)
            assert run_id in str(caught.value)
            self.assert_no_secret(str(caught.value))

    def test_writing_to_a_run_that_is_not_there(self, store: TrackingStore, experiment: str) -> None:
        """It raises StoreError: nothing is swallowed."""
        store.create_run(new_run(experiment))
        run_id = run_id_at(START)
        nowhere = StoredRun(run_id, run_id, None, None)
        with pytest.raises(StoreError) as caught:
            store.log_batch(nowhere, Batch(1, tags={"a": "b"}))
        self.assert_no_secret(str(caught.value))
        with pytest.raises(StoreError):
            store.update_run(nowhere, RunUpdate(RunStatus.FINISHED, START, "none"))

    def test_searches_are_answered_alike(self, store: TrackingStore, experiment: str) -> None:
        """Filters and orderings of the sample's runs have the answers that every store gives."""
        sample = self.sample(store, experiment)
        wrong = []
        for query in queries(experiment, sample):
            expected = [each.run_id for each in page_of([each.record() for each in sample], query)]
            found = [each.run_id for each in store.search_runs(query)]
            if found != expected:
                wrong.append((query.filter_string, query.order_by, _names(found, sample), _names(expected, sample)))
        assert not wrong

    def test_records_are_alike(self, store: TrackingStore, experiment: str) -> None:
        """A search, and ``get_run``, give the whole record of each run, as every store gives it."""
        sample = self.sample(store, experiment)
        found = {each.run_id: each for each in store.search_runs(Query((experiment,)))}
        for each in sample:
            expected = _plain(each.record())
            assert _plain(found[each.new.run_id]) == expected
            assert _plain(store.get_run(each.new.run_id)) == expected

    def test_pages(self, store: TrackingStore, experiment: str) -> None:
        """Pages of any size and order hold every run once, and the last one has no token."""
        sample = self.sample(store, experiment)
        for order in ((), ("metrics.loss DESC",), ("params.optimizer ASC",)):
            for size in (1, 4, len(sample)):
                query = Query((experiment,), order_by=order, max_results=size)
                expected = [each.run_id for each in page_of([each.record() for each in sample], Query(None, "", order))]
                assert [each.run_id for page in _pages(store, query) for each in page] == expected
        filtered = Query((experiment,), "params.optimizer ILIKE 'S%' AND status != 'KILLED'", max_results=1)
        assert sum(len(page) for page in _pages(store, filtered)) == 2

    def test_pages_while_runs_are_made(self, store: TrackingStore, experiment: str) -> None:
        """A run that starts between two pages of the latest runs moves no run from one to the other."""
        self.sample(store, experiment)
        first = store.search_runs(Query((experiment,), max_results=2))
        store.create_run(new_run(experiment, start_time=START + 1_000))
        second = store.search_runs(Query((experiment,), max_results=100, page_token=first.token))
        assert not {each.run_id for each in first} & {each.run_id for each in second}

    def test_experiments(self, store: TrackingStore, experiment: str) -> None:
        """A search can be of several experiments, of one that is not there, and of none."""
        made = {name: new_run(name) for name in (experiment, f"{experiment} 2", f"{experiment} 3")}
        for each in made.values():
            store.create_run(each)
        names = (experiment, f"{experiment} 3", f"{experiment} none")
        assert {each.experiment_name for each in store.search_runs(Query(names))} == {names[0], names[1]}
        assert store.search_runs(Query((f"{experiment} none",))) == []
        assert store.search_runs(Query(())) == []
        ids = {each.run_id for each in store.search_runs(Query(None, f"run_id = '{made[experiment].run_id}'"))}
        assert ids == {made[experiment].run_id}

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            (Query(filter_string="metrics.loss < 'low'"), "number"),
            (Query(filter_string="params.a = 'b' OR params.c = 'd'"), "AND"),
            (Query(filter_string="nothing = 1"), "nothing"),
            (Query(order_by=("metrics.loss SIDEWAYS",)), "ASC"),
            (Query(order_by=("datasets.name",)), "dataset"),
            (Query(page_token="bm90IG91cnM="), "token"),  # noqa: S106 - a page's, no secret
            (Query(page_token="\N{SNOWMAN}"), "token"),  # noqa: S106 - a page's, no secret
            (Query(max_results=-1), "max_results"),
        ],
    )
    def test_what_is_no_query(self, store: TrackingStore, query: Query, says: str) -> None:
        """An ill-formed filter, ordering, token or number raises ValueError that says what is expected."""
        with pytest.raises(ValueError, match=says):
            store.search_runs(query)

    def test_the_token_of_another_search(self, store: TrackingStore, experiment: str) -> None:
        """It is refused: the pages of two searches have nothing to do with each other."""
        self.sample(store, experiment)
        token = store.search_runs(Query((experiment,), max_results=1)).token
        assert token
        for other in (
            Query((experiment,), "metrics.loss < 1", page_token=token),
            Query((experiment,), order_by=("run_id",), page_token=token),
            Query(None, page_token=token),
        ):
            with pytest.raises(ValueError, match="token"):
                store.search_runs(other)

    # --- artifacts ----------------------------------------------------------------------------------------------

    def test_artifacts(self, store: TrackingStore, experiment: str, tmp_path: Any) -> None:
        """A run's artifacts have a place, empty at first, that gives back what it takes."""
        stored = store.create_run(new_run(experiment))
        repository = store.artifacts(stored)
        assert list(repository.list_artifacts()) == []
        file = tmp_path / "file.txt"
        file.write_text("content", encoding="utf-8")
        repository.upload_file(str(file), "folder/file.txt")
        assert [each.path for each in repository.list_artifacts()] == ["folder"]
        repository.download_file("folder/file.txt", str(tmp_path / "back.txt"))
        assert (tmp_path / "back.txt").read_text(encoding="utf-8") == "content"
        repository.close()

    def test_it_can_be_closed_and_used_again(self, opened: Callable[[], TrackingStore]) -> None:
        """Closing lets go, and again does no harm; a later call makes new connections, as after a long silence."""
        store = opened()
        store.close()
        store.close()
        made = store.create_run(new_run("closed"))
        store.close()
        assert store.create_run(new_run("closed", run_id=made.run_id)).remote_id == made.remote_id

    # --- what the tests are made of ---------------------------------------------------------------------------------

    def sample(self, store: TrackingStore, experiment: str) -> tuple[SampleRun, ...]:
        """Write the sample's runs; give them."""
        sample = sample_runs(experiment)
        for each in sample:
            each.write(store)
        return sample

    def assert_no_secret(self, text: str) -> None:
        """Check that the password of the store's URI, where it has one, is not in a text."""
        secret = urlsplit(getattr(self, "store_uri", "")).password
        assert not secret or secret not in text


def queries(experiment: str, sample: Sequence[SampleRun]) -> list[Query]:
    """Give every query of the samples' module, for these runs."""
    ids = {"first": sample[0].new.run_id, "last": sample[-1].new.run_id}
    found = [Query((experiment,), each.format(**ids)) for each in FILTERS]
    return found + [Query((experiment,), "start_time > 0", order) for order in ORDERS]


def _names(run_ids: Sequence[str], sample: Sequence[SampleRun]) -> list[str]:
    names = {each.new.run_id: each.new.run_name for each in sample}
    return [names.get(run_id, run_id) for run_id in run_ids]


def _plain(record: RunRecord) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in _FIELDS}
    # NaN is equal to nothing, not even to NaN.
    metrics = {key: repr(value) for key, value in record.metrics.items()}
    return {**fields, "tags": dict(record.tags), "params": dict(record.params), "metrics": metrics}


def _pages(store: TrackingStore, query: Query) -> Iterator[Sequence[RunRecord]]:
    token: str | None = None
    while True:
        page = store.search_runs(
            Query(query.experiment_names, query.filter_string, query.order_by, query.max_results, token)
        )
        assert query.max_results is None or len(page) <= query.max_results
        yield page
        token = page.token
        if token is None:
            return
        assert page


def _at_once(calls: Sequence[Callable[[], object]]) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        try:
            barrier.wait()
            call()
        except BaseException as error:  # noqa: BLE001 - the test is to see whatever it is
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures, failures
