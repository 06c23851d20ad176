"""A context as ``capture`` and ``show`` print it: under headings for people, a line for each row in a pipe."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from runcontext import entry_points, registry
from runcontext.cli import output
from runcontext.cli.output import Column, Table
from runcontext.presentation import text
from runcontext.presentation.view import PROBLEMS, PROVIDERS, Kind, giver
from runcontext.project import working_directory
from runcontext.record import OutcomeStatus
from runcontext.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runcontext.presentation.remedies import Problem
    from runcontext.presentation.view import Group, Row, View
    from runcontext.record import Context, Outcome, RankDifference

_NAME, _VALUE, _GIVER = Column("", 26), Column("", 16), Column("", 10)
_MOST_REASONS = 10
"""How many reasons of one provider are shown at first."""

_STYLES = {Kind.FACT: "", Kind.CHANGED: "yellow", Kind.ABSENT: "dim"}


def show(view: View, options: argparse.Namespace) -> None:
    """Show a view to people: as a page where one was asked for, else on the terminal.

    Raises:
        RunContextError: the page cannot be written.
    """
    if options.html is not None:
        _write_page(view, options.html)
        return
    left_out = "" if options.all else view.left_out()
    about = " ".join(each for each in (view.status, view.subtitle) if each)
    opening = f"{view.title}, {about}" if about else view.title
    closing = f"--all shows {left_out}" if left_out else ""
    output.print_tables(_for_people(view, everything=options.all), opening=opening, closing=closing)


def _write_page(view: View, path: str) -> None:
    from runcontext import html
    from runcontext.errors import RunContextError

    page = html.page(view)
    if path == "-":
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As the page declares it.
            sys.stdout.reconfigure(encoding="utf-8")
        if sys.stdout is not None:
            sys.stdout.write(page)
        return
    try:
        # Not by replacing it: what is named may be a pipe or a device.
        with open(path, "wb") as file:
            file.write(page.encode())
    except OSError as error:
        message = f"cannot write the page to {path!r}: {error.strerror}"
        raise RunContextError(message) from error


# --- on a terminal ----------------------------------------------------------------------------------------------------


def _for_people(view: View, *, everything: bool) -> list[Table]:
    """Give the tables of what a person asks for first, or of everything; what went wrong is in both."""
    draw = _whole if everything else _brief
    pending = [("Not in yet", ", ".join(view.pending))] if view.pending else []
    return [
        *map(draw, view.groups),
        *([_providers(view)] if everything else []),
        Table("", (Column(""), Column("", 16)), pending),
        _problems(view, most=None if everything else _MOST_REASONS),
    ]


def _brief(group: Group) -> Table:
    rows = [row for row in group.rows if row.is_first]
    return Table(group.title, (_NAME, _VALUE), [(row.name, _in_brief(row)) for row in rows], styles=_styles(rows))


def _in_brief(row: Row) -> str:
    # A reason is whole: what to do stands at its end.
    return row.value if row.kind is Kind.ABSENT else text.cut(text.rounded(row.name, row.value).short)


def _whole(group: Group) -> Table:
    cells = [(row.name, row.value, row.giver) for row in group.rows]
    return Table(group.title, (_NAME, _VALUE, _GIVER), cells, styles=_styles(group.rows))


def _styles(rows: Iterable[Row]) -> list[str]:
    return [_STYLES[row.kind] for row in rows]


def _providers(view: View) -> Table:
    columns = (Column("Provider", 10), Column("Status"), Column("Time", is_number=True), Column("Ran"), Column("", 16))
    rows = [(each.name, each.status, each.took, each.placement, "\n".join(each.notes)) for each in view.providers]
    return Table(PROVIDERS, columns, rows)


def _problems(view: View, most: int | None) -> Table:
    rows = [row for problem in view.problems for row in _problem_rows(problem, most)]
    return Table(PROBLEMS, (Column("", 8), Column(""), Column("", 24)), rows)


def _problem_rows(problem: Problem, most: int | None) -> Iterator[tuple[str, ...]]:
    said = [f"{fact}: {reason}" if fact else reason for fact, reason in problem.facts[:most]]
    if len(problem.facts) > len(said):
        said.append(f"and {text.counted(len(problem.facts) - len(said), 'more fact')}")
    yield problem.provider, problem.status, said[0]
    for each in (*said[1:], f"→ {problem.remedy}"):
        yield "", "", each


def origins(context: Context) -> dict[str, str]:
    """Give where each provider of a context comes from, as this environment has it: a distribution, or a setting."""
    if not context.outcomes.keys() - registry.BUILT_IN.keys():
        return {}
    current = Settings.current(working_directory())
    found = entry_points.cached(sys.path, current.cache_folder)
    return {spec.name: spec.origin for spec in registry.plan(found, current)}


# --- in a pipe --------------------------------------------------------------------------------------------------------


def lines(context: Context, tags: Mapping[str, str]) -> list[Table]:
    """Give the lines of ``tags``, and of all else that the context holds but attachments."""
    return [
        _lines("tag", [(tag, value, giver(context, tag, value)) for tag, value in tags.items()]),
        _lines("change", [(each.tag, each.provider, each.start or "", each.end or "") for each in context.changes]),
        _lines("rank", [fields for each in context.ranks for fields in _rank_fields(each, context)]),
        _lines("provider", [_provider_fields(name, outcome) for name, outcome in context.outcomes.items()]),
        _lines("fact", [fields for name, outcome in context.outcomes.items() for fields in _facts(name, outcome)]),
        _lines("conflict", [(each.tag, each.winner, ", ".join(each.losers)) for each in context.conflicts]),
    ]


def attachment_lines(context: Context) -> Table:
    """Give a line for each attachment: name, provider, bytes, and why it was left out."""
    rows = [
        (each.name, each.provider, "" if each.size_bytes is None else str(each.size_bytes), each.reason or "")
        for each in context.attachments
    ]
    return _lines("attachment", rows)


def _lines(kind: str, rows: Sequence[tuple[str, ...]]) -> Table:
    return Table("", (), rows, kind)


def _rank_fields(rank: RankDifference, context: Context) -> Iterator[tuple[str, ...]]:
    for fact, value in rank.differs.items() or [("", "")]:
        yield str(rank.rank), rank.host or "", fact, value or "", context.tags.get(fact, "")


def _provider_fields(name: str, outcome: Outcome) -> tuple[str, ...]:
    return name, outcome.status.value, f"{outcome.seconds:.6f}", outcome.placement, outcome.reason or ""


def _facts(name: str, outcome: Outcome) -> Iterator[tuple[str, ...]]:
    yield from ((name, fact, reason) for fact, reason in outcome.failures.items())
    at_end = outcome.at_end
    if at_end is None:
        return
    if at_end.status in (OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT):
        yield name, "at the end", f"{at_end.status.value.replace('_', ' ')}: {at_end.reason}"
    for fact, reason in at_end.failures.items():
        if outcome.failures.get(fact) != reason:
            yield name, fact, f"at the end: {reason}"
