"""Artifact paths: which are taken, whatever the place; relative, ``/`` between their parts, never out of the root."""

from __future__ import annotations

import re

from runcontext.errors import StoreError

_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9¹²³]|LPT[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices ("Naming Files, Paths, and Namespaces", Microsoft Learn)."""

_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\\]|[. ]$')
"""Characters that no name on Windows has, or that part names there (the same page), and ends that it drops."""


def checked_path(path: str, place: str, *, is_of_files: bool = False) -> str:
    """Give an artifact's path back, if it is one that every place can keep apart from all others.

    Args:
        path: relative to the repository's root.
        place: the repository's URI as it may be shown, for the message.
        is_of_files: names that files here may have are taken too, whatever their encoding (``os.fsdecode``).

    Raises:
        StoreError: it is absolute, empty or has an empty part, or ``.``, ``..`` or a NUL in it, or is no Unicode text.
    """
    problem = _problem(path, is_of_files=is_of_files)
    if problem is not None:
        message = f"artifact path {path!r} {problem}; a relative path with / between its parts is expected in {place}"
        raise StoreError(message)
    return path


def checked_folder(path: str | None, place: str, *, is_of_files: bool = False) -> str:
    """Give a folder's path without a ``/`` at its end, ``""`` for the root.

    Raises:
        StoreError: as ``checked_path`` does.
    """
    return checked_path(path.removesuffix("/") or path, place, is_of_files=is_of_files) if path else ""


def check_windows_takes(path: str) -> None:
    """Check that every part of a path is a name that Windows keeps as it is.

    Raises:
        StoreError: one is a device's, or has a drive, a backslash or another character in it that no file's name has.
    """
    for each in path.split("/"):
        if _RESERVED.fullmatch(each) or _FORBIDDEN.search(each):
            message = (
                f"artifact path {path!r} has the part {each!r}, which is no name of a file on Windows; a name that"
                " every system takes is expected"
            )
            raise StoreError(message)


def _problem(path: str, *, is_of_files: bool) -> str | None:
    if "\0" in path:
        return "has a NUL character in it"
    if path.startswith("/"):
        return "is absolute"
    parts = path.split("/")
    if ".." in parts:
        return "leads out of its folder"
    if "" in parts or "." in parts:
        return "has an empty part"
    try:
        path.encode(errors="surrogateescape" if is_of_files else "strict")
    except UnicodeEncodeError:
        return "is no Unicode text"
    return None
