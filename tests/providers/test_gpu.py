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

import pytest

from runcontext import NotInContext
from runcontext.record import Outcome
from runcontext_providers._visible_devices import visible_devices

STUB_SOURCE = Path(__file__).with_name("nvml_stub.c")

FUNCTIONS = (
    "nvmlInitWithFlags",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMemoryInfo",
    "nvmlShutdown",
)
"""All that a capture calls where nothing goes wrong: the bindings' choice of versions included."""

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, LOST, MISMATCH = 3, 4, 9, 12, 15, 18
GIB_80 = str(80 * 2**30)
A100 = "NVIDIA A100-SXM4-80GB"

CAPTURE = """
import json, os, sys
from runcontext.testing import resolve_provider
from runcontext_providers.gpu import GpuProvider

outcomes = []
for settings in json.loads(sys.argv[1]):
    os.environ.update(settings)
    context = resolve_provider(GpuProvider(), name="gpu")
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
    rows = run_child(CAPTURE, library_folder, settings[0], json.dumps(settings))
    return [Outcome.from_json(row) for row in rows]


def capture(library_folder: Path, **settings: str) -> Outcome:
    """Capture once; ``devices``, ``names`` and ``faults`` are the stub's settings, others are variables."""
    stub = {"devices", "names", "faults", "log"}
    named = {f"NVML_STUB_{key.upper()}" if key in stub else key: value for key, value in settings.items()}
    return capture_each(library_folder, named)[0]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_every_fact_of_every_device(stub_folder: Path, count: int) -> None:
    """One tag a fact however many devices there are, with one value for each of them."""
    outcome = capture(stub_folder, devices=str(count))
    uuids = ",".join(map(uuid, range(count)))
    assert outcome.tags == {
        "gpu.count": str(count),
        "gpu.name": ",".join([A100] * count),
        "gpu.uuid": uuids,
        "gpu.memory.total": ",".join([GIB_80] * count),
        "gpu.driver.version": "550.54.15",
        "gpu.cuda.version": "12.4",
        "gpu.visible": uuids,
    }
    assert (outcome.status, outcome.reason, outcome.failures) == ("captured", None, {})


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
    """Without NVIDIA's library the provider is absent and says which library it looked for."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        outcome = capture(tmp_path)
    else:
        pytest.skip("this machine has an NVIDIA driver")
    assert outcome.status == "absent"
    assert outcome.reason is not None
    assert outcome.reason.startswith("libnvidia-ml.so.1 not found")


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
    assert "device 1: GPU is lost" in outcome.failures["gpu.missing"]


def test_the_only_device_is_lost(stub_folder: Path) -> None:
    """With no healthy device left each fact fails with the reason, and none is an empty list."""
    outcome = capture(stub_folder, faults=f"nvmlDeviceGetHandleByIndex_v2={LOST}")
    assert set(outcome.tags) == {"gpu.count", "gpu.driver.version", "gpu.cuda.version"}
    assert set(outcome.failures) == {"gpu.name", "gpu.uuid", "gpu.memory.total", "gpu.visible"}
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
    assert outcome.failures == {"gpu.missing": "absent: device 0: Not Supported"}


OF_DEVICES = {"gpu.name", "gpu.uuid", "gpu.memory.total", "gpu.visible"}


@pytest.mark.parametrize(
    ("function", "absent"),
    [
        ("nvmlSystemGetDriverVersion", {"gpu.driver.version"}),
        ("nvmlSystemGetCudaDriverVersion_v2", {"gpu.cuda.version"}),
        ("nvmlDeviceGetCount_v2", {"gpu.count"} | OF_DEVICES),
        ("nvmlDeviceGetHandleByIndex_v2", OF_DEVICES),
        ("nvmlDeviceGetName", {"gpu.name"}),
        ("nvmlDeviceGetUUID", {"gpu.uuid", "gpu.visible"}),
        ("nvmlDeviceGetMemoryInfo", {"gpu.memory.total"}),
        ("nvmlShutdown", set[str]()),
    ],
)
def test_not_supported_costs_its_own_fact(stub_folder: Path, function: str, absent: set[str]) -> None:
    """A function that answers "Not Supported" makes what it would tell absent, and nothing else."""
    outcome = capture(stub_folder, devices="2", faults=f"{function}={NOT_SUPPORTED}")
    assert outcome.status == "captured"
    assert outcome.failures == dict.fromkeys(sorted(absent), "absent: Not Supported")
    everything = {"gpu.count", "gpu.driver.version", "gpu.cuda.version"} | OF_DEVICES
    assert set(outcome.tags) == everything - absent


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
    assert "device 0: NVML's answer is not text" in outcome.failures["gpu.missing"]


def test_only_these_functions_are_called(stub_folder: Path, tmp_path: Path) -> None:
    """A capture asks NVML what this list says and nothing else, each device once."""
    log = tmp_path / "calls"
    capture(stub_folder, devices="2", log=str(log))
    calls = Counter(log.read_text().split())
    of_a_device = FUNCTIONS[4:8]
    assert calls == {function: 2 if function in of_a_device else 1 for function in FUNCTIONS}


@pytest.mark.parametrize("function", FUNCTIONS[1:-1])
def test_nvml_is_always_shut_down(stub_folder: Path, tmp_path: Path, function: str) -> None:
    """Whatever goes wrong in between, what was initialised is shut down: no device is held open."""
    log = tmp_path / "calls"
    capture(stub_folder, devices="2", faults=f"{function}={LOST}", log=str(log))
    assert log.read_text().split()[-1] == "nvmlShutdown"


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


PATIENT, IMPATIENT = 30.0, 1.0
"""Seconds to wait for a capture that must succeed, and for one that cannot."""


@pytest.mark.parametrize("function", [*FUNCTIONS, "nvmlErrorString"])
def test_hanging_call_costs_the_gpu_facts_only(stub_folder: Path, function: str) -> None:
    """A call of NVML that never returns is timed out at the deadline, beside everybody else's facts."""
    healthy, hanging = resolve_each(stub_folder, ({}, PATIENT), (fault_in(function, "hang"), IMPATIENT))
    assert healthy.outcomes["gpu"].status == "captured"
    assert healthy.outcomes["host"].status == healthy.outcomes["python"].status == "captured"
    assert hanging.others == healthy.others
    assert (hanging.outcomes["gpu"].status, hanging.outcomes["gpu"].tags) == ("timed_out", {})
    assert "1 s" in str(hanging.outcomes["gpu"].reason)
    assert hanging.seconds < IMPATIENT + 2


