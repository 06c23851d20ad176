"""Many files on their way: all arrive, none twice, none out of the folder; and how far it is shows on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.places import file_systems
from tests.places.servers_kept import clean_environment
from tests.places.throwaway import new_site

import runcontext
from runcontext.artifacts import transfer
from runcontext.artifacts.local import LocalRepository
from runcontext.artifacts.progress import TransferBar, nothing
from runcontext.artifacts.remote import RemoteRepository
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.mirror import state
from runcontext.mirror.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.tracking.store import Refusal


class Hostile:
    """A place that lists whatever it is told to, and gives the same bytes for everything; it may fail at first."""

    uri = "hostile:"

    def __init__(self, listings: dict[str | None, Sequence[ArtifactInfo]], *, fails: int = 0) -> None:
        """Tell it what to list in each folder."""
        self.listings = listings
        self.fails = fails
        self.fetched: list[str] = []
        self._lock = threading.Lock()

    def upload_file(self, local_path: str, artifact_path: str) -> None:
        with self._lock:
            if "bad" in local_path:
                message = f"{artifact_path} is refused"
                raise StoreError(message)
            self.fails -= 1
            if self.fails >= 0:
                message = f"{artifact_path}: busy"
                raise StoreUnavailableError(message, retry_after_seconds=0.001)
            self.fetched.append(artifact_path)

    def download_file(self, artifact_path: str, local_path: str) -> None:
        self.upload_file(local_path, artifact_path)
        os.makedirs(os.path.dirname(local_path), exist_ok=True)
        with open(local_path, "wb") as file:
            file.write(b"12345")

    def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
        return self.listings.get(path, ())

    def close(self) -> None:
        pass


def entry(path: str, size: int | None = 5) -> ArtifactInfo:
    """Give a file as a listing does."""
    return ArtifactInfo(path, is_dir=False, size_bytes=size)


def tree(folder: Path, count: int) -> list[str]:
    """Make files in folders, and give their paths below it."""
    paths = [f"{number % 3}/{number % 2}/{number}.txt" for number in range(count)]
    for number, path in enumerate(paths):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"file {number}", encoding="utf-8")
    return paths


def upload(run_folder: Path, place: ArtifactRepository, progress: TransferBar | None = None) -> list[Refusal]:
    """Send what is in a run's artifacts until all is there but for what is refused, which is given."""
    uploads, refusals = Uploads(str(run_folder), progress), []
    until = time.monotonic() + 60
    while uploads.is_busy or uploads.unsent(with_context=False):
        assert time.monotonic() < until
        try:
            refusals += uploads.advance(lambda: place, is_over=True)
        except StoreUnavailableError:
            continue
    uploads.close()
    return refusals + uploads.advance(lambda: place, is_over=True)


def test_all_files_go_there_and_come_back(tmp_path: Path) -> None:
    """The folders are the same at the end."""
    paths = tree(tmp_path / "run" / "artifacts", 50)
    repository = LocalRepository(str(tmp_path / "place"))
    assert upload(tmp_path / "run", repository) == []
    found = transfer.download(repository, None, str(tmp_path / "back"))
    assert found == str(tmp_path / "back")
    for path in paths:
        assert (tmp_path / "back" / path).read_bytes() == (tmp_path / "run" / "artifacts" / path).read_bytes()


def test_what_is_on_record_is_not_sent_again(tmp_path: Path) -> None:
    """By a later sender; a file that has changed since is, and a torn last line of the record does no harm."""
    paths = tree(tmp_path / "artifacts", 10)
    place = Hostile({})
    upload(tmp_path, place)
    assert sorted(place.fetched) == sorted(paths)
    with (tmp_path / state.MANIFEST_FILE).open("a", encoding="utf-8") as file:
        file.write('["torn')
    place.fetched.clear()
    (tmp_path / "artifacts" / paths[3]).write_text("changed", encoding="utf-8")
    upload(tmp_path, place)
    assert place.fetched == [paths[3]]


def test_what_is_refused_costs_itself_only(tmp_path: Path) -> None:
    """Each that is refused is told with the reason, every other file is there, and none is sent without end."""
    tree(tmp_path / "artifacts", 3)
    for name in ("bad1", "bad2"):
        (tmp_path / "artifacts" / name).touch()
    place = Hostile({})
    refusals = upload(tmp_path, place)
    assert sorted(each.key for each in refusals) == ["bad1", "bad2"]
    assert {each.reason for each in refusals} == {"bad1 is refused", "bad2 is refused"}
    assert sorted(place.fetched) == ["0/0/0.txt", "1/1/1.txt", "2/0/2.txt"]


