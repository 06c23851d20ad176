"""Which installed distributions the modules belong to that a program has imported."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runcontext_providers._python.packages import Package

_FIRST_ENTRY = re.compile(rb"\n([^/,\n]*)[/,]")
"""The first entry of each path in RECORD, a line break before it."""

_MODULE = re.compile(r"([^\W\d]\w*)(?:(?:\.[\w-]+)?\.(?:py|so|pyd))?")
"""An entry of RECORD that can be imported: ``pkg``, ``single.py``, ``_c.cpython-311-x86_64-linux-gnu.so``."""

_START_UP_HOOKS = frozenset({"_distutils_hack"})
"""What setuptools has every interpreter import where it is installed: no program has asked for it."""


class _Contents(NamedTuple):
    """What a distribution lets a program import: top-level modules, and folders that it adds to the path."""

    modules: frozenset[str]
    folders: tuple[str, ...]


_known: dict[str, tuple[int, _Contents]] = {}
"""What earlier calls in this process read of the distribution with this metadata, and when that had changed."""


def imported_packages(modules: Iterable[str], packages: Iterable[Package]) -> list[Package]:
    """Give those of ``packages`` that have one of the top-level ``modules``, sorted by name.

    Of a name that several share (a namespace, such as ``google``), all are given. A module is taken for the
    distribution's whose RECORD or top_level.txt has it, or whose folder, of an editable installation; what has noted
    nothing goes by its own name.
    """
    wanted = frozenset(modules) - sys.stdlib_module_names - _START_UP_HOOKS
    found = [package for package in packages if package.metadata and _has_any(_contents(package), wanted)]
    return sorted(found, key=lambda package: package.name)


def _has_any(contents: _Contents, wanted: frozenset[str]) -> bool:
    return not contents.modules.isdisjoint(wanted) or any(
        os.path.exists(os.path.join(folder, name)) or os.path.exists(os.path.join(folder, f"{name}.py"))
        for folder in contents.folders
        for name in wanted
    )


def _contents(package: Package) -> _Contents:
    try:
        changed_ns = os.stat(package.metadata).st_mtime_ns
    except OSError:
        return _Contents(frozenset(), ())
    known_ns, contents = _known.get(package.metadata, (None, None))
    if contents is None or known_ns != changed_ns:
        contents = _read(package)
        _known[package.metadata] = changed_ns, contents
    return contents


def _read(package: Package) -> _Contents:
    site = os.path.dirname(package.metadata)
    record = _content(os.path.join(package.metadata, "RECORD"))
    entries = set(map(os.fsdecode, set(_FIRST_ENTRY.findall(b"\n" + record))))
    modules = frozenset(match[1] for entry in entries if (match := _MODULE.fullmatch(entry)))
    path_files = [os.fsdecode(_content(os.path.join(site, entry))) for entry in entries if entry.endswith(".pth")]
    folders = tuple(line for text in path_files for line in text.splitlines() if os.path.isabs(line))
    # Where RECORD has the modules themselves, as of most wheels, nothing else need be read.
    if not modules or path_files:
        modules |= frozenset(os.fsdecode(_content(os.path.join(package.metadata, "top_level.txt"))).split())
    if not modules and not folders:
        modules = frozenset({package.name.replace("-", "_")})
    return _Contents(modules, folders)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
