"""``runcontext download`` and the two functions behind it: real processes, real runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runcontext

if TYPE_CHECKING:
    from collections.abc import Iterator

CLI = [sys.executable, "-m", "runcontext"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder to work in, with nothing set that could change where runs go."""
    for name in [each for each in os.environ if each.startswith(("RUNCONTEXT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNCONTEXT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RUNCONTEXT_DISABLED", "1")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "project" / "pyproject.toml").touch()
    yield tmp_path / "project"
    runcontext.end_run()


@pytest.fixture
def run_id(project: Path) -> str:
    """Give a run that has artifacts."""
    assert project.is_dir()
    with runcontext.start_run(run_name="with artifacts") as run:
        run.log_text("weights", "model/weights.txt")
        run.log_text("notes", "notes.txt")
    return run.run_id


def called(*words: str) -> subprocess.CompletedProcess[str]:
    """Call the command line in a pipe."""
    return subprocess.run([*CLI, "download", *words], capture_output=True, text=True, timeout=60, check=False)


def test_all_artifacts_go_into_a_folder(run_id: str, project: Path) -> None:
    """One named after the run unless another is named; a pipe gets its path and nothing else."""
    done = called("latest")
    assert (done.returncode, done.stderr) == (0, "")
    folder = project / f"artifacts-{run_id[-8:]}"
    assert done.stdout == f"{folder}\n"
    assert (folder / "model" / "weights.txt").read_text(encoding="utf-8") == "weights"
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "notes"


def test_one_of_them_as_json(run_id: str, project: Path) -> None:
    """With --to, below which it keeps its path."""
    done = called(run_id[-8:], "model/weights.txt", "--to", "there", "--json")
    assert json.loads(done.stdout) == {
        "schema": 1,
        "run_id": run_id,
        "artifact_path": "model/weights.txt",
        "path": str(project / "there" / "model" / "weights.txt"),
    }
    assert not (project / "there" / "notes.txt").exists()


def test_what_is_not_there_is_said(run_id: str) -> None:
    """A run, an artifact: one line, and exit status 1."""
    for words, said in ((("no-such-run",), "no-such-run"), ((run_id, "no/such.txt"), "no artifact 'no/such.txt'")):
        done = called(*words)
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


def test_a_run_without_artifacts_says_so(project: Path) -> None:
    """Beside the path of the folder, which is empty."""
    with runcontext.start_run(run_name="empty") as run:
        pass
    shutil.rmtree(run.path / "artifacts", ignore_errors=True)
    done = called("empty", "--to", "there")
    assert (done.returncode, done.stdout) == (0, f"{project}/there\n")
    assert "there are no artifacts in" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_link_out_of_the_run_is_not_followed(run_id: str, tmp_path: Path) -> None:
    """With a destination or without."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    found = runcontext.get_run(run_id).path
    assert found is not None
    (found / "artifacts" / "link").symlink_to(secret)
    for folder in (None, tmp_path / "copy"):
        with pytest.raises(runcontext.StoreError, match="link"):
            runcontext.download_artifacts(run_id, "link", folder)
    assert not (tmp_path / "copy" / "link").exists()


def test_a_program_lists_and_downloads(run_id: str, tmp_path: Path) -> None:
    """Where they lie unless a folder is named: a run of this machine has them already."""
    assert [(each.path, each.is_dir) for each in runcontext.list_artifacts(run_id) if each.path != "context.json"] == [
        ("model", True),
        ("notes.txt", False),
    ]
    assert [each.path for each in runcontext.list_artifacts(run_id, "model")] == ["model/weights.txt"]
    lies = runcontext.download_artifacts(run_id, "notes.txt")
    assert lies == runcontext.get_run(run_id).path / "artifacts" / "notes.txt"
    copied = runcontext.download_artifacts(run_id, "notes.txt", tmp_path / "copy")
    assert copied == tmp_path / "copy" / "notes.txt"
    assert copied.read_text(encoding="utf-8") == "notes"
    with pytest.raises(runcontext.StoreError, match="no artifact 'nothing'"):
        runcontext.download_artifacts(run_id, "nothing")


def test_artifacts_come_back_from_where_the_run_was_sent(project: Path, tmp_path: Path) -> None:
    """A database as the tracking URI, a folder as the artifact URI; read with nothing but the two."""
    uri = f"sqlite:///{tmp_path}/runs.db"
    with runcontext.start_run(run_name="sent", tracking_uri=uri) as run:
        run.log_text("notes", "notes.txt")
    subprocess.run([*CLI, "sync"], cwd=project, capture_output=True, timeout=60, check=False)
    assert "notes.txt" in [each.path for each in runcontext.list_artifacts(run.run_id, tracking_uri=uri)]
    found = runcontext.download_artifacts(run.run_id, "notes.txt", tracking_uri=uri)
    assert found.read_text(encoding="utf-8") == "notes"
    assert Path(found).parent.name.startswith("runcontext-")
    done = called("sent", "notes.txt", "--to", str(tmp_path / "to"), "--tracking-uri", uri)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{tmp_path / 'to' / 'notes.txt'}\n")
