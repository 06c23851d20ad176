"""Which process is which: enough to tell, later and from outside, whether it still lives.

Process ids are given out again, so a process is its id together with the time it started (proc(5), /proc/pid/stat,
field 22), on one boot of one host, seen from one PID namespace.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


_START_TIME = 22 - 3
"""Index of field 22, where the fields after the file name begin at the third."""


_own: dict[str, Any] = {}


def own_identity() -> dict[str, Any]:
    """Describe this process as ``identity`` does, reading what does not change only once."""
    pid = os.getpid()
    if _own.get("pid") != pid:
        _own.update(identity(pid))
    return {**_own, "host": host_name()}


def identity(pid: int) -> dict[str, Any]:
    """Describe a process as run.json keeps it; what this system does not tell is None."""
    return {
        "host": host_name(),
        "pid": pid,
        "process_start": start_time(pid),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "pid_namespace": _link("/proc/self/ns/pid"),
    }


def host_name() -> str:
    """Give this host's name, ``localhost`` where the system tells none."""
    return (os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")) or "localhost"


def start_time(pid: int) -> int | None:
    """Give when a process started, in clock ticks since boot; None where it is gone or the system does not tell."""
    stat = _read(f"/proc/{pid}/stat")
    if stat is None:
        return None
    # The second field is a file name in parentheses and may hold anything, spaces and parentheses too.
    fields = stat.rpartition(")")[2].split()
    return int(fields[_START_TIME]) if len(fields) > _START_TIME else None


def parent_of(pid: int) -> int | None:
    """Give a process's parent (proc(5), /proc/pid/stat, field 4), None where the system does not tell."""
    fields = (_read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def first_environment(pid: int) -> frozenset[str]:
    """Give the names of the variables that a process was started with (proc(5), /proc/pid/environ), none if hidden."""
    entries = (_read(f"/proc/{pid}/environ") or "").split("\0")
    return frozenset(entry.partition("=")[0] for entry in entries)


def is_gone(recorded: Mapping[str, Any]) -> bool:
    """Say whether the process that ``identity`` described has certainly ended; False where nobody here can know."""
    here = own_identity()
    if any(recorded.get(key) != here[key] for key in ("host", "pid_namespace")):
        return False
    if here["boot_id"] is None or recorded.get("boot_id") is None or recorded.get("process_start") is None:
        # Either side could not read /proc: what it did not say proves nothing.
        return False
    if recorded.get("boot_id") != here["boot_id"]:
        return True
    return start_time(recorded["pid"]) != recorded.get("process_start") or _is_zombie(recorded["pid"])


def _is_zombie(pid: int) -> bool:
    stat = _read(f"/proc/{pid}/stat") or ""
    return stat.rpartition(")")[2].split()[:1] in (["Z"], ["X"])


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
