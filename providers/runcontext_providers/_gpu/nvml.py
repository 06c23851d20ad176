"""What NVML, the management library of NVIDIA's driver, answers about the driver and its devices.

NVML talks to the kernel's driver and never creates a CUDA context. A new fact is a row of ``SYSTEM_FACTS`` or
``DEVICE_FACTS``.

Source: NVML API Reference Guide, sections "Initialization and Cleanup", "System Queries", "Device Queries",
"Multi Instance GPU Management" and "Error reporting".
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import pynvml

from runcontext import NotInContext
from runcontext_providers._gpu.cuda_visible import MigInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runcontext_providers._gpu.per_device import Answer

_T = TypeVar("_T")
Handle: TypeAlias = Any

_ABSENT = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
}
_WHAT_TO_DO = {
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "this driver's NVML is too old to know",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "load it with `modprobe nvidia`, or give the container its devices",
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "libcuda.so.1 is missing: "
    "in a container, NVIDIA_DRIVER_CAPABILITIES must contain `compute`",
    pynvml.NVML_ERROR_NO_PERMISSION: "this user or container may not open its /dev/nvidia* file",
    pynvml.NVML_ERROR_GPU_IS_LOST: "look for its Xid in the kernel's log, then reset it or reboot",
    pynvml.NVML_ERROR_RESET_REQUIRED: "reset it with `nvidia-smi --gpu-reset`, or reboot",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated under a running kernel: "
    "reload the nvidia kernel modules, or reboot; in a container, restart it",
    pynvml.NVML_ERROR_UNKNOWN: "in a container, restart it: it may have lost access to its devices",
}


class NvmlError(RuntimeError):
    """A question that NVML should have answered and did not: why, in its own words, and what to do."""


class Device(NamedTuple):
    """A device that NVML counts.

    - ``handle``: how NVML is asked about it, or why it cannot be.
    - ``mig``: the fact ``gpu.mig``: ``off``, ``on`` without an instance, else ``PROFILE=UUID`` of each, joined by
      semicolons.
    - ``in_mig_mode``: whether it is divided into MIG instances; False where that cannot be told.
    - ``instances``: those that there are, None where they cannot be told.
    """

    handle: Handle | NvmlError | NotInContext
    mig: Answer
    in_mig_mode: bool = False
    instances: Sequence[MigInstance] | None = ()


@contextmanager
def initialised() -> Iterator[None]:
    """Initialise NVML for as long as it is asked.

    Raises NotInContext where no driver is loaded, NvmlError where NVML cannot be used.
    """
    # Shut down after every capture, though the next one then initialises again: an initialised NVML holds
    # /dev/nvidia* open, and nobody could reset a GPU, change its MIG mode or reload the driver meanwhile.
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _explained(error) from error
    try:
        yield
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def ask(question: Callable[[], _T]) -> _T | NvmlError | NotInContext:
    """Give the answer to a question, or why there is none."""
    try:
        return question()
    except pynvml.NVMLError as error:
        return _explained(error)
    except NotInContext as reason:
        return reason
    except (AttributeError, UnicodeDecodeError) as error:
        return NvmlError(f"NVML's bindings cannot tell: {error}")


def devices() -> list[Device]:
    """Give every device that NVML counts, in the order of the PCI bus, with its MIG instances."""
    return [_device(index) for index in range(pynvml.nvmlDeviceGetCount())]


def facts_of(device: Device) -> dict[str, Answer]:
    """Ask a device each fact, one after the other, so that one without an answer costs itself only."""
    if isinstance(device.handle, Exception):
        return dict.fromkeys((*DEVICE_FACTS, "gpu.mig"), device.handle)
    facts = {tag: ask(partial(question, device.handle)) for tag, question in DEVICE_FACTS.items()}
    return {**facts, "gpu.mig": device.mig}


def identity_of(device: Device) -> dict[str, Answer]:
    """Ask a device only what CUDA_VISIBLE_DEVICES is resolved with."""
    tags = ("gpu.name", "gpu.uuid")
    if isinstance(device.handle, Exception):
        return dict.fromkeys(tags, device.handle)
    return {tag: ask(partial(DEVICE_FACTS[tag], device.handle)) for tag in tags}


def _device(index: int) -> Device:
    handle = ask(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    if isinstance(handle, (NvmlError, NotInContext)):
        return Device(handle, handle, instances=None)
    mode = ask(lambda: pynvml.nvmlDeviceGetMigMode(handle)[0])
    if isinstance(mode, (NvmlError, NotInContext)):
        # A device that knows no MIG mode has no instances.
        return Device(handle, mode, instances=() if isinstance(mode, NotInContext) else None)
    if not mode:
        return Device(handle, "off")
    instances = ask(lambda: list(_mig_instances(handle)))
    if isinstance(instances, (NvmlError, NotInContext)):
        return Device(handle, instances, in_mig_mode=True, instances=None)
    mig = ";".join(f"{each.profile or '?'}={each.uuid}" for each in instances) or "on"
    return Device(handle, mig, in_mig_mode=True, instances=instances)


def _mig_instances(parent: Handle) -> Iterator[MigInstance]:
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, index)
        except pynvml.NVMLError as error:
            if code_of(error) == pynvml.NVML_ERROR_NOT_FOUND:
                continue
            raise
        yield _mig_instance(handle)


def _mig_instance(handle: Handle) -> MigInstance:
    # "NVIDIA A100-SXM4-40GB MIG 1g.5gb": the device's model, then the profile.
    name = ask(lambda: text(pynvml.nvmlDeviceGetName(handle)))
    gpu_instance = ask(lambda: pynvml.nvmlDeviceGetGpuInstanceId(handle))
    compute_instance = ask(lambda: pynvml.nvmlDeviceGetComputeInstanceId(handle))
    return MigInstance(
        uuid=text(pynvml.nvmlDeviceGetUUID(handle)),
        profile=name.rpartition(" MIG ")[2] if isinstance(name, str) else None,
        gpu_instance=gpu_instance if isinstance(gpu_instance, int) else None,
        compute_instance=compute_instance if isinstance(compute_instance, int) else None,
        handle=handle,
    )


def code_of(error: Any) -> int:
    """Give the ``nvmlReturn_t`` of an error of the bindings, which declare no such attribute."""
    return int(error.value)


def _explained(error: Any) -> NvmlError | NotInContext:
    words = _words_of_nvml(error)
    remedy = _WHAT_TO_DO.get(error.value)
    message = f"{words} ({remedy})" if remedy else words
    return NotInContext(message) if error.value in _ABSENT else NvmlError(message)


def _words_of_nvml(error: Any) -> str:
    try:
        return text(pynvml.nvmlErrorString(error.value))
    except pynvml.NVMLError:
        return str(error)


def text(words: str | bytes) -> str:
    """Give a text of NVML's; old bindings, and fields of structures, give bytes."""
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else words


