"""Runs sent beside the program: a place that is quick, slow, away or gone, and a program that ends in every way.

The place is a plugin whose store is another folder, and does what a file tells it: away, hang or refuse.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runcontext import RunRecord
from runcontext.mirror import state
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    import psutil
    from tests.integration.conftest import Finished, InstallPlugin, RunScript, StartScript

PLUGIN = """
import os, time
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.tracking.folder import FolderStore

class Store:
    def __init__(self, uri):
        self._folder = uri.removeprefix("copy:")
        self._store = FolderStore(self._folder)

    @property
    def uri(self):
        return "copy:" + self._folder

    def _obey(self, about=None):
        if os.environ.get("COPYING_SAYS"):
            import logging
            logging.getLogger("runcontext").warning(os.environ["COPYING_SAYS"])
        try:
            word = open(self._folder + ".does").read()
        except FileNotFoundError:
            return
        if word == "soon":
            with open(self._folder + ".asked", "a") as file:
                file.write(".")
            raise StoreUnavailableError("the place is busy", retry_after_seconds=0)
        if word == "away":
            raise StoreUnavailableError("the place is away")
        if about is not None and word == "stuck " + about.run_id:
            raise StoreUnavailableError("there is something about this run")
        if word == "die":
            os.unlink(self._folder + ".does")
            os.kill(os.getpid(), 9)
        if word == "exit":
            os._exit(3)
        if word == "refuse":
            raise StoreError("the place refuses")
        while word == "hang":
            time.sleep(0.02)
            word = open(self._folder + ".does").read()

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if not callable(found):
            return found
        def obeying(*args, **named):
            self._obey(args[0] if args and name == self.sticks_at else None)
            return found(*args, **named)
        return obeying

    sticks_at = os.environ.get("COPYING_STICKS_AT", "log_batch")
    limits = property(lambda self: self._store.limits)
    create_run = lambda self, run: self.__getattr__("create_run")(run)
    log_batch = lambda self, run, batch: self.__getattr__("log_batch")(run, batch)
    update_run = lambda self, run, update: self.__getattr__("update_run")(run, update)
    get_run = lambda self, run_id: self.__getattr__("get_run")(run_id)
    search_runs = lambda self, query: self.__getattr__("search_runs")(query)
    artifacts = lambda self, run: self.__getattr__("artifacts")(run)
    close = lambda self: None
"""

RUN = """
import json, sys, time
import runcontext

with runcontext.start_run(run_name="sent", tags={"team": "vision"}) as run:
    for step in range(200):
        run.log_metric("loss", 1 / (step + 1), step=step)
    run.log_params({"lr": 0.1, "layers": 3})
    run.log_text("weights", "model/weights.txt")
    print(json.dumps([run.run_id, run.remote_id, sorted(set(sys.modules) & {"requests", "sqlalchemy", "fsspec"})]))
    began = time.perf_counter()
