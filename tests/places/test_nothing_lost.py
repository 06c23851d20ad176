"""Nothing lost and nothing twice: servers that are killed, fail and lose replies, and programs that are killed.

A round is one program that logs into a run while everything on the way to MLflow's server goes wrong. What it had
logged is known from its own notes, one after each call; what arrived is read back with MLflow's own client.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.places.faults import Fault, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.places.conftest import PrivateMLflow
    from tests.places.faults import FaultProxy
    from tests.places.servers_mlflow import MLflowServer

EXPERIMENT = "nothing lost"
ROUNDS = (
    pytest.param("newest", "sqlite", (2,), id="newest-sqlite"),
    pytest.param("2.22", "file", (1,), id="2.22-file"),
    pytest.param("newest", "sqlite", (25,) * 4, id="newest-sqlite-100", marks=pytest.mark.soak),
    pytest.param("2.22", "file", (25,) * 4, id="2.22-file-100", marks=pytest.mark.soak),
)
"""With a server that tells points apart by itself, and with one that keeps in files whatever it is sent, however often:
how many rounds there are until what arrived is read back, each time.
"""

POINTS, PARAMS, TAGS, ARTIFACTS = 1_000, 20, 50, 5
CALLS = POINTS + PARAMS + TAGS + ARTIFACTS
_FAULTS = (
    Fault(Kind.ANSWER, status=500),
    Fault(Kind.ANSWER, status=429, retry_after=0),
    Fault(Kind.ANSWER, status=503),
    Fault(Kind.LOSE_REPLY),
    Fault(Kind.CUT_REPLY),
)
_SHARE = 0.2
_PLENTY_SECONDS = 90.0

PROGRAM = """\
import random, sys, time
import runcontext

calls = [("metric", n) for n in range(1000)] + [("param", n) for n in range(20)]
calls += [("tag", n) for n in range(50)] + [("artifact", n) for n in range(5)]
random.Random(int(sys.argv[1])).shuffle(calls)

with open("notes.txt", "w") as notes, runcontext.start_run() as run:
    print(run.run_id, file=notes, flush=True)
    for kind, n in calls:
        if kind == "metric":
            run.log_metric(f"metric {n % 3}", n / 7, step=n // 3, timestamp=1_700_000_000_000 + n)
        elif kind == "param":
            run.log_param(f"param {n}", "p" * n + str(n))
        elif kind == "tag":
            run.set_tag(f"tag {n}", f"value {n}")
        else:
            run.log_text(f"artifact {n} " * 5_000 * n, f"folder {n % 2}/artifact {n}.txt")
        print(kind, n, file=notes, flush=True)
        time.sleep(0.001)
"""

READ_BACK = """\
import json, sys, tempfile
from pathlib import Path
import mlflow

client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[1])
runs = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
# What a server with files leaves that was killed while it made a run: not even its tags.
stumps = [run for run in runs if not (run.data.tags or run.data.params or run.data.metrics)]
found = []
for run in runs:
    if run in stumps:
        continue
    remote_id = run.info.run_id
    points = []
    for key in run.data.metrics:
        points += [[key, each.step, each.timestamp, each.value] for each in client.get_metric_history(remote_id, key)]
    files = {}
    # The client of 2.22 cannot download nothing.
    if client.list_artifacts(remote_id):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(client.download_artifacts(remote_id, "", folder))
            files = {str(each.relative_to(root)): each.read_text() for each in root.rglob("*") if each.is_file()}
    status = run.info.status
    found.append([run.data.tags, run.data.params, points, {name: hash_of(files[name]) for name in files}, status])
