"""Looks into a repository's own files, to spare a git process where there is nothing that it could tell."""

from __future__ import annotations

import os
from typing import NamedTuple

# gitformat-index(5): the 32-bit mode of a submodule; the end of a path that sets attributes, as it is in version 4 too,
# which leaves out what a path shares with the one before; and the file that has the entries of a split index.
_SUBMODULE = b"\x00\x00\xe0\x00"
_ATTRIBUTES = b"attributes\x00"
_SPLIT = "sharedindex."
_PACKED_TAG = b" refs/tags/"
_MOST_READ_BYTES = 32 << 20


class Index(NamedTuple):
    """What the index may have; False is certain."""

    has_submodules: bool
    has_attributes: bool


def look_into_index(root: str, git_dir: str | None) -> Index:
    """Say what the index in ``git_dir`` may have, and the work tree at ``root`` beside it; all where it is unknown."""
    entries = None if git_dir is None or _is_split(git_dir) else _read(os.path.join(git_dir, "index"))
    if git_dir is None or entries is None:
        return Index(has_submodules=True, has_attributes=True)
    untracked = (os.path.join(root, ".gitattributes"), os.path.join(git_dir, "info", "attributes"))
    return Index(
        has_submodules=_has_submodule(entries),
        has_attributes=_ATTRIBUTES in entries or any(map(os.path.lexists, untracked)),
    )


def may_have_tags(common_dir: str | None) -> bool:
    """Say whether there may be a tag; False is certain. gitrepository-layout(5), "refs" and "packed-refs"."""
    if common_dir is None or os.path.isdir(os.path.join(common_dir, "reftable")):
        return True
    try:
        if os.listdir(os.path.join(common_dir, "refs", "tags")):
            return True
    except OSError:
        pass
    packed = _read(os.path.join(common_dir, "packed-refs"))
    return packed is None or _PACKED_TAG in packed


def _is_split(git_dir: str) -> bool:
    try:
        return any(name.startswith(_SPLIT) for name in os.listdir(git_dir))
    except OSError:
        return True


def _has_submodule(entries: bytes) -> bool:
    # Seven times as fast as looking for the whole: an index is full of zeros.
    at = entries.find(b"\xe0")
    while at >= 0:
        if entries[max(0, at - 2) : at + 2] == _SUBMODULE:
            return True
        at = entries.find(b"\xe0", at + 1)
    return False


def _read(path: str) -> bytes | None:
    """Give the content of a file, empty where there is none, None where it is too large or cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read() if os.fstat(file.fileno()).st_size <= _MOST_READ_BYTES else None
    except FileNotFoundError:
        return b""
    except OSError:
        return None
