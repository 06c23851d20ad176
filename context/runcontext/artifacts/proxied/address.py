"""Which server an artifact URI names, and which folder there, as MLflow's client reads it.

``mlflow-artifacts:/1/<run_id>/artifacts`` is on the tracking server, ``mlflow-artifacts://host:port/...`` on another,
with its scheme and path (mlflow.store.artifact.mlflow_artifacts_repo); of an http(s) URI the folder follows
``/api/2.0/mlflow-artifacts/artifacts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from runcontext.errors import StoreError
from runcontext.redaction import redact_url

SERVICE = "/api/2.0/mlflow-artifacts"
_ARTIFACTS = f"{SERVICE}/artifacts"


@dataclass(frozen=True, slots=True)
class ProxiedAddress:
    """An artifact URI of a tracking server, taken apart.

    - ``server``: the server's URI; it may hold credentials, and is not to be shown.
    - ``root``: the folder of the run's artifacts there, without ``/`` around it.
    """

    server: str
    root: str

    @classmethod
    def of(cls, artifact_uri: str, tracking_uri: str | None) -> ProxiedAddress:
        """Take an artifact URI apart.

        Args:
            artifact_uri: ``mlflow-artifacts:``, ``http:`` or ``https:``.
            tracking_uri: of the run; ``mlflow-artifacts:`` is meaningless without it.

        Raises:
            StoreError: there is no server, or the URI names nothing that a tracking server proxies.
        """
        parts = _split(artifact_uri)
        tracking = _split(tracking_uri or "")
        if parts.scheme != "mlflow-artifacts":
            return cls._of_server(parts, tracking, artifact_uri)
        if tracking.scheme not in {"http", "https"}:
            given = redact_url(tracking_uri) if tracking_uri else "not set"
            message = (
                f"artifact URI {redact_url(artifact_uri)!r} is kept by a tracking server, and the tracking URI is"
                f" {given}; set RUNCONTEXT_TRACKING_URI to the server's http:// or https:// address"
            )
            raise StoreError(message)
        if parts.netloc.isdecimal():
            message = f"artifact URI {redact_url(artifact_uri)!r} has a port and no host; //HOST:PORT/ is expected"
            raise StoreError(message)
        server = tracking._replace(netloc=_with_user(parts.netloc or _host(tracking), tracking))
        return cls(server.geturl(), unquote(parts.path).removeprefix(_ARTIFACTS).strip("/"))

    @classmethod
    def _of_server(cls, parts: SplitResult, tracking: SplitResult, artifact_uri: str) -> ProxiedAddress:
        before, service, root = parts.path.partition(_ARTIFACTS)
        if not service:
            message = (
                f"artifact URI {redact_url(artifact_uri)!r} names nothing that a tracking server proxies;"
                f" {parts.scheme}://HOST[:PORT]{_ARTIFACTS}/FOLDER is expected"
            )
            raise StoreError(message)
        server = parts._replace(netloc=_with_user(parts.netloc, tracking), path=before, query="", fragment="")
        return cls(server.geturl(), unquote(root).strip("/"))


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError as error:
        message = f"{redact_url(uri)!r} is malformed: {error}; scheme://HOST[:PORT]/PATH is expected"
        raise StoreError(message) from None


def _with_user(netloc: str, tracking: SplitResult) -> str:
    """Give the tracking URI's own user and password to its own host, and to no other."""
    return tracking.netloc if netloc == _host(tracking) else netloc


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
