"""The files of one place behind fsspec: what a repository asks of it, and the answer that any fsspec file system gives.

Places that offer more, or need more care, have a module of their own: ``s3``, ``oss``, ``sftp``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runcontext.artifacts.content import Content, Digest

_MOST_RACES = 3

SHA256_KEY = "runcontext-sha256"
"""The name of the metadata that holds an uploaded file's SHA-256, where a place keeps metadata."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as a place describes it.

    - ``version``: whatever differs once the file is another one.
    - ``digest``: a checksum of the whole, None where the place has none that can be computed here.
    """

    size: int
    version: str
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What is directly in a folder; ``name`` is its own, as the place says it, and may be anything."""

    name: str
    is_dir: bool
    size: int | None


class Files(Protocol):
    """The files of a place, by paths as its library wants them; what goes wrong raises whatever the library raises."""

    def state(self, path: str) -> FileState:
        """Describe a file; FileNotFoundError where there is none, IsADirectoryError of a folder."""
        ...

    def entries(self, folder: str) -> Iterable[Entry]:
        """List what is directly in a folder; nothing of a file, and of a folder that is not there."""
        ...

    def read(self, path: str, start: int, end: int, version: str) -> bytes:
        """Give the bytes from ``start`` up to ``end``; where the place can tell, only of this version."""
        ...

    def write(self, content: Content, path: str, sent: Callable[[int], None]) -> None:
        """Keep a local file, making folders as needed; ``sent`` is told of bytes that have arrived."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


_TEMPORARY = re.compile(r"\.[0-9a-f]{8}-[0-9a-f]{32}\.part")


def temporary_name(name: str, unique: str) -> str:
    """Give what a file is called until it is whole.

    Args:
        name: its own name.
        unique: 32 hexadecimal digits, which tell this attempt, or this content, from all others.
    """
    return f"{_temporary_prefix(name)}{unique}.part"


def is_temporary(name: str) -> bool:
    """Say whether a file is one that is not whole yet, or that an attempt has left: no artifact."""
    return _TEMPORARY.fullmatch(name) is not None


class Leftovers:
    """The temporary files that earlier attempts have left: each folder is listed once, since few have any.

    Args:
        names: lists the names in a folder.
        remove: removes a file.
    """

    def __init__(self, names: Callable[[str], Iterable[str]], remove: Callable[[str], object]) -> None:
        """Look at nothing yet."""
        self._names = names
        self._remove = remove
        self._found: dict[str, list[str]] = {}

    def remove_of(self, folder: str, name: str) -> None:
        """Remove those of a file that has arrived, whatever their content; what cannot be removed stays."""
        with contextlib.suppress(Exception):
            if folder not in self._found:
                self._found[folder] = [each for each in self._names(folder) if is_temporary(each)]
            for each in [each for each in self._found[folder] if each.startswith(_temporary_prefix(name))]:
                self._found[folder].remove(each)
                self._remove(f"{folder}/{each}")


class FsspecFiles:
    """Any fsspec file system.

    Args:
        system: the file system.
        renames: it is one of folders and files: what is written has a temporary name until it is whole. Object stores
            need none: there an upload that stops leaves nothing.
        bucket: what has to be there before anything can be, empty where the place has no buckets.
    """

    def __init__(self, system: Any, *, renames: bool, bucket: str = "") -> None:
        """Keep the file system, which is connected, or connects when it is first asked."""
        self._system: Any = system
        self._renames = renames
        self._bucket = bucket
        self._leftovers = Leftovers(lambda folder: (each.name for each in self._listed(folder)), system.rm_file)

    def state(self, path: str) -> FileState:
        """Describe a file, as ``Files`` says."""
        self._system.invalidate_cache()
        info = self._system.info(path)
        if info["type"] == "directory":
            raise IsADirectoryError(path)
        return FileState(int(info["size"]), _version(info), _digest(info))

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder, as ``Files`` says."""
        for each in self._listed(folder):
            if not (self._renames and is_temporary(each.name)):
                yield each

    def read(self, path: str, start: int, end: int, version: str) -> bytes:  # noqa: ARG002 - not every place can tell
        """Give some bytes, as ``Files`` says."""
        return bytes(self._system.cat_file(path, start=start, end=end))

    def write(self, content: Content, path: str, sent: Callable[[int], None]) -> None:
        """Keep a file, as ``Files`` says."""
        if self._renames:
            self._write_and_rename(content.path, path)
        else:
            self._system.put_file(content.path, path)
        self._system.invalidate_cache()
        sent(content.size)

    def close(self) -> None:
        """Leave it to the file system: fsspec's have no way to be closed, and close themselves when nobody has them."""

    def _listed(self, folder: str) -> Iterator[Entry]:
        self._system.invalidate_cache()
        try:
            # Some list a file as if it were in itself.
            is_file = self._renames and self._system.info(folder)["type"] == "file"
            found = [] if is_file else self._system.ls(folder, detail=True)
        except FileNotFoundError:
            if self._bucket:
                self._system.info(self._bucket)
            return
        except NotADirectoryError:
            return
        for info in found:
            if info["name"].strip("/") != folder.strip("/"):
                is_dir = info["type"] == "directory"
                name = info["name"].rstrip("/").rpartition("/")[2]
                yield Entry(name, is_dir, None if is_dir else info.get("size"))

    def _write_and_rename(self, local_path: str, path: str) -> None:
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/{temporary_name(name, secrets.token_hex(16))}"
        self._make_folder(folder)
        try:
            self._system.put_file(local_path, temporary)
            if self._system.exists(path):
                # Not every such place replaces a file when another takes its name.
                self._system.rm_file(path)
            self._rename(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._system.rm_file(temporary)
            raise
        self._leftovers.remove_of(folder, name)

    def _rename(self, temporary: str, path: str) -> None:
        try:
            self._system.mv(temporary, path)
        except FileNotFoundError as error:
            message = f"{temporary} is gone: another {path} was sent at the same time"
            raise ConnectionError(message) from error

    def _make_folder(self, folder: str) -> None:
        for _ in range(_MOST_RACES):
            # Another may make it, or one above it, between the library's look and its attempt.
            with contextlib.suppress(Exception):
                self._system.makedirs(folder, exist_ok=True)
                return
        self._system.makedirs(folder, exist_ok=True)


def _temporary_prefix(name: str) -> str:
    return f".{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}-"


def _version(info: Mapping[str, Any]) -> str:
    names = ("generation", "etag", "ETag", "mtime", "modify", "LastModified", "last_modified", "modified", "created")
    return repr([info["size"], *(str(info[name]) for name in names if info.get(name) is not None)])


def _digest(info: Mapping[str, Any]) -> Digest | None:
    """Give the MD5 that Google's and Azure's stores have of an object.

    Objects resource, ``md5Hash`` (Google Cloud Storage JSON API); Get Blob Properties, ``Content-MD5`` (Azure Blob
    Storage REST API), which a blob that was uploaded in blocks does not have.
    """
    settings = info.get("content_settings")
    found = info.get("md5Hash") or (settings.get("content_md5") if isinstance(settings, Mapping) else None)
    if isinstance(found, str):
        try:
            found = base64.b64decode(found, validate=True)
        except binascii.Error:
            return None
    return Digest("md5", bytes(found).hex()) if isinstance(found, (bytes, bytearray)) and found else None
