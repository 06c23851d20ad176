"""The container provider: in which container and pod the program runs, if in any."""

from __future__ import annotations

import os
import re
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from runcontext import NotInContext, current_program
from runcontext_providers._container.clues import Findings, container_environment, look
from runcontext_providers._host.process_files import ProcessFiles, mount_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.provider import Placement, TagValue

_SHORT_ID = re.compile(r"[0-9a-f]{12}")
"""What Docker names a container's host by, unless told otherwise: the first digits of its id."""


class ContainerProvider:
    """Tell which container the program is in, of which image and runtime, and in which pod of Kubernetes.

    ``root`` is the folder that stands for ``/``, so that a recorded tree can be described, and ``environment`` are
    the program's variables, ``os.environ`` unless given.
    """

    placement: Placement = "companion"

    def __init__(self, root: str = "/", environment: Mapping[str, str] | None = None) -> None:
        """Look below ``root`` and in ``environment``."""
        self._root = root.rstrip("/")
        self._environment = os.environ if environment is None else environment

    def in_context(self) -> bool:
        """Weigh the evidence; raises NotInContext with what was looked at where it is no proof."""
        if sys.platform != "linux":
            message = f"containers are known by what Linux tells of them; this is {sys.platform}"
            raise NotInContext(message)
        if not self._found.is_container:
            raise NotInContext(self._why_not())
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give names as OpenTelemetry's container and k8s resource conventions have them."""
        facts: dict[str, TagValue] = {
            "container.id": self._id,
            "container.name": self._name,
            "container.runtime.name": self._runtime,
            "container.image.name": self._image_name,
            "container.image.id": container_environment(self._root).get("imageid"),
        }
        return {**facts, **self._pod_tags()} if self._found.is_kubernetes else facts

    def _pod_tags(self) -> dict[str, TagValue]:
        from runcontext_providers._container.kubernetes_pod import Pod

        pod = Pod(self._process, self._environment, self._attributes)
        return {
            "k8s.pod.name": pod.name,
            "k8s.pod.uid": pod.uid,
            "k8s.namespace.name": pod.namespace,
            "k8s.node.name": pod.node,
            "k8s.container.name": pod.container_name,
        }

    @cached_property
    def _process(self) -> ProcessFiles:
        return ProcessFiles(current_program().pid, self._root)

    @cached_property
    def _found(self) -> Findings:
        return look(self._process, self._environment)

    @cached_property
    def _attributes(self) -> dict[str, str]:
        """What OTEL_RESOURCE_ATTRIBUTES says; see OpenTelemetry's Resource SDK, "Specifying resource information"."""
        listed = self._environment.get("OTEL_RESOURCE_ATTRIBUTES")
        if not listed:
            return {}
        from urllib.parse import unquote

        pairs = (pair.partition("=") for pair in listed.split(","))
        return {name.strip(): unquote(value.strip()) for name, _, value in pairs}

    def _id(self) -> str:
        found = next((clue.id for clue in self._found.clues if clue.id), None) or self._attributes.get("container.id")
        if found is None and not self._found.is_kubernetes:
            found = self._short_id()
        if found is None:
            raise NotInContext(self._why_no_id())
        return found

    def _short_id(self) -> str | None:
        name = self._environment.get("HOSTNAME", "")
        return name if self._found.runtime == "docker" and _SHORT_ID.fullmatch(name) else None

    def _why_no_id(self) -> str:
        if self._own_name():
            return f"a container of {self._found.runtime} has a name, and no id"
        if self._found.is_kubernetes:
            return "a private control group namespace hides the container's id; only its pod's can be seen"
        return "nothing that can be seen from inside holds the container's id"

    def _name(self) -> str | None:
        return self._own_name() or self._attributes.get("container.name")

    def _own_name(self) -> str | None:
        return next((clue.name for clue in self._found.clues if clue.name), None)

    def _runtime(self) -> str:
        if not self._found.runtime:
            message = f"what speaks for a container does not tell its runtime: {_listed(self._found)}"
            raise NotInContext(message)
        return self._found.runtime

    def _image_name(self) -> str:
        from runcontext_providers._container.image import image_name

        return image_name(self._root, self._environment, self._attributes)

    def _why_not(self) -> str:
        if self._found.unseen:
            return f"it cannot be told whether this is a container: {'; '.join(self._found.unseen)}"
        top = mount_of(self._process.mounts, "/")
        groups = ", ".join(sorted(set(self._process.memberships.values()))) or "none"
        looked_at = f"control groups ({groups}), mounts, / ({top.type if top else 'not a mount'}), process 1, variables"
        clues = f"; too little for a proof: {_listed(self._found)}" if self._found.clues else ""
        return f"not in a container, by {looked_at}{clues}"


def _listed(found: Findings) -> str:
    return ", ".join(clue.says for clue in found.clues)
