"""The host provider: this machine's facts against other sources, and recorded systems of other kinds."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from runcontext.program import Program
from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.host import HostProvider

if TYPE_CHECKING:
    from pathlib import Path

    from runcontext.record import Context

linux_only = pytest.mark.skipif(not psutil.LINUX, reason="reads what only Linux has")

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
ID=debian
"""
ARCH = """\
# a rolling release
NAME="Arch Linux"
PRETTY_NAME="Arch Linux"
ID=arch
BUILD_ID=rolling
"""
ODD = """\

NAME='It''s \\
VERSION_ID=3.21.0 # the newest
NAME=Alpine\\ Linux
not an assignment at all
PRETTY_NAME="Alpine \\"edge\\" Linux"
"""

TAGS = {
    "host.name",
    "host.arch",
    "os.type",
    "os.name",
    "os.version",
    "os.description",
    "host.cpu.model.name",
    "cpu.count",
    "cpu.available",
    "memory.total",
    "memory.limit",
}


def described(root: Path | str = "/", pid: int | None = None) -> Context:
    """Resolve a host provider that reads below ``root``, for process ``pid`` or this one."""
    program = None if pid is None else Program(pid=pid)
    return resolve_provider(HostProvider(str(root)), name="host", program=program)


def with_cgroup(root: Path, pid: int, **limits: str) -> Path:
    """Add version 2 groups to a recorded tree: process ``pid`` is in a group with these limits."""
    process = root / "proc" / str(pid)
    process.mkdir(parents=True)
    (process / "cgroup").write_text("0::/\n")
    (process / "mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name, limit in limits.items():
        (root / "sys/fs/cgroup" / name.replace("_", ".")).write_text(f"{limit}\n")
    return root


class TestContract(ProviderContract):
    """What every provider keeps to, this one keeps to."""

    provider = HostProvider


def test_every_fact_is_there_or_has_its_reason() -> None:
    """On a real machine each fact is captured or absent for a stated reason, and none fails."""
    context = described()
    outcome = context.outcomes["host"]
    assert outcome.status is OutcomeStatus.CAPTURED, outcome.failures
    assert set(context.tags) | set(outcome.failures) == TAGS
    assert all(reason.startswith("absent: ") for reason in outcome.failures.values())


@linux_only
def test_names_agree_with_the_system() -> None:
    """Names and kernel are those that the system's own calls tell."""
    tags = described().tags
    assert tags["host.name"] == socket.gethostname()
    assert tags["os.type"] == "linux"
    assert tags["os.description"].endswith(f"Linux {os.uname().release} {os.uname().machine}")
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    assert tags["host.arch"] == known.get(platform.machine(), tags["host.arch"])


def test_counts_and_memory_agree_with_the_system() -> None:
    """Processors are physical/logical, memory is bytes, both as the system counts them."""
    tags = described().tags
    physical, _, logical = tags["cpu.count"].partition("/")
    assert logical == str(os.cpu_count())
    assert physical == "" or 1 <= int(physical) <= int(logical)
    assert int(tags["memory.total"]) == psutil.virtual_memory().total


@linux_only
def test_debian(tmp_path: Path) -> None:
    """Name, version and description come from /etc/os-release, the kernel from uname."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(DEBIAN)
    tags = described(tmp_path).tags
    assert tags["os.name"] == "Debian GNU/Linux"
    assert tags["os.version"] == "12"
    assert tags["os.description"].startswith("Debian GNU/Linux 12 (bookworm), Linux ")


@linux_only
def test_rolling_release_in_usr_lib(tmp_path: Path) -> None:
    """Without /etc/os-release that of /usr/lib counts; without a version the reason says what is missing."""
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text(ARCH)
    context = described(tmp_path)
    assert context.tags["os.name"] == "Arch Linux"
    assert context.outcomes["host"].failures["os.version"] == (
        "absent: os-release has no VERSION_ID: a rolling release"
    )


@linux_only
def test_odd_os_release(tmp_path: Path) -> None:
    """Comments, quotes, escapes, broken lines and bytes that are no UTF-8 cost at most their own line."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_bytes(b"VARIANT=\xff\n" + ODD.encode())
    tags = described(tmp_path).tags
    assert tags["os.name"] == "Alpine Linux"
    assert tags["os.version"] == "3.21.0"
    assert tags["os.description"].startswith('Alpine "edge" Linux, ')


@linux_only
def test_no_os_release(tmp_path: Path) -> None:
    """Without it name and version are absent with the reason, and the kernel still describes the system."""
    context = described(tmp_path)
    failures = context.outcomes["host"].failures
    assert failures["os.name"] == failures["os.version"]
    assert failures["os.name"].startswith("absent: no os-release file")
    assert context.tags["os.description"].startswith("Linux ")


@linux_only
@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 7B13 : 64\n", "AMD EPYC 7B13 : 64"),
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
    ],
)
def test_cpu_model(tmp_path: Path, cpuinfo: str, model: str) -> None:
    """The first processor's model name is the CPU's, as x86 and POWER name it."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert described(tmp_path).tags["host.cpu.model.name"] == model


@linux_only
def test_arm64_has_no_cpu_model(tmp_path: Path) -> None:
    """arm64 names implementer and part only: the model is absent, with the reason."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")
    context = described(tmp_path)
    reason = context.outcomes["host"].failures["host.cpu.model.name"]
    assert reason == "absent: /proc/cpuinfo has no model name, as on arm64"


