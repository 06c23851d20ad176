"""The ``runcontext`` command: one module for each subcommand, imported when it is called.

Every subcommand takes ``--json``; the shape that each prints is in its module's docstring, and has ``"schema": 1``.
"""

from __future__ import annotations

import io
import os
import sys

from runcontext.cli import arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_FAILED = 1
_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""128 and the number of SIGINT and of SIGPIPE: what a shell reports of a program that one of them ended."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and give its exit status.

    ``argv`` is what follows the program's name, that of ``sys.argv`` unless given. ``runcontext run`` does not return
    where its command was ended by a signal: it ends by the same one.
    """
    _make_stdout_forgiving()
    try:
        options = arguments.parsed(argv)
        status = _looked_on(_main_of(options.subcommand), options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        from runcontext.errors import RunContextError

        if not isinstance(error, (RunContextError, OSError)):
            raise
        complain(str(error))
        return _FAILED
    return status


def complain(message: str) -> None:
    """Say in one line on stderr what was wrong."""
    from runcontext.presentation.text import readable

    if sys.stderr is not None:
        sys.stderr.write(f"runcontext: {readable(message)}\n")


def _looked_on(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    from runcontext import at_work
    from runcontext.cli.onlooker import Onlooker

    onlooker = Onlooker()
    at_work.tell(onlooker)
    try:
        return command(options)
    finally:
        at_work.tell(None)
        onlooker.close()


def _main_of(subcommand: str) -> Callable[[argparse.Namespace], int]:
    module = f"{__name__}.{subcommand}"
    __import__(module)
    found: Callable[[argparse.Namespace], int] = sys.modules[module].main
    return found


def _make_stdout_forgiving() -> None:
    # Tags hold any text, and a terminal or a pipe may be set to an encoding that cannot show it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Keep the interpreter's own flush at exit from failing as ours did (Python documentation, "Note on SIGPIPE")."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
