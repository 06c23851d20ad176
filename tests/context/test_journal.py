"""The journal that one process writes: one line an event, at once, and nothing lost that room could be made for."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from runcontext.tracking.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the journal is written."""
    (tmp_path / "events").mkdir()
    return tmp_path / "events" / "journal.jsonl"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Give a journal whose folder can be made again."""
    made = Journal(str(path), {"schema": 1}, lambda: path.parent.mkdir(parents=True, exist_ok=True))
    yield made
    made.close()


def lines(path: Path) -> list[Any]:
    """Read a journal, its header too."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_nothing_is_touched_before_the_first_event(path: Path, journal: Journal) -> None:
    """A journal without an event makes no file, and closing it neither."""
    assert journal.flush() == 0
    journal.close()
    assert not path.exists()


def test_each_event_is_on_disk_when_its_call_returns(path: Path, journal: Journal) -> None:
    """A header, then a line for each event, readable at once by others."""
    for number in range(3):
        milliseconds = journal.append({"n": number})
        assert lines(path)[-1] == {"t": milliseconds, "n": number}
    assert lines(path)[0] == {"schema": 1}
    assert len(lines(path)) == 4


def test_times_never_go_back(path: Path, journal: Journal) -> None:
    """Events keep their order by time, whatever the clock does."""
    for number in range(100):
        journal.append({"n": number})
    times = [line["t"] for line in lines(path)[1:]]
    assert times == sorted(times)


def test_a_descriptor_that_somebody_closed(path: Path, journal: Journal) -> None:
    """Where the program has closed our descriptor, the file is opened again."""
    journal.append({"n": 1})
    os.close(descriptor_of(path))
    journal.append({"n": 2})
    assert [line.get("n") for line in lines(path)] == [None, 1, 2]


def test_a_descriptor_that_is_another_file_now(path: Path, journal: Journal, tmp_path: Path) -> None:
    """Where its number is the program's own file by now, not one byte of ours gets into that, and it stays open."""
    journal.append({"n": 1})
    number = descriptor_of(path)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    os.dup2(theirs, number)
    journal.append({"n": 2})
    journal.close()
    assert (tmp_path / "theirs").read_bytes() == b""
    assert os.write(number, b"theirs") == 6
    os.close(number)
    os.close(theirs)
    assert [line.get("n") for line in lines(path)] == [None, 1, 2]


def test_a_deleted_file_is_written_again(path: Path, journal: Journal) -> None:
    """Every event of a deleted journal is in the new one, in order."""
    for number in range(5):
        journal.append({"n": number})
    path.unlink()
    path.parent.rmdir()
    journal.append({"n": 5})
    assert [line.get("n") for line in lines(path)] == [None, 0, 1, 2, 3, 4, 5]


def test_what_cannot_be_written_waits(path: Path, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be written, one warning says so; later everything is there."""
    path.mkdir()
    for number in range(10):
        journal.append({"n": number})
    assert journal.flush() > 0
    assert sum("events wait in memory, up to 64 MiB" in each.getMessage() for each in caplog.records) == 1
    path.rmdir()
    assert journal.flush() == 0
    assert [line.get("n") for line in lines(path)] == [None, *range(10)]


def test_what_is_lost_is_said(path: Path, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Closing a journal that could never be written says how many lines are lost, once."""
    path.mkdir()
    for number in range(4):
        journal.append({"n": number})
    journal.close()
    journal.close()
    assert [each.getMessage() for each in caplog.records if "are lost" in each.getMessage()] == [
        f"5 events of the run could not be written to {path} and are lost"
    ]


def test_many_events_may_wait(path: Path, journal: Journal) -> None:
    """However many wait, one more costs no more: ten thousand are on disk within a moment of there being room."""
    path.mkdir()
    for number in range(10_000):
        journal.append({"n": number})
    path.rmdir()
    journal.append({"n": 10_000})
    assert [line.get("n") for line in lines(path)][1:] == list(range(10_001))


def test_threads(path: Path, journal: Journal) -> None:
    """Lines of several threads do not mix."""

    def work(thread: int) -> None:
        for number in range(200):
            journal.append({"thread": thread, "n": number, "text": "x" * 500})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = lines(path)[1:]
    assert len(found) == 1_200
    for thread in range(6):
        assert [line["n"] for line in found if line["thread"] == thread] == list(range(200))


def test_the_descriptor_is_out_of_the_way(path: Path, journal: Journal) -> None:
    """It has a high number, and no program that is started inherits it."""
    journal.append({})
    number = descriptor_of(path)
    assert number >= 64
    assert not os.get_inheritable(number)


def descriptor_of(path: Path) -> int:
    """Give the descriptor under which this process has a file open."""
    wanted = path.stat()
    for number in range(3, 1_024):
        try:
            found = os.fstat(number)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return number
    raise AssertionError(path)
