"""Opens the store that a run is sent to, and takes up the run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runcontext.errors import StoreError
from runcontext.mirror import state
from runcontext.mirror.mirror import Mirror
from runcontext.redaction import MARK, redact_url
from runcontext.resolution import describe_error
from runcontext.settings import current_settings
from runcontext.tracking import reading

if TYPE_CHECKING:
    from runcontext.artifacts.progress import TransferBar
    from runcontext.tracking.store import TrackingStore


def opened(uri: str) -> TrackingStore:
    """Open the store of a tracking URI.

    Raises:
        StoreError: there is none, or it cannot be opened; the message names the URI without credentials.
    """
    from runcontext.tracking import places

    try:
        return places.open_store(uri)
    except StoreError:
        raise
    except Exception as error:
        message = f"the store of {redact_url(uri)} cannot be opened: {describe_error(error)}"
        raise StoreError(message) from error


def taken_up(folder: str, store: TrackingStore, place: str, progress: TransferBar | None = None) -> Mirror:
    """Take up the run in ``folder``, as it was started to be kept, and else as the settings of this moment say.

    Raises:
        StoreError: as ``Mirror`` does; or credentials are needed for its artifacts that are not on record.
    """
    from runcontext.tracking.default_experiment import default_experiment

    artifact_uri = _artifact_uri(folder)
    return Mirror(
        folder, store, place, artifact_uri=artifact_uri, default_experiment=default_experiment, progress=progress
    )


def _artifact_uri(folder: str) -> str | None:
    """Give where the run was started to have its artifacts, with the credentials of a setting that names that place."""
    given = current_settings().artifact_uri
    recorded = (reading.json_file(os.path.join(folder, "run.json")) or {}).get("artifact_uri")
    if recorded is None or (given is not None and redact_url(given) == recorded):
        return given
    if MARK not in recorded:
        return str(recorded)
    known = state.read(folder)
    if known is None or known.remote_id is None:
        message = f"the credentials of {recorded} are not on record: name the whole URI in RUNCONTEXT_ARTIFACT_URI"
        raise StoreError(message)
    # Where its artifacts go was settled when it was made there.
    return given