print(json.dumps(time.perf_counter() - began))
"""


class Place:
    """The place that runs are sent to, and what it does."""

    def __init__(self, folder: Path) -> None:
        """Name its folder."""
        self.folder = folder
        self.uri = f"copy:{folder}"
        self.store = LocalStore(str(folder))

    def does(self, word: str) -> None:
        """Be quick again, or do what ``word`` says: away, hang, refuse."""
        Path(f"{self.folder}.does").write_text(word, encoding="utf-8")

    def runs(self) -> list[RunRecord]:
        """Give what it has."""
        return list(reading.search_runs(self.store))


@pytest.fixture
def place(tmp_path: Path, environment: dict[str, str], quick: None, install_plugin: InstallPlugin) -> Place:  # noqa: ARG001
    """Give a place that scripts of this test send their runs to."""
    found = Place(tmp_path / "there")
    install_plugin("copy", PLUGIN, target="Store", group="runcontext.tracking_stores", distribution="copying")
    environment["RUNCONTEXT_TRACKING_URI"] = found.uri
    return found


@pytest.fixture
def sync(run_script: RunScript) -> Callable[..., Finished]:
    """Give the function that runs ``runcontext sync`` in the project."""

    def run(*words: str, returncode: int = 0, env: dict[str, str] | None = None) -> Finished:
        command = f"import sys; from runcontext.cli import main; sys.exit(main(['sync', *{list(words)!r}]))"
        return run_script(command, returncode=returncode, env=env)

    return run


def local_run(project: Path) -> RunRecord:
    """Give the one run of the project."""
    (found,) = reading.search_runs(LocalStore(str(project / ".runcontext")))
    return found


def assert_same(here: RunRecord, there: RunRecord) -> None:
    """Hold what the place has against what this machine has."""
    for name in (
        "run_id",
        "run_name",
        "experiment_name",
        "status",
        "start_time",
        "end_time",
        "tags",
        "params",
        "metrics",
    ):
        assert getattr(there, name) == getattr(here, name), name


def test_a_run_is_where_it_goes_when_its_block_is_left(run_script: RunScript, project: Path, place: Place) -> None:
    """All of it, context and artifacts included; the program imports no client, and is told the run's id there."""
    finished = run_script(RUN)
    first, seconds = (json.loads(line) for line in finished.stdout.splitlines())

    here = local_run(project)
    assert first == [here.run_id, here.run_id, []]
    assert seconds < 8
    assert finished.stderr == ""
    (there,) = place.runs()
    assert_same(here, there)
    assert here.is_mirrored
    assert there.path is not None
    assert (there.path / "artifacts/model/weights.txt").read_text() == "weights"
    context = json.loads((there.path / "artifacts/context/context.json").read_text())
    assert context["outcomes"]["user"]["status"] == "captured"


def test_a_place_that_is_away_costs_one_line_and_nothing_is_lost(
    run_script: RunScript, sync: Callable[..., Finished], project: Path, place: Place
) -> None:
    """The end waits as long as it may, says what is still to be sent and how; a later process sends it."""
    place.does("away")
    finished = run_script(RUN, env={"RUNCONTEXT_SYNC_TIMEOUT": "0.5"})

    assert 0.4 < json.loads(finished.stdout.splitlines()[1]) < 5
    (line,) = finished.stderr.splitlines()
    here = local_run(project)
    name = f"run {here.run_id[-8:]} sent"
    assert line.startswith(f"{name}: 202 events and ")
    assert line.endswith(f"still to be sent to {place.uri}: the place is away; `runcontext sync` sends it")
    assert here.is_mirrored is False
    place.does("")
    # The companion may have been faster.
    assert sync().stdout in (f"{here.run_id[-8:]}\tsent\tsent\t{place.uri}\n", "")
    assert_same(local_run(project), place.runs()[0])
    assert "is where it goes" in sync().stderr


def test_a_place_that_is_busy_is_not_asked_at_once_again(run_script: RunScript, place: Place) -> None:
    """One that fails and asks to be tried again at once is left alone as long as one that does not ask."""
    place.does("soon")
    run_script(RUN, env={"RUNCONTEXT_SYNC_TIMEOUT": "1"})

    # After 0.25, 0.5 and 1 s, and once more for the end of the run and that of the program.
    assert Path(f"{place.folder}.asked").stat().st_size < 12


def test_a_place_that_hangs_holds_nothing(run_script: RunScript, place: Place) -> None:
    """start_run() and what is logged do not wait for it; the end waits as long as it may."""
    place.does("hang")
    finished = run_script(
        """
        import json, time
        import runcontext

        def seconds(work):
            began = time.perf_counter()
            work()
            return time.perf_counter() - began

        runs = []
        taken = [seconds(lambda: runs.append(runcontext.start_run()))]
        (run,) = runs
        taken.append(seconds(lambda: run.log_metric("a", 1.0)))
        taken.append(seconds(lambda: run.log_param("b", 1)))
        taken.append(seconds(lambda: run.set_tag("c", 1)))
        taken.append(seconds(lambda: run.log_text("d", "d.txt")))
        taken.append(seconds(run.end))
        print(json.dumps(taken))
        """,
        env={"RUNCONTEXT_SYNC_TIMEOUT": "0.3"},
    )
    *quick, end = finished.json

    assert max(quick) < 1
    assert 0.3 <= end < 5
    assert "still to be sent" in finished.stderr


