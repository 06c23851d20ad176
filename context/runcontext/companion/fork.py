"""Forks what works for the companion; imports nothing that it does not need."""

from __future__ import annotations

import os
import sys

from runcontext.companion import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn


def fork_worker(preload: Iterable[str], closing: Iterable[int]) -> tuple[int, int] | None:
    """Fork this process into one that runs providers; see ``fork_child``."""
    return fork_child("runcontext.companion.worker", preload, closing)


def fork_child(server: str, preload: Iterable[str], closing: Iterable[int]) -> tuple[int, int] | None:
    """Fork this process into one that serves it, and give its process id and the descriptor of the connection to it.

    Args:
        server: the module whose ``serve(descriptor)`` it is to run.
        preload: modules for it to import before its first job, so that they are there when that comes.
        closing: descriptors of the companion's own that are none of its business.

    Returns:
        None where the system allows no more processes.
    """
    ours, theirs = wire.pair()
    try:
        pid = os.fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        return None
    if pid == 0:
        _become(server, theirs, preload, (ours, *closing))
    os.close(theirs)
    _lead_own_group(pid)
    return pid, ours


def _become(server: str, descriptor: int, preload: Iterable[str], closing: Iterable[int]) -> NoReturn:
    try:
        _lead_own_group(0)
        for each in closing:
            os.close(each)
        _import_all(preload)
        __import__(server)
        sys.modules[server].serve(descriptor)
    finally:
        os._exit(1)


def _import_all(modules: Iterable[str]) -> None:
    import gc

    # What an import makes is not garbage, and looking for some takes a tenth of its time.
    gc.disable()
    for module in modules:
        try:
            __import__(module)
        except BaseException:  # noqa: BLE001, S112 - the job itself will fail the same way, and put it on record
            continue
    gc.enable()


def _lead_own_group(pid: int) -> None:
    """Give a worker a process group of its own: a provider that kills its group kills nothing else.

    Both sides do it, since either may come first.
    """
    try:
        os.setpgid(pid, pid)
    except OSError:
        return
