"""Which plugins are installed: entry points, scanned once for each state of ``sys.path`` and kept in a cache file.

A scan opens a file of every installed distribution and imports a finder: 50 ms and more. The folders of ``sys.path``
change their times when something is installed or removed, so a cache keyed by them is read in a millisecond instead.
"""

from __future__ import annotations

import os
import sys

from runcontext import cache, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TypeAlias

    Row: TypeAlias = dict[str, str]

MLFLOW_GROUP = "mlflow.run_context_provider"
GROUPS = ("runcontext.providers", MLFLOW_GROUP)
"""Those of providers, which every run needs to know: they have a cache file of their own, short to read."""

_PREFIXES = ("runcontext.", "mlflow.")
_KIND = "entry-points"
_ALL_KINDS = "plugins"


class EntryPoint:
    """One installed entry point: its group, name, ``module:attribute`` and distribution.

    - ``placement``: what a loaded provider turned out to ask for, empty while nobody has looked.
    - ``version``: the distribution's, empty where it was not asked for.
    """

    __slots__ = ("distribution", "group", "name", "placement", "target", "version")

    def __init__(
        self, *, group: str, name: str, target: str, distribution: str, placement: str = "", version: str = ""
    ) -> None:
        """Keep what the scan found."""
        self.group = group
        self.name = name
        self.target = target
        self.distribution = distribution
        self.placement = placement
        self.version = version

    def __repr__(self) -> str:
        """Show it as its distribution declares it."""
        return f"<EntryPoint {self.group}: {self.name} = {self.target} ({self.distribution})>"

    def to_json(self) -> Row:
        """Give the fields as the cache file holds them."""
        row = {name: getattr(self, name) for name in self.__slots__}
        if not self.version:
            del row["version"]
        return row


def scan(path: Sequence[str], finder: Any = None, *, all_kinds: bool = False) -> list[EntryPoint]:
    """Look for entry points in the distributions of ``path``: the providers', or those of every kind of plugin.

    ``finder`` is a module like ``importlib.metadata``, which it is unless given: in the caller the standard library's,
    since importing ``importlib_metadata`` changes the finders of whoever imports it. Versions are looked up for
    ``all_kinds`` only.
    """
    if finder is None:
        import importlib.metadata as finder
    found = []
    seen = set()
    for distribution in finder.distributions(path=list(path)):
        wanted = [each for each in _entry_points(distribution) if _is_ours(each.group, all_kinds=all_kinds)]
        if not wanted:
            continue
        name, version = _field(distribution, "Name"), _field(distribution, "Version") if all_kinds else ""
        for each in wanted:
            entry = EntryPoint(
                group=each.group, name=each.name, target=_target(each), distribution=name, version=version
            )
            key = (entry.group, entry.name, entry.target)
            if key not in seen:
                seen.add(key)
                found.append(entry)
    return found


def cached(path: Sequence[str], folder: str | None, *, all_kinds: bool = False) -> list[EntryPoint] | None:
    """Read what an earlier scan of this very ``path`` found, None where there is none."""
    content = cache.read(folder, _ALL_KINDS if all_kinds else _KIND, _key(path))
    try:
        if content is None or not all(_is_unchanged(*state) for state in content["states"]):
            return None
        return [EntryPoint(**row) for row in content["entry_points"]]
    except (TypeError, KeyError):
        return None


def store(path: Sequence[str], folder: str | None, found: Iterable[EntryPoint], *, all_kinds: bool = False) -> None:
    """Keep ``found`` for the next run."""
    content = {
        "states": [[entry, _changed_ns(entry), _has_distributions(entry)] for entry in path],
        "entry_points": [each.to_json() for each in found],
    }
    cache.write(folder, _ALL_KINDS if all_kinds else _KIND, _key(path), content)


def remember_placement(path: Sequence[str], folder: str | None, target: str, placement: str) -> None:
    """Note in the cache where a provider asks to run, so that the next run need not load it to find out."""
    found = cached(path, folder)
    if found is not None:
        for each in found:
            if each.target == target:
                each.placement = placement
        store(path, folder, found)


def scanned_here(folder: str | None, path: Sequence[str] | None = None, *, all_kinds: bool = False) -> list[EntryPoint]:
    """Look for what ``path`` has, ``sys.path`` unless given, in this process, and keep it for the next; never raises.

    A module of the user's may be called like one that the scan needs; then there are no plugins, and that is said.
    """
    if path is None:
        path = [entry for entry in sys.path if isinstance(entry, str)]
    try:
        found = scan(path, all_kinds=all_kinds)
    except Exception as error:  # noqa: BLE001 - whatever the user's own module does
        log.warn_once(f"the installed plugins cannot be looked for ({type(error).__name__}: {error})")
        return []
    store(path, folder, found, all_kinds=all_kinds)
    return found


def _is_ours(group: str, *, all_kinds: bool) -> bool:
    # Whole families and no list of kinds: what a later version knows more of is in an older one's cache.
    return group in GROUPS or (all_kinds and group.startswith(_PREFIXES))


def _entry_points(distribution: Any) -> Iterable[Any]:
    try:
        return list(distribution.entry_points)
    except Exception:  # noqa: BLE001 - one broken distribution must not hide the others' providers
        return []


def _field(distribution: Any, field: str) -> str:
    try:
        return str(distribution.metadata[field] or "unknown")
    except Exception:  # noqa: BLE001 - as above: its entry points are usable without its name
        return "unknown"


def _target(entry_point: Any) -> str:
    # It may end in the extras that the object needs (Entry points specification, "File format").
    return str(entry_point.value).partition("[")[0].strip()


def _is_unchanged(entry: str, changed_ns: int, had_distributions: bool) -> bool:  # noqa: FBT001 - a row of the file
    if _changed_ns(entry) == changed_ns:
        return True
    # A script's own folder changes with every file that it writes; without distributions it has nothing to find.
    return not had_distributions and not _has_distributions(entry)


def _has_distributions(entry: str) -> bool:
    try:
        return any(name.endswith((".dist-info", ".egg-info", ".egg")) for name in os.listdir(entry or "."))
    except OSError:
        return os.path.isfile(entry)


def _changed_ns(entry: str) -> int:
    try:
        return os.stat(entry or ".").st_mtime_ns
    except (OSError, ValueError):
        return 0


def _key(path: Sequence[str]) -> str:
    return os.pathsep.join(map(str, path))


def by_target(entries: Iterable[EntryPoint]) -> list[EntryPoint]:
    """Keep the first of those that name the same object: what two distributions both declare runs once."""
    first: dict[str, EntryPoint] = {}
    for each in entries:
        first.setdefault(each.target, each)
    return list(first.values())
