"""An MLflow tracking server as a place of runs: MLflow's own servers, 2.22 and newest, read back by MLflow's."""

from __future__ import annotations

import dataclasses
import json
import math
import time
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import requests
from tests.places import servers_kept, servers_mlflow
from tests.places.loopback import Answer, Authority, Loopback
from tests.places.mlflow_client import Client

from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.record import RunStatus
from runcontext.testing import TrackingStoreContract
from runcontext.tracking.http import ServerSession
from runcontext.tracking.local import new_run_id
from runcontext.tracking.mlflow.server import MLflowServerStore
from runcontext.tracking.store import Batch, MetricPoint, NewRun, Query, RunUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.places.conftest import PrivateMLflow
    from tests.places.faults import FaultProxy
    from tests.places.servers_kept import Session
    from tests.places.servers_mlflow import MLflowServer

    from runcontext.tracking.store import StoredRun, TrackingStore

    PutProxy = Callable[[str], FaultProxy]

pytestmark = pytest.mark.usefixtures("alone")

NOW = 1_790_000_000_000
LARGEST = 1.7976931348623157e308
"""What MLflow's database keeps in place of infinity."""


class OpenStore(Protocol):
    """Gives a store of a server's URL."""

    def __call__(self, url: str, **environment: str) -> MLflowServerStore: ...


@pytest.fixture
def open_store() -> Iterator[OpenStore]:
    """Give the function that opens a store with no plugins."""
    opened: list[MLflowServerStore] = []

    def opening(url: str, **environment: str) -> MLflowServerStore:
        session = ServerSession(url, environment=environment, header_providers=[], auth_providers=[])
        opened.append(MLflowServerStore(url, session=session))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()


@pytest.fixture
def experiment() -> str:
    """Give the name of an experiment that no other test has."""
    return f"tests/{uuid.uuid4().hex} of ours"


@pytest.fixture(scope="module")
def client_of(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Client]]:
    """Give the function that gives MLflow's own client of a version."""
    del session
    started: dict[str, Client] = {}

    def of(version: str) -> Client:
        if version not in started:
            environment = servers_kept.clean_environment(tmp_path_factory.mktemp("client"))
            started[version] = Client.start(servers_mlflow.installed(version).python, environment)
        return started[version]

    yield of
    for each in started.values():
        each.close()


@pytest.fixture
def ask(client_of: Callable[[str], Client]) -> Callable[..., Any]:
    """Give the function that asks MLflow's client of a server."""
    return lambda server, question, *given: client_of(server.version).ask(server.url, question, *given)


def new_run(experiment: str, run_id: str | None = None, **fields: Any) -> NewRun:
    """Give a run to be made."""
    tags = {"mlflow.runName": "first", **fields.pop("tags", {})}
    return NewRun(run_id or new_run_id(), "first", experiment, fields.pop("start_time", NOW), tags, **fields)


def points(key: str, count: int, start: int = 0) -> tuple[MetricPoint, ...]:
    """Give a metric's points, one for each step."""
    return tuple(MetricPoint(key, step / 3, NOW + step, step) for step in range(start, start + count))


def history_of(*given: MetricPoint) -> list[list[Any]]:
    """Give points as READ prints them."""
    return [[each.step, each.timestamp, repr(each.value)] for each in given]


