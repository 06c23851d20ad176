"""The distributions on an import path: which versions, and where each was installed from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from importlib_metadata import Distribution, DistributionFinder, MetadataPathFinder

from runcontext_providers._python.origins import Origin, UnreadableError, editable, from_index, noted_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_NUMBER = r"(?:0|[1-9][0-9]*)"
_CANONICAL_VERSION = (
    rf"(?:[1-9][0-9]*!)?{_NUMBER}(?:\.{_NUMBER})*(?:(?:a|b|rc){_NUMBER})?"
    rf"(?:\.post{_NUMBER})?(?:\.dev{_NUMBER})?"
    r"(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?"
)
"""A version in its normal form: the version specifiers specification, appendix "Parsing version strings"."""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._]*[A-Za-z0-9])?"
_FOLDER = re.compile(rf"({_NAME})-({_CANONICAL_VERSION})(?:-py\d+(?:\.\d+)?)?\.(?:dist|egg)-info")
"""A metadata folder whose name tells name and version beyond doubt: "Recording installed projects", section
"The .dist-info directory"; with any other the metadata decides."""

_SETTLED_NS = 2_000_000_000
"""Within this time a folder may change again and keep its time of change: FAT counts in steps of 2 s."""

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


class Package(NamedTuple):
    """One installed distribution.

    - ``name``: normalized, as in the specification "Names and normalization".
    - ``version``: in its normal form where the metadata folder is named so, else as the metadata states it.
    - ``origin``: what installs it, and what is known of where it came from.
    - ``metadata``: the path of its metadata; empty inside a zip file.
    """

    name: str
    version: str
    origin: Origin
    metadata: str = ""


class Installation(NamedTuple):
    """What is installed on an import path.

    - ``packages``: one a name, that which is imported.
    - ``broken``: what is not among them, or not beyond doubt: each one's place, and why.
    """

    packages: tuple[Package, ...]
    broken: tuple[str, ...]

    @property
    def sha256(self) -> str:
        r"""Identify the list, so that the same packages give the same hash on every machine.

        What is hashed: a line ``name==version`` for every package, with ``@`` and the commit behind it for one that was
        installed from a repository; normalized names, the lines sorted by code point, joined by ``\n`` with none at the
        end, in UTF-8. Places have no part in it: addresses, folders, the path. Nor have the hashes of archives, which
        not every installer notes, nor what is in the folder of an editable install, which is told beside it.
        """
        lines = sorted(
            f"{package.name}=={package.version}" + (f"@{package.origin.commit}" if package.origin.commit else "")
            for package in self.packages
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def requirements(self, remarks: Mapping[str, Sequence[str]]) -> str:
        """Give the lines of a requirements file that installs the packages, sorted by name.

        ``remarks`` are words that stand as a comment behind the package of that name.
        """
        lines = []
        for package in sorted(self.packages, key=lambda package: package.name):
            words = [f"{package.name}=={package.version}"] if package.origin.folder is not None else []
            comment = _on_one_line(", ".join([*words, *remarks.get(package.name, ())]))
            lines.append(
                f"{package.origin.requirement}  # {comment}\n" if comment else f"{package.origin.requirement}\n"
            )
        return "".join(lines)


def _on_one_line(comment: str) -> str:
    # Whatever ends a line would begin a requirement.
    return "".join(character if character.isprintable() else "?" for character in comment)


class _Stamp(NamedTuple):
    """What tells that a path entry is still what it was."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, entry: str) -> _Stamp:
        status = os.stat(entry)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


_known: dict[str, tuple[_Stamp, Installation]] = {}
"""What earlier calls in this process found on each path entry."""


def installed(path: Iterable[str]) -> Installation:
    """List the distributions on import path ``path``, the first of a name being the one that is imported.

    Entries are absolute, and folders or zip files; what is missing is passed over, as Python does. An entry
    that has not changed since an earlier call in this process is not read again.
    """
    stamps: dict[tuple[int, int], tuple[str, _Stamp]] = {}
    for entry in path:
        with contextlib.suppress(OSError, ValueError):
            stamp = _Stamp.of(entry)
            stamps.setdefault((stamp.device, stamp.inode), (entry, stamp))
    found = [_known_or_scanned(entry, stamp) for entry, stamp in stamps.values()]
    packages: dict[str, Package] = {}
    for installation in reversed(found):
        packages.update({package.name: package for package in installation.packages})
    return Installation(tuple(packages.values()), tuple(reason for each in found for reason in each.broken))


