"""Who a request says it is from: user and password, a token, a signature, or what a plugin gives.

The order is MLflow's (mlflow.utils.rest_utils.http_request, mlflow.utils.credentials): AWS's signature, the provider
that MLFLOW_TRACKING_AUTH names, user and password in the URI, those of the variables and of ~/.mlflow/credentials,
a token. Where none of them is there, requests looks into ~/.netrc, as it does for everybody.
"""

from __future__ import annotations

import base64
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from runcontext import at_work, log, plugins
from runcontext.errors import PluginError, StoreUnusableError
from runcontext.resolution import describe_error
from runcontext.tracking.http.variables import switch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from requests import PreparedRequest

    from runcontext.plugins import Plugin

    Auth = Callable[[PreparedRequest], PreparedRequest]
    Provider = tuple[Plugin, Any]

_SIGV4_SERVICE = "execute-api"
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_FILE = "~/.mlflow/credentials"
_NOT_SENT = "no request is sent without it"


class Credentials:
    """What proves to one server who is asking.

    Args:
        userinfo: user and password of the URI itself.
        environment: MLflow's variables.
        providers: gives the plugins that MLFLOW_TRACKING_AUTH may name; asked only where the variable is set.
    """

    def __init__(
        self,
        userinfo: tuple[str, str] | None,
        environment: Mapping[str, str],
        providers: Callable[[], Iterable[Provider]],
    ) -> None:
        """Read variables and files; nothing is asked of a plugin yet.

        Raises:
            StoreUnusableError: a variable or the file of credentials cannot be used.
        """
        self._providers = providers
        self._provider: Provider | None = None
        self._wanted = environment.get("MLFLOW_TRACKING_AUTH") or None
        self._is_signed = switch(environment, "MLFLOW_TRACKING_AWS_SIGV4", default=False)
        self._header, self.origin = _header_of(userinfo, environment)
        if self._wanted is not None:
            self.origin = f"MLFLOW_TRACKING_AUTH={self._wanted}"
        if self._is_signed:
            self.origin = "MLFLOW_TRACKING_AWS_SIGV4"

    def auth(self) -> Auth | None:
        """Give what puts the credentials on one request, None where there are none.

        Raises:
            StoreUnusableError: the one that the user asked for cannot be had: no request goes out without it.
        """
        if self._is_signed:
            return _signature()
        if self._wanted is not None:
            return self._of_provider(self._wanted)
        return None if self._header is None else _Header(self._header)

    def _of_provider(self, wanted: str) -> Auth:
        built_in = _KUBERNETES.get(wanted)
        if built_in is not None:
            return built_in()
        if self._provider is None:
            self._provider = _named(wanted, self._providers())
        plugin, provider = self._provider
        try:
            found = plugins.guarded(plugin, "failed", partial(_asked, provider, "get_auth"))
        except PluginError as error:
            message = f"MLFLOW_TRACKING_AUTH={wanted}: {error}; {_NOT_SENT}"
            raise StoreUnusableError(message) from None
        return _Guarded(str(plugin), _callable(str(plugin), found))


