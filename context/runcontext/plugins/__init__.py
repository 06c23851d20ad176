"""The one door of every kind of plugin: which are installed, which one serves a scheme, and how one is loaded.

What is done with a loaded plugin is its kind's own business. Nothing is imported before it is used, and whatever a
plugin does wrong becomes a PluginError that names it.
"""

from __future__ import annotations

from runcontext.plugins.kinds import (
    ARTIFACT_REPOSITORIES,
    DEFAULT_EXPERIMENTS,
    KINDS,
    OWN_DISTRIBUTION,
    PROVIDERS,
    REQUEST_AUTH,
    REQUEST_HEADERS,
    TRACKING_STORES,
    Kind,
    Plugin,
    normalized,
)
from runcontext.plugins.loading import build, check_shape, guarded, load, try_out, without_credentials
from runcontext.plugins.serving import build_all, installed, installed_anew, serving

__all__ = [
    "ARTIFACT_REPOSITORIES",
    "DEFAULT_EXPERIMENTS",
    "KINDS",
    "OWN_DISTRIBUTION",
    "PROVIDERS",
    "REQUEST_AUTH",
    "REQUEST_HEADERS",
    "TRACKING_STORES",
    "Kind",
    "Plugin",
    "build",
    "build_all",
    "check_shape",
    "guarded",
    "installed",
    "installed_anew",
    "load",
    "normalized",
    "serving",
    "try_out",
    "without_credentials",
]
