"""Which file system a process works on, and how much shared memory it has: from mountinfo, not from the disks."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from runcontext import NotInContext
from runcontext_providers._host.process_files import mount_of

if TYPE_CHECKING:
    from runcontext_providers._host.process_files import ProcessFiles

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the name that POSIX shared memory has on Linux, see shm_overview(7)

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def working_file_system(process: ProcessFiles, cwd: str | None) -> str:
    """Give the type of the file system that the process's working directory is on, such as ``nfs4`` or ``overlay``.

    ``cwd`` is used where the kernel does not tell it. Raises NotInContext where it cannot be known, OSError where
    the mounts cannot be read. No path is looked up: on a dead network file system that would never come back.
    """
    try:
        cwd = os.readlink(process.path("cwd"))
    except PermissionError:
        if cwd is None:
            raise
    mount = mount_of(process.mounts, cwd) if cwd is not None else None
    if mount is None:
        message = f"what is mounted at {cwd} cannot be seen from inside, as in a chroot"
        raise NotInContext(message)
    return mount.type


def shared_memory_size(process: ProcessFiles) -> str:
    """Give the size of /dev/shm in the process's mount namespace, in bytes.

    Raises NotInContext where none is mounted, OSError where its size cannot be read. Source: the mount option
    ``size`` of tmpfs(5); a mount without it has the kernel's default, which only the file system itself tells.
    """
    mount = mount_of(process.mounts, _SHARED_MEMORY)
    if mount is None or mount.point != _SHARED_MEMORY or mount.type != "tmpfs":
        message = f"no shared memory is mounted at {_SHARED_MEMORY}"
        raise NotInContext(message)
    size = re.search(r"(?:^|,)size=(\d+)([kmg]?)(?:,|$)", mount.options)
    if size is not None:
        return str(int(size[1]) * _UNITS[size[2]])
    found = os.statvfs(process.path(f"root{_SHARED_MEMORY}"))
    return str(found.f_blocks * found.f_frsize)
