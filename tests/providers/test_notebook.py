"""The notebook provider, in programs that hold what each kind of kernel holds, without any of them being installed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runcontext import Program
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers._notebook.kernel import cells_sha256, connection_file, kernel_id, session_file
from runcontext_providers.notebook import NotebookProvider

KERNEL_ID = "95146add-9081-4ad1-bad3-1c9590ba7774"
SERVED = ("-f", f"/run/user/1000/jupyter/runtime/kernel-{KERNEL_ID}.json")
"""How a Jupyter server starts a kernel: ipykernel's command line, the file as jupyter_client names it."""

REPORT = """
import json, sys
from runcontext.testing import resolve_provider
from runcontext_providers.notebook import NotebookProvider
from runcontext_providers.source import SourceProvider
provider = NotebookProvider(root=sys.argv[1])
contexts = {"notebook": resolve_provider(provider), "source": resolve_provider(SourceProvider)}
found = {name: context.to_json() for name, context in contexts.items()}
found["late"] = resolve_provider(provider, method="companion_tags").to_json()
print(json.dumps(found))
"""

JUPYTER = """
import sys, types
for name in ("ipykernel", "IPython", "IPython.core", "IPython.core.getipython"):
    sys.modules[name] = types.ModuleType(name)
history = types.SimpleNamespace(input_hist_raw=["", "x = 1", "%time train(x)"])
shell = types.SimpleNamespace(kernel=object(), user_ns=globals(), history_manager=history)
sys.modules["IPython.core.getipython"].get_ipython = lambda: shell
"""
"""What a kernel has by the names of IPython 8 and 9, ipykernel 6 and 7: the shell, its namespace, its history."""

MARIMO = """
import sys, types
for name in ("marimo", "marimo._runtime", "marimo._runtime.context", "marimo._runtime.context.types"):
    sys.modules[name] = types.ModuleType(name)
class KernelRuntimeContext:
    filename = "/home/ada/explore.py"
class ScriptRuntimeContext(KernelRuntimeContext):
    pass
sys.modules["marimo._runtime.context.types"].safe_get_context = lambda: KernelRuntimeContext()
"""
"""What marimo's kernel has (marimo 0.17, marimo/_runtime/context/types.py)."""

DATABRICKS = """
for name in ("dbruntime", "dbruntime.databricks_repl_context"):
    sys.modules[name] = types.ModuleType(name)
context = types.SimpleNamespace(isInNotebook=True, notebookId="1234567890", notebookPath="/Users/ada@example.org/Train")
sys.modules["dbruntime.databricks_repl_context"].get_context = lambda: context
"""
"""What a Databricks notebook has, as MLflow reads it (databricks_utils.py, _use_repl_context_if_available)."""

FOREIGN = ("JPY_", "JUPYTER", "KAGGLE_", "COLAB_", "DATABRICKS_", "PYTHON", "SLURM_", "MLFLOW_")


class TestContract(ProviderContract):
    """The notebook provider keeps what every provider keeps to, here where there is no notebook."""

    provider = NotebookProvider


class Found:
    """What a program said of itself: a provider's tags and failures, by the provider's name or ``late``."""

    def __init__(self, contexts: dict[str, Any]) -> None:
        """Read the contexts as JSON holds them."""
        self._contexts = contexts

    def tags(self, name: str) -> dict[str, str]:
        """Give a context's tags."""
        tags: dict[str, str] = self._contexts[name]["tags"]
        return tags

    def outcome(self, name: str) -> dict[str, Any]:
        """Give a context's only outcome."""
        outcome: dict[str, Any] = self._contexts[name]["outcomes"]["provider"]
        return outcome

    def reason(self, tag: str) -> str:
        """Give why the kernel does not know a fact of the notebook's."""
        reason: str = self.outcome("notebook")["failures"][tag]
        assert reason.startswith("absent: ")
        return reason


