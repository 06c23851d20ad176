"""The companion's part in sending runs: it starts the processes that do, tells them which, and sees them out.

A process for each place, so that one that never answers holds no other.
"""

from __future__ import annotations

import os
import signal
import time

from runcontext.companion import wire
from runcontext.companion.fork import fork_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runcontext.companion.wire import Message

_SERVER = "runcontext.mirror.process"

_LEAST_PATIENCE_SECONDS = 10.0
"""How long it goes on at least when the program is gone: whoever waits for nothing loses nothing by that."""

_FAREWELL_SECONDS, _GLANCE_SECONDS = 0.5, 0.005
"""How long they may take to end by themselves, and how often that is looked at."""

_LATE_SECONDS = 90.0
"""How long something may still be added to a run that has ended, as late facts are."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 30.0
"""How long a process that died is left alone before another takes over: twice as long each time."""


class Mirroring:
    """The processes that send this program's runs, from the first run on that is to be sent.

    Args:
        descriptors: gives the companion's descriptors that they are not to inherit.
    """

    def __init__(self, descriptors: Callable[[], Iterable[int]]) -> None:
        """Start nothing yet."""
        self._descriptors = descriptors
        self._senders: dict[str, _Sender] = {}
        self._patience_seconds = _LEAST_PATIENCE_SECONDS
        self._until: float | None = None

    @property
    def descriptors(self) -> list[int]:
        """The descriptors to wait on."""
        found = [sender.descriptor for sender in self._senders.values()]
        return [each for each in found if each is not None]

    @property
    def is_busy(self) -> bool:
        """Whether the companion is to stay for them: something is still to be sent, and there is time."""
        if not any(sender.unsettled for sender in self._senders.values()):
            return False
        return self._until is None or time.monotonic() < self._until

    def ask(self, message: Message, patience_seconds: float) -> None:
        """Have a run sent; ``patience_seconds`` is how long its end waits for that."""
        self._patience_seconds = max(patience_seconds, _LEAST_PATIENCE_SECONDS)
        sender = self._senders.setdefault(message["uri"], _Sender())
        sender.ask(message, self._descriptors)

    def hear(self) -> None:
        """Take what they say, and replace who has died."""
        for sender in self._senders.values():
            sender.hear(self._descriptors)

    def hurry(self) -> None:
        """Have the rest sent now: nothing comes after it, and nothing waits for longer than a run's end would have."""
        self._until = time.monotonic() + self._patience_seconds
        self.look_again()

    def look_again(self) -> None:
        """Have them look at every run once more: something may have been added at its end."""
        for sender in self._senders.values():
            sender.look_again()

    def end(self) -> None:
        """See them out: what they have not sent is on record as such."""
        for sender in self._senders.values():
            sender.let_go()
        until = time.monotonic() + _FAREWELL_SECONDS
        for sender in self._senders.values():
            sender.end(until)


class _Sender:
    """One place's process, what it was told, and which of that is not yet there."""

    def __init__(self) -> None:
        self._channel: wire.Channel | None = None
        self._pid = 0
        self._looks = 0
        self._told: dict[str, Message] = {}
        self._settled_at: dict[str, float] = {}
        self.unsettled: set[str] = set()
        self._deaths = 0
        self._start_at = 0.0

    @property
    def descriptor(self) -> int | None:
        return self._channel.descriptor if self._channel is not None and self._channel.is_open else None

    def ask(self, message: Message, descriptors: Callable[[], Iterable[int]]) -> None:
        self._told[message["folder"]] = message
        self._settled_at.pop(message["folder"], None)
        self.unsettled.add(message["folder"])
        if self.descriptor is None:
            self._start_at = 0.0
            self._start(descriptors)
        elif self._channel is not None:
            self._channel.send(message)

    def hear(self, descriptors: Callable[[], Iterable[int]]) -> None:
        if self._channel is not None:
            for message in self._channel.receive():
                self._deaths = 0
                # What was there before it was told to look again says nothing of what has been added since.
                is_settled = bool(message.get("is_settled")) and message.get("looks") == self._looks
                self._note(str(message.get("folder")), is_settled=is_settled)
            self._channel.flush()
            if not self._channel.is_open:
                self._bury()
        if self._channel is None and self.unsettled:
            self._start(descriptors)

    def look_again(self) -> None:
        now = time.monotonic()
        recent = [folder for folder, at in self._settled_at.items() if now - at < _LATE_SECONDS]
        if self._channel is not None and (self._told or recent):
            self.unsettled.update(self._told, recent)
            self._looks += 1
            self._channel.send({"op": "hurry"})

    def let_go(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def end(self, until: float) -> None:
        """See it out; one that still waits for an answer then is ended."""
        if self._channel is not None:
            while not self._has_ended() and time.monotonic() < until:
                time.sleep(_GLANCE_SECONDS)
            self._bury()

    def _has_ended(self) -> bool:
        try:
            return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _note(self, folder: str, *, is_settled: bool) -> None:
        if not is_settled:
            self.unsettled.add(folder)
            return
        self.unsettled.discard(folder)
        if folder in self._told and self._told[folder]["is_ending"]:
            # Of a run that has ended only its name is kept: there may be thousands.
            del self._told[folder]
            self._settled_at[folder] = time.monotonic()

    def _start(self, descriptors: Callable[[], Iterable[int]]) -> None:
        if time.monotonic() < self._start_at:
            return
        found = fork_child(_SERVER, (), descriptors())
        if found is None:
            self._start_at = time.monotonic() + _LONGEST_PAUSE_SECONDS
            return
        self._looks = 0
        self._pid, descriptor = found
        self._channel = wire.Channel(descriptor)
        for message in self._told.values():
            self._channel.send(message)

    def _bury(self) -> None:
        self._channel = None
        for kill in (os.killpg, os.kill):
            try:
                kill(self._pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass
        self._deaths += 1
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._deaths, 16))
        self._start_at = time.monotonic() + pause
