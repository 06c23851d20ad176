"""Artifacts in a folder of this machine, and never out of it.

Whatever is a file's name here is an artifact's, in any encoding; on Windows none with a drive or a backslash in it. A
link within the folder is followed only where it stays within.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from urllib.parse import unquote

from runcontext.artifacts.arrival import arriving
from runcontext.artifacts.paths import check_windows_takes, checked_folder, checked_path
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.files import copy_content, copy_file, is_temporary
from runcontext.tracking import uris

if TYPE_CHECKING:
    from collections.abc import Sequence


class LocalRepository:
    """The artifacts below one folder.

    Args:
        artifact_uri: the folder, a path or a ``file:`` URI.
        tracking_uri: not needed here.
        is_windows: whether names that Windows keeps to itself are refused; this system's answer unless given.

    Raises:
        StoreError: the URI names no folder of this machine.
    """

    def __init__(
        self,
        artifact_uri: str | os.PathLike[str],
        tracking_uri: str | None = None,
        *,
        is_windows: bool = os.name == "nt",
    ) -> None:
        """Name the folder; nothing is touched yet."""
        del tracking_uri
        self._root = os.path.abspath(_path_of(os.fspath(artifact_uri)))
        self._is_windows = is_windows

    @property
    def uri(self) -> str:
        """The folder's path."""
        return self._root

    def upload_file(self, local_path: str, artifact_path: str) -> None:
        """Copy a local file to ``artifact_path``, whole or not at all; a reflink where the file system can.

        Raises:
            StoreError: the path is no artifact's, or leads out of the folder by a link; or the local file cannot be
                read.
        """
        _check_readable(local_path)
        with _Doing("write", artifact_path, self.uri):
            copy_file(local_path, self._place(artifact_path))

    def download_file(self, artifact_path: str, local_path: str) -> None:
        """Write an artifact into a local file, whole or not at all.

        Raises:
            StoreError: there is no such artifact.
        """
        with _Doing("read", artifact_path, self.uri):
            source = self._place(artifact_path)
            if not os.path.isfile(source):
                message = f"no artifact {artifact_path!r} in {self.uri}"
                raise StoreError(message)
            with arriving(local_path) as temporary:
                copy_content(source, temporary)

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List what is directly in a folder, sorted by path; the root unless given, nothing of a file."""
        folder = checked_folder(path, self.uri, is_of_files=True)
        with _Doing("list", path or ".", self.uri):
            place = self._place(folder) if folder else self._root
            if not os.path.isdir(place):
                return []
            with os.scandir(place) as entries:
                found = [self._info(folder, each) for each in entries if not is_temporary(each.name)]
        return sorted((each for each in found if each is not None), key=lambda each: each.path)

    def path_of(self, path: str | None = None) -> str:
        """Give where an artifact or a folder of artifacts lies; the root unless given.

        Raises:
            StoreError: there is none, or it lies elsewhere by a link.
        """
        wanted = checked_folder(path, self.uri, is_of_files=True)
        place = self._place(wanted) if wanted else self._root
        if wanted and not os.path.exists(place):
            message = f"there is no artifact {wanted!r} in {self.uri}; `runcontext show RUN` lists them"
            raise StoreError(message)
        return place

    def close(self) -> None:
        """Let go of nothing: no file stays open."""

    def _info(self, folder: str, entry: os.DirEntry[str]) -> ArtifactInfo | None:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_symlink() and not self._is_within(entry.path):
            return None
        try:
            found = entry.stat()
        except OSError:
            # A link to nothing or to itself, or a file that somebody has deleted by now.
            return None
        if stat.S_ISDIR(found.st_mode):
            return ArtifactInfo(path, is_dir=True, size_bytes=None)
        return ArtifactInfo(path, is_dir=False, size_bytes=found.st_size) if stat.S_ISREG(found.st_mode) else None

    def _place(self, artifact_path: str) -> str:
        """Give where an artifact is."""
        path = checked_path(artifact_path, self.uri, is_of_files=True)
        if self._is_windows:
            check_windows_takes(path)
        place = os.path.join(self._root, *path.split("/"))
        if not self._is_within(place):
            message = f"artifact path {artifact_path!r} leads out of {self.uri} by a link; it is not followed"
            raise StoreError(message)
        return place

    def _is_within(self, place: str) -> bool:
        root = os.path.realpath(self._root)
        return os.path.realpath(place).startswith(root + os.sep)


class _Doing:
    """Within it, an OSError becomes an error of the repository that names the artifact."""

    def __init__(self, work: str, artifact_path: str, uri: str) -> None:
        self._what = f"cannot {work} artifact {artifact_path!r} in {uri}"

    def __enter__(self) -> None:
        """Enter; nothing is prepared."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Say whether it may go right later: what no permission and no name forbids may."""
        if isinstance(error, PermissionError):
            message = f"{self._what}: {error}"
            raise StoreUnusableError(message) from error
        if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
            message = f"{self._what}: {error}"
            raise StoreError(message) from error
        if isinstance(error, OSError):
            message = f"{self._what} now: {error}"
            raise StoreUnavailableError(message) from error


def _check_readable(local_path: str) -> None:
    try:
        is_file = stat.S_ISREG(os.stat(local_path).st_mode)
        if is_file:
            with open(local_path, "rb"):
                return
    except OSError as error:
        message = f"{local_path} cannot be read: {error}"
        raise StoreError(message) from error
    message = f"{local_path} is no file"
    raise StoreError(message)


def _path_of(artifact_uri: str) -> str:
    scheme = uris.scheme_of(artifact_uri)
    if not scheme:
        return os.path.expanduser(artifact_uri)
    rest = artifact_uri[len(scheme) + 1 :]
    host, slash, path = rest.removeprefix("//").partition("/")
    if not rest.startswith("//"):
        path = rest
    elif host not in {"", "localhost"}:
        message = f"artifact URI {artifact_uri!r} names the host {host!r}: file:///PATH, of this machine, is expected"
        raise StoreError(message)
    else:
        path = slash + path
    if scheme != "file" or not path:
        from runcontext.redaction import redact_url

        message = f"artifact URI {redact_url(artifact_uri)!r} is no folder: a path or file:///PATH is expected"
        raise StoreError(message)
    return unquote(path)
