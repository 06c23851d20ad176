"""The default store: unusable at the start, full or deleted in mid-run, and what is read back from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runcontext
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import RunScript, StartScript

FAST = {"RUNCONTEXT_DISABLED": "1"}
"""No provider and so no companion: these tests are about files."""

START = """
    import sys
    import runcontext
    try:
        runcontext.start_run({arguments})
    except runcontext.StoreError as error:
        print(error)
    else:
        sys.exit("it started")
    assert runcontext.active_run() is None
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user of the machine can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


DROP = """
import os, shutil, sys, tempfile
import runcontext
# What another user could not import is imported before we become one.
warm = tempfile.mkdtemp()
with runcontext.start_run(tracking_uri=warm):
    pass
try:
    runcontext.start_run(tracking_uri="http://")
except runcontext.StoreError:
    shutil.rmtree(warm)
if os.geteuid() == 0:
    os.environ.pop("HOME", None)
    os.setgroups([])
    os.setgid(12345)
    os.setuid(12345)
"""


def as_nobody(script: str, folder: Path) -> str:
    """Run a script as a user without rights, where we are root as one that no machine knows; give what it prints."""
    words = [sys.executable, "-c", DROP + textwrap.dedent(script)]
    env = {**os.environ, **FAST}
    finished = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://user:hunter2secret@:5000", "no host"),
        ("sqlite://mlflow.db", "slashes"),
        ("mysql+pymysql://user:hunter2secret@example.org:port/mlflow", "port"),
        ("databricks://profile", "MLFLOW_TRACKING_TOKEN"),
        ("occupied", "Not a directory"),
        ("occupied/below", "Not a directory"),
        ("/proc/nothing/here", "No such file"),
    ],
)
@pytest.mark.parametrize("way", ["argument", "variable"])
def test_an_unusable_store_raises_at_the_start(
    run_script: RunScript, project: Path, uri: str, said: str, way: str
) -> None:
    """``start_run()`` raises, says why and what would do, and tells nobody a password."""
    (project / "occupied").write_text("a file, not a folder", encoding="utf-8")
    arguments = f"tracking_uri={uri!r}" if way == "argument" else ""
    env = FAST if way == "argument" else {**FAST, "RUNCONTEXT_TRACKING_URI": uri}
    finished = run_script(START.format(arguments=arguments), env=env)
    assert said in finished.stdout
    if "occupied" in uri:
        assert "RUNCONTEXT_TRACKING_URI=" in finished.stdout
        assert "set_tracking_uri(" in finished.stdout
    assert "hunter2secret" not in finished.stdout + finished.stderr
    assert not list(project.glob("*:*"))


def test_mlflows_variable_counts_too(run_script: RunScript, project: Path) -> None:
    """MLFLOW_TRACKING_URI is read where ours is not set, and an empty one counts as unset."""
    start = "import runcontext\nwith runcontext.start_run() as run: print(run.path)"
    mine = run_script(start, env={**FAST, "MLFLOW_TRACKING_URI": "theirs", "RUNCONTEXT_TRACKING_URI": ""})
    assert Path(mine.stdout.strip()).is_relative_to(project / "theirs")
    both = run_script(start, env={**FAST, "MLFLOW_TRACKING_URI": "theirs", "RUNCONTEXT_TRACKING_URI": "ours"})
    assert Path(both.stdout.strip()).is_relative_to(project / "ours")


def test_a_folder_without_permission(open_folder: Path) -> None:
    """A folder in which this user may not write raises at the start, and says how to choose another place."""
    locked = open_folder / "locked"
    locked.mkdir(mode=0o555)
    said = as_nobody(START.format(arguments="tracking_uri='locked'"), open_folder)
    assert "Permission denied" in said
    assert "RUNCONTEXT_TRACKING_URI=" in said


