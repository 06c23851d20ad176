"""The experiment of runs whose user named none, where a plugin knows it: MLflow's default experiment providers.

A plugin of ``runcontext.default_experiments`` or ``mlflow.default_experiment_provider`` has ``in_context()`` and
``get_experiment_id()``, as ``mlflow.tracking.default_experiment.abstract_context.DefaultExperimentProvider``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runcontext import log, plugins
from runcontext.errors import PluginError

if TYPE_CHECKING:
    from runcontext.plugins import Plugin

VARIABLE = "MLFLOW_EXPERIMENT_ID"


def default_experiment() -> str | None:
    """Give the id that an experiment has at the place of the tracking URI, None where nobody knows one.

    MLFLOW_EXPERIMENT_ID comes first, as in MLflow; then the first plugin that is in context and gives an id. One that
    fails is left out, and said once by name. To be asked where the user named no experiment at all.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    for plugin, provider in plugins.build_all(plugins.DEFAULT_EXPERIMENTS):
        try:
            found = _asked(plugin, provider)
        except PluginError as error:
            log.warn_once(f"{error}: it is left out")
        else:
            if found is not None:
                return found
    return None


def note_ignored(experiment_id: str, place: str, name: str) -> None:
    """Say once that MLFLOW_EXPERIMENT_ID does not count at a place without ids of experiments; a plugin's goes unsaid.

    Args:
        experiment_id: what ``default_experiment()`` gave.
        place: the place, without credentials.
        name: the experiment that the run is in.
    """
    if experiment_id == os.environ.get(VARIABLE):
        log.warn_once(
            f"{VARIABLE}={experiment_id} does not count at {place}, where experiments have names only: the run is in"
            f" {name!r}; name another with RUNCONTEXT_EXPERIMENT_NAME"
        )


def _asked(plugin: Plugin, provider: Any) -> str | None:
    found = plugins.guarded(plugin, "failed", lambda: provider.get_experiment_id() if provider.in_context() else None)
    if found is None or (isinstance(found, str) and found):
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    message = f"{plugin} gave a {type(found).__name__} for get_experiment_id(); a text is expected"
    raise PluginError(message)
