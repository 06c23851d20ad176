"""What a local file holds, measured once: size and checksums, which a place's own are held against."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from runcontext.errors import StoreError, StoreUnavailableError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum of a whole file: ``kind`` is md5 or sha256, ``value`` lower-case hexadecimal digits."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Content:
    """A local file as it was when it was measured."""

    path: str
    size: int
    md5: str
    sha256: str

    def has(self, digest: Digest) -> bool:
        """Say whether a checksum that a place gives is this content's."""
        return digest.value == (self.md5 if digest.kind == "md5" else self.sha256)


class Hasher:
    """Computes the checksum of a kind, of bytes that come piece by piece."""

    def __init__(self, kind: str) -> None:
        """Begin with nothing."""
        self._kind = kind
        # An md5 is what object stores give: it finds damage, and is no matter of security.
        self._hash = hashlib.md5(usedforsecurity=False) if kind == "md5" else hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._hash.update(data)

    @property
    def digest(self) -> Digest:
        """The checksum of all bytes until now."""
        return Digest(self._kind, self._hash.hexdigest())


class Source:
    """A measured file that is read once more, from its beginning, to be sent."""

    def __init__(self, content: Content, file: BinaryIO) -> None:
        """Take the open file, of which nothing has been read."""
        self._content = content
        self._file = file
        self._hasher = Hasher("sha256")

    def read(self, size: int = -1) -> bytes:
        """Give the next bytes, as a file does."""
        data = self._file.read(size)
        self._hasher.update(data)
        return data

    def skip(self, size: int) -> None:
        """Pass over what need not be sent."""
        while size > 0 and (data := self.read(min(size, _CHUNK_BYTES))):
            size -= len(data)

    def chunks(self, size: int) -> Iterator[bytes]:
        """Give all of it in pieces of one size, the last one shorter."""
        while data := self.read(size):
            yield data

    def check(self) -> None:
        """Check that what has been read is the whole file as it was measured.

        Raises:
            StoreUnavailableError: the file is another one by now.
        """
        if not self._content.has(self._hasher.digest):
            message = f"{self._content.path} was changed while it was sent; send it again"
            raise StoreUnavailableError(message)


@contextlib.contextmanager
def reading(content: Content) -> Iterator[Source]:
    """Open a measured file for a block: what is sent is to be read from here, and nowhere else.

    Raises:
        StoreError: it cannot be opened any more.
    """
    try:
        file = open(content.path, "rb")  # noqa: SIM115 - below: what is raised within the block is not about opening
    except OSError as error:
        raise _unreadable(content.path, error) from error
    with file:
        yield Source(content, file)


def measured(local_path: str) -> Content:
    """Read a local file through, and give its size and checksums.

    Raises:
        StoreError: it cannot be read.
    """
    hashers = Hasher("md5"), Hasher("sha256")
    size = 0
    try:
        with open(local_path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
                for hasher in hashers:
                    hasher.update(chunk)
    except OSError as error:
        raise _unreadable(local_path, error) from error
    return Content(os.path.abspath(local_path), size, *(hasher.digest.value for hasher in hashers))


def _unreadable(local_path: str, error: OSError) -> StoreError:
    return StoreError(f"{local_path} cannot be read to be uploaded: {error.strerror or error}")