def found(
    tmp_path: Path, setup: str, *, words: tuple[str, ...] = (), variables: dict[str, str] | None = None, root: str = ""
) -> Found:
    """Run a program that holds what ``setup`` makes, started with these words and variables."""
    script = tmp_path / "kernel.py"
    script.write_text(setup + REPORT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    asked = subprocess.run(
        [sys.executable, str(script), root or str(tmp_path), *words],
        env={**environment, **(variables or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    return Found(json.loads(asked.stdout.splitlines()[-1]))


# --- is it a notebook? -----------------------------------------------------------------------------------------------


def test_a_script_is_no_notebook(tmp_path: Path) -> None:
    """A plain program is not in context, for a stated reason."""
    outcome = found(tmp_path, "").outcome("notebook")
    assert (outcome["status"], outcome["tags"]) == ("absent", {})
    assert "neither Jupyter's kernel nor marimo's" in outcome["reason"]


@pytest.mark.parametrize(
    "setup",
    [
        "import sys, types; sys.modules['ipykernel'] = types.ModuleType('ipykernel')",
        JUPYTER + "del shell.kernel",
        JUPYTER + "sys.modules['IPython.core.getipython'].get_ipython = lambda: None",
        JUPYTER + "del sys.modules['IPython.core.getipython'].get_ipython",
        MARIMO + "sys.modules['marimo._runtime.context.types'].safe_get_context = ScriptRuntimeContext",
        MARIMO + "sys.modules['marimo._runtime.context.types'].safe_get_context = lambda: None",
    ],
    ids=[
        "ipykernel is imported",
        "IPython in a terminal",
        "IPython without a shell",
        "IPython half imported",
        "marimo as a script",
        "marimo imported",
    ],
)
def test_what_a_kernel_is_made_of_makes_no_notebook(tmp_path: Path, setup: str) -> None:
    """A program that only imports what kernels import is none, and its source is the script that it is."""
    facts = found(tmp_path, setup + "\n", variables={"JPY_SESSION_NAME": "/home/ada/outer.ipynb"})
    assert facts.outcome("notebook")["status"] == "absent"
    assert "no kernel" in facts.outcome("notebook")["reason"]
    assert facts.tags("source")["mlflow.source.type"] == "LOCAL"
    assert facts.tags("source")["mlflow.source.name"] == str(tmp_path / "kernel.py")


def test_another_process_is_not_looked_into() -> None:
    """Of a program that is another process nothing is told: its kernel is not at hand."""
    context = resolve_provider(NotebookProvider, program=Program(pid=os.getppid(), is_python=False))
    assert context.outcomes["provider"].reason == "no notebook: this process is no kernel"


# --- name, path and id -----------------------------------------------------------------------------------------------


def test_vs_code_tells_the_file(tmp_path: Path) -> None:
    """In VS Code name and path are those that it puts into the kernel (vscode-jupyter, pull request 8531)."""
    setup = JUPYTER + "__vsc_ipynb_file__ = '/home/ada/explore.ipynb'\n"
    facts = found(tmp_path, setup, words=("--f=/run/user/1000/jupyter/runtime/kernel-v3c92bfb4.json",))
    assert facts.tags("notebook") == {
        "notebook.environment": "vscode",
        "notebook.name": "explore.ipynb",
        "notebook.path": "/home/ada/explore.ipynb",
    }
    assert "VS Code gives its notebooks no id" in facts.reason("notebook.id")
    assert "not named after an id" in facts.reason("notebook.kernel.id")
    assert facts.tags("source")["mlflow.source.name"] == "explore.ipynb"
    assert facts.tags("source")["mlflow.source.type"] == "NOTEBOOK"


def test_an_unsaved_notebook_has_no_path(tmp_path: Path) -> None:
    """What VS Code calls a notebook that it has not saved is its name, and no path."""
    facts = found(tmp_path, JUPYTER + "__vsc_ipynb_file__ = 'Untitled-1.ipynb'\n")
    assert facts.tags("notebook")["notebook.name"] == "Untitled-1.ipynb"
    assert "not been saved" in facts.reason("notebook.path")


def test_a_jupyter_server_tells_the_name(tmp_path: Path) -> None:
    """A kernel of Jupyter Server 2 has the name; path and id are asked for in the companion."""
    facts = found(tmp_path, JUPYTER, words=SERVED, variables={"JPY_SESSION_NAME": "/home/ada/train.ipynb"})
    assert facts.tags("notebook") == {
        "notebook.environment": "jupyter",
        "notebook.name": "train.ipynb",
        "notebook.kernel.id": KERNEL_ID,
    }
    assert "has not answered" in facts.reason("notebook.path")
    assert "has not answered" in facts.reason("notebook.id")
    assert facts.tags("source")["mlflow.source.name"] == "train.ipynb"


def test_a_kernel_without_a_server_says_so(tmp_path: Path) -> None:
    """A kernel of nbclient is not told its notebook; the variable of the notebook that started it is not its own."""
    variables = {"JPY_SESSION_NAME": "/home/ada/outer.ipynb"}
    facts = found(tmp_path, JUPYTER, words=("-f", "/tmp/tmpzfcxyro4.json"), variables=variables)
    assert facts.tags("notebook") == {"notebook.environment": "jupyter"}
    assert "papermill does with --inject-paths" in facts.reason("notebook.name")
    assert facts.reason("notebook.path") == facts.reason("notebook.name")
    assert "there is no session" in facts.reason("notebook.id")
    assert facts.tags("late") == {}
    assert facts.tags("source")["mlflow.source.name"] == "<notebook>"


@pytest.mark.parametrize(("path", "is_absolute"), [("/data/in.ipynb", True), ("in.ipynb", False)])
def test_papermill_tells_the_file(tmp_path: Path, path: str, is_absolute: bool) -> None:
    """Papermill's own parameter is the notebook ("Command Line Interface", --inject-input-path)."""
    facts = found(tmp_path, f"{JUPYTER}PAPERMILL_INPUT_PATH = {path!r}\n", words=("-f", "/tmp/tmpzfcxyro4.json"))
    assert facts.tags("notebook")["notebook.name"] == "in.ipynb"
    assert facts.tags("notebook").get("notebook.path") == (path if is_absolute else None)


def test_a_variable_of_the_users_own_is_no_file(tmp_path: Path) -> None:
    """What has the name of such a variable and is no text is left alone."""
    facts = found(tmp_path, JUPYTER + "PAPERMILL_INPUT_PATH = 7\n__vsc_ipynb_file__ = None\n", words=SERVED)
    assert "has not answered" in facts.reason("notebook.name")


def test_colab_tells_an_id_where_it_has_one(tmp_path: Path) -> None:
    """Colab (kagglehub, env.py, is_in_colab_notebook): what it does not tell is absent, and its server is not asked."""
    variables = {"COLAB_RELEASE_TAG": "release-colab-20250930", "COLAB_JUPYTER_IP": "172.28.0.12"}
    facts = found(tmp_path, JUPYTER, words=SERVED, variables=variables)
    assert facts.tags("notebook") == {"notebook.environment": "colab", "notebook.kernel.id": KERNEL_ID}
    assert "not on loopback" in facts.reason("notebook.name")
    assert "COLAB_NOTEBOOK_ID" in facts.reason("notebook.id")
    assert facts.tags("late") == {}
    variables |= {"COLAB_NOTEBOOK_ID": "1AbC", "JPY_SESSION_NAME": "/content/Untitled0.ipynb"}
    facts = found(tmp_path, JUPYTER, words=SERVED, variables=variables)
    assert facts.tags("notebook")["notebook.id"] == "1AbC"
    assert facts.tags("notebook")["notebook.name"] == "Untitled0.ipynb"
    assert "Drive" in facts.reason("notebook.path")


def test_kaggle_is_told_from_colab(tmp_path: Path) -> None:
    """Kaggle (kagglehub, env.py, is_in_kaggle_notebook) builds on Colab's image, whose variable is set there too."""
    variables = {
        "KAGGLE_KERNEL_RUN_TYPE": "Interactive",
        "KAGGLE_URL_BASE": "https://www.kaggle.com",
        "COLAB_RELEASE_TAG": "release-colab-20250930",
    }
    facts = found(tmp_path, JUPYTER, words=SERVED, variables=variables)
    assert facts.tags("notebook") == {"notebook.environment": "kaggle", "notebook.kernel.id": KERNEL_ID}
    assert "start_run(run_name=...)" in facts.reason("notebook.name")
    assert facts.tags("late") == {}


@pytest.mark.parametrize("has_kernel", [True, False], ids=["IPython kernel", "a kernel of its own"])
def test_databricks_tells_path_and_id(tmp_path: Path, has_kernel: bool) -> None:
    """Databricks: what its runtime holds, whichever kernel it uses."""
    setup = JUPYTER + DATABRICKS + ("" if has_kernel else "del shell.kernel, sys.modules['ipykernel']\n")
    facts = found(tmp_path, setup, variables={"DATABRICKS_RUNTIME_VERSION": "15.4"})
    assert facts.tags("notebook") == {
        "notebook.environment": "databricks",
        "notebook.name": "Train",
        "notebook.path": "/Users/ada@example.org/Train",
        "notebook.id": "1234567890",
    }
    assert facts.tags("source")["mlflow.source.name"] == "Train"


@pytest.mark.parametrize("runtime", ["", DATABRICKS + "context = None\n", DATABRICKS + "del context\n"])
def test_databricks_without_a_context_says_so(tmp_path: Path, runtime: str) -> None:
    """Where the runtime holds no notebook's context, or cannot tell, all is absent for that reason."""
    facts = found(tmp_path, JUPYTER + runtime, variables={"DATABRICKS_RUNTIME_VERSION": "15.4"})
    assert facts.tags("notebook") == {"notebook.environment": "databricks"}
    assert facts.tags("source")["mlflow.source.name"] == "<notebook>"
    for tag in ("notebook.name", "notebook.path", "notebook.id"):
        assert "no notebook's context" in facts.reason(tag)


@pytest.mark.parametrize(
    ("metadata", "arn"),
    [
        # SageMaker Developer Guide, "Get Notebook Instance Metadata".
        (
            {
                "ResourceArn": "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/ada",
                "ResourceName": "ada",
            },
            "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/ada",
        ),
        # SageMaker Developer Guide, "Get Amazon SageMaker Studio Classic Notebook and App Metadata".
        (
            {
                "AppType": "KernelGateway",
                "DomainId": "d-xxxxxxxxxxxx",
                "UserProfileName": "ada",
                "ResourceArn": "arn:aws:sagemaker:eu-west-1:123456789012:app/d-xxxxxxxxxxxx/ada/KernelGateway/ds",
                "ResourceName": "ds",
                "AppImageVersion": "",
            },
            "arn:aws:sagemaker:eu-west-1:123456789012:app/d-xxxxxxxxxxxx/ada/KernelGateway/ds",
        ),
        ({"ResourceName": "ada"}, None),
    ],
    ids=["notebook instance", "Studio", "no ARN"],
)
def test_sagemaker_tells_its_resource(tmp_path: Path, metadata: dict[str, str], arn: str | None) -> None:
    """On SageMaker the id is that of the resource in which the notebook runs."""
    folder = tmp_path / "opt" / "ml" / "metadata"
    folder.mkdir(parents=True)
    (folder / "resource-metadata.json").write_text(json.dumps(metadata))
    facts = found(tmp_path, JUPYTER)
    assert facts.tags("notebook") == {"notebook.environment": "sagemaker"}
    assert facts.tags("late").get("notebook.id") == arn


def test_marimo_tells_its_file(tmp_path: Path) -> None:
    """In marimo's kernel name and path are the notebook's, and the run is a notebook's."""
    facts = found(tmp_path, MARIMO)
    assert facts.tags("notebook") == {
        "notebook.environment": "marimo",
        "notebook.name": "explore.py",
        "notebook.path": "/home/ada/explore.py",
    }
    assert "marimo gives its notebooks no id" in facts.reason("notebook.id")
    assert facts.tags("source")["mlflow.source.type"] == "NOTEBOOK"
    assert "not been saved" in found(tmp_path, MARIMO + "KernelRuntimeContext.filename = None\n").reason(
        "notebook.name"
    )


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("python", "-m", "ipykernel_launcher", "-f", "/r/k.json"), "/r/k.json"),
        (("python", "-m", "ipykernel_launcher", "--f=/r/k=1.json"), "/r/k=1.json"),
        (("python", "-m", "ipykernel_launcher", "--IPKernelApp.connection_file=/r/k.json"), "/r/k.json"),
        (("python", "-m", "ipykernel_launcher", "-f"), None),
        (("python", "-m", "ipykernel_launcher"), None),
    ],
)
def test_the_connection_file_is_in_the_command_line(words: tuple[str, ...], file: str | None) -> None:
    """Every form in which ipykernel takes it is understood (kernelapp.kernel_aliases)."""
    assert connection_file(words) == file


@pytest.mark.parametrize(
    "name",
    [
        "kernel-4711.json",
        f"kernel-{KERNEL_ID}.txt",
        f"kernel-{KERNEL_ID}0.json",
        f"{KERNEL_ID}.json",
        "kernel-v3c92bfb4.json",
    ],
)
def test_what_no_server_named_has_no_kernel_id(name: str) -> None:
    """A connection file of another's making names no kernel."""
    assert kernel_id(("-f", f"/r/{name}")) is None


def test_without_a_connection_file_the_variable_is_believed() -> None:
    """Where no such file tells that the variable is another notebook's, it is the kernel's own."""
    environment = {"JPY_SESSION_NAME": "/home/ada/train.ipynb"}
    assert session_file(environment, ("colab_kernel",)) == "/home/ada/train.ipynb"
    assert session_file({"JPY_SESSION_NAME": ""}, SERVED) is None


# --- what has run ----------------------------------------------------------------------------------------------------


def test_the_cells_run_so_far_are_hashed(tmp_path: Path) -> None:
    """source.sha256 of a notebook is over its cells as typed, a zero byte after each; no text of theirs is recorded."""
    facts = found(tmp_path, JUPYTER)
    expected = hashlib.sha256(b"x = 1\0%time train(x)\0").hexdigest()
    assert facts.tags("source")["source.sha256"] == expected
    assert "train(x)" not in json.dumps(facts._contexts)


def test_the_same_code_in_other_cells_is_another_hash() -> None:
    """Where one cell ends and the next begins counts, and text that is no Unicode has a hash too."""
    assert cells_sha256(["a\nb"]) != cells_sha256(["a", "b"]) != cells_sha256(["", "a", "b"])
    assert cells_sha256(["\udcff"]) != cells_sha256(["\udcfe"])


def test_a_kernel_that_keeps_no_cells_has_no_hash_of_them(tmp_path: Path) -> None:
    """Where no cell is known the hash is left to the companion, which looks for a file."""
    assert "source.sha256" not in found(tmp_path, MARIMO).tags("source")
    assert "source.sha256" not in found(tmp_path, JUPYTER + "del shell.history_manager\n").tags("source")
