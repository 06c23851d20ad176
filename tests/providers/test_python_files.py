"""The python provider's facts about files: lock files, what was edited after installing, editables' repositories."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runcontext.program import Program
from runcontext.testing import resolve_provider
from runcontext_providers._python.imported_packages import imported_packages
from runcontext_providers._python.packages import installed
from runcontext_providers._python.record_check import compared
from runcontext_providers.python import PythonProvider

if TYPE_CHECKING:
    from runcontext.record import Context

LONG_AGO = 1_600_000_000
"""Seconds since the epoch."""


def install(site: Path, name: str, files: dict[str, str], *, installer: str = "pip", notes: str = "") -> Path:
    """Install a distribution as pip does: its files, and RECORD with the hash and size of each, written last."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = []
    for path, text in files.items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (LONG_AGO, LONG_AGO))
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(text)}\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "INSTALLER").write_text(f"{installer}\n")
    (info / "RECORD").write_text(f"{''.join(lines)}{notes}{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    os.utime(info / "RECORD", (LONG_AGO, LONG_AGO))
    return info


def described(
    folder: Path,
    *path: Path,
    method: str = "tags",
    comparison_seconds: float = 60,
    **fields: str | tuple[str, ...] | None,
) -> Context:
    """Resolve the provider for a program with this import path and these fields, attachments below ``folder``."""
    values = {"executable": sys.executable, "sys_path": tuple(map(str, path)), **fields}
    # Another process than this one, whose own imports are not meant.
    program = Program(pid=os.getppid(), **values)  # type: ignore[arg-type]
    provider = PythonProvider(comparison_seconds=comparison_seconds)
    return resolve_provider(provider, name="python", program=program, folder=folder, method=method)


def requirements(context: Context) -> list[str]:
    """Read the lines of packages.txt."""
    (attachment,) = context.attachments
    assert attachment.path is not None
    return attachment.path.read_text("utf-8").splitlines()


# --- lock files ------------------------------------------------------------------------------------------------------


def hash_of(path: Path) -> str:
    """Give the name and the SHA-256 of a file as the tag has it."""
    return f"{path.name}={hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    "name",
    [
        "uv.lock",
        "poetry.lock",
        "pdm.lock",
        "pixi.lock",
        "Pipfile.lock",
        "conda-lock.yml",
        "pylock.toml",
        "pylock.gpu.toml",
        "requirements.txt",
        "requirements-dev.txt",
    ],
)
def test_each_kind_of_lock_file(tmp_path: Path, name: str) -> None:
    """A lock file is known by its name, told with its hash, and found from the main file's folder upwards."""
    (tmp_path / "project/src/deep").mkdir(parents=True)
    (tmp_path / "project/.git").mkdir()
    (tmp_path / "project" / name).write_text(name)
    (tmp_path / "project/requirements.md").write_text("not one")
    main_file = str(tmp_path / "project/src/deep/train.py")
    tags = described(tmp_path, main_file=main_file, cwd="/").tags
    assert tags["python.lockfile"] == hash_of(tmp_path / "project" / name)


def test_several_lock_files(tmp_path: Path) -> None:
    """All up to the project's root are told, sorted by name; of one name the nearer counts; what is above does not."""
    inner = tmp_path / "outer/project/service"
    inner.mkdir(parents=True)
    (tmp_path / "outer/project/.git").mkdir()
    for path in ("uv.lock", "project/uv.lock", "project/requirements.txt", "project/service/requirements.txt"):
        (tmp_path / "outer" / path).write_text(path)
    tags = described(tmp_path, main_file=str(inner / "train.py")).tags
    expected = [inner / "requirements.txt", tmp_path / "outer/project/uv.lock"]
    assert tags["python.lockfile"] == " ".join(map(hash_of, expected))


def test_lock_file_of_the_working_directory(tmp_path: Path) -> None:
    """Without a main file, or with one that is an installed package's, the working directory's project counts."""
    site = tmp_path / "env/lib/site-packages/demo"
    site.mkdir(parents=True)
    (site / "requirements.txt").write_text("the package's own")
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pipfile.lock").write_text("{}")
    for main_file in (None, str(site / "__main__.py")):
        tags = described(tmp_path, main_file=main_file, cwd=str(project)).tags
        assert tags["python.lockfile"] == hash_of(project / "Pipfile.lock")