def test_no_place_at_all(open_folder: Path) -> None:
    """In the root folder, with no home known: there is no default place, and ``start_run()`` says so."""
    if os.geteuid():
        pytest.skip("needs root, to become a user without a home")
    if any(Path("/", name).exists() for name in (".runcontext", ".git", "pyproject.toml")):
        pytest.skip("the root folder of this machine is a project")
    said = as_nobody("os.chdir('/')\n" + textwrap.dedent(START.format(arguments="")), open_folder)
    assert "no place to keep runs: no home folder is known" in said
    assert "RUNCONTEXT_TRACKING_URI=" in said


SMALL_FOLDER = """
    import os, sys
    import runcontext

    def fill():
        with open("small/ballast", "wb", buffering=0) as file:
            for size in (4096, 64, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    with open("note.txt", "w") as file:
        file.write("n" * 5000)
    run = runcontext.start_run(tracking_uri="small")
    run.log_param("before", 1)
    fill()
    for number in range(100):
        run.log_param(f"p{number}", "x" * 100)
        run.log_metric("loss", number, step=number)
    run.set_tag("when", "full")
    run.log_text("kept " * 1000, "notes/text.txt")
    run.log_artifact("note.txt")
"""

SHOW = """
    record = runcontext.get_run(run.run_id, tracking_uri="small")
    files = sorted(str(each.relative_to(run.path)) for each in (run.path / "artifacts").rglob("*.txt"))
    import json
    print(json.dumps({
        "status": record.status, "params": len(record.params), "loss": record.metrics.get("loss"),
        "when": record.tags.get("when"), "files": files,
    }))
"""


