"""The companion process itself: hands providers to workers, keeps what they say, and outlives the program it serves.

It is single-threaded and never blocks, so that a fork of it is safe at any moment and nothing that a provider does can
hold it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from runcontext import entry_points, process, registry, resolution, settings
from runcontext.companion import wire
from runcontext.tracking.local import RunFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from runcontext.companion.wire import Message
    from runcontext.registry import Spec
    from runcontext.resolution import AttachmentRow, Outcome

CHANNEL_DESCRIPTOR = 3
"""The descriptor on which the companion finds its caller: neither 0 nor 1, where other programs speak."""

MARK = {"RUNCONTEXT_COMPANION": "0", "RUNCONTEXT_PROVIDERS": ",".join(registry.BUILT_IN)}
"""What the companion adds to its environment: what its providers start has no companion, and runs no plugin."""

IDLE_SECONDS = 10.0
"""How long the companion stays after the last run has ended."""

_FIRST_WORKERS = 2
_MOST_WORKERS = 128
_PATIENCE_SECONDS = 0.25
"""How long the other providers wait behind one that is slow before they get a worker of their own."""

_WRITE_EVERY_SECONDS = 0.05
"""How often a context that is not complete is written at most: 100 plugins that answer would write it 100 times."""

_FAREWELL_SECONDS = 0.5
_SCAN = "entry points"


class Job:
    """One provider to resolve for one capture, or a scan of the entry points."""

    __slots__ = ("capture", "message", "name", "seconds")

    def __init__(self, capture: Capture, name: str, message: Message, seconds: float) -> None:
        """Keep what the worker is to be told, and how long it may take."""
        self.capture = capture
        self.name = name
        self.message = message
        self.seconds = seconds


class Worker:
    """A forked process that runs one job at a time, and what it is doing."""

    __slots__ = ("began", "channel", "is_stalled", "is_tainted", "job", "pid", "warm")

    def __init__(self, pid: int, channel: wire.Channel, warm: Iterable[str]) -> None:
        """Keep a worker that was just forked, with the modules that it imports first."""
        self.pid = pid
        self.channel = channel
        self.warm = set(warm)
        self.job: Job | None = None
        self.began = 0.0
        self.is_stalled = False
        self.is_tainted = False

    @property
    def is_free(self) -> bool:
        """Whether it can take a job now."""
        return self.job is None and not self.is_tainted and self.channel.is_open


class Capture:
    """One request of the caller: what its providers said so far, and where that is kept."""

    def __init__(self, request: Message, environment: dict[str, str]) -> None:
        """Read a request of the client's."""
        self.id: str = request["id"]
        self.program: dict[str, Any] = request["program"]
        self.environment = environment
        self.order: list[str] = request["order"]
        self.outcomes: dict[str, Outcome] = request["outcomes"]
        self.attachments: list[AttachmentRow] = []
        self.caller_tags: dict[str, str] = request["caller_tags"]
        self.wants_attachments: bool = request["attachments"]
        self.folder = RunFolder(request["folder"], request["identity"]) if request["folder"] is not None else None
        self.context_file: str = request["context_file"]
        self.records_end: bool = request["records_end"]
        self.cache_folder: str | None = request["cache_folder"]
        self.finishes_by = time.monotonic() + request["deadline_seconds"]
        self.is_open = True
        self.is_changed = False
        self._written_at = 0.0
        self.is_scanning = False
        self.is_disowned = False

    @property
    def is_complete(self) -> bool:
        """Whether every provider has answered."""
        return not self.is_scanning and all(each["status"] != "pending" for each in self.outcomes.values())

    def take(self, name: str, outcome: Outcome, attachments: Iterable[AttachmentRow] = ()) -> None:
        """Keep what a provider said; an inline provider's companion facts join those that it gave in the program."""
        known = self.outcomes.get(name)
        if known is not None and known["placement"] == "inline" and known["status"] != "disabled":
            outcome = resolution.united(known, outcome)
        self.outcomes[name] = outcome
        self.attachments.extend(attachments)
        self.is_changed = True

    def write(self) -> None:
        """Write the context into the run's folder; a store that fails later costs the file, not the companion."""
        now = time.monotonic()
        if self.is_open and not self.is_complete and now - self._written_at < _WRITE_EVERY_SECONDS:
            return
        if self.folder is None or not self.is_changed or (self.is_disowned and self.has_final_status()):
            return
        self._written_at = now
        row = resolution.merged(self.order, self.outcomes, self.attachments, self.caller_tags)
        try:
            self.folder.write_context(row, self.context_file)
            self.is_changed = False
        except OSError:
            # Tried again with the next outcome and at the end; the program itself warns about its store.
            return

    def has_final_status(self) -> bool:
        """Say whether the program has ended the run by itself: what it wrote then is not to be overwritten."""
        from runcontext.tracking import reading

        return self.folder is not None and reading.final_status(self.folder.path) is not None

    def settle(self, reason: str) -> None:
        """Make what is still pending final."""
        self.outcomes = resolution.settled(self.outcomes, reason)
        self.is_scanning = False
        self.is_open = False
        self.is_changed = True
        self.write()


