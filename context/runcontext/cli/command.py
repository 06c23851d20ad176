"""A command as a child process: started when its run is on disk, given every signal, waited for.

The child is forked first, so that the run can describe it, and waits at a pipe; what comes through that pipe are the
variables that lead a ``start_run()`` inside it to the run. It stays in this process group: Ctrl-C and Ctrl-Z in a
terminal reach it without us, and a shell sees one job.

Signals are blocked here and taken one by one (sigwaitinfo(2)) instead of handled: each tells who sent it, and none can
come at a bad moment.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

NOT_FOUND = 127
NOT_EXECUTABLE = 126

_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")
_STOPPED_BY_TERMINAL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_SENT_BY_KERNEL = 0x80
"""``si_code`` of a signal that a terminal sent, to the whole process group: SI_KERNEL, Linux's siginfo.h."""

_CONTINUES_SECONDS = 0.02
_SHELL = "/bin/sh"


class Command:
    """One command: ``start()`` it, ``wait()`` for it, and then know how it ended.

    - ``pid``: the child's, from the beginning.
    - ``executable``: the absolute path of what it runs, empty where there is no such command.
    """

    def __init__(self, words: list[str]) -> None:
        """Fork the child, which waits; nothing of the command runs yet."""
        self._words = words
        self.executable = found(words[0])
        self._signals = _blocked_signals()
        gate, self._gate = os.pipe()
        self._failure, failure = os.pipe()
        child_of_ours = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            os.close(self._failure)
            signal.signal(signal.SIGCHLD, child_of_ours)
            self._be_the_command(gate, failure, before)
        os.close(gate)
        os.close(failure)

    def start(self, variables: Mapping[str, str]) -> str | None:
        """Let the command run, with ``variables`` in its environment; say why it cannot, None where it runs."""
        message = b"\0".join(os.fsencode(f"{name}={value}") for name, value in variables.items())
        try:
            os.write(self._gate, message)
        except BrokenPipeError:
            # The child is dead already: a signal reached it before its command did.
            pass
        os.close(self._gate)
        with open(self._failure, "rb") as file:
            number = file.read()
        return None if not number else _reason(self._words[0], int(number))

    def abandon(self) -> None:
        """End the child, whose command has not run."""
        os.close(self._gate)
        os.close(self._failure)
        os.waitpid(self.pid, 0)

    def wait(self) -> int:
        """Hand on signals until the command has ended; give its exit status, or minus the signal that ended it.

        The child stays a zombie until ``bury()``: who still reads facts about it must meet no other process of its id.
        """
        while True:
            change = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            if change is None:
                self._take_signal()
            elif change.si_code == os.CLD_EXITED:
                return change.si_status
            elif change.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                return -change.si_status
            else:
                self._follow_stop(change.si_status)

    def bury(self) -> None:
        """Let the system forget the child."""
        os.waitpid(self.pid, 0)

    def _take_signal(self) -> None:
        taken = signal.sigwaitinfo(self._signals)
        from_terminal = taken.si_code == _SENT_BY_KERNEL
        from_command = taken.si_pid == self.pid
        if taken.si_signo != signal.SIGCHLD and not from_terminal and not from_command:
            os.kill(self.pid, taken.si_signo)

    def _follow_stop(self, number: int) -> None:
        """Stop as the command did, where a terminal's shell waits for the whole job to stop; go on together."""
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG)
        if number not in _STOPPED_BY_TERMINAL or not _has_terminal():
            return
        # Ctrl-Z stopped both of us, and this is what is left of it after both were told to go on.
        time.sleep(_CONTINUES_SECONDS)
        if os.waitid(os.P_PID, self.pid, os.WCONTINUED | os.WNOHANG) is not None:
            return
        os.kill(os.getpid(), number)
        os.kill(self.pid, signal.SIGCONT)

    def _be_the_command(self, gate: int, failure: int, mask: set[signal.Signals | int]) -> NoReturn:
        try:
            for name in _IGNORED_BY_PYTHON:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            for number in self._signals - {signal.SIGCHLD}:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            with open(gate, "rb") as file:
                message = file.read()
            if not message:
                # The run could not be kept, or who was to keep it is dead.
                os._exit(NOT_FOUND)
            variables = (each.partition(b"=") for each in message.split(b"\0"))
            environment = {**os.environb, **{name: value for name, _, value in variables}}
            _replace(self.executable or self._words[0], self._words, environment)
        except OSError as error:
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(NOT_FOUND)


def found(word: str) -> str:
    """Give the absolute path of a command as a shell would look for it, empty where it finds none."""
    if "/" in word:
        return os.path.abspath(word) if os.path.isfile(word) else ""
    places = [os.path.join(folder or ".", word) for folder in os.get_exec_path()]
    files = [os.path.abspath(place) for place in places if os.path.isfile(place)]
    return next((file for file in files if os.access(file, os.X_OK)), files[0] if files else "")


def die_by(number: int) -> NoReturn:
    """End this process by a signal, so that whoever waits for it sees what the command's own end was."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    import resource

    # The command has left its core; one of ours would only take its place.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def signal_name(number: int) -> str:
    """Give a signal's name, or its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"{number}"


def _blocked_signals() -> set[int]:
    """Give the signals to take one by one; one that is ignored (nohup, a job in the background) stays so."""
    forwarded = [int(getattr(signal, name)) for name in _FORWARDED]
    return {int(signal.SIGCHLD), *(each for each in forwarded if signal.getsignal(each) != signal.SIG_IGN)}


def _replace(file: str, words: list[str], environment: dict[bytes, bytes]) -> NoReturn:
    try:
        os.execve(file, words, environment)  # noqa: S606 - the user's own command
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # A script without a first line that names its interpreter is the shell's (POSIX, execvp).
        os.execve(_SHELL, ["sh", file, *words[1:]], environment)  # noqa: S606 - as above


def _reason(word: str, number: int) -> str:
    if number == errno.ENOENT and not found(word):
        return f"command not found: {word}"
    return f"cannot execute {word}: {os.strerror(number)}"


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
