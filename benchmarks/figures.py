"""The figures of the benchmark: what each measures, on what, and the targets that it is held against."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from companion_memory import Watch
from ground import Ground, reading
from measures import NotMeasuredError, Reading, Row, Target, Turns, take_turns
from servers import silent_server, tracking_server

OURS = "runcontext"
RUNS = 10_000
FILES = 50_000
PLUGINS = 100
SENT_POINTS = 100_000
MOST_SENDINGS = 5
"""How often so many points are sent at most: it takes a quarter of a minute each time."""

FIRST_PROVIDERS = ("user", "source", "git", "host", "gpu", "python")
"""What every capture has had from the first release on."""

_OPENERS = {
    OURS: "open_runcontext.py",
    "daftar": "open_daftar.py",
    "runprov": "open_runprov.py",
    "Sacred": "open_sacred.py",
    "OpenTelemetry": "open_opentelemetry.py",
    "mlflow-skinny": "open_mlflow.py",
}
# MLflow without SQLAlchemy has no other store of its own, and asks for consent to this one.
_FILE_STORE = {"MLFLOW_TRACKING_URI": "mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
_BARE = "bare Python"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its name, what it measures, how, and its targets."""

    name: str
    what: str
    measure: Callable[[Ground], Turns]
    targets: tuple[Target, ...]

    def rows(self, ground: Ground) -> list[Row]:
        """Measure it, and hold what came of it against each target."""
        turns = self.measure(ground)
        return [target.row(turns) for target in self.targets]


@lru_cache(maxsize=1)
def opened_runs(ground: Ground) -> Turns:
    """Open and close one run with each tool, in a repository of its own that holds nothing but the cases."""

    def opener(tool: str, script: str) -> Callable[[], Reading]:
        repository = ground.repository(f"open-{tool.lower()}")
        variables = _FILE_STORE if tool == "mlflow-skinny" else {}

        def measure() -> Reading:
            found = ground.case(tool, script, repository, variables=variables)
            if tool == OURS:
                _expect_complete(repository)
            return found

        return measure

    subjects = {tool: opener(tool, script) for tool, script in _OPENERS.items()}
    folder = ground.folder("open-nothing")
    subjects[_BARE] = lambda: ground.command([str(ground.environments.python(OURS)), "-c", "pass"], folder)
    return take_turns(subjects, ground.repetitions)


def _expect_complete(repository: Path) -> None:
    """See that the newest run in ``repository`` has its whole context: a run that had not is not to be compared."""
    newest = max((repository / ".runcontext/runs").iterdir())
    outcomes = json.loads((newest / "context.json").read_text())["outcomes"]
    late = [name for name, outcome in outcomes.items() if outcome["status"] in ("pending", "timed_out", "failed")]
    if late or outcomes["git"]["status"] != "captured":
        message = f"the context of a run is not complete: {', '.join(late) or outcomes['git']['reason']}"
        raise NotMeasuredError(message)


def second_runs(ground: Ground) -> Turns:
    """Start a second run in one process, with a commit since the first."""
    ours, theirs = ground.repository("again-runcontext"), ground.repository("again-mlflow")
    subjects: dict[str, Callable[[], Reading]] = {
        OURS: lambda: ground.case(OURS, "again_runcontext.py", ours),
        "MLflow": lambda: ground.case("MLflow", "again_mlflow.py", theirs),
    }
    return take_turns(subjects, ground.repetitions)


