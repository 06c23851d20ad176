"""What the author of a plugin needs to test one: fakes, and for each kind a contract that pytest runs.

::

    from runcontext.testing import ProviderContract

    class TestTeamProvider(ProviderContract):
        provider = TeamProvider

The contracts of stores, repositories and what signs requests need pytest, and are imported when they are first used.
"""

from __future__ import annotations

import sys

if "pytest" in sys.modules:
    # Else an author sees that an assertion failed, and not with which values; it is to be said before the import.
    sys.modules["pytest"].register_assert_rewrite(
        *(f"{__name__}.{each}" for each in ("artifacts", "providers", "requests", "samples", "stores"))
    )

from runcontext.testing.providers import ProviderContract, StaticProvider, resolve_provider

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runcontext.testing.artifacts import ArtifactRepositoryContract
    from runcontext.testing.requests import DefaultExperimentContract, RequestAuthContract, RequestHeaderContract
    from runcontext.testing.samples import new_run, sample_runs
    from runcontext.testing.stores import TrackingStoreContract

__all__ = [
    "ArtifactRepositoryContract",
    "DefaultExperimentContract",
    "ProviderContract",
    "RequestAuthContract",
    "RequestHeaderContract",
    "StaticProvider",
    "TrackingStoreContract",
    "new_run",
    "resolve_provider",
    "sample_runs",
]

_HOMES = {
    "ArtifactRepositoryContract": "artifacts",
    "DefaultExperimentContract": "requests",
    "RequestAuthContract": "requests",
    "RequestHeaderContract": "requests",
    "TrackingStoreContract": "stores",
    "new_run": "samples",
    "sample_runs": "samples",
}


def __getattr__(name: str) -> object:
    """Import what a name stands for."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
