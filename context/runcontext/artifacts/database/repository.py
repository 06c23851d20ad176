"""The artifacts of one run in a database: which there are, and which content each of them has."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from runcontext.artifacts.arrival import arriving
from runcontext.artifacts.database.address import DatabaseAddress
from runcontext.artifacts.database.connections import Database
from runcontext.artifacts.database.contents import (
    CHUNK_BYTES,
    Content,
    Contents,
    GivenUpError,
    PieceMissingError,
    claim,
    let_go,
)
from runcontext.artifacts.database.tables import ARTIFACTS, FOLDERS, key_of
from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.artifacts.progress import nothing
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Connection

_MOST_ATTEMPTS = 50


class DatabaseRepository:
    """The artifacts of one run as rows of a database.

    A file goes in pieces into rows that belong to no artifact yet, and becomes the artifact in one short transaction
    when it is whole: a reader sees the old file or the new one, and memory holds one piece. ``upload_file`` and
    ``download_file`` take ``on_bytes`` beside what the protocol says, as ``reports_bytes`` tells: called with numbers
    of bytes as they are there.

    Args:
        artifact_uri: the database's URL with the run's part in its path; see ``address``.
        tracking_uri: not needed.
        chunk_bytes: how long a piece is.
    """

    reports_bytes = True

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Take the URI apart; nothing is connected to yet.

        Raises:
            StoreError: the URI is malformed, or does not say where the database ends.
        """
        del tracking_uri
        address = DatabaseAddress.of(artifact_uri)
        self._uri = address.shown
        self._root = address.root
        self._database = Database(address.database)
        self._contents = Contents(self._database, chunk_bytes)

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<DatabaseRepository {self._uri}>"

    @property
    def uri(self) -> str:
        """The artifact URI, without credentials."""
        return self._uri

    def upload_file(self, local_path: str, artifact_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        """Send a file in pieces, and make it the artifact when all are there."""
        checked_path(artifact_path, self._uri)
        try:
            with open(local_path, "rb") as file:
                self._upload(file, artifact_path, on_bytes)
        except GivenUpError:
            message = (
                f"{artifact_path} of {self._uri} was not kept: the upload stood still for a day, or this machine's"
                " clock is wrong by as much, and others have removed what was sent; upload it again"
            )
            raise StoreUnavailableError(message) from None
        except OSError as error:
            message = (
                f"cannot read {local_path} to keep it as {artifact_path} in {self._uri}: {error.strerror or error}"
            )
            raise StoreError(message) from error

    def download_file(self, artifact_path: str, local_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        """Write an artifact piece by piece, and check its length and SHA-256."""
        content = self._found(checked_path(artifact_path, self._uri))
        with arriving(local_path) as temporary:
            while not self._receive(content, temporary, artifact_path, on_bytes):
                replacement = self._found(artifact_path)
                if replacement == content:
                    message = f"{artifact_path} of {self._uri} is damaged: a piece of it is missing; upload it again"
                    raise StoreError(message)
                content = replacement

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List what is directly in a folder."""
        key = key_of(self._root, checked_folder(path, self._uri))
        if not self._database.has_tables():
            return []
        with self._database.reading() as connection:
            columns = (ARTIFACTS.c.path, ARTIFACTS.c.size_bytes)
            files = connection.execute(select(*columns).where(ARTIFACTS.c.folder_key == key)).all()
            folders = connection.scalars(select(FOLDERS.c.path).where(FOLDERS.c.parent_key == key)).all()
        found = [ArtifactInfo(name, is_dir=False, size_bytes=size_bytes) for name, size_bytes in files]
        found += [ArtifactInfo(name, is_dir=True, size_bytes=None) for name in folders]
        return sorted(found, key=lambda each: each.path)

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()

    def _upload(self, file: IO[bytes], artifact_path: str, on_bytes: Callable[[int], None]) -> None:
        if self._database.prepare():
            self._contents.discard_old()
        content = self._contents.send(file, on_bytes)
        try:
            replaced = self._switch(artifact_path, content)
        except BaseException:
            self._contents.discard(content.content_id)
            raise
        if replaced is not None:
            self._contents.discard(replaced)

    def _receive(self, content: Content, temporary: str, artifact_path: str, on_bytes: Callable[[int], None]) -> bool:
        arrived = 0
        try:
            with open(temporary, "wb") as file:
                for piece in self._contents.pieces(content):
                    arrived += file.write(piece)
                    on_bytes(len(piece))
        except PieceMissingError:
            on_bytes(-arrived)
            return False
        except StoreUnavailableError:
            raise
        except StoreError as error:
            message = f"{artifact_path} of {self._uri}: {error}"
            raise StoreError(message) from None
        return True

    def _found(self, artifact_path: str) -> Content:
        columns = (ARTIFACTS.c.content_id, ARTIFACTS.c.size_bytes, ARTIFACTS.c.sha256)
        row = None
        if self._database.has_tables():
            with self._database.reading() as connection:
                key = key_of(self._root, artifact_path)
                row = connection.execute(select(*columns).where(ARTIFACTS.c.artifact_key == key)).first()
        if row is None:
            message = f"no artifact {artifact_path} in {self._uri}"
            raise StoreError(message)
        return Content(*row)

    def _switch(self, artifact_path: str, content: Content) -> str | None:
        """Make a content the artifact's; give the one that it had before."""
        for _attempt in range(_MOST_ATTEMPTS):
            try:
                with self._database.writing() as connection:
                    is_ours, before = self._exchange(connection, artifact_path, content)
                    if is_ours:
                        claim(connection, content.content_id)
                        return before
            except _TakenError:
                # Another upload made the same artifact or folder at this very moment.
                continue
        message = f"{artifact_path} of {self._uri} cannot be kept now: others keep replacing it"
        raise StoreUnavailableError(message)

    def _exchange(self, connection: Connection, artifact_path: str, content: Content) -> tuple[bool, str | None]:
        key = key_of(self._root, artifact_path)
        before = connection.scalar(select(ARTIFACTS.c.content_id).where(ARTIFACTS.c.artifact_key == key))
        values: dict[str, str | int] = {
            "content_id": content.content_id,
            "size_bytes": content.size_bytes,
            "sha256": content.sha256,
            "uploaded_time": time.time_ns() // 1_000_000,
        }
        if before is None:
            self._add(connection, artifact_path, key, values)
            return True, None
        same = (ARTIFACTS.c.artifact_key == key, ARTIFACTS.c.content_id == before)
        if connection.execute(update(ARTIFACTS).where(*same).values(**values)).rowcount != 1:
            return False, None
        let_go(connection, before)
        return True, before

    def _add(self, connection: Connection, artifact_path: str, key: str, values: dict[str, str | int]) -> None:
        if self._has(connection, FOLDERS.c.folder_key, artifact_path):
            message = f"{artifact_path} cannot be kept in {self._uri}: it is a folder there; choose another name"
            raise StoreError(message)
        try:
            folder_key = self._add_folders(connection, artifact_path)
            row = {"artifact_key": key, "folder_key": folder_key, "root": self._root, "path": artifact_path}
            connection.execute(insert(ARTIFACTS).values(**row, **values))
        except IntegrityError:
            raise _TakenError from None

    def _add_folders(self, connection: Connection, artifact_path: str) -> str:
        parts = artifact_path.split("/")[:-1]
        parent = key_of(self._root, "")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            key = key_of(self._root, path)
            if not self._has(connection, FOLDERS.c.folder_key, path):
                self._check_is_no_file(connection, path, artifact_path)
                row = {"folder_key": key, "parent_key": parent, "root": self._root, "path": path}
                connection.execute(insert(FOLDERS).values(**row))
            parent = key
        return parent

    def _check_is_no_file(self, connection: Connection, path: str, artifact_path: str) -> None:
        if self._has(connection, ARTIFACTS.c.artifact_key, path):
            message = (
                f"{artifact_path} cannot be kept in {self._uri}: {path} is a file there, and no folder; choose another"
                " name"
            )
            raise StoreError(message)

    def _has(self, connection: Connection, keys: ColumnElement[str], path: str) -> bool:
        return connection.scalar(select(keys).where(keys == key_of(self._root, path))) is not None


class _TakenError(Exception):
    """Another upload was faster to add a row of the same key."""
