"""Small files that spare the next run work that this one has done; one that cannot be used costs only time."""

from __future__ import annotations

import _thread
import os

from runcontext import codec, project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MODULUS = (1 << 61) - 1
_read: dict[str, tuple[tuple[int, int], Any]] = {}


def folder(setting: str | None) -> str | None:
    """Give the folder of the cache: ``setting``, else the user's own cache folder (XDG_CACHE_HOME)."""
    return setting or project.user_folder("XDG_CACHE_HOME", ".cache")


def read(place: str | None, kind: str, key: str) -> dict[str, Any] | None:
    """Give what was kept for ``key``, None where there is nothing usable; not to be changed by who gets it."""
    if place is None:
        return None
    path = _file(place, kind, key)
    try:
        found = os.stat(path)
        state = found.st_ino, found.st_mtime_ns
        if path not in _read or _read[path][0] != state:
            with open(path, encoding="utf-8") as file:
                _read[path] = state, codec.loads(file.read())
        content: dict[str, Any] = _read[path][1]
        return content if content["schema"] == 1 and content["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(place: str | None, kind: str, key: str, content: Mapping[str, Any]) -> None:
    """Keep ``content`` for ``key``, in a file that is whole or not there."""
    if place is None:
        return
    target = _file(place, kind, key)
    temporary = f"{target}.{os.getpid()}-{_thread.get_ident()}"
    try:
        text = codec.dumps({"schema": 1, "key": key, **content})
        os.makedirs(place, mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, target)
    except (OSError, TypeError):
        return


def _file(place: str, kind: str, key: str) -> str:
    # The key itself is checked in the file: all that its name must be is the same in every process. A module for
    # checksums would cost the program half a millisecond to import.
    number = int.from_bytes(key.encode("utf-8", "surrogatepass"), "big") % _MODULUS
    return os.path.join(place, f"{kind}-{number:016x}.json")
