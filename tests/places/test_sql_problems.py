"""What a database says when something is wrong: one clear error, without a credential, and whether to try again."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from tests.places.sql_places import artifacts_of, batch, connected, new_run, opened

from runcontext.artifacts.database import DatabaseRepository
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.tracking.sql import SqlStore
from runcontext.tracking.store import Query

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRET = "hunter2-Zx"  # noqa: S105 - what no message may hold
_EVERY_TEXT = "é € 日本 \N{GRINNING FACE}"
_SERVERS = ("postgresql", "mariadb")


@pytest.fixture(params=_SERVERS)
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of an empty database on each server."""
    return str(request.getfixturevalue(f"{request.param}_url"))


def _changed(url: str, **parts: object) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


def _problem(uri: str) -> StoreError:
    """Give the error of a first run there, and of a search; both may go right later or not, and hold no password."""
    found = []
    for ask in (lambda store: store.create_run(new_run(1)), lambda store: store.search_runs(Query())):
        with pytest.raises(StoreError) as caught, opened(uri) as store:
            ask(store)
        found.append(caught.value)
        chain = caught.value.__cause__, caught.value if caught.value.__suppress_context__ else caught.value.__context__
        words = "".join(map(str, (caught.value, *chain)))
        assert _SECRET not in words
        assert (make_url(uri).password or "\0") not in words
    assert len({isinstance(each, StoreUnavailableError) for each in found}) == 1
    return found[0]


def test_a_wrong_password(url: str) -> None:
    """It is no use to try again: check the user and the password."""
    error = _problem(_changed(url, password=_SECRET))
    assert "check the user name and the password" in str(error)
    assert isinstance(error, StoreUnusableError)


def test_an_unknown_user(url: str) -> None:
    """It is said in the same way."""
    error = _problem(_changed(url, username="nobody-here", password=_SECRET))
    assert "check the user name and the password" in str(error)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "UTF8"])
@pytest.mark.parametrize("option", ["", "?client_encoding=latin1"])
def test_every_character_is_kept(postgresql_url: str, encoding: str, option: str) -> None:
    """Whatever the URI says of its encoding, and where the server takes bytes as they are."""
    with _encoded(postgresql_url, encoding) as uri, opened(uri + option) as store:
        store.create_run(new_run(1, run_name=_EVERY_TEXT))
        assert store.get_run(f"{1:032x}").run_name == _EVERY_TEXT


def test_every_character_is_kept_by_mysqls_driver(mariadb_url: str) -> None:
    """Whatever the URI says of its encoding."""
    with opened(f"{mariadb_url}?charset=latin1") as store:
        store.create_run(new_run(1, run_name=_EVERY_TEXT))
        assert store.get_run(f"{1:032x}").run_name == _EVERY_TEXT


def test_a_database_of_another_encoding(postgresql_url: str) -> None:
    """It is refused before a text is lost in it."""
    with _encoded(postgresql_url, "LATIN1") as uri:
        error = _problem(uri)
    assert "has the encoding LATIN1, in which texts are lost: create it with ENCODING UTF8" in str(error)
    assert not isinstance(error, StoreUnavailableError)


