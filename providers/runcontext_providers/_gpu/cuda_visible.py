"""CUDA_VISIBLE_DEVICES: which of a machine's devices CUDA shows to a program, and in which order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ORDINAL = re.compile(r"\s*([+-]?[0-9]+)")
_LEGACY_MIG = re.compile(r"MIG-(GPU-[^/]+)/([0-9]+)/([0-9]+)")


class MigInstance(NamedTuple):
    """A compute instance of a device in MIG mode: its UUID, profile, ids and NVML handle; unknown ones are None."""

    uuid: str
    profile: str | None = None
    gpu_instance: int | None = None
    compute_instance: int | None = None
    handle: Any = None


class CudaDevice(NamedTuple):
    """A device as CUDA can be asked for it; ``uuid`` is empty and ``instances`` None where not known."""

    uuid: str
    in_mig_mode: bool = False
    instances: Sequence[MigInstance] | None = ()


class Shown(NamedTuple):
    """A device that CUDA shows: its place among all, None where not known; its name; which MIG instance of it.

    ``name`` is the device's UUID, and of an instance ``GPU-.../MIG-...``: the device's, then its own.
    """

    device: int | None
    name: str
    instance: MigInstance | None = None


_Device = TypeVar("_Device", int, Shown)


def visible_devices(
    setting: str | None, devices: Sequence[CudaDevice], *, order_unknown: str | None = None
) -> Sequence[Shown]:
    """Resolve the setting of CUDA_VISIBLE_DEVICES to the devices that it shows, in its order.

    - ``setting``: None where the variable is not set: then all devices are visible, as they are listed.
    - ``devices``: all, in the order of the PCI bus.
    - ``order_unknown``: why CUDA may count the devices in another order, None where it does not.

    Raises NotInContext where the answer needs an order ("order unknown: ...") or a UUID that is not known, or
    CUDA's own choice among several MIG instances.

    Sources: CUDA Programming Guide, "CUDA Environment Variables", CUDA_VISIBLE_DEVICES: an invalid entry
    hides itself and what follows; a UUID may be cut to any unique beginning. MIG User Guide, "CUDA Device
    Enumeration": the forms of MIG names, and that CUDA shows one instance by itself, and no whole device beside it.
    What they leave open is as in PyTorch, ``torch.cuda._parse_visible_devices`` and
    ``_transform_uuid_to_ordinals``: text after an ordinal is ignored, a device named twice hides all, the first
    entry decides between ordinals, GPU and MIG.
    """
    if setting is None:
        return _enumerated(range(len(devices)), devices)
    if setting.startswith("MIG-"):
        return _until_invalid(setting, lambda entry: _by_mig_name(entry, devices))
    if setting.startswith("GPU-"):
        return _enumerated(_until_invalid(setting, lambda entry: _by_uuid(entry, devices)), devices)
    places = _until_invalid(setting, lambda entry: _by_ordinal(entry, len(devices)))
    if places and order_unknown is not None:
        message = f"order unknown: {order_unknown}"
        raise NotInContext(message)
    return _enumerated(places, devices)


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


def _by_ordinal(entry: str, count: int) -> int | None:
    number = _ORDINAL.match(entry)
    return int(number[1]) if number and 0 <= int(number[1]) < count else None


def _by_uuid(entry: str, devices: Sequence[CudaDevice]) -> int | None:
    if not entry.startswith("GPU-"):
        return None
    uuids = [device.uuid for device in devices]
    matches = [place for place, uuid in enumerate(uuids) if uuid.startswith(entry)]
    if not matches and "" in uuids:
        message = f"{entry} may be device {uuids.index('')}, whose UUID is not known"
        raise NotInContext(message)
    return matches[0] if len(matches) == 1 else None


def _by_mig_name(entry: str, devices: Sequence[CudaDevice]) -> Shown | None:
    if not entry.startswith("MIG-"):
        return None
    legacy = _LEGACY_MIG.fullmatch(entry.rstrip())
    return _by_ids(legacy, devices) if legacy else _by_mig_uuid(entry.rstrip(), devices)


def _by_ids(name: re.Match[str], devices: Sequence[CudaDevice]) -> Shown | None:
    """Resolve ``MIG-GPU-<uuid>/<GPU instance>/<compute instance>``, the form of drivers before 470."""
    places = [place for place, device in enumerate(devices) if device.uuid == name[1]]
    if not places:
        return Shown(None, name[0]) if any(not device.uuid for device in devices) else None
    instances = devices[places[0]].instances
    if instances is None:
        return Shown(places[0], f"{name[1]}/{name[2]}/{name[3]}")
    ids = (int(name[2]), int(name[3]))
    matches = [each for each in instances if (each.gpu_instance, each.compute_instance) == ids]
    return _shown_instance(places[0], matches[0], devices) if matches else None


def _by_mig_uuid(name: str, devices: Sequence[CudaDevice]) -> Shown | None:
    matches = [
        (place, each)
        for place, device in enumerate(devices)
        for each in device.instances or ()
        if each.uuid.startswith(name)
    ]
    if not matches and any(device.instances is None for device in devices):
        return Shown(None, name)
    return _shown_instance(*matches[0], devices) if len(matches) == 1 else None


def _shown_instance(place: int, instance: MigInstance, devices: Sequence[CudaDevice]) -> Shown:
    return Shown(place, f"{devices[place].uuid}/{instance.uuid}", instance)


def _enumerated(places: Sequence[int], devices: Sequence[CudaDevice]) -> list[Shown]:
    """Give what CUDA makes of whole devices: of those in MIG mode it shows a single instance, and nothing beside it."""
    instances = []
    for place in places:
        of_device = devices[place].instances if devices[place].in_mig_mode else ()
        if of_device is None:
            message = f"device {place} is in MIG mode, and its instances are not known"
            raise NotInContext(message)
        instances += [_shown_instance(place, each, devices) for each in of_device]
    if len(instances) > 1:
        message = f"CUDA picks one of {len(instances)} MIG instances by itself: name it in CUDA_VISIBLE_DEVICES"
        raise NotInContext(message)
    whole = [Shown(place, devices[place].uuid) for place in places if not devices[place].in_mig_mode]
    return instances or whole
