"""Files on their way to or from any place: one that is sent, or many that are fetched at once, each counted on a bar.

Of many, what is there already is left, and one failure stops no other. A download never writes out of its folder,
whatever a place lists.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from runcontext.artifacts.progress import TransferBar
    from runcontext.artifacts.repository import ArtifactInfo, ArtifactRepository

    T = TypeVar("T")

WORKERS = 4
_WAITING_PER_WORKER = 4
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_DEEPEST = 64
"""No run has folders so deep; a place that lists some is in a circle."""


def send(
    repository: ArtifactRepository,
    local_path: str,
    artifact_path: str,
    *,
    size_bytes: int,
    progress: TransferBar | None = None,
) -> None:
    """Send one file, its bytes told to a bar: as they go where the place can tell, else at its end.

    Args:
        repository: where to.
        local_path: the file.
        artifact_path: where there.
        size_bytes: how many the bar is to expect; they are taken back if the file was not sent.
        progress: a bar to move.

    Raises:
        StoreError: as the repository does; whatever else it raises comes through too.
    """
    count = _Count(repository, size_bytes, progress)
    count.expect(size_bytes)
    try:
        count.attempt(lambda told: repository.upload_file(local_path, artifact_path, **told))
    except BaseException:
        count.expect(-size_bytes)
        raise


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
        count = _Count(repository, info.size_bytes or 0, progress)
        if _tried(lambda: _is_there(repository, info, target), attempts):
            count.finish()
            return
        _tried(lambda: count.attempt(lambda told: repository.download_file(info.path, target, **told)), attempts)
        _check_size(repository, info, target)

    os.makedirs(root, exist_ok=True)
    _each(fetch, found, workers, repository)
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

    def __init__(self, repository: ArtifactRepository, size_bytes: int, progress: TransferBar | None) -> None:
        self._progress = progress
        self._reports = progress is not None and getattr(repository, "reports_bytes", False)
        self._size = size_bytes
        self._done = 0
        self._lock = threading.Lock()

    def expect(self, size_bytes: int) -> None:
        if self._progress is not None:
            self._progress.expect(size_bytes)

    def attempt(self, call: Callable[[dict[str, Any]], None]) -> None:
        """Call something, with whom to tell of bytes where it can tell."""
        try:
            call({"on_bytes": self._advance} if self._reports else {})
        except BaseException:
            self._advance(-self._done)
            raise
        self.finish()

    def finish(self) -> None:
        """Count the whole file as done."""
        self._advance(self._size - self._done)

    def _advance(self, size_bytes: int) -> None:
        with self._lock:
            self._done += size_bytes
        if self._progress is not None:
            self._progress.advance(size_bytes)


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


def _each(work: Callable[[T], None], items: Iterable[T], workers: int, repository: ArtifactRepository) -> None:
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
        message = f"{len(errors)} files were not downloaded ({repository.uri}); the first: {errors[0]}"
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
