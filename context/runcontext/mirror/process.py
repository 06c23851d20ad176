"""Sends the runs of one program to one place: a process beside it, started with the first run that goes there.

It is a process of its own, since a client blocks: a server that never answers holds nothing but this.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, NoReturn

from runcontext import at_work
from runcontext.companion.wire import Channel
from runcontext.companion.worker import ProgramSurroundings
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.mirror import state
from runcontext.mirror.lock import Lock
from runcontext.mirror.mirror import ParentNotThereError, PlaceAwayError
from runcontext.mirror.opening import opened, taken_up
from runcontext.redaction import redact_url
from runcontext.resolution import describe_error

if TYPE_CHECKING:
    from runcontext.companion.wire import Message
    from runcontext.mirror.mirror import Mirror
    from runcontext.tracking.store import TrackingStore

_RUNNING_SECONDS = 0.2
_ENDING_SECONDS = 0.02
_SETTLED_SECONDS = 1.0
"""How often a run is looked at that goes on, that somebody waits for, and that is there whole."""

_QUIET_SECONDS = 30.0
"""After so long with nothing to send, the connection is given back: a database has only so many."""

_LATE_FACTS_SECONDS = 90.0
"""How long a run that is there whole is still looked at: longer than any provider is waited for after its end."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _LONGEST_ENDING_PAUSE_SECONDS = 0.25, 30.0, 1.0
"""How long a place or a run is left alone after it went wrong: twice as long each time, less while somebody waits."""

_LONGEST_ASKED_PAUSE_SECONDS = 120.0
"""How much of what a place asks for with Retry-After is heeded, as by MLflow's client (urllib3 2, RETRY_AFTER_MAX)."""

_WAITING_SECONDS = 15.0
"""How long after it was asked for somebody may be waiting for a run."""

_PARENT_SECONDS = 0.1
"""How soon a run is looked at again whose parent is still to be made."""

_LATER_SECONDS = 10.0
"""How often a run is looked at that has been there whole for a while."""


def serve(descriptor: int) -> NoReturn:
    """Send the runs that are named on ``descriptor``, a connected socket, until its other end is closed, then exit."""
    sender = _Sender(Channel(descriptor))
    while sender.is_wanted:
        sender.turn()
    # Uploads may be under way in threads: who sends next takes them up.
    os._exit(0)


