"""A worker: runs providers one after the other, as if it were the program that they describe."""

from __future__ import annotations

import os
import sys

from runcontext import entry_points, environment, program, registry, resolution, settings
from runcontext.companion.wire import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from runcontext.companion.wire import Message

_LONGER_THAN_ANY_WAIT_SECONDS = 3_600.0
_LONGER_THAN_ANY_ALARM_SECONDS = 1e8
_GRACE_SECONDS = 5.0


def serve(descriptor: int) -> NoReturn:
    """Run jobs that arrive on ``descriptor``, a connected socket, until its other end is closed, then exit."""
    channel = Channel(descriptor)
    surroundings = ProgramSurroundings()
    while channel.is_open:
        channel.wait(_LONGER_THAN_ANY_WAIT_SECONDS)
        for message in channel.receive():
            if message["op"] == "describe":
                surroundings = ProgramSurroundings(message)
            else:
                surroundings.enter()
                _run(message, channel)
        channel.flush()
    os._exit(0)


def _run(job: Message, channel: Channel) -> None:
    limit = _Limit()
    limit.set(job["seconds"])
    tether = _Tether(channel)
    tether.hold()
    try:
        for answer in _scan(job) if job["op"] == "scan" else _resolve(job, channel, limit):
            if answer.get("is_last"):
                limit.lift()
                answer["is_tainted"] = _has_left_something()
            if not answer.get("is_tainted"):
                tether.let_go()
            _send(channel, answer)
            if not answer.get("is_last"):
                tether.hold()
    finally:
        limit.lift()
    if not channel.is_open:
        os._exit(os.EX_IOERR)


def _send(channel: Channel, message: Message) -> None:
    channel.send(message)
    while channel.has_unsent and channel.is_open:
        channel.wait(_LONGER_THAN_ANY_WAIT_SECONDS)
        channel.flush()


class _Limit:
    """The kernel's own alarm: it ends a worker that outlived its companion, even one that hangs in C."""

    def __init__(self) -> None:
        import signal

        self._signal = signal

    def set(self, seconds: float) -> None:
        """Start the alarm, or start it anew: the job may take so long from now."""
        if hasattr(self._signal, "setitimer"):
            self._signal.signal(self._signal.SIGALRM, self._signal.SIG_DFL)
            alarm_seconds = min(seconds, _LONGER_THAN_ANY_ALARM_SECONDS) + _GRACE_SECONDS
            self._signal.setitimer(self._signal.ITIMER_REAL, alarm_seconds)

    def lift(self) -> None:
        """Stop the alarm: the job is over."""
        if hasattr(self._signal, "setitimer"):
            self._signal.setitimer(self._signal.ITIMER_REAL, 0)


class _Tether:
    """Ties this process group, what providers left in it included, to the companion's end of the connection.

    The kernel itself ends all of it when that end is closed, even what hangs in C (fcntl(2), F_SETOWN and F_SETSIG).
    It is let go while something is sent: room to send would do the same. Elsewhere than on Linux the alarm must do.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._descriptor = channel.descriptor

    def hold(self) -> None:
        """Tie it; no word of the companion's may be expected until it is let go."""
        self._set(is_held=True)
        if not self._channel.has_peer():
            os._exit(os.EX_IOERR)

    def let_go(self) -> None:
        """Untie it."""
        self._set(is_held=False)

    def _set(self, *, is_held: bool) -> None:
        import fcntl
        import signal

        if not hasattr(fcntl, "F_SETSIG"):
            return
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETOWN, -os.getpid() if os.getpgrp() == os.getpid() else os.getpid())
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & ~os.O_ASYNC
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | (os.O_ASYNC if is_held else 0))
        except OSError:
            # A provider has closed it.
            return


class ProgramSurroundings:
    """What the described program has around it, so that a provider finds the same here."""

    def __init__(self, message: Message | None = None) -> None:
        """Take up what a message says, else what this process itself has around it."""
        self._program = program.Program.from_json(message["program"]) if message else program.current_program()
        self._settings = settings.Settings.from_json(message["settings"]) if message else None
        self._environment: dict[str, str] = message["environment"] if message else dict(os.environ)
        self._state: dict[Any, Any] | None = None

    def enter(self) -> None:
        """Be as the program is, whatever the provider before has changed."""
        program.describe(self._program)
        settings.put_in_force(self._settings)
        sys.argv[:] = self._program.argv
        sys.path.extend(entry for entry in self._program.sys_path if entry not in sys.path)
        if self._state is None or environment.snapshot() != self._state:
            os.environ.clear()
            os.environ.update(self._environment)
            self._state = environment.snapshot()
        try:
            os.chdir(self._program.cwd or os.sep)
        except OSError:
            os.chdir(os.sep)


def _scan(job: Message) -> Iterator[Message]:
    import importlib_metadata

    path = program.current_program().sys_path
    found = entry_points.scan(path, importlib_metadata)
    entry_points.store(path, job["cache_folder"], found)
    yield {"op": "scanned", "entry_points": [each.to_json() for each in found], "is_last": True}


def _resolve(job: Message, channel: Channel, limit: _Limit) -> Iterator[Message]:
    loaded: list[Any] = []

    def load() -> Any:
        loaded.append(registry.load(job["target"]))
        seconds = registry.own_limit(loaded[0]) if job["limit_seconds"] is None else None
        if seconds is not None:
            limit.set(seconds)
            _send(channel, {"op": "limit", "seconds": seconds})
        return loaded[0]

    if not job["is_placed"]:
        asked = _asked_placement(load)
        if asked is not None:
            yield {"op": "elsewhere", "placement": asked, "is_last": True}
            return
    one = resolution.Resolution(job["name"], job["placement"])
    one.run(lambda: loaded[0] if loaded else load(), job["method"], job["known"])
    wants_attachments = job["attachments"] and job["method"] == "tags" and one.wants_attachments()
    if wants_attachments:
        yield {"op": "facts", "outcome": one.outcome}
        one.run_attachments(job["folder"])
    yield {"op": "outcome", "outcome": one.outcome, "attachments": one.attachments, "is_last": True}


def _asked_placement(load: Any) -> str | None:
    """Give the placement in the program that a plugin's class asks for, None for none or one that cannot be loaded."""
    try:
        asked = getattr(load(), "placement", None)
    except BaseException:  # noqa: BLE001 - the resolution loads it again under guard, and keeps the reason
        return None
    return asked if asked in ("inline", "thread") else None


def _has_left_something() -> bool:
    """Say whether a provider left a thread or a child behind: such a worker serves no other."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return True
    try:
        return os.waitpid(-1, os.WNOHANG) is not None
    except ChildProcessError:
        return False
