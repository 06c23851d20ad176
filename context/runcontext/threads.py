"""Providers in daemon threads of the program: for what needs its own state, or where no companion can be started.

Against exceptions, exits and endless loops Python can guard; against a segfault or a C call that holds the GIL only the
companion helps. Nothing is imported here: whoever starts a thread has imported its provider before.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time

from runcontext import resolution
from runcontext.project import working_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from runcontext.resolution import AttachmentRow, Outcome

    Deliver: TypeAlias = Callable[[str, Outcome, list[AttachmentRow]], None]


class ThreadedProvider:
    """One provider in a thread of its own; ``provider`` is what was built, once it has answered.

    Args:
        name: how outcomes call it.
        loaded: the object that was imported or registered.
        method: ``tags``, ``companion_tags`` of an inline provider, or ``tags_at_end``.
        folder: where its attachments go, None to keep only their sizes and hashes; unused unless ``attachments``.
        attachments: whether to ask for them.
        deliver: called with the name, the outcome and the attachments when it is done.
        limit: seconds that its work may take, and what says so.
    """

    def __init__(
        self,
        name: str,
        loaded: Any,
        *,
        method: str,
        folder: str | None,
        attachments: bool,
        deliver: Deliver,
        limit: tuple[float, str],
    ) -> None:
        """Prepare; ``start()`` starts it."""
        self.name = name
        self._loaded = loaded
        self.method = method
        self._folder = folder
        self._attachments = attachments
        self.deliver = deliver
        self._limit_seconds, self._limit_source = limit
        self._began = time.monotonic()
        self._expired: str | None = None
        self.provider: Any = None
        self._thread = threading.Thread(target=self._run, name=f"runcontext-{name}", daemon=True)

    @property
    def ends_at(self) -> float:
        """When its time is over, by the monotonic clock."""
        return self._began + self._limit_seconds

    def start(self) -> None:
        """Start the thread; raises RuntimeError where the system allows no more."""
        self._began = time.monotonic()
        self._thread.start()

    def run_here(self) -> None:
        """Do the same in this thread."""
        self._run()

    def is_alive(self) -> bool:
        """Say whether it still works."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for it."""
        self._thread.join(seconds)

    def expire(self) -> None:
        """Raise SystemExit in it: an endless loop in Python ends so (CPython C API, PyThreadState_SetAsyncExc)."""
        self._expired = f"took longer than {self._limit_source} of {self._limit_seconds:g} s"
        ident = self._thread.ident
        if ident is not None and self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))

    def _run(self) -> None:
        before = _Surroundings()
        one = resolution.Resolution(self.name, "thread")
        try:
            one.run(lambda: self._loaded, self.method)
            if self._attachments and self.method == "tags" and one.wants_attachments():
                one.run_attachments(self._folder)
        except SystemExit:
            # It was asked to end just as it had left the guard.
            self._expired = self._expired or "ended"
        self.provider = one.provider
        outcome = one.outcome
        if self._expired is not None:
            outcome = {**outcome, "status": "timed_out", "reason": self._expired}
        reasons = [each for each in (outcome["reason"], before.changes()) if each]
        self.deliver(self.name, {**outcome, "reason": "; ".join(reasons) or None}, one.attachments)


class Watch:
    """Ends threaded providers that are still at work when their time is over."""

    def __init__(self, providers: Iterable[ThreadedProvider]) -> None:
        """Remember whom to watch."""
        self._providers = sorted(providers, key=lambda each: each.ends_at)

    def start(self) -> None:
        """Watch from a daemon thread; where there can be none, nobody is watched."""
        try:
            threading.Thread(target=self._run, name="runcontext-watch", daemon=True).start()
        except RuntimeError:
            return

    def _run(self) -> None:
        for each in self._providers:
            each.join(max(0.0, each.ends_at - time.monotonic()))
            if each.is_alive():
                each.expire()


class _Surroundings:
    """The program's folder and environment at one moment."""

    def __init__(self) -> None:
        self._folder = working_directory()
        self._environment = dict(os.environ)

    def changes(self) -> str | None:
        """Say what has changed since, None for nothing."""
        said = []
        folder, environment = working_directory(), dict(os.environ)
        if folder != self._folder:
            said.append(f"the program's folder changed from {self._folder} to {folder} while it ran")
        names = {
            name
            for name in environment.keys() | self._environment.keys()
            if environment.get(name) != self._environment.get(name)
        }
        if names:
            said.append(f"the program's environment changed while it ran: {', '.join(sorted(names))}")
        return resolution.writable("; ".join(said)) or None
