"""Runs in programs that hold what a Jupyter kernel holds: both halves of the notebook's facts, in one record."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import RunScript

KERNEL_ID = "95146add-9081-4ad1-bad3-1c9590ba7774"
TOKEN = "5e5a3e0c0ffee5e5a3e0c0ffee5e5a3e0c0ffee5e5a3e0c0"  # noqa: S105 - of no server
SESSION = {"id": "9f66b0dc", "path": "new.ipynb", "name": "new.ipynb", "type": "notebook", "kernel": {"id": KERNEL_ID}}
FAST = {"RUNCONTEXT_PROVIDERS": "source,notebook", "JPY_SESSION_NAME": "/home/ada/old.ipynb"}

KERNEL = """
    import sys, types
    for name in ("ipykernel", "IPython", "IPython.core", "IPython.core.getipython"):
        sys.modules[name] = types.ModuleType(name)
    history = types.SimpleNamespace(input_hist_raw=["", "x = 1"])
    shell = types.SimpleNamespace(kernel=object(), user_ns=globals(), history_manager=history)
    sys.modules["IPython.core.getipython"].get_ipython = lambda: shell
    del __file__

    import runcontext
    with runcontext.start_run() as run:
        history.input_hist_raw.append("y = 2")
"""


class Server:
    """A server on a free port of 127.0.0.1 that says one thing to whoever asks, or nothing at all."""

    def __init__(self, says: bytes | None) -> None:
        """Listen; one that is to say nothing never accepts."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._says = says
        if says is not None:
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + (self._says or b""))
        except OSError:
            return

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def connection_file(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give the connection file of a kernel in whose runtime folder a server has left word."""
    server = Server(request.param)
    folder = tmp_path / "runtime"
    folder.mkdir()
    info = {"pid": os.getpid(), "port": server.port, "base_url": "/", "token": TOKEN, "root_dir": str(tmp_path)}
    (folder / f"jpserver-{os.getpid()}.json").write_text(json.dumps(info))
    yield folder / f"kernel-{KERNEL_ID}.json"
    server.close()


@pytest.mark.parametrize("connection_file", [json.dumps([SESSION]).encode()], indirect=True, ids=["answers"])
@pytest.mark.parametrize("companion", ["1", "0"], ids=["companion", "threads"])
def test_what_the_server_knows_joins_what_the_kernel_knows(
    run_script: RunScript, connection_file: Path, companion: str
) -> None:
    """The server's name wins over the one of the kernel's start; what only one half knows is no gap in the record."""
    finished = run_script(KERNEL, env={**FAST, "RUNCONTEXT_COMPANION": companion}, args=["-f", str(connection_file)])
    context = finished.context
    assert {tag: value for tag, value in context.tags.items() if tag.startswith("notebook.")} == {
        "notebook.environment": "jupyter",
        "notebook.name": "new.ipynb",
        "notebook.path": "new.ipynb",
        "notebook.id": "9f66b0dc",
        "notebook.kernel.id": KERNEL_ID,
    }
    assert not context.outcomes["notebook"].failures
    assert not context.outcomes["source"].failures
    assert context.tags["source.sha256"] == hashlib.sha256(b"x = 1\0").hexdigest()
    assert context.tags["changed.source.sha256"] == hashlib.sha256(b"x = 1\0y = 2\0").hexdigest()
    files = [file for file in (finished.project / ".runcontext").rglob("*") if file.is_file()]
    assert not any(TOKEN.encode() in file.read_bytes() for file in files)


@pytest.mark.parametrize("connection_file", [None], indirect=True, ids=["hangs"])
def test_a_server_that_hangs_costs_what_only_it_knows(run_script: RunScript, connection_file: Path) -> None:
    """What the kernel knows is on record; the rest has the server's silence for a reason."""
    outcome = run_script(KERNEL, env=FAST, args=["-f", str(connection_file)]).context.outcomes["notebook"]
    assert dict(outcome.tags) == {
        "notebook.environment": "jupyter",
        "notebook.name": "old.ipynb",
        "notebook.kernel.id": KERNEL_ID,
    }
    assert set(outcome.failures) == {"notebook.path", "notebook.id"}
    assert all("no answer in time" in why for why in outcome.failures.values())
