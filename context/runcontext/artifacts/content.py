"""What a local file holds, measured once: size and checksums, which a place's own are held against."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from runcontext.errors import StoreError

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
        message = f"{local_path} cannot be read to be uploaded: {error.strerror or error}"
        raise StoreError(message) from error
    return Content(os.path.abspath(local_path), size, *(hasher.digest.value for hasher in hashers))
