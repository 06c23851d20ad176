"""Sends what earlier processes left: the runs of a local store that their places do not have yet, the oldest first."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runcontext import log
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.mirror import state
from runcontext.mirror.lock import Lock
from runcontext.mirror.mirror import ParentNotThereError, PlaceAwayError
from runcontext.mirror.opening import opened, taken_up
from runcontext.mirror.state import MirrorState
from runcontext.record import RunStatus
from runcontext.redaction import MARK, redact_text, redact_url
from runcontext.resolution import describe_error
from runcontext.tracking import reading
from runcontext.tracking.uris import SERVERS, is_same_place, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runcontext.artifacts.progress import TransferBar
    from runcontext.mirror.mirror import Mirror
    from runcontext.tracking.local import LocalStore
    from runcontext.tracking.store import TrackingStore

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""How long to wait before each further attempt where a place cannot be reached."""

_LONGEST_PAUSE_SECONDS = 60.0
_UPLOADING_SECONDS = 0.02
_OTHERS_SECONDS, _LOOK_SECONDS = 30.0, 0.05

_SILENT_SECONDS = 5.0
"""A place that is away only after so long is not asked by every run."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of one run.

    - ``uri``: where it goes, without credentials.
    - ``status``: ``sent`` (all of it is there), ``running`` (all of it so far), ``busy`` (another process is sending
      it) or ``failed``; ``reason`` says why, and of a run that was sent what the place refused.
    """

    run_id: str
    run_name: str
    uri: str
    status: str
    reason: str | None = None
    url: str | None = None


class Syncing:
    """One pass over a local store.

    Args:
        store: the local store.
        uris: tracking URIs with their credentials, of which runs' own have none.
        progress: a bar that artifacts move on their way.
        sleep: what waits before another attempt.
        open_store: gives the store of a tracking URI.
    """

    def __init__(
        self,
        store: LocalStore,
        uris: Iterable[str],
        *,
        progress: TransferBar | None = None,
        sleep: Callable[[float], None] = time.sleep,
        open_store: Callable[[str], TrackingStore] = opened,
    ) -> None:
        """Send nothing yet."""
        self._store = store
        self._uris = list(uris)
        self._progress = progress
        self._sleep = sleep
        self._open_store = open_store
        self._stores: dict[str, TrackingStore] = {}
        self._away: set[str] = set()
        self._silent: dict[str, str] = {}

    def pending(self) -> list[str]:
        """Give the ids of the runs that are not wholly where they go, the oldest first."""
        return [run_id for run_id in sorted(self._run_ids()) if self._is_pending(run_id)]

    def with_ancestors(self, run_id: str) -> list[str]:
        """Give a run's id behind those of the runs that it is inside of: a place is told of these first."""
        found = [run_id]
        while (parent := str(self._identity(found[0]).get("parent_run_id") or "")) and self._is_pending(parent):
            if parent in found:
                break
            found.insert(0, parent)
        return found

    def run(self, run_ids: Iterable[str], uri: str | None = None, *, is_asked_for: bool = False) -> Iterator[Synced]:
        """Send these runs one after the other, each to its place.

        Args:
            run_ids: which runs.
            uri: the place of those that have none.
            is_asked_for: ``uri`` is the place of all of them; one that has something elsewhere is not sent.
        """
        try:
            for run_id in run_ids:
                yield self._sync(run_id, uri, is_asked_for=is_asked_for)
        finally:
            for store in self._stores.values():
                store.close()

    def _sync(self, run_id: str, uri: str | None, *, is_asked_for: bool) -> Synced:
        folder = self._store.run_path(run_id)
        wanted = "" if uri is None else redact_url(uri)
        shown = _place_of(folder) or wanted
        name = str(self._identity(run_id).get("run_name", ""))
        if not shown:
            return Synced(run_id, name, "", "failed", "it goes nowhere but here: name the place with --tracking-uri")
        if is_asked_for and not is_same_place(shown, wanted):
            if not _has_nothing_elsewhere(folder):
                reason = f"{shown} has it, and a run goes to one place: it is not sent to {wanted}"
                return Synced(run_id, name, shown, "failed", reason)
            shown = wanted
        if not self._is_pending(run_id) and state.read(folder) is not None:
            return _sent(folder, run_id, name, shown, "sent")
        return self._sync_to(shown, run_id, name)

    def _sync_to(self, shown: str, run_id: str, name: str) -> Synced:
        if shown in self._silent:
            return Synced(run_id, name, shown, "failed", self._silent[shown])
        folder = self._store.run_path(run_id)
        lock = Lock(folder)
        try:
            if not self._taken(lock, folder):
                return Synced(run_id, name, shown, "busy", "another process is sending it")
            return _sent(folder, run_id, name, shown, self._send(folder, shown))
        except Exception as error:  # noqa: BLE001 - a fault of a plugin's or of a file costs this run's sending only
            reason = str(error) if isinstance(error, StoreError) else describe_error(error)
            state.note_error(folder, shown, reason, is_given_up=not isinstance(error, StoreUnavailableError))
            return Synced(run_id, name, shown, "failed", redact_text(reason))
        finally:
            lock.release()

    def _taken(self, lock: Lock, folder: str) -> bool:
        """Be the one who sends; where the run has ended its own process may do so a while longer, and is waited for."""
        until = time.monotonic() + _OTHERS_SECONDS
        while not lock.take():
            if not _has_ended(folder) or time.monotonic() > until:
                return False
            self._sleep(_LOOK_SECONDS)
        return True

    def _send(self, folder: str, shown: str) -> str:
        store = self._opened(shown)
        if _has_nothing_elsewhere(folder):
            MirrorState({"uri": shown}).write(folder)
        mirror = taken_up(folder, store, shown, self._progress)
        # Where another run has waited for the place in vain this one is tried once.
        patience = _Patience(mirror, () if shown in self._away else _PAUSES_SECONDS)
        try:
            while True:
                is_there = self._step(mirror, shown, patience)
                self._away.discard(shown)
                if is_there:
                    return "sent"
                if mirror.is_caught_up:
                    return "running"
                if mirror.is_waiting:
                    self._sleep(_UPLOADING_SECONDS)
        finally:
            mirror.close()

    def _step(self, mirror: Mirror, shown: str, patience: _Patience) -> bool:
        """Do one step, again and again while the place takes nothing."""
        while True:
            began = time.monotonic()
            try:
                return mirror.step()
            except ParentNotThereError:
                # It had its turn before.
                raise
            except StoreUnavailableError as error:
                pause = patience.pause_after(error)
                if pause is None:
                    if isinstance(error, PlaceAwayError):
                        self._note_away(shown, str(error), time.monotonic() - began)
                    raise
                log.warn_once(f"{error}; it is tried again {len(_PAUSES_SECONDS)} times")
                self._sleep(pause)

    def _note_away(self, shown: str, reason: str, seconds: float) -> None:
        self._away.add(shown)
        if seconds > _SILENT_SECONDS:
            self._silent[shown] = reason

    def _opened(self, shown: str) -> TrackingStore:
        whole = next((uri for uri in self._uris if is_same_place(redact_url(uri), shown)), shown)
        if scheme_of(whole) in SERVERS and MARK in whole and _has_credentials():
            whole = whole.replace(f"//{MARK}@", "//", 1)
        if MARK in whole:
            message = (
                f"the credentials of {shown} are not on record: name the whole URI in RUNCONTEXT_TRACKING_URI or with"
                " --tracking-uri"
            )
            raise StoreError(message)
        if shown not in self._stores:
            self._stores[shown] = self._open_store(whole)
        return self._stores[shown]

    def _run_ids(self) -> list[str]:
        try:
            return os.listdir(os.path.join(self._store.path, "runs"))
        except OSError:
            return []

    def _is_pending(self, run_id: str) -> bool:
        folder = self._store.run_path(run_id)
        if _place_of(folder) is None:
            return False
        found = state.read(folder)
        return not state.is_all_sent(folder, found) or bool(state.unsent_artifacts(folder))

    def _identity(self, run_id: str) -> dict[str, object]:
        try:
            return reading.json_file(os.path.join(self._store.run_path(run_id), "run.json")) or {}
        except (OSError, ValueError, TypeError):
            return {}


