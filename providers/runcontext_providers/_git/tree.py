"""A hash of the work tree as it stands: the tree that git would commit of it, computed without writing any object."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from runcontext_providers._git.command import GitAnswer, GitCommand, GitError
from runcontext_providers._git.files import LARGE_BYTES
from runcontext_providers._git.lfs import pointer_of
from runcontext_providers._git.objects import Leaf, folders_above, identify, read_trees, rebuilt_tree
from runcontext_providers._git.status import Change

# Reading has its price: where there is more than this in all, counting something for each file, only smaller files
# are read.
_MOST_HASHED_BYTES = 256 << 20
_COST_OF_A_FILE = 4 << 10
_LIMITS = {LARGE_BYTES: "10 MiB", 1 << 20: "1 MiB", 64 << 10: "64 KiB", -1: ""}

_FILE, _EXECUTABLE, _LINK, _SUBMODULE = "100644", "100755", "120000", "160000"
_MOST_IN_QUOTES = re.compile(rb'["\\\n\r]')


class WorkTree(NamedTuple):
    """What has to be known of a work tree to hash it.

    ``tree`` names HEAD's tree, and is None before the first commit. ``untracked`` are all untracked files, and the
    repositories among them, with a slash at their end. ``drivers`` are the names of the filters that are configured,
    ``lfs`` the paths in question that Git LFS keeps. ``state_inside`` gives the commit, None before the first, and the
    hashed tree, None for a clean one, of a repository inside this one.
    """

    root: str
    tree: str | None
    algorithm: str
    changes: tuple[Change, ...]
    untracked: tuple[str, ...]
    drivers: frozenset[str]
    lfs: frozenset[str]
    tells_executables: bool
    state_inside: Callable[[str], tuple[str | None, str | None]]


def hash_tree(work: WorkTree, command: GitCommand) -> str:
    """Give the name of the tree that `git add --all` and `git write-tree` would make of ``work``.

    Where files are too large to be read, or a repository inside has changes of its own, it is the name of no object,
    and what stands for them is said after it. Raises GitError where git cannot tell.
    """
    leaves, files, notes = _Leaves(work, lambda: command.is_late).gather()
    folders = sorted({folder for path in (*leaves, *map(os.fsencode, files)) for folder in folders_above(path)})
    answers = _asked(work, command, files, folders)
    if files:
        if answers["files"].reason and any(not os.path.lexists(os.path.join(work.root, path)) for path in files):
            return hash_tree(work, command)  # one was deleted meanwhile
        ids = answers["files"].text().split()
        leaves.update(zip(map(os.fsencode, files), zip(files.values(), ids, strict=True), strict=True))
    trees = {} if work.tree is None else read_trees(answers["trees"].output(), work.tree, folders)
    return rebuilt_tree(trees, leaves, work.algorithm) + notes


def _asked(work: WorkTree, command: GitCommand, files: Iterable[str], folders: Sequence[bytes]) -> dict[str, GitAnswer]:
    """Ask, where there is any, for the names of the contents of ``files`` and for HEAD's trees of ``folders``."""
    questions: dict[str, tuple[str, ...]] = {}
    given = {}
    if files:
        questions["files"] = (*_without(work.drivers), "hash-object", "--stdin-paths")
        given["files"] = b"".join(_line(os.fsencode(path)) for path in files)
    if work.tree is not None:
        is_odd = any(b"\n" in folder or b"\r" in folder for folder in folders)
        end, option = (b"\0", ("-z",)) if is_odd else (b"\n", ())
        questions["trees"] = ("cat-file", "--batch", *option)
        given["trees"] = b"".join(f"{work.tree}:".encode() + folder + end for folder in folders)
    return command.ask(work.root, questions, given=given)