def test_folder_that_is_no_project(tmp_path: Path) -> None:
    """Where nothing marks a project's root, the folders above are somebody else's; the reason says what was sought."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "requirements.txt").write_text("of something else")
    context = described(tmp_path, main_file=str(tmp_path / "scratch/train.py"), cwd=str(tmp_path / "scratch"))
    assert "python.lockfile" not in context.tags
    reason = context.outcomes["python"].failures["python.lockfile"]
    assert reason.startswith("absent: no lock file and no requirements*.txt from the main file's folder up")


# --- edited after installing -----------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Give a folder with two installed distributions: ``demo`` of two modules, and ``other`` of one."""
    folder = tmp_path / "site"
    install(folder, "demo", {"demo/__init__.py": "ONE = 1\n", "demo/more.py": "TWO = 2\n", "demo/data.txt": "text\n"})
    install(folder, "other", {"other.py": "THREE = 3\n"})
    return folder


def modified(*path: Path) -> dict[str, tuple[str, ...]]:
    """Compare what is installed on a path with its RECORD."""
    return dict(compared(installed(map(str, path)).packages, seconds=60).modified)


def test_untouched_packages(site: Path, tmp_path: Path) -> None:
    """What is as it was installed is not marked, and instead of a tag there is the reason."""
    context = described(tmp_path, site)
    assert "python.packages.modified" not in context.tags
    reason = context.outcomes["python"].failures["python.packages.modified"]
    assert reason == "absent: all 2 packages are as they were installed, as far as their RECORD tells"
    assert requirements(context) == ["demo==1.0", "other==1.0"]


def test_edited_packages(site: Path, tmp_path: Path) -> None:
    """What has another size or another content is named in the tag, and its line says which file; the line stands."""
    (site / "demo/__init__.py").write_text("ONE = 11\n")
    (site / "demo/more.py").write_text("TWO = 3\n")
    (site / "other.py").write_text("THREE = 4\n")
    context = described(tmp_path, site)
    assert context.tags["python.packages.modified"] == "demo,other"
    assert requirements(context) == [
        "demo==1.0  # modified: demo/__init__.py and 1 more",
        "other==1.0  # modified: other.py",
    ]


def test_edited_file_with_an_odd_name(tmp_path: Path) -> None:
    """A name that holds what ends a line, or is no text, stays in the comment: it begins no requirement."""
    name = "a\x0bevil==6.6\x0b\udcff.py"
    info = tmp_path / "demo-1.0.dist-info"
    install(tmp_path, "demo", {})
    (info / "RECORD").write_bytes(os.fsencode(f"{name},sha256=AA,7\n"))
    (tmp_path / name).write_text("")
    assert requirements(described(tmp_path, tmp_path)) == ["demo==1.0  # modified: a?evil==6.6??.py"]


def test_hash_is_the_same_for_edited_packages(site: Path, tmp_path: Path) -> None:
    """The list is still the same list: what was edited has a tag of its own."""
    before = described(tmp_path, site).tags["python.packages.sha256"]
    (site / "other.py").write_text("THREE = 33\n")
    assert described(tmp_path, site).tags["python.packages.sha256"] == before


def test_content_is_read_only_where_it_is_newer(site: Path) -> None:
    """A file of the noted size is read only where it was written after RECORD: all would take seconds."""
    (site / "other.py").write_text("THREE = 4\n")
    os.utime(site / "other.py", (LONG_AGO - 1, LONG_AGO - 1))
    (site / "demo/more.py").touch()
    assert modified(site) == {}


def test_files_that_say_nothing(site: Path) -> None:
    """A deleted file, data, and what RECORD says nothing about are no sign of an edit."""
    (site / "demo/more.py").unlink()
    (site / "demo/data.txt").write_text("another text\n")
    (site / "demo/new.py").write_text("mine\n")
    assert modified(site) == {}


def test_compiled_files_are_told_by_their_size(tmp_path: Path) -> None:
    """An extension module that was built again is as good as always of another size."""
    install(tmp_path, "fast", {"fast.abi3.so": "code\n"})
    (tmp_path / "fast.abi3.so").write_text("other code\n")
    assert modified(tmp_path) == {"fast": ("fast.abi3.so",)}


def test_packages_that_conda_installed(tmp_path: Path) -> None:
    """Conda itself changes files after RECORD was made: they say nothing."""
    install(tmp_path, "demo", {"demo.py": "PREFIX = '/build'\n"}, installer="conda")
    (tmp_path / "demo.py").write_text("PREFIX = '/home/ada/miniconda3'\n")
    assert modified(tmp_path) == {}


