"""File systems that only fsspec knows, as anybody may bring some: one that renames files, and one of objects.

``registered()`` makes ``disk:///PATH`` and ``kept://NAME/PATH`` known.
"""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem


class Disk(LocalFileSystem):  # type: ignore[misc] # fsspec has no types
    """The disk of this machine."""

    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(path.removeprefix("disk://"))


class Kept(MemoryFileSystem):  # type: ignore[misc] # as above
    """What this process remembers."""

    protocol = "kept"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(path.removeprefix("kept://"))


def registered() -> None:
    """Make fsspec know them, by any number of calls."""
    for kind in (Disk, Kept):
        fsspec.register_implementation(kind.protocol, f"{kind.__module__}.{kind.__name__}", clobber=True)
