"""Which processes compute on NVIDIA's devices, and how much memory the described program took of each.

Source: NVML API Reference Guide, sections "Device Queries" and "Accounting Statistics".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pynvml

from runcontext import NotInContext
from runcontext_providers._gpu.nvml import ask, code_of
from runcontext_providers._gpu.processes import count_others, require_comparable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runcontext_providers._gpu.cuda_visible import Shown
    from runcontext_providers._gpu.nvml import Device, Handle
    from runcontext_providers._gpu.per_device import Answer

_ACCOUNTING_OFF = "accounting is off: before the program starts, as root, `nvidia-smi --accounting-mode=1`"


def others(devices: Sequence[Device], shown: Sequence[Shown] | Exception, root: str) -> list[Answer]:
    """Count, for each visible device, the processes that compute on it and are not the program's; else None."""
    return [_others_on(place, device, shown, root) for place, device in enumerate(devices)]


def _others_on(place: int, device: Device, shown: Sequence[Shown] | Exception, root: str) -> Answer:
    if isinstance(device.handle, Exception):
        return device.handle
    if isinstance(shown, Exception):
        return shown
    # In MIG mode a device tells of all its instances to the administrator only.
    handles = [each.instance.handle if each.instance else device.handle for each in shown if each.device == place]
    return ask(lambda: str(count_others(_processes_on(handles), root))) if handles else None


def _processes_on(handles: Sequence[Handle]) -> set[int]:
    return {each.pid for handle in handles for each in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)}


def peak_memory(devices: Sequence[Device], pid: int, root: str) -> list[Answer]:
    """Give the most memory in bytes that process ``pid`` held on each device; None on one that it did not use."""
    answers: list[Answer] = [
        device.handle if isinstance(device.handle, Exception) else ask(partial(_peak_on, device.handle, pid, root))
        for device in devices
    ]
    if answers and all(answer is None for answer in answers):
        return [NotInContext(f"process {pid} used no device that NVML accounts for") for _ in answers]
    return answers


def _peak_on(handle: Handle, pid: int, root: str) -> str | None:
    if not pynvml.nvmlDeviceGetAccountingMode(handle):
        raise NotInContext(_ACCOUNTING_OFF)
    require_comparable(root)
    try:
        return str(pynvml.nvmlDeviceGetAccountingStats(handle, pid).maxMemoryUsage)
    except pynvml.NVMLError as error:
        if code_of(error) == pynvml.NVML_ERROR_NOT_FOUND:
            return None
        raise
    except TypeError as error:
        # For NVML's "not available" the bindings write None into a field of numbers.
        message = "the driver does not manage the memory itself, as on Windows under WDDM"
        raise NotInContext(message) from error
