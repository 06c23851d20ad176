"""One run on its way to a store that fails in every way that a store may: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.places.shelf import SMALL, Shelf

import runcontext
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.mirror import feed, state
from runcontext.mirror.mirror import Mirror
from runcontext.mirror.opening import taken_up
from runcontext.mirror.uploads import CONTEXT_ARTIFACT
from runcontext.settings import put_in_force
from runcontext.tracking.store import BatchLimits, NewRun, RunUpdate, StoredRun


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder for local runs, whose providers say nothing."""
    monkeypatch.setenv("RUNCONTEXT_DISABLED", "1")
    monkeypatch.setenv("RUNCONTEXT_TRACKING_URI", str(tmp_path / "runs"))
    return tmp_path / "runs"


def logged_run(points: int = 40) -> runcontext.Run:
    """Make a run with all that a run can have."""
    with runcontext.start_run(run_name="sent", tags={"team": "vision"}) as run:
        for step in range(points):
            run.log_metric("loss", 1 / (step + 1), step=step)
            if step % 5 == 0:
                run.log_params({f"p{step}": step, "long": "x" * 7_000})
                run.set_tag(f"t{step % 10}", step)
        run.log_metric("last", float("nan"))
        run.log_text("weights", "model/weights.txt")
        run.log_text("", "empty.txt")
    return run


def mirror_of(run: runcontext.Run, shelf: Shelf) -> Mirror:
    """Take up a run as a process does that sends it."""
    return Mirror(str(run.path), shelf, shelf.uri)


def all_points(run: runcontext.Run) -> list[tuple[str, float, int, int]]:
    """Give every point of a run as its journals have it."""
    found = []
    for entry in feed.new_entries(str(run.path), {}):
        for key, value in entry.event.get("metrics", {}).items():
            found.append((key, float(value), entry.event.get("at", entry.event["t"]), entry.event.get("step", 0)))
    return found


def sent(mirror: Callable[[], Mirror], attempts: int = 2_000) -> int:
    """Step until all is there, as one process or as many; give how many steps that took."""
    one = mirror()
    for attempt in range(attempts):
        try:
            if one.step():
                one.close()
                return attempt
        except StoreUnavailableError as error:
            if "dies" in str(error):
                one.close()
                one = mirror()
    pytest.fail("the run was never sent whole")


def until_raises(mirror: Mirror) -> None:
    """Step until the mirror says why it goes no further, with no upload on its way."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            mirror.step()
        except StoreUnavailableError:
            if not mirror.is_waiting:
                raise
        time.sleep(0.005)


def assert_same(run: runcontext.Run, shelf: Shelf) -> None:
    """Hold the store's run against the local one."""
    record = run.to_record()
    assert sorted(map(str, shelf.points)) == sorted(map(str, all_points(run)))
    assert shelf.params == {**record.params, "long": shelf.params["long"]}
    assert len(shelf.params["long"]) == SMALL.param_characters
    tags = {**shelf.runs[run.run_id].tags, **shelf.tags}
    assert tags == record.tags
    assert shelf.files.keys() == {"model/weights.txt", "empty.txt", CONTEXT_ARTIFACT}
    assert shelf.updates[-1] == RunUpdate(record.status, record.end_time, "sent")
    assert len(shelf.runs) == 1


@pytest.mark.usefixtures("local")
def test_all_of_a_run_is_sent_once() -> None:
    """Points, params, tags, artifacts, context and end: all there, in batches that the store takes."""
    run, shelf = logged_run(), Shelf()

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)
    known = state.read(str(run.path))
    assert known is not None
    assert known.is_complete
    assert state.is_all_sent(str(run.path), known)
    assert state.unsent(str(run.path), known) == ""
    record = run.to_record()
    assert (record.remote_id, record.url) == ("there-1", f"http://shelf/{run.run_id}")
    assert record.is_mirrored


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("local")
def test_whatever_fails_nothing_is_lost_and_nothing_is_there_twice(seed: int) -> None:
    """A store that fails before or after it has acted, and a sender that dies at any moment, change nothing."""
    dice = random.Random(seed)

    def fails(moment: str) -> str | None:
        return dice.choice(["away", "away", "dies"]) + f" {moment}" if dice.random() < 0.4 else None

    run, shelf = logged_run(), Shelf(fails)

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)


