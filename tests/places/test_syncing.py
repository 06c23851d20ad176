"""``runcontext sync``: what it does where a place, or what keeps its artifacts, is away for some runs or for all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.places.shelf import Shelf

import runcontext
from runcontext.mirror.syncing import Synced, Syncing
from runcontext.tracking.local import LocalStore


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
        """Send these runs, and give what became of them."""
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
