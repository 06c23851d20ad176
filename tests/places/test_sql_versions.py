"""Versions of the schema: made once however many begin, upgraded, written by two versions at once, refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text, update
from tests.places.sql_places import ENGINES, batch, connected, new_run, opened, uri_of

import runcontext
from runcontext.errors import StoreError
from runcontext.tracking.sql import upgrading
from runcontext.tracking.sql import writing as rows
from runcontext.tracking.sql.schema import LATEST_METRICS, VERSION, VERSIONS
from runcontext.tracking.store import Query

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGE = Path(runcontext.__file__).parent
_VERSION_LINE = f'VERSION = "{VERSION}"'
_PROGRAM = """
import json, sys
from runcontext.errors import StoreError
from runcontext.tracking.sql import SqlStore
from runcontext.tracking.store import Batch, MetricPoint, NewRun, Query
uri, run_id = sys.argv[1:]
store = SqlStore(uri)
try:
    run = store.create_run(NewRun(run_id, "by " + run_id[:2], "Default", 1_000, {}))
    store.log_batch(run, Batch(1, (MetricPoint("m", 1.0, 5, 0),), {"p": "1"}, {"t": "1"}))
    found = {each.run_id[:2]: [dict(each.metrics), dict(each.params)] for each in store.search_runs(Query())}
    print(json.dumps({"runs": found}))
except StoreError as error:
    print(json.dumps({"error": str(error)}))
finally:
    store.close()
"""
_REVISION = """
from alembic import op
from sqlalchemy import Column, Integer

revision, down_revision, branch_labels, depends_on = "{version}", "{before}", None, None

def upgrade():
    op.add_column("runcontext_runs", Column("colour", Integer, nullable=True))
"""


@pytest.fixture(params=ENGINES)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URI of an empty database of each engine."""
    return uri_of(request.param, request, tmp_path)


# Each of these starts four to six processes: the servers' turn is among the long tests.
on_every_engine = pytest.mark.parametrize(
    "uri", ["sqlite", *(pytest.param(each, marks=pytest.mark.soak) for each in ENGINES[1:])], indirect=True
)


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the function that makes a runcontext of another schema; it gives the folder to import that from."""
    folder = tmp_path_factory.mktemp("versions")

    def make(version: str) -> Path:
        place = folder / version
        if not place.exists():
            package = place / "runcontext"
            shutil.copytree(_PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
            schema = package / "tracking/sql/schema.py"
            words = schema.read_text(encoding="utf-8")
            assert _VERSION_LINE in words
            schema.write_text(words.replace(_VERSION_LINE, f'VERSION = "{version}"'), encoding="utf-8")
            revision = package / "tracking/sql/migrations/versions/another.py"
            revision.write_text(_REVISION.format(version=version, before=VERSION), encoding="utf-8")
        return place

    return make


def _write(uri: str, run_id: str, place: Path = _PACKAGE.parent) -> dict[str, Any]:
    """Make a run in a process of its own, by the runcontext in a folder; give what that says."""
    command = [sys.executable, "-c", _PROGRAM, uri, run_id]
    environment = {"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_newest_revision_is_the_version() -> None:
    """What the module calls its version is what Alembic calls the head, and there is one."""
    config = Config()
    config.set_main_option("script_location", str(_PACKAGE / "tracking/sql/migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [VERSION]


@on_every_engine
def test_a_later_minor_version_and_this_one_share_a_store(uri: str, another: Callable[[str], Path]) -> None:
    """1.1 upgrades what 1.0 made, with its runs; 1.0 goes on writing and reading beside it, in real processes."""
    newer = another("1.1")
    with opened(uri) as running:
        run = running.create_run(new_run(1))
        assert set(_write(uri, "bb" * 16, newer)["runs"]) == {"bb", "00"}
        running.log_batch(run, batch(metrics={"m": 2.0}))
        assert set(_write(uri, "cc" * 16)["runs"]) == {"00", "bb", "cc"}
        found = _write(uri, "dd" * 16, newer)["runs"]
        assert found == {"00": [{"m": 2.0}, {}], **{each: [{"m": 1.0}, {"p": "1"}] for each in ("bb", "cc", "dd")}}
        assert len(running.search_runs(Query())) == 4
    with connected(uri) as connection:
        assert connection.execute(text("SELECT COUNT(colour) FROM runcontext_runs")).scalar() == 0
        assert upgrading.version_of(connection) == "1.1"


@on_every_engine
def test_a_later_major_version_refuses_this_one(uri: str, another: Callable[[str], Path]) -> None:
    """Once 2.0 has been there, 1.0 neither writes nor reads, a process that had begun before neither; it says why."""
    with opened(uri) as running:
        run = running.create_run(new_run(1))
        assert "runs" in _write(uri, "bb" * 16, another("2.0"))
        says = f"has schema 2.0, and this runcontext knows {VERSION}: upgrade runcontext"
        for call in (
            lambda: running.log_batch(run, batch(metrics={"m": 2.0})),
            lambda: running.create_run(new_run(2)),
            lambda: running.get_run(run.run_id),
            lambda: running.search_runs(Query()),
        ):
            with pytest.raises(StoreError, match=says) as caught:
                call()
            assert "s3cret" not in str(caught.value)
    assert says in _write(uri, "cc" * 16)["error"]
    assert set(_write(uri, "dd" * 16, another("2.0"))["runs"]) == {"00", "bb", "dd"}


def test_a_transaction_that_found_a_version_ends_before_it_changes(uri: str) -> None:
    """Whoever upgrades waits for those who write, and finds what they wrote; who begins then is refused."""
    upgraded = threading.Event()

    def upgrade() -> None:
        with connected(uri) as connection:
            connection.execute(upgrading.locking_version(is_shared=False))
            connection.execute(update(VERSIONS).values(version_num="2.0"))
            connection.commit()
            upgraded.set()

    with opened(uri) as store:
        run = store.create_run(new_run(1))
        with ThreadPoolExecutor(1) as pool:
            with store._writing() as connection:
                upgrading_it = pool.submit(upgrade)
                assert not upgraded.wait(0.3)
                rows.log_batch(connection, run.run_id, batch(metrics={"m": 2.0}))
            upgrading_it.result(timeout=30)
        with pytest.raises(StoreError, match=r"has schema 2\.0"):
            store.log_batch(run, batch(2, metrics={"m": 3.0}))
    with connected(uri) as connection:
        assert connection.execute(select(LATEST_METRICS.c.value)).scalars().all() == [2.0]


@pytest.mark.parametrize("uri", ENGINES[1:], indirect=True)
def test_two_who_write_share_the_version(uri: str) -> None:
    """Nobody who writes waits for another's version."""
    with opened(uri) as first, opened(uri) as second:
        run = first.create_run(new_run(1))
        with first._writing():
            second.log_batch(run, batch(metrics={"m": 2.0}))
        assert second.get_run(run.run_id).metrics == {"m": 2.0}