@pytest.mark.usefixtures("local")
def test_a_sender_goes_on_where_another_stopped() -> None:
    """What was sent before is not sent again: only what was logged since."""
    shelf = Shelf()
    with runcontext.start_run(run_name="sent") as run:
        run.log_metric("a", 1.0, step=1)
        first = mirror_of(run, shelf)
        first.step()
        assert first.is_caught_up
        assert shelf.points == all_points(run)
        taken = list(shelf.sequences)
        run.log_metric("a", 2.0, step=2)
        mirror_of(run, shelf).step()
        assert shelf.points == all_points(run)
        assert [each.metrics[0].step for number, each in shelf.contents.items() if number not in taken] == [2]
    sent(lambda: mirror_of(run, shelf))
    assert shelf.points == all_points(run)


@pytest.mark.usefixtures("local")
def test_a_running_run_is_there_as_running_and_a_resumed_one_again() -> None:
    """The place learns how a run stands: at its end, and when it is taken up again."""
    shelf = Shelf()
    with runcontext.start_run(run_name="sent") as run:
        mirror_of(run, shelf).step()
        assert shelf.updates == []
    sent(lambda: mirror_of(run, shelf))
    with runcontext.start_run(run_id=run.run_id) as again:
        again.log_metric("more", 1.0)
        mirror = mirror_of(run, shelf)
        assert not mirror.step()
        assert shelf.updates[-1].status is runcontext.RunStatus.RUNNING
    sent(lambda: mirror)
    assert [each.status.value for each in shelf.updates] == ["FINISHED", "RUNNING", "FINISHED"]


@pytest.mark.usefixtures("local")
def test_what_a_store_never_takes_is_on_record_and_the_rest_goes_on() -> None:
    """A refused param costs that param; who it was and why can be read."""
    run, shelf = logged_run(), Shelf(refuses={"p5"})

    sent(lambda: mirror_of(run, shelf))

    known = state.read(str(run.path))
    assert known is not None
    assert known.refusals == [{"kind": "param", "key": "p5", "reason": "not taken"}]
    assert known.is_complete
    assert shelf.params.keys() == run.to_record().params.keys() - {"p5"}


@pytest.mark.usefixtures("local")
def test_a_torn_last_line_does_not_keep_a_run_from_being_whole() -> None:
    """A process that was killed in mid-write leaves half a line: it is nothing that could be sent."""
    run, shelf = logged_run(), Shelf()
    (journal,) = (run.path / "events").glob("*.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"t":17,"metr')

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)
    assert state.is_all_sent(str(run.path), state.read(str(run.path)))


@pytest.mark.usefixtures("local")
def test_a_run_is_sent_to_one_place() -> None:
    """A run that another place has is not sent to a second one: its numbers and offsets are of the first."""
    run = logged_run()
    sent(lambda: mirror_of(run, Shelf()))

    with pytest.raises(StoreError, match="is at shelf: already"):
        mirror_of(run, Shelf(uri="other:"))


@pytest.mark.usefixtures("local")
def test_a_place_is_known_again_however_it_is_spelt() -> None:
    """A run that is resumed with the credentials in the URI, or with another case of the host, is at the same place."""
    shelf = Shelf(uri="http://shelf:5000")
    with runcontext.start_run(run_name="sent") as run:
        mirror_of(run, shelf).step()
    shelf.uri = "HTTP://[redacted]@Shelf:5000/"

    sent(lambda: mirror_of(run, shelf))

    assert shelf.made == 1
    assert state.is_all_sent(str(run.path), state.read(str(run.path)))


@pytest.mark.usefixtures("local")
def test_a_run_that_was_deleted_there_is_not_made_again() -> None:
    """Somebody deleted it at the place: who sends next says so and what to do, and sends nothing into another."""
    run, shelf = logged_run(), Shelf()
    sent(lambda: mirror_of(run, shelf))
    shelf.runs.clear()

    taken = len(shelf.sequences)

    with pytest.raises(StoreError, match="there-1 at shelf:, and that is gone; delete mirror"):
        mirror_of(run, shelf).step()
    assert len(shelf.sequences) == taken


@pytest.mark.usefixtures("local")
def test_a_run_that_is_there_is_asked_for_by_its_id_there() -> None:
    """The id that a place gave a run goes with it from the second sender on."""
    run = logged_run()
    asked: list[str | None] = []

    class Asked(Shelf):
        def create_run(self, run: NewRun) -> StoredRun:
            asked.append(run.remote_id)
            return super().create_run(run)

    shelf = Asked()
    for _ in range(2):
        sent(lambda: mirror_of(run, shelf))
    assert asked == [None, "there-1"]


