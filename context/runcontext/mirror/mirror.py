"""One run on its way to the place of its tracking URI: does the next thing that is to be done, and remembers it.

Nothing is kept in memory alone that must not be lost: what was sent is in ``mirror.json``, and what is under way is
there before it is sent. Whoever takes over after a crash sends the same batch under the same number, as a repeat.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.mirror import batches, feed, state
from runcontext.mirror.state import MirrorState
from runcontext.mirror.uploads import Uploads
from runcontext.record import RunStatus
from runcontext.redaction import redact_text, redact_url
from runcontext.resolution import cut
from runcontext.tracking import local, reading
from runcontext.tracking.journal import NO_EVENT
from runcontext.tracking.store import Batch, BatchLimits, NewRun, Refusal, RunUpdate, StoredRun
from runcontext.tracking.uris import is_same_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from runcontext.artifacts.progress import TransferBar
    from runcontext.tracking.store import TrackingStore

ARTIFACT = "artifact"
_MOST_REFUSALS = 1_000
_HASH_DIGITS = 16


class ParentNotThereError(StoreUnavailableError):
    """A run whose parent is still to be made at the place: it comes after it."""


class PlaceAwayError(StoreUnavailableError):
    """A place that does not even make or find a run now: what holds this one up holds up the others there too."""


class Mirror:
    """One run of a local store, and the store that it is sent to.

    Args:
        folder: the run's folder.
        store: where to.
        place: the tracking URI that named it, without credentials: by it a later sender knows the place again.
        artifact_uri: where the user wants artifacts kept where the store leaves that open.
        default_experiment: gives the id of the store's experiment for a run whose user named none.
        progress: a bar that artifacts move on their way, where somebody looks on.
    """

    def __init__(
        self,
        folder: str,
        store: TrackingStore,
        place: str,
        *,
        artifact_uri: str | None = None,
        default_experiment: Callable[[], str | None] | None = None,
        progress: TransferBar | None = None,
    ) -> None:
        """Take up what an earlier sender left; nothing is sent yet.

        Raises:
            StoreError: the folder holds no run, or one that another place has.
        """
        self.folder = folder
        self._store = store
        self._place = place
        self._artifact_uri = artifact_uri
        self._default_experiment = default_experiment
        self._identity = _identity(folder)
        self.state = state.read(folder) or MirrorState({"uri": place})
        if not is_same_place(self.state.uri, place):
            message = f"run {self.run_id} is at {self.state.uri} already and cannot be sent to {place} too"
            raise StoreError(message)
        self.state.error, self.state.is_given_up = None, False
        self._known = reading.RunState(self._identity)
        for event in feed.tag_events(folder, self.state.offsets):
            self._known.apply(event)
        # Batches up to this number may have been taken, and up to that one surely.
        self._attempted = 0 if self.state.under_way is None else self.state.under_way["last"]
        self._taken = 0
        self._batches = 0
        self._stored: StoredRun | None = None
        self._uploads = Uploads(folder, progress)
        self._merged: dict[str, int] = {}
        self._is_changed = False

    @property
    def run_id(self) -> str:
        """The run's own id."""
        return str(self._identity["run_id"])

    @property
    def is_waiting(self) -> bool:
        """Whether nothing can be sent before an upload that is under way has ended."""
        return self._uploads.is_busy

    @property
    def is_caught_up(self) -> bool:
        """Whether all that there is by now is there, of a run that goes on too."""
        if self._uploads.is_busy or self._uploads.problem or state.unsent_bytes(self.folder, self.state):
            return False
        return not self._uploads.unsent(with_context=self._is_over())

    @property
    def progress(self) -> tuple[object, ...]:
        """What changes whenever the place has taken something more."""
        known = self.state
        return known.remote_id, self._batches, known.status, self._uploads.count, self._stored is None

    def step(self) -> bool:
        """Do the next things that are to be done, and say whether the place has all of the run now.

        Raises:
            StoreUnavailableError: not now; a later step goes on where this one stopped. It is a PlaceAwayError where
                the place does not make the run.
            StoreError: not before somebody has done something about it.
        """
        # After an error that somebody put on record.
        self._is_changed = self.state.error is not None
        self.state.error, self.state.is_given_up = None, False
        context = state.context_files(self.folder)
        stored = self._stored or self._create()
        self._send_events(stored)
        self._send_tags(stored)
        problem = self._send_artifacts(stored)
        # How the run ended is there, whatever keeps its artifacts here.
        is_complete = self._send_status(stored) and problem is None and self.is_caught_up
        if is_complete != self.state.is_complete or (is_complete and context != self.state.context):
            self.state.is_complete, self.state.context = is_complete, context
            self._is_changed = True
        if self._is_changed:
            self._keep()
        if problem is not None:
            raise problem
        if self._uploads.problem is not None and self._is_over():
            raise StoreError(self._uploads.problem)
        return is_complete

    def note_error(self, reason: str, *, is_given_up: bool) -> None:
        """Put on record why nothing goes on; a folder that cannot be written costs the record."""
        self.state.note_error(redact_text(reason), is_given_up=is_given_up)
        self._note()

    def note_warnings(self, warnings: Iterable[str]) -> None:
        """Put on record what the program's user is to know; a folder that cannot be written costs the record."""
        self.state.warnings += [each for each in map(redact_text, warnings) if each not in self.state.warnings]
        self._note()

    def _note(self) -> None:
        try:
            self.state.write(self.folder)
        except OSError:
            return

    def close(self) -> None:
        """Let go of what is under way; it is taken up again by whoever sends next."""
        self._uploads.close()

    # --- the run ------------------------------------------------------------------------------------------------

    def _create(self) -> StoredRun:
        identity = self._identity
        parent = identity.get("parent_run_id")
        new = NewRun(
            run_id=self.run_id,
            run_name=identity["run_name"],
            experiment_name=identity["experiment_name"],
            start_time=identity["start_time"],
            tags=self._cut_tags(identity["tags"]),
            parent_run_id=parent,
            parent_remote_id=self._parent_remote_id(parent),
            artifact_uri=self._artifact_uri,
            experiment_id=self._experiment_id(),
            remote_id=self.state.remote_id,
        )
        stored = self._made(new)
        if self.state.remote_id is None:
            self.state.tags = {key: _hash(value) for key, value in new.tags.items()}
        elif self.state.remote_id != stored.remote_id:
            message = (
                f"run {self.run_id} was {self.state.remote_id} at {self._place}, and that is gone; delete"
                f" {state.STATE_FILE} and {state.MANIFEST_FILE} in {self.folder} to have it sent anew"
            )
            raise StoreError(message)
        self._stored = stored
        shown = None if stored.artifact_uri is None else redact_url(stored.artifact_uri)
        self.state.remote_id, self.state.url = stored.remote_id, stored.url
        self.state.artifact_uri = shown
        self._keep()
        return stored

    def _made(self, new: NewRun) -> StoredRun:
        try:
            return self._store.create_run(new)
        except StoreUnavailableError as error:
            raise PlaceAwayError(str(error), retry_after_seconds=error.retry_after_seconds) from error

    def _experiment_id(self) -> str | None:
        is_named = self._identity.get("is_experiment_named", True)
        return None if is_named or self._default_experiment is None else self._default_experiment()

    def _parent_remote_id(self, parent: str | None) -> str | None:
        """Give the id that a run's parent has at the place, once it has one there."""
        if parent is None:
            return None
        folder = os.path.join(os.path.dirname(self.folder), parent)
        found = state.read(folder)
        is_here = found is not None and is_same_place(found.uri, self._place)
        if found is not None and is_here and found.remote_id is not None:
            return found.remote_id
        is_given_up = found is not None and (found.is_given_up or not is_here)
        if not is_given_up and is_same_place(_destination(folder) or "", self._place):
            message = f"run {self.run_id} waits for its parent {parent} to be made at {self._place}"
            raise ParentNotThereError(message)
        return None

    # --- events and tags ----------------------------------------------------------------------------------------

    def _send_events(self, stored: StoredRun) -> None:
        while True:
            under_way = self.state.under_way
            until = None if under_way is None else under_way["until"]
            entries = feed.new_entries(self.folder, self.state.offsets, until)
            if not entries:
                return
            # What is sent again is cut as it was, whatever the store takes by now.
            limits = self._store.limits if under_way is None else BatchLimits(*under_way["limits"])
            portion = list(batches.of_entries(entries, limits))
            if under_way is None:
                self._begin(entries, len(portion), limits)
            self._send(stored, portion)
            self._note_taken(entries)

    def _begin(self, entries: Iterable[feed.Entry], count: int, limits: BatchLimits) -> None:
        until: dict[str, int] = {}
        for entry in entries:
            until[entry.journal] = max(entry.end, until.get(entry.journal, 0))
        if not count:
            self.state.under_way = {"until": until, "first": 0, "last": self.state.sequence}
            return
        first = self.state.sequence + 1
        self.state.under_way = {"until": until, "first": first, "last": first + count - 1, "limits": astuple(limits)}
        try:
            self._keep()
        except StoreUnavailableError:
            # What is not on record must not be sent: whoever comes next would use its numbers again.
            self.state.under_way = None
            raise

    def _send(self, stored: StoredRun, portion: Iterable[Batch]) -> None:
        assert self.state.under_way is not None  # noqa: S101 - it has just begun
        first = self.state.under_way["first"]
        for batch in portion:
            sequence = first + batch.sequence - 1
            if sequence <= self._taken:
                continue
            is_repeat = sequence <= self._attempted
            self._attempted = max(sequence, self._attempted)
            numbered = Batch(sequence, batch.metrics, batch.params, is_repeat=is_repeat)
            self._log(stored, numbered)
            self._taken = sequence

    def _log(self, stored: StoredRun, batch: Batch) -> None:
        self._refused(self._store.log_batch(stored, batch))
        self._batches += 1

    def _note_taken(self, entries: Iterable[feed.Entry]) -> None:
        under_way = self.state.under_way
        assert under_way is not None  # noqa: S101 - as above
        self.state.sequence = under_way["last"]
        self.state.under_way = None
        self.state.offsets = {**self.state.offsets, **under_way["until"]}
        for entry in entries:
            if entry.event is not NO_EVENT:
                self._known.apply(entry.event)
        self.state.is_complete = False
        if under_way["first"]:
            self._keep()
        else:
            self._is_changed = True

    def _merge(self) -> None:
        """Settle, once the run is over, who was the last to set a tag of those that several processes set."""
        if len(self.state.offsets) > 1 and self._merged != self.state.offsets and self._is_over():
            self._merged = dict(self.state.offsets)
            self._known = reading.state_of(self.folder, self._identity)

    def _send_tags(self, stored: StoredRun) -> None:
        self._merge()
        wanted = self._cut_tags(self._tags())
        changed = {key: value for key, value in wanted.items() if self.state.tags.get(key) != _hash(value)}
        for portion in batches.of_tags(changed, self._store.limits):
            # The number is used up before it is sent: what a repeat would hold may be another by then.
            self.state.sequence += 1
            self._keep()
            self._log(stored, Batch(self.state.sequence, tags=portion))
            self.state.tags.update({key: _hash(value) for key, value in portion.items()})
            self.state.is_complete = False
            self._is_changed = True

    def _tags(self) -> dict[str, str]:
        context = reading.context_row(self.folder)
        reason = self._ending()[2]
        end_tags = {local.END_REASON_TAG: reason} if reason else {}
        return {**(context["tags"] if context else {}), **end_tags, **self._known.tags}

    def _cut_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {key: cut(value, self._store.limits.tag_characters) for key, value in tags.items()}

    def _send_artifacts(self, stored: StoredRun) -> StoreUnavailableError | None:
        """Have them sent, and give what keeps some of them here for now."""
        problem: StoreUnavailableError | None = None
        try:
            self._refused(self._uploads.advance(lambda: self._store.artifacts(stored), is_over=self._is_over()))
        except StoreUnavailableError as error:
            problem = error
        arrived = self._uploads.arrived()
        left = [each for each in self.state.refusals if each["kind"] != ARTIFACT or each["key"] not in arrived]
        if len(left) < len(self.state.refusals):
            self.state.refusals = left
            self._is_changed = True
        return problem

    def _refused(self, refusals: Iterable[Refusal]) -> None:
        for each in refusals:
            row = {"kind": each.kind, "key": each.key, "reason": redact_text(each.reason)}
            others = [known for known in self.state.refusals if (known["kind"], known["key"]) != (each.kind, each.key)]
            self.state.refusals = [*others, row][:_MOST_REFUSALS]
            self._is_changed = True

    # --- how it stands ------------------------------------------------------------------------------------------

    def _send_status(self, stored: StoredRun) -> bool:
        """Say there how the run stands, once nothing else is on its way, and whether it has ended."""
        status, end_time, _ = self._ending()
        name = self._known.tags.get("mlflow.runName") or self._identity["run_name"]
        wanted = [status, end_time, name]
        is_over = status != RunStatus.RUNNING.value
        # A run is made as one that goes on, under its first name.
        known = self.state.status or [RunStatus.RUNNING.value, None, self._identity["run_name"]]
        if wanted != known and not (is_over and self._uploads.is_busy):
            self._store.update_run(stored, RunUpdate(RunStatus(status), end_time, name))
            self.state.status = wanted
            self._is_changed = True
        return is_over and self.state.status == wanted

    def _is_over(self) -> bool:
        return self._ending()[0] != RunStatus.RUNNING.value

    def _ending(self) -> tuple[str, int | None, str | None]:
        return reading.ending(self.folder, self._identity, self._known)

    def _keep(self) -> None:
        try:
            self.state.write(self.folder)
            self._is_changed = False
        except OSError as error:
            message = f"cannot keep how far run {self.run_id} has been sent, in {self.folder}: {error}"
            raise StoreUnavailableError(message) from error


def _identity(folder: str) -> Mapping[str, Any]:
    identity = reading.json_file(os.path.join(folder, "run.json"))
    if identity is None:
        message = f"{folder} holds no run"
        raise StoreError(message)
    return identity


def _destination(folder: str) -> str | None:
    try:
        return _identity(folder).get("tracking_uri")
    except (StoreError, OSError, ValueError, TypeError):
        return None


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
