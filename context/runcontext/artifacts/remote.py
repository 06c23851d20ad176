"""Artifacts on object stores and other file systems: one repository for every scheme of ``schemes``.

Files are checked on both ways: by size, and by a checksum where the place has one. A large upload goes on where an
earlier one stopped (S3, OSS, SFTP), and so does a large download, from every place.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from runcontext import log
from runcontext.artifacts.addresses import parsed
from runcontext.artifacts.arrival import arriving
from runcontext.artifacts.connections import Connections
from runcontext.artifacts.content import Content, Digest, Hasher, measured
from runcontext.artifacts.failures import Meaning, meaning_of, reason_of, retry_after_seconds
from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.artifacts.progress import nothing
from runcontext.artifacts.ranged import BLOCK_BYTES, blocks, discard, resumed
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.artifacts.schemes import SCHEMES, open_files, scheme_of
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.redaction import MARK, redact_text

if TYPE_CHECKING:
    from runcontext.artifacts.files import Entry, Files, FileState

    T = TypeVar("T")

_WORTH_ASKING_BYTES = 1 << 20
"""A file of less is sent again as fast as the place says whether it has it."""

_LOCKS = 64
_LONGEST_REASON = 400
_LATER = (Meaning.UNAVAILABLE, Meaning.CHANGED)
_READING = ("be found", "be downloaded")
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "MLFLOW_OSS_KEY_SECRET",
)
_DELIMITERS = re.compile(r"[^\w.~-]+")
"""What parts a URI, or is written otherwise in one (RFC 3986, section 2.3)."""

_SHORTEST_PIECE = 4
_ADVICE = {
    Meaning.DENIED: "; check the credentials and what they permit",
    Meaning.MISSING: "; make the bucket or the folder first, or correct the URI",
    Meaning.CHANGED: "; it was changed at the same time, download it again",
    Meaning.UNTRUSTED: "; the other side is not who it should be, or nobody has said that it is",
}


class RemoteRepository:
    """The artifacts below one URI of an object store or a file system.

    ``upload_file`` and ``download_file`` take ``on_bytes`` beside what the protocol says: called with numbers of bytes
    as they are there, from any thread. ``reports_bytes`` says so.
    """

    reports_bytes = True

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, *, block_bytes: int = BLOCK_BYTES) -> None:
        """Take the URI apart; nothing is connected yet.

        Args:
            artifact_uri: the root; credentials in it are used where the scheme has them, and never shown.
            tracking_uri: not needed here.
            block_bytes: how much is downloaded at once; what is larger can be gone on with.

        Raises:
            StoreError: the URI is malformed, or nothing here serves its scheme.
        """
        del tracking_uri
        address = parsed(artifact_uri)
        scheme = scheme_of(address.scheme)
        if scheme is None:
            message = (
                f"artifact URI {address.shown}: no file system for {address.scheme!r}; known: {', '.join(SCHEMES)}"
            )
            raise StoreError(message)
        self._address = address
        self._scheme = scheme
        self._root = ""
        self._block_bytes = block_bytes
        self._uploading = [threading.Lock() for _ in range(_LOCKS)]
        self._connections = Connections(self._connected, is_shared=scheme.is_shared)

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<RemoteRepository {self.uri}>"

    @property
    def uri(self) -> str:
        """The artifact URI, without credentials."""
        return self._address.shown

    def upload_file(self, local_path: str, artifact_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        """Keep a local file; one of the same size and checksum that is there already is not sent again."""
        path = self._checked(artifact_path)
        content = measured(local_path)
        with self._uploading[hash(path) % _LOCKS]:
            # Of two who send different files of one name at once, the check of one would find the other's.
            self._upload(content, path, on_bytes)

    def download_file(self, artifact_path: str, local_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        """Write an artifact into a local file, whole or not at all."""
        path = self._checked(artifact_path)
        state = self._state(path)
        if state.size <= self._block_bytes:
            self._download_at_once(path, local_path, state, on_bytes)
            return
        with self._writing(local_path), resumed(local_path, f"{self.uri}\n{path}\n{state.version}") as part:
            if part is not None:
                self._download_into(part, path, state, on_bytes)
                return
        self._download_at_once(path, local_path, state, on_bytes)

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List what is directly in a folder; names that no artifact can have are left out, and said once.

        Object stores may have a file and a folder of one name: both are listed.
        """
        folder = checked_folder(path, self.uri)
        found = self._ask("be listed", path or "", lambda files: list(files.entries(self._full(folder) or "/")))
        listed = {each for entry in found if (each := self._info(folder, entry)) is not None}
        return sorted(listed, key=lambda each: (each.path, each.is_dir))

    def holds(self, artifact_path: str, local_path: str) -> bool:
        """Say whether a local file is known to be what the artifact is now: same size, same checksum."""
        state = self._state(self._checked(artifact_path))
        if state.digest is None or not os.path.isfile(local_path) or os.path.getsize(local_path) != state.size:
            return False
        return measured(local_path).has(state.digest)

    def close(self) -> None:
        """Let go of connections."""
        self._connections.close()

    def _upload(self, content: Content, path: str, on_bytes: Callable[[int], None]) -> None:
        if content.size >= _WORTH_ASKING_BYTES and self._has(path, content):
            on_bytes(content.size)
            return
        self._ask("be uploaded", path, lambda files: files.write(content, self._full(path), on_bytes))
        state = self._state(path)
        if state.size != content.size or (state.digest is not None and not content.has(state.digest)):
            what = f"{state.size} bytes of {content.size}" if state.size != content.size else "other bytes"
            message = f"{path!r} is in {self.uri} as {what}: it was damaged on the way, or replaced; send it again"
            raise StoreUnavailableError(message)

    def _connected(self) -> Files:
        try:
            files, self._root = open_files(self._scheme, self._address)
        except StoreError as error:
            raise StoreUnusableError(str(error)) from error
        return files

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _checked(self, path: str) -> str:
        checked_path(path, self.uri)
        found = [each for each in self._scheme.reserved if each in path]
        if found:
            message = f"artifact path {path!r} has {found[0]!r} in it, which names in {self.uri} cannot have: rename it"
            raise StoreError(message)
        return path

    def _info(self, folder: str, entry: Entry) -> ArtifactInfo | None:
        name = entry.name
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            where = f"{self.uri}/{folder}" if folder else self.uri
            log.warn_once(f"{where} lists {name!r}, which is no artifact's name: it is left out")
            return None
        return ArtifactInfo(f"{folder}/{name}" if folder else name, entry.is_dir, entry.size)

    def _state(self, path: str) -> FileState:
        return self._ask("be found", path, lambda files: files.state(self._full(path)))

    def _has(self, path: str, content: Content) -> bool:
        try:
            state = self._state(path)
        except StoreUnavailableError:
            raise
        except StoreError:
            # There is none, or it may not be looked at; what sending it says counts.
            return False
        return state.size == content.size and state.digest is not None and content.has(state.digest)

    def _download_at_once(self, path: str, local_path: str, state: FileState, on_bytes: Callable[[int], None]) -> None:
        with self._writing(local_path), arriving(local_path) as temporary, open(temporary, "w+b") as file:
            self._download_into(file, path, state, on_bytes)

    def _download_into(self, part: BinaryIO, path: str, state: FileState, on_bytes: Callable[[int], None]) -> None:
        """Append to a part what it lacks, and hold it against size and checksum; a wrong one is thrown away."""
        hasher = Hasher(state.digest.kind if state.digest else "md5")
        there = _hashed(part, hasher, state)
        on_bytes(there)

        def read(begin: int, end: int) -> bytes:
            return self._ask(
                "be downloaded", path, lambda files: files.read(self._full(path), begin, end, state.version)
            )

        for block in blocks(read, there, state.size, self._scheme.streams, self._block_bytes):
            part.write(block)
            hasher.update(block)
            on_bytes(len(block))
        part.flush()
        problem = self._problem(part, path, state, hasher.digest)
        if problem is not None:
            discard(part)
            message = f"{path!r} did not arrive whole from {self.uri}: {problem}; download it again"
            raise StoreUnavailableError(message)

    def _problem(self, part: BinaryIO, path: str, state: FileState, digest: Digest) -> str | None:
        size = os.fstat(part.fileno()).st_size
        if size != state.size:
            return f"{size} bytes of {state.size}"
        if state.digest is not None:
            return None if digest == state.digest else f"its {digest.kind} is not {state.digest.value}"
        if size > self._block_bytes and self._state(path).version != state.version:
            return "it was changed at the same time"
        return None

    @contextlib.contextmanager
    def _writing(self, local_path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{local_path} cannot be written: {error.strerror or error}"
            raise StoreError(message) from error

    def _ask(self, action: str, path: str, call: Callable[[Files], T]) -> T:
        """Ask the place something; whatever its library raises becomes an error of ours."""
        try:
            with self._connections.one() as files:
                return call(files)
        except StoreError:
            raise
        except Exception as error:
            raise self._explained(action, path, error) from error

    def _explained(self, action: str, path: str, error: Exception) -> StoreError:
        meaning = meaning_of(error)
        what = f"artifact {path!r}" if path else "the root"
        if isinstance(error, IsADirectoryError):
            return StoreError(f"{what} in {self.uri} is a folder; a file is expected")
        reason = self._without_secrets(reason_of(error))
        if meaning is Meaning.MISSING and action in _READING:
            return StoreError(f"there is no {what} in {self.uri} ({reason}); `runcontext show RUN` lists them")
        message = f"{what} in {self.uri} cannot {action}: {reason}{_ADVICE.get(meaning, '')}"
        if meaning in _LATER:
            return StoreUnavailableError(message, retry_after_seconds=retry_after_seconds(error))
        return (StoreUnusableError if meaning in _ADVICE else StoreError)(message)

    def _without_secrets(self, text: str) -> str:
        secrets = [os.environ.get(name) for name in _SECRET_VARIABLES]
        forms = [*_forms(self._address.password), *_pieces(self._address.password)]
        forms += [form for secret in secrets for form in _forms(secret)]
        if forms:
            longest_first = sorted(forms, key=len, reverse=True)
            text = re.sub("|".join(map(re.escape, longest_first)), MARK, text, flags=re.IGNORECASE)
        return redact_text(text)[:_LONGEST_REASON]


Repository = RemoteRepository


def _hashed(part: BinaryIO, hasher: Hasher, state: FileState) -> int:
    """Read what has arrived already; more than there should be is nothing."""
    part.seek(0, os.SEEK_END)
    if part.tell() > state.size:
        part.truncate(0)
    part.seek(0)
    size = 0
    while chunk := part.read(1 << 20):
        hasher.update(chunk)
        size += len(chunk)
    return size


def _forms(secret: str | None) -> list[str]:
    """Give all ways in which a library may write a secret."""
    return [secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe="")] if secret else []


def _pieces(password: str | None) -> list[str]:
    """Give what a library finds that takes a password for other parts of a URI; less would redact half a message."""
    return [each for each in _DELIMITERS.split(password or "") if len(each) >= _SHORTEST_PIECE]
