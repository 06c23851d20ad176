"""Real programs in real projects: a folder with a repository, throw-away plugins, and a script that really runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import pytest

from runcontext import registry
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runcontext.record import Context, RunRecord

BUILT_IN = tuple(name for name in registry.BUILT_IN if name not in registry.ASKED_FOR)
"""The providers that every run has, whatever else is installed."""

_FOREIGN = ("RUNCONTEXT_", "MLFLOW_", "GIT_", "PYTHON", "CUDA_", "XDG_", "SLURM_", "OMPI_", "PMI_", "TORCHELASTIC_")
_FOREIGN_NAMES = frozenset({"CI", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})
_PLENTY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended: what it said, and what it left in its project's store.

    ``seconds`` is how long the whole process took; ``project`` the folder that it ran in.
    """

    pid: int
    returncode: int
    stdout: str
    stderr: str
    seconds: float
    project: Path

    @property
    def store(self) -> LocalStore:
        """The project's own store."""
        return LocalStore(str(self.project / ".runcontext"))

    @property
    def runs(self) -> list[RunRecord]:
        """Every run in the store, newest first."""
        return reading.search_runs(self.store)

    @property
    def run(self) -> RunRecord:
        """The only run in the store."""
        (only,) = self.runs
        return only

    @property
    def context(self) -> Context:
        """The context of the only run, as it is on disk."""
        found = reading.read_context(self.store, self.run.run_id)
        assert found is not None
        return found

    @property
    def json(self) -> Any:
        """The last line that it printed, read as JSON."""
        return json.loads(self.stdout.splitlines()[-1])


class RunScript(Protocol):
    """Runs a script to its end in the project; a status other than ``returncode`` fails the test, None takes any."""

    def __call__(
        self,
        source: str,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        timeout: float = _PLENTY_SECONDS,
        options: Sequence[str] = (),
        python: str = sys.executable,
        cwd: Path | None = None,
        returncode: int | None = 0,
    ) -> Finished:
        """Run ``python OPTIONS script.py ARGS`` with the variables of ``env`` on top of a clean environment."""
        ...


class StartScript(Protocol):
    """Starts a script in the project and leaves it to the test, which need not end it."""

    def __call__(
        self,
        source: str,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        python: str = sys.executable,
        cwd: Path | None = None,
        name: str = "script.py",
    ) -> subprocess.Popen[str]:
        """Start ``python OPTIONS script.py ARGS``, all three standard streams on pipes."""
        ...


class InstallPlugin(Protocol):
    """Installs a distribution of one module where every script of this test finds it."""

    def __call__(
        self,
        name: str,
        source: str,
        *,
        target: str = "Provider",
        group: str = "runcontext.providers",
        distribution: str | None = None,
        module: str | None = None,
    ) -> None:
        """Declare the entry point ``name = MODULE:TARGET``; ``source`` is the module's whole text.

        ``distribution`` is called like the entry point unless given, and ``module`` like the distribution. A ``target``
        with a colon names its own module.
        """
        ...


@pytest.fixture(scope="session")
def first_commit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for projects to be copied from, which nobody works in: a repository with one commit."""
    place = tmp_path_factory.mktemp("first-commit")
    folder = place / "project"
    folder.mkdir()
    (folder / "data.txt").write_text("1\n", encoding="utf-8")
    (folder / ".gitignore").write_text("script*.py\n", encoding="utf-8")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q", "--template="], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=folder, check=True, env=_clean_environment(place))
    return folder


@pytest.fixture
def project(tmp_path: Path, first_commit: Path) -> Path:
    """Give a project's folder: its own repository with one commit, and no configuration of anybody's."""
    return Path(shutil.copytree(first_commit, tmp_path / "project"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give the environment that scripts run in: no setting of ours or git's, and folders of this test's own."""
    return _clean_environment(tmp_path)


@pytest.fixture
def quick(environment: dict[str, str]) -> None:
    """Leave out the built-in providers that take most of a capture's time, for promises that are not about facts.

    A test that is about them as well sets RUNCONTEXT_PROVIDERS itself; empty is all of them.
    """
    environment["RUNCONTEXT_PROVIDERS"] = "-git,-gpu,-python"


