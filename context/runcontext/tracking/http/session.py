"""A session with one server: what is sent, how often, and what becomes of it."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

from runcontext import __version__, log, plugins
from runcontext.errors import StoreUnavailableError
from runcontext.tracking.http import failures, headers, redirects, replies
from runcontext.tracking.http.addresses import Address
from runcontext.tracking.http.credentials import Credentials
from runcontext.tracking.http.variables import Patience, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from requests import PreparedRequest, Response, Session

    from runcontext.tracking.http.credentials import Provider

_USER_AGENT = f"runcontext/{__version__}"
_LONGEST_WAIT_SECONDS = 120.0


class ServerSession:
    """Requests to one server, with everything that MLflow's variables and the installed plugins say about them.

    Reading is repeated as MLflow's client repeats it; writing never is: whoever writes knows what that would do.
    Several threads may use it at once, and a forked process gets connections of its own. Our requests name themselves
    ``runcontext/<version>``; X-MLflow-Client-Version is not sent: this is no client of MLflow's, and no server of
    2.22 to 3.18 reads it.

    Args:
        uri: the server's address; user and password in it are used, and never shown.
        environment: MLflow's variables; the process's own unless given.
        header_providers: plugins that add headers; the installed ones unless given.
        auth_providers: plugins that MLFLOW_TRACKING_AUTH may name; the installed ones unless given.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        uri: str,
        *,
        environment: Mapping[str, str] | None = None,
        header_providers: Sequence[Provider] | None = None,
        auth_providers: Sequence[Provider] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Read the settings; nothing is sent yet.

        Raises:
            StoreError: the URI is malformed, or a variable or the file of credentials cannot be used.
        """
        environment = os.environ if environment is None else environment
        address = Address.of(uri)
        self.uri = address.shown
        self.base_url = address.base
        self.patience = Patience.of(environment)
        self._transport = Transport.of(environment)
        self._workspace = environment.get("MLFLOW_WORKSPACE", "").strip()
        self._header_providers = header_providers
        self._credentials = Credentials(
            address.userinfo, environment, lambda: _auth_providers() if auth_providers is None else auth_providers
        )
        self._sleep = sleep
        self._sessions: dict[int, Session] = {}

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, is_patient: bool = True) -> dict[str, Any]:
        """Read a JSON object; asks again while it may help, unless ``is_patient`` is false.

        Args:
            path: below the server's address: ``/api/2.0/mlflow/runs/get``.
            params: the query.
            is_patient: whether to wait for a server that cannot be reached or is busy.

        Raises:
            StoreUnavailableError: it cannot be had now.
            StoreError: it cannot be had; a ServerRefusalError where the server says so.
        """
        return self._read(lambda: self._exchange("GET", path, params=params), is_patient=is_patient)

    def search(self, path: str, body: Mapping[str, Any], *, is_patient: bool = True) -> dict[str, Any]:
        """Read a JSON object that is asked for with a POST, such as a search; as ``get``."""
        return self._read(lambda: self._exchange("POST", path, json=body), is_patient=is_patient)

    def post(self, path: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Write once, and give the JSON object that comes back.

        Args:
            path: as in ``get``.
            body: what is sent as JSON, or the bytes of a JSON text.

        Raises:
            StoreUnavailableError: it may or may not have been done.
            StoreError: it was not done; a ServerRefusalError where the server says so.
        """
        if isinstance(body, bytes):
            return self._exchange("POST", path, data=body, headers={"Content-Type": "application/json"})
        return self._exchange("POST", path, json=body)

    def send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Response:
        """Make one request, once, and give the reply to it; for what is no JSON.

        Args:
            method: ``GET``, ``PUT``, ...
            path: below the server's address.
            headers: more headers; they override.
            options: what ``requests.Session.request`` takes: ``data``, ``params``, ``stream``.

        Raises:
            StoreUnavailableError: it may go right later; it may or may not have been done.
            StoreError: it was not done; a ServerRefusalError where the server says so.
        """
        response = self._request(method, path, headers or {}, options)
        replies.check(response, self.uri, self._credentials.origin or _found_elsewhere(response))
        return response

    def close(self) -> None:
        """Let go of this process's connections."""
        session = self._sessions.pop(os.getpid(), None)
        if session is not None:
            session.close()

    def _exchange(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self.send(method, path, **options)
        return replies.result_of(response, self.uri)

    def _read(self, ask: Callable[[], dict[str, Any]], *, is_patient: bool) -> dict[str, Any]:
        repetitions = self.patience.max_retries if is_patient else 0
        for repetition in range(repetitions):
            try:
                return ask()
            except StoreUnavailableError as error:
                wait = self._wait_seconds(repetition, error)
                if wait is None:
                    raise
                if not repetition:
                    log.warn_once(
                        f"{error}; asking again, {repetitions} times at most: MLFLOW_HTTP_REQUEST_MAX_RETRIES"
                    )
                self._sleep(wait)
        return ask()

    def _wait_seconds(self, repetition: int, error: StoreUnavailableError) -> float | None:
        """Give how long to wait, as urllib3's Retry has it; None where the server asks for more than anybody waits."""
        wanted = error.retry_after_seconds if self.patience.respects_retry_after else None
        # Nothing, or a date that has passed, is no wish.
        if wanted:
            return wanted if wanted <= _LONGEST_WAIT_SECONDS else None
        backoff = self.patience.backoff_factor * 2**repetition if repetition else 0.0
        return min(_LONGEST_WAIT_SECONDS, backoff + random.random() * self.patience.jitter_seconds)  # noqa: S311 - no secret

    def _request(self, method: str, path: str, more: Mapping[str, str], options: Mapping[str, Any]) -> Response:
        auth = self._credentials.auth()
        dressed = self._headers(more)
        if auth is None and any(name.lower() == "authorization" for name in dressed):
            # Without an auth object requests would put what ~/.netrc has in its place.
            auth = _unchanged
        try:
            return self._session().request(
                method,
                self.base_url + path,
                headers=dressed,
                auth=auth,
                verify=self._transport.verify,
                cert=self._transport.client_certificate,
                allow_redirects=self._transport.follows_redirects,
                timeout=self.patience.timeout_seconds,
                **options,
            )
        except (OSError, ValueError) as error:
            raise failures.of_request(error, self.uri, self.patience.timeout_seconds) from None

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        if self._header_providers is None:
            methods = ("in_context", "request_headers")
            self._header_providers = plugins.build_all(plugins.REQUEST_HEADERS, methods=methods)
        dressed = headers.merged({"User-Agent": _USER_AGENT}, self._header_providers, self.uri)
        if self._workspace:
            dressed.setdefault("X-MLFLOW-WORKSPACE", self._workspace)
        return {**dressed, **more}

    def _session(self) -> Session:
        found = self._sessions.get(os.getpid())
        if found is None:
            # Of two threads that get here at once one makes a session for nothing.
            found = self._sessions.setdefault(os.getpid(), redirects.new_session())
        return found


def _auth_providers() -> Sequence[Provider]:
    return plugins.build_all(plugins.REQUEST_AUTH, methods=("get_name", "get_auth"))


def _found_elsewhere(response: Response) -> str:
    """Say which credentials a request got that has none of the variables'."""
    has_some = "Authorization" in response.request.headers
    return "those of ~/.netrc or of a header plugin" if has_some else "no credentials"


def _unchanged(request: PreparedRequest) -> PreparedRequest:
    return request
