"""A program for the environment of the plugins: what MLflow makes of each, and what of our contract each keeps with us.

``plugin_contract.py OSS_URI DATABASE_URI``: artifact URIs, ``RUN`` in them standing for a run of each test's own. The
last line that it prints is a JSON object.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runcontext import plugins
from runcontext.artifacts.mlflow_plugin import MLflowPluginRepository
from runcontext.artifacts.places import open_repository
from runcontext.errors import StoreError
from runcontext.testing import ArtifactRepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from runcontext.artifacts.repository import ArtifactRepository


def main(oss_uri: str, database_uri: str) -> dict[str, Any]:
    """Try everything, and say what came of it."""
    return {
        "mlflow_version": importlib.metadata.version("mlflow-skinny"),
        "mlflow": {uri.partition(":")[0]: in_mlflow(uri) for uri in (oss_uri, "mssql+pyodbc://h/db/run/artifacts")},
        "aliyunstoreplugin": failures(lambda: open_repository(fresh(oss_uri))),
        "repr": repr(open_repository(fresh(oss_uri))),
        "mlflow-dbstore": failures(lambda: dbstore(fresh(database_uri))),
        "mssql": refusal(lambda: open_repository("mssql+pyodbc://me:hunter2@h/db/run/artifacts")),
    }


def in_mlflow(uri: str) -> str:
    """Ask MLflow itself for a repository, and give its error."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        return repr(get_artifact_repository(uri))
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"


def dbstore(uri: str) -> ArtifactRepository:
    """Give what mlflow-dbstore makes of another database than SQL Server: its code takes any."""
    (plugin,) = [each for each in plugins.installed(plugins.ARTIFACT_REPOSITORIES) if each.name == "mssql"]
    return MLflowPluginRepository(plugins.load(plugin), uri, plugin=str(plugin))


def failures(repository: Callable[[], ArtifactRepository]) -> dict[str, str]:
    """Run the contract, each test with a repository of its own; give those that fail, and why."""
    found = {}
    for name in [each for each in dir(ArtifactRepositoryContract) if each.startswith("test_")]:
        test = getattr(ArtifactRepositoryContract(), name)
        with tempfile.TemporaryDirectory() as folder:
            arguments = {"repository": repository(), "tmp_path": Path(folder)}
            try:
                test(**{each: arguments[each] for each in inspect.signature(test).parameters})
            except Exception as error:  # noqa: BLE001 - whatever it is
                found[name] = f"{type(error).__name__}: {error}"
    return found


def refusal(call: Callable[[], object]) -> str:
    """Give the StoreError that a call raises."""
    try:
        return repr(call())
    except StoreError as error:
        return str(error)


def fresh(uri: str) -> str:
    """Give the artifact URI of a new run."""
    return uri.replace("RUN", uuid.uuid4().hex)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
