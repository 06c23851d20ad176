"""Run git so that it changes nothing, starts nothing, asks nobody and cannot outlive its time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import IO, NamedTuple, cast

from runcontext.redaction import redact_text

# Everything else that starts with GIT_ names a repository, redirects a part of one, traces, or runs a program;
# among them is all that `git rev-parse --local-env-vars` lists.
_KEPT_VARIABLES = frozenset(
    {
        "GIT_CEILING_DIRECTORIES",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
    },
)
_SET_VARIABLES = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
_OPTIONS = (
    "--no-pager",
    *("-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "diff.autoRefreshIndex=false"),
    *("-c", "diff.relative=false"),
    *("-c", "diff.suppressBlankEmpty=false"),
    *("-c", "core.quotePath=true"),
    # git-lfs copies each file that it is asked about to below `.git`; what it would say is computed in lfs.py.
    *("-c", "filter.lfs.clean="),
    *("-c", "filter.lfs.process="),
    *("-c", "filter.lfs.required=false"),
)
_READ_SIZE = 1 << 16
_PIPE_SIZE = 1 << 20  # the most that a pipe holds: pipe(7), /proc/sys/fs/pipe-max-size
KEPT_BYTES = 64 << 20
"""What is kept of an answer, unless said."""

_REASON_LENGTH = 500
_KILL_SECONDS = 1.0
_AT_ONCE = 2
_NOTHING_GIVEN: Mapping[str, bytes] = MappingProxyType({})


class GitError(Exception):
    """What git said, or that it did not answer, where an answer was needed."""


class NoGit(GitError):  # noqa: N818 - a state of the machine
    """There is no git to run."""


class GitAnswer(NamedTuple):
    """What one git process answered.

    ``returncode`` is None where it did not answer in time. ``stdout`` is None where there was more than was to be
    kept: ``size_bytes`` and ``sha256`` are those of all that it wrote. ``reason`` is empty where all went well.
    """

    returncode: int | None
    stdout: bytes | None
    size_bytes: int
    sha256: str
    reason: str

    @property
    def lines(self) -> list[str]:
        """What it wrote to standard output, line by line, whether it succeeded or not."""
        return os.fsdecode(self.stdout or b"").split("\n")[:-1]

    def text(self) -> str:
        """Give standard output as text, undecodable bytes as surrogates; raises as ``output`` does."""
        return os.fsdecode(self.output())

    def output(self) -> bytes:
        """Give standard output; raises GitError with git's own reason unless it succeeded."""
        if self.returncode != 0 or self.stdout is None:
            raise GitError(self.reason)
        return self.stdout


