"""Runs in real databases: the contract of every store, and what is a database's own."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from sqlalchemy import func, inspect, select
from tests.places.sql_places import ENGINES, batch, connected, new_run, opened, points, uri_of

from runcontext.errors import StoreError
from runcontext.record import RunStatus
from runcontext.settings import current_settings
from runcontext.testing import TrackingStoreContract
from runcontext.tracking.sql import SqlStore, addresses
from runcontext.tracking.sql.schema import BATCHES, LARGEST_DOUBLE, METADATA, METRIC_POINTS, VERSION_TABLE
from runcontext.tracking.store import Batch, MetricPoint, Query, Refusal, RunUpdate, StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runcontext.tracking.store import TrackingStore


def _count(uri: str, *where: object) -> int:
    with connected(uri) as connection:
        wanted = select(func.count()).select_from(METRIC_POINTS).where(*where)  # type: ignore[arg-type]
        return int(connection.execute(wanted).scalar_one())


class _Contract(TrackingStoreContract):
    engine: ClassVar[str]

    @pytest.fixture(autouse=True)
    def database(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Make one database for all tests of an engine."""
        if "store_uri" not in vars(type(self)):
            type(self).store_uri = uri_of(self.engine, request, tmp_path_factory.mktemp("sql"))

    def points(self, store: TrackingStore, run: StoredRun, key: str) -> int | None:
        """Count them in their table."""
        del store
        return _count(self.store_uri, METRIC_POINTS.c.run_id == run.run_id, METRIC_POINTS.c.name == key)


class TestSQLite(_Contract):
    """SQLite keeps the contract."""

    engine = "sqlite"


class TestPostgreSQL(_Contract):
    """PostgreSQL keeps the contract."""

    engine = "postgresql"


class TestMariaDB(_Contract):
    """MariaDB keeps the contract."""

    engine = "mariadb"


