"""Which repository the program's code is from, and why none where that cannot be told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runcontext import NotInContext
from runcontext_providers._git.command import GitAnswer, GitCommand, GitError
from runcontext_providers._git.layout import root_above

if TYPE_CHECKING:
    from runcontext.program import Program

# What git says of a folder that it will not read, rather than of a repository that it fails to read: of one that
# belongs to another user (safe.directory; "unsafe repository" before git 2.36), and of one that is none.
_REFUSALS = (
    "detected dubious ownership",
    "unsafe repository",
    "not a git repository",
    "invalid gitfile format",
)


class Repository(NamedTuple):
    """The repository that a program's code is from.

    ``root`` is the top of its work tree, or the repository's folder where it has none; ``main_file`` is the
    program's, with symbolic links followed.
    """

    root: str
    main_file: str | None

    @property
    def main_path(self) -> str | None:
        """The main file's path from the root, None where there is no main file in it."""
        prefix = os.path.join(self.root, "")
        is_inside = self.main_file is not None and self.main_file.startswith(prefix)
        return self.main_file[len(prefix) :] if self.main_file and is_inside else None


def choose_repository(program: Program, command: GitCommand | None) -> Repository:
    """Give the main file's repository where that tracks it, else the working directory's.

    Raises NotInContext, with the reason, where there is neither, and GitError where git cannot tell. ``command`` is
    None where there is no git binary.
    """
    main_file = os.path.realpath(program.main_file) if program.main_file else None
    folder = os.path.realpath(program.cwd) if program.cwd else None
    there = root_above(os.path.dirname(main_file)) if main_file else None
    here = root_above(folder) if folder else None
    if there is not None and main_file is not None and there != here:
        if command is None:
            reason = f"no git binary on PATH to ask whether {there} tracks {main_file}"
            raise NotInContext(reason)
        if is_tracked(main_file, there, command):
            return Repository(there, main_file)
    if here is not None:
        return Repository(here, main_file)
    code = f"{there} does not track {main_file}" if there else f"no repository above {main_file}"
    place = f"the working directory {folder} is in no repository" if folder else "the working directory was deleted"
    reason = f"{code if main_file else 'no main file'}, and {place}"
    raise NotInContext(reason)


def refusal(answer: GitAnswer, about: str = "") -> Exception:
    """Give what to raise for an answer that failed: NotInContext where git refuses the folder, else GitError."""
    refused = any(words in answer.reason for words in _REFUSALS)
    return NotInContext(about + answer.reason) if refused else GitError(about + answer.reason)


def is_tracked(main_file: str, root: str, command: GitCommand) -> bool:
    """Ask git whether its index holds ``main_file``; raises NotInContext or GitError where it cannot tell."""
    answer = command.ask(root, {"tracked": ("ls-files", "--error-unmatch", "-z", "--", f":(literal){main_file}")})[
        "tracked"
    ]
    if answer.returncode in {0, 1}:
        return answer.returncode == 0
    if "must be run in a work tree" in answer.reason:
        return False
    raise refusal(answer)