def _header_of(userinfo: tuple[str, str] | None, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Give the Authorization header, and what a message calls its source."""
    if userinfo is not None:
        return _basic(*userinfo), "user and password of the tracking URI"
    user, password, origin = _user_and_password(environment)
    if user and password:
        return _basic(user, password), origin
    # A token that was read from a file ends in a line break.
    token = environment.get("MLFLOW_TRACKING_TOKEN", "").strip()
    return (f"Bearer {token}", "MLFLOW_TRACKING_TOKEN") if token else (None, None)


def _user_and_password(environment: Mapping[str, str]) -> tuple[str | None, str | None, str]:
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    given = [environment.get(name) or None for name in names]
    if not all(given):
        kept = _kept()
        given = [found or kept.get(name.lower()) for found, name in zip(given, names, strict=True)]
    origins = [name if environment.get(name) else _FILE for name in names]
    return given[0], given[1], " and ".join(dict.fromkeys(origins))


def _kept() -> Mapping[str, str]:
    import configparser

    path = os.path.expanduser(_FILE)
    # A password may hold a percent sign.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser["mlflow"]) if parser.has_section("mlflow") else {}
    except configparser.MissingSectionHeaderError:
        problem = "it does not begin with [mlflow]"
    except (configparser.Error, UnicodeError) as error:
        # Its message shows the line, which may be the password's.
        problem = f"{type(error).__name__} in line {getattr(error, 'lineno', '?')}"
    except OSError as error:
        problem = error.strerror or type(error).__name__
    message = f"{path} cannot be used: {problem}; [mlflow] with mlflow_tracking_username and _password is expected"
    raise StoreUnusableError(message)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _signature() -> Auth:
    try:
        from requests_auth_aws_sigv4 import AWSSigV4  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        message = (
            "MLFLOW_TRACKING_AWS_SIGV4 needs the package requests-auth-aws-sigv4, which is not installed:"
            " pip install requests-auth-aws-sigv4 boto3"
        )
        raise StoreUnusableError(message) from None
    return _Guarded("requests-auth-aws-sigv4", AWSSigV4(_SIGV4_SERVICE))


def _named(wanted: str, providers: Iterable[Provider]) -> Provider:
    names: list[str] = []
    for plugin, provider in providers:
        try:
            found = plugins.guarded(plugin, "cannot say its name", partial(_asked, provider, "get_name"))
        except PluginError as error:
            log.warn_once(f"{error}: MLFLOW_TRACKING_AUTH cannot name it")
            continue
        if found == wanted:
            return plugin, provider
        names.append(str(found))
    known = ", ".join([*names, *_KUBERNETES])
    message = (
        f"no auth plugin is called {wanted!r} (MLFLOW_TRACKING_AUTH), or it cannot be used (known: {known}); install"
        f" it, or unset the variable: {_NOT_SENT}"
    )
    raise StoreUnusableError(message)


def _asked(provider: Any, method: str) -> Any:
    return getattr(provider, method)()


def _callable(name: str, found: object) -> Auth:
    from requests.auth import HTTPBasicAuth

    if isinstance(found, tuple) and len(found) == 2:  # noqa: PLR2004 - user and password, as requests takes them
        return HTTPBasicAuth(*found)
    if not callable(found):
        message = f"{name} gave a {type(found).__name__}; an auth object of requests is expected"
        raise StoreUnusableError(message)
    return cast("Auth", found)


class _Header:
    """Puts one Authorization header on a request; as an auth object it keeps requests from asking ~/.netrc."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = self._value.encode()  # type: ignore[assignment]
        return request


class _Guarded:
    """An auth object of somebody else's, whose failure is named; a request that it cannot sign is not sent."""

    def __init__(self, name: str, auth: Auth) -> None:
        self._name = name
        self._auth = auth

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        from requests import PreparedRequest

        try:
            with at_work.running(self._name):
                signed = self._auth(request)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            message = f"{self._name} failed to sign a request ({describe_error(error)}); it is not sent"
            raise StoreUnusableError(message) from None
        if not isinstance(signed, PreparedRequest):
            message = (
                f"{self._name} signed a request and gave a {type(signed).__name__}; the request is expected, as by"
                " `return request`; it is not sent"
            )
            raise StoreUnusableError(message)
        return signed


def _service_account(*, is_namespaced: bool) -> Auth:
    """Give the token of a pod's service account (Kubernetes, "Access the Kubernetes API from a Pod").

    MLflow has both names built in (mlflow.tracking.request_auth.kubernetes_request_auth_provider); it also reads a
    kubeconfig, which a run in a cluster does not have.
    """
    token, namespace = (_read(f"{_SERVICE_ACCOUNT}/{name}") for name in ("token", "namespace"))

    def authorize(request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        if is_namespaced:
            request.headers["X-MLFLOW-WORKSPACE"] = namespace
        return request

    return authorize


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        message = (
            f"MLFLOW_TRACKING_AUTH asks for a pod's service account, and {path} cannot be read ({error.strerror});"
            " outside a cluster set MLFLOW_TRACKING_TOKEN instead"
        )
        raise StoreUnusableError(message) from None


_KUBERNETES: Mapping[str, Callable[[], Auth]] = {
    "kubernetes": lambda: _service_account(is_namespaced=False),
    "kubernetes-namespaced": lambda: _service_account(is_namespaced=True),
}
