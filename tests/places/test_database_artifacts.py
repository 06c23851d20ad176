"""Artifacts as rows: SQLite, PostgreSQL and MariaDB for real, SQL Server's statements as SQLAlchemy compiles them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, event, func, insert, select, update
from sqlalchemy.dialects import mssql, mysql, registry
from sqlalchemy.schema import CreateTable
from tests.places.servers_sql import PASSWORD

from runcontext.artifacts.database import DatabaseRepository
from runcontext.artifacts.database.address import DatabaseAddress
from runcontext.artifacts.database.tables import ARTIFACTS, CHUNKS, LEFTOVERS, METADATA, SCHEMA
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.testing import ArtifactRepositoryContract
from runcontext.tracking.sql.addresses import below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

SQL_SERVER = mssql.dialect()  # type: ignore[no-untyped-call]


class TestSqlite(ArtifactRepositoryContract):
    """SQLite keeps the contract."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Iterator[DatabaseRepository]:
        yield from opened(f"sqlite:///{tmp_path}/database/store.db")


class TestPostgreSql(ArtifactRepositoryContract):
    """PostgreSQL keeps the contract."""

    secrets = (PASSWORD,)

    @pytest.fixture
    def repository(self, postgresql_url: str) -> Iterator[DatabaseRepository]:
        yield from opened(postgresql_url)


class TestMariaDb(ArtifactRepositoryContract):
    """MariaDB keeps the contract."""

    secrets = (PASSWORD,)

    @pytest.fixture
    def repository(self, mariadb_url: str) -> Iterator[DatabaseRepository]:
        yield from opened(mariadb_url)


def opened(database_url: str) -> Iterator[DatabaseRepository]:
    """Give the repository of a new run, closed afterwards."""
    repository = DatabaseRepository(below(database_url, f"{uuid.uuid4().hex}/artifacts"))
    yield repository
    repository.close()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Give the URL of an SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def repository(database: str) -> Iterator[DatabaseRepository]:
    """Give the repository of a run in it, with pieces so short that every file has several."""
    found = DatabaseRepository(f"{database}/run/artifacts", chunk_bytes=1_000)
    yield found
    found.close()


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """Give what looks into the database without the repository."""
    found = create_engine(database)
    yield found
    found.dispose()


@pytest.mark.parametrize(
    ("artifact_uri", "database", "root"),
    [
        ("postgresql://u:p%40ss@h:5/team/r1/artifacts", "postgresql+psycopg://u:p%40ss@h:5/team", "r1/artifacts"),
        ("postgresql+pg8000://h/team/1/r1/artifacts?ssl=1", "postgresql+pg8000://h/team?ssl=1", "1/r1/artifacts"),
        ("mysql://h/team/r1/artifacts", "mysql+pymysql://h/team", "r1/artifacts"),
        ("mssql+pyodbc://u@h/db/r1/artifacts?driver=X+1", "mssql+pyodbc://u@h/db?driver=X+1", "r1/artifacts"),
        ("mssql+pyodbc:///r1/artifacts?odbc_connect=DSN", "mssql+pyodbc:///?odbc_connect=DSN", "r1/artifacts"),
        ("postgresql:///r1/artifacts?service=team", "postgresql+psycopg:///?service=team", "r1/artifacts"),
        ("postgresql://h/team", "postgresql+psycopg://h/team", ""),
        ("sqlite:////data/runs.db/r1/artifacts", "sqlite+pysqlite:////data/runs.db", "r1/artifacts"),
        ("sqlite:////a.sqlite/x.db/r1/artifacts", "sqlite+pysqlite:////a.sqlite", "x.db/r1/artifacts"),
        ("sqlite:////data/runs.db", "sqlite+pysqlite:////data/runs.db", ""),
    ],
)
def test_an_artifact_uri_is_taken_apart(artifact_uri: str, database: str, root: str) -> None:
    """What MLflow appends to the path is found again; driver and query stay the database's."""
    address = DatabaseAddress.of(artifact_uri)
    assert address.database.url.render_as_string(hide_password=False) == database
    assert address.root == root


