"""How NVIDIA's visible devices are connected: NVLink, else PCI Express, and NUMA nodes.

Sources: NVML API Reference Guide, sections "Device Queries" and "NvLink Methods"; the names of the levels are those
of ``nvidia-smi topo --matrix``.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import pynvml

from runcontext import NotInContext
from runcontext_providers._gpu import topology as form
from runcontext_providers._gpu.nvml import ask, code_of, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runcontext_providers._gpu.cuda_visible import Shown
    from runcontext_providers._gpu.nvml import Device, Handle
    from runcontext_providers._gpu.per_device import Answer

_LEVELS = {
    pynvml.NVML_TOPOLOGY_INTERNAL: "INTERNAL",
    pynvml.NVML_TOPOLOGY_SINGLE: "PIX",
    pynvml.NVML_TOPOLOGY_MULTIPLE: "PXB",
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: "PHB",
    pynvml.NVML_TOPOLOGY_NODE: "NODE",
    pynvml.NVML_TOPOLOGY_SYSTEM: "SYS",
}
_SWITCH = "switch"
"""The far end of links that lead to an NVSwitch, and through it to every other device."""

_UNKNOWN_HERE = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
_WORDS = 16
"""Words of 64 NUMA nodes each that are asked for: as many nodes as Linux can have, 1024."""


class _Port(NamedTuple):
    """A device's address on the bus, and how many NVLinks it has to each far end."""

    bus: str
    links: Counter[str]


def topology(
    devices: Sequence[Device], shown: Sequence[Shown] | Exception, first: int
) -> tuple[Answer, Sequence[Exception]]:
    """Give the connections of the visible devices in a line, and why some are missing.

    Devices are called by their places in the list of all; ``first`` is that of ``devices[0]``.
    """
    if isinstance(shown, Exception):
        return shown, ()
    places = sorted({each.device for each in shown if each.device is not None})
    handles = {place: handle for place in places if not isinstance(handle := devices[place].handle, Exception)}
    ports = {place: ask(partial(_port, handle)) for place, handle in handles.items()} if len(handles) > 1 else {}
    links: dict[tuple[int, int], Answer] = {
        (one + first, other + first): _link(handles[one], handles[other], ports[one], ports[other])
        for one, other in combinations(ports, 2)
    }
    return form.described(links, {place + first: ask(partial(_node, at)) for place, at in handles.items()})


def _link(one: Handle, other: Handle, port: _Port | Exception, far_port: _Port | Exception) -> Answer:
    if isinstance(port, Exception):
        return port
    if isinstance(far_port, Exception):
        return far_port
    bonded = port.links[far_port.bus] or min(port.links[_SWITCH], far_port.links[_SWITCH])
    return f"NV{bonded}" if bonded else ask(lambda: _level(one, other))


def _level(one: Handle, other: Handle) -> str:
    level = pynvml.nvmlDeviceGetTopologyCommonAncestor(one, other)
    return _LEVELS.get(level, str(level))


def _port(handle: Handle) -> _Port:
    links: Counter[str] = Counter()
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            active = pynvml.nvmlDeviceGetNvLinkState(handle, link)
        except pynvml.NVMLError as error:
            if code_of(error) in _UNKNOWN_HERE:
                continue
            if code_of(error) == pynvml.NVML_ERROR_INVALID_ARGUMENT:
                break  # There are fewer links.
            raise
        if active:
            links[_far_end(handle, link)] += 1
    return _Port(_bus(pynvml.nvmlDeviceGetPciInfo(handle)) if links else "", links)


def _far_end(handle: Handle, link: int) -> str:
    try:
        kind = pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link)
    except pynvml.NVMLError as error:
        if code_of(error) not in _UNKNOWN_HERE:
            raise
        kind = None
    if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
        return _SWITCH
    return _bus(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link))


def _bus(address: pynvml.nvmlPciInfo_t) -> str:
    return text(address.busId).lower()


def _node(handle: Handle) -> str:
    words = pynvml.nvmlDeviceGetMemoryAffinity(handle, _WORDS, pynvml.NVML_AFFINITY_SCOPE_NODE)
    nodes = [str(64 * at + bit) for at, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    if not nodes:
        message = "the system has none for it"
        raise NotInContext(message)
    return "+".join(nodes)
