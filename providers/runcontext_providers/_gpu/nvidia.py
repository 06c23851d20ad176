"""NVIDIA's devices: asked through NVML, counted as CUDA counts them."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from runcontext import NotInContext, current_program
from runcontext_providers._gpu.per_device import Told, failures, texts, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runcontext_providers._gpu.cuda_visible import Shown
    from runcontext_providers._gpu.nvml import Device
    from runcontext_providers._gpu.per_device import Answer

_NVML_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"


class Nvidia:
    """The NVIDIA devices that NVML tells of, in its order, that of the PCI bus.

    ``root`` is the folder that stands for ``/`` where this process's namespaces are looked at.
    """

    def __init__(self, root: str = "/") -> None:
        """Look at namespaces below ``root``."""
        self._root = root

    def look(self) -> None:
        """Ask the loader for NVML, before its bindings are imported: those 20 ms most machines can save."""
        try:
            ctypes.CDLL(_NVML_LIBRARY)
        except OSError as error:
            raise NotInContext(_why_not_loaded(str(error))) from error

    def ask(self, first: int) -> Told:
        """Ask for every fact, one after the other; raise NotInContext or NvmlError where NVML cannot be used."""
        from runcontext_providers._gpu import nvml, nvml_processes, nvml_topology

        with nvml.initialised():
            shared: dict[str, Answer] = {tag: nvml.ask(fact) for tag, fact in nvml.SYSTEM_FACTS.items()}
            devices = nvml.ask(nvml.devices)
            if isinstance(devices, Exception):
                return Told(devices, shared)
            facts = [nvml.facts_of(device) for device in devices]
            shown = _shown(devices, facts)
            others = nvml_processes.others(devices, shown, self._root)
            topology, gaps = nvml_topology.topology(devices, shown, first)
        shared |= {"gpu.visible": _names(shown, facts), "gpu.topology": topology}
        told = [{**one, "gpu.others": answer} for one, answer in zip(facts, others, strict=True)]
        return Told(told, shared, gaps)

    def ask_at_end(self) -> Told:
        """Ask what the devices are called, which are visible by now, and what NVML accounts for the program."""
        from runcontext_providers._gpu import nvml, nvml_processes

        with nvml.initialised():
            devices = nvml.ask(nvml.devices)
            if isinstance(devices, Exception):
                return Told(devices, {})
            facts = [nvml.identity_of(device) for device in devices]
            peaks = nvml_processes.peak_memory(devices, current_program().pid, self._root)
        peak = [{"gpu.memory.peak": answer} for answer in peaks]
        return Told(peak, {"gpu.visible": _names(_shown(devices, facts), facts)})


def _why_not_loaded(loader: str) -> str:
    if _NVML_LIBRARY in loader and "No such file" in loader:
        return f"{_NVML_LIBRARY} not found: no NVIDIA driver here, or a container that was started without it"
    return f"{_NVML_LIBRARY} cannot be loaded: {loader}"


def _shown(devices: Sequence[Device], facts: Sequence[dict[str, Answer]]) -> Sequence[Shown] | Exception:
    """Give the devices that CUDA shows to the program, or why they cannot be told."""
    from runcontext_providers._gpu.cuda_visible import CudaDevice, visible_devices

    uuids = texts([told["gpu.uuid"] for told in facts])
    cuda = [CudaDevice(uuid, device.in_mig_mode, device.instances) for uuid, device in zip(uuids, devices, strict=True)]
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        return visible_devices(setting, cuda, order_unknown=_why_order_unknown(devices, facts))
    except NotInContext as reason:
        return reason


def _names(shown: Sequence[Shown] | Exception, facts: Sequence[dict[str, Answer]]) -> Answer:
    if isinstance(shown, Exception):
        return shown
    names = [each.name for each in shown]
    unknown = failures([told["gpu.uuid"] for told in facts])
    return together(unknown) if names and not any(names) else ",".join(names) or "none"


def _why_order_unknown(devices: Sequence[Device], facts: Sequence[dict[str, Answer]]) -> str | None:
    """Say why CUDA may count the devices otherwise than NVML does; None where both count alike.

    Source: CUDA Programming Guide, "CUDA Environment Variables", CUDA_DEVICE_ORDER: fastest first unless set.
    """
    for index, told in enumerate(facts):
        uuid = told["gpu.uuid"]
        if isinstance(uuid, Exception) and not isinstance(uuid, NotInContext):
            return f"CUDA may not count device {index}: {uuid}"
    if len(devices) <= 1:
        return None
    for index, device in enumerate(devices):
        if device.in_mig_mode:
            return f"CUDA may not count device {index}, which is in MIG mode; UUIDs in CUDA_VISIBLE_DEVICES are clear"
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return None
    names = [told["gpu.name"] for told in facts]
    if failures(names) or len(set(texts(names))) > 1:
        models = "models differ" if not failures(names) else "models are not known"
        return f"CUDA counts fastest first, and the {models}; CUDA_DEVICE_ORDER=PCI_BUS_ID fixes the order"
    return None
