"""The gpu provider, through the real bindings, against a stub of NVIDIA's NVML that is compiled here."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml
import pytest

from runcontext.record import Outcome

STUB_SOURCE = Path(__file__).with_name("nvml_stub.c")

FUNCTIONS = (
    "nvmlInitWithFlags",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetVbiosVersion",
    "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetTopologyCommonAncestor",
    "nvmlDeviceGetMemoryAffinity",
    "nvmlShutdown",
)
"""All that a capture calls on whole devices without NVLink: the bindings' choice of versions included."""

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, LOST, MISMATCH = (
    3,
    4,
    9,
    12,
    13,
    15,
    18,
)
GIB_80 = str(80 * 2**30)
A100 = "NVIDIA A100-SXM4-80GB"

CAPTURE = """
import json, os, sys
from runcontext.testing import resolve_provider
from runcontext_providers._gpu.nvidia import Nvidia
from runcontext_providers.gpu import GpuProvider

outcomes = []
for settings in json.loads(sys.argv[1]):
    os.environ.update(settings)
    provider = GpuProvider([Nvidia(sys.argv[2])])
    context = resolve_provider(provider, name="gpu", method=settings.get("METHOD", "tags"))
    outcomes.append(context.outcomes["gpu"].to_json())
print(json.dumps(outcomes))
"""

RESOLVE = """
import json, os, sys, time
import runcontext

captures = []
for settings, timeout in json.loads(sys.argv[1]):
    os.environ.update(settings)
    began = time.monotonic()
    context = runcontext.resolve_context(timeout=timeout)
    seconds = time.monotonic() - began
    captures.append([seconds, {name: outcome.to_json() for name, outcome in context.outcomes.items()}])
print(json.dumps(captures))
"""

IMPORTED = """
import json, sys
from runcontext.testing import resolve_provider
from runcontext_providers._gpu.nvidia import Nvidia
from runcontext_providers.gpu import GpuProvider

resolve_provider(GpuProvider([Nvidia()]))
print(json.dumps(sorted({"pynvml", "amdsmi", "psutil", "subprocess"} & set(sys.modules))))
"""

PROCESSES = """
import json, os, subprocess, sys
from runcontext.testing import resolve_provider
from runcontext_providers._gpu.nvidia import Nvidia
from runcontext_providers.gpu import GpuProvider

me, stranger = os.getpid(), os.getppid()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
os.environ["NVML_STUB_PROCESSES"] = sys.argv[1].format(me=me, child=child.pid, stranger=stranger)
os.environ["NVML_STUB_ACCOUNTING"] = sys.argv[2].format(me=me)
outcomes = []
for method in ("tags", "tags_at_end"):
    context = resolve_provider(GpuProvider([Nvidia(sys.argv[3])]), name="gpu", method=method)
    outcomes.append(context.outcomes["gpu"].to_json())
child.communicate(b"\\n")
print(json.dumps(outcomes))
"""


def uuid(index: int) -> str:
    """Give the UUID of the stub's device ``index``."""
    return f"GPU-{0xABC00000 + index:08x}-d72c-4106-c12f-20bd9faed9f6"


def compile_library(source: Path, folder: Path) -> Path:
    """Compile ``source`` into ``folder`` under the name by which the bindings load NVML, or skip the test."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if sys.platform != "linux" or compiler is None:
        pytest.skip("the NVML stub needs Linux and a C compiler (cc, gcc or clang)")
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if built.returncode != 0 and "nvml_stub.c:" not in built.stderr:
        pytest.skip(f"the C compiler here does not work: {built.stderr.strip()[-300:]}")
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="session")
def stub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the stub once a session, into a folder for LD_LIBRARY_PATH."""
    return compile_library(STUB_SOURCE, tmp_path_factory.mktemp("nvml"))