@linux_only
@pytest.mark.parametrize(
    ("quota", "available"), [("50000 100000", "0.5"), ("33333 100000", "0.333"), ("100000 100000", "1")]
)
def test_available_cpus_under_a_quota(tmp_path: Path, quota: str, available: str) -> None:
    """A quota below the affinity counts, in at most three decimals, a whole number without a point."""
    with_cgroup(tmp_path, os.getpid(), cpu_max=quota)
    assert described(tmp_path).tags["cpu.available"] == available


@linux_only
def test_available_cpus_without_a_quota(tmp_path: Path) -> None:
    """A quota above the affinity, or none, leaves the affinity."""
    with_cgroup(tmp_path, os.getpid(), cpu_max="900000000 100000")
    assert described(tmp_path).tags["cpu.available"] == str(len(os.sched_getaffinity(0)))


@linux_only
def test_available_cpus_are_those_of_the_described_process() -> None:
    """The affinity is the described process's, whatever that of the process which looks."""
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        available = described(pid=child.pid).tags["cpu.available"]
        child.communicate(b"\n")
    assert float(available) <= 1


@linux_only
def test_memory_limit(tmp_path: Path) -> None:
    """A limit is given in bytes."""
    with_cgroup(tmp_path, os.getpid(), memory_max="1073741824")
    assert described(tmp_path).tags["memory.limit"] == "1073741824"


@linux_only
def test_no_memory_limit(tmp_path: Path) -> None:
    """Without a limit the fact is absent, and says so."""
    with_cgroup(tmp_path, os.getpid(), memory_max="max")
    assert described(tmp_path).outcomes["host"].failures["memory.limit"] == "absent: no memory limit"


@linux_only
def test_process_that_has_ended() -> None:
    """Facts about a process that is gone fail with the reason; those about the machine are all there."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=60)
    context = described(pid=child.pid)
    outcome = context.outcomes["host"]
    assert outcome.status is OutcomeStatus.PARTIAL
    assert str(child.pid) in outcome.failures["cpu.available"]
    assert "has ended" in outcome.failures["memory.limit"]
    assert context.tags["host.name"]


@linux_only
def test_empty_proc_below_the_root(tmp_path: Path) -> None:
    """Where there is no /proc each fact that is read there has its own reason."""
    outcome = described(tmp_path).outcomes["host"]
    assert "/proc/cpuinfo" in outcome.failures["host.cpu.model.name"]
    assert "/proc is not mounted" in outcome.failures["cpu.available"]
    assert "/proc is not mounted" in outcome.failures["memory.limit"]


SHOW_FAILURES = """
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.host import HostProvider
context = resolve_provider(HostProvider(), name="host")
print(sorted(context.tags), sorted(context.outcomes["host"].failures), sep="\\n")
"""


@linux_only
def test_real_system_without_proc() -> None:
    """With an empty folder over /proc, what does not need it is there, and the rest has its reasons."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("only root with util-linux's unshare can hide /proc")
    hide = 'mount -t tmpfs none /proc && exec "$@"'
    done = subprocess.run(
        [unshare, "--mount", "sh", "-c", hide, "sh", sys.executable, "-c", SHOW_FAILURES],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"/proc cannot be hidden here: {done.stderr.strip()}")
    tags, failures = done.stdout.splitlines()
    assert "'host.name'" in tags, done.stderr
    assert "'os.description'" in tags
    assert all(f"'{tag}'" in failures for tag in ("cpu.available", "memory.limit", "memory.total"))
