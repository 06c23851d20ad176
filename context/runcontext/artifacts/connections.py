"""Connections to one place: one for all threads where its library allows that, else one for each that works at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from runcontext.artifacts.files import Files


class Connections:
    """Lends connections.

    Args:
        connect: makes one.
        is_shared: one serves any number of threads at once.
    """

    def __init__(self, connect: Callable[[], Files], *, is_shared: bool) -> None:
        """Connect nothing yet."""
        self._connect = connect
        self._is_shared = is_shared
        self._lock = threading.Lock()
        self._idle: list[Files] = []

    @contextlib.contextmanager
    def one(self) -> Iterator[Files]:
        """Lend a connection for a block; one that the block leaves by an exception may be broken, and is not kept."""
        if self._is_shared:
            yield self._shared()
            return
        with self._lock:
            found = self._idle.pop() if self._idle else None
        found = found or self._connect()
        try:
            yield found
        except BaseException:
            with contextlib.suppress(Exception):
                found.close()
            raise
        with self._lock:
            self._idle.append(found)

    def close(self) -> None:
        """Close those that nobody has; what is asked for after that is connected anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            with contextlib.suppress(Exception):
                each.close()

    def _shared(self) -> Files:
        with self._lock:
            if not self._idle:
                self._idle.append(self._connect())
            return self._idle[0]
