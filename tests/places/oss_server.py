"""A server on loopback that speaks the part of OSS's protocol that artifacts need, and asks for a valid signature.

From Alibaba Cloud's "Object Storage Service API reference": PutObject, GetObject, HeadObject, ListObjectsV2,
InitiateMultipartUpload, UploadPart, ListParts, CompleteMultipartUpload, and "Include a V1 signature in the
Authorization header". A bucket is the first part of the path, as for any endpoint that is an address.

A program: ``oss_server.py PORT``. PUT of /BUCKET alone makes a bucket, without a signature.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import sys
import threading
import uuid
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from crcmod import Crc

KEY_ID = "the-key-of-the-tests"
KEY_SECRET = "the-secret-of-the-tests"  # noqa: S105 - of a server on loopback that ends with the tests
_SIGNED = ("uploads", "uploadId", "partNumber", "continuation-token")
_CRC64 = 0x142F0E1EBA9EA3693
_PAGE = 3
"""A page is smaller than anybody asks for, so that every listing takes several."""


@dataclass
class Stored:
    """An object: its bytes, and the headers that it was sent with."""

    data: bytes
    headers: dict[str, str]
    etag: str
    kind: str = "Normal"


@dataclass
class Bucket:
    """A bucket: its objects by key, and uploads that are under way by id."""

    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = field(default_factory=dict)


class RefusalError(Exception):
    """An answer that is an error, as OSS words it."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        """Keep what is to be said."""
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    buckets: dict[str, Bucket] = {}  # noqa: RUF012 - one server a process
    lock = threading.Lock()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, method: Any) -> None:
        where = urlsplit(self.path)
        self.query = dict(parse_qsl(where.query, keep_blank_values=True))
        self.bucket_name, _, key = where.path.removeprefix("/").partition("/")
        self.key = unquote(key)
        self.body = self._received()
        try:
            with self.lock:
                if self.command == "PUT" and not self.key:
                    self.buckets[self.bucket_name] = Bucket()
                    self._send(200)
                    return
                self._check_signature()
                method(self._bucket())
        except RefusalError as refusal:
            code, message = escape(refusal.code), escape(refusal.message)
            body = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>1</RequestId></Error>"
            self._send(refusal.status, body.encode())

    def _received(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _bucket(self) -> Bucket:
        if self.bucket_name not in self.buckets:
            raise RefusalError(404, "NoSuchBucket", "The specified bucket does not exist.")
        return self.buckets[self.bucket_name]

    def _check_signature(self) -> None:
        own = sorted((name.lower(), value) for name, value in self.headers.items() if name.lower().startswith("x-oss-"))
        signed = sorted((name, value) for name, value in self.query.items() if name in _SIGNED)
        resource = f"/{self.bucket_name}/{self.key}"
        if signed:
            resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in signed)
        text = "".join(
            f"{line}\n"
            for line in (
                self.command,
                self.headers.get("Content-MD5", ""),
                self.headers.get("Content-Type", ""),
                self.headers.get("Date", ""),
                *(f"{name}:{value.strip()}" for name, value in own),
            )
        )
        digest = hmac.new(KEY_SECRET.encode(), (text + resource).encode(), hashlib.sha1).digest()
        if self.headers.get("Authorization") != f"OSS {KEY_ID}:{base64.b64encode(digest).decode()}":
            raise RefusalError(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")

    def _put(self, bucket: Bucket) -> None:
        wanted = self.headers.get("Content-MD5")
        if wanted and base64.b64decode(wanted) != hashlib.md5(self.body).digest():  # noqa: S324 - the protocol's
            raise RefusalError(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        etag = hashlib.md5(self.body).hexdigest().upper()  # noqa: S324
        if "partNumber" in self.query:
            self._upload(bucket)[2][int(self.query["partNumber"])] = self.body
        else:
            bucket.objects[self.key] = Stored(self.body, self._kept(), etag)
        self._send(200, headers={"ETag": f'"{etag}"', "x-oss-hash-crc64ecma": _crc(self.body)})

    def _post(self, bucket: Bucket) -> None:
        if "uploads" in self.query:
            upload_id = uuid.uuid4().hex
            bucket.uploads[upload_id] = (self.key, self._kept(), {})
            body = f"<R><Bucket>b</Bucket><Key>{escape(self.key)}</Key><UploadId>{upload_id}</UploadId></R>"
            self._send(200, body.encode())
            return
        key, headers, parts = self._upload(bucket)
        listed = [
            (int(part.findtext("PartNumber") or 0), (part.findtext("ETag") or "").strip('"'))
            for part in ET.fromstring(self.body).findall("Part")  # noqa: S314 - the tests' own
        ]
        for number, etag in listed:
            if hashlib.md5(parts.get(number, b"")).hexdigest().upper() != etag.upper():  # noqa: S324
                raise RefusalError(400, "InvalidPart", f"part {number}")
        data = b"".join(parts[number] for number, _ in listed)
        etag = f"{hashlib.md5(data).hexdigest().upper()}-{len(listed)}"  # noqa: S324
        bucket.objects[key] = Stored(data, headers, etag, "Multipart")
        del bucket.uploads[self.query["uploadId"]]
        body = f"<R><Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag></R>"
        self._send(200, body.encode(), {"x-oss-hash-crc64ecma": _crc(data)})

    def _get(self, bucket: Bucket) -> None:
        if not self.key:
            self._send(200, self._listing(bucket).encode())
        elif "uploadId" in self.query:
            self._send(200, self._parts(bucket).encode())
        else:
            self._object(bucket)

    def _object(self, bucket: Bucket) -> None:
        found = bucket.objects.get(self.key)
        if found is None:
            raise RefusalError(404, "NoSuchKey", "The specified key does not exist.")
        if self.headers.get("If-Match", found.etag).strip('"') != found.etag:
            raise RefusalError(412, "PreconditionFailed", "ETag")
        headers = {**found.headers, "ETag": f'"{found.etag}"', "x-oss-object-type": found.kind}
        headers |= {"x-oss-hash-crc64ecma": _crc(found.data), "Last-Modified": formatdate(usegmt=True)}
        data, status = found.data, 200
        if "Range" in self.headers:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            data, status = data[int(first) : int(last) + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{len(found.data)}"
        self._send(status, data, headers)

    def _listing(self, bucket: Bucket) -> str:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        rows = {}
        for key in sorted(bucket.objects):
            rest = key[len(prefix) :]
            if key.startswith(prefix):
                is_folder = bool(delimiter) and delimiter in rest
                rows[prefix + rest.partition(delimiter)[0] + delimiter if is_folder else key] = is_folder
        after = self.query.get("continuation-token", "")
        names = [name for name in rows if name > after]
        # ListObjects, which only the plugin for MLflow asks for, has pages of the documented size.
        longest = _PAGE if self.query.get("list-type") == "2" else 100
        page = names[: min(longest, int(self.query.get("max-keys", "100")))]
        text = "<EncodingType>url</EncodingType>"
        for name in page:
            if rows[name]:
                text += f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>"
            else:
                found = bucket.objects[name]
                text += (
                    f"<Contents><Key>{quote(name)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>{found.etag}</ETag><Type>{found.kind}</Type><Size>{len(found.data)}</Size>"
                    "<StorageClass>Standard</StorageClass></Contents>"
                )
        is_truncated = len(page) < len(names)
        text += f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
        if is_truncated:
            text += f"<NextContinuationToken>{quote(page[-1])}</NextContinuationToken>"
        return f"<ListBucketResult>{text}</ListBucketResult>"

    def _parts(self, bucket: Bucket) -> str:
        _, _, parts = self._upload(bucket)
        text = "".join(
            f"<Part><PartNumber>{number}</PartNumber><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{hashlib.md5(data).hexdigest().upper()}</ETag><Size>{len(data)}</Size></Part>"  # noqa: S324
            for number, data in sorted(parts.items())
        )
        return f"<R>{text}<NextPartNumberMarker>0</NextPartNumberMarker><IsTruncated>false</IsTruncated></R>"

    def _upload(self, bucket: Bucket) -> tuple[str, dict[str, str], dict[int, bytes]]:
        try:
            return bucket.uploads[self.query["uploadId"]]
        except KeyError:
            raise RefusalError(404, "NoSuchUpload", "The specified upload does not exist.") from None

    def _kept(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.headers.items()
            if name.lower().startswith("x-oss-meta-") or name.lower() == "content-type"
        }

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"x-oss-request-id": "1", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)


def _crc(data: bytes) -> str:
    made = Crc(_CRC64, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)
    made.update(data)
    return str(made.crcValue)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
