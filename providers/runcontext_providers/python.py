"""The python provider: which Python runs the program, in which environment, with which packages."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from runcontext import Attachment, NotInContext, current_program
from runcontext_providers._python.editable_repositories import remarks_on_editables
from runcontext_providers._python.environments import environment
from runcontext_providers._python.imported_packages import imported_packages
from runcontext_providers._python.lock_files import lock_files
from runcontext_providers._python.packages import Installation, installed
from runcontext_providers._python.record_check import Comparison, compared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runcontext.program import Program
    from runcontext.provider import Placement, TagValue

_REASONS_SHOWN = 5


class PythonProvider:
    """Tell which Python runs the program, from which environment, and which packages its import path holds.

    The runtime is that of the interpreter which runs this provider: in the companion the program's own.
    Packages are those of the program's import path, in its order, never those of the companion's.

    Args:
        comparison_seconds: how long the packages' files may be compared with what was installed.
    """

    placement: Placement = "companion"

    def __init__(self, *, comparison_seconds: float = 0.25) -> None:
        """Start with nothing known: packages are listed and compared when asked for."""
        self._comparison_seconds = comparison_seconds
        self._installation: Installation | None = None
        self._comparison: Comparison | None = None

    def in_context(self) -> bool:
        """Say yes to a Python program; raise NotInContext with the reason for any other command."""
        if not current_program().is_python:
            message = "the command is not known to be Python; a start_run() inside it adds these facts"
            raise NotInContext(message)
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give runtime, environment and packages.

        ``python.packages.sha256`` is ``Installation.sha256``: same packages, same hash, on every machine.
        A distribution that cannot be read is in neither count nor hash, and is named as the failure of
        ``python.packages.broken``, which is no fact otherwise.
        """
        self._installation = self._comparison = None
        return {
            "process.runtime.name": sys.implementation.name,
            "process.runtime.version": platform.python_version(),
            "python.build": _build,
            "python.environment": lambda: environment(current_program().executable, sys.base_prefix),
            "python.lockfile": _lock_files,
            **self._counted(),
            "python.packages.modified": self._modified,
            "python.packages.broken": self._broken,
        }

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give what is installed by the end, and which of it the program has imported."""
        self._installation = None
        return {**self._counted(), "python.packages.imported": self._imported}

    def attachments(self) -> Iterable[Attachment]:
        """Give ``packages.txt``: a requirements file that installs the packages, from where they came."""
        installation = self._packages()
        remarks = remarks_on_editables(installation.packages)
        for name, (file, *others) in self._compared().modified.items():
            more = f" and {len(others)} more" if others else ""
            remarks[name] = [*remarks.get(name, ()), f"modified: {file}{more}"]
        redacted = sum(package.origin.redacted for package in installation.packages)
        yield Attachment("packages.txt", installation.requirements(remarks).encode(), redacted=redacted)

    def _packages(self) -> Installation:
        # Count, hash and file describe one moment.
        if self._installation is None:
            self._installation = installed(_import_path(current_program()))
        return self._installation

    def _compared(self) -> Comparison:
        if self._comparison is None:
            self._comparison = compared(self._packages().packages, seconds=self._comparison_seconds)
        return self._comparison

    def _counted(self) -> dict[str, TagValue]:
        return {
            "python.packages.count": lambda: str(len(self._packages().packages)),
            "python.packages.sha256": lambda: self._packages().sha256,
        }

    def _imported(self) -> str:
        found = imported_packages(current_program().imported, self._packages().packages)
        if not found:
            message = "the program has imported nothing of an installed distribution"
            raise NotInContext(message)
        return ",".join(f"{package.name}=={package.version}" for package in found)

    def _modified(self) -> str:
        comparison = self._compared()
        names = ",".join(sorted(comparison.modified))
        if comparison.compared < comparison.packages:
            message = (
                f"only {comparison.compared} of {comparison.packages} packages could be compared with their RECORD "
                f"within {self._comparison_seconds:g} s; modified among them: {names or 'none'}"
            )
            raise NotInContext(message)
        if not names:
            message = f"all {comparison.packages} packages are as they were installed, as far as their RECORD tells"
            raise NotInContext(message)
        return names

    def _broken(self) -> None:
        broken = self._packages().broken
        if broken:
            shown = "; ".join(broken[:_REASONS_SHOWN])
            more = f"; and {len(broken) - _REASONS_SHOWN} more" if len(broken) > _REASONS_SHOWN else ""
            message = f"{len(broken)} in doubt or not listed: {shown}{more}"
            raise RuntimeError(message)


def _import_path(program: Program) -> Iterator[str]:
    """Give the program's import path as absolute paths; without a cwd, relative ones lead nowhere."""
    for entry in program.sys_path:
        if os.path.isabs(entry):
            yield entry
        elif program.cwd is not None:
            yield os.path.normpath(os.path.join(program.cwd, entry))


def _build() -> str:
    """Give the compiler of this Python, and what is not as usual in its build."""
    # A debug build counts all references; the name of the other is in its version: "What's New In Python 3.13".
    unusual = {"debug": hasattr(sys, "gettotalrefcount"), "free-threaded": "free-threading build" in sys.version}
    return ", ".join([platform.python_compiler(), *(name for name, is_so in unusual.items() if is_so)])


def _lock_files() -> str:
    found = lock_files(current_program())
    if found is None:
        reason = "no lock file and no requirements*.txt from the main file's folder up to the project's root"
        raise NotInContext(reason)
    return found