@pytest.mark.parametrize(
    "line",
    [
        '"with, comma.py",sha256=AA,5\n',
        "demo.py,sha256=AA,\n",
        "demo.py,sha256=AA,five\n",
        "demo.py,sha256=AA",
        ".py,sha256=AA,10\n",
        "de\0mo.py,sha256=AA,5\n",
        "gone/away.py,sha256=AA,5\n",
        "demo.py,sha999=AA,10\n",
        "folder.py,sha256=AA,5\n",
        "fifo.py,sha256=AA,0\n",
    ],
)
def test_odd_lines_of_a_record(tmp_path: Path, line: str) -> None:
    """A line that cannot be compared, or that names what is no plain file, is passed over, and nothing hangs."""
    install(tmp_path, "odd", {}, notes=line)
    (tmp_path / "demo.py").write_text("ten bytes\n")
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "fifo.py")
    assert modified(tmp_path) == {}


def test_comparison_that_takes_too_long(site: Path, tmp_path: Path) -> None:
    """When the time is up there is no answer, and the reason says how far it came and what was found until then."""
    assert modified(site) == {}
    install(site, "zebra", {"zebra.py": "FOUR = 4\n"})
    (site / "zebra.py").write_text("FOUR = 44\n")
    context = described(tmp_path, site, comparison_seconds=-1)
    assert "python.packages.modified" not in context.tags
    assert context.outcomes["python"].failures["python.packages.modified"] == (
        "absent: only 2 of 3 packages could be compared with their RECORD within -1 s; modified among them: none"
    )


def test_second_comparison_in_the_process(site: Path) -> None:
    """For a minute an answer is used again: a program of many runs does not look at every file for each."""
    assert modified(site) == {}
    (site / "other.py").write_text("THREE = 33\n")
    assert modified(site) == {}


# --- editables and their repositories --------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, as somebody, with no settings of this machine's."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    answer = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


def editable(site: Path, name: str, project: Path) -> None:
    """Install a project in its own folder: PEP 660, with a path file."""
    info = install(site, name, {f"_{name}.pth": f"{project}\n"})
    (info / "direct_url.json").write_text(f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}')


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@needs_git
def test_commit_of_an_editable(tmp_path: Path) -> None:
    """An editable's line says the commit of its repository, and whether a tracked file was changed since."""
    project = tmp_path / "repository/packages/demo"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]\n")
    editable(tmp_path / "site", "demo", project)
    git(tmp_path / "repository", "init", "--quiet")
    git(tmp_path / "repository", "add", ".")
    assert requirements(described(tmp_path, tmp_path / "site")) == [f"-e {project}  # demo==1.0, no commit yet"]
    git(tmp_path / "repository", "commit", "--quiet", "-m", "one")
    commit = git(tmp_path / "repository", "rev-parse", "HEAD")
    assert requirements(described(tmp_path, tmp_path / "site")) == [f"-e {project}  # demo==1.0, commit {commit}"]
    (project / "untracked.py").write_text("")
    (tmp_path / "repository/notes").write_text("untracked too")
    assert requirements(described(tmp_path, tmp_path / "site")) == [f"-e {project}  # demo==1.0, commit {commit}"]
    (project / "pyproject.toml").write_text("[project]\nname = 'demo'\n")
    line = f"-e {project}  # demo==1.0, commit {commit}, dirty"
    assert requirements(described(tmp_path, tmp_path / "site")) == [line]


@needs_git
def test_editables_that_no_repository_tracks(tmp_path: Path) -> None:
    """A project outside every repository has no commit, nor has one that the repository around it does not track."""
    repository = tmp_path / "dotfiles"
    (repository / "demo").mkdir(parents=True)
    (repository / "demo/setup.py").write_text("")
    (repository / "bashrc").write_text("")
    (tmp_path / "alone").mkdir()
    git(repository, "init", "--quiet")
    git(repository, "add", "bashrc")
    git(repository, "commit", "--quiet", "-m", "one")
    editable(tmp_path / "site", "demo", repository / "demo")
    editable(tmp_path / "site", "lone", tmp_path / "alone")
    assert requirements(described(tmp_path, tmp_path / "site")) == [
        f"-e {repository / 'demo'}  # demo==1.0",
        f"-e {tmp_path / 'alone'}  # lone==1.0",
    ]


@needs_git
def test_repository_that_cannot_be_read(tmp_path: Path) -> None:
    """Where git has no answer, the line says so with git's reason, and stays one line."""
    project = tmp_path / "demo"
    (project / ".git").mkdir(parents=True)
    (project / "setup.py").write_text("")
    editable(tmp_path / "site", "demo", project)
    (line,) = requirements(described(tmp_path, tmp_path / "site"))
    assert line.startswith(f"-e {project}  # demo==1.0, commit unknown: git ")


# --- at the end of a run ---------------------------------------------------------------------------------------------


