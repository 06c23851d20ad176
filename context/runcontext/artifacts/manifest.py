"""What an upload of many files has sent: a line of JSON for each, so that the next attempt need not ask the place."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that is at its place: how many bytes, and their SHA-256."""

    path: str
    size_bytes: int
    sha256: str


class Manifest:
    """The manifest of one upload.

    Args:
        file: where it is; None for one that is forgotten.
    """

    def __init__(self, file: str | None) -> None:
        """Read what is there; a line that was torn by a crash counts as none."""
        self._file = file
        self._lock = threading.Lock()
        self._sent: dict[str, Sent] = {}
        with contextlib.suppress(FileNotFoundError), open(file or os.devnull, encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError):
                    sent = Sent(**json.loads(line))
                    self._sent[sent.path] = sent

    def has(self, sent: Sent) -> bool:
        """Say whether this very content was sent there."""
        return self._sent.get(sent.path) == sent

    def add(self, sent: Sent) -> None:
        """Record that a file is there; raises OSError where that cannot be written."""
        with self._lock:
            self._sent[sent.path] = sent
            if self._file is not None:
                with open(self._file, "a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(sent)) + "\n")
