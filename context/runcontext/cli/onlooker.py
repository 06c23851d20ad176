"""Looks on while plugins run within a command: what they print is none of its output, and who takes it down is named.

A plugin that crashes, or calls ``os._exit()``, leaves nothing of the command to say so: a process beside it does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from runcontext import cli

if TYPE_CHECKING:
    from typing import NoReturn

SLOW_SECONDS = 10.0
"""After so long in one call of a plugin's it is named."""


class Onlooker:
    """Is told who runs, as ``at_work.tell`` has it."""

    def __init__(self) -> None:
        """Do nothing before the first plugin runs."""
        self._stdout: int | None = None
        self._witness: int | None = None
        self._is_alone = False

    def __call__(self, name: str) -> None:
        """Let ``name``, or nobody, print to stderr, and let the witness know."""
        if name and self._stdout is None:
            self._divert()
        elif not name:
            self._restore()
        if self._witness is None and not self._is_alone:
            self._witness = _start_witness()
            self._is_alone = self._witness is None
        if self._witness is not None:
            with suppress(OSError):
                os.write(self._witness, f"{name}\n".encode())

    def close(self) -> None:
        """Let the witness go."""
        if self._witness is not None:
            os.close(self._witness)
            self._witness = None

    def _divert(self) -> None:
        _flush()
        with suppress(OSError):
            self._stdout = os.dup(1)
            os.dup2(2, 1)

    def _restore(self) -> None:
        if self._stdout is not None:
            # What a plugin printed is on its way still.
            _flush()
            os.dup2(self._stdout, 1)
            os.close(self._stdout)
            self._stdout = None


def _flush() -> None:
    with suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()


def _start_witness() -> int | None:
    """Fork the process that looks on, and give what it is told by; None where there can be none."""
    heard, told = os.pipe()
    try:
        pid = os.fork()
    except (OSError, AttributeError):
        os.close(heard)
        os.close(told)
        return None
    if pid == 0:
        _witness(heard)
    os.close(heard)
    return told


def _witness(heard: int) -> NoReturn:
    """Say who takes too long, and who was at work when the command ended without a word."""
    try:
        # Ctrl-C is the command's; and none of its pipes, files and locks may stay open here.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.closerange(0, 2)
        os.closerange(3, heard)
        os.closerange(heard + 1, os.sysconf("SC_OPEN_MAX"))
        name, is_said = "", False
        while True:
            if not select.select([heard], [], [], SLOW_SECONDS if name and not is_said else None)[0]:
                cli.complain(f"{name} has not come back for {SLOW_SECONDS:g} s; Ctrl-C ends the command")
                is_said = True
                continue
            lines = os.read(heard, 65_536).decode(errors="replace").splitlines()
            if not lines:
                break
            name, is_said = lines[-1], False
        if name:
            cli.complain(f"{name} has ended the command, or was at work when it was ended")
    finally:
        os._exit(0)
