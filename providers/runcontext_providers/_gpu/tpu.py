"""Google's TPUs, as the PCI bus and the runtime's variables show them; nothing is asked of the network.

Source: google/cloud-accelerator-diagnostics, tpu_info/device.py, for the PCI ids, the device files and the memory of
each generation.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runcontext import NotInContext, current_program
from runcontext_providers._gpu.per_device import Told
from runcontext_providers._gpu.sysfs import attribute

if TYPE_CHECKING:
    from runcontext_providers._gpu.per_device import Answer

_DEVICE_FILES = ("dev/accel0", "dev/vfio")
"""What the drivers of TPUs up to v4 make, and those since."""

_PCI = "sys/bus/pci/devices"
_GOOGLE = "0x1ae0"
_V2_OR_V3 = "0x0027"
_MODELS = {
    "0x004e": ("TPU v2", 16),
    "0x004f": ("TPU v3", 32),
    "0x005e": ("TPU v4", 32),
    "0x0063": ("TPU v5e", 16),
    "0x0062": ("TPU v5p", 95),
    "0x006f": ("TPU v6e", 32),
    "0x0076": ("TPU7x", 192),
}
"""Name and GiB of memory of each chip by its PCI device; of v2 and v3, which share one, by the subsystem's."""


class _Chip(NamedTuple):
    address: str
    name: str
    memory_gib: int


class Tpu:
    """The TPU chips of this machine, in the order of the PCI bus.

    ``root`` is the folder that stands for ``/``, so that a recorded system can be described.
    """

    def __init__(self, root: str = "/") -> None:
        """Read system files below ``root``."""
        self._root = root

    def look(self) -> None:
        """Look for the device files first: they need no walk over the bus."""
        files = " and ".join(f"/{file}" for file in _DEVICE_FILES)
        if not any(os.path.exists(os.path.join(self._root, file)) for file in _DEVICE_FILES):
            message = f"{files} not found: no TPU here"
            raise NotInContext(message)
        if not self._chips():
            message = f"no TPU on the PCI bus, though one of {files} is there"
            raise NotInContext(message)

    def ask(self, first: int) -> Told:  # noqa: ARG002 - chips are not connected one by one
        """Give the facts of each chip; none has a UUID, so that its PCI address stands for it."""
        devices: list[dict[str, Answer]] = [
            {
                "gpu.name": chip.name,
                "gpu.uuid": chip.address,
                "gpu.memory.total": str(chip.memory_gib << 30),
            }
            for chip in self._chips()
        ]
        shared = {
            "gpu.driver.version": _libtpu_version(),
            "gpu.visible": self._visible(),
            "gpu.topology": _slice(),
        }
        return Told(devices, shared)

    def ask_at_end(self) -> Told:
        """Give which chips are visible by now; the peak of memory is known to the program alone."""
        unknown = NotInContext("a TPU's memory is accounted for inside the program only")
        return Told([{"gpu.memory.peak": unknown} for _ in self._chips()], {"gpu.visible": self._visible()})

    def _chips(self) -> list[_Chip]:
        bus = os.path.join(self._root, _PCI)
        found = [_chip(bus, address) for address in sorted(os.listdir(bus))] if os.path.isdir(bus) else []
        return [chip for chip in found if chip]

    def _visible(self) -> Answer:
        setting = os.environ.get("TPU_VISIBLE_CHIPS") or os.environ.get("TPU_VISIBLE_DEVICES")
        addresses = [chip.address for chip in self._chips()]
        if not setting:
            return ",".join(addresses)
        numbers = [int(entry) if entry.strip().isdecimal() else -1 for entry in setting.split(",")]
        if not all(0 <= number < len(addresses) for number in numbers):
            return NotInContext(
                f"TPU_VISIBLE_CHIPS is {setting!r}: not all are numbers of one of {len(addresses)} chips"
            )
        return ",".join(addresses[number] for number in numbers)


def _chip(bus: str, address: str) -> _Chip | None:
    try:
        if attribute(bus, address, "vendor") != _GOOGLE:
            return None
        device = attribute(bus, address, "device")
        model = _MODELS.get(attribute(bus, address, "subsystem_device") if device == _V2_OR_V3 else device)
    except (NotInContext, OSError):
        return None
    return _Chip(address, *model) if model else None


def _libtpu_version() -> Answer:
    """Give the version of the runtime library, which is TPUs' driver in user space."""
    from importlib.metadata import distributions

    for name in ("libtpu", "libtpu-nightly"):
        for found in distributions(name=name, path=list(current_program().sys_path)):
            return f"{name} {found.version}"
    return NotInContext("libtpu is not installed in the program's environment")


def _slice() -> str | None:
    """Give the slice that this machine is a part of, as the TPU's own variables name it: type, topology, worker."""
    names = ("TPU_ACCELERATOR_TYPE", "TPU_TOPOLOGY", "TPU_WORKER_ID")
    kind, topology, worker = (os.environ.get(name, "") for name in names)
    return " ".join(filter(None, (kind, topology, worker and f"worker {worker}"))) or None
