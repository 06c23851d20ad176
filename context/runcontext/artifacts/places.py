"""Which repository an artifact URI names: one of runcontext's own, or a plugin's."""

from __future__ import annotations

from runcontext.errors import PluginError, StoreError
from runcontext.tracking import uris

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.plugins import Plugin

_LOCAL = "runcontext.artifacts.local:LocalRepository"
_PROXIED = "runcontext.artifacts.proxied:ProxiedRepository"
_DATABASE = "runcontext.artifacts.database:DatabaseRepository"
_REMOTE = "runcontext.artifacts.remote:RemoteRepository"

REMOTE_SCHEMES = (
    *("s3", "s3a", "r2", "b2", "gs", "gcs", "az", "abfs", "abfss", "wasb", "wasbs"),
    *("oss", "hdfs", "viewfs", "sftp", "ssh", "ftp"),
)
"""Those of ``runcontext.artifacts.schemes``, here without importing it; what else fsspec knows comes after plugins."""

BUILT_IN = {
    "file": _LOCAL,
    **dict.fromkeys(("mlflow-artifacts", "http", "https"), _PROXIED),
    **dict.fromkeys(uris.SQL_ENGINES, _DATABASE),
    **dict.fromkeys(REMOTE_SCHEMES, _REMOTE),
}
"""The schemes that runcontext serves itself -> ``module:attribute``, imported on use; a path is as ``file:``."""

_DATABRICKS = "MLflow's own client alone speaks it"
_WHO_ELSE = {
    "artifactory": "`pip install mlflow-jfrog-plugin` brings it",
    "azureml": "`pip install azureml-mlflow` brings it",
    "bos": "`pip install mlflow-baidubce-store-plugin` brings it",
    **dict.fromkeys(("exa+bfs", "exa+bfss"), "`pip install exasol-mlflow-plugin` brings it"),
    **dict.fromkeys((*uris.DATABRICKS_WORDS, "dbfs"), _DATABRICKS),
    "memory": "it keeps files in one process only, and they are gone with it; a path or s3://BUCKET/PATH lasts",
}
"""Who serves a scheme that nothing here does, or why nobody should: distributions whose entry points say so."""

BY_FSSPEC = {
    "box": "boxfs",
    "dropbox": "dropboxdrivefs",
    "lakefs": "lakefs-spec",
    "oci": "ocifs",
    "root": "fsspec-xrootd",
    "smb": "smbprotocol",
    "tos": "tosfs",
    "webdav": "webdav4",
    "webhdfs": "requests",
}
"""What fsspec serves, were it installed, and with which package (``fsspec.registry.known_implementations``)."""


def open_repository(artifact_uri: str, *, tracking_uri: str | None = None) -> ArtifactRepository:
    """Give the repository that an artifact URI names; it connects to nothing before it is used.

    ``tracking_uri`` is the tracking URI of the run whose artifacts they are: ``mlflow-artifacts:`` goes through that
    server.

    Raises:
        StoreError: nothing serves the URI's scheme, or what does cannot be used; the message says what to do about it.
    """
    plugin = _plugin(artifact_uri)
    if plugin is None or plugin.is_built_in:
        target = _REMOTE if plugin is None else plugin.target
        return _builder(target)(artifact_uri, tracking_uri=tracking_uri)
    if plugin.is_mlflows:
        return _mlflows(plugin, artifact_uri, tracking_uri)
    from runcontext.artifacts.plugin_repository import PluginRepository

    return PluginRepository(plugin, artifact_uri, tracking_uri=tracking_uri)


def problem_of(artifact_uri: str) -> str | None:
    """Say what is wrong with an artifact URI, as far as that can be told without a network; None where nothing is."""
    try:
        _plugin(artifact_uri)
    except StoreError as error:
        return str(error)
    return None


def _plugin(artifact_uri: str) -> Plugin | None:
    """Give who serves a URI, None for fsspec."""
    from runcontext import plugins

    scheme = uris.scheme_of(artifact_uri) or "file"
    try:
        found = plugins.serving(plugins.ARTIFACT_REPOSITORIES, scheme)
    except PluginError as error:
        raise StoreError(str(error)) from None
    if found is None and not _is_known_to_fsspec(scheme):
        from runcontext.redaction import redact_url

        message = f"artifact URI {redact_url(artifact_uri)!r}: {_unknown(scheme)}"
        raise StoreError(message)
    return found


def _unknown(scheme: str) -> str:
    from runcontext import plugins

    if scheme in _WHO_ELSE:
        return f"nothing here serves {scheme}: {_WHO_ELSE[scheme]}"
    if scheme in BY_FSSPEC:
        return f"nothing here serves {scheme}: `pip install fsspec {BY_FSSPEC[scheme]}` brings it"
    known = dict.fromkeys([*BUILT_IN, *(each.name for each in plugins.installed(plugins.ARTIFACT_REPOSITORIES))])
    return (
        f"no artifact repository serves {scheme}:; known are {', '.join(f'{each}:' for each in known)}, and a path; a "
        "package with an entry point of that name in runcontext.artifact_repositories or mlflow.artifact_repository "
        "brings another"
    )


def _is_known_to_fsspec(scheme: str) -> bool:
    from runcontext.artifacts import schemes

    return schemes.scheme_of(scheme) is not None


def _mlflows(plugin: Plugin, artifact_uri: str, tracking_uri: str | None) -> ArtifactRepository:
    from runcontext import plugins
    from runcontext.artifacts.mlflow_plugin import MLflowPluginRepository, let_mlflow_register

    let_mlflow_register()
    try:
        builder = plugins.load(plugin)
    except PluginError as error:
        raise StoreError(str(error)) from None
    return MLflowPluginRepository(builder, artifact_uri, tracking_uri, plugin=str(plugin))


def _builder(target: str) -> Callable[..., ArtifactRepository]:
    from runcontext import registry

    found: Callable[..., ArtifactRepository] = registry.load(target)
    return found
