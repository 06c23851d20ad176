"""What the operating system is: by its own calls, and by what a distribution says of itself."""

from __future__ import annotations

import platform
import shlex
from functools import cached_property

import psutil

from runcontext import NotInContext

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

_RELEASE_FILES = ("etc/os-release", "usr/lib/os-release")
"""Where os-release(5) says to look, the first found being the one."""

_DEFAULTS = {"NAME": "Linux", "PRETTY_NAME": "Linux"}
"""What os-release(5) says of fields that are missing."""


class OperatingSystem:
    """The names of the operating system; ``root`` is the folder that stands for ``/``, so that a tree can be read."""

    def __init__(self, root: str = "/") -> None:
        """Read os-release below ``root``."""
        self._root = root

    def name(self) -> str:
        """Give the system's or the distribution's name; raises NotInContext where Linux has no os-release."""
        if psutil.MACOS:
            return "macOS"
        return self._release["NAME"] if psutil.LINUX else platform.system()

    def version(self) -> str:
        """Give its version; raises NotInContext where it has none, as rolling releases."""
        if psutil.MACOS:
            return platform.mac_ver()[0]
        if not psutil.LINUX:
            return platform.version()
        version = self._release.get("VERSION_ID")
        if not version:
            message = "os-release has no VERSION_ID: a rolling release"
            raise NotInContext(message)
        return version

    def description(self) -> str:
        """Give the distribution's words and the kernel, which in a container is not the distribution's."""
        uname = platform.uname()
        kernel = f"{uname.system} {uname.release} {uname.machine}"
        if not psutil.LINUX:
            return f"{self.name()} {self.version()}, {kernel}"
        try:
            return f"{self._release['PRETTY_NAME']}, {kernel}"
        except NotInContext:
            return kernel

    @cached_property
    def _release(self) -> dict[str, str]:
        return _os_release(self._root)


def architecture() -> str | None:
    """Give the processor's architecture by OpenTelemetry's names; None where the system does not tell."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine) or None


def system_type() -> str | None:
    """Give the kind of system by OpenTelemetry's names; None where the system does not tell."""
    system = platform.system().lower()
    return _SYSTEMS.get(system, system) or None


def _os_release(root: str) -> dict[str, str]:
    """Read the fields of the first file that is there; raises NotInContext where none is."""
    for file in _RELEASE_FILES:
        try:
            with open(f"{root.rstrip('/')}/{file}", encoding="utf-8", errors="replace") as opened:
                return {**_DEFAULTS, **_assignments(opened.read())}
        except FileNotFoundError:
            continue
    message = f"no os-release file: neither {' nor '.join(f'/{file}' for file in _RELEASE_FILES)} is there"
    raise NotInContext(message)


def _assignments(text: str) -> dict[str, str]:
    """Read shell-like assignments; a line that is none is skipped."""
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
