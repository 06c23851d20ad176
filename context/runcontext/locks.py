"""Locks on open files between processes (flock(2)); the system lets go of one when its holder ends, however it ends."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

try:
    import fcntl as _fcntl
except ImportError:  # pragma: no cover - Windows has no flock(2)
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl


def lock(descriptor: int, *, is_waiting: bool = False) -> bool:
    """Lock an open file until it is closed, and say whether it is ours.

    Where there are no locks (Windows, some network file systems) nothing keeps processes apart, and it is ours.

    Args:
        descriptor: the open file.
        is_waiting: wait until no other process has it; else False is given where one has.
    """
    if fcntl is None:  # pragma: no cover - Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if is_waiting else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks.
        return True
    return True
