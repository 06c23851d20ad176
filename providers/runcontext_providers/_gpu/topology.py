"""How devices are connected, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runcontext import NotInContext
from runcontext_providers._gpu.per_device import together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext_providers._gpu.per_device import Answer


def described(links: Mapping[tuple[int, int], Answer], nodes: Mapping[int, Answer]) -> tuple[Answer, list[Exception]]:
    """Give the connections in a line, such as ``NV12 0-1; SYS 0-2 1-2; numa 0 0 1``, and why some are missing.

    - ``links``: for each pair of places, the kind of connection.
    - ``nodes``: for each place, its NUMA node.

    A missing one is ``?``; where all are missing the reasons are the answer.
    """
    gaps = _gaps({f"{first}-{second}": link for (first, second), link in links.items()}, "link")
    gaps += _gaps({str(place): node for place, node in nodes.items()}, "NUMA node of device")
    parts = _by_kind(links)
    if any(isinstance(node, str) for node in nodes.values()):
        parts.append(" ".join(["numa", *(node if isinstance(node, str) else "?" for node in nodes.values())]))
    if parts or not gaps:
        return "; ".join(parts) or None, gaps
    return together(gaps), []


def _by_kind(links: Mapping[tuple[int, int], Answer]) -> list[str]:
    """Give ``KIND all``, or each kind with its pairs; nothing where no kind is known."""
    kinds: dict[str, list[str]] = {}
    for (first, second), link in links.items():
        kinds.setdefault(link if isinstance(link, str) else "?", []).append(f"{first}-{second}")
    if set(kinds) == {"?"}:
        return []
    if len(kinds) == 1 and len(links) > 1:
        return [f"{kind} all" for kind in kinds]
    return [" ".join([kind, *pairs]) for kind, pairs in kinds.items()]


def _gaps(answers: Mapping[str, Answer], what: str) -> list[Exception]:
    places: dict[str, list[str]] = {}
    for place, answer in answers.items():
        if isinstance(answer, Exception):
            places.setdefault(str(answer), []).append(place)
    failed = {str(answer) for answer in answers.values() if not isinstance(answer, (str, NotInContext))}
    return [
        (RuntimeError if reason in failed else NotInContext)(f"gpu.topology ({what} {', '.join(where)}): {reason}")
        for reason, where in places.items()
    ]