@pytest.fixture(params=ENGINES)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URI of an empty database of each engine."""
    return uri_of(request.param, request, tmp_path)


@pytest.fixture
def store(uri: str) -> Iterator[SqlStore]:
    """Give a store over it."""
    with opened(uri) as found:
        yield found


def test_names_and_values_are_kept_apart(store: SqlStore) -> None:
    """Names that differ in case, in accents or in a space at their end are other names, on every engine."""
    texts = {"a": "1", "A": "2", "ä": "3", "a ": "4", "a/b": "\0 \ud800", "B": "", "b": "😀" * 1_000}
    run = store.create_run(new_run(1, tags=texts, experiment_name="Größe"))
    store.create_run(new_run(2, experiment_name="größe"))
    store.create_run(new_run(3, experiment_name="Größe "))
    metrics = {key: float(number) for number, key in enumerate(texts)}
    store.log_batch(run, batch(metrics=metrics, params=texts, tags={"a": "new"}))
    found = store.get_run(run.run_id)
    written = {**texts, "a/b": "\\x00 \\ud800"}
    assert dict(found.tags) == {**written, "a": "new"}
    assert (dict(found.params), dict(found.metrics)) == (written, metrics)
    assert [each.run_id for each in store.search_runs(Query(("Größe",)))] == [run.run_id]


def test_every_double_comes_back(store: SqlStore) -> None:
    """The ends of the range are read as they were written, apart from the infinities beyond them; NaN is NaN."""
    numbers = {
        "max": LARGEST_DOUBLE,
        "min": -LARGEST_DOUBLE,
        "tiny": 5e-324,
        "inf": math.inf,
        "-inf": -math.inf,
        "0.1": 0.1,
    }
    run = store.create_run(new_run(1))
    store.log_batch(run, batch(metrics={**numbers, "nan": math.nan}))
    found = dict(store.get_run(run.run_id).metrics)
    assert math.isnan(found.pop("nan"))
    assert found == numbers


def test_a_batch_is_taken_once_however_it_comes(uri: str, store: SqlStore) -> None:
    """Four senders of the same 20 batches at once leave each point there once, and the latest of them as the latest."""
    run = store.create_run(new_run(1))
    batches = [Batch(number, points({"m": number, f"m{number}": 1.0}, step=number)) for number in range(1, 21)]
    failures: list[BaseException] = []

    def send() -> None:
        try:
            with opened(uri) as own:
                for each in batches:
                    own.log_batch(run, each)
        except BaseException as error:  # noqa: BLE001 - the test is to see whatever it is
            failures.append(error)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
    assert _count(uri) == 40
    assert store.get_run(run.run_id).metrics["m"] == 20


def test_batches_out_of_order(store: SqlStore, uri: str) -> None:
    """A batch that comes after a later one is taken, and its older points are not the latest."""
    run = store.create_run(new_run(1))
    for number in (2, 1):
        store.log_batch(run, Batch(number, points({"m": float(number)}, step=number)))
    assert (store.get_run(run.run_id).metrics["m"], _count(uri)) == (2.0, 2)


def test_a_transaction_that_fails_leaves_nothing(store: SqlStore, uri: str) -> None:
    """Where a part of a batch cannot be written, nothing of it is there, and it can be sent again."""
    run = store.create_run(new_run(1))
    wrong = Batch(1, points({"m": 1.0}), params={"p": None})  # type: ignore[dict-item]
    with pytest.raises(StoreError):
        store.log_batch(run, wrong)
    assert _count(uri) == 0
    store.log_batch(run, Batch(1, points({"m": 1.0}), params={"p": "1"}))
    assert (_count(uri), dict(store.get_run(run.run_id).params)) == (1, {"p": "1"})


def test_what_no_database_can_hold_is_refused(store: SqlStore) -> None:
    """Too long a name and a number of more than 64 bits are refused by name, also when sent again; the rest is in."""
    run = store.create_run(new_run(1))
    long = "k" * 251
    metrics = (MetricPoint("m", 1.0, 5, 2**63), MetricPoint(long, 1.0, 5, 1), MetricPoint("n", 2.0, 5, -(2**63)))
    for _ in range(2):
        refused = store.log_batch(run, Batch(1, metrics, {long: "1", "p": "1"}, {long: "1", "😀" * 125: "1"}))
        assert [(each.kind, each.key) for each in refused] == [
            ("metric", "m"),
            ("metric", long),
            ("param", long),
            ("tag", long),
        ]
        assert all(isinstance(each, Refusal) and each.reason for each in refused)
    found = store.get_run(run.run_id)
    assert (dict(found.metrics), dict(found.params), dict(found.tags)) == ({"n": 2.0}, {"p": "1"}, {"😀" * 125: "1"})
    with pytest.raises(StoreError, match="501 characters; a database takes 500"):
        store.create_run(new_run(2, experiment_name="e" * 501))


def test_the_name_of_a_run_is_its_tag(store: SqlStore) -> None:
    """To change the tag ``mlflow.runName`` or the name changes the other, as on MLflow's servers."""
    run = store.create_run(new_run(1))
    store.log_batch(run, batch(tags={"mlflow.runName": "by tag"}))
    assert [each.run_name for each in store.search_runs(Query(filter_string="run_name = 'by tag'"))] == ["by tag"]
    store.update_run(run, RunUpdate(RunStatus.LOST, 2_000, "by update"))
    found = store.get_run(run.run_id)
    assert (found.run_name, found.tags["mlflow.runName"], found.status) == ("by update", "by update", RunStatus.LOST)


def test_tables_are_its_own(store: SqlStore, uri: str) -> None:
    """Every table begins with ``runcontext_``, the version table too, and is as the module describes it."""
    store.create_run(new_run(1))
    with connected(uri) as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == {*METADATA.tables, VERSION_TABLE}
        for name, table in METADATA.tables.items():
            assert [each["name"] for each in found.get_columns(name)] == list(table.c.keys())
            assert found.get_pk_constraint(name)["constrained_columns"] == [each.name for each in table.primary_key]
            assert [each["nullable"] for each in found.get_columns(name)] == [each.nullable for each in table.c]


