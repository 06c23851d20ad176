"""JSON lines over a socket that may be closed, full, or used by somebody else by now."""

from __future__ import annotations

import _socket
import os
import select

from runcontext import codec, descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Message: TypeAlias = dict[str, Any]

LIMIT_BYTES = 64 * 1024 * 1024
"""One message may be so long; a peer that sends more is taken for broken."""

_CHUNK_BYTES = 256 * 1024
# A program may have set SIGPIPE back to its deadly default, as command-line tools do: our write must not raise it.
_SEND_FLAGS = getattr(_socket, "MSG_NOSIGNAL", 0) | getattr(_socket, "MSG_DONTWAIT", 0)
_RECEIVE_FLAGS = getattr(_socket, "MSG_DONTWAIT", 0)


class Channel:
    """One end of a socket pair. It never blocks in sending; what the peer does not take yet waits here.

    ``is_open`` turns False for good when the peer is gone, sends what is no message, or somebody closed the descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``."""
        self._socket = _socket.socket(fileno=descriptor)
        self._identity = descriptors.identity(descriptor)
        self._unsent = bytearray()
        self._unread = bytearray()
        self.is_open = True

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
        self._unsent += (codec.dumps(message) + "\n").encode()
        self.flush()

    def flush(self) -> None:
        """Send more of what waits."""
        while self._unsent and self._is_usable():
            try:
                sent = self._socket.send(self._unsent, _SEND_FLAGS)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            del self._unsent[:sent]

    def receive(self) -> list[Message]:
        """Give the messages that have arrived, without waiting."""
        while self._is_usable():
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
                self.close()
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
            self._socket.detach()
        return self.is_open

    def _complete(self) -> list[Message]:
        *lines, rest = bytes(self._unread).split(b"\n") if b"\n" in self._unread else [self._unread]
        self._unread = bytearray(rest)
        try:
            messages: list[Any] = [codec.loads(line.decode()) for line in lines]
        except ValueError:
            messages = [None]
        if not all(isinstance(message, dict) for message in messages):
            self.close()
            return []
        return messages


def pair() -> tuple[int, int]:
    """Make a connected pair of descriptors, out of the program's way and closed on exec."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return descriptors.moved_up(_inherit_nothing(first)), descriptors.moved_up(_inherit_nothing(second))


def _inherit_nothing(end: Any) -> int:
    descriptor: int = end.detach()
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
    return descriptor
