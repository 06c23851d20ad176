"""``runcontext plugins``: every installed plugin, what it serves, and whether it can be used.

``--json`` prints ``{"schema": 1, "plugins": [{"kind", "name", "serves", "distribution", "version", "state", "reason",
"group", "target"}]}``: runcontext's own places first, then plugins in the order in which they come first in use.
``state`` is ``built-in``, ``loaded``, ``shadowed`` or ``failed``; ``reason`` is null where there is nothing to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runcontext import __version__, plugins
from runcontext.cli import loading, output
from runcontext.cli.output import Column, Table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from runcontext.plugins import Kind, Plugin

_COLUMNS = (Column("Plugin", 8), Column("Serves", 16), Column("Package", 12), Column("State"), Column("Why", 20))
_NAMES = {"database": "sql", "folder": "local", "proxied": "mlflow", "remote": "fsspec", "server": "mlflow"}
"""Module of a built-in -> what it is called; of one that is not here its own name."""


def main(options: argparse.Namespace) -> int:
    """List every kind, each plugin loaded in a process that it cannot take this one down with."""
    found = _tried(plugins.installed_anew())
    if options.json:
        rows = [_row(each) for kind in plugins.KINDS for each in (*_built_in(kind), *found) if each.kind is kind]
        output.print_json({"schema": output.SCHEMA, "plugins": rows})
        return 0
    output.print_tables([_table(kind, [each for each in found if each.kind is kind]) for kind in plugins.KINDS])
    return 0


def _tried(found: Sequence[Plugin]) -> list[Plugin]:
    used = [each for each in found if each.state != "shadowed"]
    failures = dict(zip(map(id, used), loading.failures_of(used), strict=True))
    return [_judged(each, failures[id(each)]) if id(each) in failures else each for each in found]


def _judged(plugin: Plugin, failure: str | None) -> Plugin:
    if failure is not None:
        return replace(plugin, state="failed", reason=failure.removeprefix(f"{plugin} "))
    return replace(plugin, state="loaded")


def _built_in(kind: Kind) -> list[Plugin]:
    return [
        plugins.Plugin(kind, scheme, "built-in", target, plugins.OWN_DISTRIBUTION, __version__, "built-in")
        for scheme, target in kind.built_ins.items()
    ]


def _table(kind: Kind, found: Sequence[Plugin]) -> Table:
    by_target: dict[str, list[Plugin]] = {}
    for each in _built_in(kind):
        by_target.setdefault(each.target, []).append(each)
    own = [
        (_name(target), ", ".join(each.serves for each in group), group[0].package, group[0].state, "")
        for target, group in by_target.items()
    ]
    others = [(each.name, each.serves, each.package, each.state, each.reason or "") for each in found]
    plural = f"{kind.name[:-1]}ies" if kind.name.endswith("y") else f"{kind.name}s"
    return Table(plural.capitalize(), _COLUMNS, [*own, *others], kind=kind.name)


def _name(target: str) -> str:
    module = target.partition(":")[0].rpartition(".")[2]
    return _NAMES.get(module, module)


def _row(plugin: Plugin) -> dict[str, Any]:
    return {
        "kind": plugin.kind.name,
        "name": plugin.name,
        "serves": plugin.serves,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "reason": plugin.reason,
        "group": plugin.group,
        "target": plugin.target,
    }