@pytest.mark.parametrize("function", [*FUNCTIONS, "nvmlErrorString"])
def test_crashing_call_costs_the_gpu_facts_only(stub_folder: Path, function: str) -> None:
    """A segmentation fault in a call of NVML is one failed outcome beside everybody else's facts."""
    healthy, crashing = resolve_each(stub_folder, ({}, PATIENT), (fault_in(function, "crash"), PATIENT))
    assert crashing.others == healthy.others
    assert (crashing.outcomes["gpu"].status, crashing.outcomes["gpu"].tags) == ("failed", {})
    assert "worker" in str(crashing.outcomes["gpu"].reason)
    assert crashing.seconds < PATIENT


@pytest.mark.parametrize("fault", ["hang", "crash"])
def test_capture_after_a_broken_one(stub_folder: Path, fault: str) -> None:
    """Also the first capture of a program survives, and the next one has the facts again."""
    broken, mended = resolve_each(
        stub_folder,
        (fault_in("nvmlInitWithFlags", fault), 4.0),
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


UUIDS = ["GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb0000"]
FIRST, SECOND, THIRD = UUIDS


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        (None, [FIRST, SECOND, THIRD]),
        ("", []),
        (" ", []),
        ("0", [FIRST]),
        ("2,0", [THIRD, FIRST]),
        (" 1 , +2, -0", [SECOND, THIRD, FIRST]),
        ("0,2,-1,1", [FIRST, THIRD]),
        ("0,3,1", [FIRST]),
        ("0,,1", [FIRST]),
        ("1gpu2,2ampere", [SECOND, THIRD]),
        ("one,two,0", []),
        ("1,two,0", [SECOND]),
        ("0,1,0", []),
        ("0,GPU-bbbb", [FIRST]),
        ("GPU-bbbb", [THIRD]),
        ("GPU-aaaa2,GPU-bbbb0000", [SECOND, THIRD]),
        ("GPU-aaaa", []),
        ("GPU-bbbb,GPU-cccc,GPU-aaaa1", [THIRD]),
        ("GPU-bbbb,GPU-bbbb0", []),
        ("GPU-bbbb,0", [THIRD]),
        ("MIG-GPU-aaaa1111/1/2", ["MIG-GPU-aaaa1111/1/2"]),
        ("MIG-5f2a,MIG-77bc", ["MIG-5f2a", "MIG-77bc"]),
        ("MIG-5f2a,MIG-5f2a", []),
        ("MIG-5f2a,0", ["MIG-5f2a"]),
        ("NoDevFiles", []),
        ("٣", []),
    ],
)
def test_every_form_of_the_variable(setting: str | None, visible: list[str]) -> None:
    """Each form that CUDA accepts or rejects shows what CUDA would show."""
    assert visible_devices(setting, UUIDS) == visible


def test_identifier_that_may_be_a_device_without_uuid() -> None:
    """An identifier that no known UUID matches is not called invalid while a device's UUID is unknown."""
    with pytest.raises(NotInContext, match="GPU-cccc may be device 1, whose UUID is not known"):
        visible_devices("GPU-cccc", [FIRST, ""])
    assert visible_devices("GPU-aaaa1", [FIRST, ""]) == [FIRST]
    assert visible_devices("1,0", [FIRST, ""]) == ["", FIRST]
