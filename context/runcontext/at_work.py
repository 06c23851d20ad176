"""Whose code is running: said before it runs, since a plugin that hangs or ends its process leaves nobody to say so."""

from __future__ import annotations

import threading
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Listener = Callable[[str], None]

_lock = threading.Lock()
_running: list[str] = []
_listener: Listener | None = None


def tell(listener: Listener | None) -> None:
    """Have ``listener`` told from now on who runs in this process, ``""`` for nobody; None for no listener.

    It is called before and after each call of a plugin's code, by one thread at a time, and raises nothing.
    """
    global _listener  # noqa: PLW0603 - there is one in a process: the sender, or the command
    _listener = listener


@contextmanager
def running(name: str) -> Iterator[None]:
    """Within it the code of ``name`` runs."""
    if _listener is None:
        yield
        return
    with _lock:
        _running.append(name)
        _say()
    try:
        yield
    finally:
        with _lock:
            _running.remove(name)
            _say()


def _say() -> None:
    if _listener is not None:
        _listener(_running[-1] if _running else "")
