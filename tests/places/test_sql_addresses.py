"""Database URLs: what is written in one is what is used, whatever characters it has and wherever it goes as a text."""

from __future__ import annotations

import os
import string
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, text
from sqlalchemy.engine import make_url
from tests.places.sql_places import artifacts_of, connected, new_run, opened

from runcontext.artifacts.database.address import DatabaseAddress
from runcontext.tracking import destination
from runcontext.tracking.sql import addresses

if TYPE_CHECKING:
    from pathlib import Path

_ODD = string.punctuation + " %20+" + "é€\N{GRINNING FACE}"
_ODD_FOLDERS = ("a b", "what?", "50%20", "#1", "u@host", "é", "a:b;c", b"latin-\xe9")


@pytest.mark.parametrize("name", _ODD_FOLDERS)
def test_a_relative_file_is_in_the_working_folder_whatever_that_is_called(tmp_path: Path, name: str | bytes) -> None:
    """Runs and their artifacts are in the file that was named, and nothing else is made."""
    folder = os.path.join(str(tmp_path), os.fsdecode(name))
    os.mkdir(folder)
    uri = destination.absolute("sqlite:///my%20runs.db?timeout=5", folder)
    (tmp_path / "a.txt").write_text("whole")
    with opened(uri) as store:
        run = store.create_run(new_run(1))
        with artifacts_of(store, run) as repository:
            repository.upload_file(str(tmp_path / "a.txt"), "a.txt")
            assert [each.path for each in repository.list_artifacts()] == ["a.txt"]
        assert store.get_run(run.run_id).artifact_uri.startswith(store.uri.partition("?")[0])
    assert {each.removesuffix("-wal").removesuffix("-shm") for each in os.listdir(folder)} == {"my runs.db"}
    assert set(os.listdir(tmp_path)) == {"a.txt", os.path.basename(folder)}


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("sqlite:///runs.db", "sqlite:////srv/a%20b/runs.db"),
        ("sqlite:///x%20y/runs.db?timeout=5", "sqlite:////srv/a%20b/x%20y/runs.db?timeout=5"),
        ("sqlite:///~/runs.db", "sqlite:////home/a%20da/runs.db"),
        ("sqlite:////srv/x%20y.db", "sqlite:////srv/x%20y.db"),
    ],
)
def test_the_folder_is_encoded_and_the_rest_as_it_was(uri: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI that is made absolute is still one, for artifacts as for runs."""
    monkeypatch.setenv("HOME", "/home/a da")
    assert destination.absolute(uri, "/srv/a b") == found
    assert destination.absolute_artifacts(uri, "/srv/a b") == found


def test_a_folder_without_odd_characters_is_as_users_write_it() -> None:
    """It is the same place for who names the file from /."""
    folder = "/home/josé/a+b=(c),d@e"
    assert destination.absolute("sqlite:///runs.db", folder) == f"sqlite:///{folder}/runs.db"
    assert addresses.parsed(f"sqlite:///{folder}/runs.db").shown == f"sqlite:///{folder}/runs.db"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("sqlite:////tmp/sp%20ace%3F.db", "/tmp/sp ace?.db"),
        ("sqlite:////tmp/50%.db", "/tmp/50%.db"),
        ("postgresql://u:p/w#?@h/a%20b%2Fc", "a b/c"),
        ("mysql://h:3306/t%C3%A9am?charset=utf8mb4", "téam"),
    ],
)
def test_what_is_encoded_is_decoded(uri: str, name: str) -> None:
    """It is once, by us: SQLAlchemy 2.0 and 2.1 differ in that."""
    assert addresses.parsed(uri).url.database == name


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mssql"])
def test_a_url_is_the_same_after_it_was_a_text(dialect: str) -> None:
    """Its user, password, database and options may have any character; the artifacts of a run are below it."""
    query = {"driver": _ODD, "each": ("1", _ODD)}
    url = URL.create(f"{dialect}+x", _ODD, _ODD, "::1", 5, _ODD, query)
    assert addresses.read(addresses.whole_url(url)) == url
    assert addresses.read(addresses.shown_url(url).partition("?")[0]).database == _ODD
    artifacts = DatabaseAddress.of(addresses.below(addresses.whole_url(url), "r1/artifacts"))
    assert (artifacts.database.url, artifacts.root) == (url, "r1/artifacts")
    assert _ODD not in artifacts.shown


def test_a_password_of_any_characters(mariadb_url: str, tmp_path: Path) -> None:
    """A server takes it for the run as for its artifacts."""
    name = f"odd_{os.getpid()}"
    (tmp_path / "a.txt").write_text("whole")
    with connected(mariadb_url) as connection:
        connection.execute(text(f"CREATE USER {name}@'%' IDENTIFIED BY :word"), {"word": _ODD})
        connection.execute(text(f"GRANT ALL ON `{make_url(mariadb_url).database}`.* TO {name}@'%'"))
        connection.commit()
        uri = addresses.whole_url(make_url(mariadb_url).set(username=name, password=_ODD))
        with opened(uri) as store:
            run = store.create_run(new_run(1))
            with artifacts_of(store, run) as repository:
                repository.upload_file(str(tmp_path / "a.txt"), "a.txt")
                assert [each.path for each in repository.list_artifacts()] == ["a.txt"]
        connection.execute(text(f"DROP USER {name}@'%'"))
        connection.commit()
