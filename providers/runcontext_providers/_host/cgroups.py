"""What the kernel lets a process use: the limits of its control group and of every group above it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runcontext_providers._host.process_files import ProcessFiles

_Limit = TypeVar("_Limit", int, float)

_UNIFIED = ""
"""The name under which /proc/<pid>/cgroup lists the version 2 hierarchy."""

_NO_LIMIT = 1 << 60
"""Bytes from which a version 1 limit means none: it writes LONG_MAX, rounded to the machine's page size."""


class CgroupError(Exception):
    """The limits of a process that cannot be told, with the reason why."""


class _Hierarchy(NamedTuple):
    """A mounted hierarchy: its controllers, the group that is its root, the folder where it is mounted."""

    controllers: frozenset[str]
    root: str
    folder: Path


class ControlGroups:
    """The control groups of one process; their limits are read afresh by each call.

    Sources: cgroups(7) for /proc/<pid>/cgroup and namespaces, proc_pid_mountinfo(5) for mount points, and the
    kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, Documentation/scheduler/sched-bwc.rst.
    """

    def __init__(self, process: ProcessFiles) -> None:
        """Describe the groups that ``process`` is in."""
        self._process = process

    def cpu_quota(self) -> float | None:
        """Give the smallest CPU quota of the group and its ancestors, in CPUs; None where there is none.

        Raises CgroupError where the group's folder cannot be told, ProcessOutOfSightError where the process is not
        there, OSError where a file cannot be read.
        """
        return min(self._limits("cpu", _cpu_quota_v1, _cpu_quota_v2), default=None)

    def memory_limit(self) -> int | None:
        """Give the smallest memory limit of the group and its ancestors, in bytes; None where there is none.

        Raises CgroupError where the group's folder cannot be told, ProcessOutOfSightError where the process is not
        there, OSError where a file cannot be read.
        """
        return min(self._limits("memory", _memory_limit_v1, _memory_limit_v2), default=None)

    def _limits(
        self,
        controller: str,
        version_1: Callable[[Path], _Limit | None],
        version_2: Callable[[Path], _Limit | None],
    ) -> Iterator[_Limit]:
        memberships = self._process.memberships
        # A controller lives in one hierarchy only: where both versions are mounted, v2 lacks those of v1.
        hierarchy, read = (controller, version_1) if controller in memberships else (_UNIFIED, version_2)
        if hierarchy in memberships:
            for folder in self._folders(hierarchy, memberships[hierarchy]):
                limit = read(folder)
                if limit is not None:
                    yield limit

    def _folders(self, hierarchy: str, group: str) -> Iterator[Path]:
        mounts = [mount for mount in self._hierarchies() if hierarchy in mount.controllers]
        chains = [self._chain(mount, group) for mount in mounts]
        # The group at the top has no limits; of another they are there, seen or not.
        if not any(chains) and (mounts or group != "/"):
            roots = ", ".join(sorted({mount.root for mount in mounts})) or "nothing"
            message = f"control group {group} is outside of what is mounted ({roots}): its limits cannot be seen"
            raise CgroupError(message)
        for chain in chains:
            yield from chain

    def _hierarchies(self) -> Iterator[_Hierarchy]:
        for mount in self._process.mounts:
            if mount.type in {"cgroup", "cgroup2"}:
                controllers = {_UNIFIED} if mount.type == "cgroup2" else set(mount.options.split(","))
                yield _Hierarchy(frozenset(controllers), mount.root, Path(self._process.root + mount.point))

    def _chain(self, mount: _Hierarchy, group: str) -> list[Path]:
        """Give the group's folder and those above it, up to where the hierarchy is mounted."""
        folder = next((found for found in self._candidates(mount, group) if found.is_dir()), None)
        if folder is None:
            return []
        return [folder, *(above for above in folder.parents if above.is_relative_to(mount.folder))]

    def _candidates(self, mount: _Hierarchy, group: str) -> Iterator[Path]:
        """Give the folders that may be the group's, the first that exists being it.

        Both paths are relative to the root of the reader's cgroup namespace. A mount made outside of that
        namespace has a root above it, written as ``/..`` a level: the names in between are not told, so that
        the group is known by holding the process. The same tells where a container's group is mounted under
        a path that its own view of the groups does not have.
        """
        levels, names = _levels_and_names(group)
        mount_levels, mount_names = _levels_and_names(mount.root)
        if levels == mount_levels and names[: len(mount_names)] == mount_names:
            yield mount.folder.joinpath(*names[len(mount_names) :])
            return
        unnamed = mount_levels - levels if not mount_names else 0
        pattern = "/".join(["*"] * unnamed + [_glob_escaped(name) for name in names])
        found = mount.folder.glob(pattern) if unnamed > 0 else iter([mount.folder])
        yield from (folder for folder in found if self._holds_process(folder))

    def _holds_process(self, folder: Path) -> bool:
        try:
            return str(self._process.pid) in (folder / "cgroup.procs").read_text("ascii").split()
        except OSError:
            return False


def _cpu_quota_v2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota not in {"", "max"} else None


def _cpu_quota_v1(folder: Path) -> float | None:
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _memory_limit_v2(folder: Path) -> int | None:
    limit = _text(folder / "memory.max")
    return int(limit) if limit not in {"", "max"} else None


def _memory_limit_v1(folder: Path) -> int | None:
    # The kernel's own minimum includes ancestors that a container does not see.
    hierarchical = re.search(r"^hierarchical_memory_limit (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
    limit = int(hierarchical[1] if hierarchical else _text(folder / "memory.limit_in_bytes") or _NO_LIMIT)
    return limit if limit < _NO_LIMIT else None


def _text(file: Path) -> str:
    """Read a control file; empty where the group has none, as the root group and disabled controllers do."""
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        return ""


def _levels_and_names(path: str) -> tuple[int, list[str]]:
    """Split ``/../../a/b`` into the levels that it goes up and the names that it goes down."""
    parts = [part for part in path.split("/") if part]
    levels = sum(part == ".." for part in parts)
    return levels, parts[levels:]


def _glob_escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
