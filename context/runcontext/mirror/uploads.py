"""The artifacts of one run on their way: several at once, each again when it changes, and what was sent on record."""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from runcontext import codec
from runcontext.artifacts import transfer
from runcontext.artifacts.parallel import Crew
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.files import replace_file
from runcontext.mirror import state
from runcontext.resolution import describe_error
from runcontext.tracking import reading
from runcontext.tracking.store import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import TypeAlias

    from runcontext.artifacts.progress import TransferBar
    from runcontext.artifacts.repository import ArtifactRepository

    Artifact: TypeAlias = tuple[str, int, int]

CONTEXT_ARTIFACT = "context/context.json"
"""Where the whole context, reasons included, is among a run's artifacts at the place that it is sent to."""

_AT_ONCE = 4
_CONTEXT_FILE = "mirror.context.json"
_LOOK_EVERY_SECONDS = 1.0
_DIGEST_DIGITS = 15


class Uploads:
    """What of a run's artifacts is there, is on its way, and will never be.

    Args:
        folder: the run's folder.
        progress: a bar to move, where somebody looks on.
    """

    def __init__(self, folder: str, progress: TransferBar | None = None) -> None:
        """Take up what an earlier sender put on record."""
        self._folder = folder
        self._progress = progress
        self._sent = state.manifest(folder)
        self._count = len(self._sent)
        self._under_way: dict[Artifact, Future[None]] = {}
        self._failed: dict[Artifact, str] = {}
        self._kept_back: dict[Artifact, str] = {}
        self._is_over = False
        self._reported: set[Artifact] = set()
        self._arrived: set[str] = set()
        self._repository: ArtifactRepository | None = None
        self._crew: Crew | None = None
        self._look_at = 0.0

    @property
    def count(self) -> int:
        """How many artifacts have arrived, one that was sent again counted again."""
        return self._count

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way."""
        return bool(self._under_way)

    @property
    def problem(self) -> str | None:
        """Why the place takes no more, as where a library, a bucket or a credential is missing; None where it does.

        Where it took nothing yet, whatever it says of an artifact may be true of all.
        """
        if self.is_busy:
            return None
        return next(iter((self._kept_back if self._sent else {**self._kept_back, **self._failed}).values()), None)

    def arrived(self) -> set[str]:
        """Give the paths of what has arrived since this was last asked."""
        arrived, self._arrived = self._arrived, set()
        return arrived

    def unsent(self, *, with_context: bool) -> list[Artifact]:
        """Give what is not there as it is now, and may be: path, size in bytes, time of change."""
        found = state.unsent_artifacts(self._folder, self._sent)
        if with_context:
            found += self._context()
        return [each for each in found if each not in self._failed and each not in self._kept_back]

    def advance(self, repository: Callable[[], ArtifactRepository], *, is_over: bool) -> list[Refusal]:
        """See what has arrived, and send more; give what will never be taken.

        Args:
            repository: gives the place of the run's artifacts, asked once something is to be sent.
            is_over: whether the run has ended: then all is looked at each time, the context too.

        Raises:
            StoreUnavailableError: something has not arrived; it is sent again.
            OSError: what has arrived cannot be put on record; it is sent again.
        """
        self._collect()
        if is_over and not self._is_over:
            # Somebody may have seen to it since.
            self._kept_back.clear()
        self._is_over = is_over
        now = time.monotonic()
        if is_over or now >= self._look_at:
            for each in self.unsent(with_context=is_over):
                if len(self._under_way) < 2 * _AT_ONCE and each not in self._under_way:
                    self._send(each, repository)
            # A folder of very many files is looked at less often.
            self._look_at = now + max(_LOOK_EVERY_SECONDS, 10 * (time.monotonic() - now))
        if not self.is_busy:
            # Threads and connections are for what is on its way.
            self.close()
        return self._refusals()

    def _refusals(self) -> list[Refusal]:
        """Give what will never be taken, where the place takes others."""
        if not self._sent:
            return []
        new = [each for each in self._failed if each not in self._reported]
        self._reported.update(new)
        return [Refusal("artifact", each[0], self._failed[each]) for each in new]

    def close(self) -> None:
        """Let go of what is on its way; whoever sends next sends it again."""
        crew, self._crew = self._crew, None
        repository, self._repository = self._repository, None
        if crew is not None:
            for each in self._under_way.values():
                each.cancel()
            crew.dismiss()
        if repository is not None:
            repository.close()

    def _send(self, artifact: Artifact, repository: Callable[[], ArtifactRepository]) -> None:
        try:
            self._repository = self._repository or repository()
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self._kept_back[artifact] = str(error)
            return
        self._crew = self._crew or Crew(_AT_ONCE, name="runcontext-upload")
        path, size, _ = artifact
        file = os.path.join(self._folder, _CONTEXT_FILE) if path == CONTEXT_ARTIFACT else self._file(path)
        send = partial(transfer.send, self._repository, file, path, size_bytes=size, progress=self._progress)
        self._under_way[artifact] = self._crew.submit(send)

    def _file(self, path: str) -> str:
        return os.path.join(self._folder, "artifacts", *path.split("/"))

    def _collect(self) -> None:
        problem: StoreUnavailableError | None = None
        for artifact, upload in [each for each in self._under_way.items() if each[1].done()]:
            del self._under_way[artifact]
            self._look_at = 0.0
            try:
                upload.result()
            except StoreUnavailableError as error:
                problem = error
            except FileNotFoundError:
                # It was deleted meanwhile.
                continue
            except StoreUnusableError as error:
                self._kept_back[artifact] = str(error)
            except StoreError as error:
                self._failed[artifact] = str(error)
            except Exception as error:  # noqa: BLE001 - whatever a repository raises costs this artifact only
                self._failed[artifact] = describe_error(error)
            else:
                self._note_arrival(artifact)
        if problem is not None:
            raise problem

    def _note_arrival(self, artifact: Artifact) -> None:
        state.note_artifact(self._folder, *artifact)
        self._sent[artifact[0]] = artifact[1:]
        self._arrived.add(artifact[0])
        self._count += 1

    def _context(self) -> list[Artifact]:
        """Put the whole context where it can be sent from, and name it where it is not there as it is now."""
        row = reading.context_row(self._folder)
        if row is None:
            return []
        content = codec.dumps(row).encode()
        digest = int(hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS], 16)
        artifact = (CONTEXT_ARTIFACT, len(content), digest)
        if self._sent.get(CONTEXT_ARTIFACT) == artifact[1:] or artifact in self._under_way:
            return []
        replace_file(os.path.join(self._folder, _CONTEXT_FILE), content)
        return [artifact]
