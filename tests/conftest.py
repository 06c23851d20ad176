"""What all tests share."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Begin as a program that a person starts: under nohup or behind ``&`` signals are ignored, and so in children."""
    for name, handler in (
        ("SIGHUP", signal.SIG_DFL),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGINT", signal.default_int_handler),
    ):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
