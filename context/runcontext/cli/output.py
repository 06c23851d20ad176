"""What the subcommands print: tables for people, lines of fields for a pipe, JSON for programs.

Values come from anywhere: an escape sequence in one must not reach the terminal, a line break in one must not make two
rows, and nothing in one is markup.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console, RenderableType

SCHEMA = 1
_GAP = 2
_BREAKS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_STYLES = {
    "captured": "green",
    "partial": "yellow",
    "pending": "yellow",
    "disabled": "dim",
    "absent": "dim",
    "failed": "red",
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
    """Rows of text under headings.

    ``kind`` is the first field of its lines in a pipe, None where the pipe carries only one kind of line.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    kind: str | None = None


def is_for_people() -> bool:
    """Say whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; ASCII only, so that no terminal and no encoding changes it."""
    if sys.stdout is not None:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on a terminal, and a line for each row anywhere else; empty ones not at all."""
    filled = [table for table in tables if table.rows]
    if is_for_people():
        _print_for_people(filled)
    elif sys.stdout is not None:
        for table in filled:
            for row in table.rows:
                fields = row if table.kind is None else (table.kind, *row)
                sys.stdout.write("\t".join(readable(field) for field in fields) + "\n")


def readable(text: str) -> str:
    """Give ``text`` in one line: control and other invisible characters as escapes, as Python writes them."""
    return "".join(each if each.isprintable() else _BREAKS.get(each) or _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _print_for_people(tables: Sequence[Table]) -> None:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.title:
            console.print(readable(table.title), style="bold", soft_wrap=True)
        console.print(_rich_table(table, console))


def _rich_table(table: Table, console: Console) -> RenderableType:
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
    shown = [tuple(_lines(field) for field in row) for row in table.rows]
    for column, width in zip(table.columns, _widths(table.columns, shown, console.width), strict=True):
        justify = "right" if column.is_number else "left"
        made.add_column(column.heading, width=width, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for row in shown:
        made.add_row(*map(_styled, row))
    return made


def _lines(field: str) -> str:
    """Give a value as a cell shows it: line breaks are kept, every other control character is an escape."""
    return "\n".join(readable(line) for line in field.split("\n"))


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
