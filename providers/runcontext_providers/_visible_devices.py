"""CUDA_VISIBLE_DEVICES: which of a machine's devices CUDA shows to a program, and in which order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Device = TypeVar("_Device", int, str)
_ORDINAL = re.compile(r"\s*([+-]?[0-9]+)")


def visible_devices(
    setting: str | None,
    uuids: Sequence[str],
    *,
    order_unknown: str | None = None,
) -> Sequence[str]:
    """Resolve the setting of CUDA_VISIBLE_DEVICES to the UUIDs of the devices that it shows, in its order.

    - ``setting``: None where the variable is not set: then all devices are visible, listed as in ``uuids``.
    - ``uuids``: those of all devices, in the order of the PCI bus, an unknown one empty.
    - ``order_unknown``: why CUDA may count the devices in another order, None where it does not.

    A MIG instance is given as it was named.

    Raises NotInContext where the answer needs an order ("order unknown: ...") or a UUID that is not known.

    Sources: CUDA Programming Guide, "CUDA Environment Variables", CUDA_VISIBLE_DEVICES: an invalid entry
    hides itself and what follows; a UUID may be cut to any unique beginning. What the guide leaves open is as
    in PyTorch, ``torch.cuda._parse_visible_devices`` and ``_transform_uuid_to_ordinals``: text after an
    ordinal is ignored, a device named twice hides all, the first entry decides between ordinals, GPU and MIG.
    """
    if setting is None:
        return uuids
    if setting.startswith("MIG-"):
        return _until_invalid(setting, lambda entry: entry.strip() if entry.startswith("MIG-") else None)
    if setting.startswith("GPU-"):
        return [uuids[index] for index in _until_invalid(setting, lambda entry: _by_uuid(entry, uuids))]
    indices = _until_invalid(setting, lambda entry: _by_ordinal(entry, len(uuids)))
    if indices and order_unknown is not None:
        message = f"order unknown: {order_unknown}"
        raise NotInContext(message)
    return [uuids[index] for index in indices]


def _until_invalid(setting: str, resolve: Callable[[str], _Device | None]) -> list[_Device]:
    found: list[_Device] = []
    for entry in setting.split(","):
        device = resolve(entry)
        if device is None:
            break
        if device in found:
            return []
        found.append(device)
    return found


def _by_uuid(entry: str, uuids: Sequence[str]) -> int | None:
    if not entry.startswith("GPU-"):
        return None
    matches = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
    if not matches and "" in uuids:
        message = f"{entry} may be device {uuids.index('')}, whose UUID is not known"
        raise NotInContext(message)
    return matches[0] if len(matches) == 1 else None


def _by_ordinal(entry: str, count: int) -> int | None:
    number = _ORDINAL.match(entry)
    return int(number[1]) if number and 0 <= int(number[1]) < count else None