class Supervisor:
    """The companion's one loop.

    Args:
        caller: the channel to the program.
        pid: the program's process id.
        preload: modules for the first workers to import, a list each.
    """

    def __init__(self, caller: wire.Channel, pid: int, preload: list[list[str]]) -> None:
        """Start the first workers, so that their imports overlap with the program's own start."""
        self._caller = caller
        self._program_pid = pid
        self._program_start = process.start_time(pid)
        self._death = _death_descriptor(pid)
        self._captures: dict[str, Capture] = {}
        self._queue: list[Job] = []
        self._workers: list[Worker] = []
        self._environment = {**_without_toggles(dict(os.environ)), **MARK}
        self._idle_since = time.monotonic()
        self._is_widowed = False
        for modules in preload:
            self._start_worker(modules)

    def run(self) -> None:
        """Serve until the program is gone, or has had no run for a while."""
        self._caller.send({"op": "hello", "pid": os.getpid()})
        while not self._is_done():
            self._wait()
            self._hear_caller()
            for worker in list(self._workers):
                self._on_worker(worker)
            self._watch_clock()
            self._assign()
            for capture in self._captures.values():
                # A program that closed the connection and lives on goes on without the companion.
                capture.is_disowned = not self._caller.is_open and not self._is_widowed
                capture.write()
            self._caller.flush()
            if not self._is_widowed and self._program_is_gone():
                # What it said before it died is still to be heard.
                self._hear_caller()
                self._on_death()
        for capture in self._captures.values():
            capture.settle("no answer by the end of the program")
        self._dismiss_workers()

    def _is_done(self) -> bool:
        now = time.monotonic()
        if self._is_widowed:
            return all(each.is_complete or now > each.finishes_by for each in self._captures.values())
        is_idle = not any(each.is_open for each in self._captures.values())
        if not is_idle:
            self._idle_since = now
        return is_idle and now - self._idle_since > IDLE_SECONDS

    def _wait(self) -> None:
        poll = select.poll()
        if self._caller.is_open:
            poll.register(self._caller.descriptor, select.POLLIN | (select.POLLOUT if self._caller.has_unsent else 0))
        if self._death is not None and not self._is_widowed:
            poll.register(self._death, select.POLLIN)
        for worker in self._workers:
            if worker.channel.is_open:
                poll.register(worker.channel.descriptor, select.POLLIN)
        busy = any(worker.job is not None for worker in self._workers)
        poll.poll(50 if busy or self._is_widowed else 1_000)

    # --- the caller ---------------------------------------------------------------------------------------------

    def _hear_caller(self) -> None:
        for message in self._caller.receive():
            self._on_caller(message)

    def _on_caller(self, message: Message) -> None:
        if message["op"] == "capture":
            self._on_capture(message)
            return
        capture = self._captures.get(message["id"])
        if capture is None:
            return
        if message["op"] == "outcome":
            capture.take(message["name"], message["outcome"], message["attachments"])
        elif message["op"] == "end":
            self._on_end(capture, message["reason"])

    def _on_capture(self, request: Message) -> None:
        if request["environment"] is not None:
            self._environment = {**_without_toggles(request["environment"]), **MARK}
        capture = Capture(request, self._environment)
        self._captures[capture.id] = capture
        capture.write()
        for row in request["providers"]:
            self._queue.append(self._provider_job(capture, row))
        if request["scan"] is not None:
            capture.is_scanning = True
            message = {**self._job_message(capture), "op": "scan", "cache_folder": request["cache_folder"]}
            self._queue.append(Job(capture, _SCAN, {**message, "settings": request["scan"]}, 60.0))

    def _job_message(self, capture: Capture) -> Message:
        return {"program": capture.program, "environment": capture.environment, "seconds": 60.0}

    def _provider_job(self, capture: Capture, row: Message) -> Job:
        seconds = row["limit_seconds"] if row["limit_seconds"] is not None else registry.DEFAULT_LIMIT_SECONDS
        folder = None if capture.folder is None else capture.folder.attachments(capture.context_file)
        message = {
            **self._job_message(capture),
            **row,
            "op": "resolve",
            "seconds": seconds,
            "attachments": capture.wants_attachments,
            "folder": folder,
        }
        return Job(capture, row["name"], message, seconds)

    def _on_end(self, capture: Capture, reason: str) -> None:
        self._queue = [job for job in self._queue if job.capture is not capture]
        capture.settle(reason)
        del self._captures[capture.id]
        for worker in self._workers:
            # Whoever still works on a run that has ended can add nothing to it.
            if worker.job is not None and worker.job.capture is capture:
                worker.job = None
                worker.channel.close()
        self._caller.send({"op": "ended", "id": capture.id})

    # --- the workers --------------------------------------------------------------------------------------------

    def _start_worker(self, preload: Iterable[str] = ()) -> Worker | None:
        ours, theirs = wire.pair()
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            return None
        if pid == 0:
            self._become_worker(ours, theirs, preload)
        os.close(theirs)
        _lead_own_group(pid)
        worker = Worker(pid, wire.Channel(ours), preload)
        self._workers.append(worker)
        return worker

    def _become_worker(self, ours: int, theirs: int, preload: Iterable[str]) -> None:
        try:
            _lead_own_group(0)
            os.close(ours)
            self._caller.close()
            for other in self._workers:
                other.channel.close()
            if self._death is not None:
                os.close(self._death)
            from runcontext.companion import worker

            worker.serve(theirs, preload)
        finally:
            os._exit(1)

    def _on_worker(self, worker: Worker) -> None:
        for message in worker.channel.receive():
            try:
                self._on_worker_message(worker, message)
            except (KeyError, TypeError, AttributeError):
                # A provider has written into the connection: nothing else that comes from there is to be believed.
                worker.channel.close()
        if not worker.channel.is_open:
            self._bury(worker)

    def _on_worker_message(self, worker: Worker, message: Message) -> None:
        if message["op"] == "done":
            worker.is_tainted = bool(message["tainted"])
            worker.is_stalled = False
            worker.job = None
            if worker.is_tainted or len(self._workers) > _FIRST_WORKERS:
                worker.channel.close()
        elif worker.job is not None:
            self._on_answer(worker.job, message)

    def _on_answer(self, job: Job, message: Message) -> None:
        capture = job.capture
        if message["op"] == "scanned":
            self._on_scanned(job, message["entry_points"])
        elif message["op"] == "limit":
            job.seconds = message["seconds"]
        elif message["op"] == "elsewhere":
            placement = message["placement"]
            target, path = job.message["target"], capture.program["sys_path"]
            entry_points.remember_placement(path, capture.cache_folder, target, placement)
            capture.outcomes[job.name] = resolution.pending("thread")
            self._caller.send({"op": "elsewhere", "id": capture.id, "name": job.name, "placement": placement})
        elif message["op"] == "facts":
            capture.take(job.name, {**message["outcome"], "status": "pending"})
            self._tell(capture, job.name, ())
        else:
            capture.take(job.name, message["outcome"], message["attachments"])
            capture.write()
            self._tell(capture, job.name, message["attachments"])

    def _tell(self, capture: Capture, name: str, attachments: Iterable[AttachmentRow]) -> None:
        if capture.is_open:
            message = {"op": "outcome", "id": capture.id, "name": name, "outcome": capture.outcomes[name]}
            self._caller.send({**message, "attachments": list(attachments), "is_kept": not capture.is_changed})

    def _on_scanned(self, job: Job, rows: list[dict[str, str]]) -> None:
        capture = job.capture
        capture.is_scanning = False
        current = settings.Settings.from_json(job.message["settings"])
        specs = registry.plugins([entry_points.EntryPoint(**row) for row in rows], current)
        added = [spec for spec in specs if spec.name not in capture.outcomes]
        for spec in added:
            off = resolution.disabled(spec.placement, spec.switched_by)
            capture.outcomes[spec.name] = resolution.pending(spec.placement) if spec.enabled else off
        capture.order = registry.order([*capture.order, *(spec.name for spec in added)])
        capture.is_changed = True
        self._caller.send(
            {
                "op": "found",
                "id": capture.id,
                "outcomes": {spec.name: capture.outcomes[spec.name] for spec in added},
                "targets": {spec.name: spec.target for spec in added},
                "order": capture.order,
            }
        )
        for spec in added:
            if spec.enabled:
                self._send_to_its_place(capture, spec)

    def _send_to_its_place(self, capture: Capture, spec: Spec) -> None:
        if spec.placement == "companion":
            row = {**spec.to_json(), "method": "tags", "placement": "companion", "is_placed": spec.is_placed}
            self._queue.append(self._provider_job(capture, row))
        else:
            capture.outcomes[spec.name] = resolution.pending("thread")
            self._caller.send({"op": "elsewhere", "id": capture.id, "name": spec.name, "placement": spec.placement})

    def _bury(self, worker: Worker) -> None:
        self._workers.remove(worker)
        # One that closed its end by itself is about to end; one that was dismissed has no say.
        reason = _end(worker, _FAREWELL_SECONDS if worker.job is not None else 0.0)
        if worker.job is not None:
            self._fail(worker.job, f"its worker process {worker.channel.problem or reason}")

    def _fail(self, job: Job, reason: str, status: str = "failed") -> None:
        capture = job.capture
        if job.name == _SCAN:
            capture.is_scanning = False
            self._caller.send({"op": "found", "id": capture.id, "outcomes": {}, "targets": {}, "order": capture.order})
            return
        known = capture.outcomes.get(job.name, resolution.pending("companion"))
        if known["status"] == "pending" and known["tags"]:
            # The facts were in; only what came after them is lost.
            failures = {**known["failures"], "attachments": reason}
            outcome = {**known, "status": "partial", "failures": failures}
        else:
            outcome = {**resolution.failed("companion", reason), "status": status}
        capture.take(job.name, outcome)
        capture.write()
        self._tell(capture, job.name, ())

    def _watch_clock(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            job = worker.job
            if job is None:
                continue
            if now - worker.began > job.seconds:
                worker.job = None
                worker.channel.close()
                self._fail(job, f"took longer than its limit of {job.seconds:g} s", "timed_out")
            elif now - worker.began > _PATIENCE_SECONDS:
                worker.is_stalled = True

    def _assign(self) -> None:
        while self._queue:
            worker = self._worker_for(self._queue)
            if worker is None:
                return
            job = self._next_job(worker)
            worker.job = job
            worker.began = time.monotonic()
            worker.warm.add(_module(job))
            worker.channel.send(job.message)

    def _worker_for(self, queue: list[Job]) -> Worker | None:
        free = [worker for worker in self._workers if worker.is_free]
        if free:
            wanted = {_module(job) for job in queue}
            return max(free, key=lambda worker: len(worker.warm & wanted))
        moving = [worker for worker in self._workers if not worker.is_stalled and not worker.is_tainted]
        stalled = len(self._workers) - len(moving)
        # The more that hang, the less the rest can be expected to move: none may wait behind another for long.
        wanted_workers = max(stalled, _FIRST_WORKERS)
        if len(moving) < wanted_workers and len(self._workers) < _MOST_WORKERS:
            return self._start_worker()
        return None

    def _next_job(self, worker: Worker) -> Job:
        """Take the job that ``worker`` has the imports for, else one that no other free worker has them for."""
        elsewhere: set[str] = set()
        for other in self._workers:
            if other.is_free and other is not worker:
                elsewhere |= other.warm

        def rank(index: int) -> tuple[bool, bool, int]:
            module = _module(self._queue[index])
            return module not in worker.warm, module in elsewhere, index

        return self._queue.pop(min(range(len(self._queue)), key=rank))

    def _dismiss_workers(self) -> None:
        for worker in self._workers:
            worker.channel.close()
        until = time.monotonic() + _FAREWELL_SECONDS
        for worker in self._workers:
            _end(worker, until - time.monotonic())

    # --- the program's end --------------------------------------------------------------------------------------

    def _program_is_gone(self) -> bool:
        if self._death is not None:
            return bool(select.select([self._death], [], [], 0)[0])
        if self._caller.is_open:
            return False
        return process.start_time(self._program_pid) != self._program_start or not _exists(self._program_pid)

    def _on_death(self) -> None:
        self._is_widowed = True
        for capture in self._captures.values():
            capture.is_disowned = False
            if capture.has_final_status():
                capture.folder = None
            elif capture.records_end and capture.folder is not None:
                _record_end(capture.folder)


def _record_end(folder: RunFolder) -> None:
    """Put on record that a run's process died, unless the run has an ending of its own."""
    from runcontext.tracking import reading

    if reading.final_status(folder.path) is not None or not os.path.isdir(folder.path):
        return
    signal_name = reading.fatal_signal(folder.signal_records)
    status, reason = ("KILLED", signal_name) if signal_name else ("LOST", "the process ended without a word")
    pid = os.getpid()
    journal = folder.journal(process.host_name(), pid, str(process.start_time(pid) or 0))
    journal.append({"status": status, "reason": reason})
    journal.close()


def _without_toggles(environment: dict[str, str]) -> dict[str, str]:
    """Leave out the toggles of single providers: they would win over ``MARK``."""
    return {name: value for name, value in environment.items() if not name.startswith(settings.PROVIDER_VARIABLE)}


def _module(job: Job) -> str:
    return str(job.message.get("target", _SCAN)).partition(":")[0]


def _lead_own_group(pid: int) -> None:
    """Give a worker a process group of its own: a provider that kills its group kills nothing else.

    Both sides do it, since either may come first.
    """
    try:
        os.setpgid(pid, pid)
    except OSError:
        return


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


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _death_descriptor(pid: int) -> int | None:
    """Give a descriptor that turns readable when the program dies (pidfd_open(2)), None where there is none.

    The channel's end alone is not enough: a program may close its descriptors and live on.
    """
    open_one: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    if open_one is None:
        return None
    try:
        return open_one(pid)
    except OSError:
        return None


def _keep_only(descriptor: int) -> None:
    """Close every other descriptor: the program's pipes and locks must end when the program does."""
    try:
        others = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        others = list(range(1_024))
    for other in others:
        if other > 2 and other != descriptor:  # noqa: PLR2004 - 0, 1 and 2 are the standard streams
            try:
                os.close(other)
            except OSError:
                continue


def main() -> None:
    """Be the companion: ``python -I -c ... ROOT PID MODULES...``, its caller on descriptor 3.

    MODULES are what each first worker is to import, comma-separated, an argument for each worker.
    """
    _keep_only(CHANNEL_DESCRIPTOR)
    if hasattr(os, "setsid"):
        try:
            os.setsid()
        except OSError:
            pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A program that ignores the ends of its children hands that on.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    preload = [words.split(",") for words in sys.argv[3:]]
    Supervisor(wire.Channel(CHANNEL_DESCRIPTOR), int(sys.argv[2]), preload).run()
    os._exit(0)