def names_of(site: Path, *modules: str) -> list[str]:
    """Give the names of the distributions that these modules belong to."""
    return [package.name for package in imported_packages(modules, installed([str(site)]).packages)]


def test_what_was_installed_in_between(site: Path, tmp_path: Path) -> None:
    """Count and hash are told again at the end: a package that was installed during the run changes both."""
    before = described(tmp_path, site).tags
    install(site, "late", {"late.py": ""})
    after = described(tmp_path, site, method="tags_at_end").tags
    assert (before["python.packages.count"], after["python.packages.count"]) == ("2", "3")
    assert before["python.packages.sha256"] != after["python.packages.sha256"]


def test_imported_packages(site: Path, tmp_path: Path) -> None:
    """At the end the distributions are told whose modules the program has imported, each with its version."""
    tags = described(tmp_path, site, method="tags_at_end", imported=("sys", "json", "demo", "mine", "other")).tags
    assert tags["python.packages.imported"] == "demo==1.0,other==1.0"


def test_nothing_imported(site: Path, tmp_path: Path) -> None:
    """A program of the standard library and its own modules has no such fact, and the reason says so."""
    context = described(tmp_path, site, method="tags_at_end", imported=("sys", "mine"))
    assert "python.packages.imported" not in context.tags
    reason = context.outcomes["python"].failures["python.packages.imported"]
    assert reason == "absent: the program has imported nothing of an installed distribution"


def test_modules_called_otherwise_than_their_distribution(tmp_path: Path) -> None:
    """RECORD tells which modules a distribution has: a package, a file, an extension module."""
    install(tmp_path, "scikit-demo", {"skdemo/__init__.py": "", "_skdemo.cpython-311-x86_64-linux-gnu.so": ""})
    install(tmp_path, "pydemo", {"yamldemo.py": "", "../../../bin/demo": "", "share/doc.txt": ""})
    assert names_of(tmp_path, "skdemo") == ["scikit-demo"]
    assert names_of(tmp_path, "_skdemo") == ["scikit-demo"]
    assert names_of(tmp_path, "yamldemo") == ["pydemo"]
    assert names_of(tmp_path, "pydemo", "scikit_demo", "bin", "doc") == []


def test_namespace_of_several_distributions(tmp_path: Path) -> None:
    """Of a namespace all distributions are told that have a part in it: which part was imported is not known."""
    install(tmp_path, "space-one", {"space/one.py": ""})
    install(tmp_path, "space-two", {"space/two.py": ""})
    assert names_of(tmp_path, "space") == ["space-one", "space-two"]


def test_modules_of_the_standard_library(tmp_path: Path) -> None:
    """An installed backport of a standard module is not what was imported; nor is what setuptools has all import."""
    install(tmp_path, "dataclasses", {"dataclasses.py": ""})
    install(tmp_path, "tools", {"_distutils_hack/__init__.py": "", "tools/__init__.py": ""})
    assert names_of(tmp_path, "dataclasses", "_distutils_hack") == []
    assert names_of(tmp_path, "tools") == ["tools"]


def test_modules_of_an_editable(tmp_path: Path) -> None:
    """An editable's modules are those in the folder that its path file adds."""
    project = tmp_path / "project/src"
    (project / "inplace").mkdir(parents=True)
    (project / "single.py").write_text("")
    editable(tmp_path / "site", "demo", project)
    assert names_of(tmp_path / "site", "inplace") == ["demo"]
    assert names_of(tmp_path / "site", "single") == ["demo"]
    assert names_of(tmp_path / "site", "_demo", "other") == []


@pytest.mark.parametrize("notes", ["top_level.txt", "nothing"])
def test_distributions_without_a_record(tmp_path: Path, notes: str) -> None:
    """Without RECORD, as Linux distributions install, top_level.txt tells the modules, and else the name does."""
    info = tmp_path / "old_demo-1.0.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Name: old-demo\nVersion: 1.0\n")
    if notes == "top_level.txt":
        (info / "top_level.txt").write_text("olddemo\n_olddemo\n")
    module = "olddemo" if notes == "top_level.txt" else "old_demo"
    assert names_of(tmp_path, module) == ["old-demo"]
    assert names_of(tmp_path, "something") == []


def test_a_run_tells_what_it_imported(site: Path, tmp_path: Path) -> None:
    """A real program's run says at its end which distribution it imported, and not the one that it did not."""
    program = """
import runcontext
with runcontext.start_run() as run:
    import other
print(run.tags["python.packages.imported"])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(os.path.isabs, sys.path)])}
    asked = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    names = {each.partition("==")[0] for each in asked.stdout.strip().split(",")}
    assert {"other", "runcontext"} <= names
    assert "demo" not in names