def disturbance(ground: Ground) -> Turns:
    """Sleep inside a run until its context is complete, watched from outside."""
    repository = ground.repository("in-the-way")

    def measure() -> Reading:
        command = [str(ground.environments.python(OURS)), "in_the_way.py"]
        with subprocess.Popen(
            command,
            cwd=repository,
            env=ground.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            watch = Watch()
            watch.until_end_of(program)
            output, errors = program.communicate()
        found = reading(command, program.returncode, output, errors)
        if not watch.peak:
            message = "no companion was seen"
            raise NotMeasuredError(message)
        started = max(watch.threads, found["threads"]) - 1
        return {
            **found,
            "threads": started,
            "peak": watch.peak,
            "peak_with_git": watch.peak_with_git,
            "idle": watch.idle,
            "largest": watch.largest,
        }

    return take_turns({OURS: measure}, ground.repetitions)


def logging_rates(ground: Ground) -> Turns:
    """Log points of a metric, one call each, into the store that each has by default."""
    ours, theirs = ground.repository("log-runcontext"), ground.repository("log-mlflow")
    subjects: dict[str, Callable[[], Reading]] = {
        OURS: lambda: ground.case(OURS, "log_runcontext.py", ours),
        "MLflow": lambda: ground.case("MLflow", "log_mlflow.py", theirs),
    }
    return take_turns(subjects, ground.repetitions)


def sending_rates(ground: Ground) -> Turns:
    """Send points of metrics to a tracking server on this machine, with runcontext and with MLflow's own client."""
    repository = ground.repository("send")
    try:
        with tracking_server(ground) as url:
            ours = {"RUNCONTEXT_TRACKING_URI": url, "RUNCONTEXT_SYNC_TIMEOUT": "300"}
            theirs = {"MLFLOW_TRACKING_URI": url}
            subjects: dict[str, Callable[[], Reading]] = {
                OURS: lambda: ground.case(OURS, "send_runcontext.py", repository, variables=ours),
                "log_batch": lambda: ground.case("MLflow", "send_batches_mlflow.py", repository, variables=theirs),
                "log_metric": lambda: ground.case("MLflow", "send_points_mlflow.py", repository, variables=theirs),
            }
            return take_turns(subjects, min(ground.repetitions, MOST_SENDINGS))
    except NotMeasuredError as error:
        return Turns({}, dict.fromkeys((OURS, "log_batch", "log_metric"), str(error)))


def silent_holds(ground: Ground) -> Turns:
    """Start a run and log, with a server that accepts and never answers, and with none."""
    repository = ground.repository("silent")
    with silent_server() as url:
        silent = {"RUNCONTEXT_TRACKING_URI": url, "RUNCONTEXT_SYNC_TIMEOUT": "0"}
        subjects: dict[str, Callable[[], Reading]] = {
            OURS: lambda: ground.case(OURS, "silent.py", repository, variables=silent),
            "no server": lambda: ground.case(OURS, "silent.py", repository),
        }
        return take_turns(subjects, ground.repetitions)


def everything(ground: Ground) -> Turns:
    """Capture with all providers that are on by default, and with the first six alone."""
    repository = ground.repository("everything")
    first = {"RUNCONTEXT_PROVIDERS": ",".join(FIRST_PROVIDERS)}
    subjects: dict[str, Callable[[], Reading]] = {
        OURS: lambda: ground.case(OURS, "capture.py", repository),
        "first six": lambda: ground.case(OURS, "capture.py", repository, variables=first),
    }
    return take_turns(subjects, ground.repetitions)


def plugin_growth(ground: Ground) -> Turns:
    """Capture with one plugin provider and with many, each installed as a distribution of its own."""
    repository = ground.repository("plugins")

    def capturer(count: int) -> Callable[[], Reading]:
        folder = ground.folder(f"site-packages-{count}")
        names = [_install_plugin(folder, number) for number in range(count)]
        variables = {"PYTHONPATH": str(folder)}
        return lambda: ground.case(OURS, "capture.py", repository, *names, variables=variables)

    turns = take_turns({"one": capturer(1), "many": capturer(PLUGINS)}, ground.repetitions)
    return turns.growth("complete", {OURS: ("one", "many")})


def _install_plugin(folder: Path, number: int) -> str:
    """Put a distribution with one provider on disk, as an installer would, and give the provider's name."""
    name = f"plugin{number:03}"
    (folder / f"{name}.py").write_text(
        f"class Provider:\n    def in_context(self):\n        return True\n\n"
        f'    def tags(self):\n        return {{"{name}.fact": "{number}"}}\n'
    )
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[runcontext.providers]\n{name} = {name}:Provider\n")
    return name


@lru_cache(maxsize=1)
def _repositories(ground: Ground) -> tuple[Path, Path]:
    return ground.repository("files-1"), ground.repository(f"files-{FILES}", FILES)


def clean_repository_growth(ground: Ground) -> Turns:
    """Capture, and run git status, in a repository of one file and in one of many."""
    small, large = _repositories(ground)
    return _repository_growth(ground, small, large)


def dirty_repository_growth(ground: Ground) -> Turns:
    """Do the same with a changed file and an untracked one in both."""
    small, large = _repositories(ground)
    for repository in (small, large):
        (repository / "data/000/00000.txt").write_text("changed\n")
        (repository / "untracked.txt").write_text("untracked\n")
    return _repository_growth(ground, small, large)


def _repository_growth(ground: Ground, small: Path, large: Path) -> Turns:
    def status(repository: Path) -> Reading:
        return {"complete": ground.command(["git", "status"], repository)["whole"]}

    subjects: Mapping[str, Callable[[], Reading]] = {
        "small": lambda: ground.case(OURS, "capture.py", small),
        "large": lambda: ground.case(OURS, "capture.py", large),
        "small status": lambda: status(small),
        "large status": lambda: status(large),
    }
    turns = take_turns(subjects, ground.repetitions)
    return turns.growth("complete", {OURS: ("small", "large"), "git status": ("small status", "large status")})


def store_growth(ground: Ground) -> Turns:
    """Search a store of many runs, and read and parse the same files with nothing but the standard library."""
    store = _full_store(ground)
    folder = ground.folder("search")
    subjects: Mapping[str, Callable[[], Reading]] = {
        OURS: lambda: ground.case(OURS, _case(ground, "search_runs.py"), folder, str(store), str(RUNS)),
        "files": lambda: ground.case(OURS, _case(ground, "read_runs.py"), folder, str(store)),
    }
    return take_turns(subjects, ground.repetitions)


def _case(ground: Ground, script: str) -> str:
    return str(ground.cases / script)


def _full_store(ground: Ground) -> Path:
    """Make one complete run, and copies of it, each with an id and a start of its own."""
    repository = ground.repository("store")
    model = Path(ground.output(OURS, "one_run.py", repository))
    store = ground.folder("full-store")
    identity = json.loads((model / "run.json").read_text())
    for number in range(RUNS):
        run_id = f"{int(identity['run_id'], 16) + (number << 80):032x}"
        copy = store / "runs" / run_id
        shutil.copytree(model, copy, ignore=shutil.ignore_patterns("artifacts"))
        own = {**identity, "run_id": run_id, "start_time": identity["start_time"] + number}
        (copy / "run.json").write_text(json.dumps(own))
    return store


def _held(peer: str, limit: float) -> Target:
    return Target(claim=f"of {peer}'s", ours=(OURS, "held"), theirs=(peer, "held"), limit=limit)


FIGURES = (
    Figure(
        "held",
        "from before the import to the first line of the block, in a fresh process",
        opened_runs,
        (
            _held("OpenTelemetry", 1 / 4),
            _held("daftar", 1 / 4),
            _held("runprov", 1 / 4),
            _held("Sacred", 1 / 12),
            _held("mlflow-skinny", 1 / 50),
        ),
    ),
    Figure(
        "whole",
        "the whole process of a script that only opens and closes a run",
        opened_runs,
        (
            Target(claim="of Sacred's", ours=(OURS, "whole"), theirs=("Sacred", "whole"), limit=0.6),
            Target(claim="of daftar's", ours=(OURS, "whole"), theirs=("daftar", "whole"), limit=1.3),
            Target(claim="of runprov's", ours=(OURS, "whole"), theirs=("runprov", "whole")),
            Target(claim="of mlflow-skinny's", ours=(OURS, "whole"), theirs=("mlflow-skinny", "whole")),
            Target(claim="of a bare Python's", ours=(OURS, "whole"), theirs=(_BARE, "whole")),
        ),
    ),
    Figure(
        "again",
        "a second start_run() in the process, with a commit since the first",
        second_runs,
        (
            Target(claim="held, of MLflow's (sqlite)", ours=(OURS, "held"), theirs=("MLflow", "held"), limit=1 / 5),
            Target(claim="runs that have the new commit", ours=(OURS, "fresh"), unit="", limit=1, is_minimum=True),
            Target(claim="MLflow's that have it", ours=("MLflow", "fresh"), unit=""),
        ),
    ),
    Figure(
        "in the way",
        "inside the block, from its first line until the context is complete",
        disturbance,
        (
            Target(claim="CPU of the program, asleep", ours=(OURS, "cpu"), limit=3),
            Target(claim="CPU to read run.tags then", ours=(OURS, "cpu_reading")),
            Target(claim="threads started, at most", ours=(OURS, "threads"), unit="", limit=0, is_worst=True),
            Target(claim="growth of resident memory", ours=(OURS, "resident"), unit="MiB", limit=5),
            Target(claim="growth of private memory", ours=(OURS, "private"), unit="MiB", limit=5),
            Target(claim="companion's memory, peak", ours=(OURS, "peak"), unit="MiB", limit=40, is_worst=True),
            Target(claim="companion's memory, idle", ours=(OURS, "idle"), unit="MiB", limit=40, is_worst=True),
            Target(claim="its largest process", ours=(OURS, "largest"), unit="MiB"),
            Target(claim="its peak with git's processes", ours=(OURS, "peak_with_git"), unit="MiB"),
        ),
    ),
    Figure(
        "logging",
        "log_metric() into the default store",
        logging_rates,
        (
            Target(
                claim="of MLflow's rate (sqlite)",
                ours=(OURS, "rate"),
                theirs=("MLflow", "rate"),
                unit="/s",
                limit=50,
                is_minimum=True,
            ),
        ),
    ),
    Figure(
        "rate",
        f"{SENT_POINTS:,} metric points into a local MLflow server (its log_metric: 500, extrapolated)",
        sending_rates,
        (
            Target(
                claim="of MLflow's client's, log_batch of 1,000",
                ours=(OURS, "rate"),
                theirs=("log_batch", "rate"),
                unit="/s",
                limit=1,
                is_minimum=True,
            ),
            Target(
                claim="of MLflow's client's, log_metric",
                ours=(OURS, "rate"),
                theirs=("log_metric", "rate"),
                unit="/s",
                limit=20,
                is_minimum=True,
            ),
            Target(claim="the program held to log them", ours=(OURS, "logged")),
        ),
    ),
    Figure(
        "never waits",
        "with a server that accepts and never answers",
        silent_holds,
        (
            Target(
                claim="start_run(), of no server's",
                ours=(OURS, "held"),
                theirs=("no server", "held"),
                limit=1.1,
            ),
            Target(
                claim="a log_metric(), of no server's",
                ours=(OURS, "call"),
                theirs=("no server", "call"),
                unit="us",
                limit=1.1,
            ),
        ),
    ),
    Figure(
        "everything",
        "until the context is complete, with all providers that are on by default",
        everything,
        (Target(claim="of the first six's", ours=(OURS, "complete"), theirs=("first six", "complete"), limit=1.5),),
    ),
    Figure(
        "plugins",
        f"what a capture takes longer with {PLUGINS} plugin providers than with one",
        plugin_growth,
        (Target(claim="until complete", ours=(OURS, "complete"), limit=20),),
    ),
    Figure(
        "repository, clean",
        f"what a capture takes longer in a repository of {FILES:,} files than in one of 1",
        clean_repository_growth,
        (
            Target(
                claim="of what git status does",
                ours=(OURS, "complete"),
                theirs=("git status", "complete"),
                limit=1.2,
            ),
        ),
    ),
    Figure(
        "repository, dirty",
        "the same with a changed and an untracked file in both",
        dirty_repository_growth,
        (
            Target(
                claim="of what git status does",
                ours=(OURS, "complete"),
                theirs=("git status", "complete"),
                limit=2,
            ),
        ),
    ),
    Figure(
        "search",
        f"search_runs() over {RUNS:,} runs",
        store_growth,
        (
            Target(
                claim="of reading and parsing the files",
                ours=(OURS, "took"),
                theirs=("files", "took"),
                limit=3,
            ),
        ),
    ),
)
