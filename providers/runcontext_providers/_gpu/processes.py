"""Whose the processes are that a driver names by their ids."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runcontext import NotInContext, current_program

if TYPE_CHECKING:
    from collections.abc import Iterable

_INITIAL_NAMESPACE = "pid:[4026531836]"
"""Where process ids are the machine's own. Source: Linux, include/linux/proc_ns.h, PROC_PID_INIT_INO."""


def require_comparable(root: str) -> None:
    """Raise NotInContext where a driver's process ids are not those that this process sees.

    Drivers name processes as the machine counts them, whichever container asks; newer ones translate some answers
    and not others (NVIDIA/open-gpu-kernel-modules, pull request 614; ROCm/rocm-systems, pull request 3752).

    ``root`` is the folder that stands for ``/``.
    """
    if sys.platform != "linux":
        return
    namespace = os.readlink(os.path.join(root, "proc/self/ns/pid"))
    if namespace != _INITIAL_NAMESPACE:
        message = "the driver names processes by ids from outside this container: start it with the host's (--pid=host)"
        raise NotInContext(message)


def count_others(pids: Iterable[int], root: str) -> int:
    """Count the processes that are neither the described program nor a descendant of it.

    Raises NotInContext where that cannot be told.
    """
    present = set(pids)
    if not present:
        return 0
    require_comparable(root)
    return sum(not _belongs_to(current_program().pid, pid) for pid in present)


def _belongs_to(program: int, pid: int) -> bool:
    import psutil

    if pid == program:
        return True
    try:
        return any(ancestor.pid == program for ancestor in psutil.Process(pid).parents())
    except psutil.Error:
        # The program's own processes can be looked at; one that cannot be, or is gone, was somebody else's.
        return False
