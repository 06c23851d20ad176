"""Secrets planted wherever a program has them, and no file of its run that has one."""

from __future__ import annotations

import base64
import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from runcontext.redaction import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integration.conftest import InstallPlugin, RunScript

_random = random.Random(3)


def body(length: int = 36, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Give what no other secret here has in common with this one."""
    return "".join(_random.choices(alphabet, k=length))


class Secrets(NamedTuple):
    """What must not be found, each named after where it is planted: the part of it that nothing else has."""

    option: str = body()
    option_of_two_words: str = body()
    option_without_name: str = body()
    option_in_json: str = body()
    option_to_python: str = body()
    address_in_argument: str = body()
    variable: str = body()
    variable_with_address: str = body()
    variable_asked_for: str = body()
    variable_asked_for_with_address: str = body()
    variable_of_ci: str = body()
    variable_of_launcher: str = body()
    remote: str = body()
    remote_like_scp: str = body()
    branch: str = body()
    text: str = body()
    key: str = body(64)
    yaml: str = body()
    latin_1: str = body()
    utf_16: str = body()
    utf_16_big_endian: str = body()
    utf_16_without_mark: str = body()
    utf_16_big_endian_without_mark: str = body()
    binary: str = body()
    binary_utf_16: str = body()
    symbolic_link: str = body()
    untracked: str = body()
    untracked_utf_16: str = body()
    untracked_env: str = body()
    untracked_binary: str = body()
    untracked_file_name: str = body()
    package: str = body()
    package_query: str = body()
    plugin_tag: str = body()
    plugin_fact: str = body()
    plugin_failure: str = body()
    plugin_reason: str = body()
    plugin_long_message: str = body()
    exception: str = body()
    working_directory: str = body()
    internal_host: str = "internal-" + body(20, string.ascii_lowercase)


SECRETS = Secrets()

PLUGIN = f"""
from runcontext import NotInContext

class Tags:
    def in_context(self):
        return True

    def tags(self):
        def fails():
            raise RuntimeError("no answer from https://u:{SECRETS.plugin_fact}@host")
        def absent():
            raise NotInContext("token=" + "{SECRETS.plugin_reason}" + " was refused")
        def fails_at_length():
            raise RuntimeError("x" * 1_980 + " ghp_{SECRETS.plugin_long_message} " + "x" * 9_000)
        address = "https://u:{SECRETS.plugin_tag}@host/x"
        failing = {{"plugin.fails": fails, "plugin.fails.at.length": fails_at_length, "plugin.absent": absent}}
        return {{"plugin.address": address, **failing}}

class Failure:
    def in_context(self):
        return True

    def tags(self):
        raise RuntimeError("HF_TOKEN={SECRETS.plugin_failure} on {SECRETS.internal_host}")
"""

SCRIPT = f"""
import runcontext

try:
    with runcontext.start_run() as run:
        run.tags
        raise ValueError("401 from https://u:{SECRETS.exception}@host/login at {SECRETS.internal_host}")
except ValueError:
    pass
"""

ARGUMENTS = [
    f"--api-key={SECRETS.option}",
    "--hub-token",
    SECRETS.option_of_two_words,
    f"ghp_{SECRETS.option_without_name}",
    json.dumps({"password": SECRETS.option_in_json, "lr": 3}),
    "--data",
    f"https://u:{SECRETS.address_in_argument}@host/d",
    f"--server={SECRETS.internal_host}",
    "--lr=3",
]

VARIABLES = {
    "HF_TOKEN": f"hf_{SECRETS.variable}",
    "NCCL_NET_PLUGIN": f"https://u:{SECRETS.variable_with_address}@host",
    "RUNCONTEXT_ENV": "MY_*,DB_PASSWORD",
    "DB_PASSWORD": SECRETS.variable_asked_for,
    "MY_DATABASE": f"postgresql://anna:{SECRETS.variable_asked_for_with_address}@host/db",
    "MY_SERVER": SECRETS.internal_host,
    "GITLAB_CI": "true",
    "CI_SERVER": "yes",
    "CI_PIPELINE_ID": "7",
    "CI_JOB_TOKEN": SECRETS.variable_of_ci,
    "CI_REPOSITORY_URL": f"https://gitlab-ci-token:{SECRETS.variable_of_ci}@host/x.git",
    "CI_PIPELINE_URL": f"https://u:{SECRETS.variable_of_ci}@host/pipelines/7",
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": f"train --api-key={SECRETS.variable_of_launcher}",
    "SLURM_JWT": f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{SECRETS.variable_of_launcher}",
    "RAY_ADDRESS": f"ray://u:{SECRETS.variable_of_launcher}@host:10001",
    "JUPYTER_TOKEN": SECRETS.variable_of_launcher,
    "RUNCONTEXT_REDACT": "internal-[a-z]+",
}

TRACKED = [
    "config.py",
    "key.txt",
    "deploy.yaml",
    "latin.txt",
    "le.txt",
    "be.txt",
    "le-raw.txt",
    "be-raw.txt",
    "data.bin",
]


def git(folder: Path, environment: Mapping[str, str], *words: str, content: bytes | None = None) -> bytes:
    """Run git, with nobody's configuration."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=environment, input=content, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plant_in_repository(project: Path, environment: Mapping[str, str]) -> None:
    """Change tracked files of every kind, add untracked ones, and name a branch and remotes with credentials."""
    binary = bytes(range(256)) * 8
    for name in TRACKED:
        (project / name).write_bytes(binary if name.endswith(".bin") else b"first = 1\n")
    (project / "data-wide.bin").write_bytes(binary)
    git(project, environment, "add", ".")
    git(project, environment, "commit", "-q", "-m", "files")
    git(project, environment, "checkout", "-q", "-b", f"wip/ghp_{SECRETS.branch}")
    git(project, environment, "remote", "add", "origin", f"https://u:{SECRETS.remote}@host/o/r.git")
    git(project, environment, "remote", "add", "mirror", f"git:{SECRETS.remote_like_scp}@host:o/r.git")
    lines = {
        "config.py": f'API_KEY = "{SECRETS.text}"\nserver = "{SECRETS.internal_host}"\nlr = 3\n'.encode(),
        "key.txt": f"-----BEGIN PRIVATE KEY-----\n{SECRETS.key}\n-----END PRIVATE KEY-----\n".encode(),
        "deploy.yaml": f"env:\n  - name: DB_PASSWORD\n    value: {SECRETS.yaml}\n".encode(),
        "latin.txt": f"Schlüssel für Müller\npassword: {SECRETS.latin_1}\n".encode("latin-1"),
        "le.txt": b"\xff\xfe" + f"password={SECRETS.utf_16}\n".encode("utf-16-le"),
        "be.txt": b"\xfe\xff" + f"password={SECRETS.utf_16_big_endian}\n".encode("utf-16-be"),
        "le-raw.txt": f"password={SECRETS.utf_16_without_mark}\n".encode("utf-16-le"),
        "be-raw.txt": f"password={SECRETS.utf_16_big_endian_without_mark}\n".encode("utf-16-be"),
        "data.bin": binary + f"token=ghp_{SECRETS.binary}".encode() + binary,
        "data-wide.bin": binary + f"token=ghp_{SECRETS.binary_utf_16}".encode("utf-16-le") + binary,
    }
    untracked = {
        "notes.md": f"Authorization: Bearer {SECRETS.untracked}\nsee {SECRETS.internal_host}\n".encode(),
        "wide.txt": b"\xff\xfe" + f"password={SECRETS.untracked_utf_16}\n".encode("utf-16-le"),
        ".env": f"NAME={SECRETS.untracked_env}\n".encode(),
        "blob.dat": binary + f"ghp_{SECRETS.untracked_binary}".encode(),
        f"ghp_{SECRETS.untracked_file_name}.txt": b"harmless\n",
    }
    for name, content in {**lines, **untracked}.items():
        (project / name).write_bytes(content)
    os.symlink(f"https://u:{SECRETS.symbolic_link}@host/x", project / "link")


def plant_packages(site: Path) -> None:
    """Install two distributions from addresses with credentials, as PEP 610 records them."""
    origins = {
        "alpha": {"url": f"https://u:{SECRETS.package}@host/a.git", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}},
        "beta": {"url": f"https://host/beta.zip?access_token={SECRETS.package_query}", "archive_info": {}},
    }
    for name, origin in origins.items():
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file below a folder."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield str(file.relative_to(folder)), file.read_bytes()