@pytest.mark.parametrize("moment", ["create_run", "log_batch"])
def test_a_run_that_is_stuck_holds_up_no_other(
    run_script: RunScript, wait_until: Callable[..., None], project: Path, place: Place, moment: str
) -> None:
    """What a place does not take of one run is that run's alone: the program's others get there, and are blameless."""
    place.does("away")
    run_script(
        f"""
        import runcontext

        with runcontext.start_run(run_name="first") as first:
            with open({str(place.folder)!r} + ".does", "w") as file:
                file.write("stuck " + first.run_id)
            first.log_metric("a", 1.0)
        for name in ("second", "third"):
            with runcontext.start_run(run_name=name) as run:
                run.log_metric("a", 1.0)
        """,
        env={"RUNCONTEXT_SYNC_TIMEOUT": "0.5", "COPYING_STICKS_AT": moment},
    )
    local = LocalStore(str(project / ".runcontext"))
    names = ["third", "second"]
    wait_until(lambda: [each.run_name for each in reading.search_runs(local) if each.is_mirrored] == names)

    runs = {each.run_name: each for each in reading.search_runs(local)}
    errors = {name: getattr(state.read(str(run.path)), "error", "") for name, run in runs.items()}
    assert errors == {"first": "there is something about this run", "second": None, "third": None}
    assert_same(runs["third"], next(each for each in place.runs() if each.run_name == "third"))


def test_a_sender_that_dies_is_replaced(run_script: RunScript, project: Path, place: Place) -> None:
    """A client that crashes costs nothing: another process goes on where it stopped."""
    place.does("die")
    finished = run_script(RUN)

    assert finished.stderr == ""
    assert_same(local_run(project), place.runs()[0])


@pytest.mark.parametrize("word", ["hang", "exit"])
def test_a_plugin_that_leaves_nobody_to_say_so_is_named(run_script: RunScript, place: Place, word: str) -> None:
    """Where the sender hangs in a plugin, or is ended by it again and again, the run and `show` say which it was."""
    place.does(word)
    finished = run_script(
        "import runcontext; runcontext.start_run(providers=[]).end()", env={"RUNCONTEXT_SYNC_TIMEOUT": "2"}
    )
    said = "tracking store 'copy' of copying 1.0 (copying:Store) has not come back, or has ended the process"

    assert f"still to be sent to {place.uri}: {said} that sends; `runcontext sync` sends it" in finished.stderr
    command = "import sys; from runcontext.cli import main; sys.exit(main(sys.argv[1:]))"
    assert f"({said} that sends)" in run_script(command, args=["show", "latest"]).stdout


def test_a_place_that_hangs_holds_no_other(run_script: RunScript, tmp_path: Path, place: Place) -> None:
    """Runs of one program that go to different places do not wait for each other."""
    place.does("hang")
    finished = run_script(
        f"""
        import json, time
        import runcontext

        first = runcontext.start_run(tracking_uri={place.uri!r})
        second = runcontext.start_run(tracking_uri="copy:{tmp_path}/elsewhere", nested=True, providers=[])
        print(json.dumps(second.remote_id == second.run_id), flush=True)
        second.end()
        """,
        env={"RUNCONTEXT_SYNC_TIMEOUT": "4"},
    )

    assert finished.json is True
    (there,) = reading.search_runs(LocalStore(f"{tmp_path}/elsewhere"))
    assert there.status.value == "FINISHED"


def test_a_sync_that_cannot_be_leaves_a_run_as_it_is(
    run_script: RunScript, sync: Callable[..., Finished], project: Path, place: Place
) -> None:
    """One that goes nowhere can still be sent somewhere; one that is somewhere is not sent elsewhere."""
    run_script(RUN, env={"RUNCONTEXT_TRACKING_URI": ""})
    nowhere = sync("latest", returncode=1, env={"RUNCONTEXT_TRACKING_URI": ""})
    assert "it goes nowhere but here: name the place with --tracking-uri" in nowhere.stderr
    assert local_run(project).is_mirrored is None

    sync("latest", "--tracking-uri", place.uri, env={"RUNCONTEXT_TRACKING_URI": ""})
    assert_same(local_run(project), place.runs()[0])

    elsewhere = sync("latest", "--tracking-uri", f"{place.uri}-2", returncode=1)
    assert f"{place.uri} has it, and a run goes to one place" in elsewhere.stderr
    place.does("refuse")
    sync("latest")
    assert local_run(project).is_mirrored


