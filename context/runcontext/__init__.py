"""runcontext captures the context of a run: who started it, from what code, on which machine, with which packages.

    with runcontext.start_run() as run:
        run.log_metric("loss", 0.31)

Importing this package imports nothing but itself; each name below is imported when it is first used.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runcontext.errors import (
        NotInContext,
        ProviderError,
        RunContextError,
        StoreError,
        StoreUnavailableError,
        StoreUnusableError,
    )
    from runcontext.fluent import (
        active_run,
        download_artifacts,
        end_run,
        get_run,
        get_tracking_uri,
        list_artifacts,
        log_artifact,
        log_artifacts,
        log_metric,
        log_metrics,
        log_param,
        log_params,
        log_text,
        resolve_context,
        search_runs,
        set_experiment,
        set_tag,
        set_tags,
        set_tracking_uri,
        start_run,
    )
    from runcontext.program import Program, current_program
    from runcontext.provider import Attachment, RunContextProvider
    from runcontext.record import (
        AttachmentRecord,
        Change,
        Conflict,
        Context,
        Outcome,
        OutcomeStatus,
        RankDifference,
        RunRecord,
        RunStatus,
    )
    from runcontext.registry import register_provider, unregister_provider
    from runcontext.run import Run
    from runcontext.settings import Settings, current_settings
    from runcontext.tracking.store import RunPage

    __version__: str

__all__ = [
    "Attachment",
    "AttachmentRecord",
    "Change",
    "Conflict",
    "Context",
    "NotInContext",
    "Outcome",
    "OutcomeStatus",
    "Program",
    "ProviderError",
    "RankDifference",
    "Run",
    "RunContextError",
    "RunContextProvider",
    "RunPage",
    "RunRecord",
    "RunStatus",
    "Settings",
    "StoreError",
    "StoreUnavailableError",
    "StoreUnusableError",
    "__version__",
    "active_run",
    "current_program",
    "current_settings",
    "download_artifacts",
    "end_run",
    "get_run",
    "get_tracking_uri",
    "list_artifacts",
    "log_artifact",
    "log_artifacts",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_text",
    "register_provider",
    "resolve_context",
    "search_runs",
    "set_experiment",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "start_run",
    "unregister_provider",
]

_HOMES = {
    "errors": (
        "NotInContext",
        "ProviderError",
        "RunContextError",
        "StoreError",
        "StoreUnavailableError",
        "StoreUnusableError",
    ),
    "program": ("Program", "current_program"),
    "provider": ("Attachment", "RunContextProvider"),
    "record": (
        "AttachmentRecord",
        "Change",
        "Conflict",
        "Context",
        "Outcome",
        "OutcomeStatus",
        "RankDifference",
        "RunRecord",
        "RunStatus",
    ),
    "registry": ("register_provider", "unregister_provider"),
    "run": ("Run",),
    "settings": ("Settings", "current_settings"),
    "tracking.store": ("RunPage",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that importing the package costs the program nothing."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("runcontext")
    elif name in __all__:
        home = next((module for module, names in _HOMES.items() if name in names), "fluent")
        __import__(f"{__name__}.{home}")
        value = getattr(sys.modules[f"{__name__}.{home}"], name)
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
