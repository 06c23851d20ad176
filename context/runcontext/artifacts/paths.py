"""Artifact paths: which are taken, whatever the place; relative, ``/`` between their parts, never out of the root."""

from __future__ import annotations

from runcontext.errors import StoreError


def checked_path(path: str, place: str) -> str:
    """Give an artifact's path back, if it is one that every place can keep apart from all others.

    Args:
        path: relative to the repository's root.
        place: the repository's URI as it may be shown, for the message.

    Raises:
        StoreError: it is absolute, empty or has an empty part, or ``.``, ``..`` or a NUL in it, or is no Unicode text.
    """
    problem = _problem(path)
    if problem is not None:
        message = f"artifact path {path!r} {problem}; a relative path with / between its parts is expected in {place}"
        raise StoreError(message)
    return path


def checked_folder(path: str | None, place: str) -> str:
    """Give a folder's path without a ``/`` at its end, ``""`` for the root.

    Raises:
        StoreError: as ``checked_path`` does.
    """
    return checked_path(path.removesuffix("/") or path, place) if path else ""


def _problem(path: str) -> str | None:
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
        path.encode()
    except UnicodeEncodeError:
        return "is no Unicode text"
    return None
