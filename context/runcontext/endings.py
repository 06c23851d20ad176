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
    from types import FrameType
    from typing import Any, NoReturn
else:
    import _signal  # `signal` itself imports enum

UNKNOWN_EXIT = "exit code unknown"
"""The reason of a run that was open at the program's end: what ``raise SystemExit(n)`` carries nobody can see."""

_OUT_OF_REACH = 960
"""``faulthandler`` cannot look whether a number still means its file, so it gets one that few programs reach."""

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


class kept_exit_code:  # noqa: N801 - used as a function is; contextlib costs as much as all of this
    """Keep what the program last said by ``sys.exit()``, whatever others say inside the block."""

    def __enter__(self) -> None:
        """Remember it."""
        self._kept = _exit_code, _has_exit_code

    def __exit__(self, *_error: object) -> None:
        """Put it back."""
        global _exit_code, _has_exit_code
        _exit_code, _has_exit_code = self._kept


def of_exception(error: BaseException | None) -> tuple[str, str]:
    """Give the status and the reason of a run that ``error`` ends, None for an end without one."""
    if error is None:
        return "FINISHED", ""
    if isinstance(error, SystemExit):
        return of_exit_code(error.code)
    if isinstance(error, GeneratorExit):
        # Whoever reads a generator may stop before its end.
        return "FINISHED", "the generator was closed"
    from runcontext.resolution import describe_error

    return ("KILLED" if isinstance(error, _interruptions()) else "FAILED"), describe_error(error)


def _interruptions() -> tuple[type[BaseException], ...]:
    # Ctrl-C reaches a task of asyncio.run() as its cancellation.
    asyncio = sys.modules.get("asyncio.exceptions")
    return (KeyboardInterrupt,) if asyncio is None else (KeyboardInterrupt, asyncio.CancelledError)


def of_exit_code(code: Any) -> tuple[str, str]:
    """Give the status and the reason of a run that ends with this argument of ``sys.exit()``."""
    if code is None or (isinstance(code, int) and code == 0):
        return "FINISHED", "exit code 0"
    return "FAILED", f"exit code {int(code) if isinstance(code, int) else 1}"


def _at_exit(end_open_runs: Callable[[str, str], None]) -> None:
    if _installed_in == os.getpid():
        end_open_runs(*_ending())


def _ending() -> tuple[str, str]:
    of_worker = _worker_ending() if _is_worker() else None
    if of_worker is not None:
        return of_worker
    failure = _last_failure()
    if failure is not None and failure is not _failure_before and not _is_interactive():
        return of_exception(failure)
    return of_exit_code(_exit_code) if _has_exit_code else ("FINISHED", UNKNOWN_EXIT)


def _last_failure() -> BaseException | None:
    """Give the exception that Python itself reported last: the one that ends a script."""
    found = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None


def _is_interactive() -> bool:
    # A console, IPython's too, reports every failing line there, and goes on.
    return hasattr(sys, "ps1") or bool(sys.flags.inspect)


def _wrap_exit() -> None:
    previous = sys.exit

    def exit(status: Any = None, /) -> NoReturn:  # noqa: A001 - it takes that function's place
        global _exit_code, _has_exit_code
        if _is_main_thread():
            _exit_code, _has_exit_code = status, True
        previous(status)

    exit.__doc__ = previous.__doc__
    sys.exit = exit


def _is_main_thread() -> bool:
    threading = sys.modules.get("threading")
    # Without that module there are no other threads to speak of.
    return threading is None or bool(threading.main_thread().ident == _thread.get_ident())