def spellings(part: str) -> Iterator[bytes]:
    """Give how a part of a secret may be written: UTF-8, UTF-16, and base64 wherever its bytes begin."""
    yield part.encode()
    yield part.encode("utf-16-le")
    yield part.encode("utf-16-be")
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + part.encode())
        yield encoded[4 if offset else 0 :].rstrip(b"=")[:-1]


def leaks(name: str, content: bytes) -> list[str]:
    """Say which secrets a file has a part of: any twelve characters in a row."""
    found = []
    for place, secret in SECRETS._asdict().items():
        parts = {secret[at : at + 12] for at in range(len(secret) - 11)}
        if any(spelling in content for part in parts for spelling in spellings(part)):
            found.append(f"{place} in {name}")
    return found


def all_leaks(folder: Path) -> list[str]:
    """Say which secrets are in any file of a folder."""
    return [
        leak for name, content in contents(folder) for leak in (*leaks(name, content), *leaks("a name", name.encode()))
    ]


@pytest.fixture
def planted(project: Path, environment: dict[str, str], install_plugin: InstallPlugin, tmp_path: Path) -> Path:
    """Give a project in which each secret stands where it belongs, one folder below that has one in its name."""
    install_plugin("planted-tags", PLUGIN, target="Tags", module="planted")
    install_plugin("planted-failure", PLUGIN, target="Failure", module="planted")
    plant_packages(tmp_path / "site")
    plant_in_repository(project, environment)
    folder = project / f"ghp_{SECRETS.working_directory}"
    folder.mkdir()
    return folder


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """What the other tests rely on: a secret in any spelling, and in any kind of file, is found."""
    files = {
        "text": f"a {SECRETS.option} b".encode(),
        "wide": SECRETS.utf_16.encode("utf-16-le"),
        "cut": SECRETS.untracked[5:20].encode(),
        "base64": base64.b64encode(b"x" + SECRETS.binary.encode() + b"y"),
        SECRETS.untracked_file_name: b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert sorted(leak.partition(" ")[0] for leak in all_leaks(tmp_path)) == sorted(
        ["option", "utf_16", "untracked", "binary", "untracked_file_name"]
    )


@pytest.mark.parametrize("companion", ["1", "0"])
def test_no_secret_reaches_a_file_of_the_run(
    planted: Path, run_script: RunScript, environment: dict[str, str], tmp_path: Path, companion: str
) -> None:
    """Neither arguments nor variables, repository, packages, plugins nor the end of the run bring one there."""
    finished = run_script(
        SCRIPT,
        args=ARGUMENTS,
        env={**VARIABLES, "RUNCONTEXT_COMPANION": companion},
        cwd=planted,
        options=("-X", f"note=ghp_{SECRETS.option_to_python}"),
    )
    store = finished.project / ".runcontext"
    found = [*all_leaks(store), *all_leaks(tmp_path / "cache")]
    found += [*leaks("stderr", finished.stderr.encode()), *leaks("stdout", finished.stdout.encode())]
    found += applied(store, finished.project, environment, tmp_path / "clone")
    assert found == []
    # What stood around them is there: nothing was lost but the secrets.
    for name in ("source", "git", "python", "environment", "ci", "planted-tags"):
        of_files = [each.redacted for each in finished.context.attachments if each.provider == name]
        assert finished.context.outcomes[name].redacted or any(of_files), name
    tags = finished.context.tags
    assert tags["plugin.address"] == f"https://{MARK}@host/x"
    assert MARK in tags["process.command_args"]
    assert "--lr=3" in tags["process.command_args"]
    assert tags["mlflow.source.git.repoURL"] == f"https://{MARK}@host/o/r.git"
    assert finished.run.tags["end.reason"] == f"ValueError: 401 from https://{MARK}@host/login at {MARK}"


def applied(store: Path, project: Path, environment: Mapping[str, str], clone: Path) -> list[str]:
    """Say which secrets are in what the run's patch makes of a clean checkout: binary changes are packed in it."""
    (patch,) = store.rglob("git.patch")
    git(project, environment, "clone", "-q", "--no-local", str(project), str(clone))
    git(clone, environment, "apply", str(patch))
    changed = git(clone, environment, "diff", "--name-only", "-z").decode().split("\0")
    assert "config.py" in changed
    return [leak for name in changed if name for leak in leaks(name, (clone / name).read_bytes())]


@pytest.mark.parametrize("command", [["capture"], ["capture", "--json"], ["run", "--", sys.executable, "-c", "pass"]])
def test_no_secret_is_printed(
    planted: Path, project: Path, environment: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    """The command prints what it captured, and records what it starts, without any."""
    finished = subprocess.run(
        [sys.executable, "-m", "runcontext", *command, *(ARGUMENTS if command[0] == "run" else [])],
        cwd=planted,
        env={**environment, **VARIABLES, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = [*leaks("stdout", finished.stdout), *leaks("stderr", finished.stderr)]
    found += all_leaks(project / ".runcontext") if command[0] == "run" else []
    assert found == []


STARTS = {
    "script": ["script.py"],
    "module": ["-m", "script"],
    "code": ["-c", "import runcontext\nwith runcontext.start_run() as run: run.tags\n# {}"],
    "command": ["-m", "runcontext", "run", "--", sys.executable, "script.py"],
    "command in a shell": ["-m", "runcontext", "run", "--", "sh", "-c", "exec true {}"],
}


@pytest.mark.parametrize("start", STARTS)
def test_arguments_are_nowhere_where_they_are_not_recorded(
    start: str, project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """With RUNCONTEXT_RECORD_ARGS=0 no file of the run has any of them, secret or not, nor the code after -c."""
    words = ["--comment", SECRETS.option, f"--name={SECRETS.text}", SECRETS.branch]
    (project / "script.py").write_text("import runcontext\nwith runcontext.start_run() as run: run.tags\n")
    command = [word.format(SECRETS.key) for word in STARTS[start]]
    finished = subprocess.run(
        [sys.executable, *command, *words],
        cwd=project,
        env={**environment, "RUNCONTEXT_RECORD_ARGS": "0"},
        capture_output=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    store = project / ".runcontext"
    assert all_leaks(store) == []
    assert [*leaks("stdout", finished.stdout), *leaks("stderr", finished.stderr)] == []
    assert all_leaks(tmp_path / "cache") == []
    (context,) = store.rglob("context.json")
    assert "RUNCONTEXT_RECORD_ARGS=0" in context.read_text(encoding="utf-8")
