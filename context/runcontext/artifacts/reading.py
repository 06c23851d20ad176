"""The artifacts of a run that was read back: in its folder on this machine, or where the place it came from says."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runcontext.artifacts import transfer
from runcontext.errors import StoreError
from runcontext.tracking.store import StoredRun

if TYPE_CHECKING:
    from pathlib import Path

    from runcontext.artifacts.local import LocalRepository
    from runcontext.artifacts.progress import TransferBar
    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.record import RunRecord
    from runcontext.tracking.store import TrackingStore

ATTEMPTS = 4
"""How often a reader asks a place that cannot be reached, with pauses of 0.5, 1 and 2 seconds, unless it says when."""


@contextlib.contextmanager
def artifacts_of(run: RunRecord, elsewhere: TrackingStore | None) -> Iterator[ArtifactRepository]:
    """Give a run's artifacts for a block.

    Args:
        run: the run.
        elsewhere: the store that it was read from; None for this machine's.

    Raises:
        StoreError: it has none there, or nothing here serves where they are.
    """
    if run.path is not None:
        yield _lying(run.path)
        return
    if elsewhere is None or run.artifact_uri is None:
        where = "this machine" if elsewhere is None else elsewhere.uri
        message = f"run {run.run_id} has no artifacts on {where}; --tracking-uri names where it has some"
        raise StoreError(message)
    stored = StoredRun(run.run_id, run.remote_id or run.run_id, run.url, run.artifact_uri)
    with contextlib.closing(elsewhere.artifacts(stored)) as repository:
        yield repository


def download(
    run: RunRecord,
    elsewhere: TrackingStore | None,
    artifact_path: str | None,
    folder: str | None,
    *,
    progress: TransferBar | None = None,
) -> str:
    """Fetch artifacts of a run; give the local path of what was asked for.

    Without a folder it is where it lies, of a run on this machine, and else a new temporary folder, the caller's to
    remove.

    Raises:
        StoreError: there is no such artifact, or some did not arrive.
    """
    if folder is None and run.path is not None:
        return _lying(run.path).path_of(artifact_path)
    with artifacts_of(run, elsewhere) as repository:
        target = tempfile.mkdtemp(prefix="runcontext-") if folder is None else folder
        return transfer.download(repository, artifact_path, target, progress=progress, attempts=ATTEMPTS)


def _lying(run_folder: Path) -> LocalRepository:
    from runcontext.artifacts.local import LocalRepository

    return LocalRepository(str(run_folder / "artifacts"))
