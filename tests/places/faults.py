"""A reverse proxy on loopback that does to requests what networks and servers do: fail them, lose replies, hang."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import urllib.parse
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"})
_TARGET_SECONDS = 60.0
_KEPT_BODY_BYTES = 2_000_000


class Kind(Enum):
    """What happens to a request."""

    PASS = "pass"  # noqa: S105 - no password
    ANSWER = "answered by the proxy, the server never sees it"
    LOSE_REPLY = "the server acted, and not a byte of its reply arrives"
    CUT_REPLY = "the server acted, and its reply breaks off in the middle"
    HANG = "taken, and never answered"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to requests whose path contains ``path``; ``status`` and ``retry_after`` are of answers."""

    kind: Kind
    path: str = ""
    status: int = 503
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived, and what was done to it; of a large body only the beginning."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    kind: Kind


class FaultProxy:
    """Passes requests on to ``target``, a server's URL, until it is told otherwise.

    Each of ``answer``, ``lose_replies``, ``cut_replies`` and ``hang`` holds for the next ``times`` requests whose path
    contains ``path``, or for all from then on; several hold at once, the first that fits decides. ``mix`` draws for
    each request; ``heal`` ends them all. ``refuse`` closes the port and ``listen`` opens it again.
    """

    def __init__(self, target: str) -> None:
        """Listen on a free port."""
        where = urllib.parse.urlsplit(target)
        assert where.hostname is not None
        assert where.port is not None
        self.target = (where.hostname, where.port)
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, int | None]] = []
        self._draw: Callable[[], Fault] | None = None
        self._ended = threading.Event()
        self._server: _Server | None = None
        self.port = 0
        self.listen()

    @property
    def url(self) -> str:
        """The tracking URI of the way through this proxy."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str = "", method: str | None = None) -> int:
        """Count the requests that arrived whose path contains ``path``."""
        return sum(each for (verb, where), each in self.counts().items() if path in where and method in (None, verb))

    def counts(self) -> Counter[tuple[str, str]]:
        """Count requests by method and path, the query left out."""
        with self._lock:
            return Counter((each.method, each.path.partition("?")[0]) for each in self.seen)

    def answer(self, status: int, *, retry_after: int | None = None, path: str = "", times: int | None = None) -> None:
        """Answer with ``status``, and ``Retry-After`` in seconds, in the server's stead."""
        self._add(Fault(Kind.ANSWER, path, status, retry_after), times)

    def lose_replies(self, *, path: str = "", times: int | None = None) -> None:
        """Pass requests on, and close the connection in place of the reply."""
        self._add(Fault(Kind.LOSE_REPLY, path), times)

    def cut_replies(self, *, path: str = "", times: int | None = None) -> None:
        """Pass requests on, and close the connection in the middle of the reply."""
        self._add(Fault(Kind.CUT_REPLY, path), times)

    def hang(self, *, path: str = "", times: int | None = None) -> None:
        """Take requests and never answer."""
        self._add(Fault(Kind.HANG, path), times)

    def mix(self, faults: Iterable[Fault], *, share: float, seed: int) -> None:
        """Do one of ``faults``, drawn with ``seed``, to a ``share`` of all requests from now on."""
        chance, choices = random.Random(seed), list(faults)
        self._draw = lambda: chance.choice(choices) if chance.random() < share else Fault(Kind.PASS)

    def heal(self) -> None:
        """Pass everything on from now on; what hangs is cut."""
        with self._lock:
            self._faults.clear()
            self._draw = None
            self._ended.set()
            self._ended = threading.Event()
        if self._server is None:
            self.listen()

    def refuse(self) -> None:
        """Close the port: connections are refused, those that are open are cut."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()

    def listen(self) -> None:
        """Open the port, the same as before."""
        assert self._server is None, "it listens"
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self.refuse()

    def _add(self, fault: Fault, times: int | None) -> None:
        with self._lock:
            self._faults.append((fault, times))

    def next_fault(self, path: str) -> tuple[Fault, threading.Event]:
        """Say what is done to the next request, and what ends its hanging."""
        with self._lock:
            for number, (fault, times) in enumerate(self._faults):
                if fault.path in path:
                    if times == 1:
                        del self._faults[number]
                    elif times is not None:
                        self._faults[number] = (fault, times - 1)
                    return fault, self._ended
            return self._draw() if self._draw else Fault(Kind.PASS), self._ended


class _Server(ThreadingHTTPServer):
    """Knows its connections, so that they can be cut."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections that break are what this is about."""

    def cut(self) -> None:
        for connection in list(self._open):
            _cut(connection)


class _Handler(BaseHTTPRequestHandler):
    """Does to each request what the proxy says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Give what handles a method, ``do_GET`` and so on: the same for all."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._handle

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = _body(self)
        fault, ended = self.server.proxy.next_fault(self.path)
        seen = Seen(self.command, self.path, dict(self.headers), body[:_KEPT_BODY_BYTES], fault.kind)
        self.server.proxy.seen.append(seen)
        if fault.kind is Kind.HANG:
            ended.wait()
            _cut(self.connection)
        elif fault.kind is Kind.ANSWER:
            self._answer(fault)
        else:
            self._pass_on(body, fault.kind)

    def _pass_on(self, body: bytes, kind: Kind) -> None:
        try:
            status, headers, content = _exchange(self.server.proxy.target, self, body)
        except (OSError, http.client.HTTPException):
            _cut(self.connection)
            return
        if kind is Kind.LOSE_REPLY:
            _cut(self.connection)
            return
        # The reply to a HEAD says how long that to a GET would be, and has nothing of it.
        self._begin(status, headers, None if self.command == "HEAD" else len(content))
        if kind is Kind.CUT_REPLY:
            self.wfile.write(content[: len(content) // 2])
            _cut(self.connection)
        elif self.command != "HEAD":
            self.wfile.write(content)

    def _answer(self, fault: Fault) -> None:
        content = b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "an answer of the tests"}'
        headers = [("Content-Type", "application/json")]
        if fault.retry_after is not None:
            headers.append(("Retry-After", str(fault.retry_after)))
        self._begin(fault.status, headers, len(content))
        self.wfile.write(content)

    def _begin(self, status: int, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        self.send_response_only(status)
        for name, value in (*headers, *([] if length is None else [("Content-Length", str(length))])):
            self.send_header(name, value)
        self.end_headers()


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return b"".join(_chunks(handler))
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def _chunks(handler: BaseHTTPRequestHandler) -> Iterator[bytes]:
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        yield handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()


def _exchange(
    target: tuple[str, int], handler: BaseHTTPRequestHandler, body: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send the request to the server and read its whole reply: it has acted once this returns."""
    headers = {name: value for name, value in handler.headers.items() if name.lower() not in _HOP_BY_HOP}
    headers |= {"Host": f"{target[0]}:{target[1]}"}
    with contextlib.closing(http.client.HTTPConnection(*target, timeout=_TARGET_SECONDS)) as connection:
        connection.request(handler.command, handler.path, body or None, headers)
        reply = connection.getresponse()
        dropped = _HOP_BY_HOP - ({"content-length"} if handler.command == "HEAD" else set())
        kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in dropped]
        return reply.status, kept, reply.read()


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
