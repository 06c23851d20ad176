"""The commit that an editable installation is at, and whether its repository was changed since."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runcontext_providers._git.command import GitCommand, GitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runcontext_providers._python.packages import Package

_BUDGET_SECONDS = 5.0
_STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_COMMIT = "# branch.oid "
_NO_COMMIT = "(initial)"


def remarks_on_editables(packages: Iterable[Package]) -> dict[str, list[str]]:
    """Say of each package with a folder, by its name, the commit of its repository and whether a tracked file differs.

    Nothing is said where no repository tracks the project; where git does not answer, why. All answers together may
    take 5 s.
    """
    by_root: dict[str, dict[str, str]] = {}
    for package in packages:
        folder = package.origin.folder
        root = _root_above(folder) if folder is not None else None
        if folder is not None and root is not None:
            by_root.setdefault(root, {})[package.name] = folder
    remarks: dict[str, list[str]] = {}
    git: GitCommand | None = None
    for root, folders in by_root.items():
        try:
            git = git or GitCommand(budget=_BUDGET_SECONDS)
            remarks.update(_remarks_in(root, folders, git))
        except GitError as reason:
            remarks.update({name: [f"commit unknown: {' '.join(str(reason).split())}"] for name in folders})
    return remarks


def _root_above(folder: str) -> str | None:
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _remarks_in(root: str, folders: Mapping[str, str], git: GitCommand) -> dict[str, list[str]]:
    projects = {name: os.path.relpath(folder, root) for name, folder in folders.items()}
    files = [os.path.normpath(os.path.join(folder, file)) for folder in projects.values() for file in _PROJECT_FILES]
    answers = git.ask(root, {"status": _STATUS, "tracked": ("ls-files", "-z", "--", *files)})
    tracked = {os.path.dirname(file) or "." for file in answers["tracked"].text().split("\0")[:-1]}
    remark = _remark(answers["status"].text().splitlines())
    return {name: remark for name, folder in projects.items() if folder in tracked}


def _remark(status: list[str]) -> list[str]:
    commit = next((line.removeprefix(_COMMIT) for line in status if line.startswith(_COMMIT)), _NO_COMMIT)
    if commit == _NO_COMMIT:
        return ["no commit yet"]
    is_dirty = any(not line.startswith("#") for line in status)
    return [f"commit {commit}", *(["dirty"] if is_dirty else [])]
