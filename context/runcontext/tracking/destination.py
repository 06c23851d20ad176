"""Where a run goes: the folder that has it on this machine, and the place that it is sent to besides, if any."""

from __future__ import annotations

import os

from runcontext.errors import StoreError
from runcontext.tracking import local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runcontext.settings import Settings
    from runcontext.tracking.local import LocalStore

_LOCAL_SCHEMES = ("", "file")
_WORDS = ("databricks", "databricks-uc", "uc")
"""Words that name a place in MLflow, and no folder here either."""


def of(
    tracking_uri: str | os.PathLike[str] | None, settings: Settings, folder: str | None
) -> tuple[LocalStore, str | None]:
    """Give the local store of a tracking URI, and the place that its runs are sent to, None for none.

    Args:
        tracking_uri: as the user gave it; None for the default place.
        settings: those of the run.
        folder: where relative paths begin and the default place is looked for; None where it is unknown.

    Raises:
        StoreError: nothing can be kept there; the message names the URI without its credentials.
    """
    if tracking_uri is None or is_local(os.fspath(tracking_uri)):
        return local.LocalStore.at(tracking_uri, folder), None
    uri = absolute(os.fspath(tracking_uri), folder)
    if not _is_a_server(uri, settings):
        from runcontext.tracking import places

        problem = places.problem_of(uri, settings)
        if problem is not None:
            raise StoreError(problem)
    return local.LocalStore.at(settings.local_store, folder), uri


def check_artifacts(elsewhere: str | None, settings: Settings) -> None:
    """Check that something serves the scheme of RUNCONTEXT_ARTIFACT_URI, as far as can be told without a network.

    Args:
        elsewhere: where the run is sent to besides; None for nowhere, and then its artifacts go nowhere either.
        settings: those of the run.

    Raises:
        StoreError: nothing does, or the plugin that was chosen for it is not installed; the message says what is known.
    """
    uri = settings.artifact_uri
    if elsewhere is None or uri is None or is_local(uri):
        return
    from runcontext.artifacts import places
    from runcontext.tracking import uris

    scheme = uris.scheme_of(uri)
    if scheme in places.BUILT_IN and settings.plugin_for(scheme) is None:
        return
    problem = places.problem_of(uri)
    if problem is not None:
        raise StoreError(problem)


def is_local(tracking_uri: str) -> bool:
    """Say whether a tracking URI names a folder of this machine."""
    if ":" not in tracking_uri and tracking_uri not in _WORDS:
        return True
    from runcontext.tracking import uris

    return uris.scheme_of(tracking_uri) in _LOCAL_SCHEMES


def _is_a_server(uri: str, settings: Settings) -> bool:
    """Say whether a URI is a sound one of a server that no plugin is to have: nothing else need be loaded to tell."""
    from runcontext.tracking import uris

    scheme = uris.scheme_of(uri)
    return scheme in uris.SERVERS and settings.plugin_for(scheme) is None and uris.malformed(uri, scheme) is None


def absolute(uri: str, folder: str | None) -> str:
    """Give a URI in the one form that it is known by: a database's file is named from /, a server without a last /."""
    if uri.startswith(("http:", "https:")):
        return uri.rstrip("/") if uri.partition("//")[2].strip("/") else uri
    scheme, _, rest = uri.partition(":///")
    # SQLAlchemy, "Database URLs", SQLite: three slashes and a relative path, or four for one from the root.
    if scheme.partition("+")[0].lower() != "sqlite" or not rest or rest.startswith(("/", ":", "?", "file:")):
        return uri
    from runcontext.tracking import uris

    # The folder is a path; what follows it was written as a part of a URI.
    first, slash, below = rest.partition("/")
    home = os.path.expanduser(first)
    if home != first:
        return f"{scheme}:///{uris.encoded(home, uris.OF_PATHS)}{slash}{below}"
    start = "" if os.path.isabs(rest) else os.path.join(folder or os.sep, "")
    return f"{scheme}:///{uris.encoded(start, uris.OF_PATHS)}{rest}"


def absolute_artifacts(uri: str, folder: str | None) -> str:
    """Give an artifact URI in the one form that it is known by: a folder, and a database's file, is named from /."""
    from runcontext.tracking import uris

    if uris.scheme_of(uri):
        return absolute(uri, folder)
    return os.path.normpath(os.path.join(folder or os.sep, os.path.expanduser(uri)))
