"""What the metadata services of AWS, Google Cloud and Azure say about the machine, each asked in its own protocol.

All are at one link-local address, which nothing but the machine's own host can answer. No name is resolved, no proxy is
used and no redirect followed. Only the named facts are read: credentials and user data have addresses of their own,
which are never asked for.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_MAX_BODY_BYTES = 1 << 18
_MAX_VALUE_CHARACTERS = 256
_TOKEN_SECONDS = "60"  # noqa: S105 - how long the token holds
_AZURE_VERSION = "2021-02-01"


class MetadataError(Exception):
    """A service did not answer, or not as it would; its text says how, for people."""


class Machine(NamedTuple):
    """A virtual machine as its cloud knows it, by OpenTelemetry's names; what it does not tell is None."""

    provider: str
    region: str | None
    availability_zone: str | None
    type: str | None
    id: str | None


class Service(NamedTuple):
    """A metadata service: what people call it, and how it is asked."""

    name: str
    ask: Callable[[Requests], Machine]


class Requests:
    """Requests to one metadata service that all end at one deadline, however slowly they are answered.

    ``base_url`` is ``http://address:port``; ``deadline`` is in seconds of ``time.monotonic()``.
    """

    def __init__(self, base_url: str, deadline: float) -> None:
        """Take the address; each request connects anew, as services close the connection after an answer."""
        address = urlsplit(base_url)
        self._address = (address.hostname or "", address.port or 80)
        self._deadline = deadline

    def get(self, path: str, *, headers: Mapping[str, str], method: str = "GET", answers: str = "") -> str:
        """Give the body of an answer; raises MetadataError unless it is 200 and has the header that ``answers`` says.

        Args:
            path: what is asked for.
            headers: of the request.
            method: ``GET`` or ``PUT``.
            answers: ``Name: value`` of a header that the service's answers have.
        """
        with _SocketWithDeadline(self._deadline) as connected:
            connected.restart_timeout()
            connected.connect(self._address)
            http = HTTPConnection(*self._address)
            http.sock = connected
            http.request(method, path, headers=dict(headers))
            with http.getresponse() as response:
                return _body(response, answers)


class _SocketWithDeadline(socket.socket):
    """A socket each of whose reads times out at the same moment: a byte now and then does not keep it waiting."""

    def __init__(self, deadline: float) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._deadline = deadline

    def restart_timeout(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.settimeout(remaining)

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.restart_timeout()
        return super().recv_into(*arguments, **options)


def _body(response: HTTPResponse, answers: str) -> str:
    name, _, value = answers.partition(": ")
    if response.status != 200:  # noqa: PLR2004 - OK, RFC 9110, section 15.3.1
        message = f"it answered {response.status}"
    elif answers and response.getheader(name) != value:
        message = f"its answer has no header {answers}"
    else:
        body = response.read(_MAX_BODY_BYTES + 1)
        if len(body) <= _MAX_BODY_BYTES:
            return body.decode("utf-8", errors="replace").strip()
        message = f"its answer is longer than {_MAX_BODY_BYTES} bytes"
    raise MetadataError(message)


def ask(service: Service, base_url: str, deadline: float) -> Machine:
    """Ask one service; raises MetadataError where it is not there, or has not answered by the deadline.

    What goes wrong in talking to whoever answers at that address is no failure: it is not this service. The deadline is
    in seconds of ``time.monotonic()``.
    """
    try:
        return service.ask(Requests(base_url, deadline))
    except TimeoutError:
        message = "no answer in time"
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        message = str(error) or type(error).__name__
    raise MetadataError(message)


def _ask_aws(requests: Requests) -> Machine:
    """Source: Amazon EC2 User Guide, Use the Instance Metadata Service; Instance identity documents.

    Only version 2 is spoken: a session token is asked for first. The hop limit may keep its answer from containers.
    """
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
    token = requests.get("/latest/api/token", method="PUT", headers=lifetime)
    held = {"X-aws-ec2-metadata-token": token}
    document = _object(requests.get("/latest/dynamic/instance-identity/document", headers=held))
    fields = (document.get(name) for name in ("region", "availabilityZone", "instanceType", "instanceId"))
    return _machine("aws", *fields)


def _ask_gcp(requests: Requests) -> Machine:
    """Source: Compute Engine documentation, View and query VM metadata; Predefined VM metadata keys.

    The region is the zone's name without its last part: Regions and zones, Identifying a region or zone.
    """
    flavor = "Metadata-Flavor: Google"
    zone, kind, identity = (
        requests.get(f"/computeMetadata/v1/instance/{key}", headers={"Metadata-Flavor": "Google"}, answers=flavor)
        for key in ("zone", "machine-type", "id")
    )
    zone, kind = zone.rpartition("/")[2], kind.rpartition("/")[2]
    return _machine("gcp", zone.rpartition("-")[0], zone, kind, identity)


def _ask_azure(requests: Requests) -> Machine:
    """Source: Azure Instance Metadata Service, Instance metadata, Compute."""
    path = f"/metadata/instance/compute?api-version={_AZURE_VERSION}&format=json"
    compute = _object(requests.get(path, headers={"Metadata": "true"}))
    return _machine("azure", *(compute.get(name) for name in ("location", "zone", "vmSize", "vmId")))


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        message = "its answer is no JSON object"
        raise MetadataError(message)
    return found


def _machine(provider: str, region: Any, zone: Any, kind: Any, identity: Any) -> Machine:
    texts = [_text(each) for each in (region, zone, kind, identity)]
    if texts[3] is None:
        message = "its answer names no machine"
        raise MetadataError(message)
    return Machine(provider, *texts)


def _text(value: Any) -> str | None:
    is_name = isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_VALUE_CHARACTERS
    return value if is_name else None


AWS = Service("AWS", _ask_aws)
GCP = Service("GCP", _ask_gcp)
AZURE = Service("Azure", _ask_azure)