class _Patience:
    """How often a run is tried again whose place takes nothing more of it."""

    def __init__(self, mirror: Mirror, pauses: Iterable[float]) -> None:
        self._mirror = mirror
        self._progress = mirror.progress
        self._pauses = list(pauses)

    def pause_after(self, error: StoreUnavailableError) -> float | None:
        """Give how long to wait before the next attempt, None where that was the last."""
        # A step that only sets out to do again what has failed is no progress.
        if self._mirror.progress != self._progress:
            self._progress = self._mirror.progress
            self._pauses = list(_PAUSES_SECONDS)
        if not self._pauses:
            return None
        # A place that asks to be tried again at once is no less busy for that.
        return max(self._pauses.pop(0), min(error.retry_after_seconds or 0.0, _LONGEST_PAUSE_SECONDS))


def _sent(folder: str, run_id: str, name: str, shown: str, status: str) -> Synced:
    found = state.read(folder)
    if found is None:
        return Synced(run_id, name, shown, status)
    refused = [f"{each['kind']} {each['key']!r} was refused: {each['reason']}" for each in found.refusals]
    return Synced(run_id, name, shown, status, "; ".join(refused) or None, found.url)


def _has_credentials() -> bool:
    """Say whether MLflow's variables, or its file, say who is asking where a URI does not."""
    from runcontext.tracking.http.credentials import Credentials

    if os.environ.get("MLFLOW_TRACKING_AUTH") or os.environ.get("MLFLOW_TRACKING_AWS_SIGV4"):
        return True
    return Credentials(None, os.environ, tuple).auth() is not None


def _has_nothing_elsewhere(folder: str) -> bool:
    found = state.read(folder)
    return found is None or found.remote_id is None


def _has_ended(folder: str) -> bool:
    identity = reading.json_file(os.path.join(folder, "run.json")) or {}
    return reading.ending(folder, identity, reading.state_of(folder, identity))[0] != RunStatus.RUNNING.value


def _place_of(folder: str) -> str | None:
    """Give where a run goes, without credentials: as ``runcontext sync`` was told, else as it was started."""
    found = state.read(folder)
    if found is not None:
        return found.uri
    try:
        place = (reading.json_file(os.path.join(folder, "run.json")) or {}).get("tracking_uri")
    except (OSError, ValueError, TypeError):
        return None
    return None if place is None else str(place)