@pytest.mark.parametrize("word", ["refuse", "hang"])
def test_later_runs_of_a_process_do_not_wait_for_what_is_away(run_script: RunScript, place: Place, word: str) -> None:
    """A sweep of many runs waits once, not at each of its ends."""
    place.does(word)
    finished = run_script(
        """
        import json, time
        import runcontext

        began = time.perf_counter()
        for _ in range(8):
            with runcontext.start_run(providers=[]):
                pass
        print(json.dumps(time.perf_counter() - began))
        """,
        env={"RUNCONTEXT_SYNC_TIMEOUT": "2"},
    )

    assert finished.json < 2 + 8 * 0.2 + 3


def test_what_a_run_is_there_is_waited_for_once(run_script: RunScript, place: Place) -> None:
    """run.url and run.remote_id wait for a place that is away the first time that they are asked for, not each time."""
    place.does("hang")
    finished = run_script(
        """
        import json, time
        import runcontext

        run = runcontext.start_run(providers=[])
        began = time.perf_counter()
        found = [run.remote_id]
        first = time.perf_counter() - began
        found += [run.url, run.remote_id, run.url]
        print(json.dumps([found, first, time.perf_counter() - began - first]))
        """,
        env={"RUNCONTEXT_SYNC_TIMEOUT": "2"},
    )
    found, first, later = finished.json

    assert found == [None] * 4
    assert first >= 2
    assert later < 2


def test_offline_nothing_is_sent_before_sync(
    run_script: RunScript, sync: Callable[..., Finished], project: Path, place: Place
) -> None:
    """RUNCONTEXT_OFFLINE=1 keeps a run here, without a word; `runcontext sync` sends it."""
    finished = run_script(RUN, env={"RUNCONTEXT_OFFLINE": "1"})

    assert finished.stderr == ""
    assert json.loads(finished.stdout.splitlines()[0])[1] is None
    assert place.runs() == []
    said = sync(env={"RUNCONTEXT_OFFLINE": "1"})
    here = local_run(project)
    assert said.stdout == f"{here.run_id[-8:]}\tsent\tsent\t{place.uri}\n"
    assert_same(here, place.runs()[0])


def test_a_killed_program_is_sent_as_such(
    start_script: StartScript,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
    project: Path,
    place: Place,
) -> None:
    """What was logged before SIGKILL is there, and that the run is LOST, whole, without anybody calling sync."""
    process = start_script("""
        import time
        import runcontext

        run = runcontext.start_run(run_name="sent")
        for step in range(1_000):
            run.log_metric("loss", step, step=step)
        print("logged", flush=True)
        time.sleep(600)
    """)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    wait_until(lambda: not companions(process.pid), what="the companion's end")
    assert local_run(project).is_mirrored
    (there,) = place.runs()
    assert there.status.value == "LOST"
    assert there.metrics == {"loss": 999.0}
    assert_same(local_run(project), there)


def test_what_is_said_beside_the_program_is_said_by_it(run_script: RunScript, place: Place) -> None:
    """A warning of a plugin's, given where nobody reads, is on the program's stderr once, without its secret."""
    said = "the headers of acme failed: password=hunter2-of-anna"
    finished = run_script(RUN, env={"COPYING_SAYS": said})

    assert finished.stderr == "the headers of acme failed: password=[redacted]\n"
    assert len(place.runs()) == 1