def test_a_busy_place_is_asked_again_as_often_as_allowed(tmp_path: Path) -> None:
    """Once unless told otherwise."""
    with pytest.raises(StoreUnavailableError):
        transfer.download(Hostile({None: [entry("x")]}, fails=1), None, str(tmp_path))
    place = Hostile({None: [entry("x")]}, fails=3)
    transfer.download(place, None, str(tmp_path), attempts=4)
    assert place.fetched == ["x"]


def test_of_several_failures_all_are_counted(tmp_path: Path) -> None:
    """All are named, the first's reason is told, and every other file is there."""
    place = Hostile({None: [entry(each) for each in ("bad1", "good1", "bad2", "good2")]})
    said = r"^2 files were not downloaded \(hostile:\): 'bad[12]', 'bad[12]'; the first: bad"
    with pytest.raises(StoreError, match=said):
        transfer.download(place, None, str(tmp_path))
    assert sorted(place.fetched) == ["good1", "good2"]


def test_one_file_or_folder_keeps_its_path(tmp_path: Path) -> None:
    """As MLflow's download_artifacts does; what is not there is said."""
    repository = LocalRepository(str(tmp_path / "place"))
    tree(tmp_path / "place", 6)
    found = transfer.download(repository, "1/1/1.txt", str(tmp_path / "one"))
    assert found == str(tmp_path / "one" / "1" / "1" / "1.txt")
    assert [each.name for each in (tmp_path / "one").rglob("*.txt")] == ["1.txt"]
    transfer.download(repository, "2", str(tmp_path / "folder"))
    assert sorted(each.name for each in (tmp_path / "folder").rglob("*.txt")) == ["2.txt", "5.txt"]
    with pytest.raises(StoreError, match=r"no artifact '1/nothing'"):
        transfer.download(repository, "1/nothing", str(tmp_path / "none"))


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "a//b", "", ".", "..", "x\0y", "b/deeper"])
def test_a_listing_that_leads_out_costs_that_entry(path: str, tmp_path: Path) -> None:
    """Whether it is said to be a file or a folder: nothing is written for it, and every other file is there."""
    for is_dir in (False, True):
        place = Hostile({None: [ArtifactInfo(path, is_dir=is_dir, size_bytes=None), entry("fine")], path: [entry("x")]})
        with pytest.raises(StoreError, match="hostile:"):
            transfer.download(place, None, str(tmp_path / "to"))
        assert place.fetched == ["fine"]
        assert [each.name for each in tmp_path.rglob("*")] == ["to", "fine"]


def test_a_folder_that_cannot_be_listed_costs_itself_only(tmp_path: Path) -> None:
    """It is named; a place that has gone meanwhile ends the download, as it would end the rest of it."""

    class Closed(Hostile):
        def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
            if path in {"closed", "gone"}:
                message = f"{path} cannot be listed"
                raise (StoreError if path == "closed" else StoreUnavailableError)(message)
            return super().list_artifacts(path)

    listings = {None: [ArtifactInfo("closed", is_dir=True, size_bytes=None), entry("fine")]}
    place = Closed(listings)
    with pytest.raises(StoreError, match=r"^closed cannot be listed"):
        transfer.download(place, None, str(tmp_path / "to"))
    assert place.fetched == ["fine"]
    listings[None].append(ArtifactInfo("gone", is_dir=True, size_bytes=None))
    with pytest.raises(StoreUnavailableError, match=r"^gone cannot be listed"):
        transfer.download(Closed(listings), None, str(tmp_path / "to"))


@pytest.mark.parametrize("name", ["a\\b", "C:x", "c:\\x", "..\\x", "NUL", "end."])
def test_names_of_windows_are_refused_there_only(name: str, tmp_path: Path) -> None:
    """There they lead elsewhere, or are no names; everywhere else they are names as any other."""
    place = Hostile({None: [entry(name), entry("fine")]})
    with pytest.raises(StoreError, match="Windows"):
        transfer.download(place, None, str(tmp_path / "there"), is_windows=True)
    assert os.listdir(tmp_path / "there") == ["fine"]
    transfer.download(place, None, str(tmp_path / "here"), is_windows=False)
    assert sorted(os.listdir(tmp_path / "here")) == sorted(["fine", name])


def test_names_that_are_no_unicode_text_come_back(tmp_path: Path) -> None:
    """As bytes they are what they were: on Linux a name may be in any encoding."""
    name = os.fsdecode(b"gr\xfcn.txt")
    os.makedirs(tmp_path / "place" / name)
    (tmp_path / "place" / name / name).write_bytes(b"green")
    repository = LocalRepository(str(tmp_path / "place"), is_windows=False)
    assert [each.path for each in repository.list_artifacts(name)] == [f"{name}/{name}"]
    found = transfer.download(repository, None, str(tmp_path / "back"))
    with open(os.path.join(found, name, name), "rb") as file:
        assert file.read() == b"green"
    with pytest.raises(StoreError, match="no Unicode text"):
        RemoteRepository("s3://bucket/x").list_artifacts(name)


