"""Reading runs back: several journals merged, people's names for a run, and who is known to have died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from runcontext import process
from runcontext.errors import StoreError
from runcontext.record import OutcomeStatus, RunStatus
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Give an empty store."""
    return LocalStore(str(tmp_path))


def write_run(store: LocalStore, run_id: str, *journals: list[dict[str, Any]], **identity: Any) -> str:
    """Write a run's files as a program on another host would have; give its folder."""
    folder = os.path.join(store.path, "runs", run_id)
    os.makedirs(os.path.join(folder, "events"))
    whole = {
        "schema": 1,
        "run_id": run_id,
        "run_name": "name",
        "experiment_name": "Default",
        "start_time": 1_000,
        "parent_run_id": None,
        "tags": {},
        **process.identity(os.getpid()),
        "host": "elsewhere",
        **identity,
    }
    write(os.path.join(folder, "run.json"), whole)
    for number, events in enumerate(journals):
        write(os.path.join(folder, "events", f"elsewhere-{number}-1.jsonl"), *events)
    return folder


def write(path: str, *rows: dict[str, Any]) -> None:
    """Write JSON objects, a line each."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def context(**tags: str) -> dict[str, Any]:
    """Write a context of one provider as context.json holds it."""
    outcome = {
        "status": "captured",
        "reason": None,
        "seconds": 0.1,
        "started_at": 1_000,
        "placement": "inline",
        "tags": tags,
        "failures": {},
        "redacted": 0,
    }
    return {"schema": 1, "tags": tags, "outcomes": {"one": outcome}, "conflicts": [], "attachments": []}


def test_journals_are_merged_by_time(store: LocalStore) -> None:
    """What several processes wrote is one story: later events win, whoever wrote them."""
    write_run(
        store,
        "a" * 32,
        [{"schema": 1}, {"t": 1, "tags": {"x": "1", "y": "1"}}, {"t": 5, "tags": {"x": "5"}}],
        [{"schema": 1}, {"t": 3, "tags": {"x": "3", "y": "3"}}, {"t": 9, "status": "FINISHED"}],
    )
    run = reading.get_run(store, "a" * 32)
    assert (run.tags, run.status, run.end_time, run.last_event_time) == ({"x": "5", "y": "3"}, "FINISHED", 9, 1_000)


def test_events_of_one_moment_keep_their_order(store: LocalStore) -> None:
    """Of events with the same time, the later line of a journal is the later event."""
    write_run(store, "a" * 32, [{"t": 1, "tags": {"x": str(number)}} for number in range(10)])
    assert reading.get_run(store, "a" * 32).tags == {"x": "9"}


def test_what_wins_over_the_context(store: LocalStore) -> None:
    """Tags of the program win over captured facts, and the joined context only fills in what the first lacks."""
    folder = write_run(store, "a" * 32, [{"t": 1, "tags": {"a": "set"}}], tags={"b": "start"})
    write(os.path.join(folder, "context.json"), context(a="first", b="first", c="first"))
    write(os.path.join(folder, "context.joined.json"), context(c="second", d="second"))
    run = reading.get_run(store, "a" * 32)
    assert run.tags == {"a": "set", "b": "start", "c": "first", "d": "second"}
    found = reading.read_context(store, "a" * 32)
    assert found is not None
    assert (found.tags["c"], found.outcomes["one"].status) == ("first", OutcomeStatus.CAPTURED)


def test_no_context_yet(store: LocalStore) -> None:
    """A run whose context is not on disk has none, and can be read."""
    write_run(store, "a" * 32)
    assert reading.read_context(store, "a" * 32) is None
    assert reading.get_run(store, "a" * 32).tags == {}


@pytest.mark.parametrize("words", ["0123", "cdef", "0123456789abcdef0123456789abcdef", "ABCDEF"])
def test_finding_a_run_by_its_id(store: LocalStore, words: str) -> None:
    """Any unique beginning or ending of an id means its run, in capitals too."""
    write_run(store, "0123456789abcdef0123456789abcdef")
    write_run(store, "f" * 31 + "0")
    assert reading.find_run(store, words).run_id.startswith("0123")


def test_finding_a_run_by_its_name(store: LocalStore) -> None:
    """A name means its run where it is the only one so called, and ``latest`` the one that started last."""
    write_run(store, "a" * 32, run_name="twice", start_time=1)
    write_run(store, "b" * 32, run_name="twice", start_time=2)
    write_run(store, "c" * 32, run_name="baseline", start_time=3)
    assert reading.find_run(store, "baseline").run_id == "c" * 32
    assert reading.find_run(store, "latest").run_id == "c" * 32
    with pytest.raises(StoreError, match=r"2 runs .*'twice': bbbbbbbb twice, aaaaaaaa twice"):
        reading.find_run(store, "twice")
    with pytest.raises(StoreError, match="'nothing'"):
        reading.find_run(store, "nothing")


def test_finding_in_an_empty_store(store: LocalStore) -> None:
    """Where there is no run, there is no latest one either."""
    with pytest.raises(StoreError, match="no runs in "):
        reading.find_run(store, "latest")
    assert reading.search_runs(store) == []


def test_an_ambiguous_beginning(store: LocalStore) -> None:
    """A beginning that fits several ids raises, and lists them."""
    write_run(store, "a" * 31 + "1")
    write_run(store, "a" * 31 + "2")
    with pytest.raises(StoreError, match=r"2 runs .*'aaa': aaaaaaa2 name, aaaaaaa1 name"):
        reading.find_run(store, "aaa")


def test_who_is_known_to_be_gone() -> None:
    """A process is gone when its number is free, is another one's, or is a zombie's; else nobody knows."""
    mine = process.identity(os.getpid())
    assert not process.is_gone(mine)
    assert process.is_gone({**mine, "process_start": mine["process_start"] - 1})
    assert process.is_gone({**mine, "boot_id": "before"})
    assert not process.is_gone({**mine, "host": "elsewhere", "boot_id": "before"})
    assert not process.is_gone({**mine, "pid_namespace": "pid:[1]", "process_start": 0})
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process.identity(child.pid)
    assert not process.is_gone(identity)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.is_gone(identity)
    child.communicate()
    assert process.is_gone(identity)


def test_the_record_of_a_signal(store: LocalStore) -> None:
    """A file of a signal means KILLED, once the process is known to be gone and left no status of its own."""
    mine = process.identity(os.getpid())
    folder = write_run(store, "a" * 32, [{"t": 2_000}], **mine)
    with open(os.path.join(folder, "SIGTERM.txt"), "w", encoding="utf-8") as file:
        file.write("Current thread ...")
    assert reading.get_run(store, "a" * 32).status is RunStatus.RUNNING
    write(os.path.join(folder, "run.json"), {**read(folder), "process_start": 1})
    run = reading.get_run(store, "a" * 32)
    assert (run.status, run.end_time, run.tags["end.reason"]) == ("KILLED", 2_000, "SIGTERM")
    os.truncate(os.path.join(folder, "SIGTERM.txt"), 0)
    assert reading.get_run(store, "a" * 32).status is RunStatus.LOST


def test_the_json_of_a_record(store: LocalStore) -> None:
    """``to_json()`` has the stable shape that ``--json`` prints."""
    write_run(store, "a" * 32, [{"t": 1, "metrics": {"m": "NaN", "n": 1.5}}, {"t": 2, "params": {"p": "1"}}])
    row = json.loads(json.dumps(reading.get_run(store, "a" * 32).to_json(), allow_nan=False))
    assert row["metrics"] == {"m": "NaN", "n": 1.5}
    assert list(row) == [
        "schema",
        "run_id",
        "run_name",
        "experiment_name",
        "status",
        "start_time",
        "end_time",
        "tags",
        "params",
        "metrics",
        "parent_run_id",
        "last_event_time",
        "path",
        "remote_id",
        "url",
        "artifact_uri",
        "is_mirrored",
    ]


def read(folder: str) -> dict[str, Any]:
    """Read a run's identity."""
    with open(os.path.join(folder, "run.json"), encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


@pytest.mark.parametrize("run_id", ["", ".", "..", "../runs/a", "a/../a"])
def test_an_id_that_leads_elsewhere(store: LocalStore, run_id: str) -> None:
    """What is no name of a folder is no run, whatever lies where it leads."""
    write_run(store, "a")
    for folder in (store.path, os.path.join(store.path, "runs")):
        os.link(os.path.join(store.path, "runs", "a", "run.json"), os.path.join(folder, "run.json"))
    with pytest.raises(StoreError, match="no run"):
        reading.get_run(store, run_id)
