"""Artifact URIs that are folders of a tracking server's own machine: usable where that folder is here too.

A server that does not proxy artifacts gives the URI that it was started with to every client. Of a path MLflow's client
makes the folder wherever it happens to run, and nobody finds the artifacts again.
"""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from runcontext.errors import StoreError
from runcontext.tracking.uris import scheme_of

_PARTS_OF_A_RUN = 3
"""MLflow puts ``<experiment>/<run_id>/artifacts`` below the root that a server was given."""


def check_is_here(artifact_uri: str, server: str) -> None:
    """Refuse a folder that is not on this machine; any other scheme passes.

    The folder of a new run, and of its experiment, may be missing: nobody makes them before. Their root must be there,
    or at least be in a folder that is there, other than ``/``.

    Args:
        artifact_uri: as the server gives it.
        server: the server's URI, fit to be shown.

    Raises:
        StoreError: nothing of the path is here.
    """
    if scheme_of(artifact_uri) not in {"", "file"}:
        return
    folder = os.path.abspath(unquote(urlsplit(artifact_uri).path) if scheme_of(artifact_uri) else artifact_uri)
    for _part in range(_PARTS_OF_A_RUN + 1):
        folder = os.path.dirname(folder)
        if os.path.dirname(folder) != folder and os.path.isdir(folder):
            return
    message = (
        f"{server} keeps artifacts in the folder {artifact_uri} of its own machine, which is not here: start it with"
        " --serve-artifacts (MLflow's default) and make a new experiment, or mount the folder here under this name"
    )
    raise StoreError(message)
