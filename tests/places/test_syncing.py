"""``runcontext sync``: what it does where a place, or what keeps its artifacts, is away for some runs or for all."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.places.shelf import Shelf, Shelves

import runcontext
from runcontext.errors import StoreUnavailableError
from runcontext.mirror.state import MirrorState
from runcontext.mirror.syncing import Synced, Syncing
from runcontext.tracking.local import LocalStore
from runcontext.tracking.store import NewRun, StoredRun


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """Give the store of local runs, whose providers say nothing."""
    monkeypatch.setenv("RUNCONTEXT_DISABLED", "1")
    monkeypatch.setenv("RUNCONTEXT_TRACKING_URI", str(tmp_path / "runs"))
    return LocalStore(str(tmp_path / "runs"))


class Pass:
    """A pass of ``runcontext sync`` to one shelf, and how long it paused."""

    def __init__(self, local: LocalStore, shelf: Shelf) -> None:
        """Send nothing yet."""
        self.pauses: list[float] = []
        self._uri = shelf.uri
        self._syncing = Syncing(local, [], sleep=self._sleep, open_store=lambda _: shelf)

    def _sleep(self, seconds: float) -> None:
        # What is on its way in a thread takes a moment.
        time.sleep(min(seconds, 0.01))
        if seconds >= 0.5:
            self.pauses.append(seconds)

    def send(self, *runs: runcontext.Run) -> list[Synced]:
        """Send these runs, and give what became of each."""
        return list(self._syncing.run([run.run_id for run in runs], self._uri))


@pytest.mark.parametrize("moment", ["before upload", "before batch", "before update"])
def test_a_run_that_a_place_takes_no_more_of_is_given_up(local: LocalStore, moment: str) -> None:
    """Whatever it is that fails however often it is tried, uploads among it, a pass has an end."""
    with runcontext.start_run() as run:
        run.set_tag("team", "vision")
        for name in "abcdefghijkl":
            run.log_text("text", f"{name}.txt")
    sync = Pass(local, Shelf(lambda now: "the disk is full" if now == moment else None))

    (synced,) = sync.send(run)

    assert (synced.status, synced.reason) == ("failed", "the disk is full")
    assert sync.pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_run_that_gets_on_is_not_given_up(local: LocalStore) -> None:
    """A place that takes something between its failures is tried on and on."""
    with runcontext.start_run() as run:
        for step in range(100):
            run.log_metric("loss", 1.0, step=step)
    moments = []

    def fails(moment: str) -> str | None:
        if moment != "before batch":
            return None
        moments.append(moment)
        return "busy" if len(moments) % 3 else None

    (synced,) = Pass(local, Shelf(fails)).send(run)

    assert synced.status == "sent"
    assert len(moments) > 30


@pytest.mark.parametrize(("asked", "pauses"), [(0, [0.5, 1.0, 2.0, 4.0]), (3, [3, 3, 3, 4.0]), (3_600, [60.0] * 4)])
def test_a_place_is_heeded_that_asks_for_more_time(local: LocalStore, asked: float, pauses: list[float]) -> None:
    """What a place asks for lengthens the pauses, up to a minute, and shortens none."""

    class Busy(Shelf):
        def create_run(self, run: NewRun) -> StoredRun:
            message = f"no time for {run.run_id}"
            raise StoreUnavailableError(message, retry_after_seconds=asked)

    with runcontext.start_run() as run:
        pass
    sync = Pass(local, Busy())

    sync.send(run)

    assert sync.pauses == pauses


def stuck(at: str) -> Shelf:
    """Give a shelf that fails at one moment, always."""
    return Shelf(lambda moment: "there is something about this run" if moment == at else None)


def three_runs() -> list[runcontext.Run]:
    """Make three runs, the oldest first."""
    runs = []
    for name in ("first", "second", "third"):
        with runcontext.start_run(run_name=name) as run:
            run.log_metric("loss", 1.0)
            run.log_text("text", "a.txt")
        runs.append(run)
    return runs


@pytest.mark.parametrize("moment", ["before create", "before batch", "before upload", "before update"])
def test_a_run_that_is_stuck_holds_up_no_other(local: LocalStore, moment: str) -> None:
    """What a place does not take of one run is that run's alone, and so is its reason."""
    runs = three_runs()
    shelves = Shelves(shelves={run.run_id: Shelf() for run in runs} | {runs[0].run_id: stuck(moment)})

    first, *others = Pass(local, shelves).send(*runs)

    assert (first.status, first.reason) == ("failed", "there is something about this run")
    assert [(each.status, each.reason) for each in others] == [("sent", None)] * 2


