"""Control groups: limits from recorded trees of every kind of host, and from real groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from runcontext.program import Program
from runcontext.testing import resolve_provider
from runcontext_providers._host.cgroups import CgroupError, ControlGroups
from runcontext_providers._host.process_files import Mount, ProcessFiles, ProcessOutOfSightError
from runcontext_providers.host import HostProvider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PID = 4242
NO_LIMIT_V1 = "9223372036854771712"
MIB = 1 << 20

V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:11 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 31 0:31 {root} /sys/fs/cgroup/memory ro,nosuid master:12 - cgroup cgroup rw,memory"
PRINT_QUOTA = """
import os
from runcontext_providers._host.cgroups import ControlGroups
from runcontext_providers._host.process_files import ProcessFiles
print(ControlGroups(ProcessFiles(os.getpid())).cpu_quota())
"""
HYBRID_V2 = "35 31 0:32 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw"


def recorded(folder: Path, *, cgroup: str, mounts: list[str], files: Mapping[str, str]) -> ControlGroups:
    """Write a tree as a host of that kind shows it to process 4242; ``files`` are below /sys/fs/cgroup."""
    process = folder / "proc" / str(PID)
    process.mkdir(parents=True)
    (process / "cgroup").write_text(textwrap.dedent(cgroup))
    (process / "mountinfo").write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "".join(f"{each}\n" for each in mounts)
    )
    for name, content in files.items():
        file = folder / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return ControlGroups(ProcessFiles(PID, str(folder)))


def test_docker_on_version_1(tmp_path: Path) -> None:
    """A container's own group is mounted under its path on the host: its files are at the mount point."""
    groups = recorded(
        tmp_path,
        cgroup="""\
            12:memory:/docker/1f2e
            4:cpu,cpuacct:/docker/1f2e
            1:name=systemd:/docker/1f2e
            """,
        mounts=[V1_CPU.format(root="/docker/1f2e"), V1_MEMORY.format(root="/docker/1f2e")],
        files={
            "cpu,cpuacct/cpu.cfs_quota_us": "150000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": str(512 * MIB),
        },
    )
    assert groups.cpu_quota() == 1.5
    assert groups.memory_limit() == 512 * MIB


def test_version_1_without_limits(tmp_path: Path) -> None:
    """A quota of -1 and the number that stands for no limit, on any page size, are no limits."""
    groups = recorded(
        tmp_path,
        cgroup="12:memory:/a\n4:cpu,cpuacct:/a\n",
        mounts=[V1_CPU.format(root="/"), V1_MEMORY.format(root="/")],
        files={
            "cpu,cpuacct/a/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            "memory/a/memory.limit_in_bytes": NO_LIMIT_V1,
            "memory/memory.limit_in_bytes": "9223372036854710272",
        },
    )
    assert groups.cpu_quota() is None
    assert groups.memory_limit() is None


def test_version_1_ancestors_out_of_sight(tmp_path: Path) -> None:
    """The kernel's hierarchical limit counts: it knows of ancestors that a container does not see."""
    groups = recorded(
        tmp_path,
        cgroup="12:memory:/docker/1f2e\n",
        mounts=[V1_MEMORY.format(root="/docker/1f2e")],
        files={
            "memory/memory.limit_in_bytes": NO_LIMIT_V1,
            "memory/memory.stat": f"cache 0\nhierarchical_memory_limit {256 * MIB}\ntotal_cache 1",
        },
    )
    assert groups.memory_limit() == 256 * MIB


def test_docker_on_version_2(tmp_path: Path) -> None:
    """In a cgroup namespace of its own a container's group is ``/``, and its files are at the mount point."""
    groups = recorded(
        tmp_path,
        cgroup="0::/\n",
        mounts=[V2.format(root="/")],
        files={"cpu.max": "50000 100000", "memory.max": str(64 * MIB)},
    )
    assert groups.cpu_quota() == 0.5
    assert groups.memory_limit() == 64 * MIB


def test_docker_on_version_2_without_limits(tmp_path: Path) -> None:
    """``max`` is no limit."""
    groups = recorded(
        tmp_path,
        cgroup="0::/\n",
        mounts=[V2.format(root="/")],
        files={"cpu.max": "max 100000", "memory.max": "max"},
    )
    assert groups.cpu_quota() is None
    assert groups.memory_limit() is None


