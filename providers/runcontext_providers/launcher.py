"""The launcher provider: what started the program, under which id, and which of how many processes it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

from runcontext import NotInContext, current_program
from runcontext_providers._surroundings.launchers import Launcher, Place, launchers_of, place_of
from runcontext_providers._surroundings.variables import value_of

if TYPE_CHECKING:
    from runcontext.provider import Placement, TagValue

_MAX_JOB_AD_BYTES = 1 << 20
_JOB_AD_IDS = {"clusterid": "htcondor.cluster.id", "procid": "htcondor.process.id"}
"""Attributes of HTCondor's job ad, whose names are in any case, and their tags."""


class LauncherProvider:
    """Tell the schedulers and launchers above the program, their ids, and the program's rank.

    Each is known by variables that it documents, and no others are read. Where launchers are nested, each tells its
    own ids, and the innermost that has ranks tells the rank. ``environment`` stands for ``os.environ``.
    """

    placement: Placement = "companion"

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read ``environment``, the process's own unless given."""
        self._environment = os.environ if environment is None else environment

    def in_context(self) -> bool:
        """Look for a launcher; raises NotInContext where there is none."""
        if not self._launchers:
            raise NotInContext(_why_none(self._environment))
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give ``launcher.name``, outermost first, the place among the processes, and each launcher's ids."""
        return {
            "launcher.name": ",".join(launcher.name for launcher in self._launchers),
            "rank": lambda: self._place.rank,
            "local_rank": self._local_rank,
            "world_size": lambda: self._place.world_size,
            **dict(self._ids()),
        }

    @cached_property
    def _launchers(self) -> list[Launcher]:
        return launchers_of(self._environment, current_program().pid)

    @property
    def _place(self) -> Place:
        place = place_of(self._environment, self._launchers)
        if place is None:
            names = ", ".join(launcher.name for launcher in self._launchers)
            message = f"{names} gave this process no rank: it is not one that was started as one of several"
            raise NotInContext(message)
        return place

    def _local_rank(self) -> str:
        place = self._place
        if place.local_rank is None:
            message = f"{place.launcher} gave this process no local rank"
            raise NotInContext(message)
        return place.local_rank

    def _ids(self) -> Iterator[tuple[str, TagValue]]:
        for launcher in self._launchers:
            for tag, sources in launcher.ids.items():
                found = value_of(self._environment, sources)
                yield tag, None if found is None else found[0]
            if launcher.name == "htcondor":
                yield from self._condor_ids()

    def _condor_ids(self) -> Iterator[tuple[str, TagValue]]:
        for attribute, tag in _JOB_AD_IDS.items():
            yield tag, partial(self._job_ad_value, attribute)

    def _job_ad_value(self, attribute: str) -> str | None:
        """Read the job's ad: HTCondor manual, Extra Environment Variables, _CONDOR_JOB_AD."""
        path = self._environment.get("_CONDOR_JOB_AD")
        if not path:
            message = "HTCondor names no job ad: _CONDOR_JOB_AD is not set"
            raise NotInContext(message)
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_MAX_JOB_AD_BYTES).splitlines()
        fields = (line.partition("=") for line in lines)
        return next((value.strip() for name, _, value in fields if name.strip().lower() == attribute), None)


def _why_none(environment: Mapping[str, str]) -> str:
    if environment.get("RANK") or environment.get("WORLD_SIZE"):
        return "no launcher's variables are set; RANK and WORLD_SIZE count with MASTER_ADDR and MASTER_PORT only"
    return "no launcher's variables are set: the program was started by hand, or by a launcher that is not known here"


__all__ = ["LauncherProvider"]
