"""The project around a folder, found by looking at folders: git may hang, so it is never asked."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STORE_FOLDER = ".runcontext"


def working_directory() -> str | None:
    """Give the working directory, None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def parents(folder: str) -> Iterator[str]:
    """Give ``folder`` and every folder above it."""
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def first_with(folder: str, name: str) -> str | None:
    """Give the nearest folder, from ``folder`` upwards, that has an entry called ``name``."""
    return next((each for each in parents(folder) if os.path.lexists(os.path.join(each, name))), None)


def pyproject_file(folder: str) -> str | None:
    """Give the path of the nearest pyproject.toml."""
    found = first_with(folder, "pyproject.toml")
    return os.path.join(found, "pyproject.toml") if found is not None else None


def store_folder(folder: str) -> str | None:
    """Give where runs started in ``folder`` are kept, None where no place is fit.

    An existing ``.runcontext`` looked for upwards; else one in the git root, the folder of pyproject.toml, or
    ``folder`` itself, the first of them that is neither the home folder nor ``/``; else the user's data folder (XDG
    Base Directory Specification, XDG_DATA_HOME).
    """
    existing = first_with(folder, STORE_FOLDER)
    if existing is not None:
        return os.path.join(existing, STORE_FOLDER)
    home = _home()
    unfit = {os.sep, home, os.path.realpath(home) if home is not None else None}
    for root in (first_with(folder, ".git"), first_with(folder, "pyproject.toml"), folder):
        if root is not None and root not in unfit:
            return os.path.join(root, STORE_FOLDER)
    return default_folder()


def default_folder() -> str | None:
    """Give where runs of no project are kept, None where no home is known."""
    return user_folder("XDG_DATA_HOME", ".local/share")


def user_folder(variable: str, below_home: str) -> str | None:
    """Give runcontext's folder of one kind (XDG Base Directory Specification), None without a home."""
    base = os.environ.get(variable, "")
    if os.path.isabs(base):
        return os.path.join(base, "runcontext")
    home = _home()
    return os.path.join(home, below_home, "runcontext") if home is not None else None


def _home() -> str | None:
    home = os.path.expanduser("~")
    return os.path.normpath(home) if os.path.isabs(home) else None
