"""The source provider, in real processes started in every way that a program can be started."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from runcontext import Program
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.source import SourceProvider

REPORT = """
import json, sys
from runcontext.testing import resolve_provider
from runcontext_providers.source import SourceProvider
inline = resolve_provider(SourceProvider).to_json()
late = resolve_provider(SourceProvider, method="companion_tags").to_json()
outcomes = {"inline": inline["outcomes"]["provider"], "companion": late["outcomes"]["provider"]}
print(json.dumps({"tags": {**inline["tags"], **late["tags"]}, "outcomes": outcomes}))
"""

QUIET = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "MLFLOW_RUN_ID", "AZUREML_RUN_ID", "JPY_SESSION_NAME")


class TestContract(ProviderContract):
    """The source provider keeps what every provider keeps to."""

    provider = SourceProvider


def report(command: list[str], cwd: Path, stdin: str = "", **variables: str) -> dict[str, Any]:
    """Run a command whose program prints its own source facts."""
    environment = {name: value for name, value in os.environ.items() if name not in QUIET}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
    asked = subprocess.run(
        command, cwd=cwd, env={**environment, **variables}, input=stdin, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return found


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that prints its own source facts."""
    path = tmp_path / "train.py"
    path.write_text(REPORT)
    return path


def test_a_script_is_named_as_given(script: Path) -> None:
    """The name is the script as it stands on the command line, and the type is LOCAL."""
    tags = report([sys.executable, "train.py", "--lr", "3"], script.parent)["tags"]
    assert tags["mlflow.source.name"] == "train.py"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["process.command_args"] == f"{sys.executable} train.py --lr 3"
    assert tags["process.working_directory"] == str(script.parent)
    assert tags["process.executable.path"] == sys.executable
    assert tags["python.flags"] == "default"


def test_the_main_file_is_hashed(script: Path) -> None:
    """source.sha256 is that of the main file's bytes."""
    tags = report([sys.executable, str(script)], script.parent)["tags"]
    assert tags["source.sha256"] == hashlib.sha256(script.read_bytes()).hexdigest()


def test_a_module_is_named_by_its_dotted_name(tmp_path: Path) -> None:
    """After -m the name is the module's, and a package's __main__ is the package."""
    package = tmp_path / "pkg"
    package.mkdir()
    for name in ("__init__", "mod", "__main__"):
        (package / f"{name}.py").write_text("" if name == "__init__" else REPORT)
    assert report([sys.executable, "-m", "pkg.mod"], tmp_path)["tags"]["mlflow.source.name"] == "pkg.mod"
    assert report([sys.executable, "-m", "pkg"], tmp_path)["tags"]["mlflow.source.name"] == "pkg"


def test_code_on_the_command_line_is_named_by_its_option(tmp_path: Path) -> None:
    """With -c the name is -c, and there is no main file to hash, for a stated reason."""
    found = report([sys.executable, "-c", REPORT], tmp_path)
    assert found["tags"]["mlflow.source.name"] == "-c"
    assert "no file runs as the main module" in found["outcomes"]["companion"]["failures"]["source.sha256"]


@pytest.mark.parametrize(("argument", "name"), [([], "<console>"), (["-"], "<stdin>")])
def test_a_program_from_standard_input_has_no_script(tmp_path: Path, argument: list[str], name: str) -> None:
    """A program that is piped in is named for what it is."""
    assert report([sys.executable, *argument], tmp_path, REPORT)["tags"]["mlflow.source.name"] == name


def test_a_console_script_is_named_by_its_target(tmp_path: Path) -> None:
    """An installed command's name is the function that it calls, as pip writes its scripts."""
    (tmp_path / "pkg_cli.py").write_text(f"def main():\n    exec({REPORT!r})\n")
    command = tmp_path / "train"
    command.write_text(
        f"#!{sys.executable}\n# -*- coding: utf-8 -*-\nimport re\nimport sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from pkg_cli import main\nif __name__ == '__main__':\n"
        "    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    sys.exit(main())\n"
    )
    command.chmod(0o755)
    assert report([str(command)], tmp_path)["tags"]["mlflow.source.name"] == "pkg_cli:main"


