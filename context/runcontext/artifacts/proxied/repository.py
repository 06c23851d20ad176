"""The artifacts of one run on a tracking server: one request for each file, streamed from disk and to disk."""

from __future__ import annotations

import contextlib
import mimetypes
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from runcontext.artifacts.arrival import arriving
from runcontext.artifacts.paths import checked_folder, checked_path
from runcontext.artifacts.progress import nothing
from runcontext.artifacts.proxied.address import SERVICE, ProxiedAddress
from runcontext.artifacts.proxied.multipart import Multipart
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.redaction import redact_url
from runcontext.tracking.http import ServerRefusalError, ServerSession

if TYPE_CHECKING:
    from requests import Response

_ARTIFACTS = f"{SERVICE}/artifacts"
_CHUNK_BYTES = 1_048_576
_BINARY = "application/octet-stream"
_NOT_FOUND = 404
_SWITCHED_OFF = "--serve-artifacts"


class ProxiedRepository:
    """The artifacts of one run, kept by a tracking server (MLflow's REST interface, ``/api/2.0/mlflow-artifacts``).

    A server decodes ``%XX`` in names and takes no ``#`` (``validate_path_is_safe`` in mlflow.utils.uri), so such names
    are refused rather than kept as another. ``upload_file`` and ``download_file`` take ``on_bytes`` beside what the
    protocol says, as ``reports_bytes`` tells: called with numbers of bytes as they are sent or there.
    """

    reports_bytes = True

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, *, session: ServerSession | None = None
    ) -> None:
        """Take the URIs apart; nothing is sent yet.

        Args:
            artifact_uri: ``mlflow-artifacts:``, or ``http(s)://.../api/2.0/mlflow-artifacts/artifacts/...``.
            tracking_uri: of the run: the server, where the artifact URI names none.
            session: to that server; one of its own unless given.

        Raises:
            StoreError: a URI is malformed, or a variable of MLflow's cannot be used.
        """
        address = ProxiedAddress.of(artifact_uri, tracking_uri)
        self._uri = redact_url(artifact_uri)
        self._root = address.root
        self._session = session or ServerSession(address.server)
        self._multipart = Multipart.of(os.environ)

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<ProxiedRepository {self._uri} on {self._session.uri}>"

    @property
    def uri(self) -> str:
        """The artifact URI, without credentials."""
        return self._uri

    def upload_file(self, local_path: str, artifact_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        """Stream a file to the server, or a large one in parts past it, where it can that."""
        self._check_name(artifact_path)
        place = self._place(artifact_path)
        try:
            with self._telling(f"upload {artifact_path}"), open(local_path, "rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if self._multipart.is_for(size_bytes, self._session) and self._send_parts(local_path, place):
                    return
                # Of a file without content requests does not know the length, and sends chunks.
                body = _Counted(file, size_bytes, on_bytes) if size_bytes else b""
                self._session.send(
                    "PUT", f"{_ARTIFACTS}/{place}", headers={"Content-Type": _content_type(artifact_path)}, data=body
                ).close()
        except OSError as error:
            message = (
                f"cannot read {local_path} to keep it as {artifact_path} in {self._uri}: {error.strerror or error}"
            )
            raise StoreError(message) from error

    def download_file(self, artifact_path: str, local_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        """Stream an artifact from the server into a file."""
        self._check_name(artifact_path)
        with (
            self._telling(f"download {artifact_path}"),
            self._opened(artifact_path) as response,
            arriving(local_path) as temporary,
            open(temporary, "wb") as file,
        ):
            for piece in _pieces(response):
                file.write(piece)
                on_bytes(len(piece))

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        """List what is directly in a folder."""
        folder = checked_folder(path, self._uri)
        with self._telling(f"list {folder or 'the root'}"):
            rows = self._listed(folder)
        found = [self._info(folder, each) for each in rows]
        if self._may_be_a_file(folder, found) and not self._is_folder(folder):
            return []
        return sorted(found, key=lambda each: each.path)

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()

    def _check_name(self, artifact_path: str) -> None:
        checked_path(artifact_path, self._uri)
        if "#" in artifact_path or unquote(artifact_path) != artifact_path or not artifact_path.isprintable():
            message = (
                f"artifact path {artifact_path!r} cannot be kept in {self._uri}: an MLflow server takes no #, and keeps"
                " %XX and control characters as others; rename the file"
            )
            raise StoreError(message)

    def _place(self, path: str) -> str:
        return quote("/".join(part for part in (self._root, path) if part))

    def _send_parts(self, local_path: str, place: str) -> bool:
        folder, _, name = place.rpartition("/")
        return self._multipart.upload(self._session, local_path, folder, unquote(name))

    @contextlib.contextmanager
    def _opened(self, artifact_path: str) -> Iterator[Response]:
        try:
            response = self._asked_for(f"{_ARTIFACTS}/{self._place(artifact_path)}")
        except ServerRefusalError as error:
            if error.status != _NOT_FOUND:
                raise
            message = f"no artifact {artifact_path} in {self._uri}"
            raise StoreError(message) from None
        except StoreUnavailableError:
            if artifact_path.isascii():
                raise
            response = self._asked_for_the_page(artifact_path)
        with response:
            yield response

    def _asked_for(self, path: str, params: dict[str, str] | None = None) -> Response:
        return self._session.send("GET", path, params=params, headers={"Accept-Encoding": "identity"}, stream=True)

    def _asked_for_the_page(self, artifact_path: str) -> Response:
        # MLflow 2 puts the name into a header as it is, and fails where that is not Latin-1. What its pages download
        # from (get_artifact_handler in mlflow.server.handlers) is not proxied storage alone, and knows better.
        parts = self._root.split("/")
        run_id = parts[-2] if parts[-1] == "artifacts" and len(parts) > 1 else ""
        return self._asked_for("/get-artifact", {"run_uuid": run_id, "path": artifact_path})

    def _listed(self, folder: str) -> list[Any]:
        path = "/".join(part for part in (self._root, folder) if part)
        try:
            rows = self._session.get(_ARTIFACTS, {"path": path}).get("files", [])
        except ServerRefusalError as error:
            if error.status == _NOT_FOUND and error.error_code is not None:
                return []
            raise
        if not isinstance(rows, list):
            message = f"{self._session.uri} lists {type(rows).__name__} in {path}; a list is expected"
            raise StoreError(message)
        return rows

    def _info(self, folder: str, row: Any) -> ArtifactInfo:
        try:
            name, is_dir, size_bytes = str(row["path"]), bool(row.get("is_dir")), row.get("file_size")
            checked_path(name, self._uri)
            path = f"{folder}/{name}" if folder else name
            return ArtifactInfo(path, is_dir, None if is_dir or size_bytes is None else int(size_bytes))
        except (KeyError, TypeError, ValueError, AttributeError):
            message = f"{self._session.uri} lists {row!r}; path, is_dir and file_size are expected"
            raise StoreError(message) from None

    @staticmethod
    def _may_be_a_file(folder: str, found: Sequence[ArtifactInfo]) -> bool:
        # Some stores behind a server list a file as a folder with itself in it.
        name = folder.rpartition("/")[2]
        return bool(folder) and len(found) == 1 and not found[0].is_dir and found[0].path == f"{folder}/{name}"

    def _is_folder(self, folder: str) -> bool:
        parent = folder.rpartition("/")[0]
        return any(self._info(parent, each).path == folder and each.get("is_dir") for each in self._listed(parent))

    @contextlib.contextmanager
    def _telling(self, action: str) -> Iterator[None]:
        try:
            yield
        except StoreUnavailableError as error:
            message = f"cannot {action} ({self._uri}) now: {error}"
            if _SWITCHED_OFF in str(error):
                # It answers 503, and will do so until somebody starts it otherwise.
                raise StoreUnusableError(message) from None
            raise StoreUnavailableError(message, retry_after_seconds=error.retry_after_seconds) from None
        except ServerRefusalError as error:
            message = f"cannot {action} ({self._uri}): {error}"
            raise (StoreUnusableError if error.refuses_all else StoreError)(message) from None


class _Counted:
    """A file of a known length on its way up, as requests streams one."""

    def __init__(self, file: IO[bytes], size_bytes: int, on_bytes: Callable[[int], None]) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._on_bytes = on_bytes

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(_CHUNK_BYTES), b"")

    def read(self, size_bytes: int = -1) -> bytes:
        data = self._file.read(size_bytes)
        self._on_bytes(len(data))
        return data


def _pieces(response: Response) -> Iterator[bytes]:
    import requests

    expected, arrived = response.headers.get("Content-Length"), 0
    try:
        for piece in response.iter_content(_CHUNK_BYTES):
            arrived += len(piece)
            yield piece
    except requests.RequestException as error:
        message = f"the connection was lost after {arrived:,} bytes ({type(error).__name__})"
        raise StoreUnavailableError(message) from None
    if expected is not None and "Content-Encoding" not in response.headers and arrived != int(expected):
        message = f"it did not arrive whole: {arrived:,} of {int(expected):,} bytes"
        raise StoreUnavailableError(message)


def _content_type(path: str) -> str:
    kind, encoding = mimetypes.guess_type(path, strict=False)
    # What mimetypes calls an encoding is here what the file is: of data.csv.gz the content is no text.
    return _BINARY if encoding or kind is None else kind
