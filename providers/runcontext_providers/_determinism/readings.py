"""How settings and states that were read from a library are written in a tag."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

_DIGITS = 16
_MODULE = type(sys)


def imported(name: str, mark: str) -> ModuleType | None:
    """Give module ``name`` where the program has imported it and it has an attribute ``mark``, else None.

    None too while another thread is importing it, for a module of the program's own that has the same name, and for a
    stand-in that would import it at the first look (``importlib.util.LazyLoader``).
    """
    module = sys.modules.get(name)
    if module is None or type(module) is not _MODULE or mark not in module.__dict__:
        return None
    return None if getattr(module.__spec__, "_initializing", False) else module


def pairs(**settings: object) -> str:
    """Write settings as ``name=value``, a space between them, those that are None left out."""
    return " ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in settings.items()
        if value is not None
    )


def fingerprint(state: bytes) -> str:
    """Give the first 64 bits of the SHA-512 of a generator's state, in hexadecimal digits."""
    digest: str = _sha512()(state).hexdigest()
    return digest[:_DIGITS]


def _sha512() -> Callable[[bytes], Any]:
    # Whoever has a generator has imported random, whose own function costs nothing; hashlib costs 2 ms.
    own: Callable[[bytes], Any] | None = getattr(sys.modules.get("random"), "_sha512", None)
    if own is not None:
        return own
    from hashlib import sha512

    return sha512
