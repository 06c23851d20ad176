"""The cloud provider, against servers on loopback that speak each service's protocol, and against all that do not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.cloud import CloudProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runcontext.record import Context

CREDENTIAL = "one-that-must-not-be-told"
PLENTY_SECONDS = 30.0
"""Enough for a busy machine, where the answer comes at once."""


class Service(BaseHTTPRequestHandler):
    """A metadata service: what it was asked, in order, is in ``asked``."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        """Answer a request."""
        self.asked.append(f"{self.command} {self.path} {status}")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


class Aws(Service):
    """EC2's instance metadata service, version 2 alone.

    Source: Amazon EC2 User Guide, Use the Instance Metadata Service to access instance metadata, How Instance Metadata
    Service Version 2 works; Instance identity documents for Amazon EC2 instances, Plaintext instance identity document.
    """

    TOKEN = "AQAEAHCw0sGS"  # noqa: S105 - a made-up session
    DOCUMENT: ClassVar[dict[str, object]] = {
        "accountId": "123456789012",
        "architecture": "x86_64",
        "availabilityZone": "us-west-2b",
        "imageId": "ami-5fb8c835",
        "instanceId": "i-1234567890abcdef0",
        "instanceType": "t2.micro",
        "kernelId": None,
        "pendingTime": "2016-11-19T16:32:11Z",
        "privateIp": "10.158.112.84",
        "region": "us-west-2",
        "version": "2017-09-30",
    }

    def do_PUT(self) -> None:
        """Give a token to who says how long it is to hold, and comes through no proxy."""
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if "X-Forwarded-For" in self.headers:
            self.answer(403)
        elif self.path != "/latest/api/token" or not seconds.isdigit() or not 1 <= int(seconds) <= 21_600:
            self.answer(400)
        else:
            self.answer(200, self.TOKEN, X_aws_ec2_metadata_token_ttl_seconds=seconds)

    def do_GET(self) -> None:
        """Answer who has the token, as version 2 demands."""
        if self.headers.get("X-aws-ec2-metadata-token") != self.TOKEN:
            self.answer(401)
        elif self.path == "/latest/dynamic/instance-identity/document":
            self.answer(200, json.dumps(self.DOCUMENT, indent=2), Content_Type="text/plain")
        else:
            self.answer(404)


class Gcp(Service):
    """Compute Engine's metadata server.

    Source: Compute Engine documentation, View and query VM metadata, Parts of a request; Predefined VM metadata keys.
    """

    KEYS: ClassVar[dict[str, str]] = {
        "/computeMetadata/v1/instance/zone": "projects/1234567890/zones/europe-west1-b",
        "/computeMetadata/v1/instance/machine-type": "projects/1234567890/machineTypes/a2-highgpu-1g",
        "/computeMetadata/v1/instance/id": "4815162342108",
    }

    def do_GET(self) -> None:
        """Answer who says that it means this server, and say that it is this one."""
        flavor = {"Metadata_Flavor": "Google", "Server": "Metadata Server for VM"}
        if self.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in self.headers:
            self.answer(403, **flavor)
        elif self.path in self.KEYS:
            self.answer(200, self.KEYS[self.path], **flavor)
        else:
            self.answer(404, **flavor)


class Azure(Service):
    """Azure's instance metadata service.

    Source: Azure Instance Metadata Service for virtual machines, Usage; Instance metadata, sample: compute.
    """

    COMPUTE: ClassVar[dict[str, object]] = {
        "azEnvironment": "AZUREPUBLICCLOUD",
        "customData": CREDENTIAL,
        "location": "westus2",
        "osProfile": {"adminUsername": "admin"},
        "userData": CREDENTIAL,
        "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        "vmSize": "Standard_NC24ads_A100_v4",
        "zone": "2",
    }

    def do_GET(self) -> None:
        """Answer who says that it means this service, which version of it, and comes through no proxy."""
        address = urlsplit(self.path)
        if self.headers.get("Metadata") != "true" or "X-Forwarded-For" in self.headers:
            self.answer(400, '{"error": "Bad request. Required metadata header not specified"}')
        elif "api-version" not in parse_qs(address.query):
            self.answer(400, '{"error": "Bad request: api-version is invalid or was not specified in the request."}')
        elif address.path == "/metadata/instance/compute":
            self.answer(200, json.dumps(self.COMPUTE), Content_Type="application/json; charset=utf-8")
        else:
            self.answer(404)


MACHINES = {
    "aws": {
        "cloud.provider": "aws",
        "cloud.region": "us-west-2",
        "cloud.availability_zone": "us-west-2b",
        "host.type": "t2.micro",
        "host.id": "i-1234567890abcdef0",
    },
    "gcp": {
        "cloud.provider": "gcp",
        "cloud.region": "europe-west1",
        "cloud.availability_zone": "europe-west1-b",
        "host.type": "a2-highgpu-1g",
        "host.id": "4815162342108",
    },
    "azure": {
        "cloud.provider": "azure",
        "cloud.region": "westus2",
        "cloud.availability_zone": "2",
        "host.type": "Standard_NC24ads_A100_v4",
        "host.id": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    },
}
SERVICES: dict[str, type[Service]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on loopback, and give the base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def saying(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve on loopback whatever ``say`` does to each connection, and give the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=_said, args=(say, connection)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            # Closing alone does not wake a thread that waits in accept().
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _said(say: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(PLENTY_SECONDS)
        connection.recv(65_536)
        say(connection)


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give a base URL where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def resolved(nobody: str, *, timeout_seconds: float = PLENTY_SECONDS, **services: str) -> Context:
    """Resolve the provider where the services are at these addresses, the others nowhere."""
    addresses = {name: services.get(name, nobody) for name in SERVICES}
    return resolve_provider(CloudProvider(**addresses, timeout_seconds=timeout_seconds))


def reason_of(context: Context) -> str:
    """Give the reason why the provider is absent."""
    outcome = context.outcomes["provider"]
    assert outcome.status is OutcomeStatus.ABSENT, (outcome.status, outcome.reason)
    assert outcome.reason is not None
    return outcome.reason


class TestOutsideOfAnyCloud(ProviderContract):
    """It keeps what every provider keeps, where no service is: port 9 of loopback stands for all three."""

    provider = CloudProvider(aws="http://127.0.0.1:9", gcp="http://127.0.0.1:9", azure="http://127.0.0.1:9")


@pytest.mark.parametrize("name", SERVICES)
def test_each_cloud_is_told(name: str, nobody: str) -> None:
    """A service that is asked in its own protocol tells the machine; one request more would be one too many."""
    handler = type("Asked", (SERVICES[name],), {"asked": []})
    with serving(handler) as url:
        context = resolved(nobody, **{name: url})
    assert dict(context.tags) == MACHINES[name]
    assert all(line.endswith(" 200") for line in handler.asked), handler.asked


@pytest.mark.parametrize("name", SERVICES)
def test_all_three_are_asked_at_one_address(name: str) -> None:
    """Every cloud answers at the same link-local address: what is meant for others is refused, and costs nothing."""
    handler = type("Asked", (SERVICES[name],), {"asked": []})
    with serving(handler) as url:
        context = resolve_provider(CloudProvider(aws=url, gcp=url, azure=url, timeout_seconds=PLENTY_SECONDS))
    assert dict(context.tags) == MACHINES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_no_credential_is_asked_for_or_told(name: str, nobody: str) -> None:
    """Addresses of credentials and user data are never asked for, and what else an answer holds is not told."""
    handler = type("Asked", (SERVICES[name],), {"asked": []})
    with serving(handler) as url:
        context = resolved(nobody, **{name: url})
    assert not [line for line in handler.asked if any(word in line for word in ("credential", "user-data", "account"))]
    assert CREDENTIAL not in str(context.to_json())


def test_a_proxy_is_not_used(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's own cloud is not the machine's."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, nobody)
    with serving(Aws) as url:
        assert resolved(nobody, aws=url).tags["cloud.provider"] == "aws"


def test_a_redirect_is_not_followed(nobody: str) -> None:
    """What answers elsewhere is no metadata service."""
    with serving(Azure) as target:

        class Redirecting(Service):
            def do_GET(self) -> None:
                self.answer(307, Location=f"{target}{self.path}")

        with serving(Redirecting) as url:
            assert "Azure: it answered 307" in reason_of(resolved(nobody, azure=url))


def test_a_service_without_version_2_is_not_asked_otherwise(nobody: str) -> None:
    """Version 1 has no token: whoever forwards requests for the program could be made to tell."""

    class VersionOne(Service):
        def do_GET(self) -> None:
            self.answer(200, json.dumps(Aws.DOCUMENT))

        def do_PUT(self) -> None:
            self.answer(405)

    with serving(VersionOne) as url:
        assert "AWS: it answered 405" in reason_of(resolved(nobody, aws=url))


def test_an_answer_that_is_not_googles_is_none(nobody: str) -> None:
    """Whoever answers everything with 200, as a captive portal does, lacks Google's header."""

    class Portal(Service):
        def do_GET(self) -> None:
            self.answer(200, "welcome")

    with serving(Portal) as url:
        assert "GCP: its answer has no header Metadata-Flavor: Google" in reason_of(resolved(nobody, gcp=url))


