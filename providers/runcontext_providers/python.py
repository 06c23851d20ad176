"""The python provider: which Python runs the program, in which environment, with which packages."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runcontext import Attachment, NotInContext, current_program
from runcontext_providers._packages import Installation, installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runcontext.program import Program
    from runcontext.provider import Placement, TagValue

_REASONS_SHOWN = 5


class PythonProvider:
    """Tell which Python runs the program, from which environment, and which packages its import path holds.

    The runtime is that of the interpreter which runs this provider: in the companion the program's own.
    Packages are those of the program's import path, in its order, never those of the companion's.
    """

    placement: Placement = "companion"

    def __init__(self) -> None:
        """Start with nothing known: packages are listed when asked for."""
        self._installation: Installation | None = None

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
        self._installation = None
        return {
            "process.runtime.name": sys.implementation.name,
            "process.runtime.version": platform.python_version(),
            "python.environment": lambda: _environment(current_program().executable),
            "python.packages.count": lambda: str(len(self._packages().packages)),
            "python.packages.sha256": lambda: self._packages().sha256,
            "python.packages.broken": self._broken,
        }

    def attachments(self) -> Iterable[Attachment]:
        """Give ``packages.txt``: a requirements file that installs the packages, from where they came."""
        installation = self._packages()
        redacted = sum(package.redacted for package in installation.packages)
        yield Attachment("packages.txt", installation.requirements.encode(), redacted=redacted)

    def _packages(self) -> Installation:
        # Count, hash and file describe one moment.
        if self._installation is None:
            self._installation = installed(_import_path(current_program()))
        return self._installation

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


def _environment(executable: str) -> str:
    """Give kind and folder of the environment that interpreter ``executable`` belongs to, as ``venv /path``.

    The kind is read from what each tool leaves in its environments: pyvenv.cfg (the ``venv`` module; its
    ``uv`` key, uv's own), conda-meta (conda; conda-meta/pixi, pixi's own), and poetry's cache folder.
    ``system`` is none of them.
    """
    # Where an interpreter looks for its pyvenv.cfg: beside itself, else one folder above.
    folders = list(Path(executable).parents[:2]) if executable else []
    for folder in folders:
        if (folder / "pyvenv.cfg").is_file():
            return f"{_kind_of_venv(folder)} {folder}"
    prefix = Path(sys.base_prefix)
    for folder in (*folders, prefix):
        if (folder / "conda-meta").is_dir():
            return f"{'pixi' if (folder / 'conda-meta' / 'pixi').exists() else 'conda'} {folder}"
    return f"system {prefix}"


def _kind_of_venv(folder: Path) -> str:
    lines = (folder / "pyvenv.cfg").read_text("utf-8", errors="replace").splitlines()
    keys = {line.partition("=")[0].strip().lower() for line in lines if "=" in line}
    if "uv" in keys:
        return "uv"
    return "poetry" if folder.parent.name == "virtualenvs" and "pypoetry" in folder.parts else "venv"
