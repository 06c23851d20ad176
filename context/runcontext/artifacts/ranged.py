"""A file fetched block by block into a part beside its place: what has arrived of it is not fetched again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from runcontext import locks
from runcontext.artifacts.parallel import in_order

BLOCK_BYTES = 8 << 20
"""How much is asked for at once; a file of this size or less is fetched in one go, and its part never kept."""


@contextlib.contextmanager
def resumed(local_path: str, key: str) -> Iterator[BinaryIO | None]:
    """Give the part of a download that begins at ``local_path``, positioned at its end, for reading and writing.

    Left without an exception it becomes the file; left by one it stays for the next attempt, unless it is empty or
    ``discard`` was called. None where another download of the same file is under way.

    Args:
        local_path: the file that it is to become.
        key: what it is fetched from, and which version: parts of any other are removed.
    """
    folder, name = os.path.split(os.path.abspath(local_path))
    os.makedirs(folder, exist_ok=True)
    own = f".{_short(name)}-{_short(key)}.part"
    path = os.path.join(folder, own)
    with open(path, "a+b") as part:
        if not locks.lock(part.fileno()):
            yield None
            return
        _remove_others(folder, f".{_short(name)}-", own)
        try:
            yield part
            part.flush()
            os.replace(path, local_path)
        except BaseException:
            if not os.fstat(part.fileno()).st_size:
                discard(part)
            raise


def discard(part: BinaryIO) -> None:
    """Throw away what has arrived: it is not what was asked for."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part.name)


def blocks(
    read: Callable[[int, int], bytes], start: int, size: int, streams: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Give the bytes from ``start`` up to ``size`` in their order, ``streams`` blocks being fetched at once.

    ``read`` is called with the first byte and the one after the last, by several threads where ``streams`` is above 1.
    """
    ranges = ((begin, min(begin + block_bytes, size)) for begin in range(start, size, block_bytes))
    if streams == 1 or size - start <= block_bytes:
        for begin, end in ranges:
            yield read(begin, end)
        return
    yield from in_order(lambda each: read(*each), ranges, streams, name="runcontext-block")


def _remove_others(folder: str, prefix: str, own: str) -> None:
    for each in os.scandir(folder):
        if each.name.startswith(prefix) and each.name.endswith(".part") and each.name != own:
            with contextlib.suppress(OSError):
                os.unlink(each.path)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