@contextlib.contextmanager
def _encoded(url: str, encoding: str) -> Iterator[str]:
    """Give the URL of a database of this encoding, on the same server."""
    name = f"{make_url(url).database}_{encoding.lower()}"
    with connected(url) as connection:
        outside = connection.execution_options(isolation_level="AUTOCOMMIT")
        outside.execute(
            text(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        )
        yield _changed(url, database=name)
        outside.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_an_unknown_database(url: str) -> None:
    """Databases are made by their owners, not by runcontext."""
    error = _problem(_changed(url, database="none_such"))
    assert "none_such" in str(error)
    assert "create the database" in str(error)
    assert not isinstance(error, StoreUnavailableError)


def test_a_user_who_may_do_nothing(url: str) -> None:
    """What has to be granted is said."""
    with connected(url) as connection:
        host = "@'%'" if connection.dialect.name == "mysql" else ""
        name = f"poor_{os.getpid()}"
        password = f"PASSWORD '{_SECRET}'" if not host else f"BY '{_SECRET}'"
        connection.execute(text(f"CREATE USER {name}{host} {'IDENTIFIED' if host else ''} {password}"))
        if host:
            connection.execute(text(f"GRANT SELECT ON `{make_url(url).database}`.* TO {name}{host}"))
        connection.commit()
        poor = _changed(url, username=name, password=_SECRET)
        with pytest.raises(StoreError, match="grant the user what runs need") as caught, opened(poor) as store:
            store.create_run(new_run(1))
        connection.execute(text(f"DROP USER {name}{host}"))
        connection.commit()
    assert _SECRET not in str(caught.value)
    assert not isinstance(caught.value, StoreUnavailableError)


def test_a_user_who_may_do_what_is_said(url: str, tmp_path: Path) -> None:
    """That is enough for runs and their artifacts in tables that are there; without one of it, it is named."""
    file = tmp_path / "a.txt"
    file.write_text("whole")
    with opened(url) as store, artifacts_of(store, store.create_run(new_run(1))) as repository:
        repository.upload_file(str(file), "a.txt")
    with connected(url) as connection:
        is_postgresql = connection.dialect.name == "postgresql"
        name, database = f"enough_{os.getpid()}", make_url(url).database
        user, tables = (name, "ALL TABLES IN SCHEMA public") if is_postgresql else (f"{name}@'%'", f"`{database}`.*")
        password = f"PASSWORD '{_SECRET}'" if is_postgresql else f"IDENTIFIED BY '{_SECRET}'"
        connection.execute(text(f"CREATE USER {user} {password}"))
        connection.execute(text(f"GRANT SELECT, INSERT, UPDATE ON {tables} TO {user}"))
        connection.commit()
        with opened(_changed(url, username=name, password=_SECRET)) as store:
            if is_postgresql:
                with pytest.raises(StoreError, match="USAGE ON ALL SEQUENCES"):
                    store.create_run(new_run(2, experiment_name="another"))
                connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"))
                connection.commit()
            run = store.create_run(new_run(2, experiment_name="another"))
            store.log_batch(run, batch(params={"p": "1"}, metrics={"m": 1.0}))
            with artifacts_of(store, run) as repository, pytest.raises(StoreError, match="DELETE"):
                repository.upload_file(str(file), "a.txt")
            connection.execute(text(f"GRANT DELETE ON {tables} TO {user}"))
            connection.commit()
            with artifacts_of(store, run) as repository:
                repository.upload_file(str(file), "a.txt")
        if is_postgresql:
            connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP USER {user}"))
        connection.commit()


def test_a_server_that_is_not_there(url: str) -> None:
    """Nobody listens: it may go right later."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = _problem(_changed(url, port=taken.getsockname()[1]))
    assert isinstance(error, StoreUnavailableError)
    assert "cannot be used now" in str(error)


@pytest.mark.parametrize("word", ["certificate", "malformed", "no-password-supplied", "ssl"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_host_that_is_called_like_a_problem(scheme: str, word: str) -> None:
    """One that is not known may be known later, whatever its name and its user's."""
    error = _problem(f"{scheme}://{word}:{_SECRET}@{word}.invalid/{word}")
    assert isinstance(error, StoreUnavailableError)
    assert f"{word}.invalid" in str(error)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_that_never_answers(scheme: str) -> None:
    """One that accepts and says nothing is given up after the time that the URI says, and may go right later."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"{scheme}://u:{_SECRET}@127.0.0.1:{silent.getsockname()[1]}/runs?connect_timeout=2"
        uri += "&read_timeout=2" if scheme == "mysql" else ""
        with pytest.raises(StoreUnavailableError) as caught, opened(uri) as store:
            store.create_run(new_run(1))
    assert _SECRET not in str(caught.value)


def test_a_connection_that_is_cut(url: str) -> None:
    """A server that ends our connection costs nothing where we come again: batches are whole, and there once."""
    with opened(url) as store, connected(url) as other:
        run = store.create_run(new_run(1))
        if other.dialect.name == "postgresql":
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            other.execute(text(f"{end} AND datname = current_database()"))
        else:
            own, database = other.execute(text("SELECT connection_id(), database()")).one()
            listed = other.execute(text("SELECT id, db FROM information_schema.processlist")).all()
            for number in (number for number, name in listed if name == database and number != own):
                other.execute(text(f"KILL {number}"))
        for _ in range(2):
            store.log_batch(run, batch(metrics={"m": 1.0}))
        assert dict(store.get_run(run.run_id).metrics) == {"m": 1.0}


def test_a_lock_that_is_not_let_go(tmp_path: Path) -> None:
    """SQLite that somebody else writes to may go right later; so does everything once they are done."""
    uri = f"sqlite:///{tmp_path}/runs.db?timeout=0.1"
    with opened(uri) as store:
        run = store.create_run(new_run(1))
        other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="database is locked"):
            store.log_batch(run, batch())
        other.execute("COMMIT")
        other.close()
        store.log_batch(run, batch(metrics={"m": 1.0}))


def test_a_full_disk(tmp_path: Path) -> None:
    """A database that has no room may get some: nothing of the batch is there until then."""
    with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        run = store.create_run(new_run(1))
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(StoreUnavailableError, match="full"):
            store.log_batch(run, batch(params={f"p{each}": "x" * 6_000 for each in range(100)}))
        assert dict(store.get_run(run.run_id).params) == {}


@pytest.mark.skipif(not hasattr(os, "setresuid") or os.getuid() != 0, reason="only root can be two users in turn")
def test_a_file_that_another_user_may_only_read() -> None:
    """They read what is there each time that they ask, while its owner writes too; who may write is said.

    Nothing is made beside the file by who only reads.
    """
    code = textwrap.dedent("""
        import os, sys
        from tests.places.sql_places import artifacts_of, batch, new_run, opened
        from runcontext.errors import StoreError
        from runcontext.tracking.store import Query

        folder, nobody = sys.argv[1], 65_534
        uri = f"sqlite:///{folder}/runs.db"

        def read(by_nobody):
            names = sorted(each.run_name for each in by_nobody.search_runs(Query()))
            with artifacts_of(by_nobody, first) as repository:
                return names, [each.path for each in repository.list_artifacts()]

        def become(user):
            os.setresuid(user, user, 0)

        with opened(uri) as owner, opened(uri) as reader:
            first = owner.create_run(new_run(1))
            with artifacts_of(owner, first) as repository:
                repository.upload_file(__file__, "a.txt")
            read(owner)  # Nobody may not be able to import what this does.
            owner.close()
            os.chmod(f"{folder}/runs.db", 0o444)
            os.chmod(folder, 0o555)
            for number in (2, 3):
                become(nobody)
                print(read(reader), sorted(os.listdir(folder)))
                become(0)
                owner.create_run(new_run(number))
                if number == 2:
                    owner.close()
            become(nobody)
            print(read(reader))
            try:
                reader.create_run(new_run(4))
            except StoreError as error:
                print(error)
            become(0)
    """)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        script = Path(folder, "script.py")
        script.write_text(code)
        Path(folder, "of").mkdir()
        command = [sys.executable, str(script), f"{folder}/of"]
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root}
        )
        assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "(['run 1'], ['a.txt']) ['runs.db']",
        "(['run 1', 'run 2'], ['a.txt']) ['runs.db']",
        "(['run 1', 'run 2', 'run 3'], ['a.txt'])",
    ]
    assert "readonly database; check that the file and its folder can be written" in lines[3]


def test_what_is_no_database(tmp_path: Path) -> None:
    """A file with something else in it is left as it is."""
    file = tmp_path / "notes.db"
    file.write_text("these are notes, and not a database. " * 100)
    error = _problem(f"sqlite:///{file}")
    assert "file is not a database" in str(error)
    assert not isinstance(error, StoreUnavailableError)
    assert file.read_text().startswith("these are notes")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The operating system's reason is given."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="cannot be used"),
        opened(f"sqlite:///{tmp_path}/file/a.db") as store,
    ):
        store.create_run(new_run(1))


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """It is called one, by who writes, who reads and who keeps artifacts, and a file in it is proposed."""
    folder = tmp_path / "runs.db"
    folder.mkdir()
    uri = f"sqlite:///{folder}"
    says = f"{uri} is a folder; a file is expected: {uri}/runs.db names one in it"
    assert str(_problem(uri)) == says
    with opened(uri) as store, pytest.raises(StoreError, match="is a folder"):
        store.search_runs(Query())
    repository = DatabaseRepository(uri)
    with pytest.raises(StoreError, match="is a folder"):
        repository.list_artifacts()
    repository.close()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is what nobody can write to, root neither")
@pytest.mark.parametrize("file", ["/proc/runs.db", "/proc/nope/runs.db"])
def test_a_folder_that_cannot_be_written(file: str) -> None:
    """What to check is said of one that is there as of one that cannot be made, in words of no library's."""
    error = _problem(f"sqlite:///{file}")
    assert "check that its folder is there and can be written" in str(error)
    assert "Error" not in str(error)
    assert not isinstance(error, StoreUnavailableError)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (f"postgresql://u:{_SECRET}@host:54x2/runs", "a port number is expected"),
        (f"postgresql://u:{_SECRET}", "a port number is expected"),
        (f"mysql://u:{_SECRET}@[::1/runs", "is not closed"),
        (f"postgresql://u:{_SECRET}@host", "names no database"),
        (f"postgresql://u:{_SECRET} x@host/runs", "is a space"),
        (f"postgresql:u:{_SECRET}@host/runs", "two slashes"),
        ("sqlite://runs.db", "three slashes are expected"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:runs.db?uri=true", "names no file by its path; sqlite:///FILE is expected"),
        (f"oracle://u:{_SECRET}@host/runs", "is no URI of a database; one of sqlite, postgresql"),
        (f"postgresql+none://u:{_SECRET}@host/runs", "leave +none out of the URI to use psycopg"),
        (f"mysql+mysqldb://u:{_SECRET}@host/runs", "leave +mysqldb out of the URI to use pymysql"),
    ],
)
def test_a_malformed_uri(uri: str, says: str) -> None:
    """It is refused before anything is connected to; the message says where, and shows no password."""
    with pytest.raises(StoreError) as caught:
        SqlStore(uri)
    assert says in str(caught.value)
    assert _SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "option"),
    [
        ("sqlite:////tmp/runs.db?timeout=abc", "timeout"),
        ("sqlite:////tmp/runs.db?foo=1", "foo"),
        ("sqlite:////tmp/runs.db?mode=rwc&uri=true", "mode"),
        (f"mysql://u:{_SECRET}@127.0.0.1:1/runs?foo=1", "foo"),
        (f"mysql://u:{_SECRET}@127.0.0.1:1/runs?connect_timeout=abc", "connect_timeout"),
        (f"mysql://u:{_SECRET}@127.0.0.1:1/runs?read_timeout=-1&local_infile=1", "read_timeout"),
        (f"postgresql://u:{_SECRET}@127.0.0.1:1/runs?foo=1", "foo"),
        (f"postgresql://u:{_SECRET}@127.0.0.1:1/runs?application_name=x&connect_timeout=abc", "connect_timeout"),
        (f"postgresql://u:{_SECRET}@127.0.0.1:1/runs?keepalives=abc", "keepalives"),
    ],
)
def test_an_option_that_no_driver_takes(uri: str, option: str) -> None:
    """What follows the ? is named as what is wrong, and is not tried again."""
    with pytest.raises(StoreError) as caught, opened(uri) as store:
        store.search_runs(Query())
    assert not isinstance(caught.value, StoreUnavailableError)
    assert f"the part after ? is wrong, at {option}:" in str(caught.value) or f"and not {option};" in str(caught.value)
    assert _SECRET not in str(caught.value)


