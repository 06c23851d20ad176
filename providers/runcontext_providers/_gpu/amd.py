"""AMD's devices, as the kernel's compute driver (KFD) lists them and its graphics driver (amdgpu) describes them.

No library is needed: rocm-smi and amdsmi read the same files. Sources: Linux, drivers/gpu/drm/amd/amdkfd/kfd_topology.c
for ``/sys/class/kfd/kfd/topology``, and Documentation/gpu/amdgpu, "Misc AMDGPU driver information" and "GPU
Power/Thermal Controls and Monitoring", for the attributes of a device.
"""

from __future__ import annotations

import os
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from runcontext import NotInContext
from runcontext_providers._gpu.per_device import Told
from runcontext_providers._gpu.sysfs import attribute, numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runcontext_providers._gpu.per_device import Answer

_Subject = TypeVar("_Subject")

_KFD = "sys/class/kfd"
_NODES = "sys/class/kfd/kfd/topology/nodes"
_PROCESSES = "sys/class/kfd/kfd/proc"
_MARKETING_NAMES = ("usr/share/libdrm/amdgpu.ids", "opt/amdgpu/share/libdrm/amdgpu.ids")
"""Where libdrm keeps the names of devices that do not tell their own: lines of device id, revision, name."""

_AMD = str(0x1002)
"""AMD's vendor id on the PCI bus, as KFD writes it."""

_MEMORY_IS_CORRECTED = 0x00100000
"""Source: kfd_topology.h, HSA_CAP_MEM_EDCSUPPORTED: set where error correction of the memory is enabled."""

_XGMI = "11"
"""Source: kfd_crat.h, CRAT_IOLINK_TYPE_XGMI."""


class _Node(NamedTuple):
    """A device as KFD lists it: its node's folder, its properties, the folder of its graphics device."""

    folder: str
    properties: Mapping[str, str]
    device: str

    @property
    def identifier(self) -> str:
        """Its UUID as ROCm writes it, or its PCI address where the device has none."""
        unique = int(self.properties.get("unique_id", 0))
        return f"GPU-{unique:016x}" if unique else self.address

    @property
    def address(self) -> str:
        location = int(self.properties["location_id"])
        domain = int(self.properties.get("domain", 0))
        return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"


class Amd:
    """The AMD devices that can compute, in KFD's order, that of ROCm.

    ``root`` is the folder that stands for ``/``, so that a recorded system can be described.
    """

    def __init__(self, root: str = "/") -> None:
        """Read system files below ``root``."""
        self._root = root

    def look(self) -> None:
        """Look for the compute driver."""
        if not os.path.isdir(os.path.join(self._root, _KFD)):
            message = f"/{_KFD} not found: no AMD compute driver (amdgpu with KFD) here"
            raise NotInContext(message)

    def ask(self, first: int) -> Told:
        """Read every fact, one after the other, so that one without an answer costs itself only."""
        from runcontext_providers._gpu import topology as links

        nodes = self._nodes()
        shown = self._shown(nodes)
        devices: list[dict[str, Answer]] = [
            {tag: _ask(fact, node) for tag, fact in self._facts().items()} for node in nodes
        ]
        for place, told in enumerate(devices):
            told["gpu.others"] = _ask(self._others, nodes[place]) if place in shown else None
        topology, gaps = links.described(*_connections(nodes, shown, first))
        shared: dict[str, Answer] = {
            "gpu.driver.version": _ask(self._driver_version, None),
            "gpu.visible": self._visible(nodes, shown),
            "gpu.topology": topology,
        }
        return Told(devices, shared, gaps)

    def ask_at_end(self) -> Told:
        """Read which devices are visible by now; KFD keeps no account of a process's peak."""
        nodes = self._nodes()
        unknown = NotInContext("AMD's driver keeps no account of it")
        peaks = [{"gpu.memory.peak": unknown} for _ in nodes]
        return Told(peaks, {"gpu.visible": self._visible(nodes, self._shown(nodes))})

    def _nodes(self) -> list[_Node]:
        folder = os.path.join(self._root, _NODES)
        nodes = []
        for number in numbered(folder):
            properties = _properties(os.path.join(folder, number))
            # CPUs are nodes too, and have no SIMD units.
            if properties.get("vendor_id") == _AMD and int(properties.get("simd_count", 0)):
                render = f"sys/class/drm/renderD{properties.get('drm_render_minor')}/device"
                nodes.append(_Node(os.path.join(folder, number), properties, os.path.join(self._root, render)))
        return nodes

    def _shown(self, nodes: Sequence[_Node]) -> list[int]:
        from runcontext_providers._gpu.rocm_visible import rocm_visible_devices

        return rocm_visible_devices(os.environ, [node.identifier for node in nodes])

    def _visible(self, nodes: Sequence[_Node], shown: Sequence[int]) -> str:
        return ",".join(nodes[place].identifier for place in shown) or "none"

    def _facts(self) -> dict[str, Callable[[_Node], str | None]]:
        return {
            "gpu.name": self._name,
            "gpu.uuid": lambda node: node.identifier,
            "gpu.memory.total": lambda node: attribute(node.device, "mem_info_vram_total"),
            "gpu.compute_capability": _target,
            "gpu.mig": _partitions,
            "gpu.ecc": _ecc,
            "gpu.power.limit": _power_limit,
            "gpu.clocks.max": lambda node: f"{_highest(node, 'pp_dpm_sclk')}/{_highest(node, 'pp_dpm_mclk')}",
            "gpu.vbios": lambda node: attribute(node.device, "vbios_version"),
        }

    def _name(self, node: _Node) -> str:
        """Give the device's own name, told by server cards only, else libdrm's, else its PCI ids."""
        try:
            if own := attribute(node.device, "product_name"):
                return own
        except NotInContext:
            pass
        device = f"{int(node.properties['device_id']):x}"
        try:
            revision = attribute(node.device, "revision").removeprefix("0x")
        except NotInContext:
            revision = ""
        return self._marketing_name(device, revision) or f"AMD [1002:{device:0>4}]"

    def _marketing_name(self, device: str, revision: str) -> str | None:
        for file in _MARKETING_NAMES:
            try:
                lines = attribute(self._root, file).splitlines()
            except NotInContext:
                continue
            for line in lines:
                fields = [field.strip() for field in line.split(",", 2)]
                if len(fields) == 3 and [each.lower() for each in fields[:2]] == [device, revision]:  # noqa: PLR2004 - as above
                    return fields[2]
        return None

    def _driver_version(self, _: None) -> str:
        try:
            return attribute(self._root, "sys/module/amdgpu/version")
        except NotInContext:
            message = "the amdgpu driver is the kernel's own, which has no version beside the kernel's"
            raise NotInContext(message) from None

    def _others(self, node: _Node) -> str:
        from runcontext_providers._gpu.processes import count_others

        identifier = attribute(node.folder, "gpu_id")
        folder = os.path.join(self._root, _PROCESSES)
        users = [int(pid) for pid in numbered(folder) if _holds_memory(os.path.join(folder, pid), identifier)]
        return str(count_others(users, self._root))


