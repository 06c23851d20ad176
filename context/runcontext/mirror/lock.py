"""Keeps two processes from sending one run at once."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from runcontext import locks
from runcontext.mirror import state


class Lock:
    """The lock of one run's folder."""

    def __init__(self, folder: str) -> None:
        """Name the run's folder; nothing is touched yet."""
        self._path = os.path.join(folder, state.LOCK_FILE)
        self._descriptor: int | None = None
        self._using = threading.Lock()

    def take(self) -> bool:
        """Be the one who sends; False where another process is; raises OSError where the folder cannot be written."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        if not locks.lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def note(self, name: str) -> None:
        """Put on record, in the lock's own file, whose code runs while we send, ``""`` for nobody's.

        It outlives us: of one that hangs, or ends this process, nothing else is left.
        """
        # Uploads say so too, from threads of their own, and the number of what was closed may be another file's.
        with self._using:
            if self._descriptor is not None:
                _write(self._descriptor, name.encode())

    def release(self) -> None:
        """Let others send."""
        with self._using:
            if self._descriptor is not None:
                _write(self._descriptor, b"")
                os.close(self._descriptor)
                self._descriptor = None


def _write(descriptor: int, content: bytes) -> None:
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, content)
        os.ftruncate(descriptor, len(content))
