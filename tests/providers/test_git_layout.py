"""Where a repository's own files are, found without asking git, against what git says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runcontext_providers._git.layout import common_dir_of, git_dir_of, root_above

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *words: str) -> str:
    """Run git, and give what it says."""
    named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a work tree with a commit, a work tree beside it, a submodule, and a bare repository inside."""
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", "other")
    git(other, "commit", "-q", "--allow-empty", "-m", "begin")
    git(tmp_path, "init", "-q", "project")
    found = tmp_path / "project"
    git(found, "submodule", "--quiet", "add", str(other), "sub")
    git(found, "commit", "-q", "-m", "begin")
    git(found, "worktree", "add", "-q", "../beside")
    git(found, "init", "-q", "--bare", "inside.git")
    return found


@pytest.mark.parametrize("below", [".", "sub", "../beside", "inside.git", "../other"])
def test_as_git_says(project: Path, below: str) -> None:
    """The repository's folder, and the one that its work trees share, are those that git names."""
    folder = os.path.realpath(project / below)
    root = root_above(folder)
    assert root == folder
    git_dir = git_dir_of(root)
    assert git_dir is not None
    said = git(project / below, "rev-parse", "--absolute-git-dir", "--git-common-dir").splitlines()
    assert os.path.realpath(git_dir) == os.path.realpath(said[0])
    common = common_dir_of(git_dir)
    assert common is not None
    assert os.path.realpath(common) == os.path.realpath(os.path.join(folder, said[1]))


def test_within_a_repositorys_own_folder(project: Path) -> None:
    """From inside ``.git`` the root is the folder that it lies in."""
    assert root_above(str(project / ".git" / "hooks")) == str(project)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A ``.git`` that names no repository is a root nevertheless, whose repository is unknown."""
    (tmp_path / ".git").write_text("nothing of git's")
    assert root_above(str(tmp_path)) == str(tmp_path)
    assert git_dir_of(str(tmp_path)) is None


def test_gitpython_is_not_imported(project: Path) -> None:
    """Where there is a git binary nothing waits for the import of GitPython, which takes longer than git's answers."""
    script = (
        "import os, sys; from runcontext.program import Program; from runcontext.testing import resolve_provider\n"
        "from runcontext_providers.git import GitProvider\n"
        "found = resolve_provider(GitProvider(), program=Program(pid=os.getpid(), cwd=os.getcwd()))\n"
        "assert found.tags['mlflow.source.git.commit'] and 'git' not in sys.modules, found\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=project, check=True)
