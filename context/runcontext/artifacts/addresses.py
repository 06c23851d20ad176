"""What an artifact URI says: its scheme, host, credentials, and the path of the root below it."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from typing import NoReturn

from runcontext.errors import StoreError
from runcontext.redaction import redact_url


@dataclass(frozen=True, slots=True)
class Address:
    """One artifact URI, taken apart.

    - ``shown``: the URI without credentials.
    - ``user``, ``password``: what stands before an ``@``, percent-decoded; None where nothing does.
    - ``path``: what follows the host, as it is written: object stores take ``%``, ``#`` and ``?`` as they are, and
      so does MLflow. No ``/`` at its end; one at its beginning, where it is not empty.
    """

    scheme: str
    shown: str
    user: str | None
    password: str | None = field(repr=False)
    host: str
    port: int | None
    path: str

    def bucket_path(self, bucket: str) -> str:
        """Give the path as object stores' libraries want it: the bucket, ``/``, and the key.

        Raises:
            StoreError: there is no bucket, or something that is no part of a bucket's name, as a port is none.
        """
        if not bucket or ":" in bucket or "@" in bucket:
            _refuse(self.shown, f"{bucket!r} is no bucket", f"{self.scheme}://BUCKET/PATH is expected")
        if self.port is not None:
            _refuse(self.shown, f"it has the port {self.port}, and buckets have none", "a URI without it is expected")
        return f"{bucket}{self.path}"

    def check_has_no_credentials(self, sources: str) -> None:
        """Check that there are none in the URI of a bucket, where nobody would read them.

        Args:
            sources: where they are taken from instead.

        Raises:
            StoreError: there are some.
        """
        if self.user is not None:
            message = (
                f"artifact URI {self.shown} has credentials in it: they are taken from {sources}; "
                f"{self.scheme}://BUCKET/PATH is expected"
            )
            raise StoreError(message)


def parsed(uri: str) -> Address:
    """Take an artifact URI apart.

    Raises:
        StoreError: it has no ``://``, its port is no number, or its path leads out of itself; the message says where.
    """
    shown = redact_url(uri)
    scheme, separator, rest = uri.partition("://")
    if not separator or not scheme:
        _refuse(shown, "it has no scheme", "SCHEME://HOST/PATH is expected")
    host_part, slash, path = rest.partition("/")
    if ".." in path.split("/") or "\0" in uri:
        _refuse(shown, "'..' or a NUL is in its path", "a path without them is expected")
    credentials, at, host = host_part.rpartition("@")
    user, colon, password = credentials.partition(":")
    host, port = _without_port(host, shown, is_shown="@" not in path)
    return Address(
        scheme=scheme.lower(),
        shown=shown,
        user=urllib.parse.unquote(user) if at else None,
        password=urllib.parse.unquote(password) if colon else None,
        host=host,
        port=port,
        path=(slash + path).rstrip("/"),
    )


def _without_port(host: str, shown: str, *, is_shown: bool) -> tuple[str, int | None]:
    closed = host.rfind("]")
    name, colon, digits = host[closed + 1 :].rpartition(":")
    if not colon:
        return host.strip("[]"), None
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 2**16):
        if not is_shown:
            # What stands there may be a piece of a password.
            _refuse(shown, "it has no port after the host's ':'", "a password's '/' is expected to be written as %2F")
        _refuse(shown, f"{digits!r} is no port", "a number from 1 to 65535 is expected after the host's ':'")
    return (host[: closed + 1] + name).strip("[]"), int(digits)


def _refuse(shown: str, problem: str, expected: str) -> NoReturn:
    message = f"artifact URI {shown} is malformed: {problem}; {expected}"
    raise StoreError(message)
