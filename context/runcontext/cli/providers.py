"""``runcontext providers``: which there are, in their order, where each runs, and what switched it on or off.

``--json`` prints ``{"schema": 1, "providers": [{"name", "origin", "target", "placement", "enabled", "switched_by"}]}``,
the first to be overridden first; ``target`` is ``module:attribute``, null where it is no importable object.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runcontext import entry_points, registry
from runcontext.cli import output
from runcontext.cli.output import Column, Table
from runcontext.project import working_directory
from runcontext.settings import Settings

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from runcontext.registry import Spec


def main(options: argparse.Namespace) -> int:
    """List the providers, installed ones looked for anew."""
    specs = registry.plan(entry_points.scan(sys.path), Settings.current(working_directory()))
    if options.json:
        output.print_json({"schema": output.SCHEMA, "providers": [_row(spec) for spec in specs]})
        return 0
    columns = (Column("Provider", 10), Column("From", 16), Column("Runs in"), Column(""), Column("Switched by", 16))
    rows = [
        (each.name, each.origin, each.placement, "on" if each.enabled else "off", each.switched_by) for each in specs
    ]
    output.print_tables([Table("", columns, rows)])
    return 0


def _row(spec: Spec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "origin": spec.origin,
        "target": spec.target or None,
        "placement": spec.placement,
        "enabled": spec.enabled,
        "switched_by": spec.switched_by,
    }
