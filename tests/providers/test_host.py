"""The host provider: this machine's facts against other sources, and recorded systems of other kinds."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from datetime import datetime, timezone
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

LIMITS = {"limits.nofile", "limits.nproc", "limits.memlock", "limits.core"}
TAGS = {
    *LIMITS,
    "host.name",
    "host.id",
    "host.arch",
    "host.boot_time",
    "os.type",
    "os.name",
    "os.version",
    "os.description",
    "host.cpu.model.name",
    "cpu.flags",
    "cpu.count",
    "cpu.available",
    "memory.total",
    "memory.limit",
    "load",
    "shm.size",
    "cwd.filesystem",
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


X86 = """\
processor\t: 0
model name\t: AMD EPYC 7B13
flags\t\t: fpu sse sse2 ht pni ssse3 fma sse4_1 sse4_2 smep svm avx f16c avx2 avx512f avx512_vnni avx_vnni amx_tile vaes
bugs\t\t: spectre_v1

processor\t: 1
model name\t: another kind of core
flags\t\t: sse2
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp sve asimdfhm sve2 i8mm bf16 sme
CPU implementer\t: 0x41

processor\t: 1
Features\t: fp
"""
OLD_ARM = """\
processor\t: 0
BogoMIPS\t: 1581.05

processor\t: 1
BogoMIPS\t: 1581.05

Features\t: swp half thumb fastmult vfp edsp neon vfpv3
CPU implementer\t: 0x41
"""
IBM_Z = """\
vendor_id       : IBM/S390
# processors    : 4
features\t: esan3 zarch stfle eimm dfp edat vx vxd vxe vxe2 nnpa sie
cache0          : level=1 type=Data scope=Private size=128K

processor 0: version = 00,  identification = 000000,  machine = 8561
"""


@linux_only
@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        (X86, "amx_tile,avx,avx2,avx512_vnni,avx512f,avx_vnni,f16c,fma,sse4_1,sse4_2,ssse3"),
        (ARM, "asimd,asimdfhm,asimdhp,bf16,fphp,i8mm,sme,sve,sve2"),
        (OLD_ARM, "neon"),
        (IBM_Z, "nnpa,vx,vxd,vxe,vxe2"),
    ],
)
def test_vector_instructions(tmp_path: Path, cpuinfo: str, flags: str) -> None:
    """Of all that the first processor can, the instructions on vectors and matrices, by name, on each architecture.

    The forms are those of Linux, arch/x86/kernel/cpu/proc.c, arch/arm64/kernel/cpuinfo.c, arch/s390/kernel/processor.c.
    """
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert described(tmp_path).tags["cpu.flags"] == flags


@linux_only
@pytest.mark.parametrize(
    ("cpuinfo", "why"),
    [
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "does not list instructions"),
        ("processor\t: 0\nmodel name\t: i486\nflags\t\t: fpu vme\n", "lists no vector instructions"),
        ("", "does not list instructions"),
    ],
)
def test_no_vector_instructions(tmp_path: Path, cpuinfo: str, why: str) -> None:
    """Where none is listed, or nothing is, the fact is absent and says which."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert why in described(tmp_path).outcomes["host"].failures["cpu.flags"]


def with_machine_id(root: Path, content: str, file: str = "etc/machine-id") -> Context:
    """Describe a recorded machine that has this in ``file``."""
    process = root / "proc" / str(os.getpid())
    process.mkdir(parents=True)
    (process / "cgroup").write_text("0::/\n")
    (process / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(content)
    return described(root)


@linux_only
def test_host_id_is_that_of_systemd() -> None:
    """It is what systemd's own tool derives for our application, and so neither the machine-id nor a guess."""
    tool = shutil.which("systemd-id128")
    context = described()
    if tool is None or "host.id" not in context.tags:
        pytest.skip("systemd-id128 is not installed, or this machine has no id")
    command = [tool, "machine-id", "--app-specific=8b3c5d0f6a4e4b7c9d21e5f0a7c46b13"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if told.returncode != 0:
        pytest.skip(f"systemd-id128 cannot tell: {told.stderr.strip()}")
    assert context.tags["host.id"] == told.stdout.strip()


@linux_only
@pytest.mark.parametrize("file", ["etc/machine-id", "var/lib/dbus/machine-id"])
def test_host_id(tmp_path: Path, file: str) -> None:
    """The same machine always has the same id, 32 hexadecimal digits that do not show the machine-id."""
    machine_id = "4fa5c2f1a7e84bd3b2b7d1c0e9f86a35"
    context = with_machine_id(tmp_path, f"{machine_id}\n", file)
    assert context.tags["host.id"] == "8f5de3e38b8a4f7387daf86664edc216"
    assert machine_id not in str(context.to_json())


@linux_only
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty, as in images"),
        ("uninitialized\n", "is uninitialized, as in images"),
        ("0" * 32, "holds no machine-id"),
        ("not hexadecimal", "holds no machine-id"),
        ("\u00e4" * 32, "holds no machine-id"),
    ],
)
def test_no_host_id(tmp_path: Path, content: str, why: str) -> None:
    """An id that was never made, or is none, is absent with the reason."""
    assert why in with_machine_id(tmp_path, content).outcomes["host"].failures["host.id"]