def in_small_folder(source: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script in a mount namespace of its own, with a file system of 64 KiB at ``small``."""
    unshare = shutil.which("unshare")
    options = ["-m"] if os.geteuid() == 0 else ["-rm"]
    mount = 'mount -t tmpfs -o size=64k none "$1"'
    small = folder / "small"
    small.mkdir()
    if (
        unshare is None
        or subprocess.run(
            [unshare, *options, "sh", "-c", mount, "sh", str(small)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system needs unshare(1) and root, or user namespaces")
    script = folder / "script.py"
    script.write_text(textwrap.dedent(source), encoding="utf-8")
    words = [unshare, *options, "sh", "-c", f'{mount}; shift; exec "$@"', "sh", str(small), sys.executable, str(script)]
    finished = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.mark.parametrize(
    "room",
    ["os.unlink('small/ballast'); run.log_param('after', 1); run.end()", "os.unlink('small/ballast'); run.end()"],
    ids=["in mid-run", "just before the end"],
)
@pytest.mark.parametrize("providers", ["none", "all"])
def test_a_full_store_loses_nothing_once_there_is_room(
    project: Path, environment: dict[str, str], room: str, providers: str
) -> None:
    """Nothing is raised while the store is full, and everything is there once room was made: events and artifacts."""
    env = {**environment, **(FAST if providers == "none" else {"RUNCONTEXT_PROVIDERS": "user,source,host"})}
    # The whole context is in before the store is full: what is lost then is another matter.
    source = SMALL_FOLDER.replace("fill()\n    for", "run.tags; fill()\n    for")
    finished = in_small_folder(f"{source}\n    {room}\n{SHOW}", project, env)
    found = json.loads(finished.stdout)
    assert found["status"] == "FINISHED"
    assert found["params"] == (102 if "after" in room else 101)
    assert (found["loss"], found["when"]) == (99, "full")
    assert [name for name in found["files"] if "context" not in name] == [
        "artifacts/note.txt",
        "artifacts/notes/text.txt",
    ]
    assert "No space left" in finished.stderr
    assert "64 MiB" in finished.stderr
    assert " lost" not in finished.stderr


def test_a_folder_that_waited_for_room_is_kept_but_for_what_cannot_be(
    project: Path, environment: dict[str, str]
) -> None:
    """Once there is room all of it is there that can be read, and one line names what cannot."""
    source = f"""{SMALL_FOLDER}
    import os
    os.mkdir("given")
    os.symlink("nothing", "given/gone")
    os.rename("note.txt", "given/note.txt")
    run.log_artifact("given")
    os.unlink("small/ballast")
    run.end()
    {SHOW}"""
    finished = in_small_folder(source, project, {**environment, **FAST})
    assert "artifacts/given/note.txt" in json.loads(finished.stdout)["files"]
    assert "given could be kept as an artifact, but the rest was" in finished.stderr
    assert "given/gone" in finished.stderr
    assert "given could not be written and is lost" not in finished.stderr


def test_what_a_full_store_lost_is_said(project: Path, environment: dict[str, str]) -> None:
    """Where no room is ever made, the program ends as it would, and a warning says how much is lost."""
    source = f"{SMALL_FOLDER}\n    run.end()\n    print('ended', run.status)"
    finished = in_small_folder(source, project, {**environment, **FAST})
    assert finished.stdout == "ended FINISHED\n"
    assert "events of the run could not be written" in finished.stderr
    assert "note.txt could not be written and is lost" in finished.stderr


def test_the_context_of_a_store_that_was_full(project: Path, environment: dict[str, str]) -> None:
    """A capture that completes while the store is full is on disk once the run has ended with room made."""
    source = """
        import os, time
        import runcontext

        class Late:
            def in_context(self):
                while not os.path.exists("full"):
                    time.sleep(0.01)
                return True

            def tags(self):
                return {"late": "x" * 6000}

        runcontext.register_provider(Late)
        run = runcontext.start_run(tracking_uri="small")
        with open("small/ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                open("full", "w").close()
        assert run.tags["late"]
        os.unlink("small/ballast")
        run.end()
        time.sleep(0.3)
        print(len(runcontext.get_run(run.run_id, tracking_uri="small").tags.get("late", "")))
    """
    for providers in ("user", "user,host"):
        env = {**environment, "RUNCONTEXT_PROVIDERS": f"{providers},Late"}
        assert in_small_folder(source, project, env).stdout == "6000\n"
        (project / "small").rmdir()
        (project / "full").unlink()


def test_a_limit_in_mid_line(run_script: RunScript) -> None:
    """A journal that may not grow, in the middle of a line, goes on with the rest of that line once it may."""
    source = """
        import resource
        import runcontext
        with runcontext.start_run() as run:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            for number in range(50):
                if number == 10:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
                if number == 40:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                run.log_param(f"p{number}", "x" * 90)
    """
    finished = run_script(source, env=FAST)
    assert set(finished.run.params) == {f"p{number}" for number in range(50)}
    (journal,) = finished.run.path.glob("events/*")
    assert all(json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines())


def test_the_limit_of_memory(run_script: RunScript) -> None:
    """What waits for room is bounded: beyond 64 MiB events are lost, and the end says how many."""
    source = """
        import os, resource, shutil
        import runcontext
        run = runcontext.start_run()
        run.log_param("first", 1)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        for number in range(70):
            run.log_param(f"p{number}", "x" * (1 << 20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        run.end()
    """
    finished = run_script(source, env=FAST)
    assert "p62" in finished.run.params
    assert "p63" not in finished.run.params
    assert (finished.run.status, finished.run.params["first"]) == ("FINISHED", "1")
    assert "7 events of the run could not be written" in finished.stderr


DELETED = """
    import os, shutil, sys
    import runcontext
    run = runcontext.start_run(tags={{"by": "caller"}})
    run.log_param("before", 1)
    run.log_metric("loss", 0.5)
    {wait}
    shutil.rmtree({folder})
    {after}
    run.end()
"""


@pytest.mark.parametrize("folder", ["run.path", "run.path / 'events'", "run.path.parent", "run.path.parent.parent"])
@pytest.mark.parametrize("after", ["run.log_param('after', 2)", "pass"], ids=["logs on", "ends"])
@pytest.mark.parametrize("providers", ["none", "in the companion", "in threads"])
def test_a_folder_deleted_in_mid_run(
    run_script: RunScript, wait_until: Callable[..., None], folder: str, after: str, providers: str
) -> None:
    """Removal of a run's folder, or of the whole store: identity, events and context are there again at the end."""
    variables = {
        "none": FAST,
        "in the companion": {"RUNCONTEXT_PROVIDERS": "user,host"},
        "in threads": {"RUNCONTEXT_PROVIDERS": "user,host", "RUNCONTEXT_COMPANION": "0"},
    }
    finished = run_script(DELETED.format(folder=folder, after=after, wait="run.tags"), env=variables[providers])
    run = finished.run
    assert (run.status, run.params["before"], run.metrics["loss"]) == ("FINISHED", "1", 0.5)
    assert ("after" in run.params) == (after != "pass")
    assert run.tags["by"] == "caller"
    if providers != "none":
        wait_until(lambda: "host.name" in finished.run.tags, what="the context")
        assert finished.context.outcomes["host"].status == "captured"
    assert (finished.project / ".runcontext" / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_a_folder_deleted_while_it_is_captured(run_script: RunScript, wait_until: Callable[..., None]) -> None:
    """The same where the companion is still at work: what it finds out later is there too."""
    finished = run_script(DELETED.format(folder="run.path", after="pass", wait=""))
    assert finished.run.params == {"before": "1"}
    wait_until(lambda: "mlflow.source.git.commit" in finished.run.tags, what="the context")


def test_the_repository_stays_clean(run_script: RunScript, environment: dict[str, str]) -> None:
    """Capturing a run changes nothing that git sees, and the store is where the repository begins."""
    finished = run_script("import runcontext\nwith runcontext.start_run(): pass")
    words = ["git", "status", "--porcelain", "--ignored=no"]
    said = subprocess.run(words, cwd=finished.project, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == ""
    assert finished.run.path.is_relative_to(finished.project / ".runcontext")


def test_late_facts_never_override_the_caller(run_script: RunScript) -> None:
    """What the program sets, before, during or after the capture, wins over every captured fact, on disk too."""
    source = """
        import runcontext
        with runcontext.start_run(tags={"host.name": "mine"}) as run:
            run.set_tag("os.type", "mine")
            assert run.tags["os.type"] == "mine"
            run.set_tag("host.arch", "mine")
            assert run.tags["host.arch"] == "mine"
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "host"})
    assert [finished.run.tags[name] for name in ("host.name", "os.type", "host.arch")] == ["mine"] * 3
    (conflict,) = [each for each in finished.context.conflicts if each.tag == "host.name"]
    assert (conflict.winner, conflict.losers) == ("caller", ("host",))


def test_newest_first(tmp_path: Path) -> None:
    """``search_runs`` gives the newest run first, of the experiments and in the number that are asked for."""
    store = str(tmp_path)
    for number in range(6):
        with runcontext.start_run(
            run_name=str(number), experiment_name=f"e{number % 2}", tracking_uri=store, providers=[]
        ):
            # Of runs that start in one millisecond none is the newer.
            time.sleep(0.002)
    found = runcontext.search_runs(tracking_uri=store)
    assert [run.run_name for run in found] == ["5", "4", "3", "2", "1", "0"]
    assert [run.run_name for run in runcontext.search_runs(["e1"], max_results=2, tracking_uri=store)] == ["5", "3"]
    assert runcontext.search_runs([], tracking_uri=store) == []
    assert runcontext.search_runs(max_results=0, tracking_uri=store) == []
    assert runcontext.search_runs(tracking_uri=str(tmp_path / "none")) == []


def test_one_bad_run_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run that cannot be read is left out, with a warning that names it; stray files and folders say nothing."""
    store = str(tmp_path)
    good = runcontext.start_run(tracking_uri=store, providers=[])
    good.end()
    bad = runcontext.start_run(tracking_uri=store, providers=[])
    bad.end()
    (bad.path / "run.json").write_text('{"schema": 1', encoding="utf-8")
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "stray.txt").write_text("", encoding="utf-8")
    assert [run.run_id for run in runcontext.search_runs(tracking_uri=store)] == [good.run_id]
    assert [bad.run_id in record.getMessage() for record in caplog.records] == [True]


def test_torn_and_foreign_lines_are_tolerated(tmp_path: Path) -> None:
    """Whatever a crash of the machine left in a journal costs those lines, and no more."""
    run = runcontext.start_run(tracking_uri=str(tmp_path), providers=[])
    run.log_param("a", 1)
    (journal,) = run.path.glob("events/*")
    for junk in (
        b"\0" * 512,
        b"\xff\xfe{}",
        b"[1]",
        b"null",
        b'{"t": null}',
        b'{"t": "late", "params": {"x": 1}}',
        b"{}",
    ):
        (run.path / "events" / "a-1-1.jsonl").write_bytes(b'{"t": 1, "params": {"b": "2"}}\n' + junk + b"\n")
        assert runcontext.get_run(run.run_id, tracking_uri=str(tmp_path)).params == {"a": "1", "b": "2"}
    with journal.open("ab") as file:
        file.write(b'{"t": 17, "params": {"c"')
    run.end()
    assert runcontext.get_run(run.run_id, tracking_uri=str(tmp_path)).params["a"] == "1"


def test_a_store_may_be_moved_while_nothing_runs(run_script: RunScript, tmp_path: Path) -> None:
    """A store is its folder: moved elsewhere it reads the same, attachments too."""
    finished = run_script("import runcontext\nwith runcontext.start_run() as run: run.log_param('a', 1)")
    before = finished.run.to_json()
    (finished.project / ".runcontext").rename(tmp_path / "moved")
    store = LocalStore(str(tmp_path / "moved"))
    elsewhere = {"path": "", "artifact_uri": ""}
    assert {**reading.get_run(store, before["run_id"]).to_json(), **elsewhere} == {**before, **elsewhere}
    context = reading.read_context(store, before["run_id"])
    assert context is not None
    assert all(each.path is None or each.path.is_file() for each in context.attachments)


def test_reading_grows_no_faster_than_the_files(tmp_path: Path, run_script: RunScript) -> None:
    """``search_runs`` over many runs costs at most three times what opening and parsing their files does."""
    finished = run_script("import runcontext\nwith runcontext.start_run() as run: run.log_metric('loss', 1.0)")
    runs = tmp_path / "many" / "runs"
    original = finished.run
    for number in range(400):
        run_id = f"{number:032x}"
        copied = runs / run_id
        (copied / "events").mkdir(parents=True)
        for name in ("run.json", "context.json", *(f"events/{each.name}" for each in original.path.glob("events/*"))):
            text = (original.path / name).read_text(encoding="utf-8").replace(original.run_id, run_id)
            (copied / name).write_text(text, encoding="utf-8")
    store = LocalStore(str(tmp_path / "many"))
    assert len(reading.search_runs(store)) == 400
    files = [str(path) for path in runs.rglob("*.json*")]
    assert fastest(lambda: reading.search_runs(store)) < 3 * fastest(lambda: parsed(files))


def parsed(files: list[str]) -> list[object]:
    """Open and parse files, as simply as it can be done."""
    found = []
    for name in files:
        with open(name, "rb") as file:
            found.extend(json.loads(line) for line in file)
    return found


def fastest(work: Callable[[], object]) -> float:
    """Give the shortest of several times that ``work`` takes, in seconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def test_readers_and_writers_at_once(start_script: StartScript, project: Path) -> None:
    """A reader sees whole runs while others write theirs, and never an error."""
    source = """
        import runcontext
        for number in range(150):
            with runcontext.start_run(run_name=str(number)) as run:
                run.log_param("number", number)
    """
    started = start_script(source, env=FAST)
    store = LocalStore(str(project / ".runcontext"))
    while started.poll() is None:
        for run in reading.search_runs(store):
            assert run.params.get("number", run.run_name) == run.run_name
    assert started.returncode == 0
    assert [str(run.status) for run in reading.search_runs(store)] == ["FINISHED"] * 150