def test_a_driver_that_is_not_installed() -> None:
    """What to install is said, of the driver as of SQLAlchemy itself, at the start of a run too."""
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from runcontext.errors import StoreError\n"
        "from runcontext.tracking.places import open_store, problem_of\n"
        "print(problem_of(sys.argv[2]))\n"
        "try:\n    open_store(sys.argv[2])\n"
        "except StoreError as error:\n    print(error)"
    )
    for module, uri, says in (
        ("psycopg", f"postgresql://u:{_SECRET}@host/runs", "pip install 'runcontext[postgresql]'"),
        ("pymysql", f"mariadb://u:{_SECRET}@host/runs", "pip install 'runcontext[mysql]'"),
        ("pyodbc", f"mssql+pyodbc://u:{_SECRET}@host/runs?driver=x", "pip install 'runcontext[mssql]'"),
        ("sqlalchemy", "sqlite:///runs.db", "pip install 'runcontext[sql]'"),
    ):
        done = subprocess.run([sys.executable, "-c", code, module, uri], capture_output=True, text=True, check=True)
        assert done.stdout.count(says) == 2
        assert _SECRET not in done.stdout


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"postgresql://u:{_SECRET}@host:5432/runs", "postgresql://u:[redacted]@host:5432/runs"),
        (
            f"mysql+pymysql://u:{_SECRET}@host/runs?charset=utf8mb4",
            "mysql+pymysql://u:[redacted]@host/runs?charset=utf8mb4",
        ),
        (f"postgresql://host/runs?user=u&password={_SECRET}", "postgresql://host/runs?user=u&password=[redacted]"),
        (f"postgresql://host/runs?sslpassword={_SECRET}&sslmode=require", "?sslpassword=[redacted]&sslmode=require"),
        ("sqlite:////home/me/runs.db", "sqlite:////home/me/runs.db"),
    ],
)
def test_how_a_uri_is_shown(uri: str, shown: str) -> None:
    """Without its password, wherever that stands."""
    with opened(uri) as store:
        assert store.uri.endswith(shown)
        assert _SECRET not in repr(store)


def test_threads_share_a_store(tmp_path: Path) -> None:
    """Eight threads that use one store at once each get a connection in their turn."""
    with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                run = store.create_run(new_run(number))
                store.log_batch(run, batch(metrics={"m": float(number)}))
                assert store.get_run(run.run_id).metrics["m"] == number
            except BaseException as error:  # noqa: BLE001 - the test is to see whatever it is
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not failures
        assert len(store.search_runs(Query())) == 8
