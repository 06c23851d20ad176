"""The python provider: this interpreter, and import paths made of every kind of installed distribution."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import importlib_metadata
import pytest
from packaging.requirements import Requirement

from runcontext.program import Program
from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers._python.environments import environment
from runcontext_providers._python.packages import installed
from runcontext_providers.python import PythonProvider

if TYPE_CHECKING:
    from runcontext.record import Context

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LONG_AGO = 1_600_000_000
"""Seconds since the epoch: a folder changed then has settled."""


def distribution(
    site: Path,
    name: str,
    version: str = "1.0",
    *,
    folder: str | None = None,
    origin: object = None,
    installer: str = "pip",
) -> Path:
    """Install a fake distribution: its metadata folder, and a PEP 610 file where it has an origin."""
    info = site / (folder or f"{name.replace('-', '_')}-{version}.dist-info")
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nAbout it.\n")
    (info / "INSTALLER").write_text(f"{installer}\n")
    if origin is not None:
        (info / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
    return info


def described(folder: Path, *path: Path | str, cwd: Path | None = None, executable: str = sys.executable) -> Context:
    """Resolve the provider for a program with this import path, and write its attachment into ``folder``."""
    program = Program(
        pid=os.getpid(),
        executable=executable,
        sys_path=tuple(map(str, path)),
        cwd=None if cwd is None else str(cwd),
    )
    return resolve_provider(PythonProvider(), name="python", program=program, folder=folder)


def requirements(context: Context) -> list[str]:
    """Read the lines of packages.txt."""
    (attachment,) = context.attachments
    assert attachment.name == "packages.txt"
    assert attachment.path is not None
    return attachment.path.read_text("utf-8").splitlines()


def line_of(tmp_path: Path, origin: object, **options: str) -> str:
    """Give the requirement line of one package, ``demo`` 1.0, that has this origin."""
    distribution(tmp_path / "site", "demo", origin=origin, **options)
    (line,) = requirements(described(tmp_path, tmp_path / "site"))
    return line


class TestContract(ProviderContract):
    """What every provider keeps to, this one keeps to."""

    provider = PythonProvider
    program = Program(pid=os.getpid(), executable=sys.executable, sys_path=(os.path.dirname(os.__file__),))


def test_this_interpreter(tmp_path: Path) -> None:
    """Runtime and packages are those of the interpreter that runs, as importlib.metadata lists them."""
    context = described(tmp_path, *sys.path, cwd=tmp_path)
    assert context.tags["process.runtime.name"] == sys.implementation.name
    assert context.tags["process.runtime.version"] == platform.python_version()
    expected = {
        each.metadata["Name"].replace("_", "-").replace(".", "-").lower() for each in importlib_metadata.distributions()
    }
    lines = requirements(context)
    names = {
        line.rpartition("# ")[2].partition("==")[0] if line[:3] == "-e " else Requirement(line).name for line in lines
    }
    assert names == expected
    assert context.tags["python.packages.count"] == str(len(expected))


def test_build_of_this_interpreter(tmp_path: Path) -> None:
    """The build is told by its compiler, and by what is not as usual in it, as sysconfig knows it."""
    words = described(tmp_path, tmp_path).tags["python.build"].split(", ")
    assert words[0] == platform.python_compiler()
    assert ("debug" in words) == bool(sysconfig.get_config_var("Py_DEBUG"))
    assert ("free-threaded" in words) == bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def test_command_that_is_no_python() -> None:
    """Of any other command nothing is guessed, and the reason says how to get these facts."""
    program = Program(pid=os.getpid(), is_python=False)
    outcome = resolve_provider(PythonProvider(), name="python", program=program).outcomes["python"]
    assert outcome.status is OutcomeStatus.ABSENT
    assert outcome.reason == "the command is not known to be Python; a start_run() inside it adds these facts"


def test_hash_is_of_the_canonical_list(tmp_path: Path) -> None:
    """The hash is that of the documented list, to the byte."""
    distribution(tmp_path / "site", "Zope.Interface", "6.0", folder="zope.interface-6.0.dist-info")
    distribution(tmp_path / "site", "a-b", "1.0.post1")
    tags = described(tmp_path, tmp_path / "site").tags
    assert tags["python.packages.count"] == "2"
    expected = hashlib.sha256(b"a-b==1.0.post1\nzope-interface==6.0").hexdigest()
    assert tags["python.packages.sha256"] == expected


def test_same_packages_same_hash(tmp_path: Path) -> None:
    """Order on the path, location, spelling of names, and origins have no part in the hash; versions have."""
    one, two, three = tmp_path / "one", tmp_path / "elsewhere/two", tmp_path / "three"
    distribution(one / "a", "first-package")
    distribution(one / "b", "second", "2.1", origin={"url": "file:///srv/second", "dir_info": {"editable": True}})
    distribution(two / "x", "second", "2.1")
    distribution(two / "y", "First.Package", folder="First.Package-1.0.dist-info")
    distribution(three, "first-package")
    distribution(three, "second", "2.2")
    paths = [(one / "a", one / "b"), (two / "x", two / "y"), (three,)]
    hashes = [described(tmp_path, *path).tags["python.packages.sha256"] for path in paths]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_a_commit_has_part_in_the_hash(tmp_path: Path) -> None:
    """Of two commits the version is often the same: what was built from a repository is hashed with its commit."""
    url = {"url": "https://h/r.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
    other = {"url": "ssh://git@mirror/r", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
    later = {"url": "https://h/r.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT[::-1]}}
    for name, origin in {"one": url, "two": other, "three": later}.items():
        distribution(tmp_path / name, "demo", origin=origin)
    hashes = [described(tmp_path, tmp_path / name).tags["python.packages.sha256"] for name in ("one", "two", "three")]
    assert hashes[0] == hashes[1] == hashlib.sha256(f"demo==1.0@{COMMIT}".encode()).hexdigest()
    assert hashes[0] != hashes[2]


def test_first_on_the_path_wins(tmp_path: Path) -> None:
    """Of two versions on the path the one that is imported counts, however its name is spelled."""
    distribution(tmp_path / "user", "demo_pkg", "2.0")
    distribution(tmp_path / "system", "Demo.Pkg", "1.0", folder="Demo.Pkg-1.0.dist-info")
    context = described(tmp_path, tmp_path / "user", tmp_path / "system", tmp_path / "user")
    assert requirements(context) == ["demo-pkg==2.0"]
    assert "python.packages.broken" not in context.outcomes["python"].failures


def test_relative_entries_and_the_empty_one(tmp_path: Path) -> None:
    """An empty entry is the program's folder and a relative one is below it, not this process's."""
    distribution(tmp_path, "here")
    distribution(tmp_path / "vendor", "there")
    assert requirements(described(tmp_path, "", "vendor", cwd=tmp_path)) == ["here==1.0", "there==1.0"]


def test_deleted_folder_of_the_program(tmp_path: Path) -> None:
    """Without a working folder relative entries lead nowhere, and the rest is listed."""
    distribution(tmp_path / "site", "demo")
    assert requirements(described(tmp_path, "", "vendor", tmp_path / "site")) == ["demo==1.0"]


def test_entries_that_hold_nothing(tmp_path: Path) -> None:
    """A missing entry, a plain file, a NUL character and a broken zip file are passed over."""
    (tmp_path / "plain").write_text("no folder")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    context = described(tmp_path, tmp_path / "gone", tmp_path / "plain", tmp_path / "broken.zip", "/a\0b")
    assert context.tags["python.packages.count"] == "0"
    assert requirements(context) == []


def test_zip_on_the_path(tmp_path: Path) -> None:
    """Distributions inside a zip file count like any other."""
    distribution(tmp_path / "tree", "zipped", "3.1", origin={"url": "https://host/z.whl", "archive_info": {}})
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for file in (tmp_path / "tree").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "tree"))
    context = described(tmp_path, bundle)
    assert requirements(context) == ["zipped @ https://host/z.whl"]


def test_broken_distribution_in_a_zip(tmp_path: Path) -> None:
    """A distribution without a name inside a zip file costs itself only."""
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("good-1.0.dist-info/METADATA", "Name: good\nVersion: 1.0\n")
        archive.writestr("bad-1.0.dist-info/METADATA", "Version: 1.0\n")
    context = described(tmp_path, tmp_path / "bundle.zip")
    assert requirements(context) == ["good==1.0"]
    assert "no valid name" in context.outcomes["python"].failures["python.packages.broken"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every folder")
def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    """A folder that may not be listed is named in the reason, and costs itself only."""
    distribution(tmp_path / "site", "demo")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    context = described(tmp_path, closed, tmp_path / "site")
    assert requirements(context) == ["demo==1.0"]
    assert f"{closed}: Permission denied" in context.outcomes["python"].failures["python.packages.broken"]


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        pytest.param(
            {"url": "https://github.com/o/r.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"demo @ git+https://github.com/o/r.git@{COMMIT}",
            id="git",
        ),
        pytest.param(
            {
                "url": "ssh://git@h/r",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
                "subdirectory": "pkgs/a",
            },
            f"demo @ git+ssh://git@h/r@{COMMIT}#subdirectory=pkgs/a",
            id="git-subdirectory",
        ),
        pytest.param(
            {"url": "https://h/d.whl", "archive_info": {"hash": "sha256=aa", "hashes": {"sha256": "aa"}}},
            "demo @ https://h/d.whl#sha256=aa",
            id="archive",
        ),
        pytest.param(
            {"url": "https://h/d.whl", "archive_info": {"hash": "sha256=aa"}},
            "demo @ https://h/d.whl#sha256=aa",
            id="archive-with-the-older-hash",
        ),
        pytest.param(
            {"url": "file:///srv/my wheels/d.whl", "archive_info": {}},
            "demo @ file:///srv/my%20wheels/d.whl",
            id="local-archive",
        ),
        pytest.param({"url": "file:///srv/demo", "dir_info": {}}, "demo @ file:///srv/demo", id="local-folder"),
        pytest.param(
            {"url": "file:///srv/d\n--index-url=https://evil", "archive_info": {}},
            "demo @ file:///srv/d%0A--index-url=https://evil",
            id="line-break",
        ),
    ],
)
def test_requirement_of_an_origin(tmp_path: Path, origin: object, line: str) -> None:
    """Each kind of PEP 610 origin becomes one requirement line, which installers can read."""
    written = line_of(tmp_path, origin)
    assert written == line
    assert Requirement(written).name == "demo"


@pytest.mark.skipif(os.name == "nt", reason="writes POSIX paths")
@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("file:///srv/demo", "-e /srv/demo  # demo==1.0"),
        ("file:///srv/my%20demo", "-e '/srv/my demo'  # demo==1.0"),
    ],
)
def test_requirement_of_an_editable(tmp_path: Path, url: str, line: str) -> None:
    """An editable is ``-e`` and its folder, quoted for a requirements file, name and version beside it."""
    assert line_of(tmp_path, {"url": url, "dir_info": {"editable": True}}) == line


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cr3t-t0ken@h/r.git",
        "https://s3cr3t-t0ken@h/r.git",
        "https://h/r.git?access_token=s3cr3t-t0ken",
    ],
)
def test_credentials_are_redacted(tmp_path: Path, url: str) -> None:
    """A credential in an origin is in no file, is counted, and the line stays a requirement."""
    origin = {"url": url, "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
    distribution(tmp_path / "site", "demo", origin=origin)
    context = described(tmp_path, tmp_path / "site")
    (line,) = requirements(context)
    assert "s3cr3t" not in line
    assert Requirement(line).name == "demo"
    assert COMMIT in line
    assert context.outcomes["python"].redacted == 1


def test_build_folder_of_conda(tmp_path: Path) -> None:
    """A package that conda built names a folder of the machine that built it: nothing to install from."""
    origin = {"url": "file:///home/conda/feedstock_root/build_artifacts/demo_17/work", "dir_info": {}}
    assert line_of(tmp_path, origin, installer="conda") == "demo==1.0"


@pytest.mark.parametrize("origin", ["{", "[]", "{}", '{"url": "https://h", "vcs_info": {"vcs": "git"}}', '{"url": 7}'])
def test_broken_origin(tmp_path: Path, origin: str) -> None:
    """A package whose origin cannot be read is listed by its version, and the reason is on record."""
    distribution(tmp_path / "site", "demo", origin=origin)
    context = described(tmp_path, tmp_path / "site")
    assert requirements(context) == ["demo==1.0"]
    reason = context.outcomes["python"].failures["python.packages.broken"]
    assert "demo-1.0.dist-info: its origin cannot be read from direct_url.json" in reason


def test_broken_distributions_cost_themselves_only(tmp_path: Path) -> None:
    """What has no metadata, no name or version, or bytes that are no text is not listed but has a reason."""
    site = tmp_path / "site"
    distribution(site, "good")
    (site / "empty-1.0.dist-info").mkdir()
    (distribution(site, "x", folder="no-name.dist-info") / "METADATA").write_text("Version: 1.0\n")
    (distribution(site, "x", folder="no-version.dist-info") / "METADATA").write_text("Name: x\n")
    (distribution(site, "x", folder="un-decodable.dist-info") / "METADATA").write_bytes(b"Name: \xff\xfe\n")
    (distribution(site, "x", folder="two-lines.dist-info") / "METADATA").write_text("Name: x y\nVersion: 1\n")
    distribution(site, "good", "0.9", folder="~ood-0.9.dist-info")
    context = described(tmp_path, site)
    outcome = context.outcomes["python"]
    assert requirements(context) == ["good==1.0"]
    assert context.tags["python.packages.count"] == "1"
    assert outcome.status is OutcomeStatus.PARTIAL
    reason = outcome.failures["python.packages.broken"]
    assert "6 in doubt or not listed" in reason
    assert "empty-1.0.dist-info: no METADATA" in reason
    assert reason.endswith("and 1 more")


def test_one_name_twice_in_a_folder(tmp_path: Path) -> None:
    """Which of two versions in one folder is in use cannot be told: one counts, and the reason names it."""
    distribution(tmp_path / "site", "demo", "1.0")
    distribution(tmp_path / "site", "demo", "2.0")
    distribution(tmp_path / "site", "same", "3.0")
    distribution(tmp_path / "site", "same", "3.0", folder="same.egg-info")
    context = described(tmp_path, tmp_path / "site")
    assert requirements(context) == ["demo==1.0", "same==3.0"]
    reason = context.outcomes["python"].failures["python.packages.broken"]
    assert "1 in doubt or not listed" in reason
    assert "demo is there in two versions; 1.0 was counted" in reason


@pytest.mark.parametrize(
    ("folder", "version", "line"),
    [
        ("demo-1.0.dist-info", "1.0", "demo==1.0"),
        (
            "demo-1!2.0rc1.post2.dev3+cu118.1.dist-info",
            "1!2.0rc1.post2.dev3+cu118.1",
            "demo==1!2.0rc1.post2.dev3+cu118.1",
        ),
        ("demo-1.0_cu118.dist-info", "1.0+cu118", "demo==1.0+cu118"),
        ("demo-2024.08.dist-info", "2024.08", "demo==2024.08"),
        ("demo.dist-info", "1.0-beta.2", "demo==1.0-beta.2"),
        ("demo-2004d.dist-info", "2004d", "demo===2004d"),
        ("demo-1.0-py3.11.egg-info", "1.0", "demo==1.0"),
        ("demo.egg-info", "1.0", "demo==1.0"),
    ],
)
def test_names_of_metadata_folders(tmp_path: Path, folder: str, version: str, line: str) -> None:
    """Name and version come from the folder's name where that leaves no doubt, else from the metadata."""
    distribution(tmp_path / "site", "demo", version, folder=folder)
    assert requirements(described(tmp_path, tmp_path / "site")) == [line]
    assert Requirement(line).name == "demo"


