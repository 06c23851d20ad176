"""What the subcommands print: tables for people, lines of fields for a pipe, JSON for programs.

Values come from anywhere: an escape sequence in one must not reach the terminal, a line break in one must not make two
rows, and nothing in one is markup.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runcontext.presentation import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

SCHEMA = 1
_GAP = 2
_INDENT = 2
_STYLES = {
    "captured": "green",
    "partial": "yellow",
    "pending": "yellow",
    "disabled": "dim",
    "absent": "dim",
    "failed": "red",
    "loaded": "green",
    "shadowed": "yellow",
    "built-in": "dim",
    "timed out": "red",
    "on": "green",
    "off": "dim",
    "RUNNING": "cyan",
    "FINISHED": "green",
    "FAILED": "red",
    "KILLED": "yellow",
    "LOST": "red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and how narrow it may become before its values are folded.

    ``least`` is a number of cells; None for a column that keeps its width while another can give way.
    """

    heading: str
    least: int | None = None
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; on a terminal, tables with the same columns are aligned with each other.

    - ``kind``: the first field of its lines in a pipe, None where the pipe carries only one kind of line.
    - ``styles``: how each row is shown, in rich's words; none for all as they are.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    kind: str | None = None
    styles: Sequence[str] = ()


def is_for_people() -> bool:
    """Say whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; ASCII only, so that no terminal and no encoding changes it."""
    if sys.stdout is not None:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_tables(tables: Iterable[Table], *, opening: str = "", closing: str = "") -> None:
    """Print tables on a terminal, and a line for each row anywhere else; empty ones not at all.

    ``opening`` and ``closing`` are what a terminal shows above and below them.
    """
    filled = [table for table in tables if table.rows]
    if is_for_people():
        _print_for_people(filled, opening, closing)
    elif sys.stdout is not None:
        for table in filled:
            for row in table.rows:
                fields = row if table.kind is None else (table.kind, *row)
                sys.stdout.write("\t".join(map(text.readable, fields)) + "\n")


def _print_for_people(tables: Sequence[Table], opening: str, closing: str) -> None:
    from rich.console import Console
    from rich.padding import Padding

    console = Console(markup=False, emoji=False, highlight=False)
    parts: list[list[RenderableType]] = [[_line(opening, "bold")]] if opening else []
    widths = _widths_of_all(tables, console.width - _INDENT)
    for table in tables:
        part: list[RenderableType] = [_line(table.title, "bold")] if table.title else []
        drawn = _drawn(table, widths[table.columns])
        parts.append([*part, Padding(drawn, (0, 0, 0, _INDENT)) if table.title else drawn])
    if closing:
        parts.append([_line(closing, "dim")])
    for number, part in enumerate(parts):
        if number:
            console.print()
        for each in part:
            console.print(each)


def _line(words: str, style: str) -> RenderableType:
    from rich.text import Text

    return Text(text.readable(words), style=style, overflow="fold")


def _widths_of_all(tables: Sequence[Table], available: int) -> dict[tuple[Column, ...], list[int]]:
    rows: dict[tuple[Column, ...], list[tuple[str, ...]]] = {}
    for table in tables:
        rows.setdefault(table.columns, []).extend(_shown(table))
    return {columns: _widths(columns, each, available) for columns, each in rows.items()}


def _shown(table: Table) -> Iterator[tuple[str, ...]]:
    return (tuple(map(text.lines, row)) for row in table.rows)


def _drawn(table: Table, widths: Sequence[int]) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable

    has_headings = any(column.heading for column in table.columns)
    made = RichTable(
        box=box.SIMPLE_HEAD if has_headings else None,
        show_header=has_headings,
        show_edge=False,
        pad_edge=False,
        # A box draws a divider of its own between columns.
        padding=(0, _GAP - has_headings, 0, 0),
        header_style="bold",
    )
    for column, width in zip(table.columns, widths, strict=True):
        justify = "right" if column.is_number else "left"
        made.add_column(column.heading, width=width, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for row, style in zip(_shown(table), table.styles or itertools.repeat(""), strict=False):
        made.add_row(*map(_styled, row), style=style)
    return made


def _styled(cell: str) -> RenderableType:
    from rich.text import Text

    return Text(cell, style=_STYLES.get(cell, ""))


def _widths(columns: Sequence[Column], rows: Iterable[tuple[str, ...]], available: int) -> list[int]:
    """Give each column's width in cells, so that all fit: the widest gives way first, down to its least."""
    widths = [_cells(column.heading) for column in columns]
    for row in rows:
        widths = [max(width, *map(_cells, cell.split("\n"))) for width, cell in zip(widths, row, strict=True)]
    excess = sum(widths) + _GAP * (len(columns) - 1) - available
    least = [width if column.least is None else column.least for column, width in zip(columns, widths, strict=True)]
    for bound in (least, [1] * len(widths)):
        while excess > 0:
            spare = [width - lowest for width, lowest in zip(widths, bound, strict=True)]
            widest = max(range(len(widths)), key=lambda index: (spare[index] > 0, widths[index]))
            if spare[widest] <= 0:
                break
            widths[widest] -= 1
            excess -= 1
    return widths


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
