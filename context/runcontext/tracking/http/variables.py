"""MLflow's variables that say how its client talks to a server, read as MLflow reads them.

Names, defaults and limits are those of mlflow.environment_variables; a value that cannot be used is an error here,
since a guess would send a request otherwise than the user meant it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runcontext.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

_MAX_RETRIES, _MAX_RETRIES_LIMIT = 7, 10
_BACKOFF_FACTOR, _BACKOFF_FACTOR_LIMIT = 2.0, 120.0
_JITTER_SECONDS = 1.0
_TIMEOUT_SECONDS = 120.0
_TIMEOUT_LIMIT_SECONDS = 1e6
"""What a socket can be told to wait ends far above it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reader waits for a server, and how often it asks again.

    - ``timeout_seconds``: for a connection, and for each part of a reply.
    - ``backoff_factor``: seconds; the n-th repetition waits this times 2 to the power of n - 1, the first not at all.
    - ``jitter_seconds``: at most so much is added to each wait, at random.
    - ``respects_retry_after``: whether a server's own wish counts.
    """

    max_retries: int
    backoff_factor: float
    jitter_seconds: float
    timeout_seconds: float
    respects_retry_after: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Patience:
        """Read MLFLOW_HTTP_REQUEST_*.

        Raises:
            StoreError: a variable's value cannot be used; the message names it.
        """
        max_retries = number(environment, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", int, _MAX_RETRIES)
        backoff_factor = number(environment, "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", float, _BACKOFF_FACTOR)
        timeout_seconds = number(
            environment, "MLFLOW_HTTP_REQUEST_TIMEOUT", float, _TIMEOUT_SECONDS, is_zero_usable=False
        )
        return cls(
            max_retries=min(max_retries, _MAX_RETRIES_LIMIT),
            backoff_factor=min(backoff_factor, _BACKOFF_FACTOR_LIMIT),
            jitter_seconds=number(environment, "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", float, _JITTER_SECONDS),
            timeout_seconds=min(timeout_seconds, _TIMEOUT_LIMIT_SECONDS),
            respects_retry_after=switch(environment, "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", default=True),
        )


@dataclass(frozen=True, slots=True)
class Transport:
    """How a connection is made: what requests takes as ``verify``, ``cert`` and ``allow_redirects``."""

    verify: bool | str
    client_certificate: str | None
    follows_redirects: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Transport:
        """Read the variables of TLS and of redirects.

        Raises:
            StoreError: two exclude each other, or a value cannot be used; the message names them.
        """
        is_insecure = switch(environment, "MLFLOW_TRACKING_INSECURE_TLS", default=False)
        authority = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None
        if is_insecure and authority is not None:
            message = (
                "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set: the one switches off"
                " what the other is for; unset one of them"
            )
            raise StoreError(message)
        return cls(
            verify=authority or not is_insecure,
            client_certificate=environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None,
            follows_redirects=switch(environment, "MLFLOW_ALLOW_HTTP_REDIRECTS", default=True),
        )


def switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Read a variable that is true, false, 1 or 0, in any case.

    Raises:
        StoreError: it is something else.
    """
    value = environment.get(name)
    if not value:
        return default
    if value.strip().lower() not in ("true", "false", "1", "0"):
        message = f"{name}={value!r} is not usable: true, false, 1 or 0 is expected"
        raise StoreError(message)
    return value.strip().lower() in ("true", "1")


def number(
    environment: Mapping[str, str], name: str, kind: Callable[[str], T], default: T, *, is_zero_usable: bool = True
) -> T:
    """Read a variable that is a number, 0 or more; more than 0 where that is no use.

    Raises:
        StoreError: it is something else.
    """
    value = environment.get(name)
    if not value:
        return default
    found: T | None = None
    with contextlib.suppress(ValueError):
        found = kind(value)
    if found is None or not 0 <= found < float("inf") or not (found or is_zero_usable):  # type: ignore[operator]
        least = "0 or more" if is_zero_usable else "more than 0"
        message = f"{name}={value!r} is not usable: a number, {least}, is expected"
        raise StoreError(message)
    return found
