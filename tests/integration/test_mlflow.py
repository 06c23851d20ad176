"""runcontext inside MLflow, and MLflow's plugins inside runcontext: real MLflow, with a database of its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil
    from tests.integration.conftest import Finished, InstallPlugin, RunScript, StartScript

# The first of them installs MLflow, over whatever network there is.
pytestmark = [pytest.mark.mlflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PYTHON_VERSION = ".".join(map(str, sys.version_info[:2]))
PACKAGES = ("mlflow-skinny", "sqlalchemy", "alembic")
"""The smallest installation of MLflow that keeps runs in a database."""

FACTS = ("mlflow.source.git.dirty", "git.root", "host.name", "process.pid", "python.packages.count", "source.sha256")
"""Tags that MLflow has no idea of, at least one of each built-in provider that has something to say everywhere."""

START = """\
import json, os, sys
import mlflow

def tags_of_new_run(**arguments):
    with mlflow.start_run(**arguments) as run:
        pass
    return mlflow.MlflowClient().get_run(run.info.run_id).data.tags
"""


@dataclass(frozen=True, slots=True)
class MLflow:
    """A Python that has the newest MLflow and the runcontext under test, and a database with MLflow's tables."""

    python: str
    database: Path


@pytest.fixture(scope="session")
def mlflow() -> MLflow:
    """Give a virtual environment with MLflow, made once and kept; skips where it cannot be installed."""
    folder = ROOT / "build" / f"mlflow-{PYTHON_VERSION}"
    folder.parent.mkdir(exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        stamp = folder / "complete"
        wanted = _fingerprint()
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            stamp.write_text(wanted, encoding="utf-8")
    return MLflow(str(folder / "bin" / "python"), folder / "mlflow.db")


@pytest.fixture
def run_mlflow(mlflow: MLflow, project: Path, run_script: RunScript) -> Callable[..., Finished]:
    """Give the function that runs a script with MLflow, its runs in a fresh database."""
    variables = _use_database(mlflow, project)

    def run(source: str, *, env: dict[str, str] | None = None, options: tuple[str, ...] = ()) -> Finished:
        return run_script(
            START + textwrap.dedent(source), python=mlflow.python, env={**variables, **(env or {})}, options=options
        )

    return run


def test_a_run_has_every_tag_of_ours_that_mlflow_does_not_give(run_mlflow: Callable[..., Finished]) -> None:
    """With no code, a run read back from its server has MLflow's own tags, and all others of runcontext's."""
    finished = run_mlflow("""
    found = tags_of_new_run()
    import runcontext
    print(json.dumps([found, dict(runcontext.resolve_context().tags), sys.argv[0], os.getpid()]))
    """)
    found, ours, script, pid = finished.json

    assert set(ours) <= set(found)
    assert set(FACTS) <= set(found)
    assert found["mlflow.source.name"] == script
    assert found["mlflow.source.git.dirty"] == "false"
    assert found["process.pid"] == str(pid)
    assert finished.stderr.count("runcontext") == 0


def test_importing_mlflow_starts_nothing(
    mlflow: MLflow,
    project: Path,
    start_script: StartScript,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
) -> None:
    """``import mlflow`` imports two small modules of ours and starts no process; the first run starts the companion."""
    process = start_script(
        f"""{START}
print(json.dumps(sorted(each for each in sys.modules if each.startswith("runcontext"))), flush=True)
sys.stdin.readline()
tags_of_new_run()
print("ran", flush=True)
sys.stdin.readline()
""",
        python=mlflow.python,
        env=_use_database(mlflow, project),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == ["runcontext", "runcontext.log", "runcontext.mlflow"]
    assert companions(process.pid) == []

    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ran\n"
    assert companions(process.pid)

    process.kill()
    wait_until(lambda: not companions(process.pid), what="the end of the companion")


def test_what_mlflow_gives_stays(
    run_mlflow: Callable[..., Finished], install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    """MLflow's own providers, its variable, another plugin and the caller's tags each keep what they say."""
    # What Databricks has in its notebooks and jobs, and where MLflow asks first.
    (tmp_path / "site" / "dbruntime").mkdir(parents=True)
    (tmp_path / "site" / "dbruntime" / "databricks_repl_context.py").write_text(
        textwrap.dedent("""
            class Context:
                isInJob, jobId, idInJob, isInNotebook = True, "7", "9", False

                def __getattr__(self, name):
                    return "https://workspace.example.org" if name.endswith("Url") else None

            def get_context():
                return Context()
        """),
        encoding="utf-8",
    )
    install_plugin(
        "early",
        """
        class Provider:
            def in_context(self):
                return True

            def tags(self):
                with open("calls.txt", "a") as file:
                    file.write("called\\n")
                return {"os.type": "a plugin's"}
        """,
        group="mlflow.run_context_provider",
    )
    finished = run_mlflow(
        """
    found = tags_of_new_run(tags={"host.arch": "the caller's"})
    print(json.dumps([found, open("calls.txt").read().split()]))
    """,
        env={
            "MLFLOW_RUN_CONTEXT": '{"host.name": "a variable\'s", "team": "vision"}',
            "RUNCONTEXT_TAGS": '{"lab": "3"}',
        },
    )
    found, calls = finished.json

    assert found["mlflow.source.type"] == "JOB"
    assert found["mlflow.source.name"] == "jobs/7/run/9"
    assert (found["host.name"], found["team"]) == ("a variable's", "vision")
    assert found["os.type"] == "a plugin's"
    assert found["host.arch"] == "the caller's"
    assert found["lab"] == "3"
    assert calls == ["called"]


def test_asked_by_somebody_else_mlflows_own_answers_stay_too(run_mlflow: Callable[..., Finished]) -> None:
    """Where it is not MLflow's registry that asks, MLflow's own providers are, and a failing one costs only its own."""
    finished = run_mlflow(
        """
    from runcontext.mlflow import MLflowRunContext
    print(json.dumps(MLflowRunContext().tags()))
    """,
        env={"MLFLOW_RUN_CONTEXT": "no JSON"},
    )

    assert "mlflow.source.name" not in finished.json
    assert set(FACTS) <= set(finished.json)
    assert "SystemEnvironmentContext failed" in finished.stderr


def test_a_plugin_runs_once(run_mlflow: Callable[..., Finished], install_plugin: InstallPlugin) -> None:
    """What MLflow runs as its plugin runcontext leaves alone; its own plugins run, once even where declared twice."""
    source = """
        import os

        class Provider:
            def in_context(self):
                return True

            def tags(self):
                with open("calls.txt", "a") as file:
                    file.write(f"{type(self).__module__}\\n")
                return {f"{type(self).__module__}.tag": str(os.getpid())}
        """
    install_plugin("both", source)
    install_plugin("both", source, group="mlflow.run_context_provider")
    install_plugin("ours", source)
    install_plugin("ours", source, distribution="ours-again", module="ours")
    finished = run_mlflow("""
    found = tags_of_new_run()
    print(json.dumps([found, open("calls.txt").read().split(), os.getpid()]))
    """)
    found, calls, pid = finished.json

    assert sorted(calls) == ["both", "ours"]
    assert found["both.tag"] == str(pid)
    assert found["ours.tag"] != str(pid)


def test_toggles_are_in_force(run_mlflow: Callable[..., Finished]) -> None:
    """A provider that is off gives nothing, and with all of them off nothing is started."""
    one_off = run_mlflow("print(json.dumps(tags_of_new_run()))", env={"RUNCONTEXT_PROVIDER_HOST": "0"})
    all_off = run_mlflow(
        """
    found = tags_of_new_run()
    from runcontext.companion import client
    print(json.dumps([found, client.current() is None]))
    """,
        env={"RUNCONTEXT_DISABLED": "1"},
    )

    assert "host.name" not in one_off.json
    assert "git.root" in one_off.json
    found, is_without_companion = all_off.json
    assert not set(FACTS) & set(found)
    assert all(tag.startswith("mlflow.") for tag in found)
    assert is_without_companion


def test_nothing_of_a_plugin_breaks_a_run(run_mlflow: Callable[..., Finished], install_plugin: InstallPlugin) -> None:
    """Plugins that exit, hang, lie about types or give far too much cost their own tags, and the log names them."""
    install_plugin("exits", "import sys; sys.exit('no')")
    install_plugin("cannot", "import no_such_module")
    install_plugin(
        "hangs", "import time\nclass Provider:\n    def in_context(self): time.sleep(60)\n    tags = in_context"
    )
    install_plugin("dies", "import os\nclass Provider:\n    def in_context(self): os._exit(3)\n    tags = in_context")
    install_plugin(
        "floods",
        """
        class Provider:
            def in_context(self):
                return True

            def tags(self):
                wrong = {"number": 1, "": "x", "../x": "x", "k" * 251: "x", 7: "x"}
                return {**wrong, "small": "x", "long": "v" * 1_000_000, **{f"many.{n}": "v" * 500 for n in range(900)}}
        """,
    )
    finished = run_mlflow("print(json.dumps(tags_of_new_run()))", env={"RUNCONTEXT_TIMEOUT": "3"})
    found = finished.json

    assert set(FACTS) <= set(found)
    assert found["small"] == "x"
    assert len(found["long"]) <= 8_000
    assert "number" not in found
    assert 50 < len(found) < 150
    assert len(json.dumps(found)) < 50_000
    for culprit in ("exits", "cannot", "hangs", "dies", "floods"):
        assert f"provider '{culprit}'" in finished.stderr
    assert "left out" in finished.stderr


def test_threads_children_and_resumed_runs(run_mlflow: Callable[..., Finished]) -> None:
    """Runs that threads start at once and nested runs have every tag; a resumed one is as MLflow resumes it."""
    finished = run_mlflow("""
    from concurrent.futures import ThreadPoolExecutor

    def nested(_):
        with mlflow.start_run() as outer, mlflow.start_run(nested=True) as inner:
            return [outer.info.run_id, inner.info.run_id]

    with ThreadPoolExecutor(4) as pool:
        pairs = list(pool.map(nested, range(4)))
    client = mlflow.MlflowClient()
    before = client.get_run(pairs[0][0]).data.tags
    with mlflow.start_run(run_id=pairs[0][0]):
        pass
    after = client.get_run(pairs[0][0]).data.tags
    print(json.dumps([[client.get_run(each).data.tags for pair in pairs for each in pair], before == after]))
    """)
    runs, is_unchanged = finished.json

    assert len(runs) == 8
    assert all(set(FACTS) <= set(each) for each in runs)
    assert is_unchanged


@pytest.mark.slow
def test_without_a_companion_the_tags_are_the_same(run_mlflow: Callable[..., Finished]) -> None:
    """Where no companion may be started, its providers run in threads."""
    finished = run_mlflow("print(json.dumps(tags_of_new_run()))", env={"RUNCONTEXT_COMPANION": "0"})

    assert set(FACTS) <= set(finished.json)


@pytest.mark.slow
def test_what_a_run_costs(run_mlflow: Callable[..., Finished], capsys: pytest.CaptureFixture[str]) -> None:
    """A second run in the process costs its thread a few milliseconds of work, and waits for a warm companion.

    Alternating with runs without us, since the machine does other things too: the work and the best wait decide.
    """
    finished = run_mlflow("""
    import time

    def timed(disabled):
        os.environ["RUNCONTEXT_DISABLED"] = disabled
        wall, cpu = time.perf_counter(), time.process_time()
        mlflow.start_run()
        took = [time.perf_counter() - wall, time.process_time() - cpu]
        mlflow.end_run()
        return took

    first_without, first_with = timed("1"), timed("0")
    print(json.dumps([first_without, first_with, [[timed("1"), timed("0")] for _ in range(15)]]))
    """)
    first_without, first_with, pairs = finished.json
    columns = [sorted(pair[which][kind] for pair in pairs) for kind in (0, 1) for which in (0, 1)]
    wall_without, wall_with, cpu_without, cpu_with = columns
    with capsys.disabled():
        print(
            f"\nmlflow.start_run(), ms: first {1e3 * first_without[0]:.0f} without us, {1e3 * first_with[0]:.0f} with; "
            f"later ones {_spread(wall_without)} without, {_spread(wall_with)} with"
        )

    assert statistics.median(cpu_with) - statistics.median(cpu_without) < 0.020
    assert wall_with[0] - wall_without[0] < 0.060


def test_mlflows_plugins_run_in_runcontext(
    mlflow: MLflow, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """A plugin made for MLflow, subclass and all, and one that is a builder function, run here unchanged, each once."""
    install_plugin(
        "subclass",
        """
        from mlflow.tracking.context.abstract_context import RunContextProvider

        class Provider(RunContextProvider):
            def in_context(self):
                return True

            def tags(self):
                return {"plugin.class": type(self).__mro__[1].__name__, "mlflow.source.type": "JOB"}
        """,
        group="mlflow.run_context_provider",
    )
    builder = """
        class Built:
            def in_context(self):
                return True

            def tags(self):
                return {"plugin.built": "yes"}

        def build():
            return Built()
        """
    for distribution in ("acme", "acme-skinny"):
        install_plugin(
            "unused",
            builder,
            target="build",
            group="mlflow.run_context_provider",
            distribution=distribution,
            module="acme",
        )
    finished = run_script(
        """
        import json, sys
        import runcontext

        with runcontext.start_run() as run:
            print(json.dumps([dict(run.tags), sorted(run.context.outcomes), "mlflow" in sys.modules]))
        """,
        python=mlflow.python,
    )
    tags, providers, is_mlflow_imported = finished.json

    assert tags["plugin.class"] == "RunContextProvider"
    assert tags["mlflow.source.type"] == "JOB"
    assert tags["plugin.built"] == "yes"
    assert [each for each in providers if "unused" in each or "runcontext" in each] == ["acme-skinny:unused"]
    assert not is_mlflow_imported


def test_a_forked_child_captures_for_itself(run_script: RunScript) -> None:
    """A child forked while its parent has a companion describes itself, and nothing is left open at either's end."""
    finished = run_script(
        """
        import json, os
        from runcontext.mlflow import MLflowRunContext

        ours = MLflowRunContext()
        assert ours.in_context()
        assert ours.in_context()
        first = ours.tags()
        pid = os.fork()
        moved = {tag for tag, value in ours.tags().items() if first.get(tag) != value} - {"load"}
        print(json.dumps([ours.tags()["process.pid"], str(os.getpid()), not moved]), flush=True)
        if pid:
            os.waitpid(pid, 0)
        """,
        options=("-X", "dev"),
    )
    lines = [json.loads(line) for line in finished.stdout.splitlines()]

    assert len(lines) == 2
    assert all(described == pid for described, pid, _ in lines)
    assert sorted(is_same for *_, is_same in lines) == [False, True]
    assert finished.stderr == ""


def test_ctrl_c_is_the_users(run_script: RunScript) -> None:
    """Whatever fails inside is logged and costs the tags; only KeyboardInterrupt in the main thread passes."""
    finished = run_script(
        """
        import resource, threading
        import runcontext
        from runcontext import capture, program, settings
        from runcontext.mlflow import MLflowRunContext

        class Interrupts:
            placement = "inline"

            def in_context(self):
                raise KeyboardInterrupt

            tags = in_context

        ours = MLflowRunContext()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        print("out of descriptors", type(ours.tags()).__name__)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
        print("in again", "host.name" in ours.tags())
        runcontext.register_provider(Interrupts())
        thread = threading.Thread(target=lambda: print("in a thread", "host.name" in ours.tags()))
        thread.start()
        thread.join()
        try:
            ours.in_context()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )

    assert finished.stdout.splitlines() == [
        "out of descriptors dict",
        "in again True",
        "in a thread True",
        "interrupted",
    ]


def test_the_page_about_mlflow_is_true(mlflow: MLflow, project: Path, run_mlflow: Callable[..., Finished]) -> None:
    """The program in docs/mlflow.md prints what the page says."""
    page = (ROOT / "docs" / "mlflow.md").read_text(encoding="utf-8")
    shown = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    program, printed = shown.groups()
    shutil.copy(mlflow.database, project / "mlflow.db")
    finished = run_mlflow(program)

    pattern = re.escape(printed).replace(re.escape("..."), ".+")
    assert re.fullmatch(pattern, finished.stdout), finished.stdout


def _spread(seconds: list[float]) -> str:
    low, _, high = statistics.quantiles(seconds, n=4)
    return f"{1e3 * statistics.median(seconds):.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})"


def _use_database(mlflow: MLflow, project: Path) -> dict[str, str]:
    database = project.parent / "mlflow.db"
    shutil.copy(mlflow.database, database)
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{database}", "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    """Identify what is installed: the entry points of a distribution are those of the moment it was installed."""
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    return f"{hashlib.sha256(pyproject).hexdigest()} {_requirement()}"


def _requirement() -> list[str]:
    """Give pip's arguments for the very runcontext that runs this test (PEP 610, direct_url.json)."""
    distribution = importlib.metadata.distribution("runcontext")
    text = distribution.read_text("direct_url.json")
    if text is None:
        return [f"runcontext=={distribution.version}"]
    origin: dict[str, Any] = json.loads(text)
    editable = origin.get("dir_info", {}).get("editable", False)
    return ["--editable", origin["url"]] if editable else [origin["url"]]


def _install(folder: Path) -> None:
    python = folder / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_"))}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # With its own .pth file it counts the lines that run there, where lines are counted at all.
    coverage = [f"coverage=={importlib.metadata.version('coverage')}"]
    commands: list[list[str]] = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES, *coverage, *_requirement()],
        [str(python), "-c", "import mlflow; mlflow.search_experiments()"],
    ]
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    for command in commands:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"MLflow cannot be installed here: {' '.join(command[:5])} ...: {_error_in(done.stderr)}")


def _error_in(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no reason given")
