"""Watches, from outside, what a program's companion holds in memory and how many threads the program has."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field

import psutil

_SUPERVISOR = "runcontext.companion.birth"
_SAMPLING_SECONDS = 0.01
_MIB = 1024 * 1024


@dataclass(slots=True)
class Watch:
    """What was seen so far, in MiB; ``idle`` is the last that was seen, of a companion that has nothing to do.

    Memory is the proportional set size (proc(5), smaps_rollup): pages that several processes share are divided among
    them, so that the sum over the companion's processes, the supervisor and its workers, is what the companion adds to
    the machine. ``peak_with_git`` adds the programs that the workers run.
    """

    peak: float = 0.0
    peak_with_git: float = 0.0
    idle: float = 0.0
    largest: float = 0.0
    threads: int = 0
    _processes: list[psutil.Process] = field(default_factory=list)

    def until_end_of(self, program: subprocess.Popen[str]) -> None:
        """Look again and again until ``program`` ends."""
        described = psutil.Process(program.pid)
        supervisor: psutil.Process | None = None
        while program.poll() is None:
            try:
                self.threads = max(self.threads, described.num_threads())
                supervisor = supervisor or _supervisor_of(program.pid)
                if supervisor is not None:
                    self._look(supervisor)
            except psutil.Error:
                pass
            time.sleep(_SAMPLING_SECONDS)

    def _look(self, supervisor: psutil.Process) -> None:
        workers = supervisor.children()
        others = [each for worker in workers for each in worker.children(recursive=True)]
        sizes = [_size(each) for each in (supervisor, *workers)]
        total = sum(sizes)
        if total:
            self.peak, self.idle = max(self.peak, total), total
            self.peak_with_git = max(self.peak_with_git, total + sum(map(_size, others)))
            self.largest = max(self.largest, *sizes)


def _size(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / _MIB
    except psutil.Error:
        # It ended between two looks.
        return 0.0


def _supervisor_of(pid: int) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(pid) in words and any(_SUPERVISOR in word for word in words) and not words[0].endswith("sh"):
            return process
    return None
