"""How far a long transfer is: a bar on a terminal once it has taken a while, nothing anywhere else."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from typing_extensions import Self

PATIENCE_SECONDS = 2.0
"""How long a transfer takes before it shows a bar."""


class TransferBar:
    """A bar on standard error; ``with TransferBar("downloading") as bar:``.

    Args:
        title: what is under way.
        stream: where it shows, if that is a terminal.
        patience_seconds: how long nothing shows.
    """

    def __init__(self, title: str, *, stream: TextIO | None = None, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Show nothing yet."""
        self._title = title
        self._stream = sys.stderr if stream is None else stream
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._done = 0
        self._total = 0
        self._timer: threading.Timer | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Begin to count the time, where there is a terminal."""
        if self._stream is not None and self._stream.isatty():
            self._timer = threading.Timer(self._patience, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            if self._bar is not None:
                self._bar.stop()

    def expect(self, size_bytes: int) -> None:
        """Say that so many bytes more are to come."""
        with self._lock:
            self._total += size_bytes
            self._update()

    def advance(self, size_bytes: int) -> None:
        """Say that so many bytes more are there; from any thread."""
        with self._lock:
            self._done += size_bytes
            self._update()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        with self._lock:
            if self._timer is None:
                return
            columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._task = self._bar.add_task(self._title, total=None)
            self._update()
            self._bar.start()

    def _update(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._total or None)


def nothing(_bytes: int) -> None:
    """Take a number of bytes, and do nothing about it."""