print(json.dumps([len(stumps), found]))
"""
HASH = "import hashlib\ndef hash_of(text):\n    return hashlib.sha256(text.encode()).hexdigest()\n"


@dataclass(frozen=True, slots=True)
class Logged:
    """What a run holds: points as (key, step, timestamp, value), and a hash of each artifact by its path."""

    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[tuple[str, int, int, float], ...]
    artifacts: Mapping[str, str]


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(("version", "backend", "counts"), ROUNDS)
def test_nothing_is_lost_and_nothing_is_twice(
    private_mlflow: PrivateMLflow,
    fault_proxy: Callable[[str], FaultProxy],
    program_environment: dict[str, str],
    tmp_path: Path,
    version: str,
    backend: str,
    counts: tuple[int, ...],
) -> None:
    """A run has once, after ``runcontext sync``, what was logged: with the server killed, and with the program."""
    server = private_mlflow(version, backend=backend)
    rounds = _Rounds(server, fault_proxy(server.url), program_environment, tmp_path)
    seed = 1
    for count in counts:
        rounds.play(count, seed=seed)
        rounds.check()
        seed += count


class _Rounds:
    """Rounds against one server; each run is in a local store of its own."""

    def __init__(self, server: MLflowServer, proxy: FaultProxy, environment: dict[str, str], folder: Path) -> None:
        self._server = server
        self._proxy = proxy
        self._folder = folder
        self._environment = {
            **environment,
            "RUNCONTEXT_TRACKING_URI": proxy.url,
            "RUNCONTEXT_EXPERIMENT_NAME": EXPERIMENT,
            "RUNCONTEXT_PROVIDERS": "user,source",
            "RUNCONTEXT_SYNC_TIMEOUT": "1",
        }
        self._logged: dict[str, Logged] = {}
        # A database makes a run in one transaction; files are written one after the other.
        self._may_leave_stumps = 0

    def play(self, count: int, *, seed: int) -> None:
        """Play so many rounds: the server is killed in every other one, the program in two of three."""
        for number in range(seed, seed + count):
            folder = self._folder / f"round-{number}"
            folder.mkdir()
            chance = random.Random(number)
            self._proxy.mix(_FAULTS, share=_SHARE, seed=number)
            with contextlib.ExitStack() as at_end:
                self._make_trouble(folder, number, chance, at_end)
            self._sync(folder)
            run_id, logged = _what_was_logged(folder, number)
            self._logged[run_id] = logged

    def check(self) -> None:
        """Compare every run with what MLflow's own client reads, and with what ours does."""
        self._proxy.heal()
        stumps, found = self._server.ask(HASH + READ_BACK, EXPERIMENT)
        assert stumps <= self._may_leave_stumps
        by_id: dict[str, list[Any]] = {}
        for row in found:
            by_id.setdefault(row[0]["runcontext.run_id"], []).append(row)
        assert {run_id: len(rows) for run_id, rows in by_id.items()} == dict.fromkeys(self._logged, 1)
        for run_id, logged in self._logged.items():
            ((tags, params, points, artifacts, status),) = by_id[run_id]
            assert sorted(map(tuple, points)) == sorted(logged.points), run_id
            assert params == logged.params, run_id
            assert {key: value for key, value in tags.items() if key.startswith("tag ")} == logged.tags, run_id
            kept = {path: digest for path, digest in artifacts.items() if not path.startswith("context/")}
            assert kept == logged.artifacts, run_id
            is_whole = len(logged.points) == POINTS and len(logged.artifacts) == ARTIFACTS
            # A run that was killed is LOST, for which MLflow has no word.
            assert status in ("FINISHED", "FAILED"), run_id
            assert is_whole or status == "FAILED", run_id

    def _make_trouble(self, folder: Path, number: int, chance: random.Random, at_end: contextlib.ExitStack) -> None:
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(number)],
            cwd=folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        at_end.callback(_end, program)
        events: list[tuple[int, Callable[[], None]]] = []
        if number % 2:
            events.append((chance.randrange(CALLS), lambda: self._kill_server(at_end)))
        if number % 3:
            events.append((chance.randrange(CALLS), lambda: _kill(program, with_companion=number % 3 == 2)))
        for calls, happen in sorted(events, key=lambda event: event[0]):
            _wait_for_calls(folder, program, calls)
            happen()
        _, errors = program.communicate(timeout=_PLENTY_SECONDS)
        assert program.returncode in (0, -signal.SIGKILL), errors.decode()

    def _kill_server(self, at_end: contextlib.ExitStack) -> None:
        self._server.kill()
        if self._server.backend == "file":
            self._may_leave_stumps += 1
            _remove_what_the_server_cannot_read(self._server.folder / "mlruns")
        self._server.start(wait=False)
        at_end.callback(_wait_until, self._server.is_up, "the server's coming back")

    def _sync(self, folder: Path) -> None:
        """Call ``runcontext sync``, first in the midst of it all, and where that was in vain once more in quiet."""
        if self._sync_once(folder):
            self._proxy.heal()
            assert self._sync_once(folder) == []

    def _sync_once(self, folder: Path) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "runcontext", "sync", "--json"],
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 1), done.stderr
        rows = json.loads(done.stdout)["runs"]
        return [row for row in rows if row["status"] != "sent"]


