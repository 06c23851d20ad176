"""The resource limits of a process, as the kernel lists them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runcontext import NotInContext

if TYPE_CHECKING:
    from runcontext_providers._host.process_files import ProcessFiles

_NAMES = {
    "limits.nofile": "Max open files",
    "limits.nproc": "Max processes",
    "limits.memlock": "Max locked memory",
    "limits.core": "Max core file size",
}
"""What /proc/<pid>/limits calls each limit; ``memlock`` and ``core`` are in bytes."""

LIMIT_TAGS = tuple(_NAMES)


def limit(process: ProcessFiles, tag: str) -> str:
    """Give the soft and the hard limit as ``1024/1048576``, each a number or ``unlimited``.

    Source: proc_pid_limits(5), and getrlimit(2) for what each one limits. Raises OSError where it cannot be read.
    """
    found = re.search(rf"^{_NAMES[tag]} +(\S+) +(\S+)", process.text("limits"), re.MULTILINE)
    if found is None:
        message = f"/proc/{process.pid}/limits has no line {_NAMES[tag]!r}"
        raise NotInContext(message)
    return f"{found[1]}/{found[2]}"
