"""Which submodules a work tree has, and the commit of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from runcontext import NotInContext
from runcontext_providers._git.status import Change, Status

_MODE = "160000"


def submodules_of(root: str, listed: str, status: Status, commit_of: Callable[[str], str | None]) -> str:
    """Give ``path@commit`` of each submodule, joined by commas, and after each what is not as committed.

    ``listed`` is what `git ls-files --stage -z` told, ``commit_of`` gives the commit that the submodule at a path is
    at. Raises NotInContext where there is no submodule.
    """
    changes = {change.path: change for change in status.changes}
    told = []
    for path, commit in _submodules(listed):
        change = changes.get(path)
        moved_to = commit_of(path) if change is not None and change.has_moved else None
        told.append(f"{path}@{moved_to or commit}{_state(os.path.join(root, path), change)}")
    if not told:
        reason = "no submodules"
        raise NotInContext(reason)
    return ",".join(told)


def _submodules(listed: str) -> Iterator[tuple[str, str]]:
    """Read git-ls-files(1), "OUTPUT": mode, object and stage, a tab, and the path."""
    for entry in listed.split("\0") if _MODE in listed else ():
        if entry.startswith(_MODE):
            facts, _, path = entry.partition("\t")
            yield path, facts.split(" ")[1]


def _state(folder: str, change: Change | None) -> str:
    if not os.path.lexists(folder):
        return "+deleted"
    if not os.path.lexists(os.path.join(folder, ".git")):
        return "+uninitialised"
    return "+dirty" if change is not None and change.has_changes_inside else ""
