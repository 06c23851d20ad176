"""Runs the suite on the oldest and the newest supported Python that are installed: ``make pythons``."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 14))
"""The oldest that pyproject.toml requires, and the newest that there is to look for."""

_ASK_VERSION = "import sys, venv, ensurepip; print(*sys.version_info[:2], sys.prefix == sys.base_prefix)"


def main() -> int:
    """Run the suite on each chosen Python, in a virtual environment of its own; give the first bad exit status."""
    found = installed()
    if not found:
        print("no Python that is not a virtual environment was found: nothing to run")
        return 1
    chosen = sorted({min(found), max(found)} - {sys.version_info[:2]})
    print(
        f"found {', '.join(map(_text, sorted(found)))}; besides {_text(sys.version_info[:2])}, the suite runs on "
        f"{', '.join(map(_text, chosen)) or 'none'}"
    )
    return next((status for version in chosen if (status := run_suite(version, found[version]))), 0)


def installed() -> dict[tuple[int, int], str]:
    """Find interpreters on PATH and among pyenv's versions, by version."""
    minors = range(SUPPORTED[0][1], SUPPORTED[1][1] + 1)
    candidates = [shutil.which(f"python3.{minor}") for minor in minors]
    candidates += glob.glob(f"{os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))}/versions/3.*/bin/python")
    found = {}
    for candidate in filter(None, candidates):
        version = version_of(candidate)
        if version is not None and SUPPORTED[0] <= version <= SUPPORTED[1]:
            found[version] = candidate
    return found


def version_of(python: str) -> tuple[int, int] | None:
    """Give an interpreter's version, None where it cannot make virtual environments or is in one."""
    asked = subprocess.run([python, "-I", "-c", _ASK_VERSION], capture_output=True, text=True, check=False)
    words = asked.stdout.split()
    return (int(words[0]), int(words[1])) if asked.returncode == 0 and words[2] == "True" else None


def run_suite(version: tuple[int, int], python: str) -> int:
    """Make the virtual environment where it is missing, and run the suite in it."""
    folder = ROOT / "build" / "pythons" / _text(version)
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
    packages = ["--editable", f".[{os.environ['TESTED_EXTRAS']}]", "--editable", "examples/plugin", "--group", "test"]
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *packages], cwd=ROOT, check=True)
    command = [interpreter, "-m", "pytest", "-n", os.environ.get("WORKERS", "2"), "-p", "no:cacheprovider"]
    print(f"--- Python {_text(version)}", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main())
