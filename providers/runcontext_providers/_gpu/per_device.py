"""A fact about several devices as one tag: a value each, joined with commas, a missing one empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Answer: TypeAlias = "str | Exception | None"
"""What one device tells of one fact, or why it does not: NotInContext where it has no such fact.

None is a fact that devices of its kind do not have: an empty place that needs no reason.
"""


class Told(NamedTuple):
    """What the devices of one maker tell.

    - ``devices``: the facts of each, by tag; or why they cannot even be counted.
    - ``shared``: the facts that they have in common, by tag.
    - ``gaps``: why something is missing inside a shared fact.
    """

    devices: Sequence[Mapping[str, Answer]] | Exception
    shared: Mapping[str, Answer]
    gaps: Sequence[Exception] = ()


class Maker(Protocol):
    """How the devices of one maker are found and asked; every maker gives the same tags."""

    def look(self) -> None:
        """Raise NotInContext, naming what was looked for, where there is nothing of this maker: in microseconds."""

    def ask(self, first: int) -> Told:
        """Give the facts as they are now; ``first`` is the place of this maker's first device among all devices."""
        ...

    def ask_at_end(self) -> Told:
        """Give what may have changed since, and what is known only at the end."""
        ...


def joined(answers: Sequence[Answer]) -> Answer:
    """Join what the devices tell of one fact, or say why none tells it; None where no device has such a fact."""
    if any(isinstance(answer, str) for answer in answers):
        return ",".join(texts(answers))
    reasons = failures(answers)
    return together(reasons) if reasons else None


def why_missing(rows: Mapping[str, Sequence[Answer]]) -> list[Exception]:
    """Say why some devices leave places empty in ``rows`` (tag to answers), where others do not."""
    lists = {tag: answers for tag, answers in rows.items() if any(isinstance(answer, str) for answer in answers)}
    devices = enumerate(zip(*lists.values(), strict=True))
    return [why for index, answers in devices for why in _reasons(index, dict(zip(lists, answers, strict=True)))]


def _reasons(index: int, answers: Mapping[str, Answer]) -> Iterator[Exception]:
    """Give each reason of one device once, with the facts that it costs, unless it costs them all."""
    by_reason: dict[str, list[str]] = {}
    for tag, answer in answers.items():
        if isinstance(answer, Exception):
            by_reason.setdefault(str(answer), []).append(tag)
    for reason, tags in by_reason.items():
        it_has = sum(answer is not None for answer in answers.values())
        facts = "" if len(tags) == it_has else f" ({', '.join(tags)})"
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
