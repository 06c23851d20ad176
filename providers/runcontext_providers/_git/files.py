"""How the files of a work tree are read: never through a link, and never waiting for what is no file."""

from __future__ import annotations

import os
from typing import BinaryIO

LARGE_BYTES = 10 << 20
"""Larger files go by size and time of their last change, not by hash."""


def open_file(path: str | bytes) -> BinaryIO:
    """Open a file to read; raises OSError. A link is refused, and of a named pipe there is nothing to read."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK))
