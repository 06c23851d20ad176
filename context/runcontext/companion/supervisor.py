"""The companion's one loop: hands providers to workers, keeps what they say, and outlives the program it serves.

It is single-threaded and never blocks, so that a fork of it is safe at any moment and nothing that a provider does can
hold it.
"""

from __future__ import annotations

import os
import select
import time

from runcontext import entry_points, process, registry, resolution, settings
from runcontext.companion.captures import Capture
from runcontext.companion.wire import NO_COMPANION
from runcontext.companion.workforce import Job, Worker, Workforce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runcontext.companion.mirroring import Mirroring
    from runcontext.companion.wire import Channel, Message
    from runcontext.registry import Spec
    from runcontext.tracking.local import RunFolder

MARK = {
    **NO_COMPANION,
    "RUNCONTEXT_PROVIDERS": ",".join(name for name in registry.BUILT_IN if name not in registry.ASKED_FOR),
}
"""What the companion adds to its environment: what its providers start has no companion, and runs no plugin."""

IDLE_SECONDS = 10.0
"""How long the companion stays after the last run has ended."""

_SOON_MS, _BUSY_MS, _IDLE_MS = 10, 50, 1_000
"""How long the loop sleeps at most: with news to tell, with somebody at work, and else."""

_SCAN = "entry points"
_SCAN_SECONDS = 60.0


