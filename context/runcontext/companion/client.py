"""The program's side of the companion: starts it in about a millisecond, asks, and reads only when somebody waits."""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time

from runcontext import environment
from runcontext.companion import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterable, Mapping

    from runcontext.companion.wire import Message
else:
    import _signal  # `signal` itself imports enum

_BOOT = "import sys;sys.path.append(sys.argv[1]);from runcontext.companion.birth import main;main()"
_DESCRIPTOR = 3
_SHELL = "/bin/sh"
_SHELL_SCRIPT = '"$@" &'
_VARIABLES_OF_SHELLS = ("OLDPWD", "PWD", "SHLVL")
_INTERPRETERS = ("python", "pypy")


class Companion:
    """The companion of this process, as long as it lives.

    ``has_answered`` says that it shook hands: what fails afterwards was not its start.
    """

    def __init__(self, channel: wire.Channel) -> None:
        """Keep the channel of a companion that was just started with this environment."""
        self._channel = channel
        self._state = environment.snapshot()
        self.has_answered = False
        self.pid: int | None = None
        self._began = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it can still be asked; noticed when something is sent or received."""
        return self._channel.is_open

    def is_alive(self) -> bool:
        """Say whether it can be asked once more: it ends by itself when the program had no run for a while."""
        return self._channel.has_peer()

    @property
    def was_cut(self) -> bool:
        """Whether the program closed the connection: the companion itself may be well."""
        return self._channel.was_cut

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for it to be taken."""
        return self._channel.has_unsent

    def is_silent(self, seconds: float) -> bool:
        """Say whether it was started so long ago and never shook hands: then it is no companion."""
        return not self.has_answered and time.monotonic() - self._began > seconds

    def ask(self, request: Message) -> None:
        """Send a request for a capture, with the environment where that has changed since the last one."""
        state = environment.snapshot()
        changed = state != self._state
        self._state = state
        self.send({**request, "environment": dict(os.environ) if changed else None})

    def send(self, message: Message) -> None:
        """Send a message; one that the companion does not take now waits here."""
        self._channel.send(message)

    def drain(self, seconds: float) -> None:
        """Wait until all that was sent is taken, for so long at most."""
        until = time.monotonic() + seconds
        while self._channel.has_unsent and self._channel.is_open and time.monotonic() < until:
            self._channel.wait(until - time.monotonic())
            self._channel.flush()

    def receive(self, seconds: float) -> list[Message]:
        """Give what has arrived, waiting so long at most for something to arrive."""
        messages = self._channel.receive()
        if not messages and seconds > 0 and self._channel.is_open:
            self._channel.wait(seconds)
            self._channel.flush()
            messages = self._channel.receive()
        for message in messages:
            if message.get("op") == "hello":
                self.has_answered = True
                self.pid = message.get("pid")
        return messages

    def close(self) -> None:
        """Let go of it: it ends by itself."""
        self._channel.close()


def start(preload: Iterable[Iterable[str]]) -> Companion | None:
    """Start a companion for this process; None where none can be started.

    It is no child of the program: a shell starts it in the background and ends, so that ``os.wait()`` loops, SIGCHLD
    handlers and counters of children see nothing. A shell puts it out of Ctrl-C's reach too (POSIX, Shell Command
    Language, 2.9.3.1).

    Args:
        preload: modules for its first workers to import at once, a list for each worker.
    """
    if not can_start():
        return None
    try:
        ours, theirs = wire.pair()
    except OSError:
        # The program is at its limit of descriptors.
        return None
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    options = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
    python = [sys.executable, *options, "-c", _BOOT, root, str(os.getpid()), *map(",".join, preload)]
    try:
        _spawn(python, {**os.environ, **wire.NO_COMPANION}, theirs)
    except (OSError, NotImplementedError):
        os.close(ours)
        return None
    finally:
        os.close(theirs)
    return Companion(wire.Channel(ours))


def can_start() -> bool:
    """Say whether ``sys.executable`` is an interpreter that may be started again.

    A frozen application or a program that embeds Python would start itself instead.
    """
    executable = sys.executable
    if not executable or getattr(sys, "frozen", False) or not hasattr(os, "posix_spawn"):
        return False
    name = os.path.basename(executable).lower()
    return name.startswith(_INTERPRETERS) and os.access(executable, os.X_OK)


def _spawn(command: list[str], environment: Mapping[str, str], descriptor: int) -> None:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
        (os.POSIX_SPAWN_DUP2, descriptor, _DESCRIPTOR),
    ]
    # What the shell adds to the environment the program has not.
    added = [name for name in _VARIABLES_OF_SHELLS if name not in environment]
    script = f"unset {' '.join(added)}; {_SHELL_SCRIPT}" if added else _SHELL_SCRIPT
    with _UnseenChild():
        pid = os.posix_spawn(
            _SHELL,
            ["sh", "-c", script, "sh", *command],
            environment,
            file_actions=actions,
            setsigmask=(),
        )
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            # SIGCHLD is ignored, or a thread that waits for every child was faster.
            return
    if status:
        message = "the shell could not start another process"
        raise OSError(message)


class _UnseenChild:
    """Keeps the end of the starting shell from a handler of SIGCHLD that the program has installed.

    The signal is held back in this thread and taken; where a child of the program's own has ended meanwhile, it is
    sent again.
    """

    def __enter__(self) -> None:
        handler = _signal.getsignal(_signal.SIGCHLD)
        self._is_needed = handler not in (int(_signal.SIG_DFL), int(_signal.SIG_IGN), None)
        if self._is_needed:
            self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD])

    def __exit__(self, *_: object) -> None:
        if not self._is_needed:
            return
        if hasattr(_signal, "sigtimedwait"):
            _signal.sigtimedwait([_signal.SIGCHLD], 0)
            if _has_ended_child():
                _signal.raise_signal(_signal.SIGCHLD)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)


def _has_ended_child() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


_starting = _thread.allocate_lock()
_current: Companion | None = None
_owner_pid = 0


def current() -> Companion | None:
    """Give the companion of this process, None where none is alive."""
    if _current is None or _owner_pid != os.getpid() or not _current.is_alive():
        return None
    return _current


def ensure(preload: Iterable[Iterable[str]]) -> Companion | None:
    """Give the companion of this process, starting one where none is alive; None where none can be started."""
    global _current, _owner_pid  # noqa: PLW0603 - a process has one companion
    with _starting:
        if current() is None:
            _current = start(preload)
            _owner_pid = os.getpid()
        return _current


def forget() -> None:
    """Close the connection: in a forked child, which has no companion, and at the program's end."""
    global _current, _starting  # noqa: PLW0603 - as above
    _starting = _thread.allocate_lock()
    if _current is not None:
        _current.close()
        _current = None


# Before any run's own ending is registered: what is registered last is called first, and may still need the companion.
atexit.register(forget)