@pytest.mark.usefixtures("local")
def test_an_artifact_that_changes_is_sent_again() -> None:
    """The place has the last version; one that did not change is not sent twice."""
    shelf = Shelf()
    with runcontext.start_run() as run:
        run.log_text("one", "last.txt")
        run.log_text("kept", "kept.txt")
    sent(lambda: mirror_of(run, shelf))
    del shelf.files["kept.txt"]
    with runcontext.start_run(run_id=run.run_id) as again:
        again.log_text("two, and longer", "last.txt")
    sent(lambda: mirror_of(run, shelf))

    assert shelf.files["last.txt"] == b"two, and longer"
    assert "kept.txt" not in shelf.files


@pytest.mark.usefixtures("local")
def test_an_artifact_of_the_same_size_and_time_is_sent_again(tmp_path: Path) -> None:
    """What is logged again under one name is there in its last version, whatever its own time of change says."""
    shelf, source = Shelf(), tmp_path / "weights"
    run_id = None
    for content in ("one", "two"):
        source.write_text(content, encoding="utf-8")
        os.utime(source, (1_700_000_000, 1_700_000_000))
        with runcontext.start_run(run_id=run_id) as run:
            run.log_artifact(source)
        sent(lambda run=run: mirror_of(run, shelf))
        assert shelf.files["weights"] == content.encode()
        run_id = run.run_id


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("name", ["data.1-2.tmp", "n" * 255])
def test_an_artifact_of_any_name_is_sent(name: str, tmp_path: Path) -> None:
    """A file that is called much like our temporary ones, or as long as may be, is logged and sent like any other."""
    (tmp_path / name).write_text("kept", encoding="utf-8")
    shelf = Shelf()
    with runcontext.start_run() as run:
        run.log_artifact(tmp_path / name)
        run.log_text("a text", f"texts/{name}")
    sent(lambda: mirror_of(run, shelf))
    assert shelf.files[name] == b"kept"
    assert shelf.files[f"texts/{name}"] == b"a text"


@pytest.mark.usefixtures("local")
def test_no_secret_is_in_what_is_kept_of_a_place() -> None:
    """mirror.json names the place and its error without credentials."""
    run = logged_run()
    secret = "hunter2-of-anna"  # noqa: S105 - nobody's

    class Refusing(Shelf):
        def create_run(self, run: NewRun) -> StoredRun:
            message = f"password of postgresql://anna:{secret}@db/{run.run_id} is wrong"
            raise StoreError(message)

    mirror = mirror_of(run, Refusing(uri="postgresql://anna:[redacted]@db/runs"))
    with pytest.raises(StoreError) as raised:
        mirror.step()
    mirror.note_error(str(raised.value), is_given_up=True)

    text = (run.path / state.STATE_FILE).read_text()
    assert secret not in text
    assert "postgresql://anna:[redacted]@db" in json.loads(text)["error"]


