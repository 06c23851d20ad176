"""The cloud provider: in which cloud and region the machine is, and of which type. Off unless asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from runcontext import NotInContext

if TYPE_CHECKING:
    from runcontext.provider import Placement, TagValue
    from runcontext_providers._surroundings.metadata_services import Machine, Service

_ADDRESS = "http://169.254.169.254"
"""The link-local address of all three services, as each of them documents it."""


class CloudProvider:
    """Tell what the metadata service of AWS, Google Cloud or Azure says of the machine.

    All three are asked at once. It asks the network, and so is off until ``RUNCONTEXT_PROVIDER_CLOUD=1``.

    Args:
        aws: base URL of the EC2 instance metadata service, ``http://address:port``.
        gcp: base URL of the Compute Engine metadata server.
        azure: base URL of the Azure instance metadata service.
        timeout_seconds: what all of it may take together.
    """

    placement: Placement = "companion"

    def __init__(
        self, *, aws: str = _ADDRESS, gcp: str = _ADDRESS, azure: str = _ADDRESS, timeout_seconds: float = 1.0
    ) -> None:
        """Take the addresses; nothing is asked before the first call."""
        self._base_urls = (aws, gcp, azure)
        self._timeout_seconds = timeout_seconds

    def in_context(self) -> bool:
        """Ask all three; raises NotInContext, with what each said, where none is there."""
        return bool(self._machine)

    def tags(self) -> Mapping[str, TagValue]:
        """Give the provider, region, zone, type and id, by the names of OpenTelemetry's cloud and host conventions."""
        machine = self._machine
        return {
            "cloud.provider": machine.provider,
            "cloud.region": machine.region,
            "cloud.availability_zone": machine.availability_zone,
            "host.type": machine.type,
            "host.id": machine.id,
        }

    @cached_property
    def _machine(self) -> Machine:
        from runcontext_providers._surroundings.metadata_services import AWS, AZURE, GCP

        services = dict(zip((AWS, GCP, AZURE), self._base_urls, strict=True))
        found = _asked_at_once(services, self._timeout_seconds)
        for service in services:
            machine = found.get(service)
            if machine is not None and not isinstance(machine, str):
                return machine
        said = "; ".join(f"{service.name}: {found.get(service, 'no answer in time')}" for service in services)
        message = f"no cloud's metadata service is there: {said}"
        raise NotInContext(message)


def _asked_at_once(services: Mapping[Service, str], timeout_seconds: float) -> dict[Service, Machine | str]:
    """Ask each service in a thread of its own; what it says is the machine, or why there is none."""
    from runcontext_providers._surroundings.metadata_services import MetadataError, ask

    deadline = time.monotonic() + timeout_seconds
    found: dict[Service, Machine | str] = {}

    def ask_one(service: Service, base_url: str) -> None:
        try:
            found[service] = ask(service, base_url, deadline)
        except MetadataError as error:
            found[service] = str(error)

    threads = [threading.Thread(target=ask_one, args=each, daemon=True) for each in services.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(found)


__all__ = ["CloudProvider"]