class Supervisor:
    """The companion's one loop.

    Args:
        caller: the channel to the program.
        pid: the program's process id.
        forked: its first workers: process id, descriptor, the modules that each imports.
    """

    def __init__(self, caller: Channel, pid: int, forked: Iterable[tuple[int, int, list[str]]]) -> None:
        """Take over what was started before."""
        self._caller = caller
        self._program_pid = pid
        self._program_start = process.start_time(pid)
        self._death = _death_descriptor(pid)
        self._captures: dict[str, Capture] = {}
        self._workforce = Workforce(self._own_descriptors, forked)
        self._mirroring: Mirroring | None = None
        self._environment = {**_without_toggles(dict(os.environ)), **MARK}
        self._idle_since = time.monotonic()
        self._is_widowed = False
        self._is_settled = False

    def _own_descriptors(self) -> list[int]:
        own = [self._caller.descriptor] if self._caller.is_open else []
        senders = [] if self._mirroring is None else self._mirroring.descriptors
        return [*own, *senders, *([] if self._death is None else [self._death])]

    def _all_descriptors(self) -> list[int]:
        channels = [worker.channel for worker in self._workforce.workers]
        return [*self._own_descriptors(), *(channel.descriptor for channel in channels if channel.is_open)]

    def run(self) -> None:
        """Serve until the program is gone, or has had no run for a while."""
        self._caller.send({"op": "hello", "pid": os.getpid()})
        while not self._is_done():
            self._wait()
            self._hear_caller()
            if self._mirroring is not None:
                self._mirroring.hear()
            for worker in list(self._workforce.workers):
                self._on_worker(worker)
            for job in self._workforce.overdue():
                self._fail(job, f"took longer than its limit of {job.seconds:g} s", "timed_out")
            self._workforce.assign()
            for capture in self._captures.values():
                # A program that closed the connection and lives on goes on without the companion.
                capture.is_disowned = not self._caller.is_open and not self._is_widowed
                capture.write()
                self._tell(capture)
            for capture in [each for each in self._captures.values() if each.is_over]:
                self._forget(capture)
            self._caller.flush()
            if not self._is_widowed and self._program_is_gone():
                # What it said before it died is still to be heard.
                self._hear_caller()
                self._on_death()
        if self._mirroring is not None:
            self._mirroring.end()
        self._workforce.disband()

    @property
    def _is_sending(self) -> bool:
        return self._mirroring is not None and self._mirroring.is_busy

    def _is_done(self) -> bool:
        now = time.monotonic()
        if self._is_widowed:
            if not self._is_settled:
                if not all(each.is_complete or now > each.finishes_by for each in self._captures.values()):
                    return False
                self._settle()
            return not self._is_sending
        is_idle = not self._captures and not self._is_sending
        if not is_idle:
            self._idle_since = now
        return is_idle and now - self._idle_since > IDLE_SECONDS

    def _settle(self) -> None:
        """Make final what is known of the program's runs, and have that sent: nothing comes after it."""
        self._is_settled = True
        for capture in self._captures.values():
            capture.settle("no answer by the end of the program")
            capture.settle_at_end()
        self._captures.clear()
        if self._mirroring is not None:
            self._mirroring.hurry()

    def _wait(self) -> None:
        poll = select.poll()
        if self._caller.is_open:
            poll.register(self._caller.descriptor, select.POLLIN | (select.POLLOUT if self._caller.has_unsent else 0))
        if self._death is not None and not self._is_widowed:
            poll.register(self._death, select.POLLIN)
        for descriptor in [] if self._mirroring is None else self._mirroring.descriptors:
            poll.register(descriptor, select.POLLIN)
        for worker in self._workforce.workers:
            if worker.channel.is_open:
                poll.register(worker.channel.descriptor, select.POLLIN)
        if any(capture.has_untold for capture in self._captures.values()):
            poll.poll(_SOON_MS)
        else:
            poll.poll(_BUSY_MS if self._workforce.is_busy or self._is_widowed else _IDLE_MS)

    # --- the caller ---------------------------------------------------------------------------------------------

    def _hear_caller(self) -> None:
        for message in self._caller.receive():
            try:
                self._on_caller(message)
            except (KeyError, TypeError, AttributeError):
                # Not what a program of ours says: nothing else that comes from there is to be believed.
                self._caller.close()

    def _on_caller(self, message: Message) -> None:
        if message["op"] == "capture":
            self._on_capture(message)
            return
        if message["op"] == "mirror":
            self._on_mirror(message)
            return
        capture = self._captures.get(message["id"])
        if capture is None:
            return
        if message["op"] == "outcome":
            if message["is_at_end"]:
                capture.take_at_end(message["name"], message["outcome"])
            else:
                capture.take(message["name"], message["outcome"], message["attachments"])
        elif message["op"] == "ending":
            self._on_ending(capture, message)
        elif message["op"] == "end":
            self._on_end(capture, message["reason"])

    def _on_capture(self, request: Message) -> None:
        capture = Capture(request, self._environment_of(request))
        self._captures[capture.id] = capture
        capture.write()
        for row in request["providers"]:
            self._workforce.add(self._provider_job(capture, row))
        if request["needs_scan"]:
            capture.is_scanning = True
            message = {"op": "scan", "cache_folder": request["cache_folder"], "seconds": _SCAN_SECONDS}
            self._workforce.add(Job(capture, _SCAN, message, _SCAN_SECONDS))

    def _on_mirror(self, message: Message) -> None:
        current = settings.Settings.from_json(message["settings"])
        told = {**message, "environment": self._environment_of(message)}
        if self._mirroring is None:
            # Most programs send nothing.
            from runcontext.companion.mirroring import Mirroring

            self._mirroring = Mirroring(self._all_descriptors)
        self._mirroring.ask(told, current.sync_timeout_seconds)

    def _environment_of(self, message: Message) -> dict[str, str]:
        """Give the program's environment, which it sends only where it has changed."""
        if message["environment"] is not None:
            self._environment = {**_without_toggles(message["environment"]), **MARK}
        return self._environment

    def _provider_job(self, capture: Capture, row: Message, *, is_at_end: bool = False) -> Job:
        capture.rows[row["name"]] = row
        seconds = row["limit_seconds"] if row["limit_seconds"] is not None else registry.DEFAULT_LIMIT_SECONDS
        folder = None if capture.folder is None else capture.folder.attachments(capture.context_file)
        message = {
            "known": (),
            **row,
            "op": "resolve",
            "seconds": seconds,
            "attachments": capture.wants_attachments,
            "folder": folder,
        }
        return Job(capture, row["name"], message, seconds, is_at_end=is_at_end)

    def _on_ending(self, capture: Capture, message: Message) -> None:
        capture.begin_end(message, self._environment_of(message))
        for name in capture.outcomes:
            self._ask_at_end(capture, name)

    def _ask_at_end(self, capture: Capture, name: str) -> None:
        """Ask a provider what it has to say at the end of the run, where that has come and it has answered before."""
        if capture.asks_at_end(name):
            known = capture.known_at_end(name)
            row = {**capture.rows[name], "method": "tags_at_end", "known": known, "is_placed": True}
            self._workforce.add(self._provider_job(capture, row, is_at_end=True))

    def _on_end(self, capture: Capture, reason: str) -> None:
        capture.settle(reason)
        # Whoever still works on what a run was at its start can add nothing to it.
        self._workforce.drop(capture)
        self._caller.send({"op": "ended", "id": capture.id})

    def _forget(self, capture: Capture) -> None:
        if not capture.is_complete:
            capture.settle_at_end()
        del self._captures[capture.id]

    # --- the workers --------------------------------------------------------------------------------------------

    def _on_worker(self, worker: Worker) -> None:
        for message in worker.channel.receive():
            try:
                self._on_worker_message(worker, message)
            except (KeyError, TypeError, AttributeError):
                # A provider has written into the connection: nothing else that comes from there is to be believed.
                worker.channel.close()
        if not worker.channel.is_open:
            job = worker.job
            reason = self._workforce.bury(worker)
            if job is not None:
                self._fail(job, f"its worker process {reason}")

    def _on_worker_message(self, worker: Worker, message: Message) -> None:
        if worker.job is not None:
            self._on_answer(worker.job, message)
        if message.get("is_last"):
            self._workforce.release(worker, is_tainted=bool(message["is_tainted"]))

    def _on_answer(self, job: Job, message: Message) -> None:
        capture = job.capture
        if message["op"] == "scanned":
            self._on_scanned(job, message["entry_points"])
        elif message["op"] == "limit":
            job.seconds = message["seconds"]
        elif message["op"] == "elsewhere":
            placement = message["placement"]
            target, path = job.message["target"], capture.surroundings.program["sys_path"]
            entry_points.remember_placement(path, capture.cache_folder, target, placement)
            capture.outcomes[job.name] = resolution.pending("thread")
            self._caller.send({"op": "elsewhere", "id": capture.id, "name": job.name, "placement": placement})
        elif message["op"] == "facts":
            capture.take(job.name, {**message["outcome"], "status": "pending"})
            capture.answered(job.name)
        elif job.is_at_end:
            capture.take_at_end(job.name, message["outcome"])
            capture.answered(job.name)
        else:
            capture.take(job.name, message["outcome"], message["attachments"])
            capture.answered(job.name, message["attachments"])
            self._ask_at_end(capture, job.name)

    def _tell(self, capture: Capture) -> None:
        news = capture.news()
        if news is not None:
            self._caller.send(news)

    def _on_scanned(self, job: Job, rows: list[dict[str, str]]) -> None:
        capture = job.capture
        capture.is_scanning = False
        current = settings.Settings.from_json(job.surroundings.settings)
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
            self._workforce.add(self._provider_job(capture, row))
        else:
            capture.outcomes[spec.name] = resolution.pending("thread")
            self._caller.send({"op": "elsewhere", "id": capture.id, "name": spec.name, "placement": spec.placement})

    def _fail(self, job: Job, reason: str, status: str = "failed") -> None:
        capture = job.capture
        if job.name == _SCAN:
            capture.is_scanning = False
            self._caller.send({"op": "found", "id": capture.id, "outcomes": {}, "targets": {}, "order": capture.order})
            return
        if job.is_at_end:
            capture.take_at_end(job.name, {**resolution.failed("companion", reason), "status": status})
            capture.answered(job.name)
            return
        known = capture.outcomes.get(job.name, resolution.pending("companion"))
        if known["status"] == "pending" and known["tags"]:
            # The facts were in; only what came after them is lost.
            failures = {**known["failures"], "attachments": reason}
            outcome = {**known, "status": "partial", "failures": failures}
        else:
            outcome = {**resolution.failed("companion", reason), "status": status}
        capture.take(job.name, outcome)
        capture.answered(job.name)
        self._ask_at_end(capture, job.name)

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
            if capture.ended_at is None and capture.has_final_status():
                capture.folder = None
            elif capture.records_end and capture.folder is not None:
                _record_end(capture.folder)
        if self._mirroring is not None:
            self._mirroring.look_again()


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
