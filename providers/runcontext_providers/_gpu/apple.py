"""A Mac's devices, as its System Information tells them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from runcontext import NotInContext
from runcontext_providers._gpu.per_device import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runcontext_providers._gpu.per_device import Answer

_COMMAND = ("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType")
_TIMEOUT = 10.0
"""Seconds that System Information may take; it takes less than one."""

_MEMORY_FIELDS = ("spdisplays_vram", "_spdisplays_vram", "spdisplays_vram_shared")
_UNITS = {"MB": 1 << 20, "GB": 1 << 30}


class Apple:
    """The devices of a Mac, in the order in which it lists them.

    ``command`` is what is run: it prints the JSON of ``system_profiler -json SPDisplaysDataType``.
    """

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        """Ask by ``command``."""
        self._command = command

    def look(self) -> None:
        """Every Mac has a device: there is nothing to look for."""

    def ask(self, first: int) -> Told:  # noqa: ARG002 - a Mac's devices are not connected to each other
        """Give name, memory in bytes, Metal family and VBIOS of each; raise RuntimeError where it cannot be asked."""
        return Told([_facts(device) for device in self._devices()], {})

    def ask_at_end(self) -> Told:
        """Give nothing but why: macOS accounts for no process's memory on a device."""
        return Told([{"gpu.memory.peak": NotInContext("macOS keeps no account of it")}], {})

    def _devices(self) -> list[dict[str, Any]]:
        try:
            done = subprocess.run(self._command, capture_output=True, timeout=_TIMEOUT, check=True)
            listed = json.loads(done.stdout)["SPDisplaysDataType"]
            return [device for device in listed if isinstance(device, dict)]
        except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
            message = f"{self._command[0]} did not tell: {error}"
            raise RuntimeError(message) from error


def _facts(device: dict[str, Any]) -> dict[str, Answer]:
    family = device.get("spdisplays_mtlgpufamilysupport") or device.get("spdisplays_metalfamily")
    return {
        "gpu.name": _name(device),
        "gpu.memory.total": _memory(device),
        "gpu.compute_capability": str(family).removeprefix("spdisplays_") if family else None,
        "gpu.vbios": device.get("spdisplays_vbios-version"),
    }


def _name(device: dict[str, Any]) -> Answer:
    name = device.get("sppci_model") or device.get("_name")
    if not name:
        return NotInContext("System Information names no model")
    # Chips of one name are sold with different numbers of cores.
    cores = device.get("sppci_cores")
    return f"{name} ({cores} cores)" if cores else str(name)


def _memory(device: dict[str, Any]) -> Answer:
    """Read a size such as ``8 GB``; Apple's own chips have none but the machine's."""
    text = next((str(device[field]) for field in _MEMORY_FIELDS if field in device), None)
    if text is None:
        return NotInContext("it shares the machine's memory: see memory.total")
    number, _, unit = text.partition(" ")
    try:
        return str(int(float(number) * _UNITS[unit]))
    except (ValueError, KeyError):
        return RuntimeError(f"its memory is {text!r}, which is no size in MB or GB")
