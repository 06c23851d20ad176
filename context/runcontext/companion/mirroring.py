"""The companion's part in sending runs: it starts the process that does, hands on what it is told, and sees it out."""

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


class Mirroring:
    """The process that sends this program's runs, from the first run on that is to be sent.

    Args:
        own_descriptors: gives the companion's descriptors that it is not to inherit.
    """

    def __init__(self, own_descriptors: Callable[[], Iterable[int]]) -> None:
        """Start nothing yet."""
        self._own_descriptors = own_descriptors
        self._channel: wire.Channel | None = None
        self._pid = 0
        self._unsettled: set[str] = set()
        self._patience_seconds = 0.0
        self._until: float | None = None

    @property
    def descriptor(self) -> int | None:
        """The descriptor to wait on, None where there is none."""
        return self._channel.descriptor if self._channel is not None and self._channel.is_open else None

    @property
    def is_busy(self) -> bool:
        """Whether the companion is to stay for it: something is still to be sent, and there is time."""
        if not self._unsettled or self.descriptor is None:
            return False
        return self._until is None or time.monotonic() < self._until

    def ask(self, message: Message, patience_seconds: float) -> None:
        """Have a run sent; ``patience_seconds`` is how long its end waits for that."""
        if self.descriptor is None:
            self._start()
        if self._channel is not None:
            self._patience_seconds = max(patience_seconds, _LEAST_PATIENCE_SECONDS)
            self._unsettled.add(message["folder"])
            self._channel.send(message)

    def hear(self) -> None:
        """Take what it says."""
        if self._channel is None:
            return
        for message in self._channel.receive():
            change = self._unsettled.discard if message.get("is_settled") else self._unsettled.add
            change(str(message.get("folder")))
        self._channel.flush()

    def hurry(self) -> None:
        """Have the rest sent now: the program is gone, and nothing waits for longer than its end would have."""
        self._until = time.monotonic() + self._patience_seconds
        if self._channel is not None:
            self._channel.send({"op": "hurry"})

    def end(self) -> None:
        """See it out: what it has not sent is on record as such."""
        if self._channel is None:
            return
        self._channel.close()
        for kill in (os.killpg, os.kill):
            try:
                kill(self._pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            return

    def _start(self) -> None:
        found = fork_child(_SERVER, (), self._own_descriptors())
        if found is None:
            return
        self._pid, descriptor = found
        self._channel = wire.Channel(descriptor)
