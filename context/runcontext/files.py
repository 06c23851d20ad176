"""Files that are whole or not there."""

from __future__ import annotations

import _thread
import os

from runcontext import descriptors

_LAST_STANDARD_STREAM = 2


def replace_file(path: str, content: bytes) -> None:
    """Write a file whole or not at all, making its folder where it is missing; raises OSError.

    It has a temporary name of this thread until it is whole, so that any number of processes and threads may write it.
    """
    temporary = f"{path}.{os.getpid()}-{_thread.get_ident()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(temporary, flags, 0o666)
    try:
        if descriptor <= _LAST_STANDARD_STREAM:
            # The program has closed that stream, and may still write to its number.
            descriptor = descriptors.moved_up(descriptor)
        _write_all(descriptor, content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_all(descriptor: int, content: bytes) -> None:
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)
