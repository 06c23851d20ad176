"""Which plugins are installed, in which order they are used, and which one serves a scheme."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runcontext import entry_points, log
from runcontext.errors import PluginError
from runcontext.plugins.kinds import BUILT_IN_GROUP, KINDS, OWN_DISTRIBUTION, Kind, Plugin, normalized
from runcontext.plugins.loading import build, with_state
from runcontext.program import current_program
from runcontext.settings import PLUGIN_VARIABLE, current_settings, variable_part
from runcontext.tracking.uris import scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from runcontext.entry_points import EntryPoint


def installed(kind: Kind) -> list[Plugin]:
    """Give the installed plugins of a kind, those that come first in use first; nothing is imported.

    Ours come before MLflow's, then the order is by distribution and name. What one package declares in both groups, or
    two packages declare of one object, is there once. runcontext's own entry points are no plugins.
    """
    found = _declared(kind)
    if not kind.is_by_scheme:
        return [with_state(each) for each in found]
    return [with_state(_ranked(each, found)) for each in found]


def installed_anew() -> list[Plugin]:
    """Give the installed plugins of every kind, looked for now and not in the cache."""
    _scan()
    return [plugin for kind in KINDS for plugin in installed(kind)]


def serving(kind: Kind, scheme: str) -> Plugin | None:
    """Give what serves ``scheme``: runcontext's own, unless the user says otherwise, else a plugin, None for neither.

    Raises:
        PluginError: RUNCONTEXT_PLUGIN_<SCHEME> names a plugin that is not installed; the message says which are.
    """
    chosen = _choice(kind, scheme)
    if chosen is None and scheme in kind.built_ins:
        return _built_in(kind, scheme)
    found = _winner(kind, scheme, _declared(kind), chosen)
    return None if found is None else with_state(found)


def build_all(kind: Kind, *, methods: Sequence[str] = ()) -> list[tuple[Plugin, Any]]:
    """Load and build every plugin of a kind that is not by scheme; one that fails is left out, and said once."""
    return list(_built(kind, methods or kind.methods))


def _built(kind: Kind, methods: Sequence[str]) -> Iterator[tuple[Plugin, Any]]:
    for plugin in installed(kind):
        try:
            yield plugin, build(plugin, methods=methods)
        except PluginError as error:
            log.warn_once(f"{error}: it is left out")


def _declared(kind: Kind) -> list[Plugin]:
    found = entry_points.cached(_path(), current_settings().cache_folder, all_kinds=True)
    rows = [each for each in (_scan() if found is None else found) if each.group in kind.groups and _is_foreign(each)]
    rows.sort(key=lambda each: (kind.groups.index(each.group), normalized(each.distribution), each.name, each.target))
    first: dict[tuple[str, str], Plugin] = {}
    for row in rows:
        plugin = Plugin(kind, row.name, row.group, row.target, row.distribution, row.version)
        first.setdefault((row.name if kind.is_by_scheme else "", row.target), plugin)
    return list(first.values())


def _scan() -> list[EntryPoint]:
    return entry_points.scanned_here(current_settings().cache_folder, _path(), all_kinds=True)


def _path() -> list[str]:
    return [entry for entry in current_program().sys_path if isinstance(entry, str)]


def _is_foreign(entry: EntryPoint) -> bool:
    return normalized(entry.distribution) != OWN_DISTRIBUTION


def _built_in(kind: Kind, scheme: str) -> Plugin:
    return Plugin(kind, scheme, BUILT_IN_GROUP, kind.built_ins[scheme], OWN_DISTRIBUTION, "")


def _choice(kind: Kind, scheme: str) -> str | None:
    return None if scheme in kind.fixed else current_settings().plugin_for(scheme)


def _winner(kind: Kind, scheme: str, found: Sequence[Plugin], chosen: str | None) -> Plugin | None:
    if chosen is not None:
        named = _chosen(kind, scheme, found, chosen)
        if named is not None:
            return named
    if scheme in kind.built_ins:
        return _built_in(kind, scheme)
    return next((each for each in found if each.name == scheme), None)


def _chosen(kind: Kind, scheme: str, found: Sequence[Plugin], chosen: str) -> Plugin | None:
    """Give the plugin that the user chose, None where the choice speaks of the scheme's other kind only."""
    if _fitting(found, scheme, chosen):
        return _fitting(found, scheme, chosen)[0]
    if normalized(chosen) == OWN_DISTRIBUTION and scheme in kind.built_ins:
        return _built_in(kind, scheme)
    others = [other for other in KINDS if other.is_by_scheme and other is not kind]
    if any(_fitting(_declared(other), scheme, chosen) for other in others):
        return None
    offered = [f"{each.distribution}:{each.name}" for other in (kind, *others) for each in _declared(other)]
    message = (
        f"{PLUGIN_VARIABLE}{variable_part(scheme)}={chosen} names no installed plugin for {scheme}:; "
        f"installed are {', '.join(dict.fromkeys(offered)) or 'none'}"
    )
    raise PluginError(message)


def _fitting(found: Iterable[Plugin], scheme: str, chosen: str) -> list[Plugin]:
    distribution, _, name = chosen.partition(":")
    fits = normalized(distribution.strip())
    return [each for each in found if normalized(each.distribution) == fits and each.name == (name.strip() or scheme)]


def _ranked(plugin: Plugin, found: Sequence[Plugin]) -> Plugin:
    """Say of a plugin what it shadows or is shadowed by."""
    scheme = scheme_of(f"{plugin.name}:")
    try:
        winner = _winner(plugin.kind, scheme, found, _choice(plugin.kind, scheme))
    except PluginError as error:
        return replace(plugin, state="shadowed", reason=str(error))
    if scheme != plugin.name and (winner is None or winner.target != plugin.target):
        return replace(plugin, state="shadowed", reason=_unreachable(plugin, scheme))
    if winner is not None and winner.target != plugin.target:
        return replace(plugin, state="shadowed", reason=_shadow(plugin, winner))
    others = [each.package for each in found if each.name == plugin.name and each.target != plugin.target]
    if plugin.name in plugin.kind.built_ins:
        others.insert(0, str(_built_in(plugin.kind, plugin.name)))
    return replace(plugin, reason=f"shadows {', '.join(others)}") if others else plugin


def _unreachable(plugin: Plugin, scheme: str) -> str:
    if not scheme:
        return f"no URI has the scheme {plugin.name}:; two letters at least, digits and + - . make one"
    choice = f"{PLUGIN_VARIABLE}{variable_part(scheme)}={plugin.distribution}:{plugin.name}"
    return f"no URI has the scheme {plugin.name}:, it is read as {scheme}:; {choice} chooses this one"


def _shadow(plugin: Plugin, winner: Plugin) -> str:
    if plugin.name in plugin.kind.fixed:
        return f"by {winner}, which no plugin can take"
    if winner.distribution == plugin.distribution:
        return f"by {winner.target} of the same package, declared in {winner.group}"
    by = winner if winner.is_built_in else winner.package
    return f"by {by}; {PLUGIN_VARIABLE}{variable_part(plugin.name)}={plugin.distribution} chooses this one"
