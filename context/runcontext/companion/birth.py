"""How the companion comes to be: alone, and with its first workers at their imports before it begins with its own."""

from __future__ import annotations

import os
import sys

from runcontext.companion import wire
from runcontext.companion.fork import fork_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # `signal` itself imports enum

CHANNEL_DESCRIPTOR = 3
"""The descriptor on which the companion finds its caller: neither 0 nor 1, where other programs speak."""


def main() -> None:
    """Be the companion: ``python -I -c ... ROOT PID MODULES...``, its caller on descriptor 3.

    MODULES are what each first worker is to import, comma-separated, an argument for each worker.
    """
    _keep_only(CHANNEL_DESCRIPTOR)
    if hasattr(os, "setsid"):
        try:
            os.setsid()
        except OSError:
            pass
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    # A program that ignores the ends of its children hands that on.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    forked: list[tuple[int, int, list[str]]] = []
    for words in sys.argv[3:]:
        modules = words.split(",")
        found = fork_worker(modules, [CHANNEL_DESCRIPTOR, *(descriptor for _, descriptor, _ in forked)])
        if found is not None:
            forked.append((*found, modules))
    from runcontext.companion.supervisor import Supervisor

    Supervisor(wire.Channel(CHANNEL_DESCRIPTOR), int(sys.argv[2]), forked).run()
    os._exit(0)


def _keep_only(descriptor: int) -> None:
    """Close every other descriptor: the program's pipes and locks must end when the program does."""
    try:
        others = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        others = list(range(1_024))
    for other in others:
        if other > 2 and other != descriptor:  # noqa: PLR2004 - 0, 1 and 2 are the standard streams
            try:
                os.close(other)
            except OSError:
                continue
