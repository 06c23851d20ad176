"""Many processes that begin at one moment: each makes a run of one new experiment in one empty database."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select
from tests.places.sql_places import connected, opened, uri_of

from runcontext.record import RunStatus
from runcontext.tracking.sql.schema import EXPERIMENTS, METRIC_POINTS
from runcontext.tracking.store import Query

if TYPE_CHECKING:
    from pathlib import Path

_POINTS = 50
# The imports are the parent's, so that hundreds of children begin within one second and fit into memory.
_PROGRAM = """
import json, os, random, sys, time
from runcontext.errors import StoreUnavailableError
from runcontext.record import RunStatus
from runcontext.tracking.sql import SqlStore
from runcontext.tracking.store import Batch, MetricPoint, NewRun, RunUpdate
import alembic.command, alembic.config
uri, many, points, give_up = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), time.monotonic() + float(sys.argv[4])

def repeated(call):
    pause = 0.05
    while True:
        try:
            return call()
        except StoreUnavailableError:
            if time.monotonic() > give_up:
                raise
            time.sleep(pause * random.random())
            pause = min(pause * 2, 2)

def live(number):
    store = SqlStore(uri)
    new = NewRun(f"{number:032x}", f"run {number}", "Default", 1_000 + number, {"mlflow.user": "ada"})
    run = repeated(lambda: store.create_run(new))
    metrics = tuple(MetricPoint("loss", step / 8, 1_000 + step, step) for step in range(points))
    for batch in (Batch(1, metrics, {"p": str(number)}), Batch(2, tags={"t": "1"}), Batch(1, metrics, {"p": "again"})):
        repeated(lambda: store.log_batch(run, batch))
    repeated(lambda: store.update_run(run, RunUpdate(RunStatus.FINISHED, 2_000 + number, new.run_name)))
    store.close()

gate, opener = os.pipe()
children = []
for number in range(many):
    child = os.fork()
    if not child:
        os.close(opener)
        os.read(gate, 1)
        try:
            live(number)
        except BaseException as error:
            print(f"{number}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
os.close(opener)
print(json.dumps([os.waitpid(child, 0)[1] for child in children]))
"""


def _live(uri: str, many: int, seconds: float) -> None:
    command = [sys.executable, "-c", _PROGRAM, uri, str(many), str(_POINTS), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0] * many, done.stderr


@pytest.mark.parametrize(
    ("engine", "many"),
    [
        ("sqlite", 8),
        ("postgresql", 16),
        ("mariadb", 8),
        pytest.param("sqlite", 64, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
        pytest.param("postgresql", 500, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
        pytest.param("mariadb", 200, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_many_at_once(request: pytest.FixtureRequest, tmp_path: Path, engine: str, many: int) -> None:
    """Every run is complete, and nothing is there twice: one schema, one experiment, each point once."""
    uri = uri_of(engine, request, tmp_path)
    _live(uri, many, 500 if many > 100 else 90)
    with opened(uri) as store:
        found: list[Any] = list(store.search_runs(Query(order_by=("start_time",))))
    assert [each.run_id for each in found] == [f"{number:032x}" for number in range(many)]
    for number, each in enumerate(found):
        assert (each.status, each.end_time, each.run_name) == (RunStatus.FINISHED, 2_000 + number, f"run {number}")
        assert (dict(each.params), dict(each.metrics)) == ({"p": str(number)}, {"loss": (_POINTS - 1) / 8})
        assert dict(each.tags) == {"mlflow.user": "ada", "mlflow.runName": f"run {number}", "t": "1"}
    with connected(uri) as connection:
        counts = [
            connection.execute(select(func.count()).select_from(each)).scalar() for each in (METRIC_POINTS, EXPERIMENTS)
        ]
    assert counts == [_POINTS * many, 1]
