"""MLflow's own tracking servers, from the package index, each version in a virtual environment that is made once.

``mlflow server`` imports MLflow twice, once to build a command and once to run it. The command is kept from the first
time, with the database that it made, so that a server is there in half the time, and can be killed and come back.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from tests.places import servers_kept
from tests.places.servers_kept import CannotStartError, Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("newest", "2.22")
_PAGES = "newest"
"""The version whose pages are there too: the full package has them, without what else it asks for."""

# What the server imports of the full package, which is five times as large.
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "newest": (
        "mlflow-skinny",
        "aiohttp",
        "alembic",
        "flask",
        "flask-cors",
        "flask-wtf",
        "graphene",
        "numpy",
        "pandas",
        "sqlalchemy",
    ),
    "2.22": ("mlflow-skinny==2.22.*", "alembic", "flask", "flask-wtf", "gunicorn", "sqlalchemy<2.1"),
}
_RECIPE = 1
"""To be raised when what is kept of the first start changes."""

_START_SECONDS = 100.0
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}
_FOLDER, _PORT = "{folder}", "{port}"


@dataclass(frozen=True, slots=True)
class Installed:
    """An MLflow that can run servers: where its environment is, and what a server of it is started with."""

    folder: Path

    @property
    def python(self) -> str:
        """The interpreter that has it, and its client."""
        return str(self.folder / "bin" / "python")

    @property
    def recipe(self) -> Path:
        """Command and variables of a server on SQLite, as MLflow's command line made them."""
        return self.folder / "recipe.json"

    @property
    def database(self) -> Path:
        """An empty database with MLflow's tables."""
        return self.folder / "empty.db"

    @property
    def stamp(self) -> Path:
        """The file that says what is installed, once all of it is."""
        return self.folder / "complete"


