"""Amazon S3 and what speaks its protocol, through s3fs; R2 and B2 are that, each at an endpoint of its own.

Requests go through ``S3FileSystem.call_s3``, botocore's operations on s3fs's session: an upload that can be gone on
with, and a checksum that holds, need what its file interface does not show. Settings are MLflow's
(``mlflow.environment_variables``, MLFLOW_S3_* and MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE), everything else botocore's own.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import mimetypes
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runcontext.artifacts.addresses import Address
from runcontext.artifacts.content import Content, Digest, reading
from runcontext.artifacts.files import SHA256_KEY, Entry, FileState
from runcontext.artifacts.multipart import THRESHOLD_BYTES, Part, upload_in_parts
from runcontext.errors import StoreError

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ATTEMPTS = 2
_MD5_DIGITS = 32
_ADDRESSING = ("auto", "path", "virtual")
_YES = ("true", "1")


class S3Files:
    """The objects of one bucket.

    Args:
        system: an ``s3fs.S3FileSystem``.
        name: the endpoint and bucket, for the notes of unfinished uploads.
    """

    def __init__(self, system: Any, name: str) -> None:
        """Keep the file system; it connects when it is first asked."""
        self._system = system
        self.name = name

    def state(self, path: str) -> FileState:
        """Describe an object, as ``Files`` says."""
        found = self._call("head_object", path)
        return FileState(int(found["ContentLength"]), found.get("ETag", ""), _digest(found, path))

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder, as ``Files`` says: a page is of 1,000 (Amazon S3 API Reference, ListObjectsV2)."""
        bucket, _, key = folder.partition("/")
        prefix = f"{key}/" if key else ""
        following: dict[str, str] = {}
        while True:
            page = self._system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **following)
            for found in page.get("CommonPrefixes", ()):
                yield Entry(found["Prefix"][len(prefix) :].removesuffix("/"), is_dir=True, size=None)
            for found in page.get("Contents", ()):
                if found["Key"] != prefix:
                    yield Entry(found["Key"][len(prefix) :], is_dir=False, size=int(found["Size"]))
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, path: str, start: int, end: int, version: str) -> bytes:
        """Give some bytes, as ``Files`` says."""
        return self._body(path, Range=f"bytes={start}-{end - 1}", IfMatch=version)

    def write(self, content: Content, path: str, sent: Callable[[int], None]) -> None:
        """Keep a file, as ``Files`` says; a large one in parts."""
        if content.size >= THRESHOLD_BYTES:
            upload_in_parts(self, content, path, sent)
            return
        with reading(content) as source:
            data = source.read()
            source.check()
        self._call("put_object", path, Body=data, ContentMD5=_md5(data), **self._described(content, path))
        sent(content.size)

    def begin(self, content: Content, path: str) -> str:
        """Begin an upload in parts, as ``MultipartPlace`` says."""
        return str(self._call("create_multipart_upload", path, **self._described(content, path))["UploadId"])

    def parts(self, path: str, upload_id: str) -> Sequence[Part]:
        """List the parts of an upload, as ``MultipartPlace`` says."""
        parts: list[Part] = []
        following: dict[str, int] = {}
        while True:
            page = self._call("list_parts", path, UploadId=upload_id, **following)
            parts += [_part(each["PartNumber"], each["Size"], each["ETag"]) for each in page.get("Parts", ())]
            if not page.get("IsTruncated"):
                return parts
            following = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def send(self, path: str, upload_id: str, number: int, data: bytes) -> Part:
        """Send a part, as ``MultipartPlace`` says."""
        answer = self._call(
            "upload_part", path, UploadId=upload_id, PartNumber=number, Body=data, ContentMD5=_md5(data)
        )
        return _part(number, len(data), answer["ETag"])

    def finish(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make an object of the parts, as ``MultipartPlace`` says."""
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        self._call("complete_multipart_upload", path, UploadId=upload_id, MultipartUpload={"Parts": listed})

    def close(self) -> None:
        """Close the connections."""
        creator = getattr(self._system, "_s3creator", None)
        if creator is not None:
            self._system.close_session(self._system.loop, creator)

    def _call(self, operation: str, path: str, **arguments: Any) -> Any:
        bucket, _, key = path.partition("/")
        return self._system.call_s3(operation, Bucket=bucket, Key=key, **arguments)

    def _body(self, path: str, **arguments: Any) -> bytes:
        from fsspec.asyn import sync

        async def read() -> bytes:
            answer = await self._system._call_s3("get_object", Bucket=bucket, Key=key, **arguments)
            async with answer["Body"] as body:
                found: bytes = await body.read()
            return found

        bucket, _, key = path.partition("/")
        answered: Any = sync(self._system.loop, read)
        return bytes(answered)

    def _described(self, content: Content, path: str) -> dict[str, Any]:
        wanted = self._system.s3_additional_kwargs
        metadata = {**wanted.get("Metadata", {}), SHA256_KEY: content.sha256}
        kind = wanted.get("ContentType") or mimetypes.guess_type(path)[0]
        return {"Metadata": metadata, **({"ContentType": kind} if kind else {})}


def opened(address: Address) -> tuple[S3Files, str]:
    """Give the objects behind an ``s3://BUCKET/KEY`` URI, and the path of its root.

    Raises:
        StoreError: a setting cannot be used, or the URI names no bucket.
    """
    address.check_has_no_credentials("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role")
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None
    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
    return _opened(address, address.host, endpoint, style)


def opened_at_host(address: Address) -> tuple[S3Files, str]:
    """Give the objects behind ``r2://BUCKET@HOST/KEY`` or ``b2://BUCKET@HOST/KEY``, MLflow's own forms.

    Raises:
        StoreError: as ``opened`` does.
    """
    style = "virtual" if address.scheme == "r2" else "path"
    return _opened(address, address.user or "", f"https://{address.host}", style)


def storage_options(endpoint: str | None, style: str) -> dict[str, Any]:
    """Give the arguments of ``s3fs.S3FileSystem`` that MLflow's variables ask for.

    Raises:
        StoreError: MLFLOW_S3_UPLOAD_EXTRA_ARGS is no JSON object, or the addressing style is none.
    """
    if style not in _ADDRESSING:
        message = f"MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE={style!r}: one of {', '.join(_ADDRESSING)} is expected"
        raise StoreError(message)
    config: dict[str, Any] = {
        "s3": {"addressing_style": style},
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
    }
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        # Who waits for the place tries again, and knows better when to stop.
        config["retries"] = {"total_max_attempts": _ATTEMPTS, "mode": "standard"}
    extra = _upload_arguments()
    owner = os.environ.get("MLFLOW_S3_EXPECTED_BUCKET_OWNER")
    if owner:
        extra["ExpectedBucketOwner"] = owner
    ignores_tls = os.environ.get("MLFLOW_S3_IGNORE_TLS", "").lower() in _YES
    return {
        "endpoint_url": endpoint,
        "config_kwargs": config,
        "s3_additional_kwargs": extra,
        "client_kwargs": {"verify": False} if ignores_tls else {},
        "use_listings_cache": False,
    }


def _opened(address: Address, bucket: str, endpoint: str | None, style: str) -> tuple[S3Files, str]:
    path = address.bucket_path(bucket)
    options = storage_options(endpoint, style)
    from aiobotocore.session import AioSession
    from s3fs import S3FileSystem

    session = AioSession()
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    system = S3FileSystem(**options, session=session, skip_instance_cache=True)
    return S3Files(system, f"{endpoint or 'aws'}/{bucket}"), path


@functools.cache
def _descriptions(data_path: str | None) -> Any:
    """Give what reads botocore's descriptions of services: each would read the same megabytes again."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def _upload_arguments() -> dict[str, Any]:
    text = os.environ.get("MLFLOW_S3_UPLOAD_EXTRA_ARGS")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        # It may hold a customer's key, and is not shown.
        message = (
            "MLFLOW_S3_UPLOAD_EXTRA_ARGS is no JSON object; the arguments of an upload are expected, as in "
            '{"ServerSideEncryption": "AES256"}'
        )
        raise StoreError(message)
    return found


def _digest(found: dict[str, Any], path: str) -> Digest | None:
    """Give an object's checksum: what we kept with it, else its ETag where that is the MD5 of the content.

    It is not of an upload in parts, under a key of KMS or the customer's, and in a directory bucket, whose name ends
    with ``--x-s3`` (Amazon S3 API Reference, Object, ETag).
    """
    sha256 = found.get("Metadata", {}).get(SHA256_KEY)
    if sha256:
        return Digest("sha256", sha256)
    etag = found.get("ETag", "").strip('"').lower()
    is_md5 = len(etag) == _MD5_DIGITS and all(each in "0123456789abcdef" for each in etag)
    is_encrypted = found.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in found
    is_directory_bucket = path.partition("/")[0].endswith("--x-s3")
    return Digest("md5", etag) if is_md5 and not is_encrypted and not is_directory_bucket else None


def _part(number: int, size: int, etag: str) -> Part:
    return Part(int(number), int(size), etag.strip('"'))


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
