"""The image of a container, where something inside tells it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from runcontext import NotInContext
from runcontext_providers._container.clues import container_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = ("CONTAINER_IMAGE_NAME", "CONTAINER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "CI_JOB_IMAGE")
"""What people set; Apptainer's user guide, "Environment and Metadata"; GitLab's "Predefined CI/CD variables"."""

_CACHED = "/cache/oci-tmp/"
"""Where Apptainer keeps an image that it made of a ``docker://`` address: such a path names nothing."""

_BUILT_FROM = "org.label-schema.usage.singularity.deffile.from"
"""The label that names the image which a SIF was built from; Apptainer's user guide, "Environment and Metadata"."""


def image_name(root: str, environment: Mapping[str, str], attributes: Mapping[str, str]) -> str:
    """Give the image's name, or the path of its file, in the container whose ``/`` is ``root``.

    ``attributes`` are those of OTEL_RESOURCE_ATTRIBUTES. Raises NotInContext where nothing tells it.
    """
    told = [container_environment(root).get("image"), attributes.get("container.image.name")]
    told += [environment.get(variable) for variable in _VARIABLES]
    name = next((each for each in told if each and _CACHED not in each), None) or _label(root) or _flatpak_runtime(root)
    if name:
        return name
    message = "a container is not told its image: set CONTAINER_IMAGE_NAME where it is started"
    raise NotInContext(message)


def _label(root: str) -> str | None:
    try:
        labels = json.loads(_text(f"{root}/.singularity.d/labels.json"))
    except ValueError:
        return None
    name = labels.get(_BUILT_FROM) if isinstance(labels, dict) else None
    return name if isinstance(name, str) else None


def _flatpak_runtime(root: str) -> str | None:
    """Source: flatpak-metadata(5), "Application": the runtime is the image that its programs see."""
    found = re.search(r"^runtime=(\S+)$", _text(f"{root}/.flatpak-info"), re.MULTILINE)
    return found[1] if found else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