@pytest.mark.parametrize(
    "body",
    [
        "welcome",
        "[]",
        "{}",
        '"i-123"',
        '{"instanceId": 7}',
        '{"vmId": "a\\nb"}',
        '{"vmId": "' + "x" * 300 + '"}',
        "[" * 100_000,
        "",
    ],
    ids=lambda body: body[:16] or "empty",
)
def test_garbage_is_no_machine(body: str, nobody: str) -> None:
    """An answer that is not what the service documents tells nothing, and breaks nothing."""

    class Garbage(Service):
        def do_GET(self) -> None:
            self.answer(200, body, Metadata_Flavor="Google")

        def do_PUT(self) -> None:
            self.do_GET()

    with serving(Garbage) as url:
        context = resolve_provider(CloudProvider(aws=url, gcp=nobody, azure=url, timeout_seconds=PLENTY_SECONDS))
    assert reason_of(context).startswith("no cloud's metadata service is there: AWS: ")


def test_a_fact_that_is_missing_costs_itself_alone(nobody: str) -> None:
    """A region without zones has none: Azure says an empty text."""
    handler = type("Zoneless", (Azure,), {"COMPUTE": {**Azure.COMPUTE, "zone": ""}})
    with serving(handler) as url:
        tags = dict(resolved(nobody, azure=url).tags)
    assert tags == {name: value for name, value in MACHINES["azure"].items() if name != "cloud.availability_zone"}


