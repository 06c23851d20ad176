"""Downloads that arrive whole or not at all, however they end."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from runcontext.errors import StoreError


@contextlib.contextmanager
def arriving(local_path: str) -> Iterator[str]:
    """Give a temporary file's path beside ``local_path``, which it becomes if the block is left without an exception.

    The folder is made where it is missing; a file that is there stays as it is until the new one is whole. An OSError
    that leaves the block is taken to be the local disk's.

    Raises:
        StoreError: the file cannot be written, or a folder has its name.
    """
    temporary = None
    try:
        temporary = _made_beside(local_path)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, local_path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            message = f"cannot write {local_path}: {error.strerror or error}"
            raise StoreError(message) from error
        raise


def _made_beside(local_path: str) -> str:
    folder, name = os.path.split(os.path.abspath(local_path))
    os.makedirs(folder, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name[:32]}.", suffix=".part", dir=folder)
    os.close(descriptor)
    return temporary


def _umask() -> int:
    # The system tells it only to who sets it, and then a file that another thread makes meanwhile is open to all.
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            found = next(line for line in status if line.startswith("Umask:"))
        return int(found.split()[1], 8)
    except (OSError, StopIteration, ValueError):
        return 0o022
