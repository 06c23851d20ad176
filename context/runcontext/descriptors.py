"""File descriptors that live in somebody else's process: numbered out of its way, and checked before each use.

A program may close 0, 1 and 2, or every descriptor above 2, and the numbers are then given out again: what we would
write next could land in the program's own files.
"""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Identity: TypeAlias = tuple[int, int]

_FIRST_NUMBER = 64


def moved_up(descriptor: int, least: int = _FIRST_NUMBER) -> int:
    """Give the same open file under a number of ``least`` or more (3 or more where few are allowed), closed on exec."""
    if fcntl is None:
        return descriptor
    for first in (least, _FIRST_NUMBER, 3):
        try:
            number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, first)
        except OSError:
            continue
        os.close(descriptor)
        return number
    return descriptor


def identity(descriptor: int) -> Identity:
    """Give what tells this open file from any other: its device and inode."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def is_still(descriptor: int, expected: Identity) -> bool:
    """Say whether ``descriptor`` still names the file that it named when ``expected`` was taken."""
    try:
        return identity(descriptor) == expected
    except OSError:
        return False


def close_if_still(descriptor: int, expected: Identity) -> None:
    """Close ``descriptor`` unless the program closed it before us and it now means something else."""
    if is_still(descriptor, expected):
        os.close(descriptor)
