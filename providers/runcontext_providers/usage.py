"""The usage provider: what the run took, told when it ends."""

from __future__ import annotations

import os
import sys
import time

from runcontext import NotInContext, current_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext import RunContextProvider
    from runcontext.provider import TagValue

_KIBIBYTE = 1_024
# getrusage(2) of Linux and the BSDs counts in kibibytes, that of macOS in bytes.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else _KIBIBYTE


class UsageProvider:
    """Measure wall and CPU time from the start of the run to its end, and the peak memory by then.

    Of a command that ``runcontext run`` started, the figures are those of the command and of the processes that it has
    waited for.
    """

    placement = "inline"

    def __init__(self) -> None:
        """Start with no beginning noted."""
        self._began: dict[str, float] | None = None

    def in_context(self) -> bool:
        """Say yes: every run takes something."""
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Note the beginning; there is nothing to tell yet."""
        self._began = _clocks()
        return {}

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give wall and CPU seconds since then, and peak memory in bytes."""
        now, program = _clocks(), current_program()
        facts: dict[str, TagValue] = {"usage.wall.seconds": lambda: self._passed(now, "wall")}
        if program.is_python:
            facts["usage.cpu.seconds"] = lambda: self._passed(now, "own", "children")
            facts["usage.memory.peak"] = _own_peak
            facts["usage.children.memory.peak"] = lambda: _peak_of_children(now["children"])
        else:
            facts["usage.cpu.seconds"] = lambda: _cpu_of_command(program.pid) or self._passed(now, "children")
            facts["usage.memory.peak"] = lambda: _peak_of_command(program.pid) or str(_maxrss("RUSAGE_CHILDREN"))
        return facts

    def _passed(self, now: Mapping[str, float], *clocks: str) -> str:
        if self._began is None:
            reason = "the beginning of the run was not noted in this process"
            raise NotInContext(reason)
        return f"{sum(now[clock] - self._began[clock] for clock in clocks):.3f}"


def _clocks() -> dict[str, float]:
    """Read the seconds that have passed, and the CPU seconds of this process and of its children.

    Children count, with theirs, once they have been waited for, in steps of a hundredth: times(2).
    """
    times = os.times()
    children = times.children_user + times.children_system
    return {"wall": time.monotonic(), "own": time.process_time(), "children": children}


def _own_peak() -> str:
    """Give the process's peak: VmHWM of proc(5), else ``ru_maxrss``, in which execve(2) keeps what was there before."""
    try:
        with open("/proc/self/status", "rb") as file:
            peak = next(line for line in file if line.startswith(b"VmHWM:"))
        return str(int(peak.split()[1]) * _KIBIBYTE)
    except (OSError, StopIteration, ValueError, IndexError):
        return str(_maxrss("RUSAGE_SELF"))


def _peak_of_children(cpu_seconds: float) -> str:
    """Give the peak of the largest child that was waited for, where there were children worth the name."""
    # The shell that starts the companion is a child too: it takes a thousandth of a second.
    if not cpu_seconds:
        reason = "the program has waited for no child that took a hundredth of a second or more"
        raise NotInContext(reason)
    return str(_maxrss("RUSAGE_CHILDREN"))


def _maxrss(who: str) -> int:
    try:
        import resource
    except ImportError:
        reason = "this system does not tell how much memory a process has used at most"
        raise NotInContext(reason) from None
    return resource.getrusage(getattr(resource, who)).ru_maxrss * _MAXRSS_UNIT


def _cpu_of_command(pid: int) -> str | None:
    from runcontext_providers._ended_child import usage_of_ended_child

    usage = usage_of_ended_child(pid)
    return None if usage is None else f"{usage.cpu_seconds:.3f}"


def _peak_of_command(pid: int) -> str | None:
    from runcontext_providers._ended_child import usage_of_ended_child

    usage = usage_of_ended_child(pid)
    return None if usage is None else str(usage.peak_bytes)


if TYPE_CHECKING:
    _: type[RunContextProvider] = UsageProvider
