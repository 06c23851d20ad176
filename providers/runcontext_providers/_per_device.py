"""A fact about several devices as one tag: a value each, joined with commas, a missing one empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Answer: TypeAlias = "str | Exception"
"""What one device tells of one fact, or why it does not: NotInContext where it has no such fact."""


def joined(answers: Sequence[Answer]) -> str | Exception | None:
    """Join what the devices tell of one fact, or say why none tells it; None where there is no device."""
    if len(failures(answers)) < len(answers):
        return ",".join(texts(answers))
    return together(failures(answers)) if answers else None


def why_missing(rows: Mapping[str, Sequence[Answer]]) -> Exception | None:
    """Say why some devices leave places empty in ``rows`` (tag to answers), None where there is no gap."""
    lists = {tag: answers for tag, answers in rows.items() if 0 < len(failures(answers)) < len(answers)}
    devices = enumerate(zip(*lists.values(), strict=True))
    reasons = [why for index, answers in devices for why in _reasons(index, dict(zip(lists, answers, strict=True)))]
    return together(reasons) if reasons else None


def _reasons(index: int, answers: Mapping[str, Answer]) -> Iterator[Exception]:
    """Give each reason of one device once, with the facts that it costs, unless it costs them all."""
    by_reason: dict[str, list[str]] = {}
    for tag, answer in answers.items():
        if isinstance(answer, Exception):
            by_reason.setdefault(str(answer), []).append(tag)
    for reason, tags in by_reason.items():
        facts = "" if len(tags) == len(answers) else f" ({', '.join(tags)})"
        absent = isinstance(answers[tags[0]], NotInContext)
        message = f"device {index}{facts}: {reason}"
        yield NotInContext(message) if absent else RuntimeError(message)


def together(reasons: Sequence[Exception]) -> Exception:
    """Make one reason of several: absent where all say so, failed otherwise."""
    message = "; ".join(dict.fromkeys(map(str, reasons)))
    absent = all(isinstance(reason, NotInContext) for reason in reasons)
    return NotInContext(message) if absent else RuntimeError(message)


def texts(answers: Sequence[Answer]) -> list[str]:
    """Give the answers with an empty text for each that is missing."""
    return [answer if isinstance(answer, str) else "" for answer in answers]


def failures(answers: Sequence[Answer]) -> list[Exception]:
    """Give the reasons of the answers that are missing."""
    return [answer for answer in answers if isinstance(answer, Exception)]
