"""The Jupyter servers that run for this user on this machine, and where on loopback each can be reached.

Source: Jupyter Server, ``ServerApp.server_info``, for the files that they leave in the runtime folder; Jupyter
Notebook 6 has the same under other names.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from runcontext import NotInContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FILES = ("jpserver-", "nbserver-")
_MAX_SERVERS = 8
_MAX_FILE_BYTES = 1 << 16


class Server(NamedTuple):
    """A server as its file in the runtime folder describes it."""

    file: str
    pid: int
    port: int
    base_url: str
    token: str
    root: str
    is_secure: bool


def servers_in(folder: str, parent: str) -> Iterator[Server]:
    """Give the servers that say how to reach them: that which started the kernel first, then the newest."""
    try:
        with os.scandir(folder) as entries:
            files = [each for each in entries if each.name.startswith(_FILES) and each.name.endswith(".json")]
            files.sort(key=lambda each: (f"-{parent}." in each.name, each.stat().st_mtime), reverse=True)
    except OSError:
        return
    for file in files[:_MAX_SERVERS]:
        server = _server_of(file.name, _fields(file.path))
        if server is not None:
            yield server


def _fields(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(_MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        # A server that is just starting has not yet written it.
        return None


def _server_of(name: str, fields: Any) -> Server | None:
    try:
        return Server(
            file=name,
            pid=int(fields["pid"]),
            port=int(fields["port"]),
            base_url=str(fields.get("base_url") or "/"),
            token=str(fields.get("token") or ""),
            root=str(fields.get("root_dir") or fields.get("notebook_dir") or ""),
            is_secure=bool(fields.get("secure")),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def loopback_address(server: Server) -> str:
    """Give the address of this machine alone at which the server's own process listens."""
    try:
        process = psutil.Process(server.pid)
        # psutil 6 renamed it.
        connections = (getattr(process, "net_connections", None) or process.connections)("tcp")
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        reason = "its process is gone"
        raise NotInContext(reason) from None
    except psutil.AccessDenied:
        reason = "it is another user's process"
        raise NotInContext(reason) from None
    listening = [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]
    addresses = [each.ip for each in listening if each.port == server.port]
    if not addresses:
        reason = f"its process does not listen on port {server.port}"
        raise NotInContext(reason)
    address = loopback_among(addresses)
    if address is None:
        reason = f"it listens at {addresses[0]}: only loopback is asked"
        raise NotInContext(reason)
    return address


def loopback_among(addresses: Iterable[str]) -> str | None:
    """Give the loopback address at which one who listens at ``addresses`` can be reached, None where there is none."""
    reached = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(each, each) for each in addresses)  # noqa: S104 - others do
    return next((each for each in reached if each == "::1" or each.startswith("127.")), None)
