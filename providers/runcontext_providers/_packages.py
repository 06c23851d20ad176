"""The distributions on an import path: which versions, and where each was installed from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from importlib_metadata import Distribution, DistributionFinder, MetadataPathFinder

from runcontext.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import SimpleNamespace

_NUMBER = r"(?:0|[1-9][0-9]*)"
_CANONICAL_VERSION = (
    rf"(?:[1-9][0-9]*!)?{_NUMBER}(?:\.{_NUMBER})*(?:(?:a|b|rc){_NUMBER})?"
    rf"(?:\.post{_NUMBER})?(?:\.dev{_NUMBER})?"
    r"(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?"
)
"""A version in its normal form: the version specifiers specification, appendix "Parsing version strings"."""

_ANY_VERSION = (
    r"(?ai)v?(?:\d+!)?\d+(?:\.\d+)*"
    r"(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?"
    r"(?:[-_.]?dev[-_.]?\d*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?"
)
"""A version in any form that installers accept after ``==``: the same appendix."""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._]*[A-Za-z0-9])?"
_FOLDER = re.compile(rf"({_NAME})-({_CANONICAL_VERSION})(?:-py\d+(?:\.\d+)?)?\.(?:dist|egg)-info")
"""A metadata folder whose name tells name and version beyond doubt: "Recording installed projects", section
"The .dist-info directory"; with any other the metadata decides."""

_SETTLED_NS = 2_000_000_000
"""Within this time a folder may change again and keep its time of change: FAT counts in steps of 2 s."""

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_PRINTABLE = "".join(map(chr, range(ord("!"), ord("~") + 1)))


class _BrokenError(Exception):
    """A distribution, or its origin, that cannot be read, and why."""


class Package(NamedTuple):
    """One installed distribution.

    - ``name``: normalized, as in the specification "Names and normalization".
    - ``version``: in its normal form where the metadata folder is named so, else as the metadata states it.
    - ``requirement``: the line of a requirements file that installs it, secrets redacted.
    - ``redacted``: whether there was a secret in its origin.
    """

    name: str
    version: str
    requirement: str
    redacted: bool = False


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

        What is hashed: a line ``name==version`` for every package, normalized names, the lines sorted by code
        point, joined by ``\n`` with none at the end, in UTF-8. Where a package came from has no part in it.
        """
        lines = sorted(f"{package.name}=={package.version}" for package in self.packages)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def requirements(self) -> str:
        """Give the lines of a requirements file that installs the packages, sorted by name."""
        ordered = sorted(self.packages, key=lambda package: package.name)
        return "".join(f"{package.requirement}\n" for package in ordered)


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
        raise _BrokenError(message)
    if not files & {"METADATA", "PKG-INFO"}:
        message = "no METADATA"
        raise _BrokenError(message)
    named = _FOLDER.fullmatch(child)
    name, version = named.groups() if named else _stated(Distribution.at(folder))
    if "direct_url.json" in files:
        return _with_origin(_normalized(name), version, Distribution.at(folder))
    project = _project_of(entry, child)
    if project is not None:
        return Package(_normalized(name), version, _editable(_normalized(name), version, project)), None
    return _from_index(_normalized(name), version), None


def _files(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except NotADirectoryError:
        return frozenset({"PKG-INFO"})  # what distutils writes: the egg-info is itself the metadata


def _read_distribution(distribution: Distribution) -> _Reading:
    name, version = _stated(distribution)
    return _with_origin(_normalized(name), version, distribution)


def _stated(distribution: Distribution) -> tuple[str, str]:
    """Read name and version from the metadata."""
    metadata = distribution.metadata
    name, version = str(metadata.get("Name", "")).strip(), str(metadata.get("Version", "")).strip()
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        message = f"its metadata has no valid name: {name!r}"
        raise _BrokenError(message)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*", version):
        message = f"its metadata has no valid version: {version!r}"
        raise _BrokenError(message)
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


def _from_index(name: str, version: str) -> Package:
    # ``==`` takes only versions of the specification; ``===`` is its way to name any other.
    operator = "==" if re.fullmatch(_ANY_VERSION, version) else "==="
    return Package(name, version, f"{name}{operator}{version}")


def _with_origin(name: str, version: str, distribution: Distribution) -> _Reading:
    try:
        origin = distribution.origin
        # A package that conda built names the folder where it was built, on another machine.
        if origin is None or (distribution.read_text("INSTALLER") or "").strip() == "conda":
            return _from_index(name, version), None
        return _from_origin(name, version, origin), None
    except Exception as error:  # noqa: BLE001 - however broken the origin is, the package is there
        return _from_index(name, version), f"its origin cannot be read from direct_url.json: {error}"


def _from_origin(name: str, version: str, origin: SimpleNamespace) -> Package:
    """Write the requirement of an origin (PEP 610; the specification "Direct URL Data Structure")."""
    url = redact_url(origin.url)
    redacted = url != origin.url
    if hasattr(origin, "vcs_info"):
        url = f"{origin.vcs_info.vcs}+{url}@{origin.vcs_info.commit_id}"
    elif getattr(getattr(origin, "dir_info", None), "editable", False):
        return Package(name, version, _editable(name, version, _path_of(origin.url)))
    fragment = "&".join(_fragments(origin))
    requirement = f"{name} @ {url}#{fragment}" if fragment else f"{name} @ {url}"
    return Package(name, version, _one_line(requirement), redacted)


def _fragments(origin: SimpleNamespace) -> Iterator[str]:
    archive: SimpleNamespace | None = getattr(origin, "archive_info", None)
    hashes: SimpleNamespace | None = getattr(archive, "hashes", None)
    older_hash: str | None = getattr(archive, "hash", None)
    if hashes is not None:
        yield from (f"{algorithm}={digest}" for algorithm, digest in sorted(vars(hashes).items()))
    elif older_hash:
        yield older_hash
    if getattr(origin, "subdirectory", None):
        yield f"subdirectory={origin.subdirectory}"


def _editable(name: str, version: str, path: str) -> str:
    if not path.isprintable():
        message = f"the path {path!r} cannot be written in a requirements file"
        raise _BrokenError(message)
    return f"-e {shlex.quote(path)}  # {name}=={version}"


def _path_of(url: str) -> str:
    path = unquote(urlsplit(url).path)
    return path.lstrip("/") if os.name == "nt" else path


def _one_line(requirement: str) -> str:
    """Percent-encode what would end the requirement or its line: blanks, control characters, non-ASCII."""
    name, _, url = requirement.partition(" @ ")
    return f"{name} @ {quote(url, safe=_PRINTABLE)}"
