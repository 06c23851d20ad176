"""A virtual environment with MLflow 3 and the artifact plugins that its page names, made once under build/ and kept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.places.servers_kept import CannotStartError, locked

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ("aliyunstoreplugin==1.0.0", "mlflow-dbstore==1.0.1")
# The plugins ask for the whole of MLflow, which is five times as large, and say nothing of six; oss2 is asked for in
# the documentation of aliyunstoreplugin.
_PACKAGES = ("mlflow-skinny>=3.17", "oss2", "psycopg[binary]", "six", "sqlalchemy>=2")


def installed() -> str:
    """Give the environment's interpreter, made the first time.

    Raises:
        CannotStartError: it cannot be installed here.
    """
    folder = ROOT / "build" / f"mlflow-plugins-{'.'.join(map(str, sys.version_info[:2]))}"
    folder.parent.mkdir(exist_ok=True)
    python = folder / "bin" / "python"
    stamp = folder / "complete"
    ours = _runcontext()
    wanted = repr((PLUGINS, _PACKAGES, ours))
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            coverage = f"coverage=={importlib.metadata.version('coverage')}"
            _run(*pip, *_PACKAGES, coverage, *ours)
            _run(*pip, "--no-deps", *PLUGINS)
            stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def is_installed() -> bool:
    """Say whether it is there, so that nothing has to be fetched."""
    return any((ROOT / "build").glob("mlflow-plugins-*/complete"))


def _runcontext() -> list[str]:
    """Give pip's arguments for the very runcontext that runs the tests (PEP 610, direct_url.json)."""
    distribution = importlib.metadata.distribution("runcontext")
    text = distribution.read_text("direct_url.json")
    if text is None:
        return [f"runcontext=={distribution.version}"]
    origin: dict[str, Any] = json.loads(text)
    return ["--editable", origin["url"]] if origin.get("dir_info", {}).get("editable") else [origin["url"]]


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_"))}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["no reason given"]
        message = f"MLflow's artifact plugins cannot be installed here: {' '.join(command[:5])} ...: {lines[0]}"
        raise CannotStartError(message)
