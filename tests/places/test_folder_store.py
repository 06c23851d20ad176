"""The local store behind the interface of all stores, and artifacts in a folder."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runcontext.artifacts.local import LocalRepository
from runcontext.errors import StoreError
from runcontext.files import copy_content, copy_file
from runcontext.record import RunRecord, RunStatus
from runcontext.testing import ArtifactRepositoryContract, new_run
from runcontext.testing.samples import START, point, run_id_at
from runcontext.tracking import finding, reading
from runcontext.tracking.folder import FolderStore
from runcontext.tracking.local import LocalStore
from runcontext.tracking.store import Batch, Query, StoredRun

# --- what a copy is on disk ---------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Give an empty store."""
    return FolderStore(str(tmp_path / "store"))


def journal(store: FolderStore, run: StoredRun) -> Path:
    """Give the journal of a copy."""
    return Path(store.uri, "runs", run.run_id, "events", "copy.jsonl")


def test_a_uri_of_a_folder(tmp_path: Path) -> None:
    """A path and a file: URI name the same store; what is neither is refused without its credentials."""
    assert FolderStore(f"file://{tmp_path}/with%20space").uri == FolderStore(f"{tmp_path}/with space").uri
    with pytest.raises(StoreError) as caught:
        FolderStore("ftp://user:hunter2secret@example.org/runs")
    assert "hunter2secret" not in str(caught.value)


def test_a_torn_batch_is_not_there(store: FolderStore) -> None:
    """A batch whose writer was killed in mid-write is not there, and its repeat is, once."""
    stored = store.create_run(new_run("Default"))
    store.log_batch(stored, Batch(1, (point("m", 1.0),)))
    whole = journal(store, stored).read_bytes()
    store.log_batch(stored, Batch(2, (point("m", 2.0, 1),), {"p": "1"}))
    torn = journal(store, stored).read_bytes()[:-5]
    for length in (len(whole) + 1, len(torn)):
        journal(store, stored).write_bytes(torn[:length])
        assert dict(store.get_run(stored.run_id).metrics) == {"m": 1.0}
        again = FolderStore(store.uri)
        again.log_batch(stored, Batch(2, (point("m", 2.0, 1),), {"p": "1"}, is_repeat=True))
        record = again.get_run(stored.run_id)
        assert (dict(record.metrics), dict(record.params)) == ({"m": 2.0}, {"p": "1"})
    assert journal(store, stored).read_bytes().count(b'"points"') == 3


