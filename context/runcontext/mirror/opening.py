"""Opens the store that a run is sent to, and takes up the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runcontext.errors import StoreError
from runcontext.mirror.mirror import Mirror
from runcontext.redaction import redact_url
from runcontext.resolution import describe_error
from runcontext.settings import current_settings

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
    """Take up the run in ``folder``, as the settings of this moment want it kept; raises StoreError as ``Mirror``."""
    from runcontext.tracking.default_experiment import default_experiment

    artifact_uri = current_settings().artifact_uri
    return Mirror(
        folder, store, place, artifact_uri=artifact_uri, default_experiment=default_experiment, progress=progress
    )
