"""The fluent interface: its arguments, what it records, and what it says when it is used wrongly."""

from __future__ import annotations

import inspect
import math
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import runcontext
from runcontext.record import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runcontext.record import RunRecord


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    """Keep the runs of one test in a folder of its own, and leave none open."""
    runcontext.set_tracking_uri(tmp_path)
    yield tmp_path
    active = runcontext.active_run()
    while active is not None:
        active.end()
        active = runcontext.active_run()
    runcontext.set_tracking_uri(None)


def start(**arguments: Any) -> runcontext.Run:
    """Start a run without providers."""
    return runcontext.start_run(**{"providers": [], **arguments})


def read(run: runcontext.Run) -> RunRecord:
    """Read a run back from its store."""
    return runcontext.get_run(run.run_id)


ARGUMENTS = {
    "start_run": ("run_name run_id experiment_name nested parent_run_id tags description tracking_uri providers"),
    "end_run": "status",
    "active_run": "",
    "log_param": "key value",
    "log_params": "params",
    "log_metric": "key value step timestamp",
    "log_metrics": "metrics step timestamp",
    "set_tag": "key value",
    "set_tags": "tags",
    "log_artifact": "local_path artifact_path",
    "log_artifacts": "local_dir artifact_path",
    "log_text": "text artifact_file",
    "get_run": "run_id tracking_uri",
    "search_runs": "experiment_names max_results filter_string order_by page_token tracking_uri",
    "set_tracking_uri": "uri",
    "get_tracking_uri": "",
    "set_experiment": "experiment_name",
    "resolve_context": "tags providers timeout",
    "register_provider": "provider name",
    "unregister_provider": "provider",
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_argument_names(name: str) -> None:
    """Arguments are called as in MLflow, where MLflow has them, and stay so."""
    parameters = inspect.signature(getattr(runcontext, name)).parameters
    assert list(parameters) == ARGUMENTS[name].split()


def test_start_run_takes_keywords_only() -> None:
    """Nothing can be passed to ``start_run()`` by its place: MLflow's first argument is another one than ours."""
    parameters = inspect.signature(runcontext.start_run).parameters.values()
    assert {each.kind for each in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError):
        runcontext.start_run("an id or a name?")  # type: ignore[misc]


def test_a_run_logs_what_the_functions_log() -> None:
    """Every ``log_*`` and ``set_*`` function is a method of the run too, with the same arguments."""
    for name in ("log_param", "log_params", "log_metric", "log_metrics", "set_tag", "set_tags", "log_artifact"):
        method = inspect.signature(getattr(runcontext.Run, name)).parameters
        assert list(method)[1:] == list(inspect.signature(getattr(runcontext, name)).parameters)


def test_what_a_run_says_of_itself(store: Path) -> None:
    """A run has an id, a name, an experiment, a status, a folder, and a representation that waits for nothing."""
    with start(run_name="baseline", experiment_name="vision") as run:
        assert (run.run_name, run.experiment_name, run.status) == ("baseline", "vision", RunStatus.RUNNING)
        assert run.path == store / "runs" / run.run_id
        assert repr(run) == f"<runcontext.Run({run.run_id} 'baseline' RUNNING)>"
        assert runcontext.active_run() is run
    assert run.status is RunStatus.FINISHED
    assert runcontext.active_run() is None
    record = read(run)
    assert repr(record) == f"<runcontext.RunRecord({run.run_id} 'baseline' FINISHED)>"
    assert (record.experiment_name, record.path) == ("vision", run.path)
    assert record.start_time <= (record.end_time or 0)


def test_run_ids_sort_by_time() -> None:
    """A run id is a UUID of version 7 in 32 hex digits, and later ones are greater."""
    ids = []
    for _ in range(20):
        with start() as run:
            ids.append(run.run_id)
    assert ids == sorted(ids)
    assert all(len(each) == 32 and each[12] == "7" and each[16] in "89ab" and int(each, 16) for each in ids)
    with start() as run:
        assert abs((int(run.run_id, 16) >> 80) - read(run).start_time) < 1_000


def test_names() -> None:
    """A run without a name gets one that can be said; a tag can name it, at the start or later."""
    with start() as run:
        adjective, noun, number = run.run_name.split("-")
        assert adjective.isalpha()
        assert noun.isalpha()
        assert number.isdigit()
    with start(tags={"mlflow.runName": "tagged"}) as run:
        assert run.run_name == "tagged"
        run.set_tag("mlflow.runName", "renamed")
        assert run.run_name == "renamed"
    assert read(run).run_name == "renamed"


def test_description_parent_and_tags() -> None:
    """Description and parent are tags as in MLflow, and tags of the call are on record from the start."""
    with start(description="why", parent_run_id="0" * 32, tags={"team": "vision", "n": 3}) as run:
        record = read(run)
        assert record.tags["mlflow.note.content"] == "why"
        assert record.tags["mlflow.parentRunId"] == record.parent_run_id == "0" * 32
        assert (record.tags["team"], record.tags["n"]) == ("vision", "3")
        assert run.tags["team"] == "vision"


def test_nested_runs() -> None:
    """``nested=True`` makes a child of the active run; without it a second run raises and says what to do."""
    with start(run_name="outer") as outer:
        with pytest.raises(RuntimeError, match=r"outer.*end it first, or pass nested=True"):
            start()
        with start(nested=True) as inner:
            assert runcontext.active_run() is inner
            assert inner.parent is outer
        assert runcontext.active_run() is outer
    assert read(inner).parent_run_id == outer.run_id
    with start(nested=True) as alone:
        assert read(alone).parent_run_id is None


def test_outer_first() -> None:
    """Ending an outer run ends what was started in it and is still open, the innermost first."""
    outer = start()
    inner = start(nested=True)
    innermost = start(nested=True)
    outer.end("FAILED", "no data")
    assert [run.status for run in (outer, inner, innermost)] == ["FAILED"] * 3
    assert runcontext.active_run() is None
    assert read(innermost).tags["end.reason"] == "no data"
    assert (read(innermost).end_time or 0) <= (read(outer).end_time or 0)


def test_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment is the call's, else ``set_experiment()``'s, else the variable's, else "Default"."""
    with start() as run:
        assert run.experiment_name == "Default"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    with start() as run:
        assert run.experiment_name == "theirs"
    monkeypatch.setenv("RUNCONTEXT_EXPERIMENT_NAME", "ours")
    with start() as run:
        assert run.experiment_name == "ours"
    runcontext.set_experiment("set")
    try:
        with start() as run:
            assert run.experiment_name == "set"
        with start(experiment_name="given") as run:
            assert run.experiment_name == "given"
    finally:
        runcontext.set_experiment("")


def test_resuming() -> None:
    """``run_id`` resumes a run: its tags, params and name are known, and it ends anew."""
    with start(run_name="long", tags={"by": "caller"}) as first:
        first.log_param("lr", 0.1)
        first.set_tag("later", "yes")
    with runcontext.start_run(run_id=first.run_id, tags={"again": 1}) as second:
        assert (second.run_id, second.run_name) == (first.run_id, "long")
        assert read(second).status == "RUNNING"
        assert {"by": "caller", "later": "yes", "again": "1"}.items() <= second.tags.items()
        assert "end.reason" not in second.tags
        with pytest.raises(ValueError, match="params do not change"):
            second.log_param("lr", 0.2)
        second.log_param("more", 1)
        with pytest.raises(RuntimeError, match="open in this process already"):
            runcontext.start_run(run_id=first.run_id, nested=True)
    assert read(second).params == {"lr": "0.1", "more": "1"}
    assert read(second).status == "FINISHED"
    assert len(runcontext.search_runs()) == 1


def test_runs_that_there_are_not() -> None:
    """An id that names no run raises and says where it was looked for."""
    for act in (lambda: runcontext.get_run("0" * 32), lambda: runcontext.start_run(run_id="0" * 32)):
        with pytest.raises(runcontext.StoreError, match=f"no run '{'0' * 32}' in "):
            act()
    assert runcontext.active_run() is None


def test_params_do_not_change() -> None:
    """A param keeps its first value; the same one again is welcome; of several, all are recorded or none."""
    with start() as run:
        assert run.log_param("lr", 3e-4) == 3e-4
        run.log_param("lr", "0.0003")
        with pytest.raises(ValueError, match=r"param 'lr' is '0.0003' and cannot become '1'"):
            run.log_params({"other": 1, "lr": 1})
        run.log_params({"none": None, "list": [1], "text": "\u00fc\0"})
    assert read(run).params == {"lr": "0.0003", "none": "None", "list": "[1]", "text": "\u00fc\\x00"}


@pytest.mark.parametrize("value", [0.1, -0.0, 1e308, 5e-324, math.nan, math.inf, -math.inf, 10**20, True, 1 / 3])
def test_metrics_round_trip(value: float) -> None:
    """A metric is read back as it was logged, NaN and infinities too."""
    with start() as run:
        run.log_metric("m", value)
    found = read(run).metrics["m"]
    assert repr(found) == repr(float(value))
    assert read(run).to_json()["metrics"]["m"] in (float(value), "NaN", "Infinity", "-Infinity")


def test_steps_and_timestamps() -> None:
    """The latest point of a metric is the one of the highest step; of equal steps, the later one."""
    with start() as run:
        run.log_metric("by step", 1, step=10)
        run.log_metric("by step", 2, step=9)
        run.log_metric("no step", 1)
        run.log_metric("no step", 2)
        run.log_metric("by time", 1, timestamp=2_000)
        run.log_metric("by time", 2, timestamp=1_000)
        run.log_metric("negative", 1, step=-2)
        run.log_metric("negative", 2, step=-1)
        run.log_metrics({"a": 1, "b": 2}, step=3, timestamp=4)
    assert read(run).metrics == {"by step": 1, "no step": 2, "by time": 1, "negative": 2, "a": 1, "b": 2}


@pytest.mark.parametrize("value", ["high", None, 1j, [1.0], object(), 10**400])
def test_what_is_no_metric(value: Any) -> None:
    """A metric that is no number raises, and names it."""
    with start() as run, pytest.raises((TypeError, ValueError), match=r"metric 'loss' is .* a number is expected"):
        run.log_metric("loss", value)


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "../x", "a/../b", "./a", "a/", "a\nb", "a\0b", "a%", "x" * 251, 3, None]
)
def test_ill_formed_names(key: Any) -> None:
    """A name that MLflow's servers would refuse later is refused here, at once, in every function that takes one."""
    with start() as run:
        for act in (run.log_param, run.log_metric, run.set_tag):
            with pytest.raises(ValueError, match="name"):
                act(key, 1)
    with pytest.raises(ValueError, match="name"):
        start(tags={key: 1})
    assert runcontext.active_run() is None
    assert len(runcontext.search_runs()) == 1