def _remove_what_the_server_cannot_read(root: Path) -> None:
    """Be the administrator of a server on files that was killed as it made a run: it truncates, then writes.

    Of an experiment with such a run it answers no search any more, its own client's neither.
    """
    for meta in root.glob("*/*/meta.yaml"):
        if not meta.stat().st_size:
            assert not any((meta.parent / "metrics").iterdir()), f"{meta.parent} was more than just made"
            shutil.rmtree(meta.parent)


def _what_was_logged(folder: Path, seed: int) -> tuple[str, Logged]:
    """Give what the run's own journals hold, having compared it with the notes of the program that wrote them."""
    run_id, *notes = (folder / "notes.txt").read_text(encoding="utf-8").split("\n")
    path = folder / ".runcontext" / "runs" / run_id
    logged = _in_journals(path)
    calls = _calls(seed)
    count = len(logged.points) + len(logged.params) + len(logged.tags) + len(logged.artifacts)
    noted = len([note for note in notes if note])
    # The last call may have been on disk before its note was.
    assert noted <= count <= noted + 1
    expected = calls[:count]
    assert len(logged.points) == sum(kind == "metric" for kind, _ in expected)
    assert set(logged.params) == {f"param {n}" for kind, n in expected if kind == "param"}
    assert set(logged.tags) == {f"tag {n}" for kind, n in expected if kind == "tag"}
    assert {(step, stamp) for _, step, stamp, _ in logged.points} == {
        (n // 3, 1_700_000_000_000 + n) for kind, n in expected if kind == "metric"
    }
    return run_id, logged


def _calls(seed: int) -> list[tuple[str, int]]:
    """Give the calls of the program in their order, as it makes them itself."""
    counts = {"metric": POINTS, "param": PARAMS, "tag": TAGS, "artifact": ARTIFACTS}
    calls = [(kind, n) for kind, count in counts.items() for n in range(count)]
    random.Random(seed).shuffle(calls)
    return calls


def _in_journals(path: Path) -> Logged:
    from hashlib import sha256

    points, params, tags = [], {}, {}
    for journal in (path / "events").glob("*.jsonl"):
        for line in journal.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            for key, value in event.get("metrics", {}).items():
                points.append((key, event["step"], event["at"], value))
            points += map(tuple, event.get("points", ()))
            params.update(event.get("params", {}))
            tags.update({key: value for key, value in event.get("tags", {}).items() if key.startswith("tag ")})
    root = path / "artifacts"
    files = [each for each in root.rglob("*") if each.is_file() and not each.name.endswith(".tmp")]
    artifacts = {str(each.relative_to(root)): sha256(each.read_bytes()).hexdigest() for each in files}
    return Logged(params, tags, tuple(points), artifacts)


def _wait_for_calls(folder: Path, program: subprocess.Popen[bytes], calls: int) -> None:
    notes = folder / "notes.txt"
    _wait_until(
        lambda: program.poll() is not None or (notes.exists() and notes.read_bytes().count(b"\n") > calls),
        f"{calls} calls of the program",
    )


def _kill(program: subprocess.Popen[bytes], *, with_companion: bool) -> None:
    """Kill a program, and with it who sends for it: as a machine does that loses its power."""
    companions = [each for each in psutil.process_iter() if with_companion and _serves(each, program.pid)]
    program.kill()
    for each in companions:
        with contextlib.suppress(psutil.Error):
            for process in (*each.children(recursive=True), each):
                process.kill()


def _serves(process: psutil.Process, pid: int) -> bool:
    try:
        words = process.cmdline()
        return any("runcontext.companion" in word for word in words) and str(pid) in words
    except psutil.Error:
        return False


def _end(program: subprocess.Popen[bytes]) -> None:
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    assert program.stderr is not None
    program.stderr.close()


def _wait_until(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + _PLENTY_SECONDS
    while not condition():
        assert time.monotonic() < until, f"{what} did not come within {_PLENTY_SECONDS:g} s"
        time.sleep(0.005)
