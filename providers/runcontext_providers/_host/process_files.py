"""What /proc tells of one process, each file read once, and what is mounted where for it."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class ProcessOutOfSightError(OSError):
    """A process of which /proc shows nothing, with the reason why."""


class Mount(NamedTuple):
    """One line of mountinfo: what of which file system is mounted where.

    Source: proc_pid_mountinfo(5). ``root`` is the folder of the file system that is seen at ``point``; ``options``
    are those of the file system itself.
    """

    id: str
    parent: str
    root: str
    point: str
    type: str
    options: str


class ProcessFiles:
    """The files below /proc/<pid>, each read at its first use and kept: they describe one moment.

    ``root`` is the folder that stands for ``/``, so that a recorded tree can be read.
    """

    def __init__(self, pid: int, root: str = "/") -> None:
        """Describe process ``pid`` as seen below ``root``."""
        self.pid = pid
        self.root = root.rstrip("/")

    def path(self, name: str) -> str:
        """Give where the file ``name`` of the process is."""
        return f"{self.root}/proc/{self.pid}/{name}"

    def text(self, name: str) -> str:
        """Read the file ``name`` of the process; raises OSError where that cannot be done."""
        with open(self.path(name), "rb") as file:
            return os.fsdecode(file.read())

    @cached_property
    def memberships(self) -> dict[str, str]:
        """The control group by controller, by ``name=...``, and by the empty name for version 2; see cgroups(7).

        Empty where the kernel has no control groups. Raises ProcessOutOfSightError where the process is not there.
        """
        try:
            lines = [line.split(":", 2) for line in self.text("cgroup").split("\n") if line]
        except FileNotFoundError:
            if os.path.isdir(self.path("")):
                return {}
            message = f"/proc/{self.pid} is not there: /proc is not mounted or the process has ended"
            raise ProcessOutOfSightError(message) from None
        return {name: path for _, names, path in lines for name in names.split(",")}

    @cached_property
    def mounts(self) -> list[Mount]:
        """What is mounted in the process's mount namespace, in the kernel's order."""
        lines = (line.partition(" - ") for line in self.text("mountinfo").split("\n"))
        return [_mount(mount.split(" "), file_system.split(" ")) for mount, _, file_system in lines if file_system]


def mount_of(mounts: Iterable[Mount], path: str) -> Mount | None:
    """Give the mount that the absolute ``path`` is on, None where that is not among them, as in a chroot.

    The path is walked as the kernel does, from mount to mount: of several at one point the topmost counts, and
    one that was hidden by a later mount above it does not. Nothing of the file systems themselves is touched, so
    that a dead server cannot hold anybody up.
    """
    by_point: dict[str, list[Mount]] = {}
    for mount in mounts:
        by_point.setdefault(mount.point, []).append(mount)
    ids = {mount.id for there in by_point.values() for mount in there}
    current: Mount | None = None
    for prefix in _prefixes(path):
        above = _mounted_on(by_point.get(prefix, ()), current, ids)
        while above is not None:
            current = above
            above = _mounted_on(by_point[prefix], current, ids)
    return current


def _mounted_on(candidates: Iterable[Mount], current: Mount | None, ids: set[str]) -> Mount | None:
    if current is None:
        return next((mount for mount in candidates if mount.parent not in ids or mount.parent == mount.id), None)
    return next((mount for mount in candidates if mount.parent == current.id != mount.id), None)


def _prefixes(path: str) -> list[str]:
    prefixes = ["/"]
    for name in path.split("/"):
        if name:
            prefixes.append(f"{prefixes[-1].rstrip('/')}/{name}")
    return prefixes


def _mount(mount: list[str], file_system: list[str]) -> Mount:
    return Mount(
        id=mount[0],
        parent=mount[1],
        root=_unescaped(mount[3]),
        point=_unescaped(mount[4]),
        type=file_system[0],
        options=file_system[-1],
    )


def _unescaped(field: str) -> str:
    r"""Undo the kernel's octal escapes of space, tab, newline and backslash (``\040``)."""
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), field)
