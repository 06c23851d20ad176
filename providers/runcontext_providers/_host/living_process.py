"""Facts that only a living process has, and what becomes of them when it has ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import psutil

from runcontext import NotInContext, current_program

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ProcessEnded(NotInContext):
    """A process that ended before something was read of it."""


def of_living(read: Callable[[int], T]) -> T:
    """Read what only a living process has; a command may be shorter than the capture that describes it.

    Raises ProcessEnded where it is, and otherwise what ``read`` raises.
    """
    pid = current_program().pid
    try:
        return read(pid)
    except (OSError, psutil.Error):
        if not _has_ended(pid):
            raise
        message = f"process {pid} ended before this was read"
        raise ProcessEnded(message) from None


def _has_ended(pid: int) -> bool:
    if psutil.LINUX and not os.path.isdir("/proc/self"):
        return False  # psutil knows of no process where /proc is not mounted
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
