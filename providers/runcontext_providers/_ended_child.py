"""What a child used that has ended and that nobody has waited for yet."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

_SYSTEM_CALLS = {"x86_64": 247, "i686": 284, "aarch64": 95, "riscv64": 95, "ppc64le": 272, "s390x": 281}
"""The number of waitid(2), by machine: syscalls(2) and the kernel's tables of them."""

_P_PID = 1
_WEXITED = 0x00000004
_WNOHANG = 0x00000001
_WNOWAIT = 0x01000000
_SIGINFO_BYTES = 128
_RUSAGE_LONGS = 18
"""struct rusage of getrusage(2): two times of seconds and microseconds, and 14 counts, the peak in KiB first."""

_MICROSECOND = 1e-6
_KIBIBYTE = 1_024


class ChildUsage(NamedTuple):
    """CPU time and peak memory of a child, and of those of its own children that it has waited for."""

    cpu_seconds: float
    peak_bytes: int


def usage_of_ended_child(pid: int) -> ChildUsage | None:
    """Give what child ``pid`` used, which stays to be waited for; None where that cannot be told.

    The system call, unlike the C library's function, gives the usage as wait4(2) does: waitid(2), section "C
    library/kernel differences".
    """
    number = _SYSTEM_CALLS.get(os.uname().machine)
    if number is None:
        return None
    usage = (ctypes.c_long * _RUSAGE_LONGS)()
    info = (ctypes.c_char * _SIGINFO_BYTES)()
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    options = _WEXITED | _WNOHANG | _WNOWAIT
    failed = call(*map(ctypes.c_long, (number, _P_PID, pid)), info, ctypes.c_long(options), usage)
    user_seconds, user_micro, system_seconds, system_micro, peak = usage[:5]
    if failed or not peak:
        return None
    cpu_seconds = user_seconds + system_seconds + (user_micro + system_micro) * _MICROSECOND
    return ChildUsage(cpu_seconds, peak * _KIBIBYTE)
