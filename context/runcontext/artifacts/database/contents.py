"""The bytes of files in pieces, each a row: written before they are an artifact's, removed when they are no longer."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from runcontext.artifacts.database.tables import CHUNKS, LEFTOVERS
from runcontext.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import ColumnElement, Connection, CursorResult

    from runcontext.artifacts.database.connections import Database

CHUNK_BYTES = 1_048_576
"""Bytes of one piece. MySQL 5.7 takes 4 MiB in one statement (max_allowed_packet), in which a byte may count double."""

_CHUNKS_A_DELETION = 64
_LEFTOVER_MILLISECONDS = 86_400_000
_MOST_LEFTOVERS = 16
_GIVEN_UP = 0


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one file, as rows: how many they are, and their SHA-256 in hexadecimal."""

    content_id: str
    size_bytes: int
    sha256: str


class PieceMissingError(Exception):
    """A piece is not there: the content was let go of while it was read, or it is damaged."""


class GivenUpError(Exception):
    """Somebody else has taken an upload for one of a killed process: pieces of it are gone."""


class Contents:
    """All bytes that a database keeps for artifacts.

    A content is noted as a leftover from its first piece until an artifact has it, and again from the moment that none
    has it any more until its last piece is gone: what a killed process leaves can be told, and removed a day later.
    Before its first piece is removed it is marked as given up, which is for good: an upload that only stood still, or
    whose machine has another time, notices it and is no artifact.
    """

    def __init__(self, database: Database, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Keep the database, and how long a piece is to be."""
        self._database = database
        self._chunk_bytes = chunk_bytes

    def send(self, file: IO[bytes], on_bytes: Callable[[int], None]) -> Content:
        """Write what a file holds from here on, one piece in memory at a time; ``on_bytes`` is told of each.

        Raises:
            GivenUpError: pieces of it were removed meanwhile.
        """
        content_id, digest, size_bytes = uuid.uuid4().hex, hashlib.sha256(), 0
        with self._database.writing() as connection:
            let_go(connection, content_id)
        try:
            for number, chunk in enumerate(iter(lambda: file.read(self._chunk_bytes), b"")):
                with self._database.writing() as connection:
                    connection.execute(insert(CHUNKS).values(content_id=content_id, number=number, content=chunk))
                    _touch(connection, content_id)
                digest.update(chunk)
                size_bytes += len(chunk)
                on_bytes(len(chunk))
        except BaseException:
            self.discard(content_id)
            raise
        return Content(content_id, size_bytes, digest.hexdigest())

    def pieces(self, content: Content) -> Iterator[bytes]:
        """Give a content piece by piece.

        Raises:
            PieceMissingError: one is not there.
            StoreError: they are not what was sent.
        """
        digest, size_bytes, number = hashlib.sha256(), 0, 0
        while size_bytes < content.size_bytes:
            wanted = (CHUNKS.c.content_id == content.content_id, CHUNKS.c.number == number)
            with self._database.reading() as connection:
                chunk = connection.scalar(select(CHUNKS.c.content).where(*wanted))
            if not chunk:
                raise PieceMissingError
            yield chunk
            digest.update(chunk)
            size_bytes, number = size_bytes + len(chunk), number + 1
        if (size_bytes, digest.hexdigest()) != (content.size_bytes, content.sha256):
            message = (
                f"it did not arrive whole: {size_bytes:,} bytes of SHA-256 {digest.hexdigest()}, where"
                f" {content.size_bytes:,} of {content.sha256} had been sent; upload it again"
            )
            raise StoreError(message)

    def discard(self, content_id: str) -> None:
        """Remove a leftover, a few pieces at a time; what cannot be removed now is removed a day later."""
        with contextlib.suppress(StoreError):
            while self._discard_some(content_id):
                pass

    def discard_old(self) -> None:
        """Remove what processes that were killed more than a day ago have left."""
        is_old = LEFTOVERS.c.touched_time < _now() - _LEFTOVER_MILLISECONDS
        oldest = select(LEFTOVERS.c.content_id).where(is_old).order_by(LEFTOVERS.c.touched_time).limit(_MOST_LEFTOVERS)
        with self._database.reading() as connection:
            found = connection.scalars(oldest).all()
        for content_id in found:
            if self._give_up(content_id, is_old):
                self.discard(content_id)

    def _give_up(self, content_id: str, is_old: ColumnElement[bool]) -> bool:
        """Mark a leftover that still is an old one; False where it is none any more, or cannot be marked now."""
        marked = update(LEFTOVERS).where(LEFTOVERS.c.content_id == content_id, is_old).values(touched_time=_GIVEN_UP)
        with contextlib.suppress(StoreError), self._database.writing() as connection:
            return connection.execute(marked).rowcount > 0
        return False

    def _discard_some(self, content_id: str) -> bool:
        with self._database.writing() as connection:
            last = connection.scalar(select(func.max(CHUNKS.c.number)).where(CHUNKS.c.content_id == content_id))
            if last is None:
                connection.execute(delete(LEFTOVERS).where(LEFTOVERS.c.content_id == content_id))
                return False
            pieces = (CHUNKS.c.content_id == content_id, CHUNKS.c.number > last - _CHUNKS_A_DELETION)
            connection.execute(delete(CHUNKS).where(*pieces))
            return True


def claim(connection: Connection, content_id: str) -> None:
    """Note that an artifact has a content: it is no leftover any more.

    Raises:
        GivenUpError: pieces of it were removed.
    """
    _check(connection.execute(delete(LEFTOVERS).where(*_is_kept(content_id))))


def let_go(connection: Connection, content_id: str) -> None:
    """Note that no artifact has a content: not yet, or not any more."""
    connection.execute(insert(LEFTOVERS).values(content_id=content_id, touched_time=_now()))


def _touch(connection: Connection, content_id: str) -> None:
    _check(connection.execute(update(LEFTOVERS).where(*_is_kept(content_id)).values(touched_time=_now())))


def _is_kept(content_id: str) -> tuple[ColumnElement[bool], ...]:
    return LEFTOVERS.c.content_id == content_id, LEFTOVERS.c.touched_time != _GIVEN_UP


def _check(changed: CursorResult[Any]) -> None:
    if not changed.rowcount:
        raise GivenUpError


def _now() -> int:
    return time.time_ns() // 1_000_000
