"""What answers in MLflow's REST terms: a server, or a plugin's store that is asked as if it were one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class MLflowSession(Protocol):
    """The requests of MLflow's REST API, and their answers as its JSON has them ("REST API" in its documentation)."""

    @property
    def uri(self) -> str:
        """The tracking URI, fit to be shown."""
        ...

    @property
    def base_url(self) -> str | None:
        """Where pages that show runs are, None where there are none."""
        ...

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, is_patient: bool = True) -> dict[str, Any]:
        """Read; asks again while it may help, unless ``is_patient`` is false.

        Raises:
            StoreUnavailableError: it cannot be had now.
            ServerRefusalError: it cannot be had.
        """
        ...

    def search(self, path: str, body: Mapping[str, Any], *, is_patient: bool = True) -> dict[str, Any]:
        """Read what is asked for with a body; as ``get``."""
        ...

    def post(self, path: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Write once.

        Raises:
            StoreUnavailableError: it may or may not have been done.
            ServerRefusalError: it was not done.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
