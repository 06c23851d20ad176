"""The companion's workers: who does which job, who waits behind whom, and how each ends."""

from __future__ import annotations

import os
import signal
import time

from runcontext.companion import wire
from runcontext.companion.fork import fork_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runcontext.companion.captures import Capture, Surroundings
    from runcontext.companion.wire import Message

FIRST_WORKERS = 2
_MOST_WORKERS = 128
_LOOK_AHEAD = 8
"""How many of the waiting jobs are looked at for one that fits a worker: the built-ins, which come first."""

_PATIENCE_SECONDS = 0.25
"""How long the other providers wait behind one that is slow before they get a worker of their own."""

_FAREWELL_SECONDS = 0.5


class Job:
    """One provider to resolve for one capture, at the start of the run or at its end, or a scan of the entry points."""

    __slots__ = ("capture", "is_at_end", "message", "name", "seconds", "surroundings")

    def __init__(
        self, capture: Capture, name: str, message: Message, seconds: float, *, is_at_end: bool = False
    ) -> None:
        """Keep what the worker is to be told, and how long it may take."""
        self.capture = capture
        self.surroundings = capture.surroundings
        self.is_at_end = is_at_end
        self.name = name
        self.message = message
        self.seconds = seconds

    @property
    def module(self) -> str:
        """The module that its provider is in; empty for a scan."""
        return str(self.message.get("target", "")).partition(":")[0]


class Worker:
    """A forked process that runs one job at a time, and what it is doing."""

    __slots__ = ("began", "channel", "described", "is_stalled", "is_tainted", "job", "pid", "warm")

    def __init__(self, pid: int, channel: wire.Channel, warm: Iterable[str]) -> None:
        """Keep a worker that was just forked, with the modules that it imports first."""
        self.pid = pid
        self.channel = channel
        self.warm = set(warm)
        self.job: Job | None = None
        self.described: Surroundings | None = None
        self.began = 0.0
        self.is_stalled = False
        self.is_tainted = False

    @property
    def is_free(self) -> bool:
        """Whether it can take a job now."""
        return self.job is None and not self.is_tainted and self.channel.is_open

    def give(self, job: Job) -> None:
        """Let it do a job, and tell it first which program that is about where it does not know."""
        self.job = job
        self.began = time.monotonic()
        self.warm.add(job.module)
        if self.described is not job.surroundings:
            self.described = job.surroundings
            self.channel.send({"op": "describe", **job.surroundings.to_json()})
        self.channel.send(job.message)

    def dismiss(self) -> None:
        """Let it have no say any more, whatever it does."""
        self.job = None
        self.channel.close()


class Workforce:
    """All workers, and the jobs that wait for one.

    Args:
        own_descriptors: gives the companion's descriptors that no worker is to inherit.
        forked: the workers that there are already: process id, descriptor, modules that it imports.
    """

    def __init__(
        self, own_descriptors: Callable[[], Iterable[int]], forked: Iterable[tuple[int, int, list[str]]]
    ) -> None:
        """Take over the first workers."""
        self._own_descriptors = own_descriptors
        self._queue: list[Job] = []
        self.workers = [Worker(pid, wire.Channel(descriptor), modules) for pid, descriptor, modules in forked]

    @property
    def is_busy(self) -> bool:
        """Whether anybody works."""
        return any(worker.job is not None for worker in self.workers)

    def add(self, job: Job) -> None:
        """Let a job wait for a worker."""
        self._queue.append(job)

    def drop(self, capture: Capture) -> None:
        """Let nobody work on a capture any more: its run has ended. What is said at its end may still be said."""
        self._queue = [job for job in self._queue if job.capture is not capture or job.is_at_end]
        for worker in self.workers:
            if worker.job is not None and worker.job.capture is capture and not worker.job.is_at_end:
                worker.dismiss()

    def release(self, worker: Worker, *, is_tainted: bool) -> None:
        """Take a worker back whose job is done; one that a provider left something in serves no other."""
        worker.is_tainted = is_tainted
        worker.is_stalled = False
        worker.job = None
        if is_tainted or len(self.workers) > FIRST_WORKERS:
            worker.channel.close()

    def bury(self, worker: Worker) -> str:
        """See a worker out whose connection is closed, and say how it ended."""
        self.workers.remove(worker)
        # One that closed its end by itself is about to end; one that was dismissed has no say.
        reason = _end(worker, _FAREWELL_SECONDS if worker.job is not None else 0.0)
        return worker.channel.problem or reason

    def overdue(self) -> Iterator[Job]:
        """Give the jobs that took longer than they may, and dismiss who did them; note who keeps others waiting."""
        now = time.monotonic()
        for worker in list(self.workers):
            job = worker.job
            if job is not None and now - worker.began > job.seconds:
                worker.dismiss()
                yield job
            elif job is not None and now - worker.began > _PATIENCE_SECONDS:
                worker.is_stalled = True

    def assign(self) -> None:
        """Give jobs to free workers, or to new ones where the others keep them waiting."""
        while self._queue:
            worker = self._free_worker()
            if worker is None:
                return
            worker.give(self._next_job(worker))

    def _free_worker(self) -> Worker | None:
        free = [worker for worker in self.workers if worker.is_free]
        if free:
            wanted = {job.module for job in self._queue[:_LOOK_AHEAD]}
            return max(free, key=lambda worker: len(worker.warm & wanted))
        moving = [worker for worker in self.workers if not worker.is_stalled and not worker.is_tainted]
        stalled = len(self.workers) - len(moving)
        # The more that hang, the less the rest can be expected to move: none may wait behind another for long.
        if len(moving) < max(stalled, FIRST_WORKERS) and len(self.workers) < _MOST_WORKERS:
            return self._new_worker()
        return None

    def _new_worker(self) -> Worker | None:
        others = [worker.channel.descriptor for worker in self.workers if worker.channel.is_open]
        found = fork_worker((), [*self._own_descriptors(), *others])
        if found is None:
            return None
        worker = Worker(found[0], wire.Channel(found[1]), ())
        self.workers.append(worker)
        return worker

    def _next_job(self, worker: Worker) -> Job:
        """Take the job that ``worker`` has the imports for, else one that no other free worker has them for."""
        elsewhere: set[str] = set()
        for other in self.workers:
            if other.is_free and other is not worker:
                elsewhere |= other.warm

        def rank(index: int) -> tuple[bool, bool, int]:
            module = self._queue[index].module
            return module not in worker.warm, module in elsewhere, index

        return self._queue.pop(min(range(len(self._queue[:_LOOK_AHEAD])), key=rank))

    def disband(self) -> None:
        """End all workers: who is idle goes by itself."""
        for worker in self.workers:
            worker.channel.close()
        until = time.monotonic() + _FAREWELL_SECONDS
        for worker in self.workers:
            _end(worker, until - time.monotonic())


def _end(worker: Worker, patience_seconds: float) -> str:
    """See a worker out, with whatever its providers left behind, and say how it ended."""
    worker.channel.close()
    until = time.monotonic() + patience_seconds
    status = _exit_status(worker.pid)
    while status is None and time.monotonic() < until:
        time.sleep(0.002)
        status = _exit_status(worker.pid)
    for kill in (os.killpg, os.kill) if status is None else (os.killpg,):
        try:
            kill(worker.pid, signal.SIGKILL)
        except OSError:
            # It is gone, or a provider has led it out of its group.
            continue
    if status is None:
        os.waitpid(worker.pid, 0)
        return "lost its connection"
    return _described(status)


def _exit_status(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


def _described(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == os.EX_IOERR:
        return "lost its connection to the companion"
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
