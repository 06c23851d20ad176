"""The gpu provider on AMD's devices, TPUs and Macs, as they were recorded, and on several makers' devices at once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, ClassVar

import pytest

from runcontext import Program
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers._gpu.amd import Amd
from runcontext_providers._gpu.apple import Apple
from runcontext_providers._gpu.tpu import Tpu
from runcontext_providers.gpu import GpuProvider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runcontext.record import Outcome
    from runcontext_providers._gpu.per_device import Maker

CPU_NODE = """\
cpu_cores_count 96
simd_count 0
mem_banks_count 1
gfx_target_version 0
vendor_id 0
device_id 0
location_id 0
domain 0
drm_render_minor 0
"""

MI300X_NODE = """\
cpu_cores_count 0
simd_count 1216
mem_banks_count 1
caches_count 626
io_links_count 7
p2p_links_count 1
max_waves_per_simd 8
lds_size_in_kb 64
num_gws 64
wave_front_size 64
gfx_target_version 90402
vendor_id 4098
device_id 29857
location_id {location_id}
domain 0
drm_render_minor {minor}
hive_id 10631624818852212319
num_sdma_engines 2
num_sdma_xgmi_engines 14
max_engine_clk_fcompute 2100
local_mem_size 0
fw_version 166
capability 746037888
debug_prop 1511
sdma_fw_version 22
unique_id {unique_id}
num_xcc 8
max_engine_clk_ccompute 2400
"""
"""A node of an MI300X, from makodevai/gpuq, tests/test_hip.py, which recorded it; lines that nobody reads left out."""

LINK = "type {type}\nversion_major 0\nversion_minor 0\nnode_from {node}\nnode_to {to}\nweight 15\nflags 1\n"
"""The form of a link's properties: Linux, drivers/gpu/drm/amd/amdkfd/kfd_topology.c, ``iolink_show``."""

MI300X_DEVICE = {
    "mem_info_vram_total": "205822885888",
    "product_name": "",
    "revision": "0x00",
    "vbios_version": "113-M3000100-102",
    "numa_node": "1",
    "current_compute_partition": "SPX",
    "current_memory_partition": "NPS1",
    "pp_dpm_sclk": "0: 132Mhz *\n1: 2100Mhz",
    "pp_dpm_mclk": "0: 900Mhz *\n1: 1100Mhz\n2: 1200Mhz\n3: 1300Mhz",
    "hwmon/hwmon7/power1_cap": "750000000",
}
"""Attributes in the forms of the kernel's "Misc AMDGPU driver information" and "GPU Power/Thermal Controls"."""

AMDGPU_IDS = """\
# List of AMDGPU IDs
#
# Syntax:
# device_id,\trevision_id,\tproduct_name        <-- single tab after comma

1.0.0
1309,\t00,\tAMD Radeon R7 Graphics
7480,\tC1,\tAMD Radeon RX 7700S
7481,   C7,     AMD Steam Machine
74A1,\t00,\tAMD Instinct MI300X
"""
"""Lines of libdrm's data/amdgpu.ids, one with blanks for tabs as there."""

FIRST, SECOND = (f"GPU-{4376936076086227261 + place:016x}" for place in (0, 1))


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below ``root``, each with a last line end, as sysfs has them."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text.rstrip()}\n", encoding="utf-8")
    return root


def node(number: int, minor: int, *, unique_id: int = 4376936076086227261, to: int | None = None) -> dict[str, str]:
    """Give the files of one MI300X: its node, its graphics device, and a link to another node."""
    folder = f"sys/class/kfd/kfd/topology/nodes/{number}"
    device = f"sys/class/drm/renderD{minor}/device"
    properties = MI300X_NODE.format(minor=minor, unique_id=unique_id, location_id=18176 + 256 * number)
    links = {f"{folder}/io_links/0/properties": LINK.format(type=2, node=number, to=0)}
    if to is not None:
        links[f"{folder}/io_links/1/properties"] = LINK.format(type=11, node=number, to=to)
    return {
        f"{folder}/properties": properties,
        f"{folder}/gpu_id": str(51000 + number),
        **links,
        **{f"{device}/{name}": text for name, text in MI300X_DEVICE.items()},
    }