def test_a_journal_that_was_cut_off_holds_up_its_run_alone(local: LocalStore) -> None:
    """A fault of this machine is none of the place; what somebody can do about it is said."""
    runs = three_runs()
    shelves = Shelves(shelves={run.run_id: Shelf() for run in runs} | {runs[0].run_id: stuck("after batch")})
    Pass(local, shelves).send(runs[0])
    shelves.shelves[runs[0].run_id].fails = lambda _: None
    (journal,) = (runs[0].path / "events").glob("*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])

    first, *others = Pass(local, shelves).send(*runs)

    assert first.status == "failed"
    assert "delete the run at its place for good, and" in str(first.reason)
    assert [each.status for each in others] == ["sent", "sent"]


def test_a_place_that_is_away_is_waited_for_once(local: LocalStore) -> None:
    """Each run is tried, the first again and again: of a place that is away for one the others may get there."""
    runs = three_runs()
    sync = Pass(local, Shelf(lambda _: "the place is away"))

    assert [(each.status, each.reason) for each in sync.send(*runs)] == [("failed", "the place is away")] * 3
    assert len(sync.pauses) == 4


def test_a_run_inside_another_is_not_waited_for_where_that_is_not_there(local: LocalStore) -> None:
    """Its parent had its turn before: nothing that is waited for now would make it."""
    with runcontext.start_run() as outer, runcontext.start_run(nested=True) as inner:
        pass
    identity = outer.path / "run.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text()), "tracking_uri": Shelf.uri}))
    shelves = Shelves(shelves={outer.run_id: stuck("before create"), inner.run_id: Shelf()})
    sync = Pass(local, shelves)

    _, child = sync.send(outer, inner)

    assert child.status == "failed"
    assert "waits for its parent" in str(child.reason)
    assert len(sync.pauses) == 4


@pytest.mark.parametrize(
    ("known", "given", "opened"),
    [
        ("http://127.0.0.1:1", "http://ann:pw@127.0.0.1:1/", "http://ann:pw@127.0.0.1:1/"),
        ("http://[redacted]@Host:1", "http://ann:pw@host:1", "http://ann:pw@host:1"),
        ("http://[redacted]@host:1/a@b", "http://ann:pw@other:1", "http://host:1/a@b"),
        ("http://[redacted]@host:1", None, "http://host:1"),
    ],
)
def test_the_credentials_of_a_place_are_found(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch, known: str, given: str | None, opened: str
) -> None:
    """They are those of the URI that names the same place, however it is spelt, else those of MLflow's variables."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
    with runcontext.start_run() as run:
        pass
    MirrorState({"uri": known}).write(str(run.path))
    uris = []

    def open_store(uri: str) -> Shelf:
        uris.append(uri)
        return Shelf()

    (synced,) = Syncing(local, [given] if given else [], open_store=open_store).run([run.run_id])

    assert (synced.status, synced.uri) == ("sent", known)
    assert uris == [opened]


@pytest.mark.usefixtures("alone")
def test_credentials_that_nobody_names_are_asked_for(local: LocalStore) -> None:
    """A place that was given with credentials is not asked without any."""
    with runcontext.start_run() as run:
        pass
    MirrorState({"uri": "http://[redacted]@host:1"}).write(str(run.path))

    (synced,) = Syncing(local, [], open_store=lambda _: Shelf()).run([run.run_id])

    assert synced.status == "failed"
    assert "the credentials of http://[redacted]@host:1 are not on record: name the whole URI" in str(synced.reason)