def test_a_file_that_is_there_is_the_database_whatever_its_name(tmp_path: Path) -> None:
    """An SQLite file needs no ending once it exists; a folder with one is no database."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "folder.db" / "runs").touch()
    address = DatabaseAddress.of(f"sqlite:///{tmp_path}/folder.db/runs/r1/artifacts")
    assert (address.database.file, address.root) == (str(tmp_path / "folder.db" / "runs"), "r1/artifacts")


@pytest.mark.parametrize(
    ("artifact_uri", "problem"),
    [
        ("sqlite:////data/runs/r1/artifacts", "nothing says where the file's name ends"),
        ("sqlite://", "names no file"),
        ("teamdb://u:hunter2@h/team/r1/artifacts", "an engine that SQLAlchemy does not know here"),
        ("postgresql://u:hunter2@h", "names no database"),
        ("postgresql://u:hunter2@h:port/team/r1/artifacts", "port"),
    ],
)
def test_an_artifact_uri_that_says_too_little_is_refused(artifact_uri: str, problem: str) -> None:
    """The message says what is missing, and shows no password."""
    with pytest.raises(StoreError) as caught:
        DatabaseRepository(artifact_uri)
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_reading_makes_no_database(tmp_path: Path) -> None:
    """Where nobody has written yet, there is nothing to list or to find, and no file afterwards."""
    repository = DatabaseRepository(f"sqlite:///{tmp_path}/runs.db/run/artifacts")
    assert repository.list_artifacts() == []
    with pytest.raises(StoreError, match=r"no artifact a\.txt"):
        repository.download_file("a.txt", str(tmp_path / "a.txt"))
    assert list(tmp_path.iterdir()) == []


def test_any_engine_that_sqlalchemy_knows_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that somebody else brings, here SQLite under another name, keeps artifacts as the known ones do."""
    registry.register("otherdb.pysqlite", "sqlalchemy.dialects.sqlite.pysqlite", "SQLiteDialect_pysqlite")
    monkeypatch.chdir(tmp_path)
    repository = DatabaseRepository("otherdb+pysqlite:///made.by.sqlite/run/artifacts")
    repository.upload_file(write(tmp_path / "source", b"x"), "deep/a.bin")
    repository.download_file("deep/a.bin", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"x"
    repository.close()


def test_runs_of_one_database_are_apart(database: str, tmp_path: Path) -> None:
    """One artifact path of two runs is two files."""
    for run in ("r1", "r2"):
        repository = DatabaseRepository(f"{database}/{run}/artifacts")
        repository.upload_file(write(tmp_path / "source", run.encode()), "model.bin")
        repository.close()
    for run in ("r1", "r2"):
        repository = DatabaseRepository(f"{database}/{run}/artifacts")
        repository.download_file("model.bin", str(tmp_path / "target"))
        assert (tmp_path / "target").read_text() == run
        repository.close()


def test_a_replaced_file_leaves_nothing_behind(repository: DatabaseRepository, engine: Engine, tmp_path: Path) -> None:
    """The pieces of the old file are gone, as is every note of them."""
    repository.upload_file(write(tmp_path / "old", bytes(200_500)), "a.bin")
    repository.upload_file(write(tmp_path / "new", bytes(1_500)), "a.bin")
    assert counts(engine) == (1, 2, 0)


def test_a_path_is_a_file_or_a_folder(repository: DatabaseRepository, engine: Engine, tmp_path: Path) -> None:
    """As in a folder on disk: what would make it both is refused, and leaves what there was."""
    path = write(tmp_path / "source", b"x")
    repository.upload_file(path, "a")
    repository.upload_file(path, "deep/er/b")
    for clashing, problem in (
        ("a/b", "a is a file there, and no folder"),
        ("a/deep/b", "a is a file there, and no folder"),
        ("deep/er", "it is a folder there"),
    ):
        with pytest.raises(StoreError, match=f"{clashing} cannot be kept in .*: {problem}") as caught:
            repository.upload_file(path, clashing)
        assert not isinstance(caught.value, StoreUnavailableError)
    assert [(each.path, each.is_dir) for each in repository.list_artifacts()] == [("a", False), ("deep", True)]
    assert [(each.path, each.is_dir) for each in repository.list_artifacts("deep")] == [("deep/er", True)]
    assert counts(engine) == (2, 2, 0)


def test_a_reader_gets_one_file_or_the_other(repository: DatabaseRepository, tmp_path: Path) -> None:
    """While a file is replaced over and over, each download is one whole version of it."""
    versions = [write(tmp_path / str(each), bytes([each]) * (30_000 + each)) for each in range(4)]
    repository.upload_file(versions[0], "a.bin")
    is_done = threading.Event()

    def replace() -> None:
        while not is_done.is_set():
            for each in versions:
                repository.upload_file(each, "a.bin")

    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(replace)
        try:
            for _round in range(15):
                repository.download_file("a.bin", str(tmp_path / "target"))
                content = (tmp_path / "target").read_bytes()
                assert content == bytes([content[0]]) * (30_000 + content[0])
        finally:
            is_done.set()
        replacing.result()


def test_what_a_killed_upload_left_is_removed_a_day_later(
    database: str, engine: Engine, repository: DatabaseRepository, tmp_path: Path
) -> None:
    """A process killed in mid-upload leaves the old file in force; its pieces go with the first upload a day on."""
    repository.upload_file(write(tmp_path / "old", b"old"), "a.bin")
    os.mkfifo(tmp_path / "fifo")
    source = """
    import sys
    from runcontext.artifacts.database import DatabaseRepository
    DatabaseRepository(sys.argv[1], chunk_bytes=1_000).upload_file(sys.argv[2], "a.bin")
    """
    process = start(source, f"{database}/run/artifacts", str(tmp_path / "fifo"))
    with (tmp_path / "fifo").open("wb", buffering=0) as fifo:
        fifo.write(bytes(4_000))
        while counts(engine)[1] < 3:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()

    repository.download_file("a.bin", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"old"
    touch(engine, -86_400_001)
    later = DatabaseRepository(f"{database}/other/artifacts")
    later.upload_file(write(tmp_path / "new", b"new"), "b.bin")
    later.close()
    assert counts(engine) == (2, 2, 0)


@pytest.mark.parametrize("piece", [1, 3])
def test_an_upload_that_was_taken_for_a_killed_one_is_no_artifact(
    database: str, engine: Engine, repository: DatabaseRepository, tmp_path: Path, piece: int
) -> None:
    """One that stood still for a day, at any of its pieces, and was removed is an error, and leaves the old file."""
    repository.upload_file(write(tmp_path / "old", b"old"), "a.bin")
    told: list[int] = []

    def stand_still_for_a_day(sent: int) -> None:
        told.append(sent)
        if len(told) == piece:
            touch(engine, -86_400_001)
            other = DatabaseRepository(f"{database}/other/artifacts")
            other.upload_file(str(tmp_path / "old"), "b.bin")
            other.close()

    with pytest.raises(StoreUnavailableError, match=r"a\.bin of .* was not kept: .* upload it again"):
        repository.upload_file(write(tmp_path / "new", bytes(3_000)), "a.bin", on_bytes=stand_still_for_a_day)
    assert len(told) == piece
    repository.download_file("a.bin", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"old"
    assert counts(engine) == (2, 2, 0)


def test_an_upload_that_goes_on_is_left_alone(
    database: str, engine: Engine, repository: DatabaseRepository, tmp_path: Path
) -> None:
    """Between the look for what is old and its removal an upload may write another piece: all of it is there then."""
    repository.upload_file(write(tmp_path / "old", b"old"), "a.bin")

    def go_on(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT") and "touched_time <" in statement:
            touch(engine, +86_400_001)

    def stand_still_for_a_day(_sent: int) -> None:
        touch(engine, -86_400_001)
        other = DatabaseRepository(f"{database}/other/artifacts")
        event.listen(other._database._engine, "after_cursor_execute", go_on)
        other.upload_file(str(tmp_path / "old"), "b.bin")
        other.close()

    repository.upload_file(write(tmp_path / "new", bytes(2_500)), "a.bin", on_bytes=stand_still_for_a_day)
    repository.download_file("a.bin", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == bytes(2_500)


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_a_damaged_piece_is_noticed(
    repository: DatabaseRepository, engine: Engine, tmp_path: Path, damage: str
) -> None:
    """A piece that somebody changed or removed makes the download an error, and writes no file."""
    repository.upload_file(write(tmp_path / "source", bytes(2_500)), "a.bin")
    with engine.begin() as connection:
        second = CHUNKS.c.number == 1
        if damage == "change":
            connection.execute(update(CHUNKS).where(second).values(content=b"x" * 1_000))
        else:
            connection.execute(CHUNKS.delete().where(second))
    with pytest.raises(StoreError, match=r"a\.bin of .* (did not arrive whole|is damaged)") as caught:
        repository.download_file("a.bin", str(tmp_path / "target"))
    assert not isinstance(caught.value, StoreUnavailableError)
    assert not (tmp_path / "target").exists()


def test_tables_of_a_newer_version_are_refused(database: str, engine: Engine, tmp_path: Path) -> None:
    """Neither read nor written: the message says to upgrade."""
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(SCHEMA).values(version=2))
    repository = DatabaseRepository(f"{database}/run/artifacts")
    with pytest.raises(StoreError, match="upgrade runcontext"):
        repository.list_artifacts()
    with pytest.raises(StoreError, match="upgrade runcontext"):
        repository.upload_file(write(tmp_path / "source", b"x"), "a.bin")
    repository.close()


def test_processes_that_begin_at_once_share_one_database(postgresql_url: str, database: str, tmp_path: Path) -> None:
    """Three processes find no tables: each keeps its files, on SQLite as on PostgreSQL."""
    source = """
    import sys
    from runcontext.artifacts.database import DatabaseRepository
    path, number, *places = sys.argv[1:]
    sys.stdin.readline()
    for each in places:
        DatabaseRepository(each).upload_file(path, f"deep/er/{number}")
    """
    path = write(tmp_path / "source", b"x")
    places = [below(url, "run/artifacts") for url in (database, postgresql_url)]
    processes = [start(source, path, str(each), *places) for each in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    assert [(process.communicate(), process.returncode)[1] for process in processes] == [0] * 3
    for place in places:
        repository = DatabaseRepository(place)
        assert [each.path for each in repository.list_artifacts("deep/er")] == [f"deep/er/{each}" for each in range(3)]
        repository.close()


def test_a_server_that_is_away_may_come_back(tmp_path: Path) -> None:
    """No connection is StoreUnavailableError, which the mirror repeats; the password stays out of it."""
    repository = DatabaseRepository("postgresql://me:hunter2@127.0.0.1:1/team/run/artifacts")
    with pytest.raises(StoreUnavailableError) as caught:
        repository.upload_file(write(tmp_path / "source", b"x"), "a.bin")
    assert "hunter2" not in str(caught.value)
    repository.close()


def test_a_wrong_password_is_an_error(postgresql_url: str, tmp_path: Path) -> None:
    """It never goes right by itself; the message says what to check."""
    repository = DatabaseRepository(below(postgresql_url.replace(PASSWORD, "hunter2"), "run/artifacts"))
    with pytest.raises(StoreError, match="password") as caught:
        repository.upload_file(write(tmp_path / "source", b"x"), "a.bin")
    assert not isinstance(caught.value, StoreUnavailableError)
    assert "hunter2" not in str(caught.value)
    repository.close()


def test_progress_is_told_in_bytes(repository: DatabaseRepository, tmp_path: Path) -> None:
    """Of an upload and of a download, in as many steps as there are pieces, the whole in the end."""
    told: list[int] = []
    path = write(tmp_path / "source", bytes(2_500))
    repository.upload_file(path, "a.bin", on_bytes=told.append)
    repository.download_file("a.bin", str(tmp_path / "target"), on_bytes=told.append)
    assert told == [1_000, 1_000, 500] * 2


def test_sql_server_is_given_its_own_types_and_statements() -> None:
    """Compiled for its dialect, never run: no length limit on a piece, Unicode paths, keys that an index can hold."""
    tables = {table.name: str(CreateTable(table).compile(dialect=SQL_SERVER)) for table in METADATA.sorted_tables}
    assert "content VARBINARY(max) NOT NULL" in tables["runcontext_artifact_chunks"]
    assert "path NVARCHAR(max) COLLATE Latin1_General_100_BIN2 NOT NULL" in tables["runcontext_artifacts"]
    assert "artifact_key VARCHAR(64) NOT NULL" in tables["runcontext_artifacts"]
    assert "size_bytes BIGINT NOT NULL" in tables["runcontext_artifacts"]
    assert "IDENTITY" not in "".join(tables.values())
    oldest = select(LEFTOVERS.c.content_id).order_by(LEFTOVERS.c.touched_time).limit(16)
    assert str(oldest.compile(dialect=SQL_SERVER)).startswith("SELECT TOP __[POSTCOMPILE_")


def test_mysql_is_given_room_for_a_piece() -> None:
    """A plain BLOB of MySQL ends at 64 KiB."""
    text = str(CreateTable(CHUNKS).compile(dialect=mysql.dialect()))
    assert "content LONGBLOB NOT NULL" in text
    assert "InnoDB" in text


SOAK = [pytest.mark.soak, pytest.mark.timeout(1_200)]


@pytest.mark.parametrize(
    ("engine_name", "mebibytes"),
    [
        ("postgresql", 64),
        pytest.param("postgresql", 2_048, marks=SOAK),
        pytest.param("sqlite", 2_048, marks=SOAK),
    ],
)
def test_memory_does_not_grow_with_the_file(
    request: pytest.FixtureRequest, tmp_path: Path, engine_name: str, mebibytes: int
) -> None:
    """A file of 64 MiB, in soak of 2 GiB, goes in and out, and takes 32 MiB at most beyond what one byte takes."""
    url = f"sqlite:///{tmp_path}/store.db" if engine_name == "sqlite" else request.getfixturevalue("postgresql_url")
    source = """
    import hashlib, os, resource, sys
    from runcontext.artifacts.database import DatabaseRepository
    uri, folder, mebibytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    repository = DatabaseRepository(uri)

    def there_and_back(name):
        repository.upload_file(f"{folder}/{name}", name)
        repository.download_file(name, f"{folder}/back-{name}")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def digest(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else pieces(file)

    def pieces(file):
        found = hashlib.sha256()
        while data := file.read(1 << 20):
            found.update(data)
        return found.hexdigest()

    with open(f"{folder}/small", "wb") as file:
        file.write(b"x")
    with open(f"{folder}/large", "wb") as file:
        for number in range(mebibytes):
            file.write(os.urandom(1 << 10) * (1 << 10))
    before = there_and_back("small")
    after = there_and_back("large")
    assert digest(f"{folder}/large") == digest(f"{folder}/back-large")
    print((after - before) // 1024)
    """
    process = start(source, below(url, "run/artifacts"), str(tmp_path), str(mebibytes))
    output, _ = process.communicate()
    assert process.returncode == 0
    assert int(output) <= 32


def write(path: Path, content: bytes) -> str:
    """Write a file, and give its path."""
    path.write_bytes(content)
    return str(path)


def start(source: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program, which the test ends or waits for."""
    command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def touch(engine: Engine, milliseconds: int) -> None:
    """Make the one leftover that there is newer by so much."""
    with engine.begin() as connection:
        touched = LEFTOVERS.c.touched_time + milliseconds
        assert connection.execute(update(LEFTOVERS).values(touched_time=touched)).rowcount == 1


def counts(engine: Engine) -> tuple[int, ...]:
    """Count artifacts, pieces and leftovers."""
    with engine.connect() as connection:
        tables = (ARTIFACTS, CHUNKS, LEFTOVERS)
        return tuple(int(connection.scalar(select(func.count()).select_from(table)) or 0) for table in tables)
