"""Where a repository's own files are, found without asking git: gitrepository-layout(5), gitglossary(7) on gitfiles."""

from __future__ import annotations

import os
from collections.abc import Iterator

MARKER = ".git"
_GITFILE = b"gitdir: "
_LONGEST_PATH_BYTES = 32 << 10


def root_above(folder: str) -> str | None:
    """Give the nearest root of a repository, sound or not, from ``folder`` upwards.

    That is a folder that has a ``.git``, or a repository without a work tree.
    """
    return next((each for each in _parents(folder) if _has_marker(each) or _is_bare(each)), None)


def marked_folder(folder: str) -> str | None:
    """Give the nearest folder, from ``folder`` upwards, that has a ``.git``, sound or not."""
    return next(filter(_has_marker, _parents(folder)), None)


def marker_of(root: str) -> str:
    """Give a root's ``.git``, the root itself where it has none."""
    return os.path.join(root, MARKER) if _has_marker(root) else root


def git_dir_of(root: str) -> str | None:
    """Give the folder that has the repository of ``root``, None where what names it cannot be read."""
    marker = marker_of(root)
    if os.path.isdir(marker):
        return marker
    content = _read(marker)
    if content is None or not content.startswith(_GITFILE):
        return None
    return os.path.join(root, os.fsdecode(content.removeprefix(_GITFILE).rstrip(b"\r\n")))


def common_dir_of(git_dir: str) -> str | None:
    """Give the folder that has what all work trees of a repository share, None where what names it cannot be read."""
    named = os.path.join(git_dir, "commondir")
    if not os.path.lexists(named):
        return git_dir
    content = _read(named)
    return None if content is None else os.path.join(git_dir, os.fsdecode(content.rstrip(b"\r\n")))


def _parents(folder: str) -> Iterator[str]:
    above = ""
    while folder != above:
        yield folder
        folder, above = os.path.dirname(folder), folder


def _has_marker(folder: str) -> bool:
    return os.path.lexists(os.path.join(folder, MARKER))


def _is_bare(folder: str) -> bool:
    # As is_git_directory() in git's setup.c knows one; a `.git` itself is no root, the folder above it is.
    return os.path.basename(folder) != MARKER and (
        os.path.lexists(os.path.join(folder, "HEAD"))
        and os.path.isdir(os.path.join(folder, "objects"))
        and os.path.isdir(os.path.join(folder, "refs"))
    )


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_LONGEST_PATH_BYTES)
    except OSError:
        return None