def test_egg_info_that_is_a_file(tmp_path: Path) -> None:
    """What distutils installed has its metadata in one file."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/old_one-1.0.egg-info").write_text("Name: old-one\nVersion: 1.0\n")
    (tmp_path / "site/older.egg-info").write_text("Name: older\nVersion: 0.1\n")
    assert requirements(described(tmp_path, tmp_path / "site")) == ["old-one==1.0", "older==0.1"]


@pytest.mark.skipif(os.name == "nt", reason="writes POSIX paths")
@pytest.mark.parametrize("layout", ["flat", "src"])
def test_project_in_development(tmp_path: Path, layout: str) -> None:
    """An egg-info in the sources of a project means that these sources are what is imported."""
    project = tmp_path / "project"
    entry = project if layout == "flat" else project / "src"
    distribution(entry, "demo", folder="demo.egg-info")
    (project / "pyproject.toml").write_text("")
    assert requirements(described(tmp_path, entry)) == [f"-e {project}  # demo==1.0"]


def test_second_capture_in_the_process(tmp_path: Path) -> None:
    """What has not changed is not read again; what was installed or removed since is seen at once."""
    site, other = tmp_path / "site", tmp_path / "other"
    distribution(site, "demo")
    distribution(other, "more")
    os.utime(site, (LONG_AGO, LONG_AGO))
    os.utime(other, (LONG_AGO, LONG_AGO))
    path = [str(site), str(other)]
    before = installed(path)
    # The folder's time stays: only something that reads it again could notice.
    (site / "demo-1.0.dist-info/METADATA").unlink()
    assert installed(path) == before
    distribution(other, "new")
    assert [each.name for each in installed(path).packages if each.name == "new"] == ["new"]
    (site / "demo-1.0.dist-info/INSTALLER").unlink()
    (site / "demo-1.0.dist-info").rmdir()
    assert "demo" not in {each.name for each in installed(path).packages}


def test_folder_that_changes_within_its_clock(tmp_path: Path) -> None:
    """Of a folder changed just now nothing is remembered: it may change again and keep its time."""
    distribution(tmp_path, "one")
    now = time.time_ns()
    os.utime(tmp_path, ns=(now, now))
    assert len(installed([str(tmp_path)]).packages) == 1
    distribution(tmp_path, "two")
    os.utime(tmp_path, ns=(now, now))
    assert len(installed([str(tmp_path)]).packages) == 2


def test_modules_beside_the_script_are_not_imported(tmp_path: Path) -> None:
    """A user's own json.py on the import path changes nothing."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    distribution(tmp_path, "demo", origin={"url": "https://h/d.whl", "archive_info": {}})
    assert requirements(described(tmp_path, tmp_path)) == ["demo @ https://h/d.whl"]


