"""Aliyun's Object Storage Service, through oss2, the library under ossfs.

Not through ossfs itself: its listing of a folder that may not be read is an empty one, and its ranges are one byte too
long (ossfs 2025.5.0, ``OSSFileSystem._ls_dir`` and ``cat_file``). The variables are those of aliyunstoreplugin.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runcontext.artifacts.addresses import Address
from runcontext.artifacts.content import Content, Digest, reading
from runcontext.artifacts.files import SHA256_KEY, Entry, FileState
from runcontext.artifacts.multipart import THRESHOLD_BYTES, Part, upload_in_parts
from runcontext.errors import StoreError

_TIMEOUT_SECONDS = 60
_VARIABLES = ("MLFLOW_OSS_ENDPOINT_URL", "MLFLOW_OSS_KEY_ID", "MLFLOW_OSS_KEY_SECRET")
_METADATA = f"x-oss-meta-{SHA256_KEY}"
_MD5_DIGITS = 32
_PAGE = 1_000


class OssFiles:
    """The objects of one bucket.

    Args:
        bucket: an ``oss2.Bucket``; paths begin with its name all the same.
    """

    def __init__(self, bucket: Any) -> None:
        """Keep the bucket; it connects when it is first asked."""
        self._bucket = bucket
        self.name = f"{bucket.endpoint}/{bucket.bucket_name}"

    def state(self, path: str) -> FileState:
        """Describe an object, as ``Files`` says."""
        found = self._bucket.head_object(_key(path))
        return FileState(int(found.content_length), str(found.etag), _digest(found.headers))

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder, as ``Files`` says."""
        key = _key(folder)
        prefix = f"{key}/" if key else ""
        token = ""
        while True:
            page = self._bucket.list_objects_v2(prefix, delimiter="/", continuation_token=token, max_keys=_PAGE)
            for found in page.prefix_list:
                yield Entry(found[len(prefix) :].removesuffix("/"), is_dir=True, size=None)
            for found in page.object_list:
                if found.key != prefix:
                    yield Entry(found.key[len(prefix) :], is_dir=False, size=int(found.size))
            if not page.is_truncated:
                return
            token = page.next_continuation_token

    def read(self, path: str, start: int, end: int, version: str) -> bytes:
        """Give some bytes, as ``Files`` says."""
        wanted = {"If-Match": f'"{version}"', "x-oss-range-behavior": "standard"}
        return bytes(self._bucket.get_object(_key(path), byte_range=(start, end - 1), headers=wanted).read())

    def write(self, content: Content, path: str, sent: Callable[[int], None]) -> None:
        """Keep a file, as ``Files`` says; a large one in parts."""
        if content.size >= THRESHOLD_BYTES:
            upload_in_parts(self, content, path, sent)
            return
        with reading(content) as source:
            data = source.read()
            source.check()
        self._bucket.put_object(_key(path), data, headers={**_described(content, path), **_checked(data)})
        sent(content.size)

    def begin(self, content: Content, path: str) -> str:
        """Begin an upload in parts, as ``MultipartPlace`` says."""
        return str(self._bucket.init_multipart_upload(_key(path), headers=_described(content, path)).upload_id)

    def parts(self, path: str, upload_id: str) -> Sequence[Part]:
        """List the parts of an upload, as ``MultipartPlace`` says."""
        from oss2.exceptions import NoSuchUpload

        parts: list[Part] = []
        marker = ""
        try:
            while True:
                page = self._bucket.list_parts(_key(path), upload_id, marker=marker)
                parts += [Part(each.part_number, int(each.size), each.etag.strip('"').lower()) for each in page.parts]
                if not page.is_truncated:
                    return parts
                marker = page.next_marker
        except NoSuchUpload as error:
            raise FileNotFoundError(upload_id) from error

    def send(self, path: str, upload_id: str, number: int, data: bytes) -> Part:
        """Send a part, as ``MultipartPlace`` says."""
        answer = self._bucket.upload_part(_key(path), upload_id, number, data, headers=_checked(data))
        return Part(number, len(data), answer.etag.lower())

    def finish(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make an object of the parts, as ``MultipartPlace`` says."""
        from oss2.models import PartInfo

        listed = [PartInfo(part.number, part.etag.upper()) for part in parts]
        self._bucket.complete_multipart_upload(_key(path), upload_id, listed)

    def close(self) -> None:
        """Close the connections."""
        self._bucket.session.session.close()


def opened(address: Address) -> tuple[OssFiles, str]:
    """Give the objects behind an ``oss://BUCKET/KEY`` URI, and the path of its root.

    Raises:
        StoreError: one of the three variables is not set, the URI names no bucket, or has credentials in it.
    """
    address.check_has_no_credentials("MLFLOW_OSS_KEY_ID and MLFLOW_OSS_KEY_SECRET")
    path = address.bucket_path(address.host)
    endpoint, key_id, key_secret = (os.environ.get(name) for name in _VARIABLES)
    if not (endpoint and key_id and key_secret):
        absent = ", ".join(name for name in _VARIABLES if not os.environ.get(name))
        message = (
            f"artifacts at {address.shown} need {absent} in the environment: the endpoint of the bucket's region "
            "(https://oss-cn-hangzhou.aliyuncs.com) and an access key"
        )
        raise StoreError(message)
    import oss2

    auth = oss2.Auth(key_id, key_secret)
    session = oss2.Session()
    return OssFiles(oss2.Bucket(auth, endpoint, address.host, session=session, connect_timeout=_TIMEOUT_SECONDS)), path


def _key(path: str) -> str:
    return path.partition("/")[2]


def _described(content: Content, path: str) -> dict[str, str]:
    return {_METADATA: content.sha256, "Content-Type": mimetypes.guess_type(path)[0] or "application/octet-stream"}


def _checked(data: bytes) -> dict[str, str]:
    return {"Content-MD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}


def _digest(headers: Any) -> Digest | None:
    """Give an object's checksum: what we kept with it, else its ETag where it is an MD5 (OSS, PutObject, ETag)."""
    if headers.get(_METADATA):
        return Digest("sha256", headers[_METADATA])
    etag = headers.get("ETag", "").strip('"').lower()
    is_md5 = headers.get("x-oss-object-type") == "Normal" and len(etag) == _MD5_DIGITS
    is_encrypted = headers.get("x-oss-server-side-encryption", "AES256") != "AES256"
    return Digest("md5", etag) if is_md5 and not is_encrypted else None
