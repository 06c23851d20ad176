"""Files that Git LFS keeps elsewhere: what stands for them in a repository, and which were never fetched."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence

from runcontext import NotInContext
from runcontext_providers._git.command import GitError
from runcontext_providers._git.files import open_file

# Git LFS Specification, "The Pointer": UTF-8 text of less than 1,024 bytes, the version first, then ordered keys.
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(ext-\d-[\w.-]+ sha256:[0-9a-f]{64}\n)*oid sha256:[0-9a-f]{64}\nsize \d+\n"
)
_POINTER_BYTES = 1024
_CHUNK_BYTES = 1 << 20
_SHOWN = 3


def pointers_among(root: str, paths: Sequence[str]) -> str:
    """Say how many of ``paths``, which Git LFS keeps, are mere pointers in the work tree at ``root``, and the first.

    Raises NotInContext where none is.
    """
    if not paths:
        reason = "no tracked file has the attribute filter=lfs"
        raise NotInContext(reason)
    pointers = [path for path in paths if _is_pointer(os.path.join(root, path))]
    if not pointers:
        reason = f"no mere pointer among the files of Git LFS ({len(paths)})"
        raise NotInContext(reason)
    first = ", ".join(pointers[:_SHOWN]) + ", ..." * (len(pointers) > _SHOWN)
    return f"{len(pointers)} of {len(paths)}: {first}"


def pointer_of(path: str, is_late: Callable[[], bool]) -> bytes:
    """Give what `git lfs clean` would put into the repository for the file at ``path``.

    Raises OSError, and GitError where ``is_late`` says so before all of it was read.
    """
    digest, size = hashlib.sha256(), 0
    with open_file(path) as file:
        first = file.read(_POINTER_BYTES)
        if not first or _POINTER.fullmatch(first):
            return first
        while chunk := first or file.read(_CHUNK_BYTES):
            first = b""
            digest.update(chunk)
            size += len(chunk)
            if is_late():
                message = f"no time left to read {path}, which Git LFS keeps"
                raise GitError(message)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest.hexdigest()}\nsize {size}\n".encode()


def _is_pointer(path: str) -> bool:
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size >= _POINTER_BYTES:
            return False
        with open_file(path) as file:
            return _POINTER.fullmatch(file.read(_POINTER_BYTES)) is not None
    except OSError:
        return False