@pytest.mark.parametrize(
    ("name", "config", "kind"),
    [
        ("env", "home = /usr/bin\ninclude-system-site-packages = false\n", "venv"),
        ("env", "home = /usr/bin\nuv = 0.9.1\nversion_info = 3.12.1\n", "uv"),
        ("env", "home = /usr/bin\nvirtualenv = 20.26.2\n", "virtualenv"),
        ("virtualenvs/demo-Xy12", "home = /usr/bin\nvirtualenv = 20.26.2\n", "virtualenv"),
        ("pypoetry/virtualenvs/demo-Xy12-py3.11", "home = /usr/bin\nvirtualenv = 20.26\n", "poetry"),
    ],
)
def test_virtual_environments(tmp_path: Path, name: str, config: str, kind: str) -> None:
    """The kind is read from what the tool that made the environment left in it."""
    folder = tmp_path / name
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(config)
    context = described(tmp_path, tmp_path, executable=str(folder / "bin/python"))
    assert context.tags["python.environment"] == f"{kind} {folder}"


def test_virtual_environment_of_pipenv(tmp_path: Path) -> None:
    """Pipenv notes in the environment which project it is for."""
    folder = tmp_path / "virtualenvs/demo-Xy12"
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nvirtualenv = 20.26.2\n")
    (folder / ".project").write_text("/home/ada/demo")
    context = described(tmp_path, tmp_path, executable=str(folder / "bin/python"))
    assert context.tags["python.environment"] == f"pipenv {folder}"


