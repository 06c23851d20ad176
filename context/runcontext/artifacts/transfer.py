"""Many files on their way at once, to or from any place: what is there already is left, one failure stops no other.

A download never writes out of its folder, whatever a place lists.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from runcontext.artifacts.content import measured
from runcontext.artifacts.manifest import Manifest, Sent
from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.artifacts.progress import TransferBar
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from runcontext.artifacts.repository import ArtifactRepository

    T = TypeVar("T")

WORKERS = 4
_WAITING_PER_WORKER = 4
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_DEEPEST = 64
"""No run has folders so deep; a place that lists some is in a circle."""


def upload(
    repository: ArtifactRepository,
    files: Iterable[tuple[str, str]],
    *,
    workers: int = WORKERS,
    on_sent: Callable[[Sent], None] | None = None,
    manifest: str | None = None,
    progress: TransferBar | None = None,
    attempts: int = 1,
) -> None:
    """Send files, several at once; when it returns, all are there.

    Args:
        repository: where to.
        files: local path and artifact path of each; they are taken as they come, not all at once.
        workers: how many at once.
        on_sent: called for each file that is there, from any thread, one at a time per file.
        manifest: a file that says what earlier attempts have sent, and is added to: what is in it with the same size
            and SHA-256 is not sent again.
        progress: a bar to move.
        attempts: how often each file is tried while its place cannot be reached.

    Raises:
        StoreError: some were not sent, each of the others was; the first one's error, which tells how many there are.
    """
    record = Manifest(manifest)

    def send(pair: tuple[str, str]) -> None:
        local_path, artifact_path = pair
        content = measured(local_path)
        sent = Sent(artifact_path, content.size, content.sha256)
        if not record.has(sent):
            count = _Count(repository, progress)
            count.expect(content.size)
            count.tried(lambda told: repository.upload_file(local_path, artifact_path, **told), attempts, content.size)
            record.add(sent)
        if on_sent is not None:
            on_sent(sent)

    _each(send, files, workers, "sent", repository)


def download(
    repository: ArtifactRepository,
    artifact_path: str | None,
    folder: str,
    *,
    workers: int = WORKERS,
    progress: TransferBar | None = None,
    attempts: int = 1,
) -> str:
    """Fetch an artifact, or a folder of artifacts with all that is in it; give the local path of it.

    Args:
        repository: where from.
        artifact_path: a file or a folder; None for everything.
        folder: where to: what is fetched has the same path below it as in the repository. It is made where missing.
        workers: how many at once.
        progress: a bar to move.
        attempts: how often each file is tried while its place cannot be reached.

    Raises:
        StoreError: there is no such artifact; or some did not arrive, each of the others did: the first one's error.
    """
    wanted = checked_folder(artifact_path, repository.uri)
    root = os.path.realpath(folder)
    found = _tried(lambda: list(_below(repository, wanted)), attempts)
    if progress is not None:
        progress.expect(sum(each.size_bytes or 0 for each in found))

    def fetch(info: ArtifactInfo) -> None:
        target = _target(root, info, repository)
        count = _Count(repository, progress)
        size = info.size_bytes or 0
        if _tried(lambda: _is_there(repository, info, target), attempts):
            count(size)
            return
        count.tried(lambda told: repository.download_file(info.path, target, **told), attempts, size)
        _check_size(repository, info, target)

    os.makedirs(root, exist_ok=True)
    _each(fetch, found, workers, "downloaded", repository)
    return os.path.join(root, *wanted.split("/")) if wanted else root


def _below(repository: ArtifactRepository, wanted: str) -> Iterator[ArtifactInfo]:
    """List all files of a folder, or the one file of that name."""
    files = list(_walked(repository, wanted, 0))
    if files or not wanted:
        yield from files
        return
    parent = wanted.rpartition("/")[0]
    for each in repository.list_artifacts(parent or None):
        if each.path == wanted:
            if not each.is_dir:
                yield each
            return
    message = f"there is no artifact {wanted!r} in {repository.uri}; `runcontext show RUN` lists them"
    raise StoreError(message)


def _walked(repository: ArtifactRepository, folder: str, depth: int) -> Iterator[ArtifactInfo]:
    if depth > _DEEPEST:
        message = f"{repository.uri} lists folders within folders without end, at {folder[:200]!r}"
        raise StoreError(message)
    for each in repository.list_artifacts(folder or None):
        checked_path(each.path, repository.uri)
        if each.path.rpartition("/")[0] != folder:
            message = (
                f"{repository.uri} lists {each.path!r} as being in {folder or 'its root'!r}: nothing is downloaded"
            )
            raise StoreError(message)
        if each.is_dir:
            yield from _walked(repository, each.path, depth + 1)
        else:
            yield each


def _target(root: str, info: ArtifactInfo, repository: ArtifactRepository) -> str:
    """Give where a file goes; a link in the folder that leads out of it is not followed."""
    target = os.path.join(root, *info.path.split("/"))
    folder = os.path.realpath(os.path.dirname(target))
    if os.path.commonpath((root, folder)) != root:
        message = f"{info.path!r} of {repository.uri} would be written to {folder}, out of {root}: remove that link"
        raise StoreError(message)
    return target


def _is_there(repository: ArtifactRepository, info: ArtifactInfo, target: str) -> bool:
    holds: Any = getattr(repository, "holds", None)
    if holds is None or os.path.islink(target) or not os.path.isfile(target):
        return False
    return info.size_bytes in (None, os.path.getsize(target)) and bool(holds(info.path, target))


def _check_size(repository: ArtifactRepository, info: ArtifactInfo, target: str) -> None:
    size = os.path.getsize(target)
    if not hasattr(repository, "holds") and info.size_bytes not in (None, size):
        message = (
            f"{info.path!r} of {repository.uri} was listed with {info.size_bytes} bytes and arrived with {size}: it "
            "was changed at the same time, or did not arrive whole; download it again"
        )
        raise StoreUnavailableError(message)


class _Count:
    """Moves a bar by one file's bytes, and back again where an attempt has failed."""

    def __init__(self, repository: ArtifactRepository, progress: TransferBar | None) -> None:
        self._progress = progress
        self._reports = getattr(repository, "reports_bytes", False)
        self._done = 0

    def __call__(self, size_bytes: int) -> None:
        self._done += size_bytes
        if self._progress is not None:
            self._progress.advance(size_bytes)

    def expect(self, size_bytes: int) -> None:
        if self._progress is not None:
            self._progress.expect(size_bytes)

    def tried(self, call: Callable[[dict[str, Any]], None], attempts: int, size_bytes: int) -> None:
        """Call something, with whom to tell of bytes where it can tell."""

        def anew() -> None:
            self(-self._done)
            call({"on_bytes": self} if self._reports else {})

        _tried(anew, attempts)
        self(size_bytes - self._done)


def _tried(call: Callable[[], T], attempts: int) -> T:
    """Call something until its place can be reached, at most so often."""
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(attempts - 1):
        try:
            return call()
        except StoreUnavailableError as error:
            time.sleep(min(error.retry_after_seconds or pause, _LONGEST_PAUSE_SECONDS))
            pause *= 2
    return call()


def _each(
    work: Callable[[T], None], items: Iterable[T], workers: int, done: str, repository: ArtifactRepository
) -> None:
    """Do the same with each, several at once; an error of one is raised when all others are done."""
    errors: list[StoreError] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="runcontext-transfer") as pool:
        waiting: set[Future[None]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(work, item))
                if len(waiting) >= workers * _WAITING_PER_WORKER:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    errors += _errors(ready)
            errors += _errors(wait(waiting).done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if len(errors) > 1:
        message = f"{len(errors)} files were not {done} ({repository.uri}); the first: {errors[0]}"
        raise type(errors[0])(message) from errors[0]
    if errors:
        raise errors[0]


def _errors(futures: Iterable[Future[None]]) -> list[StoreError]:
    """Give what went wrong with a place; anything else is raised."""
    found: list[StoreError] = []
    for future in futures:
        try:
            future.result()
        except StoreError as error:
            found.append(error)
    return found
