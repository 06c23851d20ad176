"""Which GPUs there are, which of them the program may use, and the driver under them."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from runcontext import NotInContext
from runcontext_providers._per_device import failures, joined, texts, together, why_missing
from runcontext_providers._visible_devices import visible_devices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from runcontext.provider import TagValue
    from runcontext_providers._per_device import Answer

    _Fact: TypeAlias = "TagValue | Exception"

_NVML_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"


class GpuProvider:
    """Tells which GPUs the driver sees, which of them CUDA shows to the program, and the driver's versions.

    - ``gpu.count``: devices that NVML sees, ``0`` where a driver runs without one;
    - ``gpu.driver.version``, ``gpu.cuda.version``: the driver's; the latter is the newest CUDA it supports;
    - ``gpu.name``, ``gpu.uuid``, ``gpu.memory.total`` (bytes): a value for each device, in NVML's order, that
      of the PCI bus; a missing one is empty;
    - ``gpu.missing``: never a value, but the reasons on record for what is empty in those lists;
    - ``gpu.visible``: UUIDs of the devices that CUDA_VISIBLE_DEVICES shows, in its order; MIG instances as
      they were named; ``none`` for no device; all, as in ``gpu.uuid``, where the variable is not set.
    """

    def in_context(self) -> bool:
        """Say whether there is a driver to ask."""
        # The loader is asked before the bindings are imported: those 20 ms most machines can save.
        try:
            ctypes.CDLL(_NVML_LIBRARY)
        except OSError as error:
            raise NotInContext(_why_not_loaded(str(error))) from error
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give the facts as NVML answers them now."""
        from runcontext_providers._nvml import DEVICE_FACTS, ask_nvml

        nvml = ask_nvml()
        facts: dict[str, _Fact] = {**nvml.system}
        if isinstance(nvml.devices, Exception):
            facts |= dict.fromkeys(("gpu.count", *DEVICE_FACTS, "gpu.visible"), nvml.devices)
        else:
            facts["gpu.count"] = str(len(nvml.devices))
            facts |= _facts_of_devices({tag: [told[tag] for told in nvml.devices] for tag in DEVICE_FACTS})
        return {tag: _value(fact) for tag, fact in facts.items()}


def _why_not_loaded(loader: str) -> str:
    if _NVML_LIBRARY in loader and "No such file" in loader:
        return f"{_NVML_LIBRARY} not found: no NVIDIA driver here, or a container that was started without it"
    return f"{_NVML_LIBRARY} cannot be loaded: {loader}"


def _facts_of_devices(rows: Mapping[str, Sequence[Answer]]) -> dict[str, _Fact]:
    facts: dict[str, _Fact] = {tag: joined(answers) for tag, answers in rows.items()}
    if missing := why_missing(rows):
        facts["gpu.missing"] = missing
    facts["gpu.visible"] = lambda: _visible(rows["gpu.uuid"], rows["gpu.name"])
    return facts


def _value(fact: _Fact) -> TagValue:
    if not isinstance(fact, Exception):
        return fact

    def fail() -> str:
        raise fact

    return fail


def _visible(uuids: Sequence[Answer], names: Sequence[Answer]) -> str:
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = visible_devices(setting, texts(uuids), order_unknown=_why_order_unknown(uuids, names))
    if visible and not any(visible):
        raise together(failures(uuids))
    return ",".join(visible) or "none"


def _why_order_unknown(uuids: Sequence[Answer], names: Sequence[Answer]) -> str | None:
    """Say why CUDA may count the devices otherwise than NVML does; None where both count alike.

    Source: CUDA Programming Guide, "CUDA Environment Variables", CUDA_DEVICE_ORDER: fastest first unless set.
    """
    for index, uuid in enumerate(uuids):
        if isinstance(uuid, Exception) and not isinstance(uuid, NotInContext):
            return f"CUDA may not count device {index}: {uuid}"
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len(names) <= 1:
        return None
    if failures(names) or len(set(texts(names))) > 1:
        models = "models differ" if not failures(names) else "models are not known"
        return f"CUDA counts fastest first, and the {models}; CUDA_DEVICE_ORDER=PCI_BUS_ID fixes the order"
    return None