@on_every_engine
def test_an_earlier_version_is_upgraded_by_writing_alone(uri: str, another: Callable[[str], Path]) -> None:
    """1.1, which finds 1.0, says when it reads that writing upgrades; and then reads."""
    _write(uri, "aa" * 16)
    program = _PROGRAM.replace("    run = store", "    store.get_run(run_id)\n    run = store")
    environment = {"PYTHONPATH": str(another("1.1")), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", program, uri, "aa" * 16]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (
        f"has schema {VERSION}, an earlier one than 1.1: writing a run upgrades it" in json.loads(done.stdout)["error"]
    )
    with connected(uri) as connection:
        assert upgrading.version_of(connection) == VERSION
    assert set(_write(uri, "bb" * 16, another("1.1"))["runs"]) == {"aa", "bb"}


def test_what_is_no_version_is_refused(uri: str) -> None:
    """A version table with something else in it is left alone."""
    with opened(uri) as store:
        store.create_run(new_run(1))
        with connected(uri) as connection:
            connection.execute(update(VERSIONS).values(version_num="a1b2c3"))
            connection.commit()
        with pytest.raises(StoreError, match="schema a1b2c3"):
            store.create_run(new_run(2))


def test_a_half_made_schema_is_completed(uri: str) -> None:
    """A process that was killed while it made the tables, on an engine that keeps what was made, is no obstacle."""
    with opened(uri) as store:
        store.create_run(new_run(1))
    with connected(uri) as connection:
        connection.execute(text("DROP TABLE runcontext_batches"))
        connection.execute(text("DROP TABLE runcontext_metric_points"))
        connection.execute(text("DELETE FROM runcontext_alembic_version"))
        connection.commit()
    with opened(uri) as store:
        store.log_batch(store.create_run(new_run(2)), batch(metrics={"m": 1.0}))
        assert len(store.search_runs(Query())) == 2


def test_tables_of_others_stay_as_they_are(uri: str) -> None:
    """MLflow's own tables, and Alembic's version of those, are neither read nor changed."""
    with connected(uri) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('x')"))
        connection.commit()
    with opened(uri) as store:
        store.create_run(new_run(1))
    with connected(uri) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["x"]
        assert [each["name"] for each in inspect(connection).get_columns("runs")] == ["run_uuid"]