def test_a_script_without_an_ending_keeps_its_name(tmp_path: Path) -> None:
    """A script that only looks like an installed command is named as given."""
    (tmp_path / "train").write_text(REPORT)
    assert report([sys.executable, "train"], tmp_path)["tags"]["mlflow.source.name"] == "train"


def test_a_zip_application_is_named_as_given(tmp_path: Path) -> None:
    """A program in a zip file is named by the file."""
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    assert report([sys.executable, "app.pyz"], tmp_path)["tags"]["mlflow.source.name"] == "app.pyz"


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        (["--token", "hunter2hunter2"], "--token '[redacted]'"),
        (["--api-key=hunter2hunter2"], "'--api-key=[redacted]'"),
        (["HF_TOKEN=hunter2hunter2"], "'HF_TOKEN=[redacted]'"),
        (["--remote", "https://anna:hunter2hunter2@host/x"], "'https://[redacted]@host/x'"),
    ],
)
def test_secrets_in_arguments_are_redacted(script: Path, argument: list[str], kept: str) -> None:
    """A secret argument leaves its mark and is counted; its value is nowhere in what was captured."""
    found = report([sys.executable, "train.py", *argument], script.parent)
    assert kept in found["tags"]["process.command_args"]
    assert "hunter2" not in json.dumps(found)
    assert found["outcomes"]["inline"]["redacted"] == 1


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["train.py", "--comment", "not for the record"], "train.py"),
        (["-X", "dev", "train.py", "--comment", "not for the record"], "train.py"),
        (["-c", REPORT + "# not for the record", "not for the record"], "-c"),
    ],
)
def test_arguments_are_left_out_where_the_user_says_so(script: Path, command: list[str], name: str) -> None:
    """RUNCONTEXT_RECORD_ARGS=0 leaves the command line out, for a reason that names it; the script's name stays."""
    found = report([sys.executable, *command], script.parent, RUNCONTEXT_RECORD_ARGS="0")
    assert "process.command_args" not in found["tags"]
    assert "RUNCONTEXT_RECORD_ARGS=0" in found["outcomes"]["inline"]["failures"]["process.command_args"]
    assert found["tags"]["mlflow.source.name"] == name
    assert "not for the record" not in json.dumps(found)


def test_arguments_are_left_out_where_the_project_says_so(script: Path) -> None:
    """So does record-args = false in [tool.runcontext]."""
    (script.parent / "pyproject.toml").write_text("[tool.runcontext]\nrecord-args = false\n")
    assert "process.command_args" not in report([sys.executable, "train.py", "--lr", "3"], script.parent)["tags"]


def test_arguments_are_quoted_for_a_shell(script: Path) -> None:
    """What was recorded, pasted into a shell, is the same command again."""
    odd = ["a b", "it's", "", "$HOME", "é", "plain-1.0"]
    tags = report([sys.executable, "train.py", *odd], script.parent)["tags"]
    again = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n' {tags['process.command_args']}"], capture_output=True, text=True, check=True
    )
    assert again.stdout.split("\n")[2:-1] == odd


def test_the_process_is_told(script: Path) -> None:
    """Process id and creation time are those of the program itself."""
    before = time.time()
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=script.parent)
    output, _ = process.communicate()
    tags = json.loads(output)["tags"]
    assert tags["process.pid"] == str(process.pid)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tags["process.creation.time"])
    began = datetime.fromisoformat(tags["process.creation.time"].replace("Z", "+00:00"))
    assert before - 1 <= began.astimezone(timezone.utc).timestamp() <= time.time() + 1


def test_a_deleted_working_directory_costs_its_own_fact(script: Path, tmp_path: Path) -> None:
    """Where the working directory is gone, that fact is absent with the reason, and all others are there."""
    gone = tmp_path / "gone"
    gone.mkdir()
    absolute = f"import os; os.rmdir({str(gone)!r}); exec(open({str(script)!r}).read())"
    found = report([sys.executable, "-c", absolute], gone)
    assert found["outcomes"]["inline"]["failures"] == {
        "process.working_directory": "absent: the working directory was deleted"
    }
    assert found["tags"]["mlflow.source.name"] == "-c"