def _watch_multiprocessing(end_open_runs: Callable[[str, str], None]) -> None:
    """Its workers end by ``os._exit()``, past ``atexit``, but run its own finalizers before."""
    if _is_worker():
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, args=(end_open_runs,), exitpriority=0)


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _worker_ending() -> tuple[str, str] | None:
    """Give how a worker of ``multiprocessing`` ends, None where that does not show."""
    failure = sys.exc_info()[1]
    if failure is not None:
        # Up to Python 3.12 finalizers run while what the worker raised is still under way.
        return of_exception(failure)
    frame: FrameType | None = sys._getframe() if sys.version_info >= (3, 13) else None
    while frame is not None:
        # From 3.13 on the frame that is about to call os._exit(code) waits for them.
        code = frame.f_locals.get("code")
        if str(frame.f_globals.get("__name__")).startswith("multiprocessing.") and isinstance(code, int):
            return of_exit_code(code)
        frame = frame.f_back
    return None


def _in_child(forget_in_child: Callable[[], None]) -> None:
    for record in _records.values():
        record.remove()
    _records.clear()
    forget_exit_code()
    forget_in_child()


class _SignalRecord:
    """A file in a run's folder that ``faulthandler`` writes to when one signal ends the program."""

    def __init__(self, name: str, path: str) -> None:
        self._number = int(getattr(_signal, name))
        self._path = path
        self._handler = _signal.getsignal(self._number)
        self._open()
        self._register()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = descriptors.moved_up(os.open(self._path, flags, 0o666), _OUT_OF_REACH)
        self._identity = descriptors.identity(self._descriptor)

    def _register(self) -> None:
        import faulthandler

        faulthandler.register(self._number, file=self._descriptor, all_threads=False, chain=True)

    def renew(self) -> None:
        """Take effect again where the program has reset the signal, closed the file or deleted it; raises OSError."""
        if not _let_go(self._number, self._handler):
            return
        if not descriptors.is_still(self._descriptor, self._identity):
            self._open()
        elif not os.fstat(self._descriptor).st_nlink:
            os.close(self._descriptor)
            self._open()
        self._register()

    def remove(self) -> None:
        """Write no more to the file, and give the signal back."""
        _let_go(self._number, self._handler)
        descriptors.close_if_still(self._descriptor, self._identity)

    def remove_empty_file(self) -> None:
        """Leave no file where no signal came."""
        try:
            if os.path.getsize(self._path) == 0:
                os.unlink(self._path)
        except OSError:
            return


def _let_go(number: int, handler: Any) -> bool:
    """Undo the registration of a signal that ``handler`` had then, and say whether that could be done.

    A handler that the program has set since took ours away, and undoing it now would take away the program's.
    """
    import faulthandler

    _overridden.pop(number, None)
    if _signal.getsignal(number) == handler:
        faulthandler.unregister(number)
        return True
    _overridden[number] = handler
    return False


_records: dict[str, _SignalRecord] = {}
_overridden: dict[int, Any] = {}
"""Signals that are still registered because the program has set a handler of its own since, and the one before it."""


def watch_signals(folder: str) -> None:
    """Let the signals that end a program leave a record in ``folder``; ignored ones stay ignored."""
    for name in FATAL_SIGNALS:
        number = getattr(_signal, name, None)
        # Without sigaction(2) faulthandler cannot chain, and a program that ignores a signal outlives it.
        if number is None or not hasattr(os, "posix_spawn") or _signal.getsignal(number) == int(_signal.SIG_IGN):
            continue
        if number in _overridden and not _let_go(number, _overridden[number]):
            continue
        try:
            _records[name] = _SignalRecord(name, os.path.join(folder, f"{name}.txt"))
        except (OSError, RuntimeError, AttributeError, ValueError):
            continue


def keep_watching() -> None:
    """Renew what ``watch_signals`` did: a program may reset every signal, and close every descriptor, at any time."""
    for name, record in list(_records.items()):
        try:
            record.renew()
        except (OSError, RuntimeError, ValueError):
            _records.pop(name, None)


def unwatch_signals() -> None:
    """Undo ``watch_signals``: the process has no open run any more."""
    while _records:
        _, record = _records.popitem()
        record.remove()
        record.remove_empty_file()
