"""Runs the suite against the built wheel, with the source folders out of the way: ``make wheel``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "wheel"
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


def main() -> int:
    """Build, look at what is in it, install it into a virtual environment of its own, and run the suite there."""
    shutil.rmtree(BUILD, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", BUILD / "dist", ROOT], check=True)
    (wheel,) = (BUILD / "dist").glob("*.whl")
    strangers = foreign_files(wheel)
    if strangers:
        print(f"{wheel.name} holds what does not belong there: {', '.join(strangers)}")
        return 1
    return run_suite(wheel)


def foreign_files(wheel: Path) -> list[str]:
    """Give the files of a wheel that are neither the two packages' nor its own metadata."""
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in names if not name.startswith(PACKAGES) and ".dist-info/" not in name]


def run_suite(wheel: Path) -> int:
    """Copy the tests away from the sources, and run them against the installed wheel."""
    checkout = BUILD / "checkout"
    for name in NEEDED_BY_TESTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__", ".runcontext"))
        elif source.exists():
            shutil.copy(source, checkout / name)
    python = BUILD / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", BUILD / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
    packages = [f"{wheel}[{os.environ['TESTED_EXTRAS']}]", checkout / "examples" / "plugin", "--group", "test"]
    install = [python, "-m", "pip", "install", "--quiet", *packages]
    subprocess.run(install, cwd=checkout, check=True)
    command = [python, "-m", "pytest", "-n", os.environ.get("WORKERS", "2"), "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=checkout, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
