"""What the host provider tells of one process: its limits, and the file systems that it has, real ones."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil
import pytest

from runcontext.program import Program
from runcontext.testing import resolve_provider
from runcontext_providers._host.process_files import Mount, ProcessFiles, mount_of
from runcontext_providers.host import HostProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runcontext.record import Context

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads what only Linux has")

WAIT = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"

HANG = '''
import ctypes, os, struct, sys

ACCESS, INIT, NOT_IMPLEMENTED = 34, 26, -38  # linux/fuse.h, asm-generic/errno.h


def answer(device, until):
    """Answer requests up to one with this opcode."""
    opcode = 0
    while opcode != until:
        request = os.read(device, 1 << 17)
        opcode, unique = struct.unpack_from("<4xIQ", request)
        body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, 0) if opcode == INIT else b""
        error = 0 if opcode == INIT else NOT_IMPLEMENTED
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


folder = sys.argv[1]
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
if ctypes.CDLL(None, use_errno=True).mount(b"hang", os.fsencode(folder), b"fuse", 0, options.encode()):
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
answer(device, INIT)
child = os.fork()
if child == 0:
    os.chdir(folder)
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
answer(device, ACCESS)
os.waitpid(child, 0)
'''
"""A file system whose server answers until a child has moved into it, and then never again."""


def described(pid: int, root: str = "/") -> Context:
    """Resolve the host provider for process ``pid``."""
    return resolve_provider(HostProvider(root), name="host", program=Program(pid=pid))


@contextmanager
def waiting(command: list[str]) -> Iterator[int]:
    """Run a command that prints a process id and reads its input to the end; give that id, skip where it cannot."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _printed_pid(process.stdout, process.stderr)
        finally:
            process.kill()


def _printed_pid(output: IO[str] | None, errors: IO[str] | None) -> int:
    assert output is not None
    assert errors is not None
    line = output.readline()
    if not line:
        problem = errors.read().strip()
        assert problem.startswith(("mount:", "unshare:", "PermissionError:")), problem
        pytest.skip(f"this cannot be set up here: {problem}")
    return int(line)


def in_mount_namespace(*command: str) -> list[str]:
    """Give the command as one in a mount namespace of its own; skip where that needs more rights than there are."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("only root with util-linux's unshare can mount")
    return [unshare, "--mount", *command]


def waiting_after(script: str, *arguments: str) -> list[str]:
    """Give a command that runs a shell script in a mount namespace of its own, and then WAIT with what it leaves."""
    wait = f'{script} && exec "$PYTHON" -c "$WAIT"'
    setting = ["env", f"PYTHON={sys.executable}", f"WAIT={WAIT}"]
    return [*setting, *in_mount_namespace("sh", "-c", wait, "sh", *arguments)]


@pytest.mark.parametrize(
    ("tag", "number", "limits", "told"),
    [
        ("limits.nofile", resource.RLIMIT_NOFILE, (77, 99), "77/99"),
        ("limits.core", resource.RLIMIT_CORE, (0, 4096), "0/4096"),
        ("limits.memlock", resource.RLIMIT_MEMLOCK, (4096, 8192), "4096/8192"),
        ("limits.nproc", resource.RLIMIT_NPROC, (50, 60), "50/60"),
    ],
)
def test_limits_are_those_of_the_process(tag: str, number: int, limits: tuple[int, int], told: str) -> None:
    """Soft and hard limits are the described process's own, bytes and numbers as setrlimit(2) takes them."""
    code = f"import resource; resource.setrlimit({number}, {limits}); {WAIT}"
    with waiting([sys.executable, "-c", code]) as pid:
        assert described(pid).tags[tag] == told