def test_a_run_as_mlflow_sees_it(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """All that a run has is there for MLflow's own client, under the names that its pages read."""
    store = open_store(mlflow_server.url)
    shown = {
        "mlflow.user": "ann",
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "c" * 40,
        "host.name": "gpu-7",
    }
    run = store.create_run(new_run(experiment, tags=shown))
    values = (
        MetricPoint("special", math.nan, NOW, 0),
        MetricPoint("up", math.inf, NOW, 0),
        MetricPoint("down", -math.inf, NOW, -3),
        MetricPoint("acc/top 1", 0.1 + 0.2, NOW, 2**40),
    )
    params = {"lr": "1e-3", "empty": "", "größe": "日本\n語"}
    refused = store.log_batch(run, Batch(1, (*points("loss", 2_500), *values), params, {"späte": "marke 😀"}))
    assert refused == ()
    store.update_run(run, RunUpdate(RunStatus.FINISHED, NOW + 9_000, "renamed"))
    found = ask(mlflow_server, "run", run.remote_id, ["loss", "acc/top 1"])
    assert (found["name"], found["status"], found["experiment"]) == ("renamed", "FINISHED", experiment)
    assert (found["start"], found["end"], found["user"]) == (NOW, NOW + 9_000, "ann")
    ours = {"runcontext.run_id": run.run_id, "mlflow.runName": "renamed", "späte": "marke 😀"}
    assert found["tags"] == {**shown, **ours}
    assert found["params"] == params
    assert found["history"]["loss"] == history_of(*points("loss", 2_500))
    assert found["history"]["acc/top 1"] == history_of(values[-1])
    assert (found["metrics"]["special"], float(found["metrics"]["up"])) == ("nan", LARGEST)


def test_a_run_as_we_read_it(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """What was written is read back the same, by our id and the server's, our own tags taken out again."""
    store = open_store(mlflow_server.url.replace("://", "://ann:secret@"))
    parent = store.create_run(new_run(experiment))
    tags = {"mlflow.parentRunId": parent.run_id, "a": "b"}
    new = new_run(experiment, tags=tags, parent_run_id=parent.run_id, parent_remote_id=parent.remote_id)
    run = store.create_run(new)
    values = (MetricPoint("x", 1.0, NOW, 5), MetricPoint("x", 2.0, NOW, 4), MetricPoint("nan", math.nan, NOW, 0))
    store.log_batch(run, Batch(1, (*values, MetricPoint("inf", -math.inf, NOW, 0)), {"p": ""}, dict(new.tags)))
    store.update_run(run, RunUpdate(RunStatus.KILLED, NOW + 1, "first"))
    record = store.get_run(run.run_id)
    assert record == dataclasses.replace(store.get_run(run.remote_id), metrics=record.metrics)
    assert (record.run_id, record.remote_id, record.parent_run_id) == (run.run_id, run.remote_id, parent.run_id)
    assert (record.run_name, record.experiment_name, record.status) == ("first", experiment, RunStatus.KILLED)
    assert (record.start_time, record.end_time, record.last_event_time) == (NOW, NOW + 1, NOW + 1)
    assert dict(record.tags) == dict(new.tags)
    assert dict(record.params) == {"p": ""}
    assert (record.metrics["x"], record.metrics["inf"]) == (1.0, -math.inf)
    assert math.isnan(record.metrics["nan"])
    assert record.path is None
    assert record.artifact_uri is not None
    assert record.url == f"{mlflow_server.url}/#/experiments/{record.url.split('/')[-3]}/runs/{run.remote_id}"
    assert "secret" not in repr(record.to_json()) + store.uri
    found = ask(mlflow_server, "run", run.remote_id, [])["tags"]
    assert found["mlflow.parentRunId"] == parent.remote_id


def test_a_parent_that_was_not_sent_from_here(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """A run of the server's own is a parent by its id there, one of another machine's by ours: MLflow nests both."""
    store = open_store(mlflow_server.url)
    theirs = ask(mlflow_server, "make_run", f"{experiment}, theirs", {})
    elsewhere = store.create_run(new_run(f"{experiment}, elsewhere"))
    for parent_run_id, remote_id in ((theirs, theirs), (elsewhere.run_id, elsewhere.remote_id)):
        tags = {"mlflow.parentRunId": parent_run_id}
        child = store.create_run(new_run(experiment, tags=tags, parent_run_id=parent_run_id))
        store.log_batch(child, Batch(1, tags=tags))
        assert ask(mlflow_server, "run", child.remote_id, [])["tags"]["mlflow.parentRunId"] == remote_id
        record = store.get_run(child.run_id)
        assert (record.parent_run_id, record.tags["mlflow.parentRunId"]) == (parent_run_id, parent_run_id)


def test_runs_of_others(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """A run that MLflow's client made is read under its own id."""
    remote_id = ask(mlflow_server, "make_run", experiment, {"mlflow.runName": "theirs"})
    ask(mlflow_server, "log", remote_id)
    record = open_store(mlflow_server.url).get_run(remote_id)
    assert (record.run_id, record.run_name, record.experiment_name) == (remote_id, "theirs", experiment)
    assert (dict(record.params), dict(record.metrics)) == ({"p": "1"}, {"m": 2.0})
    assert record.status is RunStatus.FINISHED


def test_lost_and_resumed(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """LOST is FAILED to MLflow and LOST to us, and gone once the run goes on or ends otherwise."""
    store = open_store(mlflow_server.url)
    run = store.create_run(new_run(experiment))
    seen = []
    for status in (RunStatus.LOST, RunStatus.RUNNING, RunStatus.LOST, RunStatus.FAILED):
        store.update_run(run, RunUpdate(status, None if status is RunStatus.RUNNING else NOW + 5, "first"))
        record = store.get_run(run.run_id)
        seen.append((record.status, record.end_time, dict(record.tags)))
    tags = {"mlflow.runName": "first"}
    assert seen == [
        (RunStatus.LOST, NOW + 5, tags),
        (RunStatus.RUNNING, None, tags),
        (RunStatus.LOST, NOW + 5, tags),
        (RunStatus.FAILED, NOW + 5, tags),
    ]
    assert ask(mlflow_server, "run", run.remote_id, [])["status"] == "FAILED"


def test_no_tag_is_deleted_that_is_not_there(
    mlflow_server: MLflowServer, open_store: OpenStore, fault_proxy: PutProxy, experiment: str
) -> None:
    """A run that ends leaves no refusal in the server's log; the tag of a lost one goes."""
    proxy = fault_proxy(mlflow_server.url)
    store = open_store(proxy.url)
    run = store.create_run(new_run(experiment))
    store.update_run(run, RunUpdate(RunStatus.FINISHED, NOW + 5, "first"))
    assert proxy.count("runs/delete-tag") == 0
    for status in (RunStatus.LOST, RunStatus.FINISHED):
        store.update_run(run, RunUpdate(status, NOW + 5, "first"))
    assert proxy.count("runs/delete-tag") == 1


def test_refusals_cost_only_themselves(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """A param that has another value, a bad name: each is named with the server's reason, and all the rest is in."""
    store = open_store(mlflow_server.url)
    run = store.create_run(new_run(experiment))
    assert store.log_batch(run, Batch(1, params={"lr": "1", "keep": "k"})) == ()
    metrics = (*points("loss", 20), MetricPoint("bad#", 1.0, NOW, 0), *points("late", 3))
    batch = Batch(2, metrics, {"lr": "2", "keep": "k", "new": "n"}, {"../up": "x", "fine": "y"})
    refusals = {(each.kind, each.key): each.reason for each in store.log_batch(run, batch)}
    assert set(refusals) == {("param", "lr"), ("metric", "bad#"), ("tag", "../up")}
    assert "Changing param values is not allowed" in refusals["param", "lr"]
    found = ask(mlflow_server, "run", run.remote_id, ["loss", "late"])
    assert found["params"] == {"lr": "1", "keep": "k", "new": "n"}
    assert found["history"] == {"loss": history_of(*points("loss", 20)), "late": history_of(*points("late", 3))}
    assert found["tags"]["fine"] == "y"


def test_what_is_too_long_is_cut(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """Values beyond the server's limits arrive with a mark that says so, with the run and after it, in any number."""
    store = open_store(mlflow_server.url)
    many = {f"tag.{number:03}": "ß" * 8_000 for number in range(150)}
    run = store.create_run(new_run(experiment, tags={**many, "long": "x" * 9_000}))
    params = {f"param.{number:03}": "日" * 7_000 for number in range(250)}
    assert store.log_batch(run, Batch(1, params=params)) == ()
    found = ask(mlflow_server, "run", run.remote_id, [])
    assert found["tags"]["long"].endswith("x... [cut: 9,000 characters in all]")
    assert len(found["tags"]["long"]) == 8_000
    assert {key: found["tags"][key] for key in many} == many
    assert {len(each) for each in found["params"].values()} == {6_000}
    assert len(found["params"]) == 250


@pytest.mark.parametrize(
    ("version", "backend"),
    [
        ("newest", "shared"),
        ("2.22", "shared"),
        ("2.22", "file"),
        pytest.param("newest", "file", marks=pytest.mark.soak),
    ],
)
def test_nothing_is_there_twice(
    request: pytest.FixtureRequest,
    fault_proxy: PutProxy,
    open_store: OpenStore,
    ask: Callable[..., Any],
    experiment: str,
    version: str,
    backend: str,
) -> None:
    """Replies that are lost or cut, to every kind of write: one run, and each point once, on files too."""
    shared = "mlflow_" + version.replace(".", "_")
    private = request.getfixturevalue("private_mlflow")
    server = request.getfixturevalue(shared) if backend == "shared" else private(version, backend=backend)
    proxy = fault_proxy(server.url)
    store = open_store(proxy.url)
    run_id = new_run_id()
    proxy.lose_replies(path="experiments/create", times=1)
    proxy.lose_replies(path="runs/create", times=1)
    proxy.cut_replies(path="runs/search", times=1)
    run = until_done(lambda: store.create_run(new_run(experiment, run_id)))
    given = (*points("loss", 300), MetricPoint("nan", math.nan, NOW, 1), MetricPoint("inf", math.inf, NOW, 1))
    proxy.lose_replies(path="runs/log-batch", times=2)
    send_until_taken(store, run, Batch(1, given, {"p": "1"}, {"t": "1"}))
    proxy.answer(500, path="runs/log-batch", times=1)
    send_until_taken(store, run, Batch(2, (*points("loss", 300, 300), *points("other", 5)), {"q": "2"}))
    proxy.lose_replies(path="runs/update", times=1)
    until_done(lambda: store.update_run(run, RunUpdate(RunStatus.FINISHED, NOW + 1, "first")))
    proxy.heal()
    assert [row[1:] for row in ask(server, "runs", experiment)] == [["active", 2]]
    found = ask(server, "run", run.remote_id, ["loss", "nan", "inf", "other"])
    assert sorted(found["history"]["loss"]) == history_of(*points("loss", 600))
    assert [len(found["history"][key]) for key in ("nan", "inf", "other")] == [1, 1, 5]
    assert found["status"] == "FINISHED"
    assert store.create_run(new_run(experiment, run_id)) == run


def until_done(work: Callable[[], Any], attempts: int = 10) -> Any:
    """Do what the mirror does: come again."""
    for _ in range(attempts):
        try:
            return work()
        except StoreUnavailableError:
            continue
    pytest.fail(f"not done after {attempts} attempts")


def send_until_taken(store: MLflowServerStore, run: Any, batch: Batch) -> None:
    """Send a batch as the mirror does: every later attempt as a repeat."""
    for attempt in range(10):
        try:
            assert store.log_batch(run, dataclasses.replace(batch, is_repeat=attempt > 0)) == ()
        except StoreUnavailableError:
            continue
        return
    pytest.fail("not taken after 10 attempts")


def test_two_that_were_made(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """Of two runs with one id the one that holds more is used, and an empty one is deleted."""
    store = open_store(mlflow_server.url)
    new = new_run(experiment)
    first = store.create_run(new)
    store.log_batch(first, Batch(1, params={"p": "1"}))
    second = ask(mlflow_server, "make_run", experiment, {"runcontext.run_id": new.run_id})
    assert store.get_run(new.run_id).remote_id == first.remote_id
    assert store.create_run(new) == first
    assert sorted(ask(mlflow_server, "runs", experiment)) == sorted(
        [[first.remote_id, "active", 1], [second, "deleted", 0]]
    )


class Late(ServerSession):
    """A server that has not answered the first request to make a run, and does it when the next one comes."""

    held: Any = None

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """Write."""
        if path.endswith("runs/create"):
            if self.held is None:
                self.held = body
                message = "no answer"
                raise StoreUnavailableError(message)
            super().post(path, self.held)
        return super().post(path, body)


def test_a_run_that_was_made_late(mlflow_server: MLflowServer, ask: Callable[..., Any], experiment: str) -> None:
    """What an abandoned request makes while it is repeated is deleted at once: one of both is the run."""
    session = Late(mlflow_server.url, environment={}, header_providers=[], auth_providers=[])
    store = MLflowServerStore(mlflow_server.url, session=session)
    new = new_run(experiment)
    run = until_done(lambda: store.create_run(new))
    store.close()
    stages = {remote_id: stage for remote_id, stage, _ in ask(mlflow_server, "runs", experiment)}
    assert sorted(stages.values()) == ["active", "deleted"]
    assert stages[run.remote_id] == "active"


def test_a_run_goes_by_its_id_there(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """Once its id is on record it is that run, in an experiment of another name too; only its empty twins go."""
    store = open_store(mlflow_server.url)
    new = new_run(experiment)
    run = store.create_run(new)
    ended = new_run(experiment)
    short = store.create_run(ended)
    store.update_run(short, RunUpdate(RunStatus.FINISHED, NOW + 1, "first"))
    twins = [ask(mlflow_server, "make_run", experiment, {"runcontext.run_id": short.run_id}) for _ in range(5)]
    renamed = f"{experiment}, renamed"
    ask(mlflow_server, "rename_experiment", experiment, renamed)

    assert open_store(mlflow_server.url).create_run(dataclasses.replace(new, remote_id=run.remote_id)) == run
    assert open_store(mlflow_server.url).create_run(dataclasses.replace(ended, remote_id=short.remote_id)) == short
    assert ask(mlflow_server, "runs", experiment) == []
    stages = {remote_id: stage for remote_id, stage, _ in ask(mlflow_server, "runs", renamed)}
    assert stages == {run.remote_id: "active", short.remote_id: "active", **dict.fromkeys(twins, "deleted")}


def test_a_run_that_has_ended_is_no_empty_twin(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """A run without metrics and params is kept, whose id nobody remembers: what is deleted is as it was made."""
    store = open_store(mlflow_server.url)
    new = new_run(experiment)
    run = store.create_run(new)
    store.update_run(run, RunUpdate(RunStatus.FINISHED, NOW + 1, "first"))
    twins = [ask(mlflow_server, "make_run", experiment, {"runcontext.run_id": new.run_id}) for _ in range(5)]
    assert open_store(mlflow_server.url).create_run(new) == run
    tagged = ask(mlflow_server, "make_run", experiment, {"runcontext.run_id": new.run_id, "theirs": "kept"})
    store.create_run(new)
    stages = {remote_id: stage for remote_id, stage, _ in ask(mlflow_server, "runs", experiment)}
    assert stages == {run.remote_id: "active", tagged: "active", **dict.fromkeys(twins, "deleted")}


def test_what_one_may_not_do_holds_no_run(
    mlflow_newest: MLflowServer,
    open_store: OpenStore,
    fault_proxy: PutProxy,
    ask: Callable[..., Any],
    experiment: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that lets nobody delete a twin, or read the parent, has the run nevertheless."""
    proxy = fault_proxy(mlflow_newest.url)
    store = open_store(proxy.url)
    new = new_run(experiment)
    run = store.create_run(new)
    twin = ask(mlflow_newest, "make_run", experiment, {"runcontext.run_id": new.run_id})
    proxy.answer(403, path="runs/delete", times=1)
    assert store.create_run(dataclasses.replace(new, remote_id=run.remote_id)) == run
    assert f"twice: as {run.remote_id}, which is used, and as {twin}" in caplog.text
    proxy.answer(403, path="runs/get", times=1)
    child = store.create_run(new_run(experiment, parent_run_id=run.remote_id))
    assert store.get_run(child.run_id).parent_run_id == run.remote_id


def test_what_is_gone_is_not_made_anew(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """A run that was deleted says how to restore it, with its experiment first; one of no trace says what to do."""
    store = open_store(mlflow_server.url)
    new = new_run(experiment)
    run = store.create_run(new)
    known = dataclasses.replace(new, remote_id=run.remote_id)
    ask(mlflow_server, "delete_run", run.remote_id)
    with pytest.raises(StoreError, match=f"`mlflow runs restore --run-id {run.remote_id}`"):
        store.create_run(known)
    with pytest.raises(StoreError, match=r"and that is gone; delete mirror\.json"):
        store.create_run(dataclasses.replace(new, remote_id="0" * 32))
    assert [row[:2] for row in ask(mlflow_server, "runs", experiment)] == [[run.remote_id, "deleted"]]
    ask(mlflow_server, "delete_experiment", experiment)
    with pytest.raises(StoreError, match="`mlflow experiments restore"):
        store.create_run(known)


@pytest.mark.soak
def test_a_server_that_is_killed(
    private_mlflow: PrivateMLflow, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """Killed and started again in mid-run: what was on its way is sent again, and is there once."""
    server = private_mlflow()
    store = open_store(server.url)
    run = store.create_run(new_run(experiment))
    store.log_batch(run, Batch(1, points("loss", 10)))
    server.kill()
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        store.log_batch(run, Batch(2, points("loss", 10, 10)))
    server.start()
    send_until_taken(store, run, Batch(2, points("loss", 10, 10), is_repeat=True))
    assert ask(server, "run", run.remote_id, ["loss"])["history"]["loss"] == history_of(*points("loss", 20))


def test_what_was_deleted(
    mlflow_server: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """A run or an experiment that somebody deleted is an error that says how to restore it, and is in no answer."""
    store = open_store(mlflow_server.url)
    new = new_run(experiment)
    run = store.create_run(new)
    ask(mlflow_server, "delete_run", run.remote_id)
    for work in (
        lambda: store.create_run(new),
        lambda: store.get_run(new.run_id),
        lambda: store.get_run(run.remote_id),
        lambda: store.log_batch(run, Batch(1, params={"p": "1"})),
    ):
        with pytest.raises(StoreError, match="was deleted at") as caught:
            work()
        assert not isinstance(caught.value, StoreUnavailableError)
    assert store.search_runs(Query((experiment,))) == []
    ask(mlflow_server, "delete_experiment", experiment)
    with pytest.raises(StoreError, match=r"experiment .* was deleted at .*: restore it there"):
        store.create_run(new_run(experiment))
    assert store.search_runs(Query((experiment,))) == []


def test_what_is_not_there(mlflow_server: MLflowServer, open_store: OpenStore) -> None:
    """A run or an experiment id that the server does not have is said to be that."""
    store = open_store(mlflow_server.url)
    for run_id in (new_run_id(), "nope", "it's", "a/b#"):
        with pytest.raises(StoreError, match="no run"):
            store.get_run(run_id)
    with pytest.raises(StoreError, match="there is no experiment '9876'"):
        store.create_run(new_run("ignored", experiment_id="9876"))
    assert store.search_runs(Query(("no such experiment",))) == []


def test_experiments(mlflow_newest: MLflowServer, open_store: OpenStore, experiment: str) -> None:
    """A new experiment takes the wanted place of artifacts; one that is there is found by name and by id."""
    store = open_store(mlflow_newest.url)
    first = store.create_run(new_run(experiment, artifact_uri="s3://bucket/runs"))
    assert str(first.artifact_uri).startswith("s3://bucket/runs/")
    experiment_id = str(first.url).split("/")[-3]
    again = store.create_run(new_run("another name", experiment_id=experiment_id, artifact_uri="s3://elsewhere"))
    assert str(again.artifact_uri).startswith("s3://bucket/runs/")
    assert store.get_run(again.run_id).experiment_name == experiment


def test_search(mlflow_server: MLflowServer, open_store: OpenStore, experiment: str) -> None:
    """Filters, orders and pages are ours: our ids, LOST, and runs of one time in the order of their ids."""
    store = open_store(mlflow_server.url)
    ids = [new_run_id() for _ in range(7)]
    for number, run_id in enumerate(ids):
        run = store.create_run(new_run(experiment, run_id, start_time=NOW + number // 3))
        store.log_batch(run, Batch(1, (MetricPoint("m", float(number % 4), NOW, 0),), {"p": f"v{number}"}))
        if number % 2:
            store.update_run(run, RunUpdate(RunStatus.LOST, NOW + 9, "first"))
    newest_first = [ids[6], *ids[3:6], *ids[:3]]

    def found(filter_string: str = "", order_by: tuple[str, ...] = (), most: int | None = None) -> list[str]:
        """Walk through all pages."""
        query, runs = Query((experiment,), filter_string, order_by, most), []
        while True:
            page = store.search_runs(query)
            runs += page
            assert most is None or len(page) <= most
            if page.token is None:
                return [each.run_id for each in runs]
            query = dataclasses.replace(query, page_token=page.token)

    assert found() == newest_first
    assert found(most=2) == newest_first
    assert found(order_by=("metrics.m DESC",), most=3) == [ids[3], ids[6], ids[2], ids[5], ids[1], ids[4], ids[0]]
    assert found(order_by=("params.p",), most=3) == ids
    assert found("status = 'LOST'") == [ids[3], ids[5], ids[1]]
    assert found("status = 'FAILED'") == []
    assert found(f"run_id = '{ids[2]}'") == [ids[2]]
    assert found(f"run_id IN ('{ids[2]}', '{ids[4]}')") == [ids[4], ids[2]]
    assert found(f"run_id != '{ids[2]}' AND metrics.m < 2", most=1) == [ids[4], ids[5], ids[0], ids[1]]
    with pytest.raises(ValueError, match="nonsense"):
        found("nonsense")


def test_many_pages(mlflow_newest: MLflowServer, open_store: OpenStore, experiment: str) -> None:
    """More experiments and runs than a server gives at once are all found."""
    store = open_store(mlflow_newest.url)
    page = store.search_runs(Query(None, max_results=1))
    for _ in range(3):
        store.create_run(new_run(experiment))
    everything = store.search_runs(Query())
    assert len(everything) >= 3 + len(page)
    assert [each.experiment_name for each in everything[:3]] == [experiment] * 3 or len(everything) > 3


def test_an_old_server_with_smaller_limits(open_store: OpenStore) -> None:
    """What a server of smaller limits refuses for its length is cut to the limit that it names, and is in."""
    server = Loopback()
    try:
        store = open_store(server.url)
        made = {"run": {"info": {"run_id": "r", "experiment_id": "1", "artifact_uri": "x"}, "data": {}}}
        limit = "Param value 'x' had length 600, which exceeded length limit of 500"
        server.answers += [
            Answer.json(200, experiment={"experiment_id": "1", "name": "e"}),
            Answer.json(200, runs=[made["run"]]),
            Answer(),
            Answer.json(400, error_code="INVALID_PARAMETER_VALUE", message=limit),
            Answer.json(200, **made),
        ]
        run = store.create_run(new_run("e"))
        assert store.log_batch(run, Batch(1, params={"p": "x" * 600})) == ()
        sent = json.loads(server.asked[-1].body)["params"][0]["value"]
        assert (len(sent), sent[-33:]) == (500, "x... [cut: 600 characters in all]")
    finally:
        server.close()


@pytest.mark.soak
def test_over_tls(private_mlflow: PrivateMLflow, open_store: OpenStore, experiment: str, tmp_path: Path) -> None:
    """A run goes to MLflow's own server over TLS, verified with an authority of the test's."""
    authority = Authority(tmp_path)
    certificate = authority.issue("server")
    options = f"--ssl-keyfile {certificate} --ssl-certfile {certificate}"
    server = private_mlflow(args=["--uvicorn-opts", options], scheme="https")
    with pytest.raises(StoreError, match="does not verify"):
        open_store(server.url).create_run(new_run(experiment))
    store = open_store(server.url, MLFLOW_TRACKING_SERVER_CERT_PATH=str(authority.certificate))
    run = store.create_run(new_run(experiment))
    known = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.certificate)}
    source = "import json, sys, mlflow; print(json.dumps(mlflow.MlflowClient().get_run(sys.argv[1]).data.tags))"
    assert server.ask(source, run.remote_id, env=known)["runcontext.run_id"] == run.run_id


class ServerContract(TrackingStoreContract):
    """What both servers keep of the contract."""

    @pytest.fixture
    def opened(self, server: MLflowServer) -> Iterator[Callable[[], TrackingStore]]:
        """Give what opens the store again and again."""
        self.url = server.url
        made: list[TrackingStore] = []

        def opening() -> TrackingStore:
            made.append(MLflowServerStore(server.url))
            return made[-1]

        yield opening
        for each in made:
            each.close()

    def points(self, store: TrackingStore, run: StoredRun, key: str) -> int | None:
        """Count the points that the server gives."""
        del store
        params = {"run_id": run.remote_id, "metric_key": key, "max_results": 50_000}
        answer = requests.get(f"{self.url}/api/2.0/mlflow/metrics/get-history", params=params, timeout=60)
        return len(answer.json().get("metrics", ()))


class TestNewest(ServerContract):
    """The newest MLflow's server keeps to the contract."""

    @pytest.fixture
    def server(self, mlflow_newest: MLflowServer) -> MLflowServer:
        """Give it."""
        return mlflow_newest


@pytest.mark.soak
class Test222(ServerContract):
    """MLflow 2.22's server keeps to the contract."""

    @pytest.fixture
    def server(self, mlflow_2_22: MLflowServer) -> MLflowServer:
        """Give it."""
        return mlflow_2_22


@pytest.mark.soak
def test_many_points(
    mlflow_newest: MLflowServer, open_store: OpenStore, ask: Callable[..., Any], experiment: str
) -> None:
    """100,000 points are all there, and a repeat of the last batch takes no longer than they took."""
    store = open_store(mlflow_newest.url)
    run = store.create_run(new_run(experiment))
    began = time.perf_counter()
    for number in range(100):
        store.log_batch(run, Batch(number, points("loss", 1_000, number * 1_000)))
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    store.log_batch(run, Batch(99, points("loss", 1_000, 99_000), is_repeat=True))
    assert time.perf_counter() - began < seconds
    assert len(ask(mlflow_newest, "run", run.remote_id, ["loss"])["history"]["loss"]) == 100_000
