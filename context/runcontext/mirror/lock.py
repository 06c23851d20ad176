"""Keeps two processes from sending one run at once."""

from __future__ import annotations

import os

from runcontext import locks
from runcontext.mirror import state


class Lock:
    """The lock of one run's folder."""

    def __init__(self, folder: str) -> None:
        """Name the run's folder; nothing is touched yet."""
        self._path = os.path.join(folder, state.LOCK_FILE)
        self._descriptor: int | None = None

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

    def release(self) -> None:
        """Let others send."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