@pytest.mark.usefixtures("local")
def test_artifacts_go_where_the_run_was_started_to_keep_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever sends a run later has settings and a folder of its own; only credentials are taken from there."""
    monkeypatch.setenv("RUNCONTEXT_OFFLINE", "1")
    monkeypatch.setenv("RUNCONTEXT_LOCAL_STORE", str(tmp_path / "runs"))

    def made_with(started: str, later: str) -> str | None:
        monkeypatch.setenv("RUNCONTEXT_ARTIFACT_URI", started)
        with runcontext.start_run(tracking_uri="http://shelf") as run:
            pass
        put_in_force(None)
        monkeypatch.setenv("RUNCONTEXT_ARTIFACT_URI", later)
        shelf = Shelf()
        sent(lambda: taken_up(str(run.path), shelf, shelf.uri))
        assert "hunter2" not in (run.path / "run.json").read_text(encoding="utf-8")
        return shelf.runs[run.run_id].artifact_uri

    assert made_with("wanted", "/elsewhere") == os.path.abspath("wanted")
    assert made_with("s3://bucket/x", "") == "s3://bucket/x"
    assert made_with("", "s3://bucket/x") == "s3://bucket/x"
    whole = "sftp://anna:hunter2@host/x"
    assert made_with(whole, whole) == whole
    with pytest.raises(StoreError, match=r"anna:\[redacted\]@host/x are not on record: .* RUNCONTEXT_ARTIFACT_URI"):
        made_with(whole, "sftp://anna:hunter2@other/x")


@pytest.mark.usefixtures("local")
def test_parents_come_first() -> None:
    """A run waits for its parent to be there, and names it by its id there."""
    shelf = Shelf()
    with runcontext.start_run() as outer, runcontext.start_run(nested=True) as inner:
        pass
    for run in (outer, inner):
        file = run.path / "run.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "tracking_uri": shelf.uri}))

    with pytest.raises(StoreUnavailableError, match="waits for its parent"):
        mirror_of(inner, shelf).step()
    sent(lambda: mirror_of(outer, Shelf()))
    sent(lambda: mirror_of(inner, shelf))

    assert shelf.runs[inner.run_id].parent_remote_id == "there-1"
    assert "mlflow.parentRunId" not in shelf.tags


@pytest.mark.usefixtures("local")
def test_nothing_is_sent_that_could_not_be_put_on_record() -> None:
    """A full disk holds a batch back: whoever comes next would use its number for something else."""
    shelf = Shelf()
    with runcontext.start_run(run_name="sent") as run:
        run.log_metric("a", 1.0, step=1)
        mirror = mirror_of(run, shelf)
        mirror.step()
        known = run.path / state.STATE_FILE
        kept = known.read_bytes()
        known.unlink()
        known.mkdir()
        run.log_metric("a", 2.0, step=2)
        taken = list(shelf.sequences)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match="cannot keep how far"):
                mirror.step()
        assert shelf.sequences == taken
        known.rmdir()
        known.write_bytes(kept)
        run.log_metric("a", 3.0, step=3)
    sent(lambda: mirror_of(run, shelf))

    assert sorted(shelf.points) == sorted(all_points(run))


@pytest.mark.parametrize("metrics", [3, 100])
@pytest.mark.usefixtures("local")
def test_what_is_sent_again_is_cut_as_it_was(metrics: int) -> None:
    """A store that takes more or less at once by now, as after an upgrade, gets the same batches again."""
    run = logged_run()
    failing = Shelf(lambda moment: "away" if moment == "after batch" and len(failing.sequences) == 2 else None)
    with pytest.raises(StoreUnavailableError):
        mirror_of(run, failing).step()
    failing.fails = lambda _: None
    failing.limits = BatchLimits(metrics=metrics, params=3, tags=4, total=metrics + 2)

    sent(lambda: mirror_of(run, failing))

    assert sorted(map(str, failing.points)) == sorted(map(str, all_points(run)))


@pytest.mark.usefixtures("local")
def test_a_journal_that_cannot_be_read_is_waited_for() -> None:
    """What was sent without an answer is sent again whole, or not yet: a part of it would pass for all."""
    run = logged_run()
    shelf = Shelf(lambda moment: "away" if moment == "after batch" else None)
    with pytest.raises(StoreUnavailableError):
        mirror_of(run, shelf).step()
    shelf.fails = lambda _: None
    (journal,) = (run.path / "events").glob("*.jsonl")
    aside = journal.rename(run.path / "aside")
    for stand_in in (journal.mkdir, journal.rmdir):
        stand_in()
        with pytest.raises(StoreUnavailableError, match="journal"):
            mirror_of(run, shelf).step()
    aside.rename(journal)

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)


@pytest.mark.usefixtures("local")
def test_a_parent_that_could_not_be_made_yet_is_waited_for() -> None:
    """A first attempt in vain has left its reason in the parent's folder: the child still comes after it."""
    shelf = Shelf()
    with runcontext.start_run() as outer, runcontext.start_run(nested=True) as inner:
        pass
    file = outer.path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tracking_uri": shelf.uri}))
    state.note_error(str(outer.path), shelf.uri, "away", is_given_up=False)
    with pytest.raises(StoreUnavailableError, match="waits for its parent"):
        mirror_of(inner, shelf).step()

    state.note_error(str(outer.path), shelf.uri, "refused", is_given_up=True)
    assert not shelf.runs
    mirror_of(inner, shelf).step()
    assert shelf.runs[inner.run_id].parent_remote_id is None


