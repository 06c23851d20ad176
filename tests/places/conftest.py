"""The real servers that runs and artifacts go to: MLflow's, PostgreSQL, MariaDB; and faults on the way to them."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests.places import servers_kept, servers_mlflow, servers_sql
from tests.places.faults import FaultProxy
from tests.places.servers_kept import CannotStartError, Session

from runcontext import log
from runcontext.settings import put_in_force

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.places.servers_mlflow import MLflowServer

_MLFLOW = {"mlflow_newest", "mlflow_2_22", "mlflow_server", "private_mlflow"}
_INSTALL_SECONDS = 600


class PrivateMLflow(Protocol):
    """Starts an MLflow server that only this test uses, and may kill; see ``servers_mlflow.serve``."""

    def __call__(
        self,
        version: str = "newest",
        *,
        backend: str = "sqlite",
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        scheme: str = "http",
    ) -> MLflowServer:
        """Start it and give it once it answers."""
        ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs MLflow, and give the first of them the time to install it, over whatever network there is."""
    is_there = all(map(servers_mlflow.is_installed, servers_mlflow.VERSIONS))
    for item in items:
        if _MLFLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker("mlflow")
            if not is_there and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_INSTALL_SECONDS))


@pytest.fixture(autouse=True)
def settings_of_each_test() -> Iterator[None]:
    """Leave no settings in force that a run in this process has read: the next test has an environment of its own."""
    put_in_force(None)
    yield
    put_in_force(None)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home of the test's own, leave out the machine's proxies and credentials, and hear again what was heard."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    log._said.clear()
    return home


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Give the folder that all workers share; servers in it run until the last worker has ended."""
    base = tmp_path_factory.getbasetemp()
    found = Session((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "servers")
    found.folder.mkdir(exist_ok=True)
    descriptor = found.hold()
    yield found
    os.close(descriptor)


@pytest.fixture(scope="session")
def mlflow_newest(session: Session) -> MLflowServer:
    """Give the newest MLflow's tracking server, shared by all tests of the session; skips where there is none."""
    return _shared(session, "newest")


@pytest.fixture(scope="session")
def mlflow_2_22(session: Session) -> MLflowServer:
    """Give MLflow 2.22's tracking server, shared by all tests of the session; skips where there is none."""
    return _shared(session, "2.22")


@pytest.fixture(params=servers_mlflow.VERSIONS)
def mlflow_server(request: pytest.FixtureRequest) -> MLflowServer:
    """Give each of the two versions' servers in turn."""
    found: MLflowServer = request.getfixturevalue("mlflow_" + request.param.replace(".", "_"))
    return found


@pytest.fixture
def private_mlflow(session: Session, tmp_path: Path) -> Iterator[PrivateMLflow]:
    """Give the function that starts a server of this test's own; what still runs at the end is killed."""
    started: list[MLflowServer] = []

    def start(version: str = "newest", **options: Any) -> MLflowServer:
        folder = tmp_path / f"mlflow-{len(started)}"
        folder.mkdir()
        try:
            started.append(servers_mlflow.serve(session, version, folder, **options))
        except CannotStartError as error:
            pytest.skip(str(error))
        return started[-1]

    yield start
    for server in started:
        if server.process is not None:
            server.kill()


@pytest.fixture
def program_environment(tmp_path: Path) -> dict[str, str]:
    """Give the environment that programs run in: no setting of anybody's, and folders of this test's own."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        **servers_kept.clean_environment(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "RUNCONTEXT_CACHE_DIR": str(tmp_path / "cache"),
        "RUNCONTEXT_TIMEOUT": "30",
    }


@pytest.fixture
def postgresql_url(session: Session) -> str:
    """Give the URL of an empty PostgreSQL database, its password in it; skips where no server can be run."""
    try:
        found = session.share("postgresql", lambda: servers_sql.start_postgresql(session))
    except CannotStartError as error:
        pytest.skip(str(error))
    return servers_sql.make_postgresql_database(**found, name=_fresh_name())


@pytest.fixture
def mariadb_url(session: Session) -> str:
    """Give the URL of an empty MariaDB database, its password in it; skips where the system has no server."""
    try:
        found = session.share("mariadb", lambda: servers_sql.start_mariadb(session))
    except CannotStartError as error:
        pytest.skip(str(error))
    return servers_sql.make_mariadb_database(**found, name=_fresh_name())


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str], FaultProxy]]:
    """Give the function that puts a proxy in front of a server's URL, which can lose, cut and refuse."""
    made: list[FaultProxy] = []

    def put(target: str) -> FaultProxy:
        made.append(FaultProxy(target))
        return made[-1]

    yield put
    for proxy in made:
        proxy.close()


def _fresh_name() -> str:
    return f"runs_{uuid.uuid4().hex[:12]}"


def _shared(session: Session, version: str) -> MLflowServer:
    folder = session.folder / f"mlflow-{version}"

    def make() -> dict[str, Any]:
        folder.mkdir()
        server = servers_mlflow.serve(session, version, folder)
        assert server.process is not None
        servers_kept.let_run(server.process)
        return {"url": server.url, "port": server.port, "python": server.python, "pid": server.pid}

    try:
        found = session.share(f"mlflow-{version}", make)
    except CannotStartError as error:
        pytest.skip(str(error))
    return servers_mlflow.MLflowServer(version, folder=folder, **found)
