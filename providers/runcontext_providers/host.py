"""The host provider: on which machine, under which operating system, with how much of it for the program."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

from runcontext import NotInContext, current_program
from runcontext_providers._cgroups import ControlGroups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runcontext.provider import Placement, TagValue

T = TypeVar("T")

_ARCHITECTURES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv6l": "arm32",
    "armv7l": "arm32",
    "armv8l": "arm32",
    "i386": "x86",
    "i586": "x86",
    "i686": "x86",
    "ppc": "ppc32",
    "ppc64": "ppc64",
    "ppc64le": "ppc64",
}
"""OpenTelemetry's values of ``host.arch`` by uname's machine; one that it has no value for stays as it is."""

_SYSTEMS = {"sunos": "solaris", "hp-ux": "hpux", "dragonfly": "dragonflybsd"}
"""OpenTelemetry's values of ``os.type`` where they are not the system's own name in lower case."""

_OS_RELEASE_FILES = ("etc/os-release", "usr/lib/os-release")
"""Where os-release(5) says to look, the first found being the one."""

_CPU_MODEL_FIELDS = frozenset({"model name", "cpu"})
"""What /proc/cpuinfo calls the model: on x86, and on POWER."""


class HostProvider:
    """Tell on which machine the program runs, and how much of it the program may use.

    ``root`` is the folder that stands for ``/`` where os-release, cpuinfo and the control groups are read, so
    that a recorded tree can be described.
    """

    placement: Placement = "companion"

    def __init__(self, root: str = "/") -> None:
        """Read system files below ``root``."""
        self._root = Path(root)

    def in_context(self) -> bool:
        """Say yes: every program runs on a host."""
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give the names of the host and its system, its processors and memory, and the program's share.

        Names and values are those of OpenTelemetry's host and os resource conventions where it has them; CPUs
        are counted in logical processors, memory in bytes.
        """
        return {
            "host.name": _host_name,
            "host.arch": _architecture,
            "os.type": _os_type,
            "os.name": self._os_name,
            "os.version": self._os_version,
            "os.description": self._os_description,
            "host.cpu.model.name": self._cpu_model,
            "cpu.count": _cpu_count,
            "cpu.available": self._cpus_available,
            "memory.total": lambda: str(psutil.virtual_memory().total),
            "memory.limit": self._memory_limit,
        }

    def _os_name(self) -> str:
        if psutil.MACOS:
            return "macOS"
        return self._os_release()["NAME"] if psutil.LINUX else platform.system()

    def _os_version(self) -> str:
        if psutil.MACOS:
            return platform.mac_ver()[0]
        if not psutil.LINUX:
            return platform.version()
        version = self._os_release().get("VERSION_ID")
        if not version:
            message = "os-release has no VERSION_ID: a rolling release"
            raise NotInContext(message)
        return version

    def _os_description(self) -> str:
        """Give the distribution's words and the kernel, which in a container is not the distribution's."""
        uname = platform.uname()
        kernel = f"{uname.system} {uname.release} {uname.machine}"
        if not psutil.LINUX:
            return f"{self._os_name()} {self._os_version()}, {kernel}"
        try:
            return f"{self._os_release()['PRETTY_NAME']}, {kernel}"
        except NotInContext:
            return kernel

    def _os_release(self) -> dict[str, str]:
        for file in _OS_RELEASE_FILES:
            try:
                text = (self._root / file).read_text("utf-8", errors="replace")
            except FileNotFoundError:
                continue
            # os-release(5): the defaults of the fields that are missing.
            return {"NAME": "Linux", "PRETTY_NAME": "Linux", **_assignments(text)}
        message = "no os-release file: neither /etc/os-release nor /usr/lib/os-release is there"
        raise NotInContext(message)

    def _cpu_model(self) -> str:
        if not psutil.LINUX:
            message = "the CPU model is read from /proc/cpuinfo, which only Linux has"
            raise NotInContext(message)
        with (self._root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                field, _, value = line.partition(":")
                if field.strip() in _CPU_MODEL_FIELDS and value.strip():
                    return value.strip()
        message = "/proc/cpuinfo has no model name, as on arm64"
        raise NotInContext(message)

    def _cpus_available(self) -> str:
        """Give the smallest of the program's affinity and every CPU quota that holds for it."""
        affinity = _of_living(_affinity)
        quota = _of_living(lambda pid: self._control_groups(pid).cpu_quota()) if psutil.LINUX else None
        available = affinity if quota is None else min(affinity, quota)
        return f"{available:.3f}".rstrip("0").rstrip(".")

    def _memory_limit(self) -> str:
        limit = _of_living(lambda pid: self._control_groups(pid).memory_limit()) if psutil.LINUX else None
        if limit is None:
            message = "no memory limit"
            raise NotInContext(message)
        return str(limit)

    def _control_groups(self, pid: int) -> ControlGroups:
        return ControlGroups(pid, str(self._root))


def _of_living(read: Callable[[int], T]) -> T:
    """Read what only a living process has; a command may be shorter than the capture that describes it."""
    pid = current_program().pid
    try:
        return read(pid)
    except (OSError, psutil.Error):
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            raise
        message = f"process {pid} ended before this was read"
        raise NotInContext(message) from None


def _host_name() -> str | None:
    return platform.node() or None


def _architecture() -> str | None:
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine) or None


def _os_type() -> str | None:
    system = platform.system().lower()
    return _SYSTEMS.get(system, system) or None


def _cpu_count() -> str:
    """Give physical cores and logical processors as ``4/8``; one that the system does not tell is empty."""
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    return f"{physical or ''}/{logical or ''}"


def _affinity(pid: int) -> int:
    """Count the processors that process ``pid`` may run on; all of them where the system has no affinity."""
    process = psutil.Process(pid)
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity() or ())
    processors = psutil.cpu_count()
    if processors is None:
        message = "the system does not tell how many processors it has"
        raise NotInContext(message)
    return processors


def _assignments(text: str) -> dict[str, str]:
    """Read the shell-like assignments of os-release(5); a line that is none is skipped."""
    fields = {}
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if len(words) == 1 and "=" in words[0]:
            name, _, value = words[0].partition("=")
            fields[name] = value
    return fields
