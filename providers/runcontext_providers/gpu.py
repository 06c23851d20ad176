"""Which GPUs and other accelerators there are, which of them the program may use, and the drivers under them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runcontext import NotInContext
from runcontext_providers._gpu.amd import Amd
from runcontext_providers._gpu.nvidia import Nvidia
from runcontext_providers._gpu.per_device import Told, failures, joined, together, why_missing
from runcontext_providers._gpu.tpu import Tpu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runcontext.provider import Placement, TagValue
    from runcontext_providers._gpu.per_device import Answer, Maker

_OF_DEVICES = (
    "gpu.name",
    "gpu.uuid",
    "gpu.memory.total",
    "gpu.compute_capability",
    "gpu.mig",
    "gpu.ecc",
    "gpu.power.limit",
    "gpu.clocks.max",
    "gpu.vbios",
    "gpu.persistence",
    "gpu.others",
)
"""The facts of which each device has its own."""

_OF_DRIVERS = ("gpu.driver.version", "gpu.cuda.version")
"""The facts of which each maker's devices have one: joined with commas, as the devices are."""

_AT_END = ("gpu.memory.peak",)
"""The facts of each device that are known only when the program has run."""


class GpuProvider:
    """Tells which accelerators the drivers see, which of them the program may use, and what makes them differ.

    NVIDIA's devices come first, then AMD's, then TPUs; on a Mac Apple's. Lists have a value for each device in
    that order, a missing one empty; ``gpu.missing`` never has a value, but the reasons for what is empty in them.

    ``makers`` are the kinds of devices that are looked for; those that this system can have unless given.
    """

    placement: Placement = "companion"

    def __init__(self, makers: Sequence[Maker] | None = None) -> None:
        """Look for devices of ``makers``."""
        self._makers = _makers_here() if makers is None else makers
        self._found: list[Maker] = []

    def in_context(self) -> bool:
        """Say whether there is a driver to ask; raise NotInContext, naming all that was looked for, if not."""
        reasons = []
        self._found = []
        for maker in self._makers:
            try:
                maker.look()
                self._found.append(maker)
            except NotInContext as reason:
                reasons.append(str(reason))
        if not self._found:
            raise NotInContext("; ".join(reasons))
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give the facts as the drivers answer them now; byte counts, watts, MHz."""
        told = self._told(lambda maker, first: maker.ask(first))
        facts: dict[str, Answer] = {"gpu.count": str(sum(map(len, _lists(told))))}
        facts |= _of_devices(told, _OF_DEVICES)
        facts |= {tag: joined([each.shared[tag] for each in told if tag in each.shared]) for tag in _OF_DRIVERS}
        facts["gpu.visible"] = _visible(told)
        facts["gpu.topology"] = _of_all([each.shared.get("gpu.topology") for each in told], "; ")
        return _values(facts, told)

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give which devices are visible by now, and how much memory the program took of each at most, in bytes."""
        told = self._told(lambda maker, _: maker.ask_at_end())
        return _values({**_of_devices(told, _AT_END), "gpu.visible": _visible(told)}, told)

    def _told(self, ask: Callable[[Maker, int], Told]) -> list[Told]:
        """Ask each maker; one that fails costs only its own devices, unless there is no other."""
        told: list[Told] = []
        for maker in self._found:
            try:
                told.append(ask(maker, sum(map(len, _lists(told)))))
            except (NotInContext, RuntimeError, OSError) as error:
                if len(self._found) == 1:
                    raise
                told.append(Told(error, {}))
        return told


def _makers_here() -> Sequence[Maker]:
    if sys.platform == "darwin":
        from runcontext_providers._gpu.apple import Apple

        return (Apple(),)
    return (Nvidia(), Amd(), Tpu())


def _lists(told: Sequence[Told]) -> list[Sequence[Mapping[str, Answer]]]:
    return [() if isinstance(each.devices, Exception) else each.devices for each in told]


def _of_devices(told: Sequence[Told], tags: Sequence[str]) -> dict[str, Answer]:
    """Give a list for each tag, and ``gpu.missing`` for what is empty in them."""
    rows = {tag: [device.get(tag) for devices in _lists(told) for device in devices] for tag in tags}
    uncounted = failures([each.devices for each in told if isinstance(each.devices, Exception)])
    missing = [*uncounted, *why_missing(rows), *(gap for each in told for gap in each.gaps)]
    facts: dict[str, Answer] = {tag: joined(answers) for tag, answers in rows.items()}
    return {**facts, "gpu.missing": together(missing) if missing else None}


def _visible(told: Sequence[Told]) -> Answer:
    failed = [each.devices for each in told if isinstance(each.devices, RuntimeError)]
    shown = [*failed, *(each.shared.get("gpu.visible") for each in told)]
    devices = [each for each in shown if each != "none"]
    return _of_all(devices, ",") if devices or not shown else "none"


def _of_all(answers: Sequence[Answer], separator: str) -> Answer:
    """Join what the makers say of one fact; a part of it alone would mislead."""
    reasons = failures(answers)
    return together(reasons) if reasons else separator.join(filter(None, map(_text, answers))) or None


def _text(answer: Answer) -> str:
    return answer if isinstance(answer, str) else ""


def _values(facts: Mapping[str, Answer], told: Sequence[Told]) -> dict[str, TagValue]:
    """Make tag values of the facts; where no device can be counted, none is missing alone."""
    if all(isinstance(each.devices, Exception) for each in told):
        why = together([each.devices for each in told if isinstance(each.devices, Exception)])
        facts = {tag: fact if tag in _OF_DRIVERS else why for tag, fact in facts.items() if tag != "gpu.missing"}
    return {tag: _raising(fact) if isinstance(fact, Exception) else fact for tag, fact in facts.items()}


def _raising(error: Exception) -> Callable[[], str]:
    def fail() -> str:
        raise error

    return fail
