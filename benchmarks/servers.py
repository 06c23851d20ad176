"""Servers that runs are sent to while it is timed: MLflow's own, and one that never answers."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from measures import NotMeasuredError

if TYPE_CHECKING:
    from ground import Ground

_START_SECONDS = 120


@contextlib.contextmanager
def tracking_server(ground: Ground) -> Iterator[str]:
    """Run MLflow's tracking server on SQLite, in the environment of MLflow's, and give its URL.

    Raises:
        NotMeasuredError: it cannot be installed or does not start; the message says why.
    """
    folder = ground.folder("mlflow-server")
    port = _free_port()
    where = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    network = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [str(ground.environments.python("MLflow")), "-m", "mlflow", "server", *where, *network]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env={**ground.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for(port, server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Accept connections and never answer; give the URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not _is_up(port):
        if server.poll() is not None or time.monotonic() > until:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            message = f"MLflow's server does not start: {last[0]}"
            raise NotMeasuredError(message)
        time.sleep(0.1)


def _is_up(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
