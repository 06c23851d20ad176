"""Where an installed distribution came from, and the requirement that installs it from there again."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from runcontext.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

    from importlib_metadata import Distribution

_ANY_VERSION = (
    r"(?ai)v?(?:\d+!)?\d+(?:\.\d+)*"
    r"(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?"
    r"(?:[-_.]?dev[-_.]?\d*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?"
)
"""A version in any form that installers accept after ``==``: the version specifiers specification, appendix "Parsing
version strings"."""

_PRINTABLE = "".join(map(chr, range(ord("!"), ord("~") + 1)))


class UnreadableError(Exception):
    """A distribution, or its origin, that cannot be read, and why."""


class Origin(NamedTuple):
    """Where a distribution came from.

    - ``requirement``: what stands in a requirements file to install it from there, secrets redacted.
    - ``redacted``: whether there was a secret in it.
    - ``commit``: the commit that it was built from, where it was installed from a repository.
    - ``folder``: the project's folder, where the installation is editable.
    """

    requirement: str
    redacted: bool = False
    commit: str | None = None
    folder: str | None = None


def from_index(name: str, version: str) -> Origin:
    """Give the origin of a distribution that notes none: a package index."""
    # ``==`` takes only versions of the specification; ``===`` is its way to name any other.
    operator = "==" if re.fullmatch(_ANY_VERSION, version) else "==="
    return Origin(f"{name}{operator}{version}")


def editable(folder: str) -> Origin:
    """Give the origin of a project that is imported from its own folder."""
    if not folder.isprintable():
        message = f"the path {folder!r} cannot be written in a requirements file"
        raise UnreadableError(message)
    return Origin(f"-e {shlex.quote(folder)}", folder=folder)


def noted_origin(name: str, version: str, distribution: Distribution) -> Origin:
    """Read the origin that the installer noted: PEP 610; the specification "Direct URL Data Structure".

    Raises whatever reading an ill-formed one does.
    """
    origin = distribution.origin
    # A package that conda built names the folder where it was built, on another machine.
    if origin is None or (distribution.read_text("INSTALLER") or "").strip() == "conda":
        return from_index(name, version)
    if getattr(getattr(origin, "dir_info", None), "editable", False):
        return editable(_path_of(origin.url))
    url, commit = redact_url(origin.url), None
    redacted = url != origin.url
    if hasattr(origin, "vcs_info"):
        commit = str(origin.vcs_info.commit_id)
        url = f"{origin.vcs_info.vcs}+{url}@{commit}"
    fragment = "&".join(_fragments(origin))
    return Origin(f"{name} @ {_one_word(f'{url}#{fragment}' if fragment else url)}", redacted, commit)


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


def _path_of(url: str) -> str:
    path = unquote(urlsplit(url).path)
    return path.lstrip("/") if os.name == "nt" else path


def _one_word(url: str) -> str:
    """Percent-encode what would end the requirement or its line: blanks, control characters, non-ASCII."""
    return quote(url, safe=_PRINTABLE)