@pytest.fixture
def amd(tmp_path: Path) -> Path:
    """Give the root of a machine with two MI300X, linked by XGMI, and the driver of ROCm's own packages."""
    files = {
        "sys/class/kfd/kfd/topology/nodes/0/properties": CPU_NODE,
        "sys/class/kfd/kfd/topology/nodes/0/gpu_id": "0",
        "sys/module/amdgpu/version": "6.8.5",
        "usr/share/libdrm/amdgpu.ids": AMDGPU_IDS,
        **node(2, 128, to=10),
        **node(10, 136, unique_id=4376936076086227262, to=2),
    }
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    return write_tree(tmp_path, files)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset what the machine of the tests may have set."""
    for name in list(os.environ):
        if name.startswith(("ROCR_", "HIP_", "CUDA_", "TPU_")):
            monkeypatch.delenv(name)


def ask(*makers: Maker, method: str = "tags", program: Program | None = None) -> Outcome:
    """Resolve the provider for these makers alone."""
    context = resolve_provider(GpuProvider(makers), name="gpu", method=method, program=program)
    return context.outcomes["gpu"]


class TestGpuProvider(ProviderContract):
    """What this machine has is captured, or absent for a reason."""

    provider: ClassVar[object] = GpuProvider


# --- AMD -------------------------------------------------------------------------------------------------------------


def test_every_fact_of_amds_devices(amd: Path) -> None:
    """The same tags as for NVIDIA's devices, from the files of the kernel; a node's number is a number."""
    outcome = ask(Amd(str(amd)))
    assert outcome.tags == {
        "gpu.count": "2",
        "gpu.name": "AMD Instinct MI300X,AMD Instinct MI300X",
        "gpu.uuid": f"{FIRST},{SECOND}",
        "gpu.memory.total": "205822885888,205822885888",
        "gpu.compute_capability": "gfx942,gfx942",
        "gpu.mig": "SPX/NPS1,SPX/NPS1",
        "gpu.ecc": "true,true",
        "gpu.power.limit": "750,750",
        "gpu.clocks.max": "2100/1300,2100/1300",
        "gpu.vbios": "113-M3000100-102,113-M3000100-102",
        "gpu.others": "0,0",
        "gpu.driver.version": "6.8.5",
        "gpu.visible": f"{FIRST},{SECOND}",
        "gpu.topology": "XGMI 0-1; numa 1 1",
    }
    assert (outcome.status, outcome.failures) == ("captured", {})


def test_which_of_amds_devices_are_visible(amd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ROCm's variables choose at the start and at the end; connections are those of visible devices."""
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    start = ask(Amd(str(amd)))
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "")
    end = ask(Amd(str(amd)), method="tags_at_end")
    assert start.tags["gpu.visible"] == SECOND
    assert start.tags["gpu.others"] == ",0"
    assert start.tags["gpu.topology"] == "numa 1"
    assert end.tags == {"gpu.visible": "none"}
    assert end.failures == {"gpu.memory.peak": "absent: AMD's driver keeps no account of it"}


@pytest.mark.parametrize(
    ("lost", "tag"),
    [
        ("mem_info_vram_total", "gpu.memory.total"),
        ("vbios_version", "gpu.vbios"),
        ("pp_dpm_mclk", "gpu.clocks.max"),
        ("hwmon", "gpu.power.limit"),
        ("hwmon/hwmon7/power1_cap", "gpu.power.limit"),
    ],
)
def test_an_attribute_that_is_not_there_costs_its_own_fact(amd: Path, lost: str, tag: str) -> None:
    """A device whose driver lacks an attribute leaves that place empty, and the reason says so."""
    path = amd / "sys/class/drm/renderD128/device" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    outcome = ask(Amd(str(amd)))
    assert outcome.tags[tag].startswith(",")
    assert list(outcome.failures) == ["gpu.missing"]
    assert f"device 0 ({tag}): " in outcome.failures["gpu.missing"]
    assert outcome.status == "captured"


@pytest.mark.parametrize(
    ("attribute", "text"),
    [("pp_dpm_sclk", ""), ("hwmon/hwmon7/power1_cap", "much")],
)
def test_an_attribute_that_cannot_be_read_is_a_failure(amd: Path, attribute: str, text: str) -> None:
    """What the driver says in no known form costs that fact only."""
    write_tree(amd, {f"sys/class/drm/renderD{minor}/device/{attribute}": text for minor in (128, 136)})
    outcome = ask(Amd(str(amd)))
    assert outcome.status == "partial"
    assert len(outcome.failures) == 1


