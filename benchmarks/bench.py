"""Times runcontext against its peers: ``python benchmarks/bench.py``, which ``make bench`` calls.

Everything is measured in one run on this machine, in fresh processes, in turns, with byte code compiled, against peers
that are installed from the package index into virtual environments under build/bench. Ratios decide.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from figures import FIGURES, Figure
from ground import Ground
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from measures import Row, Sample

CHECKOUT = Path(__file__).resolve().parent.parent
LEAST_REPETITIONS = 15
COLUMNS = 80

_DECIMALS = ((100, 0), (10, 1), (0.1, 2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table; with ``--json`` write everything that was measured too."""
    options = _options(arguments)
    console = Console(width=COLUMNS, highlight=False)
    ground = Ground(options.folder, CHECKOUT, options.repetitions)
    wanted = [figure for figure in FIGURES if not options.only or figure.name in options.only]
    began = time.perf_counter()
    found: list[tuple[Figure, list[Row]]] = []
    for figure in wanted:
        rows = figure.rows(ground)
        found.append((figure, rows))
        console.print(table(figure.name, figure.what, rows))
    versions = ground.environments.versions
    console.print(summary(rows for _, rows in found))
    console.print(", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    console.print(
        f"{options.repetitions} repetitions, in {(time.perf_counter() - began) / 60:.1f} minutes; {machine()}"
    )
    if options.json is not None:
        options.json.write_text(json.dumps(report(found, versions, options.repetitions), indent=2) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time runcontext against its peers.")
    names = [figure.name for figure in FIGURES]
    parser.add_argument("--only", action="append", choices=names, help="measure only this figure; may be repeated")
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS, help="of each subject (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "build/bench", help="where everything happens")
    return parser.parse_args(arguments)


def table(name: str, what: str, rows: Sequence[Row]) -> Table:
    """Show the rows of a figure: medians, and their quartiles below."""
    found = Table(title=f"{name}: {what}", title_justify="left", width=COLUMNS, show_lines=False)
    found.add_column("", ratio=10)
    for heading, share in (("runcontext", 7), ("other", 7), ("result", 5), ("target", 5), ("met", 3)):
        found.add_column(heading, justify="right", ratio=share)
    for row in rows:
        result = "none" if row.value is None else _number(row.value, row.value_unit)
        found.add_row(
            row.claim, _sample(row.ours, row.unit), _sample(row.theirs, row.unit), result, _limit(row), _met(row)
        )
    found.caption = "\n".join(sorted({f"not measured: {row.reason}" for row in rows if row.reason})) or None
    return found


def summary(figures: Iterable[Iterable[Row]]) -> str:
    """Say how many targets are met, and how many are not."""
    verdicts = [row.is_met for rows in figures for row in rows if row.limit is not None]
    counts = {"met": verdicts.count(True), "missed": verdicts.count(False), "not measured": verdicts.count(None)}
    return "targets: " + ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def report(found: Iterable[tuple[Figure, list[Row]]], versions: dict[str, str], repetitions: int) -> dict[str, object]:
    """Give everything as JSON."""
    figures = [
        {"name": figure.name, "what": figure.what, "rows": [row.to_json() for row in rows]} for figure, rows in found
    ]
    return {
        "schema": 1,
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "repetitions": repetitions,
        "versions": versions,
        "figures": figures,
    }


def machine() -> str:
    """Say on what it was measured."""
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"


def _sample(sample: Sample | None, unit: str) -> str:
    if sample is None:
        return ""
    first, third = sample.quartiles
    spread = f"{_number(first, '')}-{_number(third, '')}"
    return f"{_number(sample.median, unit)}\n[dim]{spread}[/dim]"


def _number(value: float, unit: str) -> str:
    """Show a number with about three figures."""
    if abs(value) >= 10_000 and unit != "ms":  # noqa: PLR2004 - from there on a thousand is a unit
        return f"{value / 1_000:,.1f}k {unit}".strip()
    decimals = next((count for bound, count in _DECIMALS if abs(value) >= bound), 3)
    return f"{value:,.{0 if value == int(value) else decimals}f} {unit}".strip()


def _limit(row: Row) -> str:
    if row.limit is None:
        return ""
    return f"{'>=' if row.is_minimum else '<='} {_number(row.limit, '' if row.value_unit == 'x' else row.value_unit)}"


def _met(row: Row) -> str:
    return {True: "yes", False: "[bold]NO[/bold]", None: ""}[row.is_met]


if __name__ == "__main__":
    main()