class _Leaves:
    """What the work tree has for each path that is not as in HEAD."""

    def __init__(self, work: WorkTree, is_late: Callable[[], bool]) -> None:
        self._work = work
        self._is_late = is_late
        self._leaves: dict[bytes, Leaf | None] = {}
        self._sizes: dict[str, tuple[str, os.stat_result]] = {}
        self._inside: list[str] = []

    def gather(self) -> tuple[dict[bytes, Leaf | None], dict[str, str], str]:
        """Give what is known of each path, the mode of each file whose content is to be hashed, and what to note."""
        for change in self._work.changes:
            self._take(change)
        for path in self._work.untracked:
            self._look(path.rstrip("/"), None)
        files, note = self._files()
        notes = [note] if note else []
        if self._inside:
            notes.append(f"with changes in {', '.join(self._inside)}")
        return self._leaves, files, f" ({'; '.join(notes)})" if notes else ""

    def _take(self, change: Change) -> None:
        if change.is_gone:
            self._leaves[os.fsencode(change.path)] = None
        elif change.is_as_in_index:
            self._leaves[os.fsencode(change.path)] = (change.index_mode, change.index_id)
        else:
            self._look(change.path, change.mode)

    def _look(self, path: str, mode: str | None) -> None:
        work, name, full = self._work, os.fsencode(path), os.path.join(self._work.root, path)
        try:
            found = os.lstat(full)
            if stat.S_ISREG(found.st_mode):
                self._sizes[path] = (mode or self._mode_of(found), found)
            elif stat.S_ISLNK(found.st_mode):
                target = os.fsencode(os.readlink(full))
                self._leaves[name] = (_LINK, identify(work.algorithm, b"blob", target))
            elif stat.S_ISDIR(found.st_mode):
                self._leaves[name] = (_SUBMODULE, self._repository(path))
            else:
                message = f"{path} is neither a file nor a link"
                raise GitError(message)
        except (FileNotFoundError, NotADirectoryError):
            self._leaves[name] = None

    def _mode_of(self, found: os.stat_result) -> str:
        return _EXECUTABLE if self._work.tells_executables and found.st_mode & stat.S_IXUSR else _FILE

    def _repository(self, path: str) -> str:
        commit, tree = self._work.state_inside(path)
        if commit is not None and tree is None:
            return commit
        self._inside.append(path)
        return identify(self._work.algorithm, b"repository", f"{commit} {tree}".encode())

    def _files(self) -> tuple[dict[str, str], str]:
        sizes = [found.st_size for _, found in self._sizes.values()]
        limit = next(
            limit
            for limit in _LIMITS
            if sum(size + _COST_OF_A_FILE for size in sizes if size <= limit) <= _MOST_HASHED_BYTES
        )
        files: dict[str, str] = {}
        unread = 0
        for path, (mode, found) in self._sizes.items():
            if found.st_size > limit:
                unread += 1
                told = f"{found.st_size} {found.st_mtime_ns}".encode()
                self._leaves[os.fsencode(path)] = (mode, identify(self._work.algorithm, b"size and time", told))
            elif path in self._work.lfs:
                pointer = pointer_of(os.path.join(self._work.root, path), self._is_late)
                self._leaves[os.fsencode(path)] = (mode, identify(self._work.algorithm, b"blob", pointer))
            else:
                files[path] = mode
        which = f"{unread} file{'s' * (unread > 1)}{f' over {_LIMITS[limit]}' * (limit >= 0)}"
        return files, f"{which} by size and time" if unread else ""


def _without(drivers: Iterable[str]) -> Iterator[str]:
    # A filter is a program, and one like that of Git LFS writes below `.git`.
    for driver in drivers:
        yield from ("-c", f"filter.{driver}.clean=", "-c", f"filter.{driver}.process=")
        yield from ("-c", f"filter.{driver}.required=false")


def _line(name: bytes) -> bytes:
    """Write a path as git reads it, in quotes where it could be taken for another."""
    if not name.startswith(b'"') and b"\n" not in name and not name.endswith(b"\r"):
        return name + b"\n"
    return b'"' + _MOST_IN_QUOTES.sub(lambda found: b"\\%03o" % found[0][0], name) + b'"\n'