@linux_only
def test_no_machine_id(tmp_path: Path) -> None:
    """Without a file the reason names those that were looked for."""
    reason = with_machine_id(tmp_path, "", "etc/hostname").outcomes["host"].failures["host.id"]
    assert reason == "absent: no machine-id: neither /etc/machine-id nor /var/lib/dbus/machine-id is there"


@linux_only
def test_boot_time() -> None:
    """It is when the system started, as the kernel itself counts (``btime`` of /proc/stat), in UTC."""
    told = datetime.strptime(described().tags["host.boot_time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert abs(told.timestamp() - psutil.boot_time()) <= 2


@linux_only
def test_load(tmp_path: Path) -> None:
    """The first of the load averages, for each logical processor of the machine."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text("6.00 1.00 0.50 3/400 12345\n")
    assert described(tmp_path).tags["load"] == f"{6 / (psutil.cpu_count() or 1):.2f}"


@linux_only
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    """What is hidden from the user is absent, for the reason that the system gives."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text("6.00 1.00 0.50 3/400 12345\n")
    (tmp_path / "proc/loadavg").chmod(0)
    reason = described(tmp_path).outcomes["host"].failures["load"]
    assert reason == f"absent: {tmp_path}/proc/loadavg may not be read: Permission denied"


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
def test_limits_that_cannot_be_seen(tmp_path: Path) -> None:
    """Where control groups are not mounted, what they allow is absent with the reason, whatever the affinity says."""
    process = tmp_path / "proc" / str(os.getpid())
    process.mkdir(parents=True)
    (process / "cgroup").write_text("0::/user.slice/job.scope\n")
    (process / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    failures = described(tmp_path).outcomes["host"].failures
    assert failures["cpu.available"] == failures["memory.limit"]
    assert failures["memory.limit"].startswith("absent: control group /user.slice/job.scope is outside")


@linux_only
def test_process_that_has_ended() -> None:
    """Facts about a process that is gone are absent and say so; those about the machine are all there."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=60)
    outcome = described(pid=child.pid).outcomes["host"]
    assert outcome.status is OutcomeStatus.CAPTURED, outcome.failures
    gone = f"absent: process {child.pid} ended before this was read"
    of_the_process = {tag for tag, reason in outcome.failures.items() if reason == gone}
    assert of_the_process == {"cpu.available", "memory.limit", "shm.size", "cwd.filesystem", *LIMITS}
    assert {"host.name", "host.boot_time", "load"} <= set(outcome.tags)


@linux_only
def test_process_that_has_ended_and_is_not_waited_for() -> None:
    """The same holds for a zombie, of which /proc still shows a part."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read()
        deadline = time.monotonic() + 60
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.01)
        outcome = described(pid=child.pid).outcomes["host"]
    assert outcome.status is OutcomeStatus.CAPTURED, outcome.failures
    assert "ended before" in outcome.failures["cwd.filesystem"]


@linux_only
def test_empty_proc_below_the_root(tmp_path: Path) -> None:
    """Where there is no /proc each fact that is read there has its own reason."""
    outcome = described(tmp_path).outcomes["host"]
    assert outcome.status is OutcomeStatus.CAPTURED, outcome.failures
    assert outcome.failures["cpu.flags"] == f"absent: {tmp_path}/proc/cpuinfo is not there"
    assert "/proc is not mounted" in outcome.failures["cpu.available"]
    assert "/proc is not mounted" in outcome.failures["memory.limit"]
    assert all(tag in outcome.failures for tag in ("host.id", "load", "shm.size", "cwd.filesystem", *LIMITS))


SHOW_FAILURES = """
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.host import HostProvider
outcome = resolve_provider(HostProvider(), name="host").outcomes["host"]
print(outcome.status, sorted(outcome.tags), sorted(outcome.failures.items()), sep="\\n")
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
    assert not done.returncode, done.stderr
    status, tags, failures = done.stdout.splitlines()
    assert status == "captured"
    assert "'host.name'" in tags
    assert "'os.description'" in tags
    assert "('cpu.available', 'absent: /proc/" in failures
    assert "is not mounted" in failures
    assert all(f"'{tag}'" in failures for tag in ("memory.limit", "memory.total", "load", *LIMITS))
    assert "ended" not in failures.replace("or the process has ended", "")