def _known_or_scanned(entry: str, stamp: _Stamp) -> Installation:
    known_stamp, known = _known.get(entry, (None, None))
    if known is not None and known_stamp == stamp:
        return known
    found = _scanned(entry)
    if time.time_ns() - stamp.changed_ns > _SETTLED_NS:
        _known[entry] = stamp, found
    return found


def _scanned(entry: str) -> Installation:
    packages: dict[str, Package] = {}
    broken = []
    try:
        for label, read in _readers(entry):
            try:
                package, flaw = read()
            except Exception as error:  # noqa: BLE001 - however broken it is, it costs only itself
                broken.append(f"{label}: {error}")
                continue
            counted = packages.setdefault(package.name, package).version
            if counted != package.version:
                flaw = f"{package.name} is there in two versions; {counted} was counted"
            if flaw is not None:
                broken.append(f"{label}: {flaw}")
    except OSError as error:
        broken.append(f"{entry}: {error.strerror or error}")
    return Installation(tuple(packages.values()), tuple(broken))


_Reading: TypeAlias = "tuple[Package, str | None]"
"""A package, and what is wrong with it where something is."""


def _readers(entry: str) -> Iterator[tuple[str, Callable[[], _Reading]]]:
    """Give what names each distribution in a path entry, and what reads it."""
    if os.path.isdir(entry) and not entry.endswith(".egg"):
        for child in sorted(os.listdir(entry)):
            if child.endswith((".dist-info", ".egg-info")):
                yield os.path.join(entry, child), partial(_read_folder, entry, child)
    else:
        found = MetadataPathFinder.find_distributions(DistributionFinder.Context(path=[entry]))  # type: ignore[no-untyped-call]
        for distribution in found:
            yield f"a distribution in {entry}", partial(_read_distribution, distribution)


def _read_folder(entry: str, child: str) -> _Reading:
    folder = os.path.join(entry, child)
    files = _files(folder)
    if child.startswith("~"):
        message = "left behind by an installation that was interrupted"
        raise UnreadableError(message)
    if not files & {"METADATA", "PKG-INFO"}:
        message = "no METADATA"
        raise UnreadableError(message)
    named = _FOLDER.fullmatch(child)
    name, version = named.groups() if named else _stated(Distribution.at(folder))
    if "direct_url.json" in files:
        return _with_origin(name, version, Distribution.at(folder), folder)
    name, project = _normalized(name), _project_of(entry, child)
    origin = from_index(name, version) if project is None else editable(project)
    return Package(name, version, origin, folder), None


def _files(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except NotADirectoryError:
        return frozenset({"PKG-INFO"})  # what distutils writes: the egg-info is itself the metadata


def _read_distribution(distribution: Distribution) -> _Reading:
    name, version = _stated(distribution)
    return _with_origin(name, version, distribution, "")


def _stated(distribution: Distribution) -> tuple[str, str]:
    """Read name and version from the metadata."""
    metadata = distribution.metadata
    name, version = str(metadata.get("Name", "")).strip(), str(metadata.get("Version", "")).strip()
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        message = f"its metadata has no valid name: {name!r}"
        raise UnreadableError(message)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*", version):
        message = f"its metadata has no valid version: {version!r}"
        raise UnreadableError(message)
    return name, version


def _normalized(name: str) -> str:
    """Apply the specification "Names and normalization"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _project_of(entry: str, child: str) -> str | None:
    """Find the project that an egg-info was made in, where ``setup.py develop`` leaves it."""
    if child.endswith(".dist-info") or "-" in child.removesuffix(".egg-info"):
        return None
    for folder in (entry, os.path.dirname(entry)):
        if any(os.path.exists(os.path.join(folder, file)) for file in _PROJECT_FILES):
            return folder
    return None


def _with_origin(name: str, version: str, distribution: Distribution, metadata: str) -> _Reading:
    name = _normalized(name)
    try:
        origin, flaw = noted_origin(name, version, distribution), None
    except Exception as error:  # noqa: BLE001 - however broken the origin is, the package is there
        origin, flaw = from_index(name, version), f"its origin cannot be read from direct_url.json: {error}"
    return Package(name, version, origin, metadata), flaw