@pytest.mark.parametrize(("file", "kind"), [("history", "conda"), ("pixi", "pixi")])
def test_conda_environments(tmp_path: Path, file: str, kind: str) -> None:
    """A conda-meta folder is conda's, unless pixi left its own file there."""
    (tmp_path / "env/conda-meta").mkdir(parents=True)
    (tmp_path / "env/conda-meta" / file).write_text("{}")
    context = described(tmp_path, tmp_path, executable=str(tmp_path / "env/bin/python"))
    assert context.tags["python.environment"] == f"{kind} {tmp_path / 'env'}"


@pytest.mark.parametrize("executable", ["", "/nowhere/bin/python"])
def test_interpreter_in_no_environment(tmp_path: Path, executable: str) -> None:
    """Outside every environment it is the system's Python, or one of pyenv's, under its own prefix."""
    prefix = tmp_path / "root/versions/3.12.1"
    prefix.mkdir(parents=True)
    assert environment(executable, str(prefix)) == f"system {prefix}"
    (tmp_path / "root/shims").mkdir()
    assert environment(executable, str(prefix)) == f"pyenv {prefix}"


def test_real_virtual_environment(tmp_path: Path) -> None:
    """An environment that the venv module makes is known as one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True, timeout=120)
    executable = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    context = described(tmp_path, tmp_path, executable=str(executable))
    assert context.tags["python.environment"] == f"venv {tmp_path / 'env'}"


def test_three_hundred_packages_are_listed_from_their_folders(tmp_path: Path) -> None:
    """Where the folder's name tells all, no metadata is opened: unreadable content changes nothing."""
    for number in range(300):
        info = distribution(tmp_path / "site", f"package-{number}", f"1.{number}")
        (info / "METADATA").write_bytes(b"\xff")
    context = described(tmp_path, tmp_path / "site")
    assert context.tags["python.packages.count"] == "300"
    assert "python.packages.broken" not in context.outcomes["python"].failures
