"""The lock files of the program's project: what its packages should be, beside what they are."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runcontext.program import Program

_LOCK_FILE = re.compile(
    r"uv\.lock|poetry\.lock|pdm\.lock|pixi\.lock|Pipfile\.lock|conda-lock\.ya?ml|pylock(?:\.[^.]+)?\.toml|requirements.*\.txt"
)
"""Names that uv, Poetry, PDM, pixi, Pipenv, conda-lock and PEP 751 give to lock files, and pip's by custom."""

_PROJECT_FILES = ("pyproject.toml", "Pipfile", "pixi.toml", "setup.py", "setup.cfg")
_INSTALLED = ("site-packages", "dist-packages")
_CHUNK = 1 << 20


def lock_files(program: Program) -> str | None:
    """Give name and SHA-256 of each as ``uv.lock=9f86d0...``, a space between them; None where there is none.

    They are looked for from the main file's folder up to the project's root, else from the working directory. The root
    is the nearest folder with a ``.git``, else the nearest with a file that makes it a project; without a root only the
    first folder is looked at. Of two files of one name, the one that is nearer counts.
    """
    for start in _starts(program):
        found: dict[str, str] = {}
        for folder in _up_to_root(start):
            for name in sorted(_names(folder)):
                found.setdefault(name, os.path.join(folder, name))
        if found:
            return " ".join(f"{name}={_sha256(path)}" for name, path in sorted(found.items()))
    return None


def _starts(program: Program) -> Iterator[str]:
    # An installed package's own requirements.txt is not the project's.
    if program.main_file is not None and not any(f"/{each}/" in program.main_file for each in _INSTALLED):
        yield os.path.dirname(program.main_file)
    if program.cwd is not None:
        yield program.cwd


def _up_to_root(start: str) -> list[str]:
    above = [start]
    home = os.path.expanduser("~")
    while (parent := os.path.dirname(above[-1])) not in (above[-1], home, os.sep):
        above.append(parent)
    for marks in ((".git",), _PROJECT_FILES):
        for index, folder in enumerate(above):
            if any(os.path.exists(os.path.join(folder, mark)) for mark in marks):
                return above[: index + 1]
    return above[:1]


def _names(folder: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if _LOCK_FILE.fullmatch(name) and os.path.isfile(os.path.join(folder, name)):
            yield name


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
