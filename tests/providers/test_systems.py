"""The host and container providers against recorded systems: one file each below systems/, which names its source.

Of each a file holds what its /proc, /sys and /etc show to one process there, in the form that the source shows, with
ids and names replaced: ``cgroup`` and ``mountinfo`` are the process's, ``files`` and ``links`` other files, and the
rest is what has to come out: ``container`` (the tags, no more and no less) and ``absent`` (tags with a part of their
reasons), or ``not_in_container`` (a part of the reason); ``cpu_quota``, ``memory_limit``, ``file_system``,
``shared_memory``; and ``machine_id_is_its_own`` where a container has one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from runcontext.record import OutcomeStatus
from runcontext.testing import resolve_provider
from runcontext_providers._host.cgroups import ControlGroups
from runcontext_providers._host.process_files import ProcessFiles
from runcontext_providers.container import ContainerProvider
from runcontext_providers.host import HostProvider

if TYPE_CHECKING:
    from runcontext.record import Context

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="reads what only Linux has")

SYSTEMS = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in sorted(Path(__file__).with_name("systems").glob("*.json"))
}
MACHINE_ID = "0123456789abcdef0123456789abcdef"
HOST_ID = "b7a9e689f15c47f5abc212e2c74e6b61"


def built(name: str, root: Path) -> dict[str, Any]:
    """Write a recorded system below ``root``, as this very process would see it, and give its record."""
    system: dict[str, Any] = SYSTEMS[name]
    process = f"proc/{os.getpid()}"
    files = {f"{process}/{file}": "\n".join(system[file]) + "\n" for file in ("cgroup", "mountinfo") if file in system}
    files |= {file: f"{content}\n" if content else "" for file, content in system.get("files", {}).items()}
    for file, content in {"etc/machine-id": f"{MACHINE_ID}\n", **files}.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(content, encoding="utf-8")
    for link, target in system.get("links", {}).items():
        (root / process / link).parent.mkdir(parents=True, exist_ok=True)
        (root / process / link).symlink_to(target)
    return system


def container(root: Path, system: dict[str, Any]) -> Context:
    """Resolve the container provider in a recorded system."""
    return resolve_provider(ContainerProvider(str(root), system.get("environment", {})), name="container")


def host(root: Path, system: dict[str, Any]) -> Context:
    """Resolve the host provider in a recorded system."""
    return resolve_provider(HostProvider(str(root), system.get("environment", {})), name="host")


def with_record(key: str) -> list[str]:
    """Give the names of the systems whose records say something of ``key``."""
    return [name for name, system in SYSTEMS.items() if key in system]


@pytest.mark.parametrize("name", with_record("container"))
def test_inside_of_a_container(name: str, tmp_path: Path) -> None:
    """Each container is known with what it tells of itself, and what it does not tell has its reason."""
    system = built(name, tmp_path)
    context = container(tmp_path, system)
    outcome = context.outcomes["container"]
    assert dict(context.tags) == system["container"], outcome
    assert outcome.status is OutcomeStatus.CAPTURED, outcome.failures
    for tag, reason in system.get("absent", {}).items():
        assert reason in outcome.failures[tag]


@pytest.mark.parametrize("name", with_record("not_in_container"))
def test_outside_of_a_container(name: str, tmp_path: Path) -> None:
    """What runs beside containers, or has left-overs of one, is none, and the reason says what was looked at."""
    system = built(name, tmp_path)
    outcome = container(tmp_path, system).outcomes["container"]
    assert outcome.status is OutcomeStatus.ABSENT, outcome
    assert outcome.reason is not None
    assert system["not_in_container"] in outcome.reason


def test_every_system_says_what_it_is() -> None:
    """Each is a container or none, and names where its form is from."""
    for name, system in SYSTEMS.items():
        assert ("container" in system) != ("not_in_container" in system), name
        assert system["what"], name
        assert system["source"], name


@pytest.mark.parametrize("name", with_record("cpu_quota"))
def test_effective_processors_and_memory(name: str, tmp_path: Path) -> None:
    """The smallest quota and the smallest memory limit of a process's groups are those that hold for it."""
    system = built(name, tmp_path)
    groups = ControlGroups(ProcessFiles(os.getpid(), str(tmp_path)))
    assert groups.cpu_quota() == system["cpu_quota"]
    assert groups.memory_limit() == system["memory_limit"]
    tags = host(tmp_path, system).tags
    limit = system["memory_limit"]
    assert tags.get("memory.limit") == (None if limit is None else str(limit))
    assert float(tags["cpu.available"]) <= (system["cpu_quota"] or psutil.cpu_count())


@pytest.mark.parametrize("name", with_record("file_system"))
def test_working_file_system(name: str, tmp_path: Path) -> None:
    """The type is that of what is mounted where the program works, network and cluster file systems included."""
    system = built(name, tmp_path)
    assert host(tmp_path, system).tags["cwd.filesystem"] == system["file_system"]


@pytest.mark.parametrize("name", with_record("shared_memory"))
def test_shared_memory(name: str, tmp_path: Path) -> None:
    """The size is in bytes, and that of the topmost of stacked mounts."""
    system = built(name, tmp_path)
    assert host(tmp_path, system).tags["shm.size"] == str(system["shared_memory"])


@pytest.mark.parametrize("name", [name for name in SYSTEMS if "cgroup" in SYSTEMS[name]])
def test_host_id(name: str, tmp_path: Path) -> None:
    """A machine has an id, and so has a container that is a whole system; the one in an image is nobody's."""
    system = built(name, tmp_path)
    context = host(tmp_path, system)
    if "not_in_container" in system or system.get("machine_id_is_its_own"):
        assert context.tags["host.id"] == HOST_ID
    else:
        assert "mount the host's into it" in context.outcomes["host"].failures["host.id"]
