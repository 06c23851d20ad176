"""packages.txt, put to the proof: what it lists is installed into an empty environment, and gives the same hash."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from runcontext.program import Program
from runcontext.testing import resolve_provider
from runcontext_providers.python import PythonProvider

if TYPE_CHECKING:
    from runcontext.record import Context


def has_recent_pip() -> bool:
    """Say whether this Python has a pip that reads ``git+file:`` addresses."""
    try:
        return Version(importlib.metadata.version("pip")) >= Version("24.1")
    except importlib.metadata.PackageNotFoundError:
        return False


# Two virtual environments, and what pip builds and installs into them: by make slow.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_recent_pip(), reason="no pip of 24.1 or newer, which reads git+file: addresses"),
    pytest.mark.skipif(shutil.which("git") is None, reason="there is no git"),
]

BACKEND = """
import base64, hashlib, os, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open("module.py") as file:
        return _wheel(wheel_directory, {NAME + ".py": file.read()})

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, {"_" + NAME + ".pth": os.getcwd() + "\\n"})

def _wheel(folder, files):
    info = f"{NAME}-{VERSION}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    record = [_line(path, text.encode()) for path, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\\n"])
    with zipfile.ZipFile(os.path.join(folder, f"{NAME}-{VERSION}-py3-none-any.whl"), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{NAME}-{VERSION}-py3-none-any.whl"

def _line(path, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(content)}\\n"
"""
"""A build backend that needs nothing installed (PEP 517, PEP 660): the projects below carry it."""

PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def make_project(folder: Path, name: str, version: str) -> Path:
    """Write a project of one module that pip can build without an index."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(f"NAME, VERSION = {name!r}, {version!r}\n{BACKEND}")
    (folder / "module.py").write_text(f"NAME = {name!r}\n")
    return folder


def make_wheel(folder: Path, name: str, version: str) -> Path:
    """Write a wheel of one module."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()}
    lines = [f"{path},sha256={digests[path].decode().rstrip('=')},{len(text)}\n" for path, text in files.items()]
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{''.join(lines)}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def make_sdist(folder: Path, name: str, version: str, sources: Path) -> None:
    """Write a source distribution of a project."""
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for file in sorted(sources.iterdir()):
            archive.add(file, f"{name}-{version}/{file.name}")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        entry = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        entry.size = len(metadata)
        archive.addfile(entry, io.BytesIO(metadata))


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, as somebody, with no settings of this machine's."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    answer = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


def commit_all(folder: Path, message: str) -> str:
    """Make a repository of a folder, or add a commit to it, and give the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


class Environment:
    """A virtual environment with nothing in it, and no index to install from but a folder."""

    def __init__(self, folder: Path, wheelhouse: Path) -> None:
        """Make it in ``folder``; what has no address of its own is installed from ``wheelhouse``."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        scripts, self._python = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
        self._executable = folder / scripts / self._python
        self._wheelhouse = wheelhouse
        (self._site,) = (
            (folder / "Lib").glob("site-packages") if os.name == "nt" else folder.glob("lib/*/site-packages")
        )

    def install(self, *arguments: str | Path) -> None:
        """Run pip's install for it."""
        options = ["--isolated", "--disable-pip-version-check", "--quiet", "--python", str(self._executable)]
        source = ["--no-index", "--no-cache-dir", "--find-links", str(self._wheelhouse)]
        subprocess.run([sys.executable, "-m", "pip", *options, "install", *source, *map(str, arguments)], check=True)

    def captured(self, folder: Path) -> tuple[Context, str]:
        """Describe a program that runs in it, and give its packages.txt."""
        program = Program(pid=os.getppid(), executable=str(self._executable), sys_path=(str(self._site),))
        context = resolve_provider(PythonProvider(), name="python", program=program, folder=folder)
        (attachment,) = context.attachments
        assert attachment.path is not None
        return context, attachment.path.read_text("utf-8")


def test_packages_txt_installs_the_same_packages(tmp_path: Path) -> None:
    """From an index, from a repository, in place, from a folder and an archive: the same again, with the same hash."""
    wheelhouse = tmp_path / "wheelhouse"
    make_wheel(wheelhouse, "from_wheel", "1.0")
    make_wheel(wheelhouse, "from_wheel", "2.0")
    make_sdist(wheelhouse, "from_sdist", "2.0", make_project(tmp_path / "sdist", "from_sdist", "2.0"))
    archive = make_wheel(tmp_path / "my archives", "from_archive", "3.0")
    folder = make_project(tmp_path / "folder", "from_folder", "0.4")
    repository = make_project(tmp_path / "repository", "from_git", "0.1")
    first_commit = commit_all(repository, "one")
    in_place = make_project(tmp_path / "in place", "in_place", "0.5")
    its_commit = commit_all(in_place, "one")
    (in_place / "module.py").write_text("NAME = 'edited'\n")

    first = Environment(tmp_path / "first", wheelhouse)
    from_git = f"from_git @ git+{repository.as_uri()}@main"
    first.install("from_wheel==1.0", "from_sdist", archive, folder, from_git, "-e", in_place)
    context, requirements = first.captured(tmp_path)
    assert requirements.splitlines() == [
        f"from-archive @ {archive.as_uri()}#sha256={hashlib.sha256(archive.read_bytes()).hexdigest()}",
        f"from-folder @ {folder.as_uri()}",
        f"from-git @ git+{repository.as_uri()}@{first_commit}",
        "from-sdist==2.0",
        "from-wheel==1.0",
        f"-e '{in_place}'  # in-place==0.5, commit {its_commit}, dirty",
    ]
    assert context.tags["python.packages.count"] == "6"
    assert set(context.outcomes["python"].failures) <= {"python.lockfile", "python.packages.modified"}

    # The branch has moved on: it is the commit that is installed again.
    (repository / "module.py").write_text("NAME = 'later'\n")
    commit_all(repository, "two")
    (tmp_path / "packages.txt").write_text(requirements)
    second = Environment(tmp_path / "second", wheelhouse)
    second.install("-r", tmp_path / "packages.txt")
    again, requirements_again = second.captured(tmp_path)
    assert again.tags["python.packages.sha256"] == context.tags["python.packages.sha256"]
    assert requirements_again == requirements

    second.install("--force-reinstall", "--no-deps", from_git)
    moved, _ = second.captured(tmp_path)
    assert moved.tags["python.packages.count"] == "6"
    assert moved.tags["python.packages.sha256"] != context.tags["python.packages.sha256"]
