"""The artifacts of a run that was read back: in its folder on this machine, or where the place it came from says."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runcontext.artifacts import transfer
from runcontext.artifacts.paths import checked_folder
from runcontext.errors import StoreError
from runcontext.tracking.store import StoredRun

if TYPE_CHECKING:
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
        from runcontext.artifacts.local import LocalRepository

        yield LocalRepository(str(run.path / "artifacts"))
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
    with artifacts_of(run, elsewhere) as repository:
        if folder is None and run.path is not None:
            return _where_it_lies(str(run.path / "artifacts"), artifact_path, repository)
        target = tempfile.mkdtemp(prefix="runcontext-") if folder is None else folder
        return transfer.download(repository, artifact_path, target, progress=progress, attempts=ATTEMPTS)


def _where_it_lies(root: str, artifact_path: str | None, repository: ArtifactRepository) -> str:
    wanted = checked_folder(artifact_path, repository.uri)
    path = os.path.join(root, *wanted.split("/")) if wanted else root
    if wanted and not os.path.exists(path):
        message = f"there is no artifact {wanted!r} in {repository.uri}; `runcontext show RUN` lists them"
        raise StoreError(message)
    return path
