"""A large file sent in parts, several at once, and only those that are not there yet: what S3 and OSS have in common.

Which upload a file belongs to is noted in the user's cache folder, under the place, the path and the content's SHA-256:
an upload that stopped is gone on with by this or any later process of the same user, and never with another content.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runcontext import cache
from runcontext.artifacts.content import Content, reading
from runcontext.artifacts.parallel import in_order
from runcontext.files import replace_file

THRESHOLD_BYTES = 16 << 20
"""A file of this size and more goes in parts."""

STREAMS = 4
"""How many parts of one file are on their way at once."""

_LEAST_PART_BYTES = 8 << 20
_MOST_PARTS = 10_000
"""Both services' limit (Amazon S3 User Guide, "Multipart upload limits"; OSS Developer Guide, "Multipart upload")."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has arrived; ``etag`` is its MD5, unless the place encrypts with a key of its own."""

    number: int
    size: int
    etag: str


class MultipartPlace(Protocol):
    """What a place offers for it; ``name`` tells it, and the account, from all others."""

    name: str

    def begin(self, content: Content, path: str) -> str:
        """Begin an upload, and give its id."""
        ...

    def parts(self, path: str, upload_id: str) -> Sequence[Part]:
        """List what has arrived; FileNotFoundError where there is no such upload any more."""
        ...

    def send(self, path: str, upload_id: str, number: int, data: bytes) -> Part:
        """Send a part; the first has number 1."""
        ...

    def finish(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make the parts a file."""
        ...


def part_bytes(size: int) -> int:
    """Give the size of the parts of a file, which depends on nothing but its own."""
    least = -(-size // _MOST_PARTS)
    return max(_LEAST_PART_BYTES, -(-least // (1 << 20)) << 20)


def upload_in_parts(place: MultipartPlace, content: Content, path: str, sent: Callable[[int], None]) -> None:
    """Send a file in parts, going on where an earlier attempt stopped; ``sent`` is told of bytes that are there."""
    note = _note(place, content, path)
    upload_id, there = _found(place, path, note) or (_begun(place, content, path, note), {})
    send = functools.partial(_send, place, path, upload_id, there, sent)
    with reading(content) as source:
        numbered = enumerate(source.chunks(part_bytes(content.size)), 1)
        parts = list(in_order(send, numbered, STREAMS, name="runcontext-part"))
        source.check()
    place.finish(path, upload_id, parts)
    with contextlib.suppress(OSError):
        os.unlink(note)


def _send(
    place: MultipartPlace,
    path: str,
    upload_id: str,
    there: Mapping[int, Part],
    sent: Callable[[int], None],
    numbered: tuple[int, bytes],
) -> Part:
    number, data = numbered
    known = there.get(number)
    if known is None or known.size != len(data) or known.etag != hashlib.md5(data, usedforsecurity=False).hexdigest():
        known = place.send(path, upload_id, number, data)
    sent(len(data))
    return known


def _found(place: MultipartPlace, path: str, note: str) -> tuple[str, dict[int, Part]] | None:
    try:
        with open(note, encoding="ascii") as file:
            upload_id = file.read()
        return upload_id, {part.number: part for part in place.parts(path, upload_id)}
    except FileNotFoundError:
        # Nothing was begun, or the place has thrown it away since.
        return None


def _begun(place: MultipartPlace, content: Content, path: str, note: str) -> str:
    upload_id = place.begin(content, path)
    with contextlib.suppress(OSError):
        # Without the note the upload is only not gone on with.
        replace_file(note, upload_id.encode("ascii"))
    return upload_id


def _note(place: MultipartPlace, content: Content, path: str) -> str:
    folder = cache.folder(os.environ.get("RUNCONTEXT_CACHE_DIR")) or os.devnull
    key = hashlib.sha256(f"{place.name}\n{path}\n{content.sha256}".encode("utf-8", "surrogateescape"))
    return os.path.join(folder, "uploads", f"{key.hexdigest()}.upload")
