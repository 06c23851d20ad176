"""What the cases run on: real repositories, plugins and stores on disk, and a clean environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from measures import NotMeasuredError, Reading
from peers import Environments

_FOREIGN = ("GIT_", "MLFLOW_", "OTEL_", "RUNCONTEXT_", "COVERAGE_", "PYTHON", "VIRTUAL_ENV")
_IGNORED = "__pycache__/\n.daftar/\nmlflow.db\nmlruns/\nprovenance/\nsacred_runs/\n"
_PYPROJECT = '[project]\nname = "bench"\nversion = "1.0"\ndependencies = ["runcontext>=0.1"]\n'
_LIMIT_SECONDS = 300
_FILES_A_FOLDER = 100
_CLOCK_TICK_SECONDS = 1.1
"""Git trusts the size and time of a file in its index only if the index was written in a later second."""


class Ground:
    """A folder under which everything is measured.

    Args:
        folder: it is made; the environments in it are kept, all else is made anew each time.
        checkout: the root of runcontext's own repository.
        repetitions: how often each subject is measured.
    """

    cases = Path(__file__).parent / "cases"
    """The scripts that are timed."""

    def __init__(self, folder: Path, checkout: Path, repetitions: int) -> None:
        """Make the folder, and a clean environment for all that is timed."""
        self.repetitions = repetitions
        self._folder = folder / "ground"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self.environment = _clean_environment(self._folder / "cache")
        self.environments = Environments(folder / "environments", checkout, self.environment)

    def folder(self, name: str) -> Path:
        """Make an empty folder."""
        path = self._folder / name
        path.mkdir(parents=True)
        return path

    def repository(self, name: str, files: int = 1) -> Path:
        """Make a real git repository of so many files besides the cases, committed."""
        path = self.folder(name)
        for script in self.cases.glob("*.py"):
            shutil.copy(script, path)
        (path / ".gitignore").write_text(_IGNORED)
        (path / "pyproject.toml").write_text(_PYPROJECT)
        for number in range(files):
            folder = path / f"data/{number // _FILES_A_FOLDER:03}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05}.txt").write_text(f"file {number}\n")
        self.git(path, "init", "--quiet")
        self.git(path, "config", "user.name", "bench")
        self.git(path, "config", "user.email", "bench@example.com")
        self.git(path, "add", ".")
        self.git(path, "commit", "--quiet", "--message", "bench")
        time.sleep(_CLOCK_TICK_SECONDS)
        self.git(path, "status")
        return path

    def git(self, repository: Path, *arguments: str) -> str:
        """Run git in ``repository`` and give what it prints."""
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self.environment).stdout

    def output(self, tool: str, script: str, repository: Path) -> str:
        """Run a case that is not timed, and give what it prints."""
        command = [str(self.environments.python(tool)), script]
        done = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True, env=self.environment)
        return done.stdout.strip()

    def case(
        self, tool: str, script: str, repository: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> Reading:
        """Run a case in the environment of ``tool``, and give what it prints and its whole process's time, in ms.

        Raises:
            NotMeasuredError: the tool is not there, or the case failed; the message says why.
        """
        return self.command([str(self.environments.python(tool)), script, *arguments], repository, variables)

    def command(self, command: list[str], folder: Path, variables: Mapping[str, str] | None = None) -> Reading:
        """Run a command that prints a JSON object of numbers, or nothing, and give that and its time, in ms.

        Raises:
            NotMeasuredError: it failed or took too long; the message says why.
        """
        environment = {**self.environment, **(variables or {})}
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotMeasuredError(str(error)) from error
        whole = (time.perf_counter() - began) * 1_000
        return {**reading(command, done.returncode, done.stdout, done.stderr), "whole": whole}


def reading(command: list[str], status: int, output: str, errors: str) -> dict[str, float]:
    """Give the JSON object that a case printed last.

    Raises:
        NotMeasuredError: it failed; the message is its last line.
    """
    if status:
        last = errors.strip().splitlines()[-1:] or [f"exit status {status}"]
        message = f"{Path(command[1]).name} failed: {last[0][:300]}"
        raise NotMeasuredError(message)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    found: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return found


def _clean_environment(cache: Path) -> dict[str, str]:
    """Give the variables that everything runs with: the user's, without those that change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **kept,
        "GIT_CONFIG_NOSYSTEM": "1",
        "RUNCONTEXT_CACHE_DIR": str(cache),
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "*",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
