"""A worker: runs providers one after the other, as if it were the program that they describe."""

from __future__ import annotations

import os
import sys

from runcontext import entry_points, program, registry, resolution
from runcontext.companion.wire import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from runcontext.companion.wire import Message

_LONGER_THAN_ANY_WAIT_SECONDS = 3_600.0
_GRACE_SECONDS = 5.0


def serve(descriptor: int, preload: Iterable[str]) -> NoReturn:
    """Run jobs that arrive on ``descriptor`` until its other end is closed, then exit.

    Args:
        descriptor: a connected socket.
        preload: modules to import before the first job, so that their import overlaps with the program's own start.
    """
    channel = Channel(descriptor)
    for module in preload:
        _preload(module)
    while channel.is_open:
        channel.wait(_LONGER_THAN_ANY_WAIT_SECONDS)
        for job in channel.receive():
            _run(job, channel)
        channel.flush()
    os._exit(0)


def _preload(module: str) -> None:
    try:
        __import__(module)
    except BaseException:  # noqa: BLE001, S110 - the job itself will fail the same way, and put it on record
        pass


def _run(job: Message, channel: Channel) -> None:
    _become(job)
    limit = _Limit(job["seconds"])
    try:
        if job["op"] == "scan":
            _scan(job, channel)
        else:
            _resolve(job, channel)
    finally:
        limit.lift()
    _send(channel, {"op": "done", "tainted": _has_left_something()})


def _send(channel: Channel, message: Message) -> None:
    channel.send(message)
    while channel.has_unsent and channel.is_open:
        channel.wait(_LONGER_THAN_ANY_WAIT_SECONDS)
        channel.flush()


class _Limit:
    """The kernel's own alarm: it ends a worker that outlived its companion, even one that hangs in C."""

    def __init__(self, seconds: float) -> None:
        import signal

        self._signal = signal
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_SECONDS)

    def lift(self) -> None:
        """Stop the alarm: the job is over."""
        if hasattr(self._signal, "setitimer"):
            self._signal.setitimer(self._signal.ITIMER_REAL, 0)


def _become(job: Message) -> None:
    described = program.Program.from_json(job["program"])
    program.describe(described)
    sys.argv[:] = described.argv
    sys.path.extend(entry for entry in described.sys_path if entry not in sys.path)
    if dict(os.environ) != job["environment"]:
        os.environ.clear()
        os.environ.update(job["environment"])
    try:
        os.chdir(described.cwd or os.sep)
    except OSError:
        os.chdir(os.sep)


def _scan(job: Message, channel: Channel) -> None:
    import importlib_metadata

    path = job["program"]["sys_path"]
    found = entry_points.scan(path, importlib_metadata)
    entry_points.store(path, job["cache_folder"], found)
    _send(channel, {"op": "scanned", "entry_points": [each.to_json() for each in found]})


def _resolve(job: Message, channel: Channel) -> None:
    loaded: list[Any] = []

    def load() -> Any:
        loaded.append(registry.load(job["target"]))
        return loaded[0]

    if not job["is_placed"]:
        asked = _asked_placement(load)
        if asked is not None:
            _send(channel, {"op": "elsewhere", "placement": asked})
            return
    one = resolution.Resolution(job["name"], job["placement"])
    one.run(lambda: loaded[0] if loaded else load(), job["method"])
    wants_attachments = job["attachments"] and job["method"] == "tags" and one.wants_attachments()
    if wants_attachments:
        _send(channel, {"op": "facts", "outcome": one.outcome})
        one.run_attachments(job["folder"])
    _send(channel, {"op": "outcome", "outcome": one.outcome, "attachments": one.attachments})


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
