"""Attributes of devices as Linux's sysfs shows them: a file each, a missing one being a fact that is not there."""

from __future__ import annotations

import os

from runcontext import NotInContext


def attribute(*path: str) -> str:
    """Give the text of an attribute; raise NotInContext where the driver does not give it, OSError on failure."""
    file = os.path.join(*path)
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read().strip()
    except FileNotFoundError:
        message = f"{os.path.basename(file)} is not among what the driver tells"
        raise NotInContext(message) from None


def numbered(folder: str) -> list[str]:
    """Give the entries of ``folder`` whose names are numbers, in their order; none where there is no folder."""
    try:
        return sorted(filter(str.isdigit, os.listdir(folder)), key=int)
    except FileNotFoundError:
        return []
