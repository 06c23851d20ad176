"""Where runs are kept: upwards from a folder, in its project, never in the home folder itself or in the root."""

from __future__ import annotations

from pathlib import Path

import pytest

from runcontext import project
from runcontext.errors import StoreError
from runcontext.tracking.local import LocalStore


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home folder of this test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return folder


def make(folder: Path, *entries: str) -> Path:
    """Make a folder with some entries in it; those that end with / are folders."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        if entry.endswith("/"):
            (folder / entry).mkdir()
        else:
            (folder / entry).write_text("", encoding="utf-8")
    return folder


def place(folder: Path) -> str | None:
    """Give where the runs of a folder are kept."""
    return project.store_folder(str(folder))


def test_an_existing_store_is_found_upwards(home: Path) -> None:
    """The nearest ``.runcontext`` is taken, past a repository and a project in between."""
    root = make(home / "work", ".runcontext/")
    inner = make(root / "repo", ".git/", "pyproject.toml")
    deep = make(inner / "a" / "b")
    assert place(deep) == str(root / ".runcontext")
    make(inner, ".runcontext/")
    assert place(deep) == str(inner / ".runcontext")


def test_the_root_of_the_repository(home: Path) -> None:
    """Else it is made where the repository begins, whatever project is below that."""
    root = make(home / "repo", ".git/")
    assert place(make(root / "package", "pyproject.toml")) == str(root / ".runcontext")
    assert place(make(root / "a" / "b")) == str(root / ".runcontext")


def test_a_worktree_is_a_repository(home: Path) -> None:
    """The ``.git`` of a worktree or submodule is a file."""
    root = make(home / "worktree", ".git")
    assert place(make(root / "a")) == str(root / ".runcontext")


def test_the_folder_of_pyproject(home: Path) -> None:
    """Without a repository it is made beside pyproject.toml."""
    root = make(home / "project", "pyproject.toml")
    assert place(make(root / "a" / "b")) == str(root / ".runcontext")


def test_the_folder_itself(home: Path) -> None:
    """Without a project it is made in the folder itself."""
    assert place(make(home / "plain")) == str(home / "plain" / ".runcontext")


@pytest.mark.parametrize("entries", [(), (".git/",), ("pyproject.toml",), (".git/", "pyproject.toml")])
def test_never_the_home_folder(home: Path, entries: tuple[str, ...]) -> None:
    """A home folder that is a repository (dotfiles) or a project is no place for runs."""
    make(home, *entries)
    assert place(home) == str(home / ".local/share/runcontext")
    assert place(make(home / "plain")) == str(home / "plain" / ".runcontext")


def test_a_home_folder_behind_a_link(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder is known by its other name too: the working directory never shows a link."""
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert place(make(home, ".git/")) == str(tmp_path / "link" / ".local/share/runcontext")


def test_never_the_root(home: Path) -> None:
    """``/`` is no place for runs: those go into the user's data folder."""
    if any(Path("/", name).exists() for name in (".runcontext", ".git", "pyproject.toml")):
        pytest.skip("the root folder of this machine is a project")
    assert place(Path("/")) == str(home / ".local/share/runcontext")


def test_the_data_folder_of_xdg(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME says where the user's data folder is; a relative one is ignored, as XDG asks."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert place(home) == str(tmp_path / "data" / "runcontext")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert place(home) == str(home / ".local/share/runcontext")


def test_a_home_that_is_no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A HOME that is relative names no home: then a plain folder is still a place, and the root is none."""
    monkeypatch.setenv("HOME", "relative")
    assert project.default_folder() is None
    assert place(make(tmp_path / "plain")) == str(tmp_path / "plain" / ".runcontext")


def test_no_folder_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory is unknown the data folder counts; without a home that raises, and says more."""
    assert LocalStore.at(None, None).path == str(home / ".local/share/runcontext")
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(StoreError, match=r"no place to keep runs.*RUNCONTEXT_TRACKING_URI=FOLDER"):
        LocalStore.at(None, None)
    with pytest.raises(StoreError, match="is relative, and the working directory is gone"):
        LocalStore.at("runs", None)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("runs", "/srv/runs"),
        ("./a/../runs/", "/srv/runs"),
        ("/data/runs", "/data/runs"),
        ("file:///data/with%20space", "/data/with space"),
        ("file://localhost/data", "/data"),
        ("file:/data", "/data"),
        ("file:runs", "/srv/runs"),
        ("FILE:///data", "/data"),
        ("a:b/c", "/srv/a:b/c"),
    ],
)
def test_tracking_uris(uri: str, expected: str) -> None:
    """A path, or a ``file:`` URI (RFC 8089), names a folder; a relative one begins at the working directory."""
    assert LocalStore.at(uri, "/srv").path == expected


@pytest.mark.parametrize(
    "uri",
    ["http://h", "https://u:hunter2@h", "sqlite:///x.db", "mysql+pymysql://u:hunter2@h/x", "databricks://p", "s3://b"],
)
def test_uris_that_name_no_folder(uri: str) -> None:
    """Other schemes raise, and no password is in what they say."""
    with pytest.raises(StoreError, match="a path or a file: URI is expected here") as raised:
        LocalStore.at(uri, "/srv")
    assert "hunter2" not in str(raised.value)


def test_home_in_a_tracking_uri(home: Path) -> None:
    """``~`` is the home folder."""
    assert LocalStore.at("~/runs", "/srv").path == str(home / "runs")


def test_the_nearest_pyproject(home: Path) -> None:
    """Settings are read from the nearest pyproject.toml upwards."""
    root = make(home / "project", "pyproject.toml")
    assert project.pyproject_file(str(make(root / "a"))) == str(root / "pyproject.toml")