def test_kubernetes_limits_the_pod_below_the_container(tmp_path: Path) -> None:
    """Of nested groups the smallest limit holds, wherever it stands, each resource on its own."""
    pod = "kubepods.slice/kubepods-burstable.slice/kubepods-pod77.slice"
    groups = recorded(
        tmp_path,
        cgroup=f"0::/{pod}/cri-9a.scope\n",
        mounts=[V2.format(root="/")],
        files={
            f"{pod}/cri-9a.scope/cpu.max": "400000 100000",
            f"{pod}/cri-9a.scope/memory.max": str(128 * MIB),
            f"{pod}/cpu.max": "250000 100000",
            f"{pod}/memory.max": "max",
            "kubepods.slice/memory.max": str(2048 * MIB),
        },
    )
    assert groups.cpu_quota() == 2.5
    assert groups.memory_limit() == 128 * MIB


def test_systemd_slice_limits_its_units(tmp_path: Path) -> None:
    """A limit of user.slice holds for a session deep below it, whose own controllers are not even enabled."""
    session = "user.slice/user-1000.slice/user@1000.service/app.slice/run.scope"
    groups = recorded(
        tmp_path,
        cgroup=f"0::/{session}\n",
        mounts=[V2.format(root="/")],
        files={
            f"{session}/cgroup.procs": str(PID),
            "user.slice/cpu.max": "300000 100000",
            "user.slice/user-1000.slice/memory.max": str(1024 * MIB),
        },
    )
    assert groups.cpu_quota() == 3.0
    assert groups.memory_limit() == 1024 * MIB


def test_hybrid_mounts(tmp_path: Path) -> None:
    """Where both versions are mounted, each controller is read from the version that has it."""
    groups = recorded(
        tmp_path,
        cgroup="""\
            5:cpu,cpuacct:/system.slice/train.service
            1:name=systemd:/system.slice/train.service
            0::/system.slice/train.service
            """,
        mounts=[V1_CPU.format(root="/"), HYBRID_V2],
        files={
            "cpu,cpuacct/system.slice/train.service/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/system.slice/train.service/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/system.slice/cpu.cfs_quota_us": "700000",
            "cpu,cpuacct/system.slice/cpu.cfs_period_us": "200000",
            "unified/system.slice/train.service/memory.max": str(32 * MIB),
            "unified/system.slice/train.service/cpu.max": "1000 100000",
        },
    )
    assert groups.cpu_quota() == 3.5
    assert groups.memory_limit() == 32 * MIB


def test_hierarchy_mounted_from_outside_of_the_namespace(tmp_path: Path) -> None:
    """Under a mount whose root is ``/../..`` the group is found by its process, and all above it count."""
    groups = recorded(
        tmp_path,
        cgroup="0::/inner\n",
        mounts=[V2.format(root="/../..")],
        files={
            "other.slice/x/inner/cgroup.procs": "1\n2",
            "other.slice/x/inner/cpu.max": "1000 100000",
            "pods.slice/mine/inner/cgroup.procs": f"7\n{PID}",
            "pods.slice/mine/inner/cpu.max": "max 100000",
            "pods.slice/cpu.max": "120000 100000",
        },
    )
    assert groups.cpu_quota() == 1.2


def test_group_beside_the_namespace_of_the_reader(tmp_path: Path) -> None:
    """A process outside of the reader's namespace (``/../b``) is found under a mount from as far up."""
    groups = recorded(
        tmp_path,
        cgroup="0::/../b\n",
        mounts=[V2.format(root="/..")],
        files={"b/cpu.max": "200000 100000", "cpu.max": "100000 100000"},
    )
    assert groups.cpu_quota() == 1.0


