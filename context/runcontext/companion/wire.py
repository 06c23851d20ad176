"""JSON lines over a socket that may be closed, full, or used by somebody else by now."""

from __future__ import annotations

import _socket
import _thread
import os
import select

from runcontext import codec, descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Message: TypeAlias = dict[str, Any]

NO_COMPANION = {"RUNCONTEXT_COMPANION": "0"}
"""What both sides add to an environment, so that nothing that is started in it has a companion of its own."""

LIMIT_BYTES = 64 * 1024 * 1024
"""One message may be so long; a peer that sends more is taken for broken."""

_CHUNK_BYTES = 256 * 1024
_MOST_CHUNKS = 16
"""So much is read at a time: a peer that never stops must not hold its reader."""

# A program may have set SIGPIPE back to its deadly default, as command-line tools do: our write must not raise it.
_SEND_FLAGS = getattr(_socket, "MSG_NOSIGNAL", 0) | getattr(_socket, "MSG_DONTWAIT", 0)
_RECEIVE_FLAGS = getattr(_socket, "MSG_DONTWAIT", 0)


class Channel:
    """One end of a socket pair. It never blocks in sending; what the peer does not take yet waits here.

    ``is_open`` turns False for good when the peer is gone, sends what is no message, or somebody closed the descriptor;
    ``problem`` then says what was wrong with what it sent, and ``was_cut`` that this end was closed by somebody else.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``."""
        self._socket = _socket.socket(fileno=descriptor)
        self._identity = descriptors.identity(descriptor)
        self._unsent = bytearray()
        self._unread = bytearray()
        # Threads that each start a run send at once.
        self._sending = _thread.RLock()
        self._is_heard = True
        self.is_open = True
        self.problem: str | None = None
        self.was_cut = False

    @property
    def descriptor(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for the peer to take it."""
        return bool(self._unsent)

    def send(self, message: Message) -> None:
        """Send a message, or as much of it as the peer takes now."""
        line = (codec.dumps(message) + "\n").encode()
        with self._sending:
            self._unsent += line
            self.flush()

    def flush(self) -> None:
        """Send more of what waits."""
        with self._sending:
            while self._unsent and self._is_usable():
                sent = 0
                try:
                    sent = self._socket.send(self._unsent[:_CHUNK_BYTES], _SEND_FLAGS) if self._is_heard else 0
                except BlockingIOError:
                    return
                except OSError:
                    self._is_heard = False
                if not self._is_heard:
                    # What the peer has said before it went is still to be received.
                    self._unsent.clear()
                    return
                del self._unsent[:sent]

    def has_peer(self) -> bool:
        """Say whether there is still somebody at the other end, as far as that can be told without waiting."""
        if not self._is_heard or not self._is_usable():
            return False
        if not hasattr(select, "poll"):
            return True
        poll = select.poll()
        poll.register(self.descriptor, 0)
        return not poll.poll(0)

    def receive(self) -> list[Message]:
        """Give the messages that have arrived, without waiting."""
        for _ in range(_MOST_CHUNKS):
            if not self._is_usable():
                break
            try:
                chunk = self._socket.recv(_CHUNK_BYTES, _RECEIVE_FLAGS)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                self.close()
                break
            self._unread += chunk
            if len(self._unread) > LIMIT_BYTES and b"\n" not in self._unread:
                self._refuse(f"sent more than {LIMIT_BYTES // 1024**2} MiB at once")
            elif len(chunk) < _CHUNK_BYTES:
                break
        return self._complete()

    def wait(self, seconds: float) -> None:
        """Wait until there is something to receive or to flush, for so long at most."""
        if self._is_usable():
            readable = [self.descriptor]
            # select() cannot watch descriptors above 1023, and a program may have so many.
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self.descriptor, select.POLLIN | (select.POLLOUT if self._unsent else 0))
                poll.poll(max(0.0, seconds) * 1000)
            else:
                select.select(readable, readable if self._unsent else [], [], max(0.0, seconds))

    def close(self) -> None:
        """Close this end, unless its number is the program's by now."""
        if self.is_open:
            self.is_open = False
            descriptor = self._socket.detach()
            descriptors.close_if_still(descriptor, self._identity)

    def _is_usable(self) -> bool:
        if self.is_open and not descriptors.is_still(self.descriptor, self._identity):
            self.is_open = False
            self.was_cut = True
            self._socket.detach()
        return self.is_open

    def _complete(self) -> list[Message]:
        *lines, rest = bytes(self._unread).split(b"\n") if b"\n" in self._unread else [self._unread]
        self._unread = bytearray(rest)
        try:
            messages: list[Any] = [codec.loads(line.decode()) for line in lines]
        except ValueError:
            messages = [None]
        if not all(isinstance(message, dict) and "op" in message for message in messages):
            self._refuse("sent what is no message")
            return []
        return messages

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        self.close()


def pair() -> tuple[int, int]:
    """Make a connected pair of descriptors, out of the program's way and closed on exec."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return descriptors.moved_up(_inherit_nothing(first)), descriptors.moved_up(_inherit_nothing(second))


def _inherit_nothing(end: Any) -> int:
    descriptor: int = end.detach()
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
    return descriptor
