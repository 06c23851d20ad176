"""Server processes that several test workers share, and that never outlive the test session, however it ends.

Every worker holds a shared lock on one file for as long as it lives. A keeper beside each server waits for the lock to
be free, which the kernel sees to even where the workers are killed, and then ends the server.

Run as a program it is that keeper: ``servers_kept.py ALIVE UID GID REMOVE COMMAND...``; UID and GID are -1 to run the
command as who we are, REMOVE is a folder to remove afterwards, or nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_FOREIGN = ("PYTHON", "COVERAGE_", "MLFLOW_", "_MLFLOW_", "RUNCONTEXT_", "PG", "MYSQL_")
_STOP_SECONDS = 5.0


class CannotStartError(Exception):
    """A server cannot be run on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Session:
    """The folder that all workers of one test session share."""

    folder: Path

    @property
    def alive(self) -> Path:
        """The file that every worker of the session holds a lock on."""
        return self.folder / "alive"

    def hold(self) -> int:
        """Keep the session's servers running for as long as the descriptor that this gives is open."""
        descriptor = os.open(self.alive, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def share(self, name: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Give what ``make`` gave to the first worker that asked for ``name``; JSON, as the others get it.

        Raises:
            CannotStartError: the first worker's ``make`` raised it; nobody tries again.
        """
        known = self.folder / f"{name}.json"
        with locked(self.folder / f"{name}.lock"):
            if not known.exists():
                known.write_text(json.dumps(_made(make)), encoding="utf-8")
            found: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        if "cannot" in found:
            raise CannotStartError(found["cannot"])
        return found


def _made(make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return make()
    except CannotStartError as error:
        return {"cannot": str(error)}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that only one process has at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(
    session: Session,
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    user: tuple[int, int] = (-1, -1),
    remove: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server below its keeper, in a session of its own; its output goes to ``server.log`` in ``folder``."""
    keeper = [sys.executable, "-I", "-S", __file__, str(session.alive), *map(str, user), str(remove or "")]
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            [*keeper, *command],
            cwd=folder,
            env=dict(environment) if environment is not None else clean_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def clean_environment(home: Path) -> dict[str, str]:
    """Give the environment that a server runs in: nobody's settings, and a home of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**own, "HOME": str(home), "LC_ALL": "C.UTF-8"}


def wait_until_up(process: subprocess.Popen[bytes], is_up: Callable[[], bool], folder: Path, seconds: float) -> None:
    """Wait until a server answers.

    Raises:
        CannotStartError: it ended before, or did not answer in time; the message has its last words.
    """
    until = time.monotonic() + seconds
    while not is_up():
        ended = process.poll()
        if ended is not None or time.monotonic() > until:
            kill(process.pid)
            reason = f"did not answer within {seconds:g} s" if ended is None else f"ended with status {ended}"
            message = f"the server {reason}: {last_words(folder)}"
            raise CannotStartError(message)
        time.sleep(0.02)


def let_run(process: subprocess.Popen[bytes]) -> None:
    """Leave a server to its keeper, which ends it when the last worker has ended."""
    threading.Thread(target=process.wait, daemon=True, name="a server of the tests").start()


def last_words(folder: Path) -> str:
    """Give the last line of a server's output."""
    lines = (folder / "server.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def kill(pid: int) -> None:
    """Kill a server and its keeper, as a crash would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def free_port() -> int:
    """Give a port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep(alive: str, user: tuple[int, int], remove: str, command: Sequence[str]) -> None:
    """Run a command until it ends, or until nobody holds a lock on ``alive`` any more."""
    uid, gid = user
    who: dict[str, Any] = {} if uid < 0 else {"user": uid, "group": gid, "extra_groups": []}
    with open(alive, "rb") as file:
        # What the server forks must not count as a worker that is alive: the descriptor is not inherited.
        child = subprocess.Popen(command, **who)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        signal.signal(signal.SIGCHLD, lambda *_: os._exit(code) if (code := child.poll()) is not None else None)
        if child.poll() is None:
            fcntl.flock(file, fcntl.LOCK_EX)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_STOP_SECONDS)
    if remove:
        shutil.rmtree(remove, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    keep(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), sys.argv[4], sys.argv[5:])
