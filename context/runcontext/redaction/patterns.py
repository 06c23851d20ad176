"""The patterns that a user adds to the rules: in force for the whole process until they are replaced."""

from __future__ import annotations

from runcontext.redaction.masking import MARK, hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from typing import Any

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
_MOST_REPEATS = 1_000

_in_force: tuple[re.Pattern[str], ...] = ()


def use_patterns(patterns: Sequence[str]) -> None:
    """Put ``patterns`` in force, in place of those that are: what they match in any text is a secret.

    Each is a regular expression of ``re``. Its first group is the secret; the whole match where it has no group, or
    where that group took no part. Inline flags say what else is meant: ``(?i)host-[a-z]+``. Raises ValueError for one
    that ``pattern_problem`` finds unusable, and then leaves those in force that are.
    """
    global _in_force  # noqa: PLW0603 - one judge for the whole process, whoever asks
    _in_force = tuple(map(_usable, patterns))


def pattern_problem(pattern: str) -> str | None:
    """Say why ``pattern`` cannot be used, None where it can.

    It does not compile, matches the empty string, or repeats without limit what itself does: a backtracking matcher
    takes exponential time for some texts then (CWE-1333).
    """
    try:
        _usable(pattern)
    except ValueError as problem:
        return str(problem)
    return None


def _usable(pattern: str) -> re.Pattern[str]:
    import re

    try:
        compiled = re.compile(pattern)
    # re.error, OverflowError, RecursionError, and a warning where the program makes errors of them.
    except Exception as error:
        message = f"no regular expression: {error}"
        raise ValueError(message) from error
    if compiled.search(""):
        message = "matches the empty string"
        raise ValueError(message)
    if _repeats_repeats(_parsed(pattern, compiled.flags)):
        message = "repeats what repeats, as (a+)+ does: on some texts that takes for ever"
        raise ValueError(message)
    return compiled


def _parsed(pattern: str, flags: int) -> Any:
    import sys

    parser: Any
    if sys.version_info >= (3, 11):
        from re import _parser as parser  # type: ignore[attr-defined]
    else:
        import sre_parse as parser
    return parser.parse(pattern, flags)


def _repeats_repeats(node: Any, *, is_repeated: bool = False) -> bool:
    """Say whether a part of a parsed expression that may repeat without limit does so inside another one.

    Walks what ``re`` itself makes of a pattern: lists of (operation, arguments), nested; a repeat's arguments are its
    least and greatest number and what it repeats.
    """
    node = getattr(node, "data", node)
    if isinstance(node, tuple) and len(node) == 2 and str(node[0]) in _REPEATS:  # noqa: PLR2004 - see above
        _least, most, repeated = node[1]
        is_endless = int(most) > _MOST_REPEATS
        return (is_endless and is_repeated) or _repeats_repeats(repeated, is_repeated=is_repeated or is_endless)
    if isinstance(node, (str, bytes)) or not hasattr(node, "__iter__"):
        return False
    return any(_repeats_repeats(each, is_repeated=is_repeated) for each in node)


def are_in_force() -> bool:
    """Say whether there is any: without one no text needs a look."""
    return bool(_in_force)


def redact_matches(text: str) -> str:
    """Mask what the patterns in force match, one pattern after the other; a mark is never masked again."""
    for pattern in _in_force:
        text = _masked(text, pattern)
    return text


def _masked(text: str, pattern: re.Pattern[str]) -> str:
    pieces: list[str] = []
    done = 0
    for match in pattern.finditer(text):
        start, end = _secret_span(text, match)
        start = max(start, done)
        secret = text[start:end]
        if not secret.replace(MARK, "").strip():
            continue
        mark = hidden(secret)
        is_joined = start == done and mark == MARK and pieces[-1:] == [MARK]  # `\d` makes one mark of a number, not ten
        if not is_joined:
            pieces += (text[done:start], mark)
        done = end
    return "".join((*pieces, text[done:]))


def _secret_span(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Give where the secret of ``match`` stands, with the whole of a mark that it begins or ends in."""
    start, end = match.span(1 if match.re.groups and match[1] is not None else 0)
    before = text.find(MARK, max(0, start - len(MARK) + 1), start + len(MARK) - 1)
    after = text.find(MARK, max(0, end - len(MARK) + 1), end + len(MARK) - 1)
    return before if before >= 0 else start, after + len(MARK) if after >= 0 else end