def _ask(fact: Callable[[_Subject], str | None], subject: _Subject) -> Answer:
    try:
        return fact(subject)
    except (NotInContext, OSError, ValueError, LookupError) as error:
        return error


def _properties(folder: str) -> dict[str, str]:
    try:
        lines = attribute(folder, "properties").splitlines()
    except (NotInContext, PermissionError):
        # The kernel keeps from a container the devices that are not its own.
        return {}
    return dict(line.split(maxsplit=1) for line in lines if " " in line)


def _target(node: _Node) -> str:
    """Give the compiler's name of the architecture: 90010 is gfx90a."""
    version = int(node.properties["gfx_target_version"])
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _partitions(node: _Node) -> str | None:
    """Give how the device is divided, as ``SPX/NPS1``: its compute units, then its memory; None where it cannot be."""
    try:
        return "/".join(attribute(node.device, f"current_{what}_partition") for what in ("compute", "memory"))
    except NotInContext:
        return None


def _ecc(node: _Node) -> str:
    return "true" if int(node.properties["capability"]) & _MEMORY_IS_CORRECTED else "false"


def _power_limit(node: _Node) -> str:
    folder = os.path.join(node.device, "hwmon")
    monitors = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    if not monitors:
        message = "the driver has no hwmon folder for it"
        raise NotInContext(message)
    return f"{int(attribute(folder, monitors[0], 'power1_cap')) / 1e6:g}"


def _highest(node: _Node, clock: str) -> str:
    """Give the highest of the levels that a clock can have, in MHz: the last of lines like ``1: 2100Mhz *``."""
    frequency = attribute(node.device, clock).splitlines()[-1].split()[1]
    return frequency.lower().removesuffix("mhz")


def _holds_memory(process: str, identifier: str) -> bool:
    try:
        return attribute(process, f"vram_{identifier}") != "0"
    except (NotInContext, OSError):
        return False


def _connections(
    nodes: Sequence[_Node], shown: Sequence[int], first: int
) -> tuple[dict[tuple[int, int], Answer], dict[int, Answer]]:
    """Give the kind of link between visible devices, by the places of each two, and the NUMA node of each."""
    places = sorted(shown)
    linked = {place: _linked(nodes[place]) for place in places} if len(places) > 1 else {}
    links: dict[tuple[int, int], Answer] = {
        (one + first, other + first): "XGMI" if os.path.basename(nodes[other].folder) in linked[one] else "PCIe"
        for one, other in combinations(linked, 2)
    }
    return links, {place + first: _ask(_numa_node, nodes[place]) for place in places}


def _linked(node: _Node) -> set[str]:
    """Give the numbers of the nodes to which a device has links of its own kind."""
    folder = os.path.join(node.folder, "io_links")
    links = [_properties(os.path.join(folder, number)) for number in numbered(folder)]
    return {link["node_to"] for link in links if link.get("type") == _XGMI and "node_to" in link}


def _numa_node(node: _Node) -> str:
    number = attribute(node.device, "numa_node")
    if number == "-1":
        message = "the system has none for it"
        raise NotInContext(message)
    return number