@dataclass(slots=True)
class MLflowServer:
    """A tracking server on loopback.

    - ``url``: its tracking URI; ``version``: newest or 2.22; ``python``: an interpreter that has MLflow's client.
    - ``folder``: where its database (or ``mlruns``), its ``artifacts`` and ``server.log`` are.
    - ``pid``: the keeper's, which leads the server's process group.
    """

    version: str
    url: str
    port: int
    python: str
    folder: Path
    pid: int
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    session: Session | None = None
    process: subprocess.Popen[bytes] | None = None
    backend: str = "sqlite"

    @property
    def artifacts(self) -> Path:
        """The folder that it keeps proxied artifacts in."""
        return self.folder / "artifacts"

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def start(self, *, wait: bool = True) -> None:
        """Start it on its port again, after ``kill`` or ``stop``; returns once it answers, unless told otherwise."""
        assert self.session is not None, "a server that others use too cannot be started again"
        assert self.process is None, "it runs"
        environment = {**servers_kept.clean_environment(self.folder), **_SETTINGS, **self.environment}
        self.process = servers_kept.start(self.session, self.command, self.folder, environment=environment)
        self.pid = self.process.pid
        if wait:
            servers_kept.wait_until_up(self.process, self.is_up, self.folder, _START_SECONDS)

    def restart(self) -> None:
        """Kill it and start it again on the same port, with the same data."""
        self.kill()
        self.start()

    def is_up(self) -> bool:
        """Say whether it answers."""
        try:
            where = f"{self.url}/health"
            with urllib.request.urlopen(where, timeout=10, context=_anyone()) as answer:  # noqa: S310 - ours
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, source: str, *args: str, env: Mapping[str, str] | None = None) -> Any:
        """Run a script with MLflow's own client for this server; give the last line that it prints, read as JSON."""
        environment = {**servers_kept.clean_environment(self.folder), "MLFLOW_TRACKING_URI": self.url, **_SETTINGS}
        done = subprocess.run(
            [self.python, "-c", source, *args],
            env={**environment, **(env or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None, "a server that others use too is not to be ended"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(30)
        # A server that ended in good order has left its keeper and no worker; make sure.
        servers_kept.kill(self.process.pid)
        self.process = None


def installed(version: str) -> Installed:
    """Give the environment of a version, made the first time.

    Raises:
        CannotStartError: it cannot be installed here.
    """
    found = _place(version)
    found.folder.parent.mkdir(exist_ok=True)
    with servers_kept.locked(found.folder.with_name(f"{found.folder.name}.lock")):
        if not is_installed(version):
            shutil.rmtree(found.folder, ignore_errors=True)
            _install(found, _PACKAGES[version])
            if version == _PAGES:
                _add(found, "--no-deps", f"mlflow=={_version_of(found)}")
            _learn(found)
            found.stamp.write_text(_wanted(version), encoding="utf-8")
    return found


def is_installed(version: str) -> bool:
    """Say whether a version's environment is there, so that nothing has to be fetched."""
    stamp = _place(version).stamp
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _wanted(version)


def _wanted(version: str) -> str:
    return repr((_PACKAGES[version], version == _PAGES, _RECIPE))


def serve(
    session: Session,
    version: str,
    folder: Path,
    *,
    backend: str = "sqlite",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    scheme: str = "http",
) -> MLflowServer:
    """Start a server that keeps everything in ``folder``.

    Args:
        session: the test session that it ends with.
        version: newest or 2.22.
        folder: an empty folder.
        backend: sqlite, or file for MLflow's store of files.
        args: more arguments of ``mlflow server``, which then starts by its own command line, in twice the time.
        env: variables of the server's environment.
        scheme: https where ``args`` tell it to speak TLS.

    Raises:
        CannotStartError: it cannot be installed, or does not start; the message says why.
    """
    package = installed(version)
    port = servers_kept.free_port()
    if args:
        command, variables = _command_line(package, folder, port, backend, args), {}
    else:
        command, variables = _from_recipe(package, folder, port, backend)
    if backend == "sqlite":
        shutil.copy(package.database, folder / "mlflow.db")
    server = MLflowServer(version, f"{scheme}://127.0.0.1:{port}", port, package.python, folder, 0)
    server.command, server.environment, server.session = command, {**variables, **(env or {})}, session
    server.backend = backend
    server.start()
    return server


def _place(version: str) -> Installed:
    # Of whatever Python: all parts of a check ask the same servers.
    folder = Path(os.environ.get("TEST_ENVIRONMENTS") or ROOT / "build")
    return Installed(folder / f"mlflow-server-{version}")


def _backend_uri(backend: str, folder: str) -> str:
    return f"{folder}/mlruns" if backend == "file" else f"sqlite:///{folder}/mlflow.db"


def _command_line(package: Installed, folder: Path, port: int, backend: str, args: Sequence[str]) -> list[str]:
    where = ["--backend-store-uri", _backend_uri(backend, str(folder)), "--artifacts-destination"]
    words = ["server", *where, str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [package.python, "-m", "mlflow", *words, *args]


def _from_recipe(package: Installed, folder: Path, port: int, backend: str) -> tuple[list[str], dict[str, str]]:
    text = package.recipe.read_text(encoding="utf-8")
    text = text.replace(_backend_uri("sqlite", _FOLDER), _backend_uri(backend, _FOLDER))
    recipe = json.loads(text.replace(_FOLDER, str(folder)).replace(_PORT, str(port)))
    return recipe["command"], recipe["environment"]


def _install(package: Installed, requirements: Sequence[str]) -> None:
    _run(sys.executable, "-m", "venv", str(package.folder))
    _add(package, *requirements)


def _add(package: Installed, *requirements: str) -> None:
    _run(package.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)


def _version_of(package: Installed) -> str:
    return _run(package.python, "-c", "from importlib.metadata import version; print(version('mlflow-skinny'))").strip()


def _run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_"))}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["no reason given"]
        message = f"MLflow's server cannot be installed here: {' '.join(command[:5])} ...: {lines[0]}"
        raise CannotStartError(message)
    return done.stdout


def _learn(package: Installed) -> None:
    """Start a server by MLflow's command line, and keep the command that it runs and the database that it makes."""
    folder = package.folder / "learning"
    folder.mkdir()
    port = servers_kept.free_port()
    server = MLflowServer("", f"http://127.0.0.1:{port}", port, package.python, folder, 0)
    server.command = _command_line(package, folder, port, "sqlite", ())
    server.session = Session(folder)
    alive = server.session.hold()
    try:
        server.start()
        assert server.process is not None
        (command_line,) = psutil.Process(server.process.pid).children()
        (running,) = command_line.children()
        found = {
            "command": running.cmdline(),
            "environment": {key: value for key, value in running.environ().items() if "MLFLOW" in key},
        }
        server.stop()
    finally:
        os.close(alive)
    text = json.dumps(found).replace(str(folder), _FOLDER).replace(str(port), _PORT)
    package.recipe.write_text(text, encoding="utf-8")
    shutil.move(folder / "mlflow.db", package.database)
    shutil.rmtree(folder)


def _anyone() -> ssl.SSLContext:
    """Give what trusts any certificate: whether a server is up is not what a test of certificates is about."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