def _cuda_version() -> str:
    # NVML asks libcuda's cuDriverGetVersion, which creates no context.
    version = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    return f"{version // 1000}.{version % 1000 // 10}"


def _compute_capability(handle: Handle) -> str:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return f"{major}.{minor}"


def _is_on(state: int) -> str:
    return "true" if state == pynvml.NVML_FEATURE_ENABLED else "false"


def _watts(milliwatts: int) -> str:
    return f"{milliwatts / 1000:g}"


def _clocks(handle: Handle) -> str:
    kinds = (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM)
    return "/".join(str(pynvml.nvmlDeviceGetMaxClockInfo(handle, kind)) for kind in kinds)


SYSTEM_FACTS: Mapping[str, Callable[[], str]] = {
    "gpu.driver.version": lambda: text(pynvml.nvmlSystemGetDriverVersion()),
    "gpu.cuda.version": _cuda_version,
}

DEVICE_FACTS: Mapping[str, Callable[[Handle], str]] = {
    "gpu.name": lambda handle: text(pynvml.nvmlDeviceGetName(handle)),
    "gpu.uuid": lambda handle: text(pynvml.nvmlDeviceGetUUID(handle)),
    "gpu.memory.total": lambda handle: str(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    "gpu.compute_capability": _compute_capability,
    "gpu.ecc": lambda handle: _is_on(pynvml.nvmlDeviceGetEccMode(handle)[0]),
    "gpu.power.limit": lambda handle: _watts(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)),
    "gpu.clocks.max": _clocks,
    "gpu.vbios": lambda handle: text(pynvml.nvmlDeviceGetVbiosVersion(handle)),
    "gpu.persistence": lambda handle: _is_on(pynvml.nvmlDeviceGetPersistenceMode(handle)),
}
