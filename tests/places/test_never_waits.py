"""The program never waits for the place that its runs go to, nor does it do anything for it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = """\
import os, sys
before = len(os.listdir("/proc/self/task"))
import json, time
from statistics import median
import runcontext

def report(**facts):
    clients = {"requests", "urllib3", "sqlalchemy", "fsspec", "mlflow", "http.client", "ssl"} & set(sys.modules)
    threads = len(os.listdir("/proc/self/task")) - before
    print(json.dumps({**facts, "clients": sorted(clients), "threads": threads}))
"""

INTERLEAVED = """\
def timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began

def one_run(uri):
    found = {}
    began = time.perf_counter()
    with runcontext.start_run(tracking_uri=uri) as run:
        found["start_run"] = time.perf_counter() - began
        found["log_metric"] = median(timed(lambda: run.log_metric("m", 1.5, step=n)) for n in range(200))
        found["log_param"] = median(timed(lambda: run.log_param(f"p{n}", n)) for n in range(50))
        found["set_tag"] = median(timed(lambda: run.set_tag(f"t{n}", n)) for n in range(50))
        found["log_text"] = median(timed(lambda: run.log_text("text", f"{n}.txt")) for n in range(10))
        found["log_artifact"] = median(timed(lambda: run.log_artifact("large.bin", f"{n}")) for n in range(5))
    return found

with open("large.bin", "wb") as file:
    file.write(b"x" * 1_000_000)
one_run(None), one_run(sys.argv[1])
runs = [(one_run(None), one_run(sys.argv[1])) for _ in range(10)]
without, silent = ({call: median(row[which][call] for row in runs) for call in runs[0][0]} for which in (0, 1))
report(without=without, silent=silent)
"""

LOADED = """\
runcontext.start_run(tracking_uri="runs").end()
known = set(sys.modules)
run = runcontext.start_run(tracking_uri=sys.argv[1])
loaded = sorted(set(sys.modules) - known)
run.end()
report(loaded=loaded)
"""

ONE_RUN = """\
with runcontext.start_run(run_name="the run") as run:
    run.log_metric("m", 1.0)
    run.log_text("text", "a.txt")
    ended = time.perf_counter()
report(waited=time.perf_counter() - ended)
"""


_SECOND = {"RUNCONTEXT_SYNC_TIMEOUT": "1", "RUNCONTEXT_PROVIDERS": "user"}
"""Nothing but the mirror is there for the end of a run to wait for."""


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Give the URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def run_program(program_environment: dict[str, str], tmp_path: Path) -> Callable[..., tuple[Any, str]]:
    """Give the function that runs a program to its end, and gives what it reported and its standard error."""

    def run(source: str, *args: str, **variables: str) -> tuple[Any, str]:
        done = subprocess.run(
            [sys.executable, "-c", START + source, *args],
            cwd=tmp_path,
            env={**program_environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    return run


def test_no_call_waits_for_a_server_that_never_answers(
    run_program: Callable[..., tuple[Any, str]], silent_server: str
) -> None:
    """start_run() and every log call take as long as with no server: runs with and without one in turn, by medians."""
    found, _ = run_program(INTERLEAVED, silent_server, RUNCONTEXT_SYNC_TIMEOUT="0", RUNCONTEXT_PROVIDERS="user,host")

    for call, seconds in found["without"].items():
        # One more message to the companion at the start; none after that.
        slack_seconds = 0.003 if call == "start_run" else 0.000_05
        assert found["silent"][call] <= 1.5 * seconds + slack_seconds, (call, found)
    assert found["clients"] == []
    assert found["threads"] == 0


def test_a_start_loads_hardly_more(run_program: Callable[..., tuple[Any, str]], silent_server: str) -> None:
    """With a server's URI start_run() loads what names the run to the companion, and nothing that looks on or reads."""
    found, _ = run_program(LOADED, silent_server, RUNCONTEXT_SYNC_TIMEOUT="0", RUNCONTEXT_PROVIDERS="user")
    assert found["loaded"] == ["runcontext.mirror", "runcontext.mirror.asking", "runcontext.tracking.uris"]


def test_the_end_waits_so_long_and_says_one_line(
    run_program: Callable[..., tuple[Any, str]], silent_server: str
) -> None:
    """At its end a run waits for RUNCONTEXT_SYNC_TIMEOUT and no longer, and says what is left and what sends it."""
    began = time.monotonic()
    found, errors = run_program(ONE_RUN, RUNCONTEXT_TRACKING_URI=silent_server, **_SECOND)
    seconds = time.monotonic() - began

    assert 0.9 <= found["waited"] < 2.5
    assert seconds < 8
    (line,) = errors.splitlines()
    assert "the run" in line
    assert f"still to be sent to {silent_server}, which has not answered within 1 s; `runcontext sync` sends" in line
    assert found["clients"] == []
    assert found["threads"] == 0


def test_offline_a_run_waits_for_nothing(run_program: Callable[..., tuple[Any, str]], silent_server: str) -> None:
    """RUNCONTEXT_OFFLINE=1 ends a run at once and says nothing: it was asked for."""
    found, errors = run_program(ONE_RUN, RUNCONTEXT_TRACKING_URI=silent_server, RUNCONTEXT_OFFLINE="1", **_SECOND)

    assert found["waited"] < 0.9
    assert errors == ""


def test_nobody_listens(run_program: Callable[..., tuple[Any, str]]) -> None:
    """A server that is down costs the end its wait, and a line that says why nothing could be sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
        found, errors = run_program(ONE_RUN, RUNCONTEXT_TRACKING_URI=uri, **_SECOND)

    assert found["waited"] < 2.5
    (line,) = errors.splitlines()
    assert "refused" in line.lower()
    assert "runcontext sync" in line