# --- a service that does not answer ----------------------------------------------------------------------------------


def hang(connection: socket.socket) -> None:
    """Say nothing until the other side has enough."""
    connection.recv(1)


def trickle(connection: socket.socket) -> None:
    """Say a byte of an endless head every now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    until = time.monotonic() + PLENTY_SECONDS
    while time.monotonic() < until:
        connection.sendall(b"x")
        time.sleep(0.02)


def trickle_body(connection: socket.socket) -> None:
    """Say a byte of a promised body every now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 100000\r\n\r\n")
    until = time.monotonic() + PLENTY_SECONDS
    while time.monotonic() < until:
        connection.sendall(b"x")
        time.sleep(0.02)


def flood(connection: socket.socket) -> None:
    """Say a body without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\n\r\n")
    until = time.monotonic() + PLENTY_SECONDS
    while time.monotonic() < until:
        connection.sendall(b"x" * 65_536)


def flood_head(connection: socket.socket) -> None:
    """Say a head without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    until = time.monotonic() + PLENTY_SECONDS
    while time.monotonic() < until:
        connection.sendall(b"X-More: and more\r\n" * 1000)


def be_rude(connection: socket.socket) -> None:
    """Say what is no HTTP."""
    connection.sendall(b"\x00\xff 220 smtp.example.org ready\r\n\r\n")


def leave(_: socket.socket) -> None:
    """Close without a word."""


@pytest.mark.parametrize("say", [hang, trickle, trickle_body], ids=lambda say: say.__name__)
def test_a_service_that_is_slow_costs_only_its_time(say: Callable[[socket.socket], None]) -> None:
    """However it keeps one waiting, all that it costs is the time that was given to all three together."""
    with saying(say) as url:
        started = time.monotonic()
        context = resolve_provider(CloudProvider(aws=url, gcp=url, azure=url, timeout_seconds=0.3))
        seconds = time.monotonic() - started
    assert reason_of(context) == (
        "no cloud's metadata service is there: AWS: no answer in time; GCP: no answer in time; Azure: no answer in time"
    )
    # Three in a row, or a limit on each read alone, would take 0.9 s or for ever.
    assert 0.29 < seconds < PLENTY_SECONDS / 2


@pytest.mark.parametrize("say", [flood, flood_head, be_rude, leave], ids=lambda say: say.__name__)
def test_a_service_that_misbehaves_is_none(say: Callable[[socket.socket], None]) -> None:
    """What it says is read to a limit, and then it is left alone."""
    with saying(say) as url:
        started = time.monotonic()
        context = resolve_provider(CloudProvider(aws=url, gcp=url, azure=url, timeout_seconds=PLENTY_SECONDS))
        seconds = time.monotonic() - started
    assert reason_of(context).startswith("no cloud's metadata service is there: AWS: ")
    assert "no answer in time" not in reason_of(context)
    assert seconds < PLENTY_SECONDS / 2


def test_one_that_hangs_does_not_keep_another_from_telling() -> None:
    """All are asked at once: what one says counts, whatever the others do."""
    with saying(hang) as hanging, serving(Gcp) as gcp:
        context = resolve_provider(CloudProvider(aws=hanging, gcp=gcp, azure=hanging, timeout_seconds=1.5))
    assert dict(context.tags) == MACHINES["gcp"]


def test_nobody_at_all_is_found_out_at_once(nobody: str) -> None:
    """A machine that is in no cloud and refuses the address does not wait for the deadline."""
    started = time.monotonic()
    context = resolved(nobody)
    assert time.monotonic() - started < PLENTY_SECONDS / 2
    assert "AWS: [Errno" in reason_of(context)


def test_no_thread_stays_behind(nobody: str) -> None:
    """Whoever asked a service that hangs is done at the deadline as well: a fork would warn of threads."""
    with saying(hang) as url:
        resolved(nobody, aws=url, timeout_seconds=0.2)
        asking = [each for each in threading.enumerate() if "ask_one" in each.name]
        for thread in asking:
            thread.join(PLENTY_SECONDS / 2)
        assert not [each for each in asking if each.is_alive()]