def test_names_of_amds_devices(amd: Path) -> None:
    """A server card tells its own name; else libdrm's list has it; else the PCI ids stand for it."""
    write_tree(amd, {"sys/class/drm/renderD128/device/product_name": "AMD Instinct MI300X OAM"})
    write_tree(amd, {"sys/class/drm/renderD136/device/revision": "0x77"})
    assert ask(Amd(str(amd))).tags["gpu.name"] == "AMD Instinct MI300X OAM,AMD [1002:74a1]"
    (amd / "usr/share/libdrm/amdgpu.ids").unlink()
    for attribute in ("revision", "product_name"):
        (amd / "sys/class/drm/renderD136/device" / attribute).unlink()
    assert ask(Amd(str(amd))).tags["gpu.name"] == "AMD Instinct MI300X OAM,AMD [1002:74a1]"


def test_device_without_a_unique_id(amd: Path) -> None:
    """An older device is identified by its PCI address; an architecture's steps are hexadecimal."""
    folder = amd / "sys/class/kfd/kfd/topology/nodes/2/properties"
    text = folder.read_text().replace("unique_id 4376936076086227261", "unique_id 0").replace("90402", "90010")
    folder.write_text(text)
    outcome = ask(Amd(str(amd)))
    assert outcome.tags["gpu.uuid"] == f"0000:49:00.0,{SECOND}"
    assert outcome.tags["gpu.compute_capability"] == "gfx90a,gfx942"


def test_device_that_cannot_be_divided(amd: Path) -> None:
    """Most devices know no partitions: an empty place with nothing to explain, and no tag if all are like that."""
    for minor, mig in ((128, ",SPX/NPS1"), (136, None)):
        (amd / f"sys/class/drm/renderD{minor}/device/current_compute_partition").unlink()
        outcome = ask(Amd(str(amd)))
        assert (outcome.tags.get("gpu.mig"), outcome.failures) == (mig, {})


def test_the_kernels_own_driver_has_no_version(amd: Path) -> None:
    """The driver that comes with the kernel is as old as the kernel: absent, saying so."""
    (amd / "sys/module/amdgpu/version").unlink()
    assert "the kernel's own" in ask(Amd(str(amd))).failures["gpu.driver.version"]


def test_devices_that_a_container_may_not_see(amd: Path) -> None:
    """A node that the kernel keeps from this process is no device of it, nor is another maker's."""
    properties = amd / "sys/class/kfd/kfd/topology/nodes/2/properties"
    properties.write_text(properties.read_text().replace("vendor_id 4098", "vendor_id 4318"))
    assert ask(Amd(str(amd))).tags["gpu.uuid"] == SECOND
    if os.geteuid() != 0:
        properties.chmod(0)
        assert ask(Amd(str(amd))).tags["gpu.uuid"] == SECOND


def test_driver_without_a_device(amd: Path) -> None:
    """A machine with the compute driver and no device has none, and none is visible."""
    for number in ("2", "10"):
        (amd / f"sys/class/kfd/kfd/topology/nodes/{number}/properties").unlink()
    outcome = ask(Amd(str(amd)))
    assert outcome.tags == {"gpu.count": "0", "gpu.driver.version": "6.8.5", "gpu.visible": "none"}


def test_devices_that_are_not_linked(amd: Path) -> None:
    """Devices without links of their own speak through the bus; one without a NUMA node is marked."""
    shutil.rmtree(amd / "sys/class/kfd/kfd/topology/nodes/2/io_links")
    write_tree(amd, {"sys/class/drm/renderD136/device/numa_node": "-1"})
    outcome = ask(Amd(str(amd)))
    assert outcome.tags["gpu.topology"] == "PCIe 0-1; numa 1 ?"
    assert "NUMA node of device 1" in outcome.failures["gpu.missing"]


def test_other_processes_on_amds_devices(amd: Path) -> None:
    """A process counts where it holds memory, unless it is the program."""
    processes = {os.getpid(): (4096, 0), os.getppid(): (0, 8192), 4194303: (4096, 4096)}
    for pid, (first, second) in processes.items():
        folder = f"sys/class/kfd/kfd/proc/{pid}"
        write_tree(amd, {f"{folder}/vram_51002": str(first), f"{folder}/vram_51010": str(second)})
    write_tree(amd, {"sys/class/kfd/kfd/proc/4194302/pasid": "32770"})
    assert ask(Amd(str(amd))).tags["gpu.others"] == "1,2"


