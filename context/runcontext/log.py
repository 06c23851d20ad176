"""What runcontext says to people: once, at WARNING, on the logger ``runcontext``."""

from __future__ import annotations

_said: set[str] = set()


def warn_once(message: str) -> None:
    """Log ``message`` at WARNING unless this process has said it before; a logger that fails costs the message."""
    if message in _said:
        return
    _said.add(message)
    try:
        import logging

        logging.getLogger("runcontext").warning("%s", message)
    except Exception:  # noqa: BLE001, S110 - the program's own logging handlers may raise anything; nobody is left to tell
        pass
