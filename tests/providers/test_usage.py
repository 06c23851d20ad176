"""The usage provider: real processor time, real memory, real children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runcontext.program import Program
from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.usage import UsageProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20

REPORT = """
import json, subprocess, sys
from runcontext import testing
from runcontext_providers.usage import UsageProvider

provider = UsageProvider()
testing.resolve_provider(provider)

def report():
    print(json.dumps(dict(testing.resolve_provider(provider, method="tags_at_end").tags)))
"""

BURN = "import time\nwhile time.process_time() < 0.25: pass"

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system has no /proc/self/status")


class TestContract(ProviderContract):
    """What every provider keeps to, this one keeps to."""

    provider = UsageProvider


def at_end(provider: UsageProvider, program: Program | None = None) -> Mapping[str, str]:
    """Give what the provider says when the run ends."""
    return resolve_provider(provider, program=program, method="tags_at_end").tags


def begun(program: Program | None = None) -> UsageProvider:
    """Give a provider that was asked when the run began, and had nothing to say then."""
    provider = UsageProvider()
    context = resolve_provider(provider, program=program)
    assert not context.tags
    assert context.outcomes["provider"].status is OutcomeStatus.CAPTURED
    return provider


def reported(program: str) -> dict[str, int]:
    """Run a program that reports its own usage, and give the figures in bytes."""
    asked = subprocess.run([sys.executable, "-c", REPORT + program], capture_output=True, text=True, check=True)
    tags = json.loads(asked.stdout.splitlines()[-1])
    return {name: int(value) for name, value in tags.items() if name.endswith(".peak")}


def test_time_of_this_process() -> None:
    """Wall time is all that passes, CPU time what the process computed; neither counts what was before."""
    while time.process_time() < 0.2:
        pass
    provider = begun()
    wall, until = time.monotonic(), time.process_time() + 0.2
    while time.process_time() < until:
        pass
    time.sleep(0.2)
    tags = at_end(provider)
    least = time.monotonic() - wall
    assert least >= 0.4
    assert least - 0.05 <= float(tags["usage.wall.seconds"]) <= least + 5
    assert 0.2 <= float(tags["usage.cpu.seconds"]) <= float(tags["usage.wall.seconds"]) - 0.15


def test_time_of_children() -> None:
    """The CPU time of a child counts once it has been waited for."""
    provider = begun()
    before = time.process_time()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    own = time.process_time() - before
    assert float(at_end(provider)["usage.cpu.seconds"]) >= own + 0.2


@needs_proc
def test_peak_of_this_process() -> None:
    """The peak is that of the whole life: memory that was given back by the end counts."""
    peak = reported("memory = bytearray(b'x') * (100 << 20)\ndel memory\nreport()")["usage.memory.peak"]
    assert 100 * MIB <= peak <= 250 * MIB


@needs_proc
def test_peak_of_the_program_before_is_not_counted() -> None:
    """A small program that a large one starts is small, whatever getrusage(2) has kept from before it was started."""
    child = REPORT + "report()"
    parent = (
        "import subprocess, sys\n"
        "memory = bytearray(b'x') * (300 << 20)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    asked = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert int(json.loads(asked.stdout)["usage.memory.peak"]) < 200 * MIB


def test_peak_of_children() -> None:
    """The largest child that was waited for counts; a process whose children took no time has no such fact."""
    assert "usage.children.memory.peak" not in reported("report()")
    large = f"memory = bytearray(b'x') * (150 << 20)\n{BURN}"
    program = f"subprocess.run([sys.executable, '-c', {large!r}], check=True)\nreport()"
    found = reported(program)
    assert 150 * MIB <= found["usage.children.memory.peak"] <= 300 * MIB
    assert found["usage.memory.peak"] < 150 * MIB


@pytest.mark.parametrize("is_waited_for", [False, True])
def test_a_command(tmp_path: Path, is_waited_for: bool) -> None:
    """Of a command, a child of this process, its own figures are given, and this process's have no part in them."""
    program = Program(pid=os.getpid(), is_python=False, argv=("train",), cwd=str(tmp_path))
    provider = begun(program)
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
    script = f"memory = bytearray(b'x') * (150 << 20)\n{BURN}"
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        program = Program(pid=child.pid, is_python=False, argv=("train",), cwd=str(tmp_path))
        if is_waited_for:
            child.wait()
        tags = at_end(provider, program)
        assert set(tags) == {"usage.wall.seconds", "usage.cpu.seconds", "usage.memory.peak"}
        assert 0.2 <= float(tags["usage.cpu.seconds"]) <= float(tags["usage.wall.seconds"]) - 0.45
        assert int(tags["usage.memory.peak"]) >= 150 * MIB
        assert child.wait() == 0


def test_a_command_that_the_command_line_runs(tmp_path: Path) -> None:
    """What ``runcontext run`` records is the command's usage, that of its own children with it."""
    burning = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"
    command = [sys.executable, "-m", "runcontext", "run", "--json", "--", sys.executable, "-c", burning]
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    tags = json.loads(asked.stdout)["tags"]
    assert float(tags["usage.cpu.seconds"]) >= 0.2
    assert int(tags["usage.memory.peak"]) > MIB
    assert "usage.children.memory.peak" not in tags


def test_beginning_that_was_not_noted() -> None:
    """Without a beginning no time can be told, and the reason says so; the peak of memory is there all the same."""
    outcome = resolve_provider(UsageProvider(), method="tags_at_end").outcomes["provider"]
    reason = "absent: the beginning of the run was not noted in this process"
    assert {fact for fact, said in outcome.failures.items() if said == reason} == {
        "usage.wall.seconds",
        "usage.cpu.seconds",
    }
    assert "usage.memory.peak" in outcome.tags


def test_two_runs_at_once() -> None:
    """Each run has its own beginning."""
    first = begun()
    time.sleep(0.3)
    second = begun()
    walls = [float(at_end(each)["usage.wall.seconds"]) for each in (second, first)]
    assert walls[1] - walls[0] >= 0.25


def test_a_real_run(tmp_path: Path) -> None:
    """A run's tags have its usage once it has ended, and not before; the companion is no child of the program's."""
    program = """
import json, runcontext
with runcontext.start_run() as run:
    early = [name for name in run.tags if name.startswith("usage.")]
print(json.dumps([early, {name: value for name, value in run.tags.items() if "usage." in name}]))
"""
    asked = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    early, tags = json.loads(asked.stdout)
    assert early == []
    assert set(tags) == {"usage.wall.seconds", "usage.cpu.seconds", "usage.memory.peak"}
