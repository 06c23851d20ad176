"""The tables of a captured context, which ``capture`` and ``show`` both print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runcontext.cli.output import Column, Table, is_for_people
from runcontext.resolution import ABSENT, CALLER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runcontext.record import Context, Outcome


def tables(context: Context, tags: Mapping[str, str]) -> list[Table]:
    """Give the tables of ``tags``, of the providers' outcomes and of what several gave."""
    return [tag_table(context, tags), *_outcome_tables(context), _conflict_table(context)]


def tag_table(context: Context, tags: Mapping[str, str]) -> Table:
    """Give the table of tags: name, value, and who gave it."""
    rows = [(tag, value, giver(context, tag, value)) for tag, value in tags.items()]
    return Table("", (Column("Tag", 26), Column("Value", 16), Column("Provider", 10)), rows, "tag")


def giver(context: Context, tag: str, value: str) -> str:
    """Give the name of the provider whose value a tag has: the last that gave it, unless the program set another."""
    if context.tags.get(tag) != value or any(each.tag == tag and each.winner == CALLER for each in context.conflicts):
        return CALLER
    names = [name for name, outcome in context.outcomes.items() if tag in outcome.tags]
    return names[-1] if names else CALLER


def _outcome_tables(context: Context) -> list[Table]:
    if is_for_people():
        columns = (Column("Provider", 10), Column("Status"), Column("Time", is_number=True), Column("Why", 24))
        rows = [row for name, outcome in context.outcomes.items() for row in _rows_for_people(name, outcome)]
        return [Table("", columns, rows)]
    providers = [
        (name, outcome.status.value, f"{outcome.seconds:.6f}", outcome.placement, outcome.reason or "")
        for name, outcome in context.outcomes.items()
    ]
    facts = [
        (name, tag, reason) for name, outcome in context.outcomes.items() for tag, reason in outcome.failures.items()
    ]
    return [
        Table("", tuple(map(Column, ("Provider", "Status", "Seconds", "Placement", "Reason"))), providers, "provider"),
        Table("", tuple(map(Column, ("Provider", "Tag", "Reason"))), facts, "fact"),
    ]


def _rows_for_people(name: str, outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """Give a provider's row, and one below it for each fact that is not there."""
    reasons = [outcome.reason] if outcome.reason else []
    for tag, reason in outcome.failures.items():
        reasons.append(f"{tag} {reason}" if reason.startswith(ABSENT) else f"{tag} failed: {reason}")
    if outcome.redacted:
        reasons.append(f"{outcome.redacted} redacted")
    status = outcome.status.value.replace("_", " ")
    yield name, status, _milliseconds(outcome), reasons[0] if reasons else ""
    for reason in reasons[1:]:
        yield "", "", "", reason


def _milliseconds(outcome: Outcome) -> str:
    milliseconds = outcome.seconds * 1_000
    if not milliseconds:
        return ""
    digits = 0 if milliseconds >= 10 else 1 if milliseconds >= 1 else 2  # noqa: PLR2004 - two that count
    return f"{milliseconds:,.{digits}f} ms"


def _conflict_table(context: Context) -> Table:
    rows = [(each.tag, each.winner, ", ".join(each.losers)) for each in context.conflicts]
    return Table("", (Column("Tag given twice", 24), Column("By", 10), Column("Over", 10)), rows, "conflict")


def attachment_rows(context: Context) -> list[tuple[str, str, str, str]]:
    """Give a row for each attachment: name, provider, bytes, and why it was left out."""
    return [
        (each.name, each.provider, "" if each.size_bytes is None else str(each.size_bytes), each.reason or "")
        for each in context.attachments
    ]