def test_artifact_uris_are_stored_without_credentials(
    store: SqlStore, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user wants is stored without its password, and the settings give it back; else it is the database."""
    root = "s3://key:s3cret@bucket/a?region=x&token=s3cret"
    run = store.create_run(new_run(1, artifact_uri=root))
    assert run.artifact_uri == f"s3://key:s3cret@bucket/a/{run.run_id}/artifacts?region=x&token=s3cret"
    shown = store.get_run(run.run_id).artifact_uri
    assert shown == f"s3://key@bucket/a/{run.run_id}/artifacts?region=x"
    assert "s3cret" not in _everything(uri)
    monkeypatch.setenv("RUNCONTEXT_ARTIFACT_URI", root)
    assert store.create_run(new_run(1)).artifact_uri == run.artifact_uri
    other = store.create_run(new_run(2))
    assert str(other.artifact_uri).partition("?")[0].endswith(f"/{other.run_id}/artifacts")
    assert "s3cret" not in str(store.get_run(other.run_id).artifact_uri)


@pytest.mark.parametrize(
    ("root", "stored"),
    [
        ("sqlite:////{folder}/arts.db", "sqlite:////{folder}/arts.db/"),
        ("sqlite:///arts.db", "sqlite:////{folder}/arts.db/"),
        ("sqlite:///sub/../arts.db?timeout=5", "sqlite:////{folder}/sub/../arts.db/"),
        ("files/below", "/{folder}/files/below/"),
        ("/{folder}/files", "/{folder}/files/"),
        ("file:///{folder}/files", "file:///{folder}/files/"),
    ],
)
def test_artifacts_are_read_back_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, stored: str
) -> None:
    """Where the user wants artifacts is stored in whole, so that nobody needs the variable, or that folder, again."""
    folder = str(tmp_path).lstrip("/")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNCONTEXT_ARTIFACT_URI", root.format(folder=folder))
    (tmp_path / "sub").mkdir()
    (tmp_path / "note").write_text("kept", encoding="utf-8")
    uri = f"sqlite:////{folder}/runs.db"
    with opened(uri) as store:
        run = store.create_run(new_run(1, artifact_uri=current_settings().artifact_uri))
        repository = store.artifacts(run)
        repository.upload_file(str(tmp_path / "note"), "note")
        repository.close()
    monkeypatch.delenv("RUNCONTEXT_ARTIFACT_URI")
    monkeypatch.chdir(tmp_path / "sub")
    with opened(uri) as store:
        found = str(store.get_run(run.run_id).artifact_uri)
        assert found.startswith(stored.format(folder=folder) + run.run_id)
        repository = store.artifacts(StoredRun(run.run_id, run.run_id, None, found))
        repository.download_file("note", "back")
        repository.close()
    assert Path("back").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a", "mlflow-artifacts:/1", "hdfs:///a/b", "sftp://ada@h/srv", "gs://b/?x=1", "memory://x"]
)
def test_an_artifact_uri_of_elsewhere_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Only what depends on the working directory is changed, and what is stored keeps its slashes."""
    monkeypatch.setenv("RUNCONTEXT_ARTIFACT_URI", uri)
    assert current_settings().artifact_uri == uri
    assert addresses.without_credentials(uri) == uri


def _everything(uri: str) -> str:
    with connected(uri) as connection:
        return " ".join(str(connection.execute(select(each)).all()) for each in METADATA.sorted_tables)


def test_reading_makes_nothing(tmp_path: Path, uri: str, store: SqlStore) -> None:
    """A database without tables has no runs, and none after it was asked; a file that is not there is not made."""
    missing = tmp_path / "folder" / "none.db"
    with opened(f"sqlite:///{missing}") as other:
        for ask in (lambda: other.get_run("a" * 32), lambda: other.search_runs(Query())):
            with pytest.raises(StoreError, match=f"there is no file {missing}; writing a run makes it"):
                ask()
    assert not missing.parent.exists()
    if uri.startswith("sqlite"):
        (tmp_path / "runs.db").touch()
    assert store.search_runs(Query()) == []
    with pytest.raises(StoreError, match="no run 'aa'"):
        store.get_run("aa")
    with connected(uri) as connection:
        assert inspect(connection).get_table_names() == []


def test_a_file_and_its_folder_are_made_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path begins where the program runs, also once that is elsewhere, and the file is in WAL mode."""
    monkeypatch.chdir(tmp_path)
    with opened("sqlite:///new/folder/runs.db") as store:
        monkeypatch.chdir("/")
        store.create_run(new_run(1))
    assert (tmp_path / "new/folder/runs.db").read_bytes()[
        18:20
    ] == b"\x02\x02"  # sqlite.org, "Database File Format", 1.3


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    """While a transaction writes to SQLite, what was there before can be read at once."""
    uri = f"sqlite:///{tmp_path}/runs.db?timeout=0.1"
    with opened(uri) as store, opened(uri) as reader:
        store.create_run(new_run(1))
        with store._writing():
            assert len(reader.search_runs(Query())) == 1


_FORKING = """
import os, sys
from runcontext.tracking.sql import SqlStore
from runcontext.tracking.store import Batch, MetricPoint, NewRun
store = SqlStore(sys.argv[1])
run = store.create_run(NewRun(32 * "0", "run", "Default", 1_000, {}))
child = os.fork()
store.log_batch(run, Batch(1 if child else 2, (MetricPoint("parent" if child else "child", 1.0, 5, 0),)))
store.close()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
store.log_batch(run, Batch(3, (MetricPoint("parent", 2.0, 5, 1),)))
store.close()
"""


def test_a_forked_process_has_connections_of_its_own(uri: str, store: SqlStore) -> None:
    """Parent and child write at once through the store that both have, and neither disturbs the other."""
    subprocess.run([sys.executable, "-W", "error", "-c", _FORKING, uri], check=True)
    assert dict(store.get_run("0" * 32).metrics) == {"child": 1.0, "parent": 2.0}
    assert _count(uri) == 3


def test_a_file_that_was_deleted_is_not_written_to(tmp_path: Path) -> None:
    """Nothing goes into a file that has no name any more: the run is missed, and a new one makes a new file."""
    with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        run = store.create_run(new_run(1))
        for each in tmp_path.glob("runs.db*"):
            each.unlink()
        with pytest.raises(StoreError, match=f"runs.db: there is no run '{run.run_id}'"):
            store.log_batch(run, batch())
        store.log_batch(store.create_run(new_run(1)), batch(metrics={"m": 1.0}))
        assert len(store.search_runs(Query())) == 1


def test_a_closed_store_can_be_used_again(store: SqlStore) -> None:
    """Closing lets go of connections; whoever has an idle store can give them back, and go on later."""
    run = store.create_run(new_run(1))
    store.close()
    store.log_batch(run, batch(metrics={"m": 1.0}))
    assert dict(store.get_run(run.run_id).metrics) == {"m": 1.0}


def test_nothing_is_imported_before_it_is_needed() -> None:
    """To import runcontext, its stores' protocol and their places imports no database library."""
    code = (
        "import sys, runcontext, runcontext.tracking.store, runcontext.tracking.places;"
        "print([each for each in ('sqlalchemy', 'alembic', 'psycopg', 'pymysql') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_takes_many_batches(store: SqlStore, uri: str) -> None:
    """Twenty thousand points of forty metrics are all there, each batch noted once."""
    run = store.create_run(new_run(1))
    for number in range(20):
        points = tuple(
            MetricPoint(f"m{step % 40}", step / 8, 1_000 + step, number * 1_000 + step) for step in range(1_000)
        )
        store.log_batch(run, Batch(number + 1, points))
    assert _count(uri) == 20_000
    with connected(uri) as connection:
        assert connection.execute(select(func.count()).select_from(BATCHES)).scalar_one() == 20
    assert store.get_run(run.run_id).metrics["m39"] == 999 / 8
