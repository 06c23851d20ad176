"""Large files sent in parts past the tracking server, to the store behind it, as MLflow's client does.

``MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD`` switches it on or off; where it is not set the server says whether it can
(mlflow.store.artifact.mlflow_artifacts_repo). The server gives an address for each part, which carries its own
permission: no credential of the tracking server goes there.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from runcontext.artifacts.parallel import in_order
from runcontext.artifacts.proxied.address import SERVICE
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.redaction import redact_text
from runcontext.tracking.http import ServerRefusalError
from runcontext.tracking.http.variables import number, switch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.tracking.http import ServerSession

_ENABLE = "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"
_MINIMUM = "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"
_CHUNK = "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"
_IGNORE_TLS = "MLFLOW_S3_IGNORE_TLS"
_DEFAULT_MINIMUM_BYTES = 500 * 1_048_576
_DEFAULT_CHUNK_BYTES = 10 * 1_048_576
_INFO = "/api/3.0/mlflow/server-info"
_CAN = "multipart_uploads_enabled"
_UNSUPPORTED = frozenset((404, 501))
_THREADS = 4
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 120
_FAILURE, _SERVER_FAILURE, _TOO_MANY = 400, 500, 429
_DENIED = (401, 403)


@dataclass(frozen=True, slots=True)
class Multipart:
    """What the environment says of uploads in parts; ``is_enabled`` None leaves it to the server."""

    is_enabled: bool | None
    minimum_bytes: int
    chunk_bytes: int
    verifies: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Multipart:
        """Read MLflow's variables.

        Raises:
            StoreError: a value cannot be used; the message names the variable.
        """
        chunk_bytes = number(environment, _CHUNK, int, _DEFAULT_CHUNK_BYTES)
        return cls(
            is_enabled=switch(environment, _ENABLE, default=False) if environment.get(_ENABLE) else None,
            minimum_bytes=number(environment, _MINIMUM, int, _DEFAULT_MINIMUM_BYTES),
            chunk_bytes=chunk_bytes or _DEFAULT_CHUNK_BYTES,
            verifies=not switch(environment, _IGNORE_TLS, default=False),
        )

    def is_for(self, size_bytes: int, session: ServerSession) -> bool:
        """Say whether a file of this size is to go in parts; asks the server only of a large one."""
        if size_bytes < max(self.minimum_bytes, 1):
            return False
        return _server_can(session) if self.is_enabled is None else self.is_enabled

    def upload(self, session: ServerSession, local_path: str, folder: str, name: str) -> bool:
        """Send a file in parts; False where the server, or the store behind it, cannot take any.

        Args:
            session: to the tracking server.
            local_path: the file.
            folder: where the artifact goes on the server, quoted as in a URL.
            name: the artifact's own name.

        Raises:
            StoreUnavailableError: it may go right later; what had been sent is given up.
            StoreError: it will not.
        """
        count = max(1, -(-os.path.getsize(local_path) // self.chunk_bytes))
        try:
            created = session.post(f"{SERVICE}/mpu/create/{folder}", {"path": name, "num_parts": count})
        except ServerRefusalError as error:
            if error.status in _UNSUPPORTED:
                return False
            raise
        upload = {"path": name, "upload_id": created.get("upload_id")}
        try:
            parts = self._send_all(local_path, created.get("credentials"), count)
            session.post(f"{SERVICE}/mpu/complete/{folder}", {**upload, "parts": parts})
        except BaseException:
            with contextlib.suppress(StoreError):
                session.post(f"{SERVICE}/mpu/abort/{folder}", upload)
            raise
        return True

    def _send_all(self, local_path: str, credentials: Any, count: int) -> list[dict[str, Any]]:
        if not isinstance(credentials, list) or len(credentials) != count:
            message = f"the server gave no addresses for the {count} parts of {local_path}"
            raise StoreError(message)
        # Opened once: one that is replaced meanwhile is not to be sent as a mixture.
        with open(local_path, "rb") as file:
            send = functools.partial(self._send, file)
            return list(in_order(send, enumerate(credentials), min(_THREADS, count), name="runcontext-part"))

    def _send(self, file: BinaryIO, numbered: tuple[int, Mapping[str, Any]]) -> dict[str, Any]:
        index, credential = numbered
        data = os.pread(file.fileno(), self.chunk_bytes, index * self.chunk_bytes)
        number_of_part = credential["part_number"]
        for attempt in range(_ATTEMPTS):
            try:
                etag = _put(credential, data, verifies=self.verifies)
            except StoreUnavailableError:
                # To send a part again replaces it.
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                return {"part_number": number_of_part, "etag": etag, "url": credential["url"]}
        raise AssertionError


def _put(credential: Mapping[str, Any], data: bytes, *, verifies: bool) -> str:
    import requests

    headers = dict(credential.get("headers") or {})
    try:
        reply = requests.put(
            credential["url"], data=data, headers=headers, verify=verifies, timeout=_TIMEOUT_SECONDS, auth=_no_auth
        )
    except requests.RequestException as error:
        # Its text holds the address, which is a permission.
        message = f"the store behind the server cannot be reached ({type(error).__name__})"
        raise StoreUnavailableError(message) from None
    if reply.status_code < _FAILURE:
        return reply.headers.get("ETag", "")
    said = redact_text(" ".join(reply.text.split())[:200])
    message = f"the store behind the server refuses a part ({reply.status_code}: {said})"
    if reply.status_code >= _SERVER_FAILURE or reply.status_code == _TOO_MANY:
        raise StoreUnavailableError(message)
    raise (StoreUnusableError if reply.status_code in _DENIED else StoreError)(message)


def _no_auth(request: Any) -> Any:
    # An address that is signed permits no Authorization beside it, and requests would look for one in ~/.netrc.
    return request


def _server_can(session: ServerSession) -> bool:
    try:
        return bool(session.get(_INFO, is_patient=False).get(_CAN))
    except StoreError:
        return False