def test_other_processes_seen_from_a_container(amd: Path) -> None:
    """In a container the driver's process ids are not ours: absent, with what to do."""
    (amd / "proc/self/ns/pid").unlink()
    (amd / "proc/self/ns/pid").symlink_to("pid:[4026532201]")
    write_tree(amd, {"sys/class/kfd/kfd/proc/17/vram_51002": "1", "sys/class/kfd/kfd/proc/17/vram_51010": "1"})
    if sys.platform == "linux":
        assert "--pid=host" in ask(Amd(str(amd))).failures["gpu.others"]


# --- TPU -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tpu(tmp_path: Path) -> Path:
    """Give the root of a v6e host with four chips, as recorded in ray-project/ray, pull request 65105."""
    addresses = [f"sys/bus/pci/devices/0000:00:0{number}.0" for number in (4, 5, 6, 7)]
    chips = {f"{at}/{name}": text for at in addresses for name, text in (("vendor", "0x1ae0"), ("device", "0x006f"))}
    network = {"sys/bus/pci/devices/0000:00:03.0/vendor": "0x1ae0", "sys/bus/pci/devices/0000:00:03.0/device": "0x0042"}
    bridge = {"sys/bus/pci/devices/0000:00:00.0/vendor": "0x8086", "sys/bus/pci/devices/0000:00:00.0/device": "0x1237"}
    return write_tree(tmp_path, {**chips, **network, **bridge, "dev/vfio/0": "", "dev/vfio/vfio": ""})


def program_with(folder: Path, distribution: str | None = None, version: str = "") -> Program:
    """Describe a program in whose environment a distribution is installed, or none."""
    if distribution is not None:
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        write_tree(folder, {f"{distribution.replace('-', '_')}-{version}.dist-info/METADATA": metadata})
    return Program(pid=os.getpid(), sys_path=(str(folder),))


@pytest.mark.parametrize(("distribution", "version"), [("libtpu", "0.0.17"), ("libtpu-nightly", "0.1.dev20240617")])
def test_every_fact_of_tpus(
    tpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, version: str
) -> None:
    """Chips are told by the PCI bus, the runtime by its package, the slice by the TPU's own variables."""
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v6e-16")
    monkeypatch.setenv("TPU_TOPOLOGY", "4x4")
    monkeypatch.setenv("TPU_WORKER_ID", "2")
    outcome = ask(Tpu(str(tpu)), program=program_with(tmp_path / "site", distribution, version))
    addresses = ",".join(f"0000:00:0{number}.0" for number in (4, 5, 6, 7))
    assert outcome.tags == {
        "gpu.count": "4",
        "gpu.name": ",".join(["TPU v6e"] * 4),
        "gpu.uuid": addresses,
        "gpu.memory.total": ",".join([str(32 * 2**30)] * 4),
        "gpu.driver.version": f"{distribution} {version}",
        "gpu.visible": addresses,
        "gpu.topology": "v6e-16 4x4 worker 2",
    }
    assert outcome.failures == {}


