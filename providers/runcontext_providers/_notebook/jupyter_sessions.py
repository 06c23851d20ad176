"""Asks the Jupyter servers of this machine which notebook a kernel belongs to.

A server is asked over loopback only, without proxies, and no redirect is followed. The token that it left for its user
in the runtime folder goes to that server alone: the process that the same file names has to listen on the port.

Source: Jupyter Server, "REST API", ``GET /api/sessions``.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from runcontext import NotInContext
from runcontext_providers._notebook.jupyter_servers import loopback_address, servers_in

if TYPE_CHECKING:
    from runcontext_providers._notebook.jupyter_servers import Server

_MAX_ANSWER_BYTES = 1 << 20
_OK = 200
_REDIRECTS = range(300, 400)
_CLOSED_DOORS = (401, 403)


class Session(NamedTuple):
    """What a server calls a session: a document and its kernel.

    - ``id``: the session's id.
    - ``name``: the document's file name.
    - ``path``: where it is on this machine; as the server knows it where there is no such file.
    """

    id: str
    name: str
    path: str


class Inquiry:
    """One question to all servers: asked when it is first needed, and once.

    Args:
        kernel_id: the kernel that the session has to be of.
        folder: the runtime folder, where servers leave how to reach them.
        seconds: how long all servers together may take.
        parent: the id of the process that started the kernel, empty where that is not known.
    """

    def __init__(self, kernel_id: str, folder: str, *, seconds: float, parent: str = "") -> None:
        """Keep the question."""
        self._kernel_id = kernel_id
        self._folder = folder
        self._seconds = seconds
        self._parent = parent
        self._found: Session | None = None
        self._why_not = ""

    def session(self) -> Session:
        """Give the kernel's session; raises NotInContext with what each server said where none tells."""
        if self._found is None and not self._why_not:
            self._ask_all()
        if self._found is None:
            raise NotInContext(self._why_not)
        return self._found

    def _ask_all(self) -> None:
        servers = list(servers_in(self._folder, self._parent))
        until = time.monotonic() + self._seconds
        refusals = []
        for at, server in enumerate(servers):
            # One that hangs leaves the others their share.
            share = max(0.0, until - time.monotonic()) / (len(servers) - at)
            try:
                self._found = _session_of(self._kernel_id, server, _sessions(server, time.monotonic() + share))
            except NotInContext as reason:
                refusals.append(f"{server.file}: {reason}")
            else:
                return
        self._why_not = "; ".join(refusals) or (
            f"no Jupyter server has left word in {self._folder}: it runs on another machine, or is gone"
        )


def _sessions(server: Server, until: float) -> Any:
    """Give what the server answers, as it stands in JSON; raises NotInContext where it gives none."""
    address = loopback_address(server)
    try:
        status, body = _get(server, address, until)
        if status == _OK:
            return json.loads(body)
    except TimeoutError:
        reason = "no answer in time"
    except (OSError, ValueError, RecursionError) as error:
        reason = f"no usable answer: {type(error).__name__}"
    else:
        reason = f"HTTP {status}{_meaning(status)}"
    raise NotInContext(reason)


def _meaning(status: int) -> str:
    if status in _REDIRECTS:
        return ", a redirect, which is not followed"
    if status in _CLOSED_DOORS:
        return ": it lets in only who logs in; started with a token instead of a password, it would tell"
    return ""


def _get(server: Server, address: str, until: float) -> tuple[int, bytes]:
    """Ask for the sessions and give the status and the body.

    HTTP/1.0 (RFC 1945) by hand, for the sake of one limit on the whole of it: the time limits of ``http.client`` are
    for each read, and a server that sends a byte at a time outlasts them all.
    """
    plain = socket.create_connection((address, server.port), timeout=_left(until))
    with _secured(plain) if server.is_secure else plain as connection:
        connection.sendall(_request(server, address))
        answer = b""
        while chunk := _received(connection, until):
            answer += chunk
            if len(answer) > _MAX_ANSWER_BYTES:
                message = "too much of it"
                raise ValueError(message)
    head, _, body = answer.partition(b"\r\n\r\n")
    version, status = head.split(None, 2)[:2]
    if not version.startswith(b"HTTP/"):
        message = "another protocol"
        raise ValueError(message)
    return int(status), body


def _request(server: Server, address: str) -> bytes:
    host = f"[{address}]" if ":" in address else address
    lines = [f"GET {server.base_url.rstrip('/')}/api/sessions HTTP/1.0", f"Host: {host}:{server.port}"]
    if server.token:
        lines.append(f"Authorization: token {server.token}")
    request = "\r\n".join([*lines, "Accept: application/json", "", ""])
    is_one_request = request.isascii() and request.count("\n") == request.count("\r") == len(lines) + 2
    if not is_one_request or " " in server.base_url or not server.base_url.startswith("/"):
        message = "the server's file does not hold an address and a token"
        raise ValueError(message)
    return request.encode("ascii")


def _secured(connection: socket.socket) -> socket.socket:
    """Speak TLS; its certificate is its own, and who answers is known: the process that listens there."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def _received(connection: socket.socket, until: float) -> bytes:
    connection.settimeout(_left(until))
    return connection.recv(1 << 16)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _session_of(kernel_id: str, server: Server, answer: Any) -> Session:
    """Give the session that has this kernel: a notebook's, before that of a console that shares its kernel."""
    sessions = [each for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []
    mine = [each for each in sessions if _kernel_of(each) == kernel_id]
    mine.sort(key=lambda each: each.get("type", "notebook") != "notebook")
    for each in mine:
        found, path, name = (each.get(field) for field in ("id", "path", "name"))
        if isinstance(found, str) and isinstance(path, str):
            last = path.rpartition("/")[2]
            return Session(found, name if isinstance(name, str) and name else last, _on_this_machine(server.root, path))
    reason = f"it has no session of the kernel {kernel_id}"
    raise NotInContext(reason)


def _kernel_of(session: dict[str, Any]) -> Any:
    kernel = session.get("kernel")
    return kernel.get("id") if isinstance(kernel, dict) else None


def _on_this_machine(root: str, path: str) -> str:
    file = os.path.join(root, *path.split("/"))
    # What is kept elsewhere than in files has paths of its own kind.
    return file if root and os.path.isfile(file) else path
