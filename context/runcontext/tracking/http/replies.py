"""What a reply means: a result, something that may go right later, or something that somebody must see to."""

from __future__ import annotations

import email.utils
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runcontext import redaction
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.tracking.http.sent import without_sent

if TYPE_CHECKING:
    from requests import Response

RETRIED = frozenset((408, 429, 500, 502, 503, 504))
"""Codes that MLflow's client takes for a failure that passes (mlflow.utils.request_utils)."""

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE = 401, 403, 404, 413
_OK, _REDIRECTION, _FAILURE = 200, 300, 400
_ADDRESS = "the tracking URI is the address under which MLflow's page opens"
_DETAIL_CHARACTERS, _READ_CHARACTERS = 500, 5_000

# What a server answers 500 to however often it is asked: what its database or disk cannot hold.
_HOPELESS = re.compile(
    r"DataError|StringDataRightTruncation|value too long|data too long|out of range|File name too long"
    r"|NotADirectoryError|IsADirectoryError|Not a directory|Is a directory",
    re.IGNORECASE,
)


class ServerRefusalError(StoreError):
    """What a server will not do, however often it is asked.

    - ``status``: the HTTP status.
    - ``error_code``: MLflow's word for it, such as RESOURCE_DOES_NOT_EXIST; None where the server gave none.
    - ``detail``: what the server says, with secrets redacted.
    """

    def __init__(self, message: str, *, status: int, error_code: str | None, detail: str) -> None:
        """Keep what is to be shown, and what a caller goes by."""
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.detail = detail

    @property
    def refuses_all(self) -> bool:
        """Whether it would refuse whatever else it is asked: it takes no credentials of ours, or is no such server."""
        is_no_server = self.status == _NOT_FOUND and self.error_code is None
        return self.status in {_UNAUTHORIZED, _FORBIDDEN} or is_no_server


def check(response: Response, shown: str, sent: str) -> None:
    """Let a good reply pass.

    Args:
        response: the reply, its body read or not.
        shown: the server, fit to be shown.
        sent: which credentials went with the request.

    Raises:
        StoreUnavailableError: it may go right later.
        ServerRefusalError: it will not.
        StoreError: the server is another one than the user thinks.
    """
    status = response.status_code
    if response.history and response.history[0].request.method != response.request.method:
        _refuse_redirect(shown, response.url, response)
    if _OK <= status < _REDIRECTION:
        return
    if status < _FAILURE:
        _refuse_redirect(shown, response.headers.get("Location", "nowhere"), response)
    error_code, detail = _said(response)
    if status in RETRIED and not (error_code is not None and _HOPELESS.search(detail)):
        message = f"{shown} cannot do it now ({status}: {detail})"
        raise StoreUnavailableError(message, retry_after_seconds=retry_after_seconds(response))
    message = _refusal(status, error_code, detail, shown, sent)
    raise ServerRefusalError(message, status=status, error_code=error_code, detail=detail)


def result_of(response: Response, shown: str) -> dict[str, Any]:
    """Give the JSON object that a good reply holds; an empty one is one, as MLflow's client has it.

    Raises:
        StoreUnavailableError: it holds something else: it was cut, or a proxy answered in the server's place.
        StoreError: it is a page for people.
    """
    text = response.content.strip()
    if text in (b"", b"200 OK"):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        if _is_page(response):
            message = (
                f"{shown} is no MLflow tracking server: it answers with a page ({response.status_code}), as a website"
                f" or the login of a proxy does; {_ADDRESS}, and a proxy in front of it may want credentials"
            )
            raise StoreError(message)
        beginning = _safe(text.decode("utf-8", "replace"), response)[:80]
        message = f"{shown} answered {response.status_code} and no JSON object ({beginning!r}): cut, or a proxy's"
        raise StoreUnavailableError(message)
    return found


def retry_after_seconds(response: Response) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, section 10.2.3); None where there is none that can be read."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _said(response: Response) -> tuple[str | None, str]:
    """Give MLflow's error code and message, None and what else the body says where it is not MLflow's."""
    try:
        row = response.json()
        error_code, text = str(row["error_code"]), str(row.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        error_code, text = None, _plain(response)
    return error_code, _safe(text, response) or _safe(response.reason or "", response) or "no reason given"


def _safe(text: str, response: Response) -> str:
    """Give what may be shown of what a reply says."""
    return redaction.redact_text(without_sent(text, response)[:_READ_CHARACTERS])[:_DETAIL_CHARACTERS]


def _plain(response: Response) -> str:
    return "" if _is_page(response) else " ".join(response.text.split())


def _is_page(response: Response) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower()


def _refusal(status: int, error_code: str | None, detail: str, shown: str, sent: str) -> str:
    if status == _UNAUTHORIZED:
        return (
            f"{shown} does not accept the credentials (401, sent: {sent}): set MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as its administrator gave them"
        )
    if status == _FORBIDDEN:
        return f"{shown} does not permit this (403, sent: {sent}): {detail}; ask its administrator for the permission"
    if error_code is None and status == _NOT_FOUND:
        return f"{shown} is no MLflow tracking server: it has no MLflow interface there (404); {_ADDRESS}"
    if status == _TOO_LARGE:
        return f"{shown} takes no request of this size (413): {detail}; a proxy's limit is to be raised to 1 MB"
    return f"{shown} refuses ({status}{f' {error_code}' if error_code else ''}): {detail}"


def _refuse_redirect(shown: str, target: str, response: Response) -> None:
    parts = urlsplit(target)
    place = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.path
    message = f"{shown} sends requests on to {_safe(place, response)}: make that the tracking URI"
    raise StoreUnusableError(message)
