"""Control groups: limits from recorded trees of every kind of host, and from real groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runcontext_providers._cgroups import CgroupError, ControlGroups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PID = 4242
NO_LIMIT_V1 = "9223372036854771712"
MIB = 1 << 20

V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:11 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 31 0:31 {root} /sys/fs/cgroup/memory ro,nosuid master:12 - cgroup cgroup rw,memory"
CPU_HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct")
PRINT_QUOTA = """
import os
from runcontext_providers._cgroups import ControlGroups
print(ControlGroups(os.getpid()).cpu_quota())
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
    return ControlGroups(PID, str(folder))


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


@pytest.mark.parametrize(("cgroup", "mounts"), [("", []), ("0::/a\n", []), ("3:cpuset:/\n", [V1_CPU.format(root="/")])])
def test_no_control_groups(tmp_path: Path, cgroup: str, mounts: list[str]) -> None:
    """Without groups, without a mount, and without the controller there is no limit."""
    groups = recorded(tmp_path, cgroup=cgroup, mounts=mounts, files={})
    assert groups.cpu_quota() is None
    assert groups.memory_limit() is None


def test_kernel_without_control_groups(tmp_path: Path) -> None:
    """A process without a cgroup file has no limits."""
    (tmp_path / "proc" / str(PID)).mkdir(parents=True)
    assert ControlGroups(PID, str(tmp_path)).memory_limit() is None


def test_process_out_of_sight(tmp_path: Path) -> None:
    """An unmounted /proc and a process that ended are an error which says so."""
    with pytest.raises(CgroupError, match="/proc/4242 is not there"):
        ControlGroups(PID, str(tmp_path)).cpu_quota()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file")
def test_limit_that_may_not_be_read(tmp_path: Path) -> None:
    """A limit that may not be read is an error, since any other answer would be a guess."""
    groups = recorded(tmp_path, cgroup="0::/\n", mounts=[V2.format(root="/")], files={"cpu.max": "1 1"})
    (tmp_path / "sys/fs/cgroup/cpu.max").chmod(0)
    with pytest.raises(PermissionError):
        groups.cpu_quota()


@contextmanager
def real_cpu_group(quota: float) -> Iterator[Path]:
    """Give a group without a quota below one of ``quota`` CPUs; skip where that is not allowed."""
    parent = next((folder for folder in map(Path, CPU_HIERARCHIES) if can_hold_cpu_groups(folder)), None)
    if parent is None:
        pytest.skip("no hierarchy with the CPU controller is mounted")
    outer = parent / f"runcontext-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        try:
            outer.mkdir()
            inner.mkdir()
            set_quota(outer, quota)
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        yield inner
    finally:
        for folder in (inner, outer):
            if folder.is_dir():
                folder.rmdir()


def can_hold_cpu_groups(folder: Path) -> bool:
    """Say whether groups made in this one have CPU quotas, without any change to it."""
    if (folder / "cpu.cfs_quota_us").exists():
        return True
    control = folder / "cgroup.subtree_control"
    return control.exists() and "cpu" in control.read_text("ascii").split()


def set_quota(folder: Path, cpus: float) -> None:
    """Set a group's CPU quota in whichever version it is."""
    if (folder / "cpu.max").exists():
        (folder / "cpu.max").write_text(f"{int(cpus * 100_000)} 100000")
    else:
        (folder / "cpu.cfs_quota_us").write_text(str(int(cpus * 100_000)))


def test_real_nested_groups() -> None:
    """A real process in a real group without a quota has that of the group above it."""
    with (
        real_cpu_group(quota=0.75) as inner,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
    ):
        (inner / "cgroup.procs").write_text(str(child.pid))
        quota = ControlGroups(child.pid).cpu_quota()
        child.communicate(b"\n")
    assert quota == 0.75


def test_real_cgroup_namespace() -> None:
    """From inside a namespace whose hierarchy was mounted outside of it, the real quota is found."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare of util-linux is not installed")
    enter = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
    with real_cpu_group(quota=0.5) as inner:
        done = subprocess.run(
            ["sh", "-c", enter, "sh", str(inner), unshare, "--cgroup", sys.executable, "-c", PRINT_QUOTA],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    if "unshare failed" in done.stderr:
        pytest.skip(f"no cgroup namespace can be made here: {done.stderr.strip()}")
    assert done.stdout.strip() == "0.5", done.stderr
