"""Runs the suite against the built wheel on other Pythons, with the source folders out of the way: ``make wheel``.

They are the oldest and the newest supported Python that are installed, besides the one on which ``make test`` runs the
suite against the sources; that one where there is no other.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "wheel"
CHECKOUT = BUILD / "checkout"
SUPPORTED = ((3, 10), (3, 14))
"""The oldest that pyproject.toml requires, and the newest that there is to look for."""

NEEDED_BY_TESTS = (
    "tests",
    "examples",
    "benchmarks",
    "docs",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
)
PACKAGES = ("runcontext/", "runcontext_providers/")

EARLIER = ("SQLAlchemy<2.1",)
"""Earlier versions that are supported too and differ: the oldest Python has them, the others the newest."""

_ASK_VERSION = "import sys, venv, ensurepip; print(*sys.version_info[:2], sys.prefix == sys.base_prefix)"


def main() -> int:
    """Build, look at what is in it, and run the suite on each chosen Python; give the first bad exit status."""
    shutil.rmtree(BUILD, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", BUILD / "dist", ROOT], check=True)
    (wheel,) = (BUILD / "dist").glob("*.whl")
    strangers = foreign_files(wheel)
    if strangers:
        print(f"{wheel.name} holds what does not belong there: {', '.join(strangers)}")
        return 1
    copy_what_tests_need()
    found = installed() or {sys.version_info[:2]: sys.executable}
    chosen = sorted({min(found), max(found)} - {sys.version_info[:2]}) or [max(found)]
    print(
        f"found Python {', '.join(map(_text, sorted(found)))}; against the wheel the suite runs on"
        f" {', '.join(map(_text, chosen))}",
        flush=True,
    )
    return next((status for version in chosen if (status := run_suite(wheel, version, found[version]))), 0)


def foreign_files(wheel: Path) -> list[str]:
    """Give the files of a wheel that are neither the two packages' nor its own metadata."""
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in names if not name.startswith(PACKAGES) and ".dist-info/" not in name]


def copy_what_tests_need() -> None:
    """Copy the tests away from the sources."""
    for name in NEEDED_BY_TESTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, CHECKOUT / name, ignore=shutil.ignore_patterns("__pycache__", ".runcontext"))
        elif source.exists():
            shutil.copy(source, CHECKOUT / name)


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


def run_suite(wheel: Path, version: tuple[int, int], interpreter: str) -> int:
    """Run the copied tests against the installed wheel, in a virtual environment of this Python."""
    folder = BUILD / _text(version)
    python = folder / "bin" / "python"
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
    packages = [f"{wheel}[{os.environ['TESTED_EXTRAS']}]", CHECKOUT / "examples" / "plugin", "--group", "test"]
    earlier = EARLIER if version == SUPPORTED[0] else ()
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages, *earlier], cwd=CHECKOUT, check=True)
    command = [python, "-m", "pytest", "-n", os.environ.get("WORKERS", "2"), "-p", "no:cacheprovider"]
    print(f"--- Python {_text(version)}", flush=True)
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main())