def test_flags_that_change_behaviour_are_told(script: Path) -> None:
    """Options, -X, -W and variables of the interpreter are in python.flags."""
    command = [sys.executable, "-O", "-X", "utf8=1", "-W", "ignore", "train.py"]
    flags = report(command, script.parent, PYTHONHASHSEED="0")["tags"]["python.flags"]
    for expected in ("optimize=1", "-X utf8=1", "-W ignore", "hash_randomization=0", "PYTHONHASHSEED=0"):
        assert expected in flags


def test_an_isolated_interpreter_ignores_its_variables(script: Path) -> None:
    """Variables that the interpreter was told to ignore are not told as its flags."""
    flags = report([sys.executable, "-I", "train.py"], script.parent, PYTHONHASHSEED="0")["tags"]["python.flags"]
    assert "isolated=1" in flags
    assert "PYTHONHASHSEED" not in flags


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"SLURM_JOB_ID": "17"}, "JOB"),
        ({"SLURM_JOB_ID": "17", "SLURM_PTY_PORT": "4242"}, "LOCAL"),
        ({"AWS_BATCH_JOB_ID": "a"}, "JOB"),
        ({"MLFLOW_RUN_ID": "0123"}, "PROJECT"),
        ({}, "LOCAL"),
    ],
)
def test_the_type_follows_the_evidence(script: Path, variables: dict[str, str], kind: str) -> None:
    """A batch system's variable makes a JOB unless it is interactive, MLflow's project a PROJECT, nothing a LOCAL."""
    assert report([sys.executable, "train.py"], script.parent, **variables)["tags"]["mlflow.source.type"] == kind


NOTEBOOK = """
import sys, types
for name in ("ipykernel", "IPython.core.getipython"):
    sys.modules[name] = types.ModuleType(name)
shell = types.SimpleNamespace(kernel=object(), user_ns=globals())
sys.modules["IPython.core.getipython"].get_ipython = lambda: shell
"""


@pytest.mark.parametrize(
    ("setup", "variables", "name"),
    [
        ("__vsc_ipynb_file__ = '/home/anna/explore.ipynb'", {}, "explore.ipynb"),
        ("", {"JPY_SESSION_NAME": "/home/anna/jupyter.ipynb"}, "jupyter.ipynb"),
        ("", {}, "<notebook>"),
    ],
)
def test_a_notebook_is_named_by_its_file(tmp_path: Path, setup: str, variables: dict[str, str], name: str) -> None:
    """In a kernel the source is the notebook as VS Code or Jupyter name it, and its type is NOTEBOOK."""
    tags = report([sys.executable, "-c", f"{NOTEBOOK}{setup}\n{REPORT}"], tmp_path, **variables)["tags"]
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == (name, "NOTEBOOK")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["python", "-u", "train.py", "--lr", "1"], "train.py"),
        (["python3.11", "-X", "dev", "-m", "pkg.mod"], "pkg.mod"),
        (["python", "-c", "pass"], "python"),
        (["bash", "train.py"], "train.py"),
        (["./run", "x"], "./run"),
    ],
)
def test_a_command_is_named_by_what_it_runs(script: Path, words: list[str], name: str) -> None:
    """Of a command in any language the source is its script where an interpreter's words name one."""
    before = Path.cwd()
    os.chdir(script.parent)
    try:
        program = Program.of_command(words, pid=os.getpid(), executable=sys.executable)
    finally:
        os.chdir(before)
    context = resolve_provider(SourceProvider, program=program)
    assert context.tags["mlflow.source.name"] == name
    assert context.outcomes["provider"].failures["python.flags"] == "absent: the command is not known to be Python"


def test_an_embedded_interpreter_has_no_command_line() -> None:
    """Where there are no words at all, the facts that need them are absent for a reason, and the rest is there."""
    context = resolve_provider(SourceProvider, program=Program(pid=os.getpid()))
    failures = context.outcomes["provider"].failures
    assert "embedded" in failures["process.command_args"]
    assert "does not know its own path" in failures["process.executable.path"]
    assert context.tags["mlflow.source.name"] == "<console>"


def test_a_process_that_is_gone_has_no_creation_time() -> None:
    """A process that nobody can look at any more costs only its creation time."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    context = resolve_provider(SourceProvider, program=Program(pid=ended.pid))
    assert "does not tell" in context.outcomes["provider"].failures["process.creation.time"]