def test_two_writers_of_one_run(store: FolderStore) -> None:
    """Two processes that send the same batches at once leave each of them there once."""
    stored = store.create_run(new_run("Default"))
    program = (
        "import sys\n"
        "from runcontext.testing.samples import point\n"
        "from runcontext.tracking.folder import FolderStore\n"
        "from runcontext.tracking.store import Batch, StoredRun\n"
        "run = StoredRun(sys.argv[2], sys.argv[2], None, None)\n"
        "store = FolderStore(sys.argv[1])\n"
        "for number in range(1, 60):\n"
        "    store.log_batch(run, Batch(number, (point('m', 1.0, number),)))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, store.uri, stored.run_id]) for _ in range(3)]
    assert [each.wait(60) for each in writers] == [0, 0, 0]
    lines = journal(store, stored).read_text(encoding="utf-8").splitlines()
    sequences = [json.loads(line).get("sequence") for line in lines]
    assert sorted(each for each in sequences if each) == list(range(1, 60))


def test_a_journal_that_was_deleted(store: FolderStore) -> None:
    """Where somebody deleted a copy's journal, what is sent again is taken again."""
    stored = store.create_run(new_run("Default"))
    store.log_batch(stored, Batch(1, params={"p": "1"}))
    journal(store, stored).unlink()
    store.log_batch(stored, Batch(1, params={"p": "1"}, is_repeat=True))
    assert dict(store.get_run(stored.run_id).params) == {"p": "1"}


def test_a_copy_is_no_lost_run(store: FolderStore) -> None:
    """A copy of a run that goes on is RUNNING, whatever became of the process that wrote it."""
    stored = store.create_run(new_run("Default"))
    program = (
        "import sys\n"
        "from runcontext.record import RunStatus\n"
        "from runcontext.tracking.folder import FolderStore\n"
        "from runcontext.tracking.store import RunUpdate, StoredRun\n"
        "run = StoredRun(sys.argv[2], sys.argv[2], None, None)\n"
        "FolderStore(sys.argv[1]).update_run(run, RunUpdate(RunStatus.RUNNING, None, 'name'))\n"
    )
    subprocess.run([sys.executable, "-c", program, store.uri, stored.run_id], check=True)
    assert store.get_run(stored.run_id).status is RunStatus.RUNNING


@pytest.mark.parametrize("run_id", ["", "..", "a/b", "a\\b", "a" * 300, "ä", "-a", ".hidden"])
def test_ids_that_name_no_folder(store: FolderStore, run_id: str) -> None:
    """An id that is no folder's name is refused: nothing is written elsewhere."""
    run = dataclasses.replace(new_run("Default"), run_id=run_id)
    with pytest.raises(StoreError, match="run id"):
        store.create_run(run)
    assert not os.path.exists(store.uri)


def test_an_id_of_another_time(store: FolderStore) -> None:
    """An id that says another time than the run's start is refused, since the latest runs are found by their ids."""
    with pytest.raises(StoreError, match="its id says"):
        store.create_run(new_run("Default", start_time=START + 5_000, run_id=run_id_at(START)))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(store: FolderStore) -> None:
    """A folder that may not be written is an error that names it and says what to do."""
    os.makedirs(store.uri)
    os.chmod(store.uri, 0o500)
    with pytest.raises(StoreError, match="make it writable"):
        store.create_run(new_run("Default"))


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    """A file where the store's folder is to be is an error that names it."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="file"):
        FolderStore(str(tmp_path / "file")).create_run(new_run("Default"))


# --- searching it ---------------------------------------------------------------------------------------------------


def filled(store: FolderStore, count: int) -> list[str]:
    """Make runs, a second apart; give their ids, the latest first."""
    runs = [new_run("Default", start_time=START + number * 1_000) for number in range(count)]
    for each in runs:
        store.create_run(each)
    return [each.run_id for each in reversed(runs)]


def test_the_first_page_reads_little(store: FolderStore) -> None:
    """The latest runs are found without reading the others, and each page reads its own runs alone."""
    ids = filled(store, 12)
    for run_id in ids[3:]:
        os.rename(run_file(store, run_id), run_file(store, run_id) + ".aside")
    # The third says whether there are more.
    first = store.search_runs(Query(max_results=2))
    assert [each.run_id for each in first] == ids[:2]
    assert first.token
    for run_id in ids[:2]:
        os.unlink(run_file(store, run_id))
    for run_id in ids[3:]:
        os.rename(run_file(store, run_id) + ".aside", run_file(store, run_id))
    second = store.search_runs(Query(max_results=100, page_token=first.token))
    assert [each.run_id for each in second] == ids[2:]
    assert second.token is None


def run_file(store: FolderStore, run_id: str) -> str:
    """Give the path of a run's run.json."""
    return os.path.join(store.uri, "runs", run_id, "run.json")


def test_runs_whose_ids_say_no_time(store: FolderStore) -> None:
    """A run with an id of another kind is found in its place, by its start."""
    ids = filled(store, 4)
    other = dataclasses.replace(new_run("Default", start_time=START + 1_500), run_id="f" * 32)
    store.create_run(other)
    found = [each.run_id for page in pages(store, Query(max_results=2)) for each in page]
    assert found == [*ids[:2], "f" * 32, *ids[2:]]


def pages(store: FolderStore, query: Query) -> Iterator[list[RunRecord]]:
    """Give all pages of a search."""
    page = store.search_runs(query)
    yield page
    while page.token:
        page = store.search_runs(dataclasses.replace(query, page_token=page.token))
        yield page


def test_runs_that_start_together(store: FolderStore) -> None:
    """Many runs of one millisecond are on pages by their ids, each once; the one made last is the latest."""
    ids = [f"{START:012x}7{number:03x}8{'0' * 15}" for number in range(30)]
    for run_id in ids:
        store.create_run(new_run("Default", run_id=run_id))
    found = [each.run_id for page in pages(store, Query(max_results=7)) for each in page]
    assert found == ids
    assert reading.find_run(LocalStore(store.uri), "latest").run_id == ids[-1]


def test_a_run_that_cannot_be_read(store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out with a word, and hides no other."""
    ids = filled(store, 3)
    Path(run_file(store, ids[1])).write_text("{", encoding="utf-8")
    assert [each.run_id for each in store.search_runs(Query(max_results=5))] == [ids[0], ids[2]]
    assert "cannot be read" in caplog.text


def test_other_experiments_are_not_read(store: FolderStore) -> None:
    """A search of one experiment reads the journals of no other."""
    ids = filled(store, 2)
    other = store.create_run(new_run("Other"))
    folder = os.path.join(store.uri, "runs", ids[0], "events")
    os.mkdir(folder)
    # A folder where a journal is to be cannot be read.
    os.mkdir(os.path.join(folder, "x.jsonl"))
    assert [each.run_id for each in store.search_runs(Query(("Other",)))] == [other.run_id]


# --- finding what a person means ------------------------------------------------------------------------------------


def test_finding_a_run(store: FolderStore) -> None:
    """A unique beginning or ending of an id, a name, or ``latest`` finds a run in any store."""
    names = ["it's", 'say "x"', "back\\slash", "50%", "twice", "twice"]
    runs = [new_run("Default", start_time=START + number, run_name=name) for number, name in enumerate(names)]
    for each in runs:
        store.create_run(each)
    assert finding.find_run(store, "latest").run_id == runs[-1].run_id
    for run in runs:
        assert finding.find_run(store, run.run_id).run_id == run.run_id
        assert finding.find_run(store, run.run_id[-8:].upper()).run_id == run.run_id
    for run in runs[:4]:
        assert finding.find_run(store, run.run_name).run_id == run.run_id
    for words, says in (
        ("twice", "2 runs fit"),
        (runs[0].run_id[:6], "6 runs fit"),
        ("none", "no run in"),
        ("%", "no"),
    ):
        with pytest.raises(StoreError, match=says):
            finding.find_run(store, words)


def test_finding_in_an_empty_store(store: FolderStore) -> None:
    """Where there is no run at all, that is said, and how to make one."""
    with pytest.raises(StoreError, match=r"no runs in .*start_run\(\)"):
        finding.find_run(store, "latest")


# --- artifacts ----------------------------------------------------------------------------------------------------


class TestLocalRepository(ArtifactRepositoryContract):
    """A folder keeps to the contract of all repositories."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> LocalRepository:
        """Give an empty repository."""
        return LocalRepository(f"file://{tmp_path}/artifacts")


@pytest.fixture
def repository(tmp_path: Path) -> LocalRepository:
    """Give a repository with one file."""
    made = LocalRepository(str(tmp_path / "artifacts"))
    (tmp_path / "file").write_text("content", encoding="utf-8")
    made.upload_file(str(tmp_path / "file"), "folder/file")
    return made


@pytest.mark.parametrize("path", ["C:\\x", "c:x", "a\\b", "..\\x", "\\\\host\\share", "C:/x"])
def test_names_of_other_systems(tmp_path: Path, path: str) -> None:
    """A path that means something else on Windows is refused there, and is one as any other elsewhere."""
    (tmp_path / "file").write_text("content", encoding="utf-8")
    there = LocalRepository(str(tmp_path / "there"), is_windows=True)
    for call in (
        lambda: there.upload_file(str(tmp_path / "file"), path),
        lambda: there.download_file(path, str(tmp_path / "back")),
        lambda: there.list_artifacts(path),
    ):
        with pytest.raises(StoreError, match="artifact path"):
            call()
    here = LocalRepository(str(tmp_path / "here"), is_windows=False)
    here.upload_file(str(tmp_path / "file"), path)
    here.download_file(path, str(tmp_path / "back"))
    assert (tmp_path / "back").read_text(encoding="utf-8") == "content"


@pytest.mark.parametrize("name", ["CON", "nul.txt", "com1", "LPT9.log", "a?", "a:b", "end.", "end ", "tab\t", "AUX .x"])
def test_reserved_names(tmp_path: Path, name: str) -> None:
    """Names that Windows keeps to itself are refused there, and are names like any other elsewhere."""
    (tmp_path / "file").write_text("content", encoding="utf-8")
    there = LocalRepository(str(tmp_path / "there"), is_windows=True)
    with pytest.raises(StoreError, match="Windows"):
        there.upload_file(str(tmp_path / "file"), f"folder/{name}")
    here = LocalRepository(str(tmp_path / "here"), is_windows=False)
    here.upload_file(str(tmp_path / "file"), f"folder/{name}")
    assert [each.path for each in here.list_artifacts("folder")] == [f"folder/{name}"]


def test_links_that_lead_out(repository: LocalRepository, tmp_path: Path) -> None:
    """What a link within the artifacts shows elsewhere is neither read, nor written, nor listed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret", encoding="utf-8")
    root = tmp_path / "artifacts"
    (root / "out").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "beside").symlink_to(tmp_path / "artifacts2")
    (root / "in").symlink_to(root / "folder")
    for call in (
        lambda: repository.download_file("out/secret", str(tmp_path / "back")),
        lambda: repository.download_file("file", str(tmp_path / "back")),
        lambda: repository.upload_file(str(tmp_path / "file"), "out/new"),
        lambda: repository.upload_file(str(tmp_path / "file"), "file"),
        lambda: repository.upload_file(str(tmp_path / "file"), "beside"),
        lambda: repository.list_artifacts("out"),
    ):
        with pytest.raises(StoreError, match="link"):
            call()
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_text(encoding="utf-8") == "secret"
    assert [each.path for each in repository.list_artifacts()] == ["folder", "in"]
    assert [each.path for each in repository.list_artifacts("in")] == ["in/file"]


def test_a_copy_that_fails_leaves_nothing(repository: LocalRepository, tmp_path: Path) -> None:
    """A folder in the place of a file is refused, and nothing half-written is left or listed."""
    (tmp_path / "artifacts" / "folder" / "file").unlink()
    (tmp_path / "artifacts" / "folder" / "file").mkdir()
    with pytest.raises(StoreError):
        repository.upload_file(str(tmp_path / "file"), "folder/file")
    assert os.listdir(tmp_path / "artifacts" / "folder") == ["file"]
    (tmp_path / "artifacts" / "folder" / ".runcontext-0123456789abcdef.tmp").write_text("", encoding="utf-8")
    assert [each.path for each in repository.list_artifacts("folder")] == ["folder/file"]


@pytest.mark.parametrize("name", ["data.1-2.tmp", ".runcontext-1.tmp", "n" * 255])
def test_no_name_of_a_users_is_taken_for_one_of_ours(repository: LocalRepository, tmp_path: Path, name: str) -> None:
    """A file that is called much like our temporary ones, or as long as may be, is kept and listed like any other."""
    repository.upload_file(str(tmp_path / "file"), name)
    repository.download_file(name, str(tmp_path / "back"))
    assert (tmp_path / "back").read_text(encoding="utf-8") == "content"
    assert name in [each.path for each in repository.list_artifacts()]


def test_what_is_no_file(repository: LocalRepository, tmp_path: Path) -> None:
    """A folder, a pipe and what is not there are no files to upload or to download."""
    os.mkfifo(tmp_path / "pipe")
    for local in ("artifacts", "pipe"):
        with pytest.raises(StoreError, match="is no file"):
            repository.upload_file(str(tmp_path / local), "x")
    with pytest.raises(StoreError, match="cannot be read"):
        repository.upload_file(str(tmp_path / "none"), "x")
    for path in ("folder", "none", "folder/none"):
        with pytest.raises(StoreError, match="no artifact"):
            repository.download_file(path, str(tmp_path / "back"))
    assert repository.list_artifacts("folder/file") == []
    assert repository.list_artifacts("none") == []


@pytest.mark.parametrize("uri", ["file:", "file://", "s3://bucket/x", "file://elsewhere/x"])
def test_uris_of_no_folder(uri: str) -> None:
    """An artifact URI that names no folder of this machine is refused."""
    with pytest.raises(StoreError, match="artifact URI"):
        LocalRepository(uri)


def test_uris_of_folders(tmp_path: Path) -> None:
    """A path and every form of a file: URI name the same folder."""
    uris = [
        f"{tmp_path}/a b",
        f"file:{tmp_path}/a%20b",
        f"file://{tmp_path}/a%20b",
        f"file://localhost{tmp_path}/a%20b",
    ]
    assert {LocalRepository(each).uri for each in uris} == {f"{tmp_path}/a b"}


# --- copies of files ------------------------------------------------------------------------------------------------


def test_a_copy_has_what_the_file_had(tmp_path: Path) -> None:
    """Content, times and permissions are copied, into a folder that need not be there."""
    source, target = tmp_path / "source", tmp_path / "a" / "b" / "target"
    source.write_bytes(bytes(range(256)) * 10_000)
    os.chmod(source, 0o640)
    os.utime(source, ns=(1_000_000_007, 2_000_000_011))
    copy_file(str(source), str(target))
    before, after = os.stat(source), os.stat(target)
    assert target.read_bytes() == source.read_bytes()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
def test_a_copy_of_a_sparse_file(tmp_path: Path, size: int) -> None:
    """Holes stay holes, at the end too, and what is between them is copied."""
    source, target = tmp_path / "source", tmp_path / "target"
    with open(source, "wb") as file:
        file.truncate(300_000)
        file.seek(200_001)
        file.write(b"middle")
        file.truncate(300_000 + size)
    copy_file(str(source), str(target))
    assert target.read_bytes() == source.read_bytes()
    assert os.stat(target).st_blocks * 512 < 300_000


def test_a_secret_is_not_readable_meanwhile(tmp_path: Path) -> None:
    """While a file that only its owner may read is copied, nobody else may read the copy."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"secret")
    os.chmod(source, 0o644)
    copy_content(str(source), str(target))
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o600


def test_a_copy_that_is_a_reflink() -> None:
    """Where the file system can, a copy shares the blocks of its file: a GiB is there at once."""
    folder = os.environ.get("RUNCONTEXT_TEST_REFLINK_FOLDER")
    if not folder:
        pytest.skip("no file system with reflinks: name a folder of one in RUNCONTEXT_TEST_REFLINK_FOLDER")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        source = Path(place, "source")
        with open(source, "wb") as file:
            file.writelines(os.urandom(1024) * 1024 for _ in range(64))
        os.sync()
        before = os.statvfs(place).f_bfree
        copy_file(str(source), str(Path(place, "target")))
        os.sync()
        assert (before - os.statvfs(place).f_bfree) * os.statvfs(place).f_frsize < 32 * 1024 * 1024
