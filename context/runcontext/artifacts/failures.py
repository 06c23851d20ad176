"""What an exception of a place's library means: told by its class's name, its errno or its HTTP status.

So no library need be imported to tell.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from enum import Enum

_SERVER_ERROR = 500
_TOO_MANY = 429
_TIMEOUT = 408
_MOST_LINKS = 16


class Meaning(Enum):
    """What to do about a failure."""

    MISSING = "missing"
    DENIED = "denied"
    UNTRUSTED = "untrusted"
    UNAVAILABLE = "unavailable"
    CHANGED = "changed"
    OTHER = "other"


_BY_NAME = {
    # botocore.exceptions, aiohttp.client_exceptions
    "SSLError": Meaning.UNTRUSTED,
    "ClientConnectorCertificateError": Meaning.UNTRUSTED,
    "NoCredentialsError": Meaning.DENIED,
    "PartialCredentialsError": Meaning.DENIED,
    "ProfileNotFound": Meaning.DENIED,
    "CredentialRetrievalError": Meaning.DENIED,
    "TokenRetrievalError": Meaning.DENIED,
    "UnauthorizedSSOTokenError": Meaning.DENIED,
    "HTTPClientError": Meaning.UNAVAILABLE,
    "ConnectionError": Meaning.UNAVAILABLE,
    "ClientConnectionError": Meaning.UNAVAILABLE,
    "ClientPayloadError": Meaning.UNAVAILABLE,
    "IncompleteRead": Meaning.UNAVAILABLE,
    "ResponseParserError": Meaning.UNAVAILABLE,
    "FSTimeoutError": Meaning.UNAVAILABLE,
    "TimeoutError": Meaning.UNAVAILABLE,
    # paramiko
    "BadHostKeyException": Meaning.UNTRUSTED,
    "AuthenticationException": Meaning.DENIED,
    "PasswordRequiredException": Meaning.DENIED,
    "ConfigParseError": Meaning.OTHER,
    "IncompatiblePeer": Meaning.OTHER,
    "NoValidConnectionsError": Meaning.UNAVAILABLE,
    "SSHException": Meaning.UNAVAILABLE,
    "SFTPError": Meaning.UNAVAILABLE,
    # oss2.exceptions
    "AccessDenied": Meaning.DENIED,
    "SignatureDoesNotMatch": Meaning.DENIED,
    "NotFound": Meaning.MISSING,
    "RequestError": Meaning.UNAVAILABLE,
    "InconsistentError": Meaning.UNAVAILABLE,
    # azure.core.exceptions, google.auth.exceptions
    "ClientAuthenticationError": Meaning.DENIED,
    "ResourceNotFoundError": Meaning.MISSING,
    "ServiceRequestError": Meaning.UNAVAILABLE,
    "ServiceResponseError": Meaning.UNAVAILABLE,
    "DefaultCredentialsError": Meaning.DENIED,
    "RefreshError": Meaning.DENIED,
    "TransportError": Meaning.UNAVAILABLE,
    # ftplib
    "error_temp": Meaning.UNAVAILABLE,
}
"""What a library calls an exception, itself or a base of it; the nearest name counts."""

_LATER_ERRNOS = (
    *("EBUSY", "EREMOTEIO", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EHOSTUNREACH", "EHOSTDOWN"),
    *("ENETUNREACH", "ENETDOWN", "ENETRESET", "ENOTCONN", "EPIPE", "EAGAIN", "ESTALE"),
)
_BY_ERRNO = {
    errno.ENOENT: Meaning.MISSING,
    errno.EACCES: Meaning.DENIED,
    errno.EPERM: Meaning.DENIED,
    # Not every system has each of them.
    **{getattr(errno, name): Meaning.UNAVAILABLE for name in _LATER_ERRNOS if hasattr(errno, name)},
}
_BY_STATUS = {401: Meaning.DENIED, 403: Meaning.DENIED, 404: Meaning.MISSING, 412: Meaning.CHANGED}
_LATER_STATUSES = (_TIMEOUT, _TOO_MANY)
_CLOSED = ("socket is closed", "connection dropped", "connection lost", "connection closed", "reset by peer")
_CUT_SHORT = ("authentication timeout", "transport shut down or saw eof")
_NO_KEY = "no authentication methods available"


def meaning_of(error: BaseException) -> Meaning:
    """Say what a failure means; an untrusted certificate or key somewhere in its causes wins over all that followed."""
    found = [meaning for link in _links(error) if (meaning := _meaning_of_one(link)) is not Meaning.OTHER]
    if Meaning.UNTRUSTED in found:
        return Meaning.UNTRUSTED
    return found[0] if found else Meaning.OTHER


def retry_after_seconds(error: BaseException) -> float | None:
    """Give the seconds after which a place asks to be tried again (RFC 9110, section 10.2.3), None without such."""
    for link in _links(error):
        response = getattr(link, "response", None)
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(response, dict) else None
        headers = headers or getattr(link, "headers", None)
        value = headers.get("retry-after") if headers is not None and hasattr(headers, "get") else None
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return float(value)
    return None


def reason_of(error: BaseException) -> str:
    """Give in one line what an exception says: of a service's own error its code and its message, without the rest."""
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if isinstance(code, str) and isinstance(message, str) and (code or message):
        text = f"{code}: {message}"
    elif (status := _status(error)) is not None:
        text = f"{type(error).__name__}: HTTP status {status}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split()).removesuffix(":")


def _links(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _meaning_of_one(error: BaseException) -> Meaning:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Meaning.UNTRUSTED
    if isinstance(error, (socket.gaierror, TimeoutError, ConnectionError, EOFError)):
        return Meaning.UNAVAILABLE
    found = _by_status(_status(error)) or _by_words(error) or _by_name(error)
    if found is not None:
        return found
    return _of_system_error(error) if isinstance(error, OSError) else Meaning.OTHER


def _by_name(error: BaseException) -> Meaning | None:
    return next((_BY_NAME[base.__name__] for base in type(error).__mro__ if base.__name__ in _BY_NAME), None)


def _by_words(error: BaseException) -> Meaning | None:
    """Tell what paramiko has no class of its own for."""
    name, text = type(error).__name__, str(error).lower()
    if name == "AuthenticationException" and any(words in text for words in _CUT_SHORT):
        return Meaning.UNAVAILABLE
    return Meaning.DENIED if name == "SSHException" and _NO_KEY in text else None


def _by_status(status: int | None) -> Meaning | None:
    if status is not None and (status >= _SERVER_ERROR or status in _LATER_STATUSES):
        return Meaning.UNAVAILABLE
    return None if status is None else _BY_STATUS.get(status)


def _of_system_error(error: OSError) -> Meaning:
    if error.errno is not None:
        return _BY_ERRNO.get(error.errno, Meaning.OTHER)
    if isinstance(error, FileNotFoundError):
        return Meaning.MISSING
    if isinstance(error, PermissionError):
        return Meaning.DENIED
    # paramiko says so of a connection that has gone, and nothing else.
    return Meaning.UNAVAILABLE if any(words in str(error).lower() for words in _CLOSED) else Meaning.OTHER


def _status(error: BaseException) -> int | None:
    """Give the HTTP status behind an exception: botocore's response, or an attribute of the other libraries'."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    return found if isinstance(found, int) and found > 0 else None
