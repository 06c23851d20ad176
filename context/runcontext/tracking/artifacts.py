"""Copies what a run produced into its folder, and never out of it.

What cannot be read is the caller's to know, and raises. What cannot be kept (a full disk, a stale mount) never raises
into the program: it is tried again with the next artifact and at the end of the run.
"""

from __future__ import annotations

import errno
import os
import stat

from runcontext import log
from runcontext.files import copy_file, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CALLERS_ERRORS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
_MOST_NAMED = 5


class Artifacts:
    """The artifacts of one run.

    Args:
        run_folder: the run's folder; they go below its ``artifacts``.
    """

    def __init__(self, run_folder: str) -> None:
        """Remember the place; nothing is touched yet."""
        self._root = os.path.join(run_folder, "artifacts")
        self._runs = os.path.realpath(os.path.dirname(run_folder))
        self._waiting: list[tuple[str, Callable[[], None]]] = []

    def copy(self, local_path: str | os.PathLike[str], artifact_path: str | None) -> None:
        """Copy a file or a folder into the run's artifacts, below ``artifact_path``.

        Raises:
            OSError: it cannot be read; of a folder, what in it cannot be, and all else is kept.
            ValueError: ``artifact_path`` leads out of the artifacts, or is no path here.
        """
        source = _source(local_path)
        target = os.path.join(self._place(artifact_path), os.path.basename(source))
        self._keep(target, lambda: self._copy(source, target))

    def copy_contents(self, local_dir: str | os.PathLike[str], artifact_path: str | None) -> None:
        """Copy what is in a folder into the run's artifacts, below ``artifact_path``; raises as ``copy`` does."""
        source = _source(local_dir)
        target = self._place(artifact_path)
        self._keep(target, lambda: self._copy_whole(source, target))

    def write_text(self, text: str, artifact_file: str) -> None:
        """Write a text as an artifact, in UTF-8.

        Raises:
            ValueError: ``artifact_file`` leads out of the artifacts, is no path here, or names no file.
        """
        target = self._place(artifact_file)
        if target == self._root or not os.path.basename(artifact_file):
            message = f"artifact file {artifact_file!r} names no file; a relative path within the artifacts is expected"
            raise ValueError(message)
        content = text.encode("utf-8", "backslashreplace")
        self._keep(target, lambda: _write(target, content))

    def close(self) -> None:
        """Try once more what could not be kept, and say what is lost."""
        self._retry()
        for target, _ in self._waiting:
            log.warn_once(f"the artifact {target} could not be written and is lost")
        self._waiting.clear()

    def _keep(self, target: str, work: Callable[[], None]) -> None:
        self._retry()
        try:
            work()
        except _NotKeptError as error:
            log.warn_once(f"cannot write the artifact {target} ({error}): it is tried again until the run ends")
            self._waiting.append((target, work))

    def _copy(self, source: str, target: str) -> None:
        if os.path.isdir(source):
            self._copy_whole(source, target)
        else:
            _copy_file(source, target)

    def _copy_whole(self, source: str, target: str) -> None:
        """Copy a folder with all that is in it, and say at the end what could not be copied."""
        left_out: list[OSError] = []
        self._copy_folder(source, target, (), left_out)
        if left_out:
            others = f"; and {len(left_out) - _MOST_NAMED:,} more" if len(left_out) > _MOST_NAMED else ""
            named = "; ".join(map(str, left_out[:_MOST_NAMED]))
            message = f"not all of {source} could be kept as an artifact, but the rest was: {named}{others}"
            raise _LeftOutError(message)

    def _copy_folder(
        self, source: str, target: str, around: tuple[tuple[int, int], ...], left_out: list[OSError]
    ) -> None:
        found = os.stat(source)
        this = found.st_dev, found.st_ino
        if this in around or os.path.realpath(source) == self._runs:
            # A link may lead back to a folder that it is in, and the store is often within the folder that is logged:
            # a copy would hold a copy of itself.
            return
        names = os.listdir(source)
        with _Keeping():
            os.makedirs(target, exist_ok=True)
        for name in sorted(names):
            one, its_target = os.path.join(source, name), os.path.join(target, name)
            try:
                if os.path.isdir(one):
                    self._copy_folder(one, its_target, (*around, this), left_out)
                else:
                    _copy_file(one, its_target)
            except OSError as error:
                left_out.append(error)

    def _retry(self) -> None:
        waiting, self._waiting = self._waiting, []
        for target, work in waiting:
            try:
                work()
            except _LeftOutError as error:
                # Whoever logged it was told that it is tried again, and hears the rest here.
                log.warn_once(str(error))
            except (_NotKeptError, OSError):
                self._waiting.append((target, work))

    def _place(self, artifact_path: str | None) -> str:
        if artifact_path is None:
            return self._root
        relative = os.path.normpath(artifact_path)
        problem = _problem(relative)
        if problem is not None:
            message = (
                f"artifact path {artifact_path!r} {problem}; a relative path within the run's artifacts is expected"
            )
            raise ValueError(message)
        return os.path.normpath(os.path.join(self._root, relative))


class _NotKeptError(Exception):
    """The store has no room for an artifact, or is gone; as against a source that cannot be read."""


class _LeftOutError(OSError):
    """Some of a folder cannot be read, and all else of it was kept."""


class _Keeping:
    """Within it, an OSError is the store's; what the names themselves make impossible stays the caller's."""

    def __enter__(self) -> None:
        """Enter; nothing is prepared."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Turn the store's errors into one that is not raised into the program."""
        if isinstance(error, OSError) and error.errno not in _CALLERS_ERRORS:
            raise _NotKeptError(error) from error


def _source(local_path: str | os.PathLike[str]) -> str:
    path = os.fspath(local_path)
    if not path:
        # From nothing os.path.abspath() makes the working directory.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return os.path.abspath(path)


def _problem(path: str) -> str | None:
    """Say what keeps a normalized path from naming an artifact that can be read back, None where nothing does."""
    if os.path.isabs(path) or os.path.splitdrive(path)[0] or path.split(os.sep, maxsplit=1)[0] == os.pardir:
        return "leads out of the run's artifacts"
    if "\0" in path:
        return "has a NUL character in it, which no file's name has"
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        return f"has {error.object[error.start]!r} in it, which no file's name here can have"
    return None


def _copy_file(source: str, target: str) -> None:
    if not stat.S_ISREG(os.stat(source).st_mode):
        message = f"{source} is neither a file nor a folder"
        raise OSError(message)
    with open(source, "rb"), _Keeping():
        # It can be read: what goes wrong from here on is the store's.
        copy_file(source, target)


def _write(target: str, content: bytes) -> None:
    with _Keeping():
        replace_file(target, content)
