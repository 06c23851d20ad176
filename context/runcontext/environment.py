"""The environment, without decoding what nobody asks for: ``os.environ`` decodes every variable at every look."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


def snapshot() -> dict[Any, Any]:
    """Give a copy to compare with another one: names and values as the system has them."""
    # What CPython keeps in there is documented nowhere; where it is not a dictionary, decoded copies compare as well.
    encoded = getattr(os.environ, "_data", None)
    return dict(encoded if isinstance(encoded, dict) else os.environ)


def selected(prefix: str, names: Collection[str]) -> dict[str, str]:
    """Give the variables that begin with ``prefix`` or are among ``names``, and are not empty."""
    found = {}
    encoded_prefix = os.fsencode(prefix)
    for key in snapshot():
        if key.startswith(encoded_prefix if isinstance(key, bytes) else prefix):
            name = os.fsdecode(key)
            found[name] = os.environ.get(name, "")
    found.update({name: os.environ.get(name, "") for name in names})
    return {name: value for name, value in found.items() if value}
