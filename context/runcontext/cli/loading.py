"""Tries whether plugins can be loaded, in a process of its own: one that hangs or ends its process costs itself."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runcontext.plugins import Plugin

LIMIT_SECONDS = 30.0
"""What one plugin may take to be loaded: the first of them may import MLflow from a cold disk."""

# Nothing of the working directory or of Python's variables: the path is given, and is the caller's.
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from runcontext.cli import loading; "
    "loading.answer(json.loads(sys.argv[2]))"
)


def failures_of(plugins: Sequence[Plugin], *, limit_seconds: float = LIMIT_SECONDS) -> list[str | None]:
    """Say of each plugin why it cannot be loaded, None where it can.

    They are loaded one after the other in one process; where that does not survive one of them, the next ones get
    another.

    Args:
        plugins: what to try.
        limit_seconds: what one of them may take.
    """
    found: list[str | None] = []
    while len(found) < len(plugins):
        child = _Child(plugins[len(found) :])
        try:
            while len(found) < len(plugins):
                answer = child.answer_within(limit_seconds)
                if answer is None:
                    found.append(child.reason)
                    break
                found.append(answer or None)
        finally:
            child.end()
    return found


def answer(rows: Sequence[Sequence[str]]) -> None:
    """Be the process that tries: write a line of JSON for each plugin, its failure or an empty text, and exit."""
    from runcontext import plugins
    from runcontext.errors import PluginError

    # What plugins print must not be taken for an answer.
    output = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    kinds = {kind.name: kind for kind in plugins.KINDS}
    for kind, *fields in rows:
        try:
            plugins.try_out(plugins.Plugin(kinds[kind], *fields))
            failure = ""
        except PluginError as error:
            failure = str(error)
        os.write(output, (json.dumps(failure) + "\n").encode())
    # Not by sys.exit(): what plugins left behind may never end.
    os._exit(0)


class _Child:
    """The process that tries, as its parent sees it."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        rows = [
            [each.kind.name, each.name, each.group, each.target, each.distribution, each.version] for each in plugins
        ]
        path = [entry for entry in sys.path if isinstance(entry, str)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, json.dumps(path), json.dumps(rows)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._received = b""
        self.reason = ""

    def answer_within(self, seconds: float) -> str | None:
        """Give the next plugin's failure, empty for none; None where none comes, for ``reason``."""
        until = time.monotonic() + seconds
        while b"\n" not in self._received:
            if not self._wait(until - time.monotonic()):
                self.reason = f"it was not loaded within {seconds:g} s"
                return None
            assert self._process.stdout is not None  # noqa: S101 - it is a pipe
            more = os.read(self._process.stdout.fileno(), 65_536)
            if not more:
                self.reason = self._ending()
                return None
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return str(json.loads(line))

    def end(self) -> None:
        """End it, and what it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except OSError:
            self._process.kill()
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdout.close()
        self._process.wait()

    def _wait(self, seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None  # noqa: S101 - it is a pipe
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(max(seconds, 0)))

    def _ending(self) -> str:
        status = self._process.wait()
        if status >= 0:
            return f"it ended the process that loaded it, with status {status}"
        return f"it ended the process that loaded it, by {signal.Signals(-status).name}"
