"""What plugins keep to that speak for a request or a run: headers, authentication, the default experiment.

::

    from runcontext.testing import RequestHeaderContract

    class TestTeamHeaders(RequestHeaderContract):
        provider = TeamHeaders

Plugins that were written for MLflow keep to them too: the methods are MLflow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from runcontext import plugins
from runcontext.tracking.http import headers as http_headers

_URL = "https://tracking.example.org/api/2.0/mlflow/runs/get?run_id=1"


class _Contract:
    """What the three have in common."""

    provider: ClassVar[Any]
    _kind: ClassVar[plugins.Kind]

    def _built(self) -> Any:
        loaded = type(self).__dict__.get("provider", self.provider)
        is_instance = not isinstance(loaded, type) and all(hasattr(loaded, name) for name in self._kind.methods)
        return loaded if is_instance else loaded()

    def test_it_has_the_shape_of_its_kind(self) -> None:
        """It can be built without arguments, and has the methods of its kind, by their names."""
        missing = [name for name in self._kind.methods if not callable(getattr(self._built(), name, None))]
        assert not missing


class _InContextContract(_Contract):
    def test_it_says_whether_it_is_in_context(self) -> None:
        """``in_context()`` is a yes or a no, however often it is asked, and never an exception."""
        provider = self._built()
        assert [type(provider.in_context()) for _ in range(2)] == [bool, bool]


class RequestHeaderContract(_InContextContract):
    """What every plugin of ``runcontext.request_headers`` keeps to: subclass it, and pytest runs it.

    Set ``provider`` to the class or a function that builds one, in surroundings where it is in context.
    """

    _kind = plugins.REQUEST_HEADERS

    def test_its_headers_can_be_sent(self) -> None:
        """Names and values are texts that HTTP can carry; None leaves a header out."""
        headers = self._built().request_headers()
        assert isinstance(headers, Mapping)
        for name, value in headers.items():
            assert isinstance(name, str)
            assert http_headers.NAME.fullmatch(name), name
            assert value is None or (isinstance(value, str) and http_headers.VALUE.fullmatch(value)), name

    def test_it_can_be_asked_for_every_request(self) -> None:
        """It is asked for each request anew, and gives the same headers by name."""
        provider = self._built()
        assert set(provider.request_headers()) == set(provider.request_headers())


class RequestAuthContract(_Contract):
    """What every plugin of ``runcontext.request_auth`` keeps to: subclass it, and pytest runs it.

    Set ``provider`` to the class or a function that builds one, in surroundings where it can authenticate.
    """

    _kind = plugins.REQUEST_AUTH

    def test_it_has_a_name(self) -> None:
        """``get_name()`` is what MLFLOW_TRACKING_AUTH chooses it by, and stays the same."""
        provider = self._built()
        name = provider.get_name()
        assert isinstance(name, str)
        assert name
        assert provider.get_name() == name

    def test_it_authenticates_a_request(self) -> None:
        """``get_auth()`` is what requests takes: a user and a password, or what dresses a request and leaves it one."""
        from requests import PreparedRequest, Request

        auth = self._built().get_auth()
        if isinstance(auth, tuple):
            assert [type(part) for part in auth] == [str, str]
            return
        dressed = auth(Request("GET", _URL).prepare())
        assert isinstance(dressed, PreparedRequest)
        assert dressed.method == "GET"
        assert (dressed.url or "").startswith(_URL)

    def test_it_can_be_asked_for_every_request(self) -> None:
        """It is asked for each request anew."""
        provider = self._built()
        assert type(provider.get_auth()) is type(provider.get_auth())


class DefaultExperimentContract(_InContextContract):
    """What every plugin of ``runcontext.default_experiments`` keeps to: subclass it, and pytest runs it.

    Set ``provider`` to the class or a function that builds one, in surroundings where it is in context.
    """

    _kind = plugins.DEFAULT_EXPERIMENTS

    def test_it_gives_an_id(self) -> None:
        """``get_experiment_id()`` is the id that an experiment has on the server, a text, and stays the same."""
        provider = self._built()
        assert provider.in_context()
        found = provider.get_experiment_id()
        assert isinstance(found, str)
        assert found
        assert provider.get_experiment_id() == found
