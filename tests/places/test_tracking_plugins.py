"""MLflow's own plugin kinds, unchanged: its tracking stores through the adapter, its default experiments, its headers.

What is run in MLflow's environment is MLflow's own store of files, as the plugin of its documentation has it, and its
store of databases, built by a function.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from tests.places import servers_mlflow
from tests.places.servers_kept import CannotStartError, clean_environment
from tests.places.throwaway import Site, new_site

from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.record import RunStatus
from runcontext.testing import DefaultExperimentContract, RequestAuthContract, RequestHeaderContract, new_run
from runcontext.tracking import places
from runcontext.tracking.default_experiment import default_experiment
from runcontext.tracking.store import Batch, MetricPoint, Query, RunUpdate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORES, EXPERIMENTS = "mlflow.tracking_store", "mlflow.default_experiment_provider"
_INSTALL_SECONDS = 600

FILE_PLUGIN = """
from urllib.parse import urlparse

from mlflow.store.tracking.file_store import FileStore


class PluginFileStore(FileStore):
    def __init__(self, store_uri=None, artifact_uri=None):
        path = urlparse(store_uri).path if store_uri else None
        self.is_plugin = True
        super().__init__(path, artifact_uri)


def database(store_uri=None, artifact_uri=None):
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(store_uri.replace("database-plugin:", "sqlite:", 1), artifact_uri or "./mlruns")
"""
"""``PluginFileStore`` as MLflow's page has it ("Defining a Plugin"); the second is a function, as plugins may be."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Give a folder on this process's path, and a cache and settings of this test's own."""
    made = new_site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.setenv("RUNCONTEXT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return made


# --- with MLflow -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["newest"])
def in_mlflow(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Callable[..., str]:
    """Give the function that runs code in MLflow's environment, with the plugin, runcontext and pytest beside it."""
    try:
        python = servers_mlflow.installed(request.param).python
    except CannotStartError as error:
        pytest.skip(str(error))
    entry_points = {"file-plugin": "PluginFileStore", "database-plugin": "database"}
    site.install("mlflow-test-plugin", FILE_PLUGIN, {STORES: entry_points})

    def run(source: str) -> str:
        variables = {
            **clean_environment(tmp_path),
            "PYTHONPATH": str(site.folder),
            "RUNCONTEXT_CACHE_DIR": str(tmp_path / "cache"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }
        # What MLflow's environment has itself comes first.
        path = f"import sys; sys.path += {[each for each in sys.path if os.path.isdir(each)]!r}\n"
        script = tmp_path / "script.py"
        script.write_text(path + textwrap.dedent(source), encoding="utf-8")
        done = subprocess.run(
            [python, str(script), str(tmp_path)],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        assert "Failure attempting to register" not in done.stderr
        return done.stdout

    return run


ROUND_TRIP = """
import json
import os
from runcontext.errors import StoreError
from runcontext.record import RunStatus
from runcontext.testing import new_run
from runcontext.tracking import places
from runcontext.tracking.store import Batch, MetricPoint, Query, RunUpdate

folder = sys.argv[1]


def kept(uri):
    store = places.open_store(uri)
    new = new_run("plugged", tags={"team": "vision", "bad key!": "x"})
    stored = store.create_run(new)
    points = tuple(MetricPoint("loss", 1 / (step + 1), 1000 + step, step) for step in range(20))
    refusals = store.log_batch(stored, Batch(1, points, {"lr": "0.1"}, {"stage": "one", "\\x00": "never"}))
    store.log_batch(stored, Batch(1, points, {"lr": "0.1"}, is_repeat=True))
    refusals += store.log_batch(stored, Batch(2, (), {"lr": "0.2"}))
    store.update_run(stored, RunUpdate(RunStatus.LOST, 2000, "renamed"))
    again = places.open_store(uri)
    record = again.get_run(new.run_id)
    (found,) = again.search_runs(Query(("plugged",), "params.lr = '0.1' and status = 'LOST'"))
    repository = store.artifacts(stored)
    repository.upload_file(__file__, "sub/a.py")
    return {
        "same": [record.run_id, found.run_id, record.remote_id] == [new.run_id, new.run_id, stored.remote_id],
        "status": [record.status, record.end_time, record.run_name, record.experiment_name, record.url],
        "tags": dict(record.tags),
        "params": dict(record.params),
        "metrics": dict(record.metrics),
        "points": len(store._server._store.get_metric_history(stored.remote_id, "loss")),
        "refused": [[each.kind, each.key] for each in refusals],
        "artifacts": [each.path for each in repository.list_artifacts("sub")],
    }


uris = f"file-plugin:{folder}/files", f"database-plugin:///{folder}/runs.db"
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "false"
try:
    places.open_store(uris[0])
except StoreError as error:
    refusal = str(error)
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
print(json.dumps([refusal, *map(kept, uris)]))
"""


@pytest.mark.mlflow
@pytest.mark.timeout(_INSTALL_SECONDS)
def test_mlflows_own_stores_as_plugins(in_mlflow: Callable[..., str], tmp_path: Path) -> None:
    """A run goes in, once however often it is sent, and comes back; what MLflow will not take is said by name.

    So are MLflow's own words, where it wants to be asked before it keeps runs in files.
    """
    # With MLflow's tables: to make them takes it many times as long as all the rest.
    shutil.copy(servers_mlflow.installed("newest").database, tmp_path / "runs.db")
    refusal, *stores = json.loads(in_mlflow(ROUND_TRIP).splitlines()[-1])

    assert refusal.startswith("tracking store 'file-plugin' of mlflow-test-plugin 1.0")
    assert "MLFLOW_ALLOW_FILE_STORE=true" in refusal
    assert len(stores) == 2
    for found in stores:
        assert found["same"]
        assert found["status"] == ["LOST", 2000, "renamed", "plugged", None]
        assert {"team": "vision", "stage": "one"}.items() <= found["tags"].items()
        assert not any(key.startswith("runcontext.") for key in found["tags"])
        assert (found["params"], found["metrics"], found["points"]) == ({"lr": "0.1"}, {"loss": 0.05}, 20)
        assert ["param", "lr"] in found["refused"]
        assert ["tag", "\0"] in found["refused"]
        assert found["artifacts"] == ["sub/a.py"]


CONTRACT = """
import os
import pytest
from runcontext.testing import TrackingStoreContract

FOLDER = os.environ["FOLDER"]


class TestFiles(TrackingStoreContract):
    store_uri = f"file-plugin:{FOLDER}/files"

    @pytest.mark.xfail(reason="MLflow's store of files takes no experiment with a ' in its name", strict=True)
    def test_texts(self, store, experiment):
        super().test_texts(store, experiment)


class TestDatabase(TrackingStoreContract):
    store_uri = f"database-plugin:///{FOLDER}/runs.db"
"""


@pytest.mark.soak
@pytest.mark.mlflow
@pytest.mark.timeout(_INSTALL_SECONDS)
def test_mlflows_own_stores_keep_the_contract(in_mlflow: Callable[..., str], tmp_path: Path) -> None:
    """The contract of every tracking store, over MLflow's store of files and its store of databases as plugins."""
    (tmp_path / "test_contract.py").write_text(CONTRACT, encoding="utf-8")
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:warnings", str(tmp_path / "test_contract.py")]
    said = in_mlflow(f"import os, pytest; os.environ['FOLDER'] = {str(tmp_path)!r}; sys.exit(pytest.main({words!r}))")
    assert "1 xfailed" in said
    assert "passed" in said


# --- without MLflow --------------------------------------------------------------------------------------------------

SIMPLE = """
from dataclasses import dataclass, field

class Gone(Exception):
    error_code = "RESOURCE_DOES_NOT_EXIST"

class Busy(Exception):
    error_code = "TEMPORARILY_UNAVAILABLE"

class Page(list):
    token = None

@dataclass
class Experiment:
    experiment_id: str
    name: str
    lifecycle_stage: str = "active"

@dataclass
class Info:
    run_id: str
    run_name: str
    experiment_id: str
    start_time: int
    status: int = 1
    end_time: object = None
    artifact_uri: str = "/nowhere"
    lifecycle_stage: str = "active"

@dataclass
class Data:
    metrics: dict = field(default_factory=dict)
    params: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)

@dataclass
class Run:
    info: Info
    data: Data
    history: list = field(default_factory=list)

EXPERIMENTS, RUNS = {}, {}

class Store:
    def __init__(self, store_uri, artifact_uri):
        self.uri = store_uri

    def create_experiment(self, name, artifact_location, tags):
        EXPERIMENTS[str(len(EXPERIMENTS))] = Experiment(str(len(EXPERIMENTS)), name)
        return len(EXPERIMENTS) - 1

    def get_experiment(self, experiment_id):
        if experiment_id not in EXPERIMENTS:
            raise Gone(experiment_id)
        return EXPERIMENTS[experiment_id]

    def search_experiments(self, view_type=1, max_results=1000, page_token=None):
        return Page(EXPERIMENTS.values())

    def create_run(self, experiment_id, user_id, start_time, tags, run_name):
        run = Run(Info(str(len(RUNS)), run_name, experiment_id, start_time), Data(tags={t.key: t.value for t in tags}))
        RUNS[run.info.run_id] = run
        return run

    def get_run(self, run_id):
        return RUNS.get(run_id)

    def update_run_info(self, run_id, run_status, end_time):
        RUNS[run_id].info.status, RUNS[run_id].info.end_time = run_status, end_time

    def log_batch(self, run_id, metrics, params, tags):
        run = RUNS[run_id]
        for each in [*params, *tags]:
            if each.key == "bad":
                raise ValueError("bad is no key")
            if each.key == "busy":
                raise Busy("later")
        run.history += metrics
        run.data.metrics.update({m.key: m.value for m in metrics})
        run.data.params.update({p.key: p.value for p in params})
        run.data.tags.update({t.key: t.value for t in tags})

    def get_metric_history(self, run_id, metric_key):
        return [each for each in RUNS[run_id].history if each.key == metric_key]

    def search_runs(self, experiment_ids, filter_string, run_view_type, max_results, order_by, page_token):
        return Page(run for run in RUNS.values() if run.info.experiment_id in experiment_ids)
"""
"""What MLflow's plugins look like, without a need of MLflow: entities of its own, and no more methods than it must."""


def test_a_store_that_needs_no_mlflow(site: Site) -> None:
    """What looks like a store of MLflow's is one, with records in the place of MLflow's classes, and finds its runs."""
    module = site.install("simple", SIMPLE, {STORES: {"simple": "Store"}})
    store = places.open_store("simple://ada:pw-1815@h")
    new, other = new_run("e", start_time=1), new_run("e", start_time=2)
    stored = store.create_run(new)
    assert store.create_run(new).remote_id == stored.remote_id
    assert store.create_run(other).remote_id != stored.remote_id
    points = (MetricPoint("m", 1.0, 5, 0), MetricPoint("m", float("nan"), 6, 1))
    for is_repeat in (False, True):
        store.log_batch(stored, Batch(1, points, {"p": "1"}, is_repeat=is_repeat))
    store.update_run(stored, RunUpdate(RunStatus.FINISHED, 9, "later"))

    assert store.uri == "simple://ada:[redacted]@h"
    record = store.get_run(new.run_id)
    assert (record.status, record.end_time, dict(record.params)) == (RunStatus.FINISHED, 9, {"p": "1"})
    assert [each.run_id for each in store.search_runs(Query(("e",)))] == [other.run_id, new.run_id]
    assert len(sys.modules[module].RUNS[stored.remote_id].history) == 2


def test_one_item_at_fault_costs_only_itself(site: Site) -> None:
    """What a store will never take is told by name, after the rest is in; what it may take later is tried later."""
    module = site.install("simple", SIMPLE, {STORES: {"simple": "Store"}})
    store = places.open_store("simple://h")
    stored = store.create_run(new_run("e"))
    (refusal,) = store.log_batch(
        stored, Batch(1, (MetricPoint("m", 1.0, 5, 0),), {"p": "1"}, {"bad": "x", "good": "y"})
    )

    assert (refusal.kind, refusal.key) == ("tag", "bad")
    assert "simple 1.0" in refusal.reason
    kept = sys.modules[module].RUNS[stored.remote_id]
    assert (kept.data.params, kept.data.tags["good"], len(kept.history)) == ({"p": "1"}, "y", 1)
    with pytest.raises(StoreUnavailableError, match="later"):
        store.log_batch(stored, Batch(2, tags={"busy": "x"}))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Store:\n    def __init__(self, store_uri, artifact_uri): exit(5)", "cannot be built: SystemExit: 5"),
        ("def Store(store_uri, artifact_uri): return None", "gave a NoneType without create_experiment()"),
        ("def Store(uri): return None", "unexpected keyword argument"),
        ("import mlflow_that_is_nowhere", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_store_that_cannot_be_opened(site: Site, source: str, said: str) -> None:
    """It is one error, which names plugin and package."""
    site.install("broken", f"{source}\n", {STORES: {"broken": "Store"}})
    with pytest.raises(StoreError) as caught:
        places.open_store("broken://h")
    assert str(caught.value).startswith("tracking store 'broken' of broken 1.0")
    assert said in str(caught.value)


# --- the default experiment ------------------------------------------------------------------------------------------

PROVIDER = """
class Provider:
    def in_context(self):
        {in_context}

    def get_experiment_id(self):
        {experiment_id}
"""


def provide(site: Site, name: str, in_context: str, experiment_id: str) -> None:
    """Install a provider of MLflow's kind."""
    source = PROVIDER.format(in_context=in_context, experiment_id=experiment_id)
    site.install(name, source, {EXPERIMENTS: {"unused": "Provider"}})


def test_the_first_in_context_names_the_experiment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the packages' names; one that fails or gives nothing is passed by, and MLflow's variable wins."""
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    provide(site, "c", "return True", "return '17'")
    assert default_experiment() == "17"
    provide(site, "a", "return False", "return '1'")
    provide(site, "b", "return True", "return None")
    assert default_experiment() == "17"
    provide(site, "b2", "return True", "return 4")
    assert default_experiment() == "4"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "99")
    assert default_experiment() == "99"


@pytest.mark.parametrize(
    ("in_context", "experiment_id", "said"),
    [
        ("raise OSError('no token')", "return '1'", "failed: OSError: no token"),
        ("return True", "exit(3)", "failed: SystemExit: 3"),
        ("return True", "return ['1']", "gave a list for get_experiment_id(); a text is expected"),
        ("return True", "return True", "gave a bool for get_experiment_id(); a text is expected"),
    ],
)
def test_one_that_fails_is_said_once(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    in_context: str,
    experiment_id: str,
    said: str,
) -> None:
    """It costs its answer, and is named in one line."""
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    provide(site, "bad", in_context, experiment_id)
    provide(site, "good", "return True", "return '7'")
    caplog.set_level(logging.WARNING, "runcontext")

    assert [default_experiment(), default_experiment()] == ["7", "7"]
    (line,) = [each for each in caplog.messages if "of bad 1.0" in each]
    assert said in line


# --- the contracts of what speaks for a request ----------------------------------------------------------------------


class _Headers:
    def in_context(self) -> bool:
        return True

    def request_headers(self) -> dict[str, str | None]:
        return {"X-Team": "vision", "X-Unset": None}


class _Auth:
    def get_name(self) -> str:
        return "team"

    def get_auth(self) -> Any:
        def sign(request: Any) -> Any:
            request.headers["X-Signed"] = request.url
            return request

        return sign


class _Pair(_Auth):
    def get_auth(self) -> Any:
        return ("ada", "password")


class _Experiment:
    def in_context(self) -> bool:
        return True

    def get_experiment_id(self) -> str:
        return "3"


class TestHeaders(RequestHeaderContract):
    """A class that keeps the contract."""

    provider = _Headers


class TestHeadersFunction(RequestHeaderContract):
    """A function that builds one is as good."""

    provider = lambda: _Headers()  # noqa: E731, PLW0108 - a function, and not the class


class TestAuth(RequestAuthContract):
    """What signs a request."""

    provider = _Auth


class TestAuthPair(RequestAuthContract):
    """A user and a password."""

    provider = _Pair()


class TestExperiment(DefaultExperimentContract):
    """What names an experiment."""

    provider = _Experiment


class _Leaky(_Headers):
    def request_headers(self) -> dict[str, str | None]:
        return {"X-Team": "vision\r\nX-Other: 1"}


class _Misnamed(_Headers):
    def request_headers(self) -> dict[str, str | None]:
        return {"X Team:": "vision"}


class _Vague(_Headers):
    def in_context(self) -> bool:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("provider", "test"),
    [
        (_Leaky, "test_its_headers_can_be_sent"),
        (_Misnamed, "test_its_headers_can_be_sent"),
        (_Vague, "test_it_says_whether_it_is_in_context"),
        (_Auth, "test_it_has_the_shape_of_its_kind"),
    ],
)
def test_the_contract_tells_what_is_wrong(provider: type, test: str) -> None:
    """A provider whose headers cannot be sent, that gives no plain answer or is of another kind does not pass."""
    contract = type("Contract", (RequestHeaderContract,), {"provider": provider})()
    with pytest.raises(AssertionError):
        getattr(contract, test)()