class GitCommand:
    """The git binary, and the time that all its answers together may take.

    ``budget`` is in seconds, from now. Raises NoGit where no binary is on PATH; the environment variable
    GIT_PYTHON_GIT_EXECUTABLE names another, as in GitPython.
    """

    def __init__(self, *, budget: float) -> None:
        """Find the binary; the budget runs from here."""
        name = os.environ.get("GIT_PYTHON_GIT_EXECUTABLE") or "git"
        executable = shutil.which(name)
        if executable is None:
            message = f"no {name} binary on PATH"
            raise NoGit(message)
        self._executable = executable
        self._budget = budget
        self._deadline = time.monotonic() + budget

    def ask(
        self,
        folder: str,
        questions: Mapping[str, Sequence[str]],
        *,
        keep: int = KEPT_BYTES,
        given: Mapping[str, bytes] = _NOTHING_GIVEN,
    ) -> dict[str, GitAnswer]:
        """Run a git process in ``folder`` for each question and give the answers by their names.

        At most ``keep`` bytes of each answer are kept. ``given`` is what a question's process reads from its standard
        input. Raises NoGit where the binary cannot be run; that a process failed, or was killed with its process group
        for being late, is in its answer.
        """
        waiting = list(questions)
        calls: dict[str, _Call] = {}
        with selectors.DefaultSelector() as selector:
            try:
                while (left := self._deadline - time.monotonic()) > 0:
                    while waiting and sum(call.is_under_way for call in calls.values()) < _AT_ONCE:
                        name = waiting.pop(0)
                        calls[name] = _Call(self._start(folder, questions[name], given.get(name)), keep, selector)
                    if not selector.get_map():
                        break
                    for key, _ in selector.select(left):
                        key.data(key.fileobj)
            finally:
                for call in calls.values():
                    call.end(self._deadline)
        late = f"no answer within {self._budget:g} s"
        return {
            name: calls[name].answer(f"git {words[0]}", late)
            if name in calls
            else GitAnswer(None, None, 0, "", f"git {words[0]}: {late}")
            for name, words in questions.items()
        }

    @property
    def is_late(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() > self._deadline

    def _start(self, folder: str, arguments: Sequence[str], given: bytes | None) -> subprocess.Popen[bytes]:
        # Not through git.Git.execute: it adds to the environment but takes nothing out of it, and its time-out
        # kills the processes it finds by `ps`, not the process group.
        command = [self._executable, *_OPTIONS, *_safe_directories(), "-C", folder, *arguments]
        with _file_of(given) as stdin:
            try:
                return subprocess.Popen(
                    command,
                    cwd="/",
                    env=_environment(),
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    start_new_session=True,
                )
            except OSError as error:
                message = f"{self._executable} cannot be run: {error.strerror}"
                raise NoGit(message) from error


class _Call:
    """One git process under way, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], keep: int, selector: selectors.BaseSelector) -> None:
        self._process = process
        self._keep = keep
        self._selector = selector
        self._size = 0
        self._digest = hashlib.sha256()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._is_late = False
        self._left_a_child = False
        self._pipes = {process.stdout: self._hear, process.stderr: self._hear_error}
        for pipe in self._pipes:
            selector.register(cast("IO[bytes]", pipe), selectors.EVENT_READ, self._read)
        # Where its end can be seen (Linux 5.3), a child of it that holds the pipes open keeps nobody waiting.
        self._descriptor: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self._descriptor = os.pidfd_open(process.pid)
            selector.register(self._descriptor, selectors.EVENT_READ, self._hear_the_rest)

    @property
    def is_under_way(self) -> bool:
        """Whether there may be more to hear."""
        return bool(self._pipes) or self._descriptor is not None

    def _read(self, pipe: IO[bytes]) -> None:
        if pipe not in self._pipes:
            return
        chunk = os.read(pipe.fileno(), _READ_SIZE)
        if chunk:
            self._pipes[pipe](chunk)
        else:
            self._close(pipe)

    def _hear_the_rest(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        self._descriptor = None
        for pipe in [cast("IO[bytes]", pipe) for pipe in self._pipes]:
            os.set_blocking(pipe.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(_PIPE_SIZE // _READ_SIZE):
                    self._read(pipe)
            if pipe in self._pipes:
                self._left_a_child = True
                self._close(pipe)

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        del self._pipes[pipe]
        pipe.close()

    def _hear(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._digest.update(chunk)
        if self._size <= self._keep:
            self._stdout += chunk
        else:
            self._stdout.clear()

    def _hear_error(self, chunk: bytes) -> None:
        if len(self._stderr) < _READ_SIZE:
            self._stderr += chunk

    def end(self, deadline: float) -> None:
        """Reap the process; where it is late, or left a child with its pipes, its process group is killed first."""
        self._is_late = self.is_under_way
        for pipe in [cast("IO[bytes]", pipe) for pipe in self._pipes]:
            self._close(pipe)
        if self._descriptor is not None:
            os.close(self._descriptor)
        if not self._is_late and not self._left_a_child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, deadline - time.monotonic()))
                return
            self._is_late = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # One that waits for a file server that is gone cannot even be killed: it is left behind.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)

    def answer(self, command: str, late: str) -> GitAnswer:
        """Give what was heard, once the process has ended."""
        returncode = self._process.returncode
        if self._is_late or returncode is None:
            return GitAnswer(None, None, self._size, "", f"{command}: {late}")
        reason = ""
        if returncode != 0:
            reason = f"{command}: {_own_words(bytes(self._stderr)) or f'exit status {returncode}'}"
        elif self._size > self._keep:
            reason = f"{command}: an answer of {self._size} bytes"
        whole = bytes(self._stdout) if self._size <= self._keep else None
        return GitAnswer(returncode, whole, self._size, self._digest.hexdigest(), reason)


@contextlib.contextmanager
def _file_of(given: bytes | None) -> Iterator[int]:
    # A file and no pipe: nobody has to write while git reads, and a git that reads nothing blocks nobody.
    if given is None:
        yield subprocess.DEVNULL
        return
    import tempfile

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(given)
            file.seek(0)
        except OSError as error:
            message = f"no temporary file for what git is to read: {error.strerror}"
            raise GitError(message) from error
        yield file.fileno()


def _environment() -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT_VARIABLES
    }
    return inherited | _SET_VARIABLES


def _safe_directories() -> list[str]:
    # In containers `safe.directory` is often set through GIT_CONFIG_COUNT, which is taken out with what else it may
    # set. git-config(1), "ENVIRONMENT".
    environ = os.environ
    count = environ.get("GIT_CONFIG_COUNT", "")
    options = []
    for index in range(int(count) if count.isdecimal() else 0):
        if environ.get(f"GIT_CONFIG_KEY_{index}", "").lower() == "safe.directory":
            options += ["-c", f"safe.directory={environ.get(f'GIT_CONFIG_VALUE_{index}', '')}"]
    return options


def _own_words(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "backslashreplace").splitlines()]
    told = [line for line in lines if line and not line.startswith(("hint:", "warning:"))]
    words = " ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in told or lines)
    return redact_text(words.strip())[:_REASON_LENGTH]