def test_no_limit() -> None:
    """No limit is called unlimited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    told = described(os.getpid()).tags["limits.core"]
    assert told == "/".join("unlimited" if each == resource.RLIM_INFINITY else str(each) for each in (soft, hard))


def test_limits_in_a_form_that_is_not_known(tmp_path: Path) -> None:
    """A limit that is not listed is absent, and says which line is missing."""
    (tmp_path / f"proc/{os.getpid()}").mkdir(parents=True)
    (tmp_path / f"proc/{os.getpid()}/limits").write_text("Limit  Soft Limit  Hard Limit  Units\n")
    reason = described(os.getpid(), str(tmp_path)).outcomes["host"].failures["limits.nofile"]
    assert reason == f"absent: /proc/{os.getpid()}/limits has no line 'Max open files'"


def test_shared_memory_of_the_process() -> None:
    """/dev/shm is that of the process's mount namespace, the topmost where several are stacked."""
    script = "mount -t tmpfs -o size=3m one /dev/shm && mount -t tmpfs -o size=5m two /dev/shm"
    with waiting(waiting_after(script)) as pid:
        assert described(pid).tags["shm.size"] == str(5 << 20)


def test_shared_memory_of_the_kernel_s_default_size() -> None:
    """Without a size in its options the file system itself tells: half of the memory, see tmpfs(5)."""
    with waiting(waiting_after("mount -t tmpfs one /dev/shm")) as pid:
        size = int(described(pid).tags["shm.size"])
    assert 0.4 < size / psutil.virtual_memory().total < 0.6


@pytest.mark.parametrize("script", ["mount -t tmpfs one /dev", "mount --bind /usr /dev/shm"])
def test_no_shared_memory(script: str) -> None:
    """Where /dev/shm is a folder like others, or one of a disk, it is absent."""
    with waiting(waiting_after(script)) as pid:
        reason = described(pid).outcomes["host"].failures["shm.size"]
    assert reason == "absent: no shared memory is mounted at /dev/shm"


def test_working_folder_on_a_mount_with_an_odd_name(tmp_path: Path) -> None:
    r"""Spaces, tabs, backslashes and bytes that are no UTF-8 in the way of a mount are taken as they are."""
    folder = os.path.join(os.fsencode(tmp_path), b"a b\t\\040\xff")
    os.mkdir(folder)
    script = 'mount -t tmpfs one "$1" && mkdir "$1/deep" && cd "$1/deep"'
    with waiting(waiting_after(script, os.fsdecode(folder))) as pid:
        assert described(pid).tags["cwd.filesystem"] == "tmpfs"


def test_working_folder_on_a_bind_mount(tmp_path: Path) -> None:
    """A folder that is bound to another place has the type of where it is from."""
    (tmp_path / "here").mkdir()
    with waiting(waiting_after('mount --bind /proc "$1/here" && cd "$1/here/sys"', str(tmp_path))) as pid:
        assert described(pid).tags["cwd.filesystem"] == "proc"


def test_working_folder_under_stacked_mounts(tmp_path: Path) -> None:
    """Of mounts at one place the topmost counts, and what was mounted below one that was hidden does not."""
    (tmp_path / "a/b").mkdir(parents=True)
    mounts = 'mount -t tmpfs hidden "$1/a/b" && mount -t ramfs lower "$1/a" && mount -t tmpfs middle "$1/a"'
    script = f'{mounts} && mount -t ramfs top "$1/a" && mkdir "$1/a/b" && cd "$1/a/b"'
    with waiting(waiting_after(script, str(tmp_path))) as pid:
        assert described(pid).tags["cwd.filesystem"] == "ramfs"


def test_working_folder_that_was_deleted(tmp_path: Path) -> None:
    """The file system of a folder that is gone is still known."""
    script = 'mount -t tmpfs one "$1" && mkdir "$1/gone" && cd "$1/gone" && rmdir "$1/gone"'
    with waiting(waiting_after(script, str(tmp_path))) as pid:
        assert described(pid).tags["cwd.filesystem"] == "tmpfs"


