"""A tracking store that a plugin of ``runcontext.tracking_stores`` brings, kept from doing harm.

Whatever it raises, an exit too, is a StoreError that names it; what it gives is checked where it arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runcontext import plugins
from runcontext.artifacts.failures import Meaning, meaning_of
from runcontext.errors import PluginError, StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.record import RunRecord
from runcontext.redaction import redact_url
from runcontext.tracking.store import BatchLimits, RunPage, StoredRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.plugins import Plugin
    from runcontext.tracking.store import Batch, NewRun, Query, Refusal, RunUpdate

    T = TypeVar("T")

_OF_ALL = (Meaning.DENIED, Meaning.UNTRUSTED)
METHODS = ("create_run", "log_batch", "update_run", "get_run", "search_runs", "artifacts", "close")


class PluginStore:
    """One store of a plugin's, as every other."""

    def __init__(self, plugin: Plugin, uri: str) -> None:
        """Build it: its builder is called with the tracking URI.

        Raises:
            StoreError: it cannot be loaded or built, or lacks a method; the message names plugin and package.
        """
        self._plugin = plugin
        self._raw_uri = uri
        try:
            self._store = plugins.build(plugin, uri, methods=METHODS, uri=uri)
        except PluginError as error:
            raise StoreError(str(error)) from None

    @property
    def uri(self) -> str:
        """The tracking URI, without credentials."""
        return redact_url(self._raw_uri)

    @property
    def limits(self) -> BatchLimits:
        """How much it takes at once: what it says, or what an MLflow server takes."""
        found = self._do("has no limits that can be read", lambda: getattr(self._store, "limits", None))
        return found if isinstance(found, BatchLimits) else BatchLimits()

    def create_run(self, run: NewRun) -> StoredRun:
        """Have it make the run."""
        return self._given("create_run", lambda: self._store.create_run(run), StoredRun)

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Have it take a batch; None is as good as no refusals."""
        found: tuple[Refusal, ...] = self._do(
            "could not log_batch()", lambda: tuple(self._store.log_batch(run, batch) or ())
        )
        return found

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Have it record how a run stands."""
        self._do("could not update_run()", lambda: self._store.update_run(run, update))

    def get_run(self, run_id: str) -> RunRecord:
        """Have it give a run."""
        return self._given("get_run", lambda: self._store.get_run(run_id), RunRecord)

    def search_runs(self, query: Query) -> RunPage:
        """Have it find runs; a ValueError of its own is the user's."""
        found = self._given("search_runs", lambda: self._store.search_runs(query), list, passing=(ValueError,))
        if isinstance(found, RunPage):
            return found
        page = RunPage(found)
        page.token = getattr(found, "token", None)
        return page

    def artifacts(self, run: StoredRun) -> ArtifactRepository:
        """Have it give the place of a run's artifacts."""
        from runcontext.artifacts.plugin_repository import PluginRepository

        built = self._do("could not give artifacts()", lambda: self._store.artifacts(run))
        return PluginRepository(self._plugin, run.artifact_uri or self._raw_uri, built=built)

    def close(self) -> None:
        """Have it let go."""
        self._do("could not close()", self._store.close)

    def _given(
        self, method: str, work: Callable[[], Any], expected: type[T], passing: tuple[type[Exception], ...] = ()
    ) -> T:
        found = self._do(f"could not {method}()", work, passing)
        if not isinstance(found, expected):
            message = f"{self._plugin} gave a {type(found).__name__} for {method}(); {expected.__name__} is expected"
            raise StoreError(message)
        return found

    def _do(self, what: str, work: Callable[[], Any], passing: tuple[type[Exception], ...] = ()) -> Any:
        return plugins.guarded(
            self._plugin, what, work, passing=(StoreError, *passing), raising=store_error, uri=self._raw_uri
        )


def store_error(message: str, error: BaseException) -> StoreError:
    """Make a StoreError of what a plugin raised: one that may go right later where a connection was lost.

    Where it was denied something, nothing else goes right either.
    """
    if any(map(_is_connection_lost, chain(error))):
        return StoreUnavailableError(message)
    return (StoreUnusableError if meaning_of(error) in _OF_ALL else StoreError)(message)


def chain(error: BaseException | None) -> list[BaseException]:
    """Give an exception and what led to it."""
    found: list[BaseException] = []
    while error is not None and not any(each is error for each in found):
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is_connection_lost(error: BaseException) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError))