def test_a_link_in_the_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    """Whoever put it there: nothing is written where it leads."""
    (tmp_path / "to").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to" / "link").symlink_to(tmp_path / "elsewhere")
    place = Hostile({None: [ArtifactInfo("link", is_dir=True, size_bytes=None)], "link": [entry("link/x")]})
    with pytest.raises(StoreError, match="out of"):
        transfer.download(place, None, str(tmp_path / "to"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    """A place whose folders lie in a circle."""

    class Circle(Hostile):
        def list_artifacts(self, path: str | None = None) -> Sequence[ArtifactInfo]:
            return [ArtifactInfo(f"{path}/x" if path else "x", is_dir=True, size_bytes=None)]

    with pytest.raises(StoreError, match="without end"):
        transfer.download(Circle({}), None, str(tmp_path / "to"))


def test_where_no_folder_can_be_made_is_said(tmp_path: Path) -> None:
    """A file of that name, or one above it: what is expected is said."""
    (tmp_path / "file").touch()
    for folder in ("file", "file/below"):
        with pytest.raises(StoreError, match=f"cannot download into {tmp_path}/{folder} .* is expected"):
            transfer.download(Hostile({None: [entry("x")]}), None, str(tmp_path / folder))


def test_another_size_than_listed_is_said(tmp_path: Path) -> None:
    """Where the place itself has no way to check."""
    with pytest.raises(StoreUnavailableError, match="listed with 7 bytes and arrived with 5"):
        transfer.download(Hostile({None: [entry("x", 7)]}), None, str(tmp_path / "to"))


def test_what_is_there_with_the_same_checksum_is_not_fetched_again(tmp_path: Path) -> None:
    """Asked of a place that has checksums; where it has none, the file is fetched."""

    class Knowing(Hostile):
        def holds(self, artifact_path: str, local_path: str) -> bool:
            with open(local_path, "rb") as file:
                return artifact_path == "same" and file.read() == b"12345"

    place = Knowing({None: [entry("same"), entry("other")]})
    transfer.download(place, None, str(tmp_path / "to"))
    transfer.download(place, None, str(tmp_path / "to"))
    assert sorted(place.fetched) == ["other", "other", "same"]


SLOW = """
import sys, threading, time
from runcontext.artifacts import ranged, transfer
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError

def say(word):
    sys.stdout.write(word + chr(10))
    sys.stdout.flush()

def read(begin, end):
    say("begun")
    time.sleep(600)

class Slow:
    uri, reports_bytes = "slow:", True

    def list_artifacts(self, path=None):
        return [ArtifactInfo("x", is_dir=False, size_bytes=None)]

    def download_file(self, artifact_path, local_path, *, on_bytes):
        if sys.argv[1] == "silent":
            read(0, 1)
        say("begun")
        try:
            while True:
                on_bytes(1)
                time.sleep(0.01)
        except StoreError:
            say("stopped")
            stopped.set()
            raise

stopped = threading.Event()
try:
    if sys.argv[1] == "blocks":
        list(ranged.blocks(read, 0, 10, 2, 2))
    else:
        transfer.download(Slow(), None, "to", attempts=4)
except KeyboardInterrupt:
    # Nobody waits for it for long; that it stops is seen here.
    if sys.argv[1] == "telling":
        stopped.wait(20)
    raise
"""


@pytest.mark.parametrize("how", ["telling", "silent", "blocks"])
def test_ctrl_c_ends_a_download(how: str, tmp_path: Path) -> None:
    """At once, and the program too, however long what is under way would take; who tells of bytes is stopped."""
    command = [sys.executable, "-c", SLOW, how]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert ("stopped" in stdout) == (how == "telling")


class Screen(io.StringIO):
    """A terminal that remembers what it was shown, and says when that was something."""

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self.shown = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "sending" in text:
            self.shown.set()
        return super().write(text)


def test_a_long_transfer_shows_a_bar_on_a_terminal() -> None:
    """After some time, and it is gone at the end."""
    screen = Screen()
    with TransferBar("sending", stream=screen, patience_seconds=0.0) as bar:
        bar.expect(100)
        bar.advance(40)
        assert screen.shown.wait(30)
    assert "40" in screen.getvalue()


def test_a_short_one_and_one_in_a_pipe_show_nothing() -> None:
    """Whatever is advanced."""
    screen, pipe = Screen(), io.StringIO()
    for stream, patience in ((screen, 1_000.0), (pipe, 0.0)):
        with TransferBar("sending", stream=stream, patience_seconds=patience) as bar:
            bar.expect(1)
            bar.advance(1)
        assert stream.getvalue() == ""


class Counting(TransferBar):
    """A bar that can be asked."""

    done = expected = 0

    def advance(self, size_bytes: int) -> None:
        """Count."""
        with self._lock:
            self.done += size_bytes

    def expect(self, size_bytes: int) -> None:
        """Count."""
        with self._lock:
            self.expected += size_bytes


class Telling(Hostile):
    """A place that tells of bytes as they come, also of an attempt that fails after it."""

    reports_bytes = True

    def upload_file(self, local_path: str, artifact_path: str, *, on_bytes: Callable[[int], None] = nothing) -> None:
        on_bytes(3)
        super().upload_file(local_path, artifact_path)


def test_a_bar_counts_each_byte_once(tmp_path: Path) -> None:
    """Of files that are tried twice, of places that say bytes as they come, and of what is refused none."""
    paths = tree(tmp_path / "0" / "artifacts", 20)
    size = sum((tmp_path / "0" / "artifacts" / path).stat().st_size for path in paths)
    file_systems.registered()
    remote = RemoteRepository(f"disk://{tmp_path}/there")
    places: list[ArtifactRepository] = [Hostile({}, fails=5), Telling({}, fails=5), remote]
    for number, place in enumerate(places):
        tree(tmp_path / str(number) / "artifacts", 20)
        bar = Counting("sending")
        if place is not remote:
            (tmp_path / str(number) / "artifacts" / "bad").write_text("refused", encoding="utf-8")
        upload(tmp_path / str(number), place, bar)
        assert (bar.done, bar.expected) == (size, size)
    bar = Counting("downloading")
    for _ in range(2):
        transfer.download(remote, None, str(tmp_path / "back"), progress=bar)
    assert (bar.done, bar.expected) == (2 * size, 2 * size)


SLOW_PLACE = """
import os, time
from runcontext.artifacts.local import LocalRepository
from runcontext.tracking.folder import FolderStore

class Repository(LocalRepository):
    def upload_file(self, local_path, artifact_path):
        until = time.monotonic() + 60
        open("begun", "w").close()
        while not os.path.exists("go") and time.monotonic() < until:
            time.sleep(0.02)
        super().upload_file(local_path, artifact_path)

class Store:
    def __init__(self, uri):
        self._store = FolderStore(uri.removeprefix("slow:"))

    def artifacts(self, run):
        return Repository(run.artifact_uri)

    def __getattr__(self, name):
        return getattr(self._store, name)
"""


@pytest.fixture
def sync_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], subprocess.Popen[bytes]]:
    """Give the function that starts to send a run to a place that waits for the file ``project/go``."""
    site = new_site(tmp_path / "site")
    site.install("slow-place", SLOW_PLACE, {"runcontext.tracking_stores": {"slow": "Store"}})
    monkeypatch.setenv("RUNCONTEXT_DISABLED", "1")
    (tmp_path / "project").mkdir()
    with runcontext.start_run(run_name="slow", tracking_uri=str(tmp_path / "project" / ".runcontext")) as run:
        run.log_text("x" * 4_000_000, "weights.txt")
    command = ["sync", run.run_id, "--tracking-uri", f"slow:{tmp_path}/there", "--json"]

    def start(stderr: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "runcontext", *command],
            cwd=tmp_path / "project",
            env={**clean_environment(tmp_path), "PYTHONPATH": str(site.folder), "TERM": "xterm", "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    return start


def test_sync_shows_a_bar_on_a_terminal(sync_slowly: Callable[[int], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Once an upload has taken a while; what goes into a pipe beside it is the same as ever."""
    terminal, stderr = os.openpty()
    with sync_slowly(stderr) as process:
        os.close(stderr)
        shown = read(terminal, until=b"0.0/4.0 MB")
        (tmp_path / "project" / "go").touch()
        read(terminal)
        stdout, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert b"sending" in shown
    assert (process.returncode, shown.count(b"runcontext:")) == (0, 0)
    (row,) = json.loads(stdout)["runs"]
    assert (row["run_name"], row["status"]) == ("slow", "sent")


def test_ctrl_c_ends_sync(sync_slowly: Callable[[int], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """At once, however long the upload that is under way would take."""
    with sync_slowly(subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "project" / "begun").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


def read(terminal: int, until: bytes | None = None) -> bytes:
    """Give what a terminal is shown, up to some text or until nobody writes to it any more."""
    shown = b""
    with contextlib.suppress(OSError):
        while (until is None or until not in shown) and (chunk := os.read(terminal, 10_000)):
            shown += chunk
    assert until is None or until in shown, shown
    return shown