def test_working_folder_on_a_dead_file_system(tmp_path: Path) -> None:
    """One whose server never answers, as a lost NFS server, holds nobody up, and its type is told."""
    command = in_mount_namespace(sys.executable, "-c", HANG, str(tmp_path))
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("there is no /dev/fuse that may be opened")
    with waiting(command) as pid:
        assert described(pid).tags["cwd.filesystem"] == "fuse"
        # That the folder is dead indeed: whoever looks at it gets no answer.
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["ls", "-d", f"/proc/{pid}/cwd/."], check=False, timeout=0.5)


def test_working_folder_in_a_chroot(tmp_path: Path) -> None:
    """In a chroot the mount that holds it cannot be seen: absent, and said so."""
    if os.geteuid() != 0:
        pytest.skip("only root can change its root")
    code = f"import os, sys; os.chroot({str(tmp_path)!r}); os.chdir('/'); {WAIT}"
    with waiting([sys.executable, "-c", code]) as pid:
        reason = described(pid).outcomes["host"].failures["cwd.filesystem"]
    assert "as in a chroot" in reason


def test_process_of_somebody_else() -> None:
    """Of a process that may not be looked into, what is hidden is absent with the reason, and the rest is there."""
    if os.geteuid() == 0:
        pytest.skip("root may look into every process")
    outcome = described(1).outcomes["host"]
    assert not [reason for reason in outcome.failures.values() if not reason.startswith("absent: ")]


def test_mounts_of_this_process() -> None:
    """What is read of mountinfo is what the system's own tools tell of it."""
    findmnt = shutil.which("findmnt")
    if findmnt is None:
        pytest.skip("util-linux's findmnt is not installed")
    mounts = ProcessFiles(os.getpid()).mounts
    for path in ("/", "/proc", "/dev/shm", "/sys", os.getcwd()):
        found = mount_of(mounts, path)
        command = [findmnt, "--noheadings", "--output", "FSTYPE", "--target", path]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.split()
        assert found is not None
        assert told[-1:] == [found.type], path


def test_path_outside_of_all_mounts() -> None:
    """A path that no listed mount holds is on none of them, whatever is mounted elsewhere."""
    mounts = [Mount(id="5", parent="1", root="/", point="/proc", type="proc", options="rw")]
    assert mount_of(mounts, "/home") is None
    assert mount_of(mounts, "/proc/self") == mounts[0]


def test_mount_that_is_its_own_parent() -> None:
    """The first root is said to be mounted on itself, which is no reason to go round."""
    root = Mount(id="1", parent="1", root="/", point="/", type="rootfs", options="rw")
    assert mount_of([root], "/a/b") == root


def test_limits_agree_with_the_shell() -> None:
    """The numbers are those that a shell tells, which was started beside."""
    told = subprocess.run(["sh", "-c", "ulimit -S -n; ulimit -H -n"], capture_output=True, text=True, check=True)
    assert re.split(r"\s+", told.stdout.strip()) == described(os.getpid()).tags["limits.nofile"].split("/")


def test_what_a_program_changed_of_its_own_is_told_at_the_end() -> None:
    """Affinity and limits are told again when the run ends; facts that no program changes are not."""
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os, resource; os.sched_setaffinity(0, [{one}]); resource.setrlimit({resource.RLIMIT_NOFILE}, (70, 99))"
    )
    with waiting([sys.executable, "-c", f"{code}; {WAIT}"]) as pid:
        program = Program(pid=pid)
        context = resolve_provider(HostProvider(), name="host", program=program, method="tags_at_end")
    assert context.tags["limits.nofile"] == "70/99"
    assert float(context.tags["cpu.available"]) <= 1
    assert "host.name" not in context.tags


def test_nothing_is_told_at_the_end_of_a_program_that_is_gone() -> None:
    """A command is over when its run ends: that is no change of its limits."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=60)
    context = resolve_provider(HostProvider(), name="host", program=Program(pid=child.pid), method="tags_at_end")
    assert not context.tags
    assert not context.outcomes["host"].failures
