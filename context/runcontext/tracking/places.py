"""Which store a tracking URI names: one of runcontext's own, or a plugin's; and what is wrong with one that names none.

``start_run()`` asks for the latter with every tracking URI, so this module imports nothing before it must.
"""

from __future__ import annotations

from runcontext.errors import PluginError, StoreError
from runcontext.tracking import uris

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runcontext.plugins import Plugin
    from runcontext.settings import Settings
    from runcontext.tracking.store import TrackingStore

_FOLDER = "runcontext.tracking.folder:FolderStore"
_SERVER = "runcontext.tracking.mlflow.server:MLflowServerStore"
_SQL = "runcontext.tracking.sql:SqlStore"

BUILT_IN = {"file": _FOLDER, **dict.fromkeys(uris.SERVERS, _SERVER), **dict.fromkeys(uris.SQL_ENGINES, _SQL)}
"""The schemes that runcontext serves itself -> ``module:attribute``, imported on use; a path is as ``file:``."""

LOCAL = ("file",)
"""Schemes that no plugin can take: every run is in the local store first."""

_DATABRICKS = (
    "MLflow's own client alone speaks it; the MLflow API of a workspace is at https://WORKSPACE, with a token in "
    "MLFLOW_TRACKING_TOKEN"
)
_WHO_ELSE = {
    "arn": "`pip install sagemaker-mlflow` brings it",
    "azureml": "`pip install azureml-mlflow` brings it",
    "dynamodb": "`pip install mlflow-dynamodbstore` brings it",
    "elasticsearch": "`pip install mlflow-elasticsearchstore` brings it",
    **dict.fromkeys(("mongodb", "mongodb+srv"), "`pip install mlflow-tracking-mongostore` brings it"),
    **dict.fromkeys(uris.DATABRICKS_WORDS, _DATABRICKS),
}
"""Who serves a scheme that nothing here does: distributions whose entry points say so."""

_MEANT = {"postgres": "postgresql", "pgsql": "postgresql", "psql": "postgresql", "sqlite3": "sqlite"}


def open_store(uri: str) -> TrackingStore:
    """Give the store that a tracking URI names; it connects to nothing before it is used.

    Raises:
        StoreError: the URI is malformed, nothing serves its scheme, or what does cannot be used; the message says what
            to do about it.
    """
    scheme = uris.scheme_of(uri) or "file"
    if scheme in LOCAL:
        return _builder(BUILT_IN[scheme])(uri)
    try:
        plugin = _plugin(uri, scheme)
    except PluginError as error:
        raise StoreError(str(error)) from None
    if plugin.is_built_in:
        problem = _problem_of_built_in(uri, scheme)
        if problem is not None:
            raise StoreError(problem)
        return _builder(plugin.target)(uri)
    if plugin.is_mlflows:
        from runcontext.tracking.mlflow.plugin import MLflowPluginStore

        return MLflowPluginStore(plugin, uri)
    from runcontext.tracking.plugin_store import PluginStore

    return PluginStore(plugin, uri)


def problem_of(uri: str, current: Settings | None = None) -> str | None:
    """Say what is wrong with a tracking URI, as far as that can be told without a network or any client's import.

    ``current`` are the settings in force, those of this moment unless given. None where nothing is wrong, and of a
    path or a ``file:`` URI: the local store itself judges those.
    """
    scheme = uris.scheme_of(uri) or "file"
    if scheme in LOCAL:
        return None
    if current is None:
        from runcontext.settings import current_settings

        current = current_settings()
    if scheme in BUILT_IN and current.plugin_for(scheme) is None:
        return _problem_of_built_in(uri, scheme)
    try:
        plugin = _plugin(uri, scheme)
    except (PluginError, StoreError) as error:
        return str(error)
    return _problem_of_built_in(uri, scheme) if plugin.is_built_in else None


def _builder(target: str) -> Callable[[str], TrackingStore]:
    from runcontext import registry

    found: Callable[[str], TrackingStore] = registry.load(target)
    return found


def _plugin(uri: str, scheme: str) -> Plugin:
    from runcontext import plugins

    found = plugins.serving(plugins.TRACKING_STORES, scheme)
    if found is None:
        message = f"{_shown(uri)}: {_unknown(scheme)}"
        raise StoreError(message)
    return found


def _problem_of_built_in(uri: str, scheme: str) -> str | None:
    problem = uris.malformed(uri, scheme)
    if problem is None and scheme in uris.SQL_ENGINES:
        problem = _missing(uri, scheme)
    if problem is None:
        return None
    shown = f"a {scheme} URI" if problem == uris.STRAY_AT else _shown(uri)
    return f"{shown}: {problem}"


def _missing(uri: str, scheme: str) -> str | None:
    extra = {"sqlite": "sql", "mariadb": "mysql"}.get(scheme, scheme)
    if not uris.is_importable("sqlalchemy"):
        return f"databases need SQLAlchemy, which is not installed: pip install 'runcontext[{extra}]'"
    ours = uris.DRIVERS.get(scheme)
    # Of other drivers the engine knows better what they are called.
    named = uri.partition(":")[0].lower().partition("+")[2] or ours
    if ours is None or named != ours or uris.is_importable(ours):
        return None
    return f"{scheme} needs the driver {ours}, which is not installed: pip install 'runcontext[{extra}]'"


def _unknown(scheme: str) -> str:
    from runcontext import plugins
    from runcontext.artifacts import places as artifact_places

    if scheme in _WHO_ELSE:
        return f"nothing here serves {scheme}: {_WHO_ELSE[scheme]}"
    if artifact_places.problem_of(f"{scheme}://x") is None:
        return (
            f"{scheme}: is a place of artifacts, not of runs; name it in RUNCONTEXT_ARTIFACT_URI, and a place of runs "
            "in RUNCONTEXT_TRACKING_URI"
        )
    known = list(dict.fromkeys([*BUILT_IN, *(each.name for each in plugins.installed(plugins.TRACKING_STORES))]))
    meant = _MEANT.get(scheme) or _near(scheme, known)
    hint = f"did you mean {meant}:? " if meant else ""
    return (
        f"no tracking store serves {scheme}:; {hint}Known are {', '.join(f'{each}:' for each in known)}, and a path; a "
        "package with an entry point of that name in runcontext.tracking_stores or mlflow.tracking_store brings another"
    )


def _near(scheme: str, known: list[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(scheme, known, n=1, cutoff=0.75)), None)


def _shown(uri: str) -> str:
    from runcontext.redaction import MARK, redact_url

    scheme, slashes, rest = redact_url(uri).partition("//")
    authority = rest.partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if colon and "]" not in port and not port.isdigit():
        # Where an @ is missing this is a password.
        rest = f"{host}:{MARK}{rest.removeprefix(authority)}"
    return f"tracking URI {scheme + slashes + rest!r}"
