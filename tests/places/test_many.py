"""Many processes at once, each with a run of its own, into one database: every run is there, whole and once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runcontext
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from runcontext.record import RunRecord

sqlalchemy = pytest.importorskip("sqlalchemy")

POINTS, PARAMS, TAGS = 30, 5, 5
_DRIVERS = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite"}

PROGRAM = """\
import sys
import runcontext

with runcontext.start_run(run_name=f"run {sys.argv[1]}", tags={"number": sys.argv[1]}) as run:
    for n in range(30):
        run.log_metric("loss", int(sys.argv[1]) / (n + 1), step=n)
    run.log_params({f"param {n}": n for n in range(5)})
    run.set_tags({f"tag {n}": n for n in range(5)})
"""


@pytest.fixture
def url(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> str:
    """Give the URL of an empty database; skips where its driver is missing."""
    if engine == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    pytest.importorskip("psycopg")
    return str(request.getfixturevalue("postgresql_url"))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    ("engine", "count", "at_once"),
    [
        ("postgresql", 6, 6),
        ("sqlite", 6, 6),
        pytest.param("postgresql", 500, 32, marks=pytest.mark.soak),
        pytest.param("sqlite", 64, 64, marks=pytest.mark.soak),
    ],
)
def test_many_processes_write_into_one_database(
    url: str, count: int, at_once: int, program_environment: dict[str, str], tmp_path: Path
) -> None:
    """Processes that start together, make the tables and the experiment together, and write together."""
    _run_and_compare(url, count, program_environment, tmp_path, at_once=at_once)


def _run_and_compare(url: str, count: int, environment: dict[str, str], folder: Path, *, at_once: int) -> None:
    variables = {**environment, "RUNCONTEXT_TRACKING_URI": url, "RUNCONTEXT_PROVIDERS": "user,source"}
    with ThreadPoolExecutor(at_once) as pool:
        statuses = list(pool.map(lambda number: _run_one(number, variables, folder), range(count)))
    assert statuses == [0] * count
    # What a busy machine did not get done before a run's end waited long enough.
    sync = [sys.executable, "-m", "runcontext", "sync"]
    done = subprocess.run(sync, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "so far" not in done.stdout

    here = reading.search_runs(LocalStore(str(folder / ".runcontext")))
    there = runcontext.search_runs(tracking_uri=url)
    assert len(here) == count
    assert sorted(map(_facts, there), key=repr) == sorted(map(_facts, here), key=repr)
    assert {each.tags["number"] for each in there} == set(map(str, range(count)))
    assert _count_points(url) == count * POINTS


def _run_one(number: int, variables: dict[str, str], folder: Path) -> int:
    command = [sys.executable, "-c", PROGRAM, str(number)]
    return subprocess.run(command, cwd=folder, env=variables, check=False, stderr=subprocess.DEVNULL).returncode


def _facts(run: RunRecord) -> list[object]:
    times = [run.start_time, run.end_time, str(run.status)]
    return [run.run_id, run.run_name, run.experiment_name, *times, dict(run.params), dict(run.metrics), dict(run.tags)]


def _count_points(url: str) -> int:
    scheme, rest = url.split(":", 1)
    engine = sqlalchemy.create_engine(f"{_DRIVERS[scheme]}:{rest}")
    try:
        with engine.connect() as connection:
            found = connection.execute(sqlalchemy.text("SELECT COUNT(*) FROM runcontext_metric_points"))
            return int(found.scalar_one())
    finally:
        engine.dispose()
