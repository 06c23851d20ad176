"""How a run ends when nobody ends it: at the program's exit, by a signal, in a forked child.

No Python signal handler is installed: one would make a program unkillable while it is in C. ``faulthandler`` writes
where the program was into the run's folder, and the signal then acts as it would without us.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys

from runcontext import descriptors
from runcontext.tracking.local import FATAL_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any, NoReturn
else:
    import _signal  # `signal` itself imports enum

UNKNOWN_EXIT = "exit code unknown"
"""The reason of a run that was open at the program's end: what ``raise SystemExit(n)`` carries nobody can see."""

_exit_code: Any = None
_has_exit_code = False
_failure_before: BaseException | None = None
_installed_in = 0


def install(end_open_runs: Callable[[str, str], None], forget_in_child: Callable[[], None]) -> None:
    """Watch this process's end, once: ``end_open_runs(status, reason)`` ends what is open then.

    Args:
        end_open_runs: called at exit, and when a worker of ``multiprocessing`` ends.
        forget_in_child: called in a forked child, which has no run.
    """
    global _installed_in, _failure_before  # noqa: PLW0603 - a process has one end
    forget_exit_code()
    if _installed_in == os.getpid():
        return
    first = not _installed_in
    _installed_in = os.getpid()
    _failure_before = _last_failure()
    if first:
        _wrap_exit()
        atexit.register(_at_exit, end_open_runs)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _in_child(forget_in_child))
    _watch_multiprocessing(end_open_runs)


def forget_exit_code() -> None:
    """The program goes on: whoever called ``sys.exit()`` before did not end it."""
    global _has_exit_code  # noqa: PLW0603 - see install
    _has_exit_code = False


def of_exception(error: BaseException | None) -> tuple[str, str]:
    """Give the status and the reason of a run that ``error`` ends, None for an end without one."""
    if error is None:
        return "FINISHED", ""
    if isinstance(error, SystemExit):
        return of_exit_code(error.code)
    from runcontext.resolution import describe_error

    return ("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"), describe_error(error)


def of_exit_code(code: Any) -> tuple[str, str]:
    """Give the status and the reason of a run that ends with this argument of ``sys.exit()``."""
    if code is None or code == 0:
        return "FINISHED", "exit code 0"
    return "FAILED", f"exit code {code if isinstance(code, int) else 1}"


def _at_exit(end_open_runs: Callable[[str, str], None]) -> None:
    if _installed_in == os.getpid():
        end_open_runs(*_ending())


def _ending() -> tuple[str, str]:
    failure = _last_failure()
    if failure is not None and failure is not _failure_before and not _is_interactive():
        return of_exception(failure)
    return of_exit_code(_exit_code) if _has_exit_code else ("FINISHED", UNKNOWN_EXIT)


def _last_failure() -> BaseException | None:
    """Give the exception that Python itself reported last: the one that ends a script."""
    found = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None


def _is_interactive() -> bool:
    # A console reports every failing line there, and goes on.
    return hasattr(sys, "ps1") or "IPython" in sys.modules or bool(sys.flags.inspect)


def _wrap_exit() -> None:
    previous = sys.exit
    main_thread = _main_thread()

    def exit(status: Any = None, /) -> NoReturn:  # noqa: A001 - it takes that function's place
        global _exit_code, _has_exit_code
        if _thread.get_ident() == main_thread:
            _exit_code, _has_exit_code = status, True
        previous(status)

    exit.__doc__ = previous.__doc__
    sys.exit = exit


def _main_thread() -> int:
    threading = sys.modules.get("threading")
    ident = threading.main_thread().ident if threading is not None else _thread.get_ident()
    return ident or 0


def _watch_multiprocessing(end_open_runs: Callable[[str, str], None]) -> None:
    """Its workers end by ``os._exit()``, past ``atexit``, but run its own finalizers before."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, args=(end_open_runs,), exitpriority=0)


def _in_child(forget_in_child: Callable[[], None]) -> None:
    for record in list(_records.values()):
        record.drop()
    _records.clear()
    forget_exit_code()
    forget_in_child()


class _SignalRecord:
    """A file in a run's folder that ``faulthandler`` writes to when one signal ends the program."""

    def __init__(self, name: str, path: str) -> None:
        self._number = int(getattr(_signal, name))
        self._path = path
        self._handler = _signal.getsignal(self._number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = descriptors.moved_up(os.open(path, flags, 0o666))
        self._identity = descriptors.identity(self._descriptor)
        import faulthandler

        faulthandler.register(self._number, file=self._descriptor, all_threads=False, chain=True)

    def remove(self) -> None:
        """Give the signal back, unless the program has given it a handler of its own since."""
        if _signal.getsignal(self._number) == self._handler:
            self.drop()
            self._remove_empty()

    def drop(self) -> None:
        """Write no more to the file; a forked child does so at once, else its end is written into its parent's."""
        import faulthandler

        faulthandler.unregister(self._number)
        descriptors.close_if_still(self._descriptor, self._identity)

    def _remove_empty(self) -> None:
        try:
            if os.path.getsize(self._path) == 0:
                os.unlink(self._path)
        except OSError:
            return


_records: dict[str, _SignalRecord] = {}


def watch_signals(folder: str) -> None:
    """Let the signals that end a program leave a record in ``folder``; ignored ones stay ignored."""
    for name in FATAL_SIGNALS:
        number = getattr(_signal, name, None)
        # Without sigaction(2) faulthandler cannot chain, and a program that ignores a signal outlives it.
        if number is None or not hasattr(os, "posix_spawn") or _signal.getsignal(number) == int(_signal.SIG_IGN):
            continue
        try:
            _records[name] = _SignalRecord(name, os.path.join(folder, f"{name}.txt"))
        except (OSError, RuntimeError, AttributeError, ValueError):
            continue


def unwatch_signals() -> None:
    """Undo ``watch_signals``: the process has no open run any more."""
    for record in _records.values():
        record.remove()
    _records.clear()
