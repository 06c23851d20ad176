"""What `git status` told: HEAD, and each path that is not as HEAD has it."""

from __future__ import annotations

from typing import NamedTuple

STATUS = (
    "status",
    "--porcelain=v2",
    "--branch",
    "-z",
    "--untracked-files=normal",
    "--ignore-submodules=none",
    "--no-renames",
    "--no-ahead-behind",
)
_NOTHING = "000000"
_FILES = "100"
_SAME = "."


class Change(NamedTuple):
    """One tracked path that is not as HEAD has it: git-status(1), "Changed Tracked Entries".

    ``states`` are git's two letters: the index against HEAD, and the work tree against the index. ``submodule`` is
    ``N...``, or ``S`` and three letters for a moved commit, changed files and untracked ones inside. The modes, of the
    index and the work tree, are octal; ``index_id`` names what the index holds, and is empty in a conflict.
    """

    path: str
    states: str
    submodule: str
    index_mode: str
    mode: str
    index_id: str

    @property
    def is_gone(self) -> bool:
        """Whether the path is no longer tracked, or no longer there."""
        return self.mode == _NOTHING or self.states == "D" + _SAME

    @property
    def is_as_in_index(self) -> bool:
        """Whether the work tree holds what the index does."""
        return self.states[1] == _SAME

    def as_in_index(self) -> Change | None:
        """Give what is left of the change where the work tree turns out to be as the index, None for nothing."""
        staged = self.states[0]
        return None if staged == _SAME else self._replace(states=staged + _SAME, mode=self.index_mode)

    def without_changes_inside(self) -> Change | None:
        """Give what is left of a submodule's change where no file in it turns out to be changed, None for nothing."""
        left = self._replace(submodule=f"{self.submodule[:2]}.{self.submodule[3]}")
        return self.as_in_index() if left.submodule == "S..." else left

    @property
    def is_changed_file(self) -> bool:
        """Whether the work tree has a file that is not as the index has it."""
        return self.mode.startswith(_FILES) and not self.is_gone and not self.is_as_in_index

    @property
    def is_submodule(self) -> bool:
        """Whether it is a submodule."""
        return self.submodule[0] == "S"

    @property
    def has_moved(self) -> bool:
        """Whether it is a submodule at another commit than the index has."""
        return self.submodule.startswith("SC")

    @property
    def has_changes_inside(self) -> bool:
        """Whether it is a submodule with changed files."""
        return self.is_submodule and self.submodule[2] == "M"

    @property
    def is_about_untracked_files(self) -> bool:
        """Whether there is nothing but files in a submodule that this one does not track."""
        return self.submodule == "S..U" and self.states == _SAME + "M"


class Status(NamedTuple):
    """The state of HEAD, the index and the work tree at one moment.

    ``commit`` is None before the first, ``branch`` is None where HEAD is detached. ``untracked`` has a folder with
    nothing tracked in it once, with a slash at its end.
    """

    commit: str | None
    branch: str | None
    changes: tuple[Change, ...]
    untracked: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether the work tree is as HEAD has it, with nothing beside."""
        return not self.changes and not self.untracked

    @property
    def is_dirty(self) -> bool:
        """Whether a tracked file was changed, in submodules too."""
        return any(not change.is_about_untracked_files for change in self.changes)

    def has_removed(self, path: str) -> bool:
        """Say whether HEAD has ``path`` and the index has not."""
        return any(change.path == path and change.states[0] == "D" for change in self.changes)

    @classmethod
    def of(cls, output: str) -> Status:
        """Read git-status(1), "Porcelain Format Version 2", as it is with -z and without renames."""
        records = output.split("\0")
        parted = (record[2:].partition(" ") for record in records if record.startswith("# "))
        headers = {name: value for name, _, value in parted}
        commit, branch = headers["branch.oid"], headers["branch.head"]
        return cls(
            None if commit == "(initial)" else commit,
            None if branch == "(detached)" else branch,
            tuple(_change(record) for record in records if record.startswith(("1 ", "u "))),
            tuple(record[2:] for record in records if record.startswith("? ")),
        )


def _change(record: str) -> Change:
    if record.startswith("1 "):
        _, states, submodule, _, index_mode, mode, _, index_id, path = record.split(" ", 8)
        return Change(path, states, submodule, index_mode, mode, index_id)
    _, states, submodule, _, _, _, mode, _, _, _, path = record.split(" ", 10)
    return Change(path, states, submodule, _NOTHING, mode, "")
