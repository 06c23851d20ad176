"""Which repository the program's code is from, and why none where that cannot be told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runcontext import NotInContext
from runcontext_providers._git.command import GitAnswer, GitCommand, GitError
from runcontext_providers._git.gitpython import open_repository, root_of

if TYPE_CHECKING:
    import git

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
    program's, with symbolic links followed; ``opened`` is GitPython's view, None where it has none.
    """

    root: str
    main_file: str | None
    opened: git.Repo | None

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
    there = _look(os.path.dirname(main_file), main_file, command) if main_file else None
    if there is not None and main_file is not None:
        if folder is not None and marked_folder(folder) == there.root:
            return there
        if command is None:
            reason = f"no git binary on PATH to ask whether {there.root} tracks {main_file}"
            raise NotInContext(reason)
        if is_tracked(main_file, there.root, command):
            return there
    here = _look(folder, main_file, command) if folder else None
    if here is not None:
        return here
    code = f"{there.root} does not track {main_file}" if there else f"no repository above {main_file}"
    place = f"the working directory {folder} is in no repository" if folder else "the working directory was deleted"
    reason = f"{code if main_file else 'no main file'}, and {place}"
    raise NotInContext(reason)


def refusal(answer: GitAnswer, about: str = "") -> Exception:
    """Give what to raise for an answer that failed: NotInContext where git refuses the folder, else GitError."""
    refused = any(words in answer.reason for words in _REFUSALS)
    return NotInContext(about + answer.reason) if refused else GitError(about + answer.reason)


def marked_folder(folder: str) -> str | None:
    """Give the nearest folder, from ``folder`` upwards, that has a ``.git``, sound or not."""
    while not os.path.lexists(os.path.join(folder, ".git")):
        if folder == (folder := os.path.dirname(folder)):
            return None
    return folder


def _look(folder: str, main_file: str | None, command: GitCommand | None) -> Repository | None:
    opened = open_repository(folder)
    marked = marked_folder(folder)
    root = root_of(opened) if opened is not None else None
    if marked is not None and (root is None or len(marked) > len(root)):
        root = _ask_root(marked, command)
    return Repository(root, main_file, opened) if root is not None else None


def _ask_root(marked: str, command: GitCommand | None) -> str:
    # Either that `.git` is broken, and a repository further up must not pass for this one, or the environment (a
    # GIT_COMMON_DIR) misleads GitPython: git tells which.
    if command is None:
        reason = f"{marked}/.git is not a repository that GitPython can read"
        raise NotInContext(reason)
    answer = command.ask(marked, {"root": ("rev-parse", "--show-toplevel")})["root"]
    if answer.returncode != 0:
        raise refusal(answer, f"{marked}/.git: ")
    root = os.path.realpath(os.fsdecode(answer.output().removesuffix(b"\n")))
    if root != marked:
        reason = f"{marked}/.git is not a repository that git can read"
        raise NotInContext(reason)
    return root


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
