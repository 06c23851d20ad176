"""One process's append-only journal of one run: written at once, and never lost while there is room in memory.

A line is written by the call that logs it, so that a process killed afterwards has lost nothing. A write that fails (a
full disk, a stale mount, a deleted folder) never raises into the program: its bytes wait in memory and are tried again
with every later event and at the end.
"""

from __future__ import annotations

import _thread
import os
import time

from runcontext import codec, descriptors, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

MEMORY_LIMIT_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024

NO_EVENT: Mapping[str, Any] = {"t": 0}
"""What a line adds up to that holds no event: nothing. It is never written to."""


class Journal:
    """The journal that this process writes for one run, opened at its first event.

    Args:
        path: the file, which only this process writes.
        header: what its first line says.
        restore: makes the run's folder again where somebody deleted it.
    """

    def __init__(self, path: str, header: Mapping[str, Any], restore: Callable[[], None]) -> None:
        """Remember where to write; nothing is touched yet."""
        self.path = path
        self.lost_events = 0
        self._header = header
        self._restore = restore
        # Reentrant: a signal handler of the program may log while the program is in here.
        self._lock = _thread.RLock()
        self._waiting = bytearray()
        self._descriptor: int | None = None
        self._identity: descriptors.Identity = (0, 0)
        self._last_ms = 0

    def append(self, event: Mapping[str, Any]) -> int:
        """Write one event with its time, and give that time in milliseconds since the epoch; never raises OSError."""
        with self._lock:
            if not self._last_ms:
                self._enqueue(_line(self._header))
            # Events of one journal keep their order even where the clock goes back.
            self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
            self._enqueue(_line({"t": self._last_ms, **event}))
            self._flush()
            return self._last_ms

    def flush(self) -> int:
        """Try again what could not be written; give the number of bytes that still wait."""
        with self._lock:
            if self._waiting:
                self._flush()
            return len(self._waiting)

    def close(self) -> None:
        """Write what still waits, close the file, and say what was lost, if anything was."""
        with self._lock:
            if self._waiting:
                self._flush()
            lost = self.lost_events + self._waiting.count(b"\n")
            self._waiting.clear()
            if self._descriptor is not None:
                descriptors.close_if_still(self._descriptor, self._identity)
                self._descriptor = None
        if lost:
            log.warn_once(f"{lost:,} events of the run could not be written to {self.path} and are lost")

    def _enqueue(self, line: bytes) -> None:
        if len(self._waiting) + len(line) > MEMORY_LIMIT_BYTES:
            self.lost_events += 1
            return
        self._waiting += line

    def _flush(self) -> None:
        try:
            descriptor = self._usable_descriptor()
            while self._waiting:
                # The rest of a line must follow its beginning, so what was not taken stays in front. A copy is
                # written: what waits may grow meanwhile.
                written = os.write(descriptor, self._waiting[:_CHUNK_BYTES])
                del self._waiting[:written]
        except OSError as error:
            log.warn_once(
                f"cannot write to {self.path} ({error}): its events wait in memory,"
                f" up to {MEMORY_LIMIT_BYTES >> 20} MiB of them, and are tried again"
            )

    def _usable_descriptor(self) -> int:
        if self._descriptor is not None:
            try:
                found = os.fstat(self._descriptor)
            except OSError:
                return self._open()
            if (found.st_dev, found.st_ino) == self._identity:
                if found.st_nlink:
                    return self._descriptor
                self._take_back(self._descriptor)
        return self._open()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        try:
            opened = os.open(self.path, flags, 0o666)
        except FileNotFoundError:
            self._make_folder()
            opened = os.open(self.path, flags, 0o666)
        self._descriptor = descriptors.moved_up(opened)
        self._identity = descriptors.identity(self._descriptor)
        return self._descriptor

    def _make_folder(self) -> None:
        folder = os.path.dirname(self.path)
        try:
            os.mkdir(folder)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._restore()
            os.makedirs(folder, exist_ok=True)

    def _take_back(self, deleted: int) -> None:
        """Queue again what a deleted file holds: its open descriptor still has every byte."""
        content = os.pread(deleted, os.fstat(deleted).st_size, 0)
        self._waiting[:0] = content
        self._descriptor = None
        os.close(deleted)


def event_in(line: bytes) -> Mapping[str, Any]:
    """Read one line of a journal; ``NO_EVENT`` of what holds none: its header, or one torn as its writer was killed."""
    try:
        event = codec.loads(line.decode())
    except ValueError:
        return NO_EVENT
    return event if isinstance(event, dict) and isinstance(event.get("t"), int) else NO_EVENT


def _line(event: Mapping[str, Any]) -> bytes:
    return (codec.dumps(event) + "\n").encode()