@pytest.mark.parametrize("variable", ["TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"])
def test_which_chips_are_visible(tpu: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The variables of the runtime choose by number; what is none of them is said, not guessed at."""
    monkeypatch.setenv(variable, "2, 0")
    end = ask(Tpu(str(tpu)), method="tags_at_end")
    assert end.tags == {"gpu.visible": "0000:00:06.0,0000:00:04.0"}
    assert list(end.failures) == ["gpu.memory.peak"]
    for wrong in ("4", "-1", "first"):
        monkeypatch.setenv(variable, wrong)
        assert f"{wrong!r}: not all are numbers of one of 4 chips" in ask(Tpu(str(tpu))).failures["gpu.visible"]


def test_tpu_without_a_runtime(tpu: Path, tmp_path: Path) -> None:
    """Without libtpu there is no version, and that is said; without the variables there is no slice."""
    outcome = ask(Tpu(str(tpu)), program=program_with(tmp_path / "site"))
    assert list(outcome.failures) == ["gpu.driver.version"]
    assert "libtpu is not installed" in outcome.failures["gpu.driver.version"]
    assert "gpu.topology" not in outcome.tags


@pytest.mark.parametrize(("subsystem", "name", "gib"), [("0x004e", "TPU v2", 16), ("0x004f", "TPU v3", 32)])
def test_chips_that_share_a_device_id(tmp_path: Path, subsystem: str, name: str, gib: int) -> None:
    """TPU v2 and v3 are told apart by the subsystem's id."""
    folder = "sys/bus/pci/devices/0000:00:04.0"
    ids = {"vendor": "0x1ae0", "device": "0x0027", "subsystem_device": subsystem}
    write_tree(tmp_path, {"dev/accel0": "", **{f"{folder}/{file}": text for file, text in ids.items()}})
    outcome = ask(Tpu(str(tmp_path)))
    assert (outcome.tags["gpu.name"], outcome.tags["gpu.memory.total"]) == (name, str(gib * 2**30))


def test_device_files_of_other_devices(tmp_path: Path) -> None:
    """/dev/vfio serves virtual machines as well: without a chip on the bus there is no TPU."""
    write_tree(tmp_path, {"dev/vfio/vfio": "", "sys/bus/pci/devices/0000:00:04.0/vendor": "0x1ae0"})
    outcome = ask(Tpu(str(tmp_path)))
    assert (outcome.status, "no TPU on the PCI bus" in str(outcome.reason)) == ("absent", True)


# --- Apple -----------------------------------------------------------------------------------------------------------

M3_PRO = {
    "_name": "Apple M3 Pro",
    "spdisplays_mtlgpufamilysupport": "spdisplays_metal3",
    "spdisplays_ndrvs": [{"_name": "DELL U2722DE", "_spdisplays_pixels": "2560 x 1440"}],
    "spdisplays_vendor": "sppci_vendor_Apple",
    "sppci_bus": "spdisplays_builtin",
    "sppci_cores": "18",
    "sppci_device_type": "spdisplays_gpu",
    "sppci_model": "Apple M3 Pro",
}
"""From timmo001/system-bridge, pull request 3408, but for the number of cores, which is not shown there."""

INTEL_MAC = [
    {
        "_name": "kHW_IntelUHDGraphics630Item",
        "spdisplays_metalfamily": "spdisplays_mtlgpufamilymac2",
        "spdisplays_vram_shared": "1536 MB",
        "sppci_model": "Intel UHD Graphics 630",
    },
    {
        "_name": "kHW_AMDRadeonPro5500MItem",
        "spdisplays_metalfamily": "spdisplays_mtlgpufamilymac2",
        "spdisplays_vbios-version": "113-D3220E-190",
        "spdisplays_vram": "8 GB",
        "sppci_model": "AMD Radeon Pro 5500M",
    },
]
"""In the form of sebhildebrandt/systeminformation, issues 348 and 536: two devices in one Mac."""


def printing(*devices: object) -> list[str]:
    """Give a command that prints what system_profiler would."""
    listed = json.dumps({"SPDisplaysDataType": list(devices)})
    return [sys.executable, "-S", "-c", "import sys; print(sys.argv[1])", listed]


def test_every_fact_of_a_mac() -> None:
    """Apple's own chip: its model with its cores, and no memory of its own."""
    outcome = ask(Apple(printing(M3_PRO)))
    assert outcome.tags == {
        "gpu.count": "1",
        "gpu.name": "Apple M3 Pro (18 cores)",
        "gpu.compute_capability": "metal3",
    }
    assert outcome.failures == {"gpu.memory.total": "absent: it shares the machine's memory: see memory.total"}


def test_every_fact_of_a_mac_with_two_devices() -> None:
    """A Mac of two makers' devices lists both, with memory in bytes."""
    outcome = ask(Apple(printing(*INTEL_MAC)))
    assert outcome.tags == {
        "gpu.count": "2",
        "gpu.name": "Intel UHD Graphics 630,AMD Radeon Pro 5500M",
        "gpu.memory.total": f"{1536 * 2**20},{8 * 2**30}",
        "gpu.compute_capability": "mtlgpufamilymac2,mtlgpufamilymac2",
        "gpu.vbios": ",113-D3220E-190",
    }
    assert outcome.failures == {}


def test_mac_at_the_end() -> None:
    """A Mac tells nothing more at the end, and that is said without asking again."""
    end = ask(Apple(["/nowhere"]), method="tags_at_end")
    assert (end.tags, list(end.failures)) == ({}, ["gpu.memory.peak"])


def test_device_of_which_little_is_said() -> None:
    """A device without a model, and a size in no known unit, cost their own facts only."""
    outcome = ask(Apple(printing({"spdisplays_vram": "8 gibbles"}, {"_name": "eGPU", "spdisplays_vram": "4 GB"})))
    assert outcome.tags["gpu.name"] == ",eGPU"
    assert outcome.tags["gpu.memory.total"] == f",{4 * 2**30}"
    assert "device 0 (gpu.name): System Information names no model" in outcome.failures["gpu.missing"]
    assert "'8 gibbles', which is no size" in outcome.failures["gpu.missing"]


@pytest.mark.parametrize(
    "command",
    [
        ["/nowhere/system_profiler"],
        [sys.executable, "-c", "raise SystemExit(3)"],
        [sys.executable, "-c", "print('[]')"],
    ],
)
def test_system_information_that_does_not_answer(command: list[str]) -> None:
    """A command that is missing, fails, or prints something else is one failure, which names it."""
    outcome = ask(Apple(command))
    assert outcome.status == "failed"
    assert f"{command[0]} did not tell: " in str(outcome.reason)


# --- several ---------------------------------------------------------------------------------------------------------


def test_devices_of_two_makers(amd: Path, tpu: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lists have the first maker's devices first; a fact that the other's do not have is an empty place."""
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "3")
    outcome = ask(Tpu(str(tpu)), Amd(str(amd)), program=program_with(tmp_path / "site", "libtpu", "0.0.17"))
    assert outcome.tags["gpu.count"] == "6"
    assert outcome.tags["gpu.name"] == "TPU v6e,TPU v6e,TPU v6e,TPU v6e,AMD Instinct MI300X,AMD Instinct MI300X"
    assert outcome.tags["gpu.ecc"] == ",,,,true,true"
    assert outcome.tags["gpu.driver.version"] == "libtpu 0.0.17,6.8.5"
    assert outcome.tags["gpu.visible"] == f"0000:00:07.0,{SECOND}"
    assert outcome.tags["gpu.others"] == ",,,,,0"
    assert (outcome.status, outcome.failures) == ("captured", {})


def test_connections_of_two_makers_devices(amd: Path) -> None:
    """Devices are called by their places among all."""
    outcome = ask(Apple(printing(M3_PRO)), Amd(str(amd)))
    assert outcome.tags["gpu.topology"] == "XGMI 1-2; numa 1 1"


def test_a_maker_that_hides_all_its_devices(amd: Path, tpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one maker shows nothing the other's devices are visible; where both do, none is."""
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "")
    assert ask(Amd(str(amd))).tags["gpu.visible"] == "none"
    assert ask(Amd(str(amd)), Amd(str(amd))).tags["gpu.visible"] == "none"
    assert ask(Amd(str(amd)), Tpu(str(tpu))).tags["gpu.visible"].startswith("0000:00:04.0,")


def test_a_maker_that_fails_beside_another(amd: Path) -> None:
    """One maker's failure costs its own devices, and is on record."""
    outcome = ask(Apple(["/nowhere/system_profiler"]), Amd(str(amd)))
    assert outcome.tags["gpu.name"] == "AMD Instinct MI300X,AMD Instinct MI300X"
    assert set(outcome.failures) == {"gpu.missing", "gpu.visible"}
    assert all("/nowhere/system_profiler did not tell" in reason for reason in outcome.failures.values())
    assert outcome.status == "partial"


def test_all_makers_fail() -> None:
    """Where no device can be counted, every fact says why."""
    broken = Apple(["/nowhere/system_profiler"])
    outcome = ask(broken, broken)
    assert outcome.tags == {}
    assert {"gpu.count", "gpu.name", "gpu.visible"} <= set(outcome.failures)


def test_nothing_is_found(tmp_path: Path) -> None:
    """Where there is no device of any kind, the reason names all that was looked for."""
    outcome = ask(Amd(str(tmp_path)), Tpu(str(tmp_path)))
    assert (outcome.status, outcome.tags) == ("absent", {})
    for place in ("/sys/class/kfd", "/dev/accel0", "/dev/vfio"):
        assert place in str(outcome.reason)
