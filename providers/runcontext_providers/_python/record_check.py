"""Which installed distributions have files that are no longer as they were installed."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Self

    from runcontext_providers._python.packages import Package

_CODE = (b".py,sha", b".so,sha", b".pyd,sha")
"""What a line of RECORD has that is about code: "Recording installed projects", section "The RECORD file"."""

_HASHES = ("sha256", "sha384", "sha512")

_VALID_SECONDS = 60.0
"""How long an answer is used again: a program that starts run after run is not to look at every file each time."""


class _LateError(Exception):
    """The time is up."""


class Comparison(NamedTuple):
    """What came of comparing distributions with their RECORD.

    - ``modified``: by a package's name, those of its files that differ, relative to where it is installed.
    - ``compared``: how many packages were compared, of ``packages`` that there are.
    """

    modified: Mapping[str, tuple[str, ...]]
    compared: int
    packages: int


_known: dict[str, tuple[float, tuple[str, ...]]] = {}
"""When the distribution with this metadata was compared in this process, and what was found."""


def compared(packages: Iterable[Package], *, seconds: float) -> Comparison:
    """Compare the code of ``packages`` with what their installers noted, for at most ``seconds``.

    A file is modified where its size differs; and a Python file too where its content does, which is only looked at
    where it was written after RECORD. Files that were deleted are none: images are often slimmed so. Files whose names
    RECORD has to quote, for a comma in them, are not looked at.
    """
    until = time.monotonic() + seconds
    modified: dict[str, tuple[str, ...]] = {}
    listed = list(packages)
    for number, package in enumerate(listed):
        try:
            files = _modified_files(package.metadata, until) if package.metadata else ()
        except _LateError:
            return Comparison(modified, number, len(listed))
        if files:
            modified[package.name] = files
    return Comparison(modified, len(listed), len(listed))


def _modified_files(metadata: str, until: float) -> tuple[str, ...]:
    when, files = _known.get(metadata, (float("-inf"), ()))
    if time.monotonic() - when > _VALID_SECONDS:
        files = tuple(_differing(metadata, until))
        _known[metadata] = time.monotonic(), files
    return files


def _differing(metadata: str, until: float) -> list[str]:
    differing = []
    try:
        with open(os.path.join(metadata, "RECORD"), "rb") as file, _Folder(os.path.dirname(metadata)) as site:
            written_ns = os.fstat(file.fileno()).st_mtime_ns
            for line in _lines_about_code(file.read()):
                if time.monotonic() > until:
                    raise _LateError
                if _differs(site, line, written_ns):
                    differing.append(os.fsdecode(line.rsplit(b",", 2)[0]))
    except OSError:
        return []
    # conda writes its own prefix into files after it has copied RECORD from where the package was built.
    return [] if differing and _installer(metadata) == "conda" else differing


class _Folder:
    """A folder whose files are looked at by the thousand: relative to its descriptor that takes half the time."""

    def __init__(self, path: str) -> None:
        self.path = os.fsencode(path)
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        if os.stat in os.supports_dir_fd:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def stat(self, name: bytes) -> os.stat_result:
        if self._descriptor is None:
            return os.stat(os.path.join(self.path, name))
        return os.stat(name, dir_fd=self._descriptor)


def _lines_about_code(record: bytes) -> Iterator[bytes]:
    # RECORD of a large package has 10,000 lines and more: to decode it and look at each costs five times as much.
    for mark in _CODE:
        at = record.find(mark)
        while at >= 0:
            begin, end = record.rfind(b"\n", 0, at) + 1, record.find(b"\n", at)
            line = record[begin : end if end >= 0 else None]
            if not line.startswith(b'"'):
                yield line.rstrip(b"\r")
            at = record.find(mark, at + 1)


def _differs(site: _Folder, line: bytes, written_ns: int) -> bool:
    try:
        path, noted, size = line.rsplit(b",", 2)
        found = site.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return False
        if found.st_size != int(size):
            return True
        is_newer = found.st_mtime_ns > written_ns and path.endswith(b".py")
        return is_newer and _digest(os.path.join(site.path, path), noted) != noted
    except (OSError, ValueError):
        # It is gone, or the line is no such line.
        return False


def _digest(path: bytes, noted: bytes) -> bytes:
    algorithm = noted.partition(b"=")[0].decode("ascii", "replace")
    if algorithm not in _HASHES:
        return noted
    with open(path, "rb") as file:
        digest = hashlib.new(algorithm, file.read()).digest()
    return algorithm.encode() + b"=" + base64.urlsafe_b64encode(digest).rstrip(b"=")


def _installer(metadata: str) -> str:
    try:
        with open(os.path.join(metadata, "INSTALLER"), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