def environment(library_folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Give a child's environment in which the loader finds NVML in ``library_folder`` first."""
    ours = ("CUDA_", "NVML_STUB_", "RUNCONTEXT_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "LD_LIBRARY_PATH": str(library_folder), **settings}


def mig_uuid(index: int, place: int) -> str:
    """Give the UUID of the MIG instance at ``place`` of the stub's device ``index``."""
    return f"MIG-{0xABC00000 + index:08x}-{place:04x}-5a2b-8c7d-0123456789ab"


def system_root(folder: Path, namespace: int) -> Path:
    """Make a folder that stands for ``/``, of a process in the process id namespace of this number."""
    (folder / "proc/self/ns").mkdir(parents=True)
    (folder / "proc/self/ns/pid").symlink_to(f"pid:[{namespace}]")
    return folder


@pytest.fixture(scope="session")
def machine_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root in which process ids are the machine's own (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""
    return system_root(tmp_path_factory.mktemp("machine"), 0xEFFFFFFC)


def run_child(script: str, library_folder: Path, settings: dict[str, str], *arguments: str) -> Any:
    """Run ``script`` in a Python of its own and give what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment(library_folder, settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def capture_each(library_folder: Path, *settings: dict[str, str]) -> list[Outcome]:
    """Capture once for each of ``settings``, added one after the other to one process's environment."""
    rows = run_child(CAPTURE, library_folder, settings[0], json.dumps(settings), "/")
    return [Outcome.from_json(row) for row in rows]


def capture(library_folder: Path, **settings: str) -> Outcome:
    """Capture once; settings in lower case are the stub's, others are variables."""
    stub = {"devices", "names", "faults", "log", "mig", "links", "level", "numa"}
    named = {f"NVML_STUB_{key.upper()}" if key in stub else key: value for key, value in settings.items()}
    return capture_each(library_folder, named)[0]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_every_fact_of_every_device(stub_folder: Path, count: int) -> None:
    """One tag a fact however many devices there are, with one value for each of them."""
    outcome = capture(stub_folder, devices=str(count))
    uuids = ",".join(map(uuid, range(count)))
    of_each = {
        "gpu.name": A100,
        "gpu.memory.total": GIB_80,
        "gpu.compute_capability": "8.0",
        "gpu.mig": "off",
        "gpu.ecc": "true",
        "gpu.power.limit": "300",
        "gpu.clocks.max": "1410/1593",
        "gpu.vbios": "92.00.9E.00.01",
        "gpu.persistence": "true",
        "gpu.others": "0",
    }
    links = {1: "numa 0", 2: "SYS 0-1; numa 0 0", 8: "SYS all; numa 0 0 0 0 0 0 0 0"}
    assert outcome.tags == {
        **{tag: ",".join([value] * count) for tag, value in of_each.items()},
        "gpu.count": str(count),
        "gpu.uuid": uuids,
        "gpu.driver.version": "550.54.15",
        "gpu.cuda.version": "12.4",
        "gpu.visible": uuids,
        "gpu.topology": links[count],
    }
    assert (outcome.status, outcome.reason, outcome.failures) == ("captured", None, {})
    assert len(outcome.tags) <= 20


def test_driver_without_a_device(stub_folder: Path) -> None:
    """A driver that serves no device is a fact: none of it, none visible, and the driver's versions."""
    outcome = capture(stub_folder, devices="0")
    assert outcome.tags == {
        "gpu.count": "0",
        "gpu.driver.version": "550.54.15",
        "gpu.cuda.version": "12.4",
        "gpu.visible": "none",
    }
    assert (outcome.status, outcome.failures) == ("captured", {})


def test_no_driver(tmp_path: Path) -> None:
    """Without NVIDIA's library the provider is absent, says which library it looked for, and imports no bindings."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        outcome = capture(tmp_path)
    else:
        pytest.skip("this machine has an NVIDIA driver")
    assert outcome.status == "absent"
    assert outcome.reason is not None
    assert outcome.reason.startswith("libnvidia-ml.so.1 not found")
    assert run_child(IMPORTED, tmp_path, {}) == []


def test_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    """A library that the loader refuses is told apart from one that is not there, in the loader's words."""
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library" * 10)
    outcome = capture(tmp_path)
    assert outcome.status == "absent"
    assert outcome.reason is not None
    assert outcome.reason.startswith("libnvidia-ml.so.1 cannot be loaded: ")


def test_library_without_nvml(tmp_path: Path) -> None:
    """A library of that name that knows none of NVML's functions costs the provider, not the capture."""
    source = tmp_path / "empty.c"
    source.write_text("int nothing_of_nvml;\n")
    outcome = capture(compile_library(source, tmp_path))
    assert outcome.status == "absent"
    assert outcome.reason is not None
    assert outcome.reason.startswith("Function Not Found")


def test_version_mismatch(stub_folder: Path) -> None:
    """A driver updated under a running kernel is a failure in NVML's words, with what mends it."""
    outcome = capture(stub_folder, faults=f"nvmlInitWithFlags={MISMATCH}")
    assert (outcome.status, outcome.tags) == ("failed", {})
    assert outcome.reason is not None
    assert "Driver/library version mismatch" in outcome.reason
    assert "reload the nvidia kernel modules, or reboot" in outcome.reason


def test_driver_not_loaded(stub_folder: Path) -> None:
    """The library without its kernel module is absent, with the command that loads it."""
    outcome = capture(stub_folder, faults=f"nvmlInitWithFlags={DRIVER_NOT_LOADED}")
    assert (outcome.status, outcome.tags) == ("absent", {})
    assert outcome.reason is not None
    assert outcome.reason.startswith("Driver Not Loaded (load it with `modprobe nvidia`")


def test_lost_device_among_healthy_ones(stub_folder: Path) -> None:
    """A lost device leaves its own places empty, and the reason names it."""
    outcome = capture(stub_folder, devices="4", faults=f"nvmlDeviceGetHandleByIndex_v2@2={LOST}")
    assert outcome.tags["gpu.count"] == "4"
    assert outcome.tags["gpu.name"] == f"{A100},{A100},,{A100}"
    assert outcome.tags["gpu.uuid"] == f"{uuid(0)},{uuid(1)},,{uuid(3)}"
    assert outcome.tags["gpu.memory.total"] == f"{GIB_80},{GIB_80},,{GIB_80}"
    assert outcome.status == "partial"
    assert list(outcome.failures) == ["gpu.missing"]
    assert "device 2: GPU is lost (look for its Xid" in outcome.failures["gpu.missing"]


def test_device_that_is_lost_between_two_questions(stub_folder: Path) -> None:
    """What a device told before it was lost is kept; the reason names the facts that it took along."""
    outcome = capture(stub_folder, devices="2", faults=f"nvmlDeviceGetMemoryInfo@1={LOST}")
    assert outcome.tags["gpu.name"] == f"{A100},{A100}"
    assert outcome.tags["gpu.memory.total"] == f"{GIB_80},"
    assert "device 1 (gpu.memory.total): GPU is lost" in outcome.failures["gpu.missing"]


def test_the_only_device_is_lost(stub_folder: Path) -> None:
    """With no healthy device left each fact fails with the reason, and none is an empty list."""
    outcome = capture(stub_folder, faults=f"nvmlDeviceGetHandleByIndex_v2={LOST}")
    assert set(outcome.tags) == {"gpu.count", "gpu.driver.version", "gpu.cuda.version"}
    assert set(outcome.failures) == OF_DEVICES - {"gpu.topology"}
    assert all("GPU is lost" in reason for reason in outcome.failures.values())


def test_several_devices_fail_in_several_ways(stub_folder: Path) -> None:
    """Each device's own reason is on record once, with the facts that it costs."""
    faults = [
        f"nvmlDeviceGetHandleByIndex_v2@0={NO_PERMISSION}",
        f"nvmlDeviceGetMemoryInfo@1={NOT_SUPPORTED}",
        f"nvmlDeviceGetName@2={LOST}",
    ]
    outcome = capture(stub_folder, devices="4", faults=",".join(faults))
    reasons = outcome.failures["gpu.missing"]
    assert "device 0: Insufficient Permissions (" in reasons
    assert "device 1 (gpu.memory.total): Not Supported; " in reasons
    assert "device 2 (gpu.name): GPU is lost (" in reasons
    assert all(outcome.tags[tag].count(",") == 3 for tag in ("gpu.name", "gpu.uuid", "gpu.memory.total"))
    assert outcome.status == "partial"


def test_a_fact_that_only_some_devices_support(stub_folder: Path) -> None:
    """A device that has no such fact is no failure: an empty place, with its reason on record as absent."""
    outcome = capture(stub_folder, devices="2", faults=f"nvmlDeviceGetMemoryInfo@0={NOT_SUPPORTED}")
    assert outcome.tags["gpu.memory.total"] == f",{GIB_80}"
    assert outcome.status == "captured"
    assert outcome.failures == {"gpu.missing": "absent: device 0 (gpu.memory.total): Not Supported"}


OF_DEVICES = {
    "gpu.name",
    "gpu.uuid",
    "gpu.memory.total",
    "gpu.compute_capability",
    "gpu.mig",
    "gpu.ecc",
    "gpu.power.limit",
    "gpu.clocks.max",
    "gpu.vbios",
    "gpu.persistence",
    "gpu.others",
    "gpu.visible",
    "gpu.topology",
}

RICH = {
    "NVML_STUB_DEVICES": "4",
    "NVML_STUB_MIG": "0=1g.10gb+3g.40gb",
    "NVML_STUB_LINKS": "1/2=4",
    "NVML_STUB_NUMA": "0,0,1,1",
    "NVML_STUB_PROCESSES": "1=1",
    "NVML_STUB_ACCOUNTING": "",
    "CUDA_VISIBLE_DEVICES": "GPU-abc00001,GPU-abc00002,GPU-abc00003",
}
"""A machine on which every function has something to tell."""

ALONE = {
    "nvmlSystemGetDriverVersion": {"gpu.driver.version"},
    "nvmlSystemGetCudaDriverVersion_v2": {"gpu.cuda.version"},
    "nvmlDeviceGetCount_v2": {"gpu.count"} | OF_DEVICES,
    "nvmlDeviceGetHandleByIndex_v2": OF_DEVICES,
    "nvmlDeviceGetMigMode": {"gpu.mig"},
    "nvmlDeviceGetMaxMigDeviceCount": {"gpu.mig"},
    "nvmlDeviceGetMigDeviceHandleByIndex": {"gpu.mig"},
    "nvmlDeviceGetGpuInstanceId": set[str](),
    "nvmlDeviceGetComputeInstanceId": set[str](),
    "nvmlDeviceGetName": {"gpu.name", "gpu.mig"},
    "nvmlDeviceGetUUID": {"gpu.uuid", "gpu.mig", "gpu.visible", "gpu.topology", "gpu.others"},
    "nvmlDeviceGetMemoryInfo": {"gpu.memory.total"},
    "nvmlDeviceGetCudaComputeCapability": {"gpu.compute_capability"},
    "nvmlDeviceGetEccMode": {"gpu.ecc"},
    "nvmlDeviceGetEnforcedPowerLimit": {"gpu.power.limit"},
    "nvmlDeviceGetMaxClockInfo": {"gpu.clocks.max"},
    "nvmlDeviceGetVbiosVersion": {"gpu.vbios"},
    "nvmlDeviceGetPersistenceMode": {"gpu.persistence"},
    "nvmlDeviceGetComputeRunningProcesses_v3": {"gpu.others"},
    "nvmlDeviceGetNvLinkState": {"gpu.topology"},
    "nvmlDeviceGetNvLinkRemoteDeviceType": {"gpu.topology"},
    "nvmlDeviceGetNvLinkRemotePciInfo_v2": {"gpu.topology"},
    "nvmlDeviceGetPciInfo_v3": {"gpu.topology"},
    "nvmlDeviceGetTopologyCommonAncestor": {"gpu.topology"},
    "nvmlDeviceGetMemoryAffinity": {"gpu.topology"},
    "nvmlShutdown": set[str](),
}
"""The facts that are other than on a healthy machine when a function fails on every device; at most these."""

FAULTS = {
    NOT_SUPPORTED: "Not Supported",
    FUNCTION_NOT_FOUND: "Function Not Found",
    LOST: "GPU is lost",
    NO_PERMISSION: "Insufficient Permissions",
}


@pytest.fixture(scope="session")
def faulty(stub_folder: Path, machine_root: Path) -> dict[tuple[str, int] | None, Outcome]:
    """Capture a healthy machine (None), then one for each function and each way in which it can fail."""
    cases = [None, *((function, fault) for function in ALONE for fault in FAULTS)]
    settings = [{"NVML_STUB_FAULTS": f"{case[0]}={case[1]}" if case else ""} for case in cases]
    rows = run_child(CAPTURE, stub_folder, RICH, json.dumps(settings), str(machine_root))
    return {case: Outcome.from_json(row) for case, row in zip(cases, rows, strict=True)}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("function", ALONE)
def test_a_function_that_fails_costs_its_own_facts(
    faulty: dict[tuple[str, int] | None, Outcome], function: str, fault: int
) -> None:
    """Whatever a function answers costs what it would tell, with the reason on record, and nothing else."""
    healthy, outcome = faulty[None], faulty[function, fault]
    changed = {tag for tag in healthy.tags if outcome.tags.get(tag) != healthy.tags[tag]}
    assert changed <= ALONE[function]
    assert set(outcome.tags) <= set(healthy.tags)
    absent = fault in (NOT_SUPPORTED, FUNCTION_NOT_FOUND)
    # What links lead to, and that there are any, is told otherwise too; and a MIG instance may have no name.
    told_otherwise = ("nvmlDeviceGetNvLinkRemoteDeviceType", "nvmlDeviceGetNvLinkState") if absent else ()
    if changed and function not in told_otherwise:
        assert any(FAULTS[fault] in reason for reason in outcome.failures.values())
        assert (outcome.status == "captured") is absent
    assert (changed == ALONE[function]) or function in told_otherwise


def test_a_healthy_machine_tells_everything(faulty: dict[tuple[str, int] | None, Outcome]) -> None:
    """What the tests of single faults compare with is a capture that misses nothing."""
    healthy = faulty[None]
    assert set(healthy.tags) == {"gpu.count", "gpu.driver.version", "gpu.cuda.version"} | OF_DEVICES
    assert (healthy.status, healthy.failures) == ("captured", {})
    assert healthy.tags["gpu.topology"] == "NV4 1-2; SYS 1-3 2-3; numa 0 1 1"
    assert healthy.tags["gpu.mig"] == f"1g.10gb={mig_uuid(0, 0)};3g.40gb={mig_uuid(0, 2)},off,off,off"


@pytest.mark.parametrize("function", ["nvmlDeviceGetAccountingMode", "nvmlDeviceGetAccountingStats"])
@pytest.mark.parametrize("fault", FAULTS)
def test_accounting_that_fails(stub_folder: Path, machine_root: Path, function: str, fault: int) -> None:
    """What NVML's accounting answers costs the peak of the memory, and nothing else."""
    settings = {**RICH, "METHOD": "tags_at_end", "NVML_STUB_FAULTS": f"{function}={fault}"}
    (row,) = run_child(CAPTURE, stub_folder, settings, json.dumps([settings]), str(machine_root))
    outcome = Outcome.from_json(row)
    assert set(outcome.tags) == {"gpu.visible"}
    assert list(outcome.failures) == ["gpu.memory.peak"]
    assert FAULTS[fault] in outcome.failures["gpu.memory.peak"]


def test_initialisation_not_supported(stub_folder: Path) -> None:
    """Where NVML itself is not supported the provider is absent, with NVML's reason."""
    outcome = capture(stub_folder, faults=f"nvmlInitWithFlags={NOT_SUPPORTED}")
    assert (outcome.status, outcome.reason) == ("absent", "Not Supported")


def test_container_without_libcuda(stub_folder: Path) -> None:
    """A container that has NVML and no libcuda loses the CUDA version only, and is told how to get it."""
    outcome = capture(stub_folder, faults=f"nvmlSystemGetCudaDriverVersion_v2={LIBRARY_NOT_FOUND}")
    assert "gpu.name" in outcome.tags
    assert list(outcome.failures) == ["gpu.cuda.version"]
    assert "NVIDIA_DRIVER_CAPABILITIES" in outcome.failures["gpu.cuda.version"]


def test_name_that_is_not_text(stub_folder: Path) -> None:
    """A model's name that is no UTF-8 costs that name only."""
    outcome = capture(stub_folder, devices="2", names=os.fsdecode(b"\xff\xfe,") + A100)
    assert outcome.tags["gpu.name"] == f",{A100}"
    assert "device 0 (gpu.name): NVML's bindings cannot tell" in outcome.failures["gpu.missing"]


def test_only_these_functions_are_called(stub_folder: Path, tmp_path: Path) -> None:
    """A capture asks NVML what this list says and nothing else, each device once: clocks twice, links each."""
    log = tmp_path / "calls"
    capture(stub_folder, devices="2", log=str(log))
    calls = Counter(log.read_text().split())
    of_a_device = FUNCTIONS[4:-1]
    # The stub says at the 19th link that there are 18; older bindings do not ask for more.
    links = min(19, pynvml.NVML_NVLINK_MAX_LINKS)
    more = {
        "nvmlDeviceGetMaxClockInfo": 4,
        "nvmlDeviceGetNvLinkState": 2 * links,
        "nvmlDeviceGetTopologyCommonAncestor": 1,
    }
    assert calls == {**{function: 2 if function in of_a_device else 1 for function in FUNCTIONS}, **more}


def test_nvml_is_always_shut_down(stub_folder: Path, tmp_path: Path) -> None:
    """Whatever goes wrong in between, what was initialised is shut down: no device is held open."""
    logs = {function: tmp_path / function for function in FUNCTIONS[1:-1]}
    faults = [
        {"NVML_STUB_FAULTS": f"{function}={LOST}", "NVML_STUB_LOG": str(log), "METHOD": method}
        for method in ("tags", "tags_at_end")
        for function, log in logs.items()
    ]
    capture_each(stub_folder, *faults)
    for log in logs.values():
        calls = log.read_text().split()
        assert calls[-1] == "nvmlShutdown"
        assert calls.count("nvmlInitWithFlags") == calls.count("nvmlShutdown") == 2


def test_second_capture_is_fresh(stub_folder: Path) -> None:
    """A later capture in the same process tells what is so by then: more devices, fewer, or a failure."""
    before, more, broken, again = capture_each(
        stub_folder,
        {"NVML_STUB_DEVICES": "1"},
        {"NVML_STUB_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "1"},
        {"NVML_STUB_FAULTS": f"nvmlInitWithFlags={MISMATCH}"},
        {"NVML_STUB_FAULTS": "", "NVML_STUB_DEVICES": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert (before.tags["gpu.count"], before.tags["gpu.visible"]) == ("1", uuid(0))
    assert (more.tags["gpu.count"], more.tags["gpu.visible"]) == ("2", uuid(1))
    assert broken.status == "failed"
    assert (again.tags["gpu.count"], again.tags["gpu.visible"]) == ("1", "none")


def test_visible_devices_of_a_program(stub_folder: Path) -> None:
    """CUDA_VISIBLE_DEVICES is resolved to the UUIDs of physical devices, in its order."""
    settings = ["3,1", "GPU-abc00002", "GPU-abc00003,GPU-abc00000", "", "-1", "0,0", "NoDevFiles", "0,9,1"]
    variables = [{"NVML_STUB_DEVICES": "4", "CUDA_VISIBLE_DEVICES": setting} for setting in settings]
    assert [outcome.tags["gpu.visible"] for outcome in capture_each(stub_folder, *variables)] == [
        f"{uuid(3)},{uuid(1)}",
        uuid(2),
        f"{uuid(3)},{uuid(0)}",
        "none",
        "none",
        "none",
        "none",
        uuid(0),
    ]


def test_order_of_mixed_models(stub_folder: Path) -> None:
    """On mixed models CUDA counts fastest first: an ordinal says nothing unless CUDA_DEVICE_ORDER does."""
    mixed = {"NVML_STUB_DEVICES": "3", "NVML_STUB_NAMES": "Tesla T4,NVIDIA H100 PCIe"}
    by_ordinal, by_bus, by_uuid, unordered, nothing = capture_each(
        stub_folder,
        {**mixed, "CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        {"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "CUDA_VISIBLE_DEVICES": uuid(2)},
        {"CUDA_VISIBLE_DEVICES": "2,1"},
        {"CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert by_ordinal.tags["gpu.name"] == "Tesla T4,NVIDIA H100 PCIe,NVIDIA H100 PCIe"
    assert "gpu.visible" not in by_ordinal.tags
    assert by_ordinal.failures["gpu.visible"].startswith("absent: order unknown: CUDA counts fastest first")
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in by_ordinal.failures["gpu.visible"]
    assert by_bus.tags["gpu.visible"] == uuid(0)
    assert by_uuid.tags["gpu.visible"] == uuid(2)
    assert "order unknown" in unordered.failures["gpu.visible"]
    assert nothing.tags["gpu.visible"] == "none"


def test_mixed_models_without_the_variable(stub_folder: Path) -> None:
    """Where the variable is not set all devices are visible, mixed or not."""
    outcome = capture(stub_folder, devices="2", names="Tesla T4,NVIDIA H100 PCIe")
    assert outcome.tags["gpu.visible"] == f"{uuid(0)},{uuid(1)}"


def test_order_where_the_models_are_not_known(stub_folder: Path) -> None:
    """Devices that do not tell their model may be mixed: their order is not known either."""
    faults = f"nvmlDeviceGetName={NOT_SUPPORTED}"
    outcome = capture(stub_folder, devices="2", faults=faults, CUDA_VISIBLE_DEVICES="1")
    assert "order unknown" in outcome.failures["gpu.visible"]
    assert "not known" in outcome.failures["gpu.visible"]


def test_ordinals_beside_a_lost_device(stub_folder: Path) -> None:
    """CUDA may leave a lost device out of its count: ordinals are not resolved, UUIDs still are."""
    lost = {"NVML_STUB_DEVICES": "3", "NVML_STUB_FAULTS": f"nvmlDeviceGetHandleByIndex_v2@0={LOST}"}
    by_ordinal, by_uuid = capture_each(
        stub_folder, {**lost, "CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_VISIBLE_DEVICES": uuid(2)}
    )
    assert "order unknown: CUDA may not count device 0: GPU is lost" in by_ordinal.failures["gpu.visible"]
    assert by_uuid.tags["gpu.visible"] == uuid(2)


def resolve_each(library_folder: Path, *captures: tuple[dict[str, str], float]) -> list[Resolved]:
    """Resolve the whole context in one program, once for each pair of settings and seconds to wait."""
    rows = run_child(RESOLVE, library_folder, {}, json.dumps(captures))
    return [
        Resolved(seconds, {name: Outcome.from_json(row) for name, row in outcomes.items()})
        for seconds, outcomes in rows
    ]


@dataclass(frozen=True)
class Resolved:
    """One capture by all providers: how long it held the program, in seconds, and what became of each."""

    seconds: float
    outcomes: dict[str, Outcome]

    @property
    def others(self) -> dict[str, tuple[str, frozenset[str]]]:
        """The status and the tags of every provider but gpu."""
        return {
            name: (outcome.status, frozenset(outcome.tags)) for name, outcome in self.outcomes.items() if name != "gpu"
        }


def fault_in(function: str, fault: str) -> dict[str, str]:
    """Give the stub's settings for a fault in a function, and see to it that the function is called."""
    cause = f"nvmlSystemGetDriverVersion={NOT_SUPPORTED}," if function == "nvmlErrorString" else ""
    return {"NVML_STUB_FAULTS": f"{cause}{function}={fault}"}


PATIENT, IMPATIENT = 30.0, 4.0
"""Seconds to wait for a capture that must succeed, and for one that cannot."""


def test_hanging_call_costs_the_gpu_facts_only(stub_folder: Path) -> None:
    """A call of NVML that never returns is timed out at the deadline, beside everybody else's facts."""
    healthy, hanging = resolve_each(stub_folder, ({}, PATIENT), (fault_in("nvmlErrorString", "hang"), IMPATIENT))
    assert healthy.outcomes["gpu"].status == "captured"
    assert healthy.outcomes["host"].status == healthy.outcomes["python"].status == "captured"
    assert hanging.others == healthy.others
    assert (hanging.outcomes["gpu"].status, hanging.outcomes["gpu"].tags) == ("timed_out", {})
    assert "4 s" in str(hanging.outcomes["gpu"].reason)
    assert hanging.seconds < IMPATIENT + 15


def test_crashing_call_costs_the_gpu_facts_only(stub_folder: Path) -> None:
    """A segmentation fault in a call of NVML is one failed outcome beside everybody else's facts."""
    crash = fault_in("nvmlDeviceGetMemoryAffinity", "crash")
    healthy, crashing = resolve_each(stub_folder, ({}, PATIENT), (crash, PATIENT))
    assert crashing.others == healthy.others
    assert (crashing.outcomes["gpu"].status, crashing.outcomes["gpu"].tags) == ("failed", {})
    assert "worker" in str(crashing.outcomes["gpu"].reason)
    assert crashing.seconds < PATIENT


@pytest.mark.parametrize("fault", ["hang", "crash"])
def test_capture_after_a_broken_one(stub_folder: Path, fault: str) -> None:
    """Also the first capture of a program survives, and the next one has the facts again."""
    broken, mended = resolve_each(
        stub_folder,
        (fault_in("nvmlInitWithFlags", fault), IMPATIENT),
        ({"NVML_STUB_FAULTS": ""}, PATIENT),
    )
    assert broken.outcomes["gpu"].status in ("failed", "timed_out")
    assert broken.others == mended.others
    assert mended.outcomes["gpu"].tags["gpu.name"] == A100


def test_ordinals_where_only_some_facts_are_told(stub_folder: Path) -> None:
    """An ordinal needs no name where there is one device, nor the UUID of a device that it does not mean."""
    unnamed = {"NVML_STUB_FAULTS": f"nvmlDeviceGetName={NOT_SUPPORTED}", "CUDA_VISIBLE_DEVICES": "0"}
    unidentified = {"NVML_STUB_DEVICES": "2", "NVML_STUB_FAULTS": f"nvmlDeviceGetUUID@1={NOT_SUPPORTED}"}
    alone, first, second = capture_each(stub_folder, unnamed, unidentified, {"CUDA_VISIBLE_DEVICES": "1"})
    assert alone.tags["gpu.visible"] == first.tags["gpu.visible"] == uuid(0)
    assert second.failures["gpu.visible"] == "absent: Not Supported"


MIG = {"NVML_STUB_DEVICES": "2", "NVML_STUB_MIG": "0=1g.10gb+3g.40gb"}


def test_mig_instances_are_resolved_to_their_devices(stub_folder: Path) -> None:
    """A MIG instance is given as its device's UUID and its own, however the variable names it."""
    names = [mig_uuid(0, 2), "MIG-abc00000-0002", f"MIG-{uuid(0)}/9/0"]
    outcomes = capture_each(stub_folder, *({**MIG, "CUDA_VISIBLE_DEVICES": name} for name in names))
    expected = f"{uuid(0)}/{mig_uuid(0, 2)}"
    assert [outcome.tags["gpu.visible"] for outcome in outcomes] == [expected] * 3
    assert outcomes[0].tags["gpu.mig"] == f"1g.10gb={mig_uuid(0, 0)};3g.40gb={mig_uuid(0, 2)},off"


def test_mig_instances_that_the_variable_does_not_choose(stub_folder: Path) -> None:
    """Among several instances CUDA chooses by itself: that is said; a single one is what CUDA shows, alone."""
    several, one, empty = capture_each(
        stub_folder, MIG, {"NVML_STUB_MIG": "0=7g.80gb"}, {"NVML_STUB_MIG": "0=", "CUDA_VISIBLE_DEVICES": uuid(1)}
    )
    assert "picks one of 2 MIG instances by itself" in several.failures["gpu.visible"]
    assert one.tags["gpu.visible"] == f"{uuid(0)}/{mig_uuid(0, 0)}"
    assert (empty.tags["gpu.mig"], empty.tags["gpu.visible"]) == ("on,off", uuid(1))


def test_ordinals_beside_a_device_in_mig_mode(stub_folder: Path) -> None:
    """How CUDA numbers devices in MIG mode is not documented, so numbers are not resolved beside one."""
    beside, alone = capture_each(
        stub_folder, {**MIG, "CUDA_VISIBLE_DEVICES": "1"}, {"NVML_STUB_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "0"}
    )
    assert "order unknown: CUDA may not count device 0, which is in MIG mode" in beside.failures["gpu.visible"]
    assert "picks one of 2" in alone.failures["gpu.visible"]


def test_mig_instances_that_nvml_does_not_tell(stub_folder: Path) -> None:
    """Instances that may not be looked at are given as they were named, with their device where the name has it."""
    hidden = {**MIG, "NVML_STUB_FAULTS": f"nvmlDeviceGetMigDeviceHandleByIndex={NO_PERMISSION}"}
    by_uuid, by_ids, by_device = capture_each(
        stub_folder,
        {**hidden, "CUDA_VISIBLE_DEVICES": mig_uuid(0, 2)},
        {"CUDA_VISIBLE_DEVICES": f"MIG-{uuid(0)}/9/0"},
        {"CUDA_VISIBLE_DEVICES": uuid(0)},
    )
    assert by_uuid.tags["gpu.visible"] == mig_uuid(0, 2)
    assert by_ids.tags["gpu.visible"] == f"{uuid(0)}/9/0"
    assert "device 0 is in MIG mode, and its instances are not known" in by_device.failures["gpu.visible"]


def test_instance_whose_profile_is_not_told(stub_folder: Path) -> None:
    """An instance without a name keeps its UUID."""
    unnamed = capture(stub_folder, mig="0=1g.10gb", faults=f"nvmlDeviceGetName={NOT_SUPPORTED}")
    assert unnamed.tags["gpu.mig"] == f"?={mig_uuid(0, 0)}"


def test_topology_of_the_visible_devices(stub_folder: Path) -> None:
    """How visible devices are connected is one line: the kinds with their pairs, then the NUMA nodes."""
    # Devices, NVLinks, level, NUMA nodes, the variable; then the line.
    cases = [
        ("4", "0/s=18,1/s=18,2/s=18,3/s=18", "50", "0,0,1,1", "0,1,2,3", "NV18 all; numa 0 0 1 1"),
        ("3", "0/1=4,0/2=4,1/2=2", "50", "0", "0,1,2", "NV4 0-1 0-2; NV2 1-2; numa 0 0 0"),
        ("2", "", "0", "0", "0,1", "INTERNAL 0-1; numa 0 0"),
        ("2", "", "10", "0", "0,1", "PIX 0-1; numa 0 0"),
        ("2", "", "20", "0", "0,1", "PXB 0-1; numa 0 0"),
        ("2", "", "30", "0", "0,1", "PHB 0-1; numa 0 0"),
        ("2", "", "40", "0,65", "0,1", "NODE 0-1; numa 0 65"),
        ("2", "", "77", "0", "0,1", "77 0-1; numa 0 0"),
        ("3", "", "50", "0", "2", "numa 0"),
        ("3", "", "50", "0", "2,0", "SYS 0-2; numa 0 0"),
    ]
    names = [*(f"NVML_STUB_{name}" for name in ("DEVICES", "LINKS", "LEVEL", "NUMA")), "CUDA_VISIBLE_DEVICES"]
    outcomes = capture_each(stub_folder, *(dict(zip(names, case[:-1], strict=True)) for case in cases))
    assert [outcome.tags["gpu.topology"] for outcome in outcomes] == [case[-1] for case in cases]
    assert all(not outcome.failures for outcome in outcomes)


def test_topology_with_gaps(stub_folder: Path) -> None:
    """What is not known of the connections is marked, and the reason names whose it is."""
    faults = f"nvmlDeviceGetNvLinkState@1={LOST},nvmlDeviceGetMemoryAffinity@2={NOT_SUPPORTED}"
    outcome = capture(stub_folder, devices="3", faults=faults)
    assert outcome.tags["gpu.topology"] == "? 0-1 1-2; SYS 0-2; numa 0 0 ?"
    assert "gpu.topology (link 0-1, 1-2): GPU is lost" in outcome.failures["gpu.missing"]
    assert "gpu.topology (NUMA node of device 2): Not Supported" in outcome.failures["gpu.missing"]


def test_device_without_a_numa_node(stub_folder: Path) -> None:
    """A device that belongs to no NUMA node, alone in its machine, has no topology, and that is said."""
    outcome = capture(stub_folder, numa="-1")
    assert outcome.failures["gpu.topology"].startswith("absent: gpu.topology (NUMA node of device 0): ")


def run_with_processes(library_folder: Path, root: Path, processes: str, accounting: str, **stub: str) -> list[Outcome]:
    """Capture at start and at the end a program that has a child; the texts may name {me}, {child} and {stranger}."""
    settings = {key if key.isupper() else f"NVML_STUB_{key.upper()}": value for key, value in stub.items()}
    rows = run_child(PROCESSES, library_folder, settings, processes, accounting, str(root))
    return [Outcome.from_json(row) for row in rows]


def test_other_processes_on_the_visible_devices(stub_folder: Path, machine_root: Path) -> None:
    """Processes that compute on a visible device are counted, the program and its children aside; none is named."""
    start, _ = run_with_processes(
        stub_folder,
        machine_root,
        "0={me},0={child},0={stranger},1={child},2={stranger},2=4194303,3={stranger}",
        "",
        devices="4",
        CUDA_VISIBLE_DEVICES="2,1,0",
    )
    assert start.tags["gpu.others"] == "1,0,2,"
    assert start.failures == {}


def test_other_processes_on_a_mig_instance(stub_folder: Path, machine_root: Path) -> None:
    """On a device in MIG mode only the visible instance's processes count."""
    start, _ = run_with_processes(
        stub_folder,
        machine_root,
        "0={stranger},0/0={stranger},0/2={me}",
        "",
        mig="0=1g.10gb+3g.40gb",
        CUDA_VISIBLE_DEVICES=mig_uuid(0, 2),
    )
    assert start.tags["gpu.others"] == "0"


def test_process_ids_in_a_container(stub_folder: Path, tmp_path: Path) -> None:
    """Where process ids are not the driver's, somebody's processes are not taken for others', nor a peak for ours."""
    root = system_root(tmp_path, 4026532201)
    busy, end = run_with_processes(stub_folder, root, "0={stranger}", "0/{me}=1048576")
    idle, _ = run_with_processes(stub_folder, root, "", "")
    assert "--pid=host" in busy.failures["gpu.others"]
    assert "--pid=host" in end.failures["gpu.memory.peak"]
    assert busy.status == end.status == "captured"
    assert idle.tags["gpu.others"] == "0"


def test_peak_of_the_programs_memory(stub_folder: Path, machine_root: Path) -> None:
    """At the end NVML's accounting tells the most memory that the program held, in bytes, device by device."""
    _, end = run_with_processes(stub_folder, machine_root, "", "0/{me}=3221225472,2/{me}=1048576", devices="3")
    assert end.tags == {"gpu.memory.peak": "3221225472,,1048576", "gpu.visible": ",".join(map(uuid, range(3)))}
    assert end.failures == {}


def test_program_that_used_no_device(stub_folder: Path, machine_root: Path) -> None:
    """A program that NVML's accounting does not know has no peak, and that is said."""
    _, end = run_with_processes(stub_folder, machine_root, "", "0/1=1048576")
    assert "used no device that NVML accounts for" in end.failures["gpu.memory.peak"]


def test_peak_that_the_driver_does_not_know(stub_folder: Path, machine_root: Path) -> None:
    """A value that NVML calls not available is none (nvml.h, NVML_VALUE_NOT_AVAILABLE)."""
    _, end = run_with_processes(stub_folder, machine_root, "", f"0/{{me}}={2**64 - 1}")
    assert "does not manage the memory" in end.failures["gpu.memory.peak"]


def test_peak_without_accounting(stub_folder: Path) -> None:
    """Where accounting is off, the reason has the command that switches it on."""
    (end,) = capture_each(stub_folder, {"METHOD": "tags_at_end"})
    assert "nvidia-smi --accounting-mode=1" in end.failures["gpu.memory.peak"]
    assert end.tags["gpu.visible"] == uuid(0)


def test_end_without_a_count_of_devices(stub_folder: Path) -> None:
    """What cannot be told at the end is absent or failed for its reason, as at the start."""
    settings = {"METHOD": "tags_at_end", "NVML_STUB_FAULTS": f"nvmlDeviceGetCount_v2={LOST}"}
    (end,) = capture_each(stub_folder, settings)
    assert set(end.failures) == {"gpu.memory.peak", "gpu.visible"}
    assert all("GPU is lost" in reason for reason in end.failures.values())
