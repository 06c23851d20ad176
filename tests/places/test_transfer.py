"""Many files on their way: all arrive, none twice, none out of the folder; and how far it is shows on a terminal."""

from __future__ import annotations

import io
import os
import threading
import uuid
from typing import TYPE_CHECKING

import pytest

from runcontext.artifacts import transfer
from runcontext.artifacts.local import LocalRepository
from runcontext.artifacts.manifest import Sent
from runcontext.artifacts.progress import TransferBar
from runcontext.artifacts.remote import RemoteRepository
from runcontext.artifacts.repository import ArtifactInfo
from runcontext.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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


def tree(folder: Path, count: int) -> list[tuple[str, str]]:
    """Make files in folders; give each with its artifact path."""
    pairs = []
    for number in range(count):
        path = f"{number % 3}/{number % 2}/{number}.txt"
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"file {number}", encoding="utf-8")
        pairs.append((str(file), path))
    return pairs


def test_all_files_go_there_and_come_back(tmp_path: Path) -> None:
    """Each is told of once, with its size and SHA-256; the folders are the same at the end."""
    pairs = tree(tmp_path / "source", 50)
    repository = LocalRepository(str(tmp_path / "place"))
    told: list[Sent] = []
    transfer.upload(repository, iter(pairs), on_sent=told.append)
    assert sorted(each.path for each in told) == sorted(path for _, path in pairs)
    assert {each.size_bytes for each in told} == {6, 7}
    assert {len(each.sha256) for each in told} == {64}
    found = transfer.download(repository, None, str(tmp_path / "back"))
    assert found == str(tmp_path / "back")
    for _, path in pairs:
        assert (tmp_path / "back" / path).read_bytes() == (tmp_path / "source" / path).read_bytes()


def test_what_a_manifest_lists_is_not_sent_again(tmp_path: Path) -> None:
    """After an attempt that failed; a file that has changed since is, and a torn last line does no harm."""
    manifest = str(tmp_path / "sent.jsonl")
    pairs = tree(tmp_path / "source", 10)
    bad = str(tmp_path / "bad.txt")
    (tmp_path / "bad.txt").write_bytes(b"bad")
    place = Hostile({})
    with pytest.raises(StoreError, match=r"bad\.txt is refused"):
        transfer.upload(place, [*pairs, (bad, "bad.txt")], manifest=manifest)
    assert sorted(place.fetched) == sorted(path for _, path in pairs)
    with open(manifest, "a", encoding="utf-8") as file:
        file.write('{"path": "torn')
    place.fetched.clear()
    (tmp_path / "source" / pairs[3][1]).write_text("changed", encoding="utf-8")
    transfer.upload(place, pairs, manifest=manifest)
    assert place.fetched == [pairs[3][1]]


def test_a_busy_place_is_asked_again_as_often_as_allowed(tmp_path: Path) -> None:
    """Once unless told otherwise: who sends runs has its own patience."""
    pairs = tree(tmp_path / "source", 1)
    with pytest.raises(StoreUnavailableError):
        transfer.upload(Hostile({}, fails=1), pairs)
    place = Hostile({}, fails=3)
    transfer.upload(place, pairs, attempts=4)
    assert place.fetched == [pairs[0][1]]


def test_of_several_failures_all_are_counted(tmp_path: Path) -> None:
    """The first is told, the number of all, and every other file is there."""
    files = [str(tmp_path / name) for name in ("bad1", "good1", "bad2", "good2")]
    for each in files:
        with open(each, "wb"):
            pass
    place = Hostile({})
    with pytest.raises(StoreError, match=r"^2 files were not sent \(hostile:\); the first: bad"):
        transfer.upload(place, [(each, os.path.basename(each)) for each in files])
    assert sorted(place.fetched) == ["good1", "good2"]


def test_one_file_or_folder_keeps_its_path(tmp_path: Path) -> None:
    """As MLflow's download_artifacts does; what is not there is said."""
    repository = LocalRepository(str(tmp_path / "place"))
    transfer.upload(repository, tree(tmp_path / "source", 6))
    found = transfer.download(repository, "1/1/1.txt", str(tmp_path / "one"))
    assert found == str(tmp_path / "one" / "1" / "1" / "1.txt")
    assert [each.name for each in (tmp_path / "one").rglob("*.txt")] == ["1.txt"]
    transfer.download(repository, "2", str(tmp_path / "folder"))
    assert sorted(each.name for each in (tmp_path / "folder").rglob("*.txt")) == ["2.txt", "5.txt"]
    with pytest.raises(StoreError, match=r"no artifact '1/nothing'"):
        transfer.download(repository, "1/nothing", str(tmp_path / "none"))


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "a//b", "", ".", "x\0y", "b/deeper"])
def test_a_listing_that_leads_out_writes_nothing(path: str, tmp_path: Path) -> None:
    """Not even what else it lists."""
    place = Hostile({None: [entry("fine"), entry(path)]})
    with pytest.raises(StoreError):
        transfer.download(place, None, str(tmp_path / "to"))
    assert place.fetched == []


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


def test_a_bar_counts_each_byte_once(tmp_path: Path) -> None:
    """Also of files that are tried twice, and of places that say bytes as they come."""

    class Counting(TransferBar):
        done = expected = 0

        def advance(self, size_bytes: int) -> None:
            with self._lock:
                self.done += size_bytes

        def expect(self, size_bytes: int) -> None:
            with self._lock:
                self.expected += size_bytes

    pairs = tree(tmp_path / "source", 20)
    size = sum(os.path.getsize(file) for file, _ in pairs)
    for place in (Hostile({}, fails=5), RemoteRepository(f"memory://{uuid.uuid4().hex}/x")):
        bar = Counting("sending")
        transfer.upload(place, pairs, progress=bar, attempts=6)
        assert (bar.done, bar.expected) == (size, size)
