"""The ci provider: in which build of which CI system the program runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

from runcontext import NotInContext
from runcontext.redaction import redact_url
from runcontext_providers._surroundings.ci_systems import SYSTEMS, CiSystem, system_of
from runcontext_providers._surroundings.variables import Sources, value_of, variables_of

if TYPE_CHECKING:
    from runcontext.provider import Placement, TagValue


class CiProvider:
    """Tell the build that runs the program: its pipeline, task, address, and the change that it is about.

    Names are those of OpenTelemetry's CICD and VCS conventions; ``cicd.system``, which it has no name for, is ours.
    A system is known by variables that it documents: ``CI=true`` names none. ``environment`` stands for
    ``os.environ``.
    """

    placement: Placement = "companion"

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read ``environment``, the process's own unless given."""
        self._environment = os.environ if environment is None else environment

    def in_context(self) -> bool:
        """Look for a known system; raises NotInContext where there is none."""
        return bool(self._system)

    def tags(self) -> Mapping[str, TagValue]:
        """Give the system's name and what it says of its build, each fact absent where it says nothing."""
        system = self._system
        return {
            "cicd.system": system.name,
            "cicd.pipeline.name": partial(self._said, system.pipeline),
            "cicd.pipeline.run.id": partial(self._said, system.run_id),
            "cicd.pipeline.run.url.full": lambda: redact_url(self._said(system.run_url)),
            "cicd.pipeline.task.name": partial(self._said, system.task),
            "vcs.change.id": partial(self._said, system.change),
        }

    @cached_property
    def _system(self) -> CiSystem:
        system = system_of(self._environment)
        if system is None:
            raise NotInContext(_why_none(self._environment))
        return system

    def _said(self, sources: Sources) -> str:
        found = value_of(self._environment, sources)
        if found is not None:
            return found[0]
        if not sources:
            message = f"{self._system.name} has no variable that tells it"
        else:
            message = f"{self._system.name} tells none in this build: looked at {', '.join(variables_of(sources))}"
        raise NotInContext(message)


def _why_none(environment: Mapping[str, str]) -> str:
    if not environment.get("CI"):
        return "no CI system's variables are set"
    names = ", ".join(system.name for system in SYSTEMS)
    return f"CI is set, but not by a system that is known here, which are {names}"


__all__ = ["CiProvider"]