@pytest.mark.parametrize("key", ["a", "a b", "a/b.c-d_e:f", "\u00fc/\u4e2d", "x" * 250, "..."])
def test_well_formed_names(key: str) -> None:
    """Letters and digits of any script, and ``_ . - / :`` and space make a name."""
    with start() as run:
        run.log_param(key, 1)
        run.log_metric(key, 1)
        run.set_tag(key, 1)
    record = read(run)
    assert (record.params[key], record.metrics[key], record.tags[key]) == ("1", 1, "1")


CALLS: dict[str, Callable[[], object]] = {
    "log_param": lambda: runcontext.log_param("a", 1),
    "log_params": lambda: runcontext.log_params({"a": 1}),
    "log_metric": lambda: runcontext.log_metric("a", 1),
    "log_metrics": lambda: runcontext.log_metrics({"a": 1}),
    "set_tag": lambda: runcontext.set_tag("a", 1),
    "set_tags": lambda: runcontext.set_tags({"a": 1}),
    "log_text": lambda: runcontext.log_text("a", "a.txt"),
    "log_artifact": lambda: runcontext.log_artifact(__file__),
    "log_artifacts": lambda: runcontext.log_artifacts("."),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_starts_silently(name: str) -> None:
    """Without a run, logging raises, names the function and says what to do."""
    with pytest.raises(RuntimeError, match=rf"{name}\(\): no run is active; start one with"):
        CALLS[name]()
    assert runcontext.search_runs() == []
    runcontext.end_run()


def test_a_thread_logs_to_the_only_run() -> None:
    """A thread that is in no run logs to the process's only one, and may end it."""
    run = start()
    seen: list[object] = []

    def work() -> None:
        seen.append(runcontext.active_run())
        runcontext.log_param("thread", 1)
        runcontext.end_run("FAILED")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
    assert (read(run).status, read(run).params) == ("FAILED", {"thread": "1"})


def test_statuses() -> None:
    """A run ends as FINISHED, FAILED or KILLED; anything else raises, and leaves it open."""
    with start() as run:
        for status in ("RUNNING", "LOST", "finished", "", None):
            with pytest.raises(ValueError, match="expected FINISHED, FAILED, KILLED"):
                runcontext.end_run(status)  # type: ignore[arg-type]
        assert run.status == "RUNNING"
        runcontext.end_run(RunStatus.KILLED)
        assert read(run).status == "KILLED"
    assert read(run).status == "KILLED"


def test_artifacts(store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files and folders are copied with their names and times, texts are written in UTF-8."""
    source = tmp_path_factory.mktemp("source")
    (source / "model.pt").write_bytes(b"\0\1")
    (source / "folder" / "deep").mkdir(parents=True)
    (source / "folder" / "deep" / "a.txt").write_text("a", encoding="utf-8")
    (source / "empty").mkdir()
    with start() as run:
        run.log_artifact(source / "model.pt")
        run.log_artifact(str(source / "model.pt"), "models/best")
        run.log_artifact(source / "folder", "kept")
        run.log_artifacts(source, "all")
        run.log_text("gr\u00fc\udce9n", "notes/a.txt")
        run.log_text("again", "notes/a.txt")
        run.log_text("text", "./b.txt")
    root = store / "runs" / run.run_id / "artifacts"
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == [
        "all/folder/deep/a.txt",
        "all/model.pt",
        "b.txt",
        "kept/folder/deep/a.txt",
        "model.pt",
        "models/best/model.pt",
        "notes/a.txt",
    ]
    assert (root / "all" / "empty").is_dir()
    assert (root / "notes" / "a.txt").read_text(encoding="utf-8") == "again"
    assert (root / "model.pt").stat().st_mtime == (source / "model.pt").stat().st_mtime


@pytest.mark.parametrize("place", ["..", "../x", "a/../../x", "/etc/x", "a\0b", "a/\ud800"])
def test_artifacts_stay_inside(place: str, store: Path) -> None:
    """No artifact path leads out of the run's artifacts, or is one that no file can have."""
    (store / "a.txt").write_text("a", encoding="utf-8")
    with start() as run:
        for act in (
            lambda: run.log_artifact(store / "a.txt", place),
            lambda: run.log_artifacts(store, place),
            lambda: run.log_text("a", place),
        ):
            with pytest.raises(ValueError, match="a relative path within the run's artifacts is expected"):
                act()
    assert not (run.path / "artifacts").exists()


@pytest.mark.parametrize("place", ["", ".", "a/", "a/.."])
def test_a_text_needs_a_file(place: str) -> None:
    """A text goes into a file, not into a folder."""
    with start() as run, pytest.raises(ValueError, match="names no file"):
        run.log_text("a", place)


def test_artifacts_that_cannot_be_read(store: Path) -> None:
    """What is not there, or is no file, raises: that is the caller's to know."""
    with start() as run:
        run.log_text("a", "file")
        with pytest.raises(FileNotFoundError, match="nothing"):
            run.log_artifact(store / "nothing")
        with pytest.raises(FileNotFoundError, match="nothing"):
            run.log_artifacts(store / "nothing")
        for log in (run.log_artifact, run.log_artifacts):
            with pytest.raises(FileNotFoundError):
                log("")
        with pytest.raises(NotADirectoryError):
            run.log_artifacts(run.path / "artifacts" / "file")
        with pytest.raises(OSError, match="neither a file nor a folder"):
            run.log_artifact("/dev/zero")
        with pytest.raises(NotADirectoryError):
            run.log_text("b", "file/below")


def test_names_of_this_system() -> None:
    """Whatever this system takes as a name is one of an artifact, though others would not."""
    names = ["a\\b", "C:x", "a:b?", "caf\udce9", "x.", "n" * 255]
    with start() as run:
        for name in names:
            run.log_text("a", f"folder/{name}")
    assert sorted(os.listdir(run.path / "artifacts" / "folder")) == sorted(names)


def test_what_of_a_folder_cannot_be_kept(store: Path) -> None:
    """All else of the folder is kept, and one error names each."""
    source = store / "source"
    (source / "deep").mkdir(parents=True)
    for place in ("a.txt", "deep/b.txt", "z.txt"):
        (source / place).write_text("a", encoding="utf-8")
    (source / "gone").symlink_to(source / "nothing")
    os.mkfifo(source / "deep" / "a.pipe")
    (source / "linked").symlink_to(source / "deep" / "b.txt")
    with start() as run:
        for log, place in ((run.log_artifact, None), (run.log_artifacts, "all")):
            with pytest.raises(OSError, match=r"not all of .*source could be kept.*a\.pipe is neither.*source/gone"):
                log(source, place)
    root = run.path / "artifacts"
    kept = ["a.txt", "deep/b.txt", "linked", "z.txt"]
    expected = [f"{folder}/{each}" for folder in ("all", "source") for each in kept]
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == expected


def test_links_that_lead_back(store: Path) -> None:
    """A folder with links to itself and to what it is in is kept once, and raises nothing."""
    source = store / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.txt").write_text("a", encoding="utf-8")
    for link, target in (("one", "."), ("two", "."), ("deep/up", ".."), ("other", "deep")):
        (source / link).symlink_to(target)
    with start() as run:
        run.log_artifact(source)
    root = run.path / "artifacts" / "source"
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == ["deep/a.txt", "other/a.txt"]


def test_a_folder_that_holds_the_store(store: Path) -> None:
    """Logging the folder that the store is in copies what is beside the runs, and no run into itself."""
    (store / "beside.txt").write_text("a", encoding="utf-8")
    with start() as run:
        run.log_artifacts(store)
        run.log_artifacts(store, "again")
    root = run.path / "artifacts"
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    assert found == ["again/beside.txt", "beside.txt"]


def test_tracking_uri(store: Path, tmp_path: Path) -> None:
    """``set_tracking_uri()`` takes a path, a text, a file: URI or that of a place; relative ones begin here."""
    assert runcontext.get_tracking_uri() == str(store)
    runcontext.set_tracking_uri(f"file://{tmp_path}/with%20space")
    assert runcontext.get_tracking_uri() == f"{tmp_path}/with space"
    runcontext.set_tracking_uri(f"file:{tmp_path}/plain")
    assert runcontext.get_tracking_uri() == f"{tmp_path}/plain"
    with start(tracking_uri=tmp_path / "call") as run:
        assert run.path.is_relative_to(tmp_path / "call")
    runcontext.set_tracking_uri("http://anna:pw-of-anna@example.org/")
    assert runcontext.get_tracking_uri() == "http://[redacted]@example.org"
    with pytest.raises(runcontext.StoreError, match="no host"):
        start(tracking_uri="https://")


def test_a_context_without_a_run() -> None:
    """``resolve_context()`` starts no run; tags of the call win, and its timeout bounds it."""
    context = runcontext.resolve_context(tags={"mlflow.user": "me"}, providers=["user"])
    assert context.tags["mlflow.user"] == "me"
    assert context.conflicts[0].winner == "caller"
    assert runcontext.search_runs() == []
    assert runcontext.resolve_context(providers=[], timeout=0).tags == {}
    with pytest.raises(ValueError, match="names no provider"):
        runcontext.resolve_context(providers=["usr"])


def test_logging_after_the_end() -> None:
    """What is logged to a run that has ended is kept, and does not open it again."""
    with start() as run:
        pass
    run.log_param("late", 1)
    assert (read(run).status, read(run).params) == ("FINISHED", {"late": "1"})


def test_searching_by_what_was_logged(store: Path) -> None:
    """Filters, orderings and pages are MLflow's; without any the latest run is the first."""
    ids = []
    for number, optimizer in enumerate(("sgd", "adam", "adamw")):
        with start() as run:
            run.log_param("optimizer", optimizer)
            run.log_metric("loss", 0.5 - number / 10)
            ids.append(run.run_id)
    del store
    found = runcontext.search_runs(filter_string="params.optimizer LIKE 'adam%'", order_by=["metrics.loss ASC"])
    assert [each.run_id for each in found] == [ids[2], ids[1]]
    assert found.token is None
    first = runcontext.search_runs(max_results=2, order_by=["metrics.loss DESC"])
    second = runcontext.search_runs(max_results=2, order_by=["metrics.loss DESC"], page_token=first.token)
    assert [each.run_id for each in [*first, *second]] == ids
    assert second.token is None
    with pytest.raises(ValueError, match=r"^filter, character 16 .*number"):
        runcontext.search_runs(filter_string="metrics.loss < 'low'")


def test_searching_one_experiment(store: Path) -> None:
    """One experiment may be named without a list, and is not taken for a list of letters."""
    with start(experiment_name="vision") as run:
        pass
    assert run.path.is_relative_to(store)
    assert [each.run_id for each in runcontext.search_runs("vision")] == [run.run_id]
    assert runcontext.search_runs("v") == []


def test_reading_is_from_this_machine(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where runs are sent elsewhere they are read here nevertheless, unless the call names the place."""
    with start() as run:
        pass
    assert run.path.is_relative_to(store)
    runcontext.set_tracking_uri("http://127.0.0.1:9")
    monkeypatch.setenv("RUNCONTEXT_LOCAL_STORE", str(store))
    assert runcontext.get_run(run.run_id).run_id == run.run_id
    assert [each.run_id for each in runcontext.search_runs()] == [run.run_id]
    with pytest.raises(runcontext.StoreError, match="nowhere"):
        runcontext.search_runs(tracking_uri="nowhere://x")
