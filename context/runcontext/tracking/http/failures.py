"""What a request that got no reply means: a server that is away, or something that somebody must see to."""

from __future__ import annotations

import re

from runcontext import redaction
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError

# OpenSSL's words for a connection that broke, as against one that was refused.
_BROKEN = re.compile(r"EOF|reset|timed out|Broken pipe", re.IGNORECASE)
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|record layer failure|UNKNOWN_PROTOCOL|HTTP_REQUEST", re.IGNORECASE)
_WANTS_CERTIFICATE = re.compile(r"certificate.required|handshake.failure|bad.certificate|unknown.ca", re.IGNORECASE)


def of_request(error: Exception, shown: str, timeout_seconds: float) -> StoreError:
    """Give the error that a failure of requests is, without anything that it was to send.

    Args:
        error: what requests raised.
        shown: the server, fit to be shown.
        timeout_seconds: how long it was waited for.
    """
    from requests import exceptions

    is_of_requests = isinstance(error, exceptions.RequestException)
    if isinstance(error, exceptions.InvalidHeader) or (isinstance(error, ValueError) and not is_of_requests):
        # Its message shows the header, which may be a token.
        return StoreUnusableError(
            f"a header for {shown} is malformed: one line of Latin-1 characters is expected; look at"
            " MLFLOW_TRACKING_TOKEN, MLFLOW_WORKSPACE and the plugin that MLFLOW_TRACKING_AUTH names"
        )
    if isinstance(error, exceptions.SSLError):
        return _of_tls(error, shown)
    broken = (exceptions.ConnectionError, exceptions.Timeout)
    if isinstance(error, (*broken, exceptions.ChunkedEncodingError, exceptions.ContentDecodingError)):
        through = " through its proxy" if isinstance(error, exceptions.ProxyError) else ""
        late = f"no answer in {timeout_seconds:g} s, see MLFLOW_HTTP_REQUEST_TIMEOUT"
        reason = late if isinstance(error, exceptions.Timeout) else _reason(error)
        return StoreUnavailableError(f"{shown} cannot be reached{through} ({reason})")
    if is_of_requests:
        return StoreUnusableError(f"{shown} cannot be asked ({_reason(error)}); look at the tracking URI")
    # requests looks for the files of certificates before it connects.
    return StoreUnusableError(
        f"a certificate for {shown} cannot be used ({_reason(error)}); look at MLFLOW_TRACKING_SERVER_CERT_PATH,"
        " MLFLOW_TRACKING_CLIENT_CERT_PATH and REQUESTS_CA_BUNDLE"
    )


def _of_tls(error: Exception, shown: str) -> StoreError:
    text = str(error)
    if "certificate verify failed" in text or "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match" in text:
        return StoreUnusableError(
            f"the certificate of {shown} does not verify ({_reason(error)}): name its authority's file with"
            " MLFLOW_TRACKING_SERVER_CERT_PATH"
        )
    if _NO_TLS.search(text):
        return StoreUnusableError(f"{shown} speaks no TLS ({_reason(error)}): is its address http://?")
    if _WANTS_CERTIFICATE.search(text):
        return StoreUnusableError(
            f"{shown} refuses the connection ({_reason(error)}): it may want a certificate of yours, see"
            " MLFLOW_TRACKING_CLIENT_CERT_PATH"
        )
    if _BROKEN.search(text):
        return StoreUnavailableError(f"{shown} cannot be reached ({_reason(error)})")
    return StoreUnusableError(f"no safe connection to {shown} ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """Give the innermost reason of a chain: ``Connection refused``."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redaction.redact_text(" ".join(str(text).split()))[:300]
