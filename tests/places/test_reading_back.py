"""``get_run`` and ``search_runs`` of a place that the call names."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import runcontext
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.cli import place
from runcontext.errors import StoreError
from runcontext.testing import new_run, sample_runs
from runcontext.testing.samples import START
from runcontext.tracking import places
from runcontext.tracking.store import Batch, MetricPoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("form", ["sqlite:///{}/runs.db", "file://{}/store", "{}/store"])
def test_reading_a_place(tmp_path: Path, form: str) -> None:
    """The call's own tracking URI says where to look, whatever place it is."""
    uri = form.format(tmp_path)
    store = places.open_store(uri)
    sample = sample_runs("Default")
    for each in sample:
        each.write(store)
    store.close()
    record = runcontext.get_run(sample[0].new.run_id, tracking_uri=uri)
    assert (record.run_name, record.params["optimizer"]) == ("first", "sgd")
    found = runcontext.search_runs(
        ["Default"], 1, filter_string="params.optimizer LIKE 'adam%'", order_by=["metrics.loss"], tracking_uri=uri
    )
    assert [each.run_name for each in found] == ["renamed"]
    rest = runcontext.search_runs(
        ["Default"],
        filter_string="params.optimizer LIKE 'adam%'",
        order_by=["metrics.loss"],
        page_token=found.token,
        tracking_uri=uri,
    )
    assert ([each.run_name for each in rest], rest.token) == (["Ärger"], None)


def test_a_run_has_its_names_in_one_order(tmp_path: Path) -> None:
    """A folder keeps what was logged in another order than a database, and both give it alike, word by word."""
    shown = []
    for uri in (f"sqlite:///{tmp_path}/runs.db", f"{tmp_path}/store"):
        store = places.open_store(uri)
        run = store.create_run(new_run("Default", start_time=START, tags={"z": "1", "a": "2"}))
        points = tuple(MetricPoint(key, 1.0, START, 0) for key in "nm")
        store.log_batch(run, Batch(1, points, {"y": "1", "b": "2"}, {"x": "1"}))
        store.close()
        found = runcontext.get_run(run.run_id, tracking_uri=uri).to_json()
        shown.append([list(found[each]) for each in ("tags", "params", "metrics")])
    assert shown == [[["a", "mlflow.runName", "x", "z"], ["b", "y"], ["m", "n"]]] * 2


@pytest.mark.parametrize("run_id", [5, None, b"0"])
@pytest.mark.parametrize("form", ["sqlite:///{}/runs.db", "{}/store", "http://127.0.0.1:1"])
def test_an_id_that_is_no_text(tmp_path: Path, form: str, run_id: Any) -> None:
    """It is the caller's mistake wherever the run is looked for."""
    with pytest.raises(TypeError, match=f"run_id is {run_id!r}; the id of a run, a text, is expected"):
        runcontext.get_run(run_id, tracking_uri=form.format(tmp_path))


def test_a_relative_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in a tracking URI begins at the working directory."""
    store = places.open_store(f"sqlite:///{tmp_path}/runs.db")
    run = new_run("Default", start_time=START)
    store.create_run(run)
    store.close()
    monkeypatch.chdir(tmp_path)
    assert runcontext.get_run(run.run_id, tracking_uri="sqlite:///runs.db").run_id == run.run_id


def test_settings_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader goes by the settings of its own moment, not by those of a run that the process made before."""
    uri = f"sqlite:///{tmp_path}/runs.db"
    with runcontext.start_run(tracking_uri=tmp_path / "local", providers=[]):
        pass
    monkeypatch.setenv("RUNCONTEXT_PLUGIN_SQLITE", "not-installed")
    with pytest.raises(StoreError, match="RUNCONTEXT_PLUGIN_SQLITE=not-installed"):
        runcontext.search_runs(tracking_uri=uri)


def test_what_reading_here_imports(tmp_path: Path) -> None:
    """Reading this machine's runs without a filter imports no parser and no client."""
    program = (
        "import sys, runcontext\n"
        f"assert runcontext.search_runs(tracking_uri={str(tmp_path)!r}) == []\n"
        "heavy = {'sqlparse', 'requests', 'sqlalchemy', 'fsspec', 'mlflow', 'runcontext.tracking.search'}\n"
        "found = heavy & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class Circle:
    """A repository whose one folder holds itself, as a bucket's or a mount's may."""

    uri = "circle://x"

    def list_artifacts(self, path: str | None = None) -> list[ArtifactInfo]:
        """Give the folder again."""
        return [ArtifactInfo(f"{path}/again" if path else "again", is_dir=True, size_bytes=None)]


def test_a_listing_that_goes_in_circles() -> None:
    """It is given up with a message, before Python's own limit, which none would understand."""
    with pytest.raises(StoreError, match="circle://x lists folders in folders without an end: more than 64"):
        place._below(Circle(), None)