class _Pauses:
    """How long to leave something alone that goes wrong again and again."""

    def __init__(self) -> None:
        self._failures = 0

    def next_seconds(self, asked_seconds: float | None, *, somebody_waits: bool) -> float:
        """Note one more failure, and give how long to wait after it."""
        longest = _LONGEST_ENDING_PAUSE_SECONDS if somebody_waits else _LONGEST_PAUSE_SECONDS
        own = min(longest, _FIRST_PAUSE_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        # A place that asks to be tried again at once is no less busy for that.
        return max(own, min(asked_seconds or 0.0, _LONGEST_ASKED_PAUSE_SECONDS))

    def end(self) -> None:
        """Begin anew: it went right."""
        self._failures = 0


class _Job:
    """One run to be sent, and when it is to be looked at next."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.lock = Lock(folder)
        self.mirror: Mirror | None = None
        self.pauses = _Pauses()
        self._progress: tuple[object, ...] = ()
        self.is_ending = False
        self.asked_at = 0.0
        self.due = 0.0
        self.whole_since: float | None = None
        self.told: tuple[bool, bool] | None = None
        self.uri = ""
        self.surroundings = ProgramSurroundings()

    def describe(self, message: Message) -> None:
        """Take up what the program says of it, and look at it at once."""
        self.uri = message["uri"]
        self.surroundings = ProgramSurroundings(message)
        self.is_ending = message["is_ending"]
        self.hurry()

    def hurry(self) -> None:
        """Look at it at once, and say how it stands even if that is as before."""
        self.asked_at = time.monotonic()
        self.due = 0.0
        self.told = None

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody may be waiting for it."""
        return self.is_ending and time.monotonic() - self.asked_at < _WAITING_SECONDS

    def has_got_on(self) -> bool:
        """Say whether the place has taken something since this was last asked."""
        if self.mirror is None or self.mirror.progress == self._progress:
            return False
        self._progress = self.mirror.progress
        self.pauses.end()
        return True

    def rest(self) -> None:
        """Let go of what was only needed to send."""
        if self.mirror is not None:
            self.mirror.close()
            self.mirror = None
        self.lock.release()

    def note_error(self, reason: str, *, is_given_up: bool) -> None:
        """Put on record, for the program and for readers, why nothing goes on."""
        if self.mirror is not None:
            self.mirror.note_error(reason, is_given_up=is_given_up)
        elif self._may_write():
            state.note_error(self.folder, self.uri, reason, is_given_up=is_given_up)
            self.lock.release()

    def _may_write(self) -> bool:
        """Say whether no other process sends this run: what that one knows must not be overwritten."""
        try:
            return self.lock.take()
        except OSError:
            return False


class _Ear(logging.Handler):
    """Hears what is said here by plugins' guards and clients: the program has to say it, this process has no stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self._heard.append(record.getMessage())

    @property
    def has_heard(self) -> bool:
        """Whether there is something that nobody has taken yet."""
        return bool(self._heard)

    def taken(self) -> list[str]:
        """Give what was heard since it was last asked."""
        heard, self._heard = self._heard, []
        return heard


class _Sender:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ear = _Ear()
        logging.getLogger("runcontext").addHandler(self._ear)
        self._jobs: dict[str, _Job] = {}
        self._attempted: _Job | None = None
        at_work.tell(self._note_at_work)
        self._stores: dict[str, TrackingStore] = {}
        self._used_at: dict[str, float] = {}
        self._looks = 0
        self._pauses = _Pauses()
        self._paused_until = 0.0

    @property
    def is_wanted(self) -> bool:
        return self._channel.is_open

    def turn(self) -> None:
        """Wait until there is something to do, and do it."""
        now = time.monotonic()
        due = min((job.due for job in self._jobs.values()), default=now + 60)
        self._channel.wait(max(0.0, max(due, self._paused_until) - now))
        for message in self._channel.receive():
            self._hear(message)
        # Whoever has waited longest comes first: one that holds up the place does not always.
        for job in sorted(self._jobs.values(), key=lambda job: job.due):
            if max(job.due, self._paused_until) <= time.monotonic() and self._channel.is_open:
                self._attempt(job)
        self._close_what_is_quiet()
        self._channel.flush()

    def _close_what_is_quiet(self) -> None:
        now = time.monotonic()
        for uri, used_at in list(self._used_at.items()):
            if now - used_at > _QUIET_SECONDS:
                # A closed one connects again when it is used.
                self._stores[uri].close()
                del self._used_at[uri]

    def _hear(self, message: Message) -> None:
        if message["op"] == "hurry":
            self._looks += 1
            for job in self._jobs.values():
                job.is_ending = True
                job.hurry()
        else:
            self._jobs.setdefault(message["folder"], _Job(message["folder"])).describe(message)
        # Somebody is there who wants to know.
        self._paused_until = 0.0

    def _note_at_work(self, name: str) -> None:
        if self._attempted is not None:
            self._attempted.lock.note(name)

    def _attempt(self, job: _Job) -> None:
        self._attempted = job
        try:
            if job.whole_since is not None and job.mirror is None and self._is_still_whole(job):
                return
            if job.lock.take():
                self._advance(job)
            else:
                self._leave_to_another(job)
        except ParentNotThereError:
            job.due = time.monotonic() + _PARENT_SECONDS
        except PlaceAwayError as error:
            self._leave_place(error.retry_after_seconds)
            self._put_off(job, str(error), error.retry_after_seconds)
        except StoreUnavailableError as error:
            self._put_off(job, str(error), error.retry_after_seconds)
        except StoreError as error:
            self._give_up(job, str(error))
        except OSError as error:
            # No descriptor left, no memory, a stale mount: of this machine, and perhaps not for long.
            self._put_off(job, describe_error(error), None)
        except Exception as error:  # noqa: BLE001 - a fault of a plugin's or of ours costs this run's sending only
            self._give_up(job, describe_error(error))
        self._pass_on_warnings(job)

    def _pass_on_warnings(self, job: _Job) -> None:
        if job.mirror is not None and self._ear.has_heard:
            job.mirror.note_warnings(self._ear.taken())

    def _advance(self, job: _Job) -> None:
        job.surroundings.enter()
        if job.mirror is None:
            job.mirror = self._mirror(job)
        is_whole = job.mirror.step()
        self._pass_on_warnings(job)
        self._pauses.end()
        now = time.monotonic()
        if job.has_got_on():
            self._used_at[job.uri] = now
        job.whole_since = (job.whole_since or now) if is_whole else None
        if is_whole:
            job.rest()
            job.due = now + self._until_next_look(job)
        else:
            job.due = now + (_ENDING_SECONDS if job.is_ending or job.mirror.is_waiting else _RUNNING_SECONDS)
        self._tell(job, is_whole=is_whole, is_given_up=False)

    def _until_next_look(self, job: _Job) -> float:
        if job.is_waited_for and time.monotonic() - job.asked_at < _SETTLED_SECONDS:
            # Its last facts may be written at this very moment.
            return _ENDING_SECONDS
        is_old = job.whole_since is not None and time.monotonic() - job.whole_since > _LATER_SECONDS
        return _LATER_SECONDS if is_old else _SETTLED_SECONDS

    def _is_still_whole(self, job: _Job) -> bool:
        """Look whether something was added to a run that was there whole, as late facts are."""
        if not state.is_all_sent(job.folder, state.read(job.folder)):
            return False
        self._tell(job, is_whole=True, is_given_up=False)
        now = time.monotonic()
        job.due = now + self._until_next_look(job)
        if job.whole_since is not None and now - job.whole_since > _LATE_FACTS_SECONDS:
            self._forget(job)
        return True

    def _mirror(self, job: _Job) -> Mirror:
        if job.uri not in self._stores:
            self._stores[job.uri] = opened(job.uri)
        return taken_up(job.folder, self._stores[job.uri], redact_url(job.uri))

    def _leave_to_another(self, job: _Job) -> None:
        """Let the process go on that sends this run already; look whether it has."""
        is_whole = state.is_all_sent(job.folder, state.read(job.folder))
        job.due = time.monotonic() + (_ENDING_SECONDS if job.is_ending else _SETTLED_SECONDS)
        self._tell(job, is_whole=is_whole, is_given_up=False)

    def _leave_place(self, asked_seconds: float | None) -> None:
        """Leave the place alone for a while; of several runs that wait for it one is tried then."""
        somebody_waits = any(each.is_waited_for for each in self._jobs.values())
        self._paused_until = time.monotonic() + self._pauses.next_seconds(asked_seconds, somebody_waits=somebody_waits)

    def _put_off(self, job: _Job, reason: str, asked_seconds: float | None) -> None:
        """Leave a run alone for a while: what went wrong with it may go right with others."""
        job.has_got_on()
        job.due = time.monotonic() + job.pauses.next_seconds(asked_seconds, somebody_waits=job.is_waited_for)
        job.whole_since = None
        job.note_error(reason, is_given_up=False)
        self._tell(job, is_whole=False, is_given_up=False)

    def _give_up(self, job: _Job, reason: str) -> None:
        job.note_error(reason, is_given_up=True)
        self._tell(job, is_whole=False, is_given_up=True)
        self._forget(job)

    def _forget(self, job: _Job) -> None:
        job.rest()
        self._jobs.pop(job.folder, None)

    def _tell(self, job: _Job, *, is_whole: bool, is_given_up: bool) -> None:
        """Let the companion know whether it is to stay for this run."""
        if job.told != (is_whole, is_given_up):
            job.told = (is_whole, is_given_up)
            is_settled = is_whole or is_given_up
            row = {"op": "mirrored", "folder": job.folder, "is_settled": is_settled, "looks": self._looks}
            self._channel.send(row)