def test_group_mounted_under_another_name(tmp_path: Path) -> None:
    """Containers within containers show two paths for one group: that it holds the process decides."""
    groups = recorded(
        tmp_path,
        cgroup="4:cpu,cpuacct:/docker/outer/kubepods/pod1/c1\n",
        mounts=[V1_CPU.format(root="/kubepods/pod1/c1")],
        files={
            "cpu,cpuacct/cgroup.procs": str(PID),
            "cpu,cpuacct/cpu.cfs_quota_us": "200000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )
    assert groups.cpu_quota() == 2.0


def test_group_out_of_sight(tmp_path: Path) -> None:
    """Limits that cannot be seen are an error which names the group and what is mounted, never "no limit"."""
    groups = recorded(
        tmp_path, cgroup="0::/../elsewhere\n", mounts=[V2.format(root="/")], files={"cpu.max": "max 100000"}
    )
    with pytest.raises(CgroupError, match=r"/\.\./elsewhere is outside of what is mounted \(/\)"):
        groups.cpu_quota()


def test_groups_that_are_mounted_nowhere(tmp_path: Path) -> None:
    """In a sandbox without /sys the limits of a group cannot be seen: that is said, and is not "no limit"."""
    groups = recorded(tmp_path, cgroup="0::/user.slice/job.scope\n", mounts=[], files={})
    with pytest.raises(CgroupError, match=r"outside of what is mounted \(nothing\)"):
        groups.memory_limit()


def test_one_hierarchy_mounted_twice(tmp_path: Path) -> None:
    """A second mount that shows more of the ancestors adds their limits."""
    host = "40 23 0:26 / /sys/fs/cgroup/host\\040tree ro - cgroup2 cgroup2 rw"
    groups = recorded(
        tmp_path,
        cgroup="0::/slice/box\n",
        mounts=[V2.format(root="/slice/box"), host],
        files={
            "memory.max": str(100 * MIB),
            "host tree/slice/box/memory.max": str(100 * MIB),
            "host tree/slice/memory.max": str(50 * MIB),
        },
    )
    assert groups.memory_limit() == 50 * MIB


def test_glob_characters_in_a_group(tmp_path: Path) -> None:
    """A group's name is no pattern."""
    groups = recorded(
        tmp_path,
        cgroup="0::/job[1]*\n",
        mounts=[V2.format(root="/..")],
        files={
            "a/job[1]*/cgroup.procs": str(PID),
            "a/job[1]*/cpu.max": "100000 100000",
            "a/job1/cgroup.procs": str(PID),
            "a/job1/cpu.max": "1 100000",
        },
    )
    assert groups.cpu_quota() == 1.0


@pytest.mark.parametrize(("cgroup", "mounts"), [("", []), ("0::/\n", []), ("3:cpuset:/\n", [V1_CPU.format(root="/")])])
def test_no_control_groups(tmp_path: Path, cgroup: str, mounts: list[str]) -> None:
    """Without groups, without a mount, and without the controller there is no limit."""
    groups = recorded(tmp_path, cgroup=cgroup, mounts=mounts, files={})
    assert groups.cpu_quota() is None
    assert groups.memory_limit() is None


def test_kernel_without_control_groups(tmp_path: Path) -> None:
    """A process without a cgroup file has no limits."""
    (tmp_path / "proc" / str(PID)).mkdir(parents=True)
    assert ControlGroups(ProcessFiles(PID, str(tmp_path))).memory_limit() is None


def test_process_out_of_sight(tmp_path: Path) -> None:
    """An unmounted /proc and a process that ended are an error which says so."""
    with pytest.raises(ProcessOutOfSightError, match="/proc/4242 is not there"):
        ControlGroups(ProcessFiles(PID, str(tmp_path))).cpu_quota()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file")
def test_limit_that_may_not_be_read(tmp_path: Path) -> None:
    """A limit that may not be read is an error, since any other answer would be a guess."""
    groups = recorded(tmp_path, cgroup="0::/\n", mounts=[V2.format(root="/")], files={"cpu.max": "1 1"})
    (tmp_path / "sys/fs/cgroup/cpu.max").chmod(0)
    with pytest.raises(PermissionError):
        groups.cpu_quota()


class Kind(NamedTuple):
    """How a limit is set in one version of control groups: in which file, and how much of its unit is one of ours."""

    file: str
    unit: float


KINDS = {
    ("cpu", 1): Kind("cpu.cfs_quota_us", 100_000),
    ("cpu", 2): Kind("cpu.max", 100_000),
    ("memory", 1): Kind("memory.limit_in_bytes", 1),
    ("memory", 2): Kind("memory.max", 1),
}


class RealGroups(NamedTuple):
    """Groups that were really made: ``outer`` with a limit, ``inner`` below it without one, where they are mounted."""

    mount: Mount
    outer: Path
    inner: Path


@contextmanager
def real_groups(controller: str, limit: float, version: int | None = None) -> Iterator[RealGroups]:
    """Give two nested groups, the outer with this limit in CPUs or bytes; skip where they cannot be made."""
    mount, kind = _hierarchy(controller, version)
    outer = Path(mount.point) / f"runcontext-test-{os.getpid()}"
    try:
        try:
            (outer / "inner").mkdir(parents=True)
            (outer / kind.file).write_text(str(int(limit * kind.unit)))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        yield RealGroups(mount, outer, outer / "inner")
    finally:
        for folder in (outer / "inner", outer):
            if folder.is_dir():
                folder.rmdir()


def _hierarchy(controller: str, version: int | None) -> tuple[Mount, Kind]:
    for mount in ProcessFiles(os.getpid()).mounts if Path("/proc/self/mountinfo").exists() else []:
        if mount.type == "cgroup" and version != 2 and controller in mount.options.split(","):
            return mount, KINDS[controller, 1]
        control = Path(mount.point) / "cgroup.subtree_control"
        if mount.type == "cgroup2" and version != 1 and controller in control.read_text("ascii").split():
            return mount, KINDS[controller, 2]
    pytest.skip(f"no mounted hierarchy of version {version or '1 or 2'} hands the {controller} controller to groups")


def limit_of(controller: str, process: ProcessFiles) -> float | None:
    """Give the limit that is found for a process."""
    groups = ControlGroups(process)
    return groups.cpu_quota() if controller == "cpu" else groups.memory_limit()


@contextmanager
def child_in(group: Path) -> Iterator[int]:
    """Start a process in a group, and give its id."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        (group / "cgroup.procs").write_text(str(child.pid))
        yield child.pid
        child.communicate(b"\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("controller", "limit"), [("cpu", 0.75), ("memory", 96 * MIB)])
def test_real_nested_groups(controller: str, limit: float, version: int) -> None:
    """A real process in a real group without a limit has that of the group above it."""
    with real_groups(controller, limit, version) as groups, child_in(groups.inner) as pid:
        assert limit_of(controller, ProcessFiles(pid)) == limit


def test_real_host_facts() -> None:
    """The host provider's tags are those of the described process's groups, not those of its own."""
    with (
        real_groups("cpu", 0.25) as cpu,
        real_groups("memory", 96 * MIB) as memory,
        child_in(cpu.inner) as pid,
    ):
        (memory.inner / "cgroup.procs").write_text(str(pid))
        tags = resolve_provider(HostProvider(), program=Program(pid=pid)).tags
    assert tags["cpu.available"] == "0.25"
    assert tags["memory.limit"] == str(96 * MIB)


def entering(group: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that joins a group first; skip where namespaces are not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare of util-linux is not installed")
    enter = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
    arguments = ["sh", "-c", enter, "sh", str(group), unshare, *command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"no namespace can be made here: {done.stderr.strip()}")
    return done


def test_real_cgroup_namespace() -> None:
    """From inside a namespace whose hierarchy was mounted outside of it, the real quota is found."""
    with real_groups("cpu", 0.5) as groups:
        done = entering(groups.inner, "--cgroup", sys.executable, "-c", PRINT_QUOTA)
    assert done.stdout.strip() == "0.5", done.stderr


def test_real_group_as_a_container_sees_it() -> None:
    """As Docker does it with version 1: a namespace in which nothing but the container's own group is mounted."""
    with real_groups("cpu", 0.5) as groups:
        point = groups.mount.point
        bind = f'mount --bind {groups.outer} {point} && exec "$0" "$@"'
        done = entering(groups.outer, "--mount", "sh", "-c", bind, sys.executable, "-c", PRINT_QUOTA)
    assert done.stdout.strip() == "0.5", done.stderr


def test_real_namespace_with_its_own_mount() -> None:
    """As with version 2: a cgroup namespace that has the hierarchy mounted anew, its own group at the top."""
    with real_groups("cpu", 0.5) as groups:
        point, kind = groups.mount.point, groups.mount.type
        options = "" if kind == "cgroup2" else "-o cpu"
        again = f'umount {point} && mount -t {kind} {options} none {point} && exec "$0" "$@"'
        done = entering(groups.outer, "--mount", "--cgroup", "sh", "-c", again, sys.executable, "-c", PRINT_QUOTA)
    assert done.stdout.strip() == "0.5", done.stderr