@pytest.fixture
def unmeasured(environment: dict[str, str]) -> None:
    """Let scripts run without what measures coverage: it has locks of its own, and takes most of a core's time."""
    for name in [each for each in environment if each.startswith("COVERAGE")]:
        del environment[name]


@pytest.fixture
def install_plugin(tmp_path: Path) -> InstallPlugin:
    """Give the function that installs a throw-away plugin."""

    def install(
        name: str,
        source: str,
        *,
        target: str = "Provider",
        group: str = "runcontext.providers",
        distribution: str | None = None,
        module: str | None = None,
    ) -> None:
        distribution = distribution or name
        module = module or "".join(each if each.isalnum() else "_" for each in distribution)
        site = _site(tmp_path)
        (site / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
        with (info / "entry_points.txt").open("a", encoding="utf-8") as file:
            file.write(f"[{group}]\n{name} = {target if ':' in target else f'{module}:{target}'}\n")

    return install


@pytest.fixture
def start_script(tmp_path: Path, project: Path, environment: dict[str, str]) -> Iterator[StartScript]:
    """Give the function that starts a script; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(
        source: str,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        python: str = sys.executable,
        cwd: Path | None = None,
        name: str = "script.py",
    ) -> subprocess.Popen[str]:
        script = project / name
        # Another process of this test may be about to read it: it is never there half written.
        new = tmp_path / f"{name}.new"
        new.write_text(textwrap.dedent(source), encoding="utf-8")
        new.replace(script)
        process = subprocess.Popen(
            [python, *options, str(script), *args],
            cwd=cwd or project,
            env={**environment, "PYTHONPATH": str(_site(tmp_path)), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        _see_out(process)


@pytest.fixture
def run_script(project: Path, start_script: StartScript) -> RunScript:
    """Give the function that runs a script to its end."""

    def run(
        source: str,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        timeout: float = _PLENTY_SECONDS,
        options: Sequence[str] = (),
        python: str = sys.executable,
        cwd: Path | None = None,
        returncode: int | None = 0,
    ) -> Finished:
        began = time.monotonic()
        process = start_script(source, env=env, args=args, options=options, python=python, cwd=cwd)
        stdout, stderr = process.communicate(timeout=timeout)
        seconds = time.monotonic() - began
        finished = Finished(process.pid, process.returncode, stdout, stderr, seconds, project)
        assert returncode is None or process.returncode == returncode, (process.returncode, stdout, stderr)
        return finished

    return run


@pytest.fixture
def companions() -> Callable[[int], list[psutil.Process]]:
    """Give the function that finds the companion processes, workers included, of the program with this pid."""

    def find(pid: int) -> list[psutil.Process]:
        return [each for each in psutil.process_iter() if _serves(each, pid)]

    return find


@pytest.fixture
def has_ended() -> Callable[[int], bool]:
    """Give the function that says whether the process with this pid has ended, collected by its parent or not."""

    def has(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return has


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Give the function that waits until a condition holds, and fails the test where it never does."""

    def wait(condition: Callable[[], object], seconds: float = 60.0, what: str = "the condition") -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"{what} did not come true within {seconds:g} s"
            time.sleep(0.02)

    return wait


def _serves(process: psutil.Process, pid: int) -> bool:
    try:
        words = process.cmdline()
        return any("runcontext.companion" in word for word in words) and str(pid) in words
    except psutil.Error:
        return False


def _site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    # As pip leaves it: byte code that is written later does not change the folder's own time.
    (site / "__pycache__").mkdir(parents=True, exist_ok=True)
    return site


def _clean_environment(tmp_path: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    kept = {name: value for name, value in own.items() if name not in _FOREIGN_NAMES}
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {
        **kept,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "RUNCONTEXT_CACHE_DIR": str(tmp_path / "cache"),
        # Enough for a machine that is busy with other tests; what is to wait less says so.
        "RUNCONTEXT_TIMEOUT": "30",
    }


def _see_out(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()
