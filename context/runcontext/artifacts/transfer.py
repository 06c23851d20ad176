"""Files on their way to or from any place: one that is sent, or many that are fetched at once, each counted on a bar.

Of many, what is there already is left, and one failure stops no other. A download never writes out of its folder,
whatever a place lists.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from runcontext import log
from runcontext.artifacts.parallel import in_order
from runcontext.artifacts.paths import check_windows_takes, checked_folder, checked_path
from runcontext.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from runcontext.artifacts.progress import TransferBar
    from runcontext.artifacts.repository import ArtifactInfo, ArtifactRepository

    T = TypeVar("T")

WORKERS = 4
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_MOST_NAMES = 10
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
    is_windows: bool = os.name == "nt",
) -> str:
    """Fetch an artifact, or a folder of artifacts with all that is in it; give the local path of it.

    Args:
        repository: where from.
        artifact_path: a file or a folder; None for everything.
        folder: where to: what is fetched has the same path below it as in the repository. It is made where missing.
        workers: how many at once.
        progress: a bar to move.
        attempts: how often each file is tried while its place cannot be reached.
        is_windows: names that Windows cannot have, or understands otherwise, are refused; this system's answer unless
            given.

    Raises:
        StoreError: there is no such artifact; or some did not arrive, each of the others did: it names them.
    """
    wanted = checked_folder(artifact_path, repository.uri, is_of_files=True)
    root = os.path.realpath(folder)
    walk = _Walk(repository, attempts)
    found = walk.below(wanted)
    if progress is not None:
        progress.expect(sum(each.size_bytes or 0 for each in found))
    stopping = threading.Event()

    def fetch(info: ArtifactInfo) -> None:
        if is_windows:
            check_windows_takes(info.path)
        target = _target(root, info, repository)
        count = _Count(repository, info.size_bytes or 0, progress, stopping)
        if _tried(lambda: _is_there(repository, info, target), attempts, stopping):
            count.finish()
            return
        download = functools.partial(repository.download_file, info.path, target)
        _tried(lambda: count.attempt(lambda told: download(**told)), attempts, stopping)
        _check_size(repository, info, target)

    def problem_of(info: ArtifactInfo) -> StoreError | None:
        try:
            fetch(info)
        except StoreError as error:
            return error
        return None

    _make(root)
    if not found and not walk.failures:
        log.warn_once(
            f"there are no artifacts in {repository.uri}{f', {wanted}' if wanted else ''}: nothing to download"
        )
    name = "runcontext-transfer"
    problems = in_order(problem_of, found, workers, name=name, ahead=len(found), stopping=stopping)
    failed = {each.path: problem for each, problem in zip(found, problems, strict=True) if problem is not None}
    _raise_first({**walk.failures, **failed}, repository)
    return os.path.join(root, *wanted.split("/")) if wanted else root


class _Walk:
    """Lists all files of a folder and of those in it; an entry that cannot be fetched, or listed, costs itself only."""

    def __init__(self, repository: ArtifactRepository, attempts: int) -> None:
        self._repository = repository
        self._attempts = attempts
        self.failures: dict[str, StoreError] = {}

    def below(self, wanted: str) -> list[ArtifactInfo]:
        """List all files of a folder, or the one file of that name."""
        files = list(self._walked(wanted, self._listed(wanted), 0))
        if files or self.failures or not wanted:
            return files
        parent = wanted.rpartition("/")[0]
        same = [each for each in self._listed(parent) if each.path == wanted]
        if not same:
            message = f"there is no artifact {wanted!r} in {self._repository.uri}; `runcontext show RUN` lists them"
            raise StoreError(message)
        return [each for each in same if not each.is_dir]

    def _walked(self, folder: str, listed: Sequence[ArtifactInfo], depth: int) -> Iterator[ArtifactInfo]:
        if depth > _DEEPEST:
            message = f"{self._repository.uri} lists folders within folders without end, at {folder[:200]!r}"
            raise StoreError(message)
        for each in listed:
            try:
                self._check(each.path, folder)
                below = self._listed(each.path) if each.is_dir else None
            except StoreUnavailableError:
                raise
            except StoreError as error:
                self.failures[each.path] = error
                continue
            if below is None:
                yield each
            else:
                yield from self._walked(each.path, below, depth + 1)

    def _listed(self, folder: str) -> Sequence[ArtifactInfo]:
        return _tried(lambda: self._repository.list_artifacts(folder or None), self._attempts, threading.Event())

    def _check(self, path: str, folder: str) -> None:
        uri = self._repository.uri
        checked_path(path, uri, is_of_files=True)
        if path.rpartition("/")[0] != folder:
            message = f"{uri} lists {path!r} as being in {folder or 'its root'!r}: it is not downloaded"
            raise StoreError(message)


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        message = f"cannot download into {folder} ({reason}): a folder, or where one can be made, is expected"
        raise StoreError(message) from error


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

    def __init__(
        self,
        repository: ArtifactRepository,
        size_bytes: int,
        progress: TransferBar | None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._progress = progress
        self._stopping = stopping
        self._reports = getattr(repository, "reports_bytes", False)
        self._size = size_bytes
        self._done = 0
        self._lock = threading.Lock()

    def expect(self, size_bytes: int) -> None:
        if self._progress is not None:
            self._progress.expect(size_bytes)

    def attempt(self, call: Callable[[dict[str, Any]], None]) -> None:
        """Call something, with whom to tell of bytes where it can tell."""
        try:
            call({"on_bytes": self._told} if self._reports else {})
        except BaseException:
            self._advance(-self._done)
            raise
        self.finish()

    def finish(self) -> None:
        """Count the whole file as done."""
        self._advance(self._size - self._done)

    def _told(self, size_bytes: int) -> None:
        if self._stopping is not None and self._stopping.is_set():
            message = "the transfer was stopped"
            raise StoreError(message)
        self._advance(size_bytes)

    def _advance(self, size_bytes: int) -> None:
        with self._lock:
            self._done += size_bytes
        if self._progress is not None:
            self._progress.advance(size_bytes)


def _tried(call: Callable[[], T], attempts: int, stopping: threading.Event) -> T:
    """Call something until its place can be reached, at most so often, and not again once it is to stop."""
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(attempts - 1):
        try:
            return call()
        except StoreUnavailableError as error:
            if stopping.wait(min(error.retry_after_seconds or pause, _LONGEST_PAUSE_SECONDS)):
                raise
            pause *= 2
    return call()


def _raise_first(failures: Mapping[str, StoreError], repository: ArtifactRepository) -> None:
    """Raise the one error, or one of the first's kind that names all that failed, as far as a line holds them."""
    if not failures:
        return
    first = next(iter(failures.values()))
    if len(failures) == 1:
        raise first
    names = ", ".join(repr(each) for each in list(failures)[:_MOST_NAMES])
    more = f" and {len(failures) - _MOST_NAMES} more" if len(failures) > _MOST_NAMES else ""
    message = f"{len(failures)} files were not downloaded ({repository.uri}): {names}{more}; the first: {first}"
    raise type(first)(message) from first