@pytest.mark.usefixtures("local")
def test_where_no_artifact_can_go_the_rest_is_there() -> None:
    """A missing library or bucket keeps artifacts here, as still to be sent; events and status are there."""
    run = logged_run()

    class WithoutArtifacts(Shelf):
        has_place = False

        def artifacts(self, run: StoredRun) -> Shelf:
            if not self.has_place:
                message = "artifacts at nowhere: need a library"
                raise StoreError(message)
            return super().artifacts(run)

    shelf = WithoutArtifacts()
    mirror = mirror_of(run, shelf)
    with pytest.raises(StoreError, match="need a library"):
        mirror.step()
    assert shelf.updates[-1].status.value == "FINISHED"
    assert len(shelf.points) == len(all_points(run))
    assert state.unsent(str(run.path), state.read(str(run.path))).endswith("artifacts")
    shelf.has_place = True

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)


@pytest.mark.usefixtures("local")
def test_how_a_run_ended_is_there_while_its_artifacts_fail() -> None:
    """Where artifacts are kept is away: all else is there, its status too, and the artifacts are still to be sent."""
    run = logged_run()
    shelf = Shelf(lambda moment: "no room" if moment == "before upload" else None)
    mirror = mirror_of(run, shelf)

    with pytest.raises(StoreUnavailableError, match="no room"):
        until_raises(mirror)

    assert [each.status.value for each in shelf.updates] == ["FINISHED"]
    assert len(shelf.points) == len(all_points(run))
    assert state.unsent(str(run.path), state.read(str(run.path))) == "2 artifacts"
    shelf.fails = lambda _: None

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)


@pytest.mark.usefixtures("local")
def test_what_the_place_as_a_whole_does_not_take_is_still_to_be_sent() -> None:
    """Credentials that expire in the middle refuse no artifact: the rest stays to be sent, and why is on record."""
    run = logged_run()

    class Expiring(Shelf):
        has_expired = True

        def upload_file(self, local_path: str, artifact_path: str) -> None:
            if self.has_expired and artifact_path != "empty.txt":
                message = "artifacts at shelf: ExpiredToken; check the credentials"
                raise StoreUnusableError(message)
            super().upload_file(local_path, artifact_path)

    shelf = Expiring()
    with pytest.raises(StoreError, match="ExpiredToken"):
        sent(lambda: mirror_of(run, shelf))
    known = state.read(str(run.path))
    assert known is not None
    assert known.refusals == []
    assert not known.is_complete
    assert state.unsent(str(run.path), known) == "1 artifact"
    shelf.has_expired = False

    sent(lambda: mirror_of(run, shelf))

    assert_same(run, shelf)


@pytest.mark.usefixtures("local")
def test_a_refusal_is_taken_back_when_the_artifact_arrives() -> None:
    """What a place did not take yesterday and takes today is not called refused."""
    run = logged_run()

    class Choosy(Shelf):
        hates = "empty.txt"

        def upload_file(self, local_path: str, artifact_path: str) -> None:
            if artifact_path == self.hates:
                message = f"{artifact_path} is no name here"
                raise StoreError(message)
            super().upload_file(local_path, artifact_path)

    shelf = Choosy()
    sent(lambda: mirror_of(run, shelf))
    known = state.read(str(run.path))
    assert known is not None
    assert known.refusals == [{"kind": "artifact", "key": "empty.txt", "reason": "empty.txt is no name here"}]
    shelf.hates = ""

    sent(lambda: mirror_of(run, shelf))

    known = state.read(str(run.path))
    assert known is not None
    assert known.refusals == []
    assert_same(run, shelf)


@pytest.mark.usefixtures("local")
def test_a_context_that_comes_later_makes_a_run_incomplete_again() -> None:
    """Facts that a provider gives after the end of the run are sent too."""
    run, shelf = logged_run(), Shelf()
    sent(lambda: mirror_of(run, shelf))
    file = run.path / "context.json"
    row = json.loads(file.read_text())
    file.write_text(json.dumps({**row, "tags": {**row["tags"], "late.fact": "yes"}}))
    assert not state.is_all_sent(str(run.path), state.read(str(run.path)))
    assert state.unsent(str(run.path), state.read(str(run.path))) == "its context"

    sent(lambda: mirror_of(run, shelf))

    assert shelf.tags["late.fact"] == "yes"
    assert state.is_all_sent(str(run.path), state.read(str(run.path)))