def test_nested_and_resumed_runs_are_there(run_script: RunScript, project: Path, place: Place) -> None:
    """A child is there inside its parent, and a resumed run with what it got the second time."""
    finished = run_script(
        """
        import json
        import runcontext

        with runcontext.start_run(run_name="outer") as outer:
            with runcontext.start_run(run_name="inner", nested=True) as inner:
                inner.log_metric("a", 1.0)
        with runcontext.start_run(run_id=inner.run_id) as again:
            again.log_metric("b", 2.0)
        print(json.dumps([outer.run_id, inner.run_id]))
        """
    )
    outer, inner = finished.json

    there = {run.run_id: run for run in place.runs()}
    assert finished.stderr == ""
    assert there[inner].metrics == {"a": 1.0, "b": 2.0}
    assert there[inner].parent_run_id == outer
    assert {run.status.value for run in there.values()} == {"FINISHED"}
    for here in reading.search_runs(LocalStore(str(project / ".runcontext"))):
        assert_same(here, there[here.run_id])


def test_a_command_under_runcontext_run_is_there(run_script: RunScript, project: Path, place: Place) -> None:
    """`runcontext run` sends its run; the program inside adds to it, and both know the place."""
    (project / "inside.py").write_text(
        "import runcontext\nwith runcontext.start_run() as run:\n    run.log_metric('inner', 3.0)\n", encoding="utf-8"
    )
    finished = run_script(
        f"""
        import sys
        from runcontext.cli import main
        sys.exit(main(["run", "--name", "sent", "--", {sys.executable!r}, "inside.py"]))
        """
    )

    assert finished.stderr == ""
    (there,) = place.runs()
    assert there.metrics == {"inner": 3.0}
    assert_same(local_run(project), there)


def test_without_a_companion_sync_sends(
    run_script: RunScript, sync: Callable[..., Finished], project: Path, place: Place
) -> None:
    """Where no companion may be started nothing is sent from the program; one line says so."""
    finished = run_script(RUN, env={"RUNCONTEXT_COMPANION": "0"})

    assert "still to be sent" in finished.stderr
    assert "has not answered" not in finished.stderr
    assert place.runs() == []
    sync()
    assert_same(local_run(project), place.runs()[0])


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("htp://example.org", "did you mean http:"),
        ("http://", "no host"),
        ("postgres://anna:pw-of-anna@db/runs", "did you mean postgresql:"),
        ("databricks", "MLflow's own client alone speaks it"),
        ("nowhere:x", "no tracking store serves nowhere:"),
    ],
)
def test_a_uri_that_names_no_place_is_refused_at_once(
    run_script: RunScript, project: Path, environment: dict[str, str], uri: str, words: str
) -> None:
    """start_run() raises, says where or what is known, shows no credential, and keeps no run."""
    environment["RUNCONTEXT_TRACKING_URI"] = uri
    finished = run_script("import runcontext; runcontext.start_run()", returncode=1)

    last = finished.stderr.splitlines()[-1]
    assert "StoreError" in last
    assert words in last
    assert "pw-of-anna" not in finished.stderr
    assert not (project / ".runcontext").exists()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RUNCONTEXT_ARTIFACT_URI": "moon://anna:pw-of-anna@crater"}, "no artifact repository serves moon:"),
        (
            {"RUNCONTEXT_ARTIFACT_URI": "s3://bucket", "RUNCONTEXT_PLUGIN_S3": "nobody"},
            "RUNCONTEXT_PLUGIN_S3=nobody names no installed plugin for s3:",
        ),
    ],
)
def test_an_artifact_uri_that_names_no_place_is_refused_at_once(
    run_script: RunScript, project: Path, place: Place, variables: dict[str, str], words: str
) -> None:
    """start_run() raises, and says what is known; a run that goes nowhere else has its artifacts here."""
    finished = run_script("import runcontext; runcontext.start_run()", returncode=1, env=variables)

    last = finished.stderr.splitlines()[-1]
    assert "StoreError" in last
    assert words in last
    assert "pw-of-anna" not in finished.stderr
    assert place.runs() == []
    assert not (project / ".runcontext").exists()
    run_script("import runcontext; runcontext.start_run().end()", env={**variables, "RUNCONTEXT_TRACKING_URI": ""})


