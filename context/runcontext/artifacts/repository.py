"""What every place of artifacts can do: take files, list them, give them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """One entry of a listing.

    - ``path``: relative to the repository's root, with ``/`` between its parts, never ``..``.
    - ``size_bytes``: None of a folder, or where the place does not say.
    """

    path: str
    is_dir: bool
    size_bytes: int | None


class ArtifactRepository(Protocol):
    """The artifacts of one run, below one artifact URI.

    Every path is relative to that, with ``/`` between its parts. What goes wrong raises StoreUnavailableError where it
    may go right later, and else StoreError; both name the place with its credentials redacted. Repositories are used
    by several threads at once.
    """

    @property
    def uri(self) -> str:
        """The artifact URI, fit to be shown: without credentials."""
        ...

    def upload_file(self, local_path: str, artifact_path: str) -> None:
        """Keep a local file as ``artifact_path``, which names the file itself; one that is there is replaced.

        A reader sees the old file or the new one whole, where the place can promise that.
        """
        ...

    def download_file(self, artifact_path: str, local_path: str) -> None:
        """Write an artifact into a local file, whole or not at all.

        Raises:
            StoreError: there is no such artifact, or it did not arrive whole.
        """
        ...

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List what is directly in a folder, sorted by path; the root unless given, nothing of a file."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
