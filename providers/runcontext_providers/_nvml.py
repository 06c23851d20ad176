"""What NVML, the management library of NVIDIA's driver, answers about the driver and its devices.

NVML talks to the kernel's driver and never creates a CUDA context. A new fact is a row of ``SYSTEM_FACTS`` or
``DEVICE_FACTS``.

Source: NVML API Reference Guide, sections "Initialization and Cleanup", "System Queries", "Device Queries"
and "Error reporting".
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import pynvml

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_T = TypeVar("_T")
Handle: TypeAlias = Any
Answer: TypeAlias = "str | NvmlError | NotInContext"

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


class NvmlAnswers(NamedTuple):
    """All that NVML answered at one moment: facts of the system, and of each device or why it gives none."""

    system: Mapping[str, Answer]
    devices: Sequence[Mapping[str, Answer]] | NvmlError | NotInContext


def ask_nvml() -> NvmlAnswers:
    """Ask NVML every fact, one after the other, so that one without an answer costs itself only.

    Raises NotInContext where no driver is loaded, NvmlError where NVML cannot be used.
    """
    with _initialised():
        return NvmlAnswers(
            system={tag: _ask(question) for tag, question in SYSTEM_FACTS.items()},
            devices=_ask(lambda: [_ask_device(index) for index in range(pynvml.nvmlDeviceGetCount())]),
        )


@contextmanager
def _initialised() -> Iterator[None]:
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


def _ask_device(index: int) -> Mapping[str, Answer]:
    handle = _ask(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    if isinstance(handle, (NvmlError, NotInContext)):
        return dict.fromkeys(DEVICE_FACTS, handle)
    return {tag: _ask(partial(question, handle)) for tag, question in DEVICE_FACTS.items()}


def _ask(question: Callable[[], _T]) -> _T | NvmlError | NotInContext:
    try:
        return question()
    except pynvml.NVMLError as error:
        return _explained(error)
    except UnicodeDecodeError as error:
        return NvmlError(f"NVML's answer is not text: {error}")


def _explained(error: Any) -> NvmlError | NotInContext:
    words = _words_of_nvml(error)
    remedy = _WHAT_TO_DO.get(error.value)
    message = f"{words} ({remedy})" if remedy else words
    return NotInContext(message) if error.value in _ABSENT else NvmlError(message)


def _words_of_nvml(error: Any) -> str:
    try:
        return _text(pynvml.nvmlErrorString(error.value))
    except pynvml.NVMLError:
        return str(error)


def _text(words: str | bytes) -> str:
    # Old bindings give bytes.
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else words


def _cuda_version() -> str:
    # NVML asks libcuda's cuDriverGetVersion, which creates no context.
    version = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    return f"{version // 1000}.{version % 1000 // 10}"


SYSTEM_FACTS: Mapping[str, Callable[[], str]] = {
    "gpu.driver.version": lambda: _text(pynvml.nvmlSystemGetDriverVersion()),
    "gpu.cuda.version": _cuda_version,
}

DEVICE_FACTS: Mapping[str, Callable[[Handle], str]] = {
    "gpu.name": lambda handle: _text(pynvml.nvmlDeviceGetName(handle)),
    "gpu.uuid": lambda handle: _text(pynvml.nvmlDeviceGetUUID(handle)),
    "gpu.memory.total": lambda handle: str(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
}