def test_an_experiment_id_that_does_not_count_is_said_once(run_script: RunScript, quick: None, tmp_path: Path) -> None:  # noqa: ARG001
    """A database has no ids of experiments: who set MLflow's variable is told, unless a name says which it is."""
    env = {"RUNCONTEXT_TRACKING_URI": f"sqlite:///{tmp_path}/runs.db", "MLFLOW_EXPERIMENT_ID": "77"}
    runs = "import runcontext\nfor _ in range(2): runcontext.start_run(providers=[]).end()"
    (line,) = run_script(runs, env=env).stderr.splitlines()
    assert line.startswith("MLFLOW_EXPERIMENT_ID=77 does not count at sqlite:///")
    assert line.endswith("the run is in 'Default'; name another with RUNCONTEXT_EXPERIMENT_NAME")

    assert run_script(runs, env={**env, "RUNCONTEXT_EXPERIMENT_NAME": "named"}).stderr == ""


def test_credentials_are_not_kept_with_a_run(
    run_script: RunScript, sync: Callable[..., Finished], project: Path, environment: dict[str, str]
) -> None:
    """A password in the tracking URI is on no disk; sync asks for it, and takes it from the variable."""
    secret = "hunter2-of-anna"  # noqa: S105 - nobody's
    environment["RUNCONTEXT_TRACKING_URI"] = f"postgresql://anna:{secret}@127.0.0.1:1/runs"
    said = run_script(RUN, env={"RUNCONTEXT_SYNC_TIMEOUT": "0.2"}).stderr
    assert "postgresql://anna:[redacted]@127.0.0.1:1/runs" in said
    assert secret not in said

    files = [file for file in (project / ".runcontext").rglob("*") if file.is_file()]
    assert not [file for file in files if secret.encode() in file.read_bytes()]
    # The companion may be trying still, or not even yet, and is not waited for.
    (run,) = (project / ".runcontext/runs").iterdir()
    (run / "mirror.lock").unlink(missing_ok=True)
    refused = sync(returncode=1, env={"RUNCONTEXT_TRACKING_URI": ""})
    assert "the credentials of postgresql://anna:[redacted]@127.0.0.1:1/runs are not on record" in refused.stderr


def test_ls_and_show_say_what_is_sent(run_script: RunScript, place: Place) -> None:
    """`ls` has a column for it, and `show` says where, and what is still to be sent and why."""
    place.does("refuse")
    finished = run_script(RUN, env={"RUNCONTEXT_SYNC_TIMEOUT": "2"})
    assert finished.stderr.endswith("the place refuses; `runcontext sync` tries it again\n")
    command = "import sys; from runcontext.cli import main; sys.exit(main(sys.argv[1:]))"

    assert run_script(command, args=["ls"]).stdout.split("\t")[-1] == "no\n"
    shown = run_script(command, args=["show", "latest"]).stdout
    assert f"run\ttracking URI\t{place.uri}\n" in shown
    assert "(the place refuses); `runcontext sync` tries it again" in shown
    place.does("")
    run_script(command, args=["sync"])
    assert run_script(command, args=["ls"]).stdout.split("\t")[-1] == "yes\n"
    assert "run\tsent\tyes\n" in run_script(command, args=["show", "latest"]).stdout


def test_the_place_can_be_read_like_this_machine(run_script: RunScript, place: Place) -> None:
    """`ls` and `show` with --tracking-uri, and search_runs() and get_run(), give the same of the place."""
    run_script(RUN)
    command = "import sys; from runcontext.cli import main; sys.exit(main(sys.argv[1:]))"

    def read(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run_script(command, args=[*words, "--json"]).stdout)
        return found

    ignored = {"path", "is_mirrored", "remote_id", "url", "artifact_uri", "last_event_time", "host", "pid", "artifacts"}
    here, there = read("show", "latest"), read("show", "latest", "--tracking-uri", place.uri)
    for key in here.keys() - ignored - {"context"}:
        assert here[key] == there[key], key
    assert there["context"]["tags"] == here["context"]["tags"]
    assert {each["path"] for each in there["artifacts"]} >= {each["path"] for each in here["artifacts"]}
    (listed,) = read("ls", "--tracking-uri", place.uri, "--filter", "metrics.loss < 0.1")["runs"]
    assert listed["run_id"] == here["run_id"]
    assert read("ls", "--tracking-uri", place.uri, "--filter", "metrics.loss > 0.1")["runs"] == []
