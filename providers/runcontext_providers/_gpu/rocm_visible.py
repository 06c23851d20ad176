"""ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES: which of AMD's devices ROCm shows to a program."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_LONGEST_UUID = len("GPU-") + 16


def rocm_visible_devices(environment: Mapping[str, str], uuids: Sequence[str]) -> list[int]:
    """Give the places of the devices that a HIP program sees, in its order.

    First ROCR_VISIBLE_DEVICES chooses among all devices; then HIP_VISIBLE_DEVICES, or where that is empty
    CUDA_VISIBLE_DEVICES, among those. In each an invalid entry hides itself and what follows.

    Sources: ROCm documentation, "GPU isolation techniques"; what it leaves open is as in the runtimes:
    ROCR-Runtime, amd_filter_device.cpp, and clr, rocdevice.cpp, ``Device::init``.
    """
    places = list(range(len(uuids)))
    setting = environment.get("ROCR_VISIBLE_DEVICES")
    if setting is not None:
        places = _by_runtime(setting, uuids)
    setting = environment.get("HIP_VISIBLE_DEVICES") or environment.get("CUDA_VISIBLE_DEVICES")
    return [places[at] for at in _by_hip(setting, [uuids[place] for place in places])] if setting else places


def _by_runtime(setting: str, uuids: Sequence[str]) -> list[int]:
    """Resolve as the ROCm runtime does: any case, blanks around entries, unique beginnings of UUIDs."""
    found: list[int] = []
    for entry in setting.upper().split(","):
        place = _by_prefix(entry.strip(), uuids) if entry.strip().startswith("G") else _by_number(entry.strip())
        if place is None or not 0 <= place < len(uuids) or place in found:
            break
        found.append(place)
    return found


def _by_prefix(entry: str, uuids: Sequence[str]) -> int | None:
    if not len("GPU-") < len(entry) <= _LONGEST_UUID:
        return None
    matches = [place for place, uuid in enumerate(uuids) if uuid.upper().startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _by_number(entry: str) -> int | None:
    """Read a number as C's ``strtol`` does with base 0: decimal, or 0x... or 0... in front."""
    number = _INTEGER.fullmatch(entry)
    if number is None:
        return None
    digits = number[1]
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    try:
        return -int(digits, base) if entry.startswith("-") else int(digits, base)
    except ValueError:
        return None


def _by_hip(setting: str, uuids: Sequence[str]) -> list[int]:
    """Resolve as HIP does: plain numbers, or parts of UUIDs; a device named twice counts once."""
    found: list[int] = []
    for entry in setting.split(","):
        matches = [place for place, uuid in enumerate(uuids) if "GPU-" in entry and entry in uuid]
        place = matches[0] if matches else int(entry) if entry.isascii() and entry.isdecimal() else -1
        if not 0 <= place < len(uuids) or (not matches and entry != str(place)):
            break
        if place not in found:
            found.append(place)
    return found
