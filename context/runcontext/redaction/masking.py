"""What replaces a secret, and the patterns that find one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

MARK = "[redacted]"
"""What stands in a secret's place."""

MARGIN = "\r \t+-#>|*,\"'"
"""What may stand around a line of a secret: indentation, a patch's column, a comment, the quotes of a source file."""

_patterns: dict[str, re.Pattern[str]] = {}


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when it is first used, and only then: most programs pay for none, nor for ``import re``."""
    found = _patterns.get(pattern)
    if found is None:
        import re

        found = _patterns[pattern] = re.compile(pattern)
    return found


def lowercase(text: str) -> str:
    """Give ``text`` in lower case, every character where it was."""
    lowered = text.lower()
    # The one character of Unicode that two take the place of (SpecialCasing.txt).
    return lowered if len(lowered) == len(text) else text.replace("\u0130", "i").lower()


def positions(text: str, needles: Sequence[str]) -> list[int]:
    """Give where any of ``needles`` stands in ``text``, in order."""
    found: list[int] = []
    for needle in needles:
        at = text.find(needle)
        while at >= 0:
            found.append(at)
            at = text.find(needle, at + 1)
    return sorted(found)


def masked(match: re.Match[str]) -> str:
    """Give a match with its first group masked, or all of it where its pattern has no group."""
    whole = match.group()
    if not match.re.groups:
        return MARK
    start, end = match.span(1)
    return whole[: start - match.start()] + MARK + whole[end - match.start() :]


def hidden(secret: str) -> str:
    """Give what stands in a secret's place: the mark, and the line breaks of one that has any."""
    if "\n" in secret:
        return emptied(secret)
    return MARK if secret else ""


def emptied(body: str) -> str:
    """Leave of a value over several lines its first, as a mark, and of the others the margin and the break."""
    lines = body.split("\n")
    for at, line in enumerate(lines):
        if line.strip(MARGIN):
            escape = "\\n" if line.startswith("\\n") else ""
            after = "\\n" if escape and line.endswith("\\n") else ""
            lines[at:] = [(escape or _margin(line)) + MARK + after + "\r" * line.endswith("\r")]
            lines += [_margin(rest) + "\r" * rest.endswith("\r") for rest in body.split("\n")[at + 1 :]]
            break
    return "\n".join(lines)


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip(MARGIN.replace("\r", "")))]
