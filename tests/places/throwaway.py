"""Throw-away plugins: distributions of one module each, installed where this process finds them."""

from __future__ import annotations

import textwrap
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Site:
    """A folder on ``sys.path``.

    ``mark`` is in the names of its modules: what one test has imported is not what the next one finds.
    """

    folder: Path
    mark: str

    def module(self, distribution: str) -> str:
        """Give the name of a distribution's module."""
        return f"{distribution.replace('-', '_').replace('.', '_').lower()}_{self.mark}"

    def install(
        self, distribution: str, source: str, entry_points: Mapping[str, Mapping[str, str]], *, version: str = "1.0"
    ) -> str:
        """Install a distribution, and give its module's name.

        Args:
            distribution: its name.
            source: its module's text.
            entry_points: group -> name -> what in the module, or ``module:attribute``.
            version: its version.
        """
        module = self.module(distribution)
        (self.folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        lines = []
        for group, names in entry_points.items():
            targets = {name: target if ":" in target else f"{module}:{target}" for name, target in names.items()}
            lines += [f"[{group}]", *(f"{name} = {target}" for name, target in targets.items())]
        about = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", "utf-8")
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
        return module


def new_site(folder: Path) -> Site:
    """Make the folder."""
    # As pip leaves it: byte code that is written later does not change the folder's own time.
    (folder / "__pycache__").mkdir(parents=True)
    return Site(folder, uuid.uuid4().hex[:8])
