"""The virtual environments that are compared: runcontext and its peers, each installed from the package index."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from measures import NotMeasuredError

_UP_TO_DATE_SECONDS = 24 * 3_600
"""How long an environment is taken for current before the index is asked again."""

_MARK = "installed.json"
_INSTALL_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Tool:
    """What is installed into an environment: a requirement, and the distribution whose version is reported."""

    requirement: str
    distribution: str


class Environments:
    """A virtual environment for each tool, made when it is first asked for and kept for the next time.

    Args:
        folder: where they are kept.
        checkout: the root of runcontext's own repository; it is installed from there, not editable, again whenever
            its sources change.
        environment: the variables that everything here runs with.
    """

    def __init__(self, folder: Path, checkout: Path, environment: dict[str, str]) -> None:
        """Name the folder; nothing is installed yet."""
        self._folder = folder
        self._checkout = checkout
        self._environment = environment
        self._ready: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._tools = {
            "runcontext": Tool(str(checkout), "runcontext"),
            "daftar": Tool("daftar", "daftar"),
            "runprov": Tool("runprov", "runprov"),
            "Sacred": Tool("sacred", "sacred"),
            "OpenTelemetry": Tool("opentelemetry-sdk", "opentelemetry-sdk"),
            "mlflow-skinny": Tool("mlflow-skinny", "mlflow-skinny"),
            "MLflow": Tool("mlflow", "mlflow"),
        }

    def python(self, name: str) -> Path:
        """Give the interpreter of a tool's environment.

        Raises:
            NotMeasuredError: it cannot be installed here; the message says why.
        """
        if name in self._failed:
            raise NotMeasuredError(self._failed[name])
        if name not in self._ready:
            try:
                self._ready[name] = self._install(name)
            except (OSError, subprocess.SubprocessError) as error:
                self._failed[name] = f"{name} could not be installed: {_last_line(error)}"
                raise NotMeasuredError(self._failed[name]) from error
        return self._path(name) / "bin" / "python"

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what was used, by tool; of what could not be installed, the reason."""
        return {**self._ready, **self._failed}

    def _path(self, name: str) -> Path:
        return self._folder / name.lower()

    def _install(self, name: str) -> str:
        tool, path = self._tools[name], self._path(name)
        mark = path / _MARK
        wanted = {"python": sys.version, "sources": _fingerprint(self._checkout) if name == "runcontext" else ""}
        if mark.exists() and time.time() - mark.stat().st_mtime < _UP_TO_DATE_SECONDS:
            found = json.loads(mark.read_text())
            if wanted.items() <= found.items():
                return str(found["version"])
        self._run(sys.executable, "-m", "venv", "--clear", str(path))
        python = str(path / "bin" / "python")
        self._run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", tool.requirement)
        self._run(python, "-m", "compileall", "-q", str(path / "lib"))
        version = self._run(
            python, "-c", f"from importlib.metadata import version; print(version({tool.distribution!r}))"
        ).strip()
        mark.write_text(json.dumps({**wanted, "version": version}))
        return version

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._environment, timeout=_INSTALL_SECONDS, check=False
        )
        # compileall reports with 1 that some file is not for this Python: packages ship such files.
        if done.returncode and "compileall" not in command:
            raise subprocess.SubprocessError(done.stderr or done.stdout)
        return done.stdout


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _fingerprint(checkout: Path) -> str:
    found = hashlib.sha256()
    sources = [checkout / "pyproject.toml", *checkout.glob("context/**/*.py"), *checkout.glob("providers/**/*.py")]
    for path in sorted(sources):
        found.update(os.fsencode(path) + b"\0" + path.read_bytes())
    return found.hexdigest()
