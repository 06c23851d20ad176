"""The notebook kernel that this process is, where it is one, and what it holds of its notebook.

Nothing is imported, asked or opened: only modules that the program has imported, its variables and its command line are
looked at.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VS_CODE_FILE = "__vsc_ipynb_file__"
"""Where VS Code puts the notebook's path into the kernel (microsoft/vscode-jupyter, pull request 8531)."""

_PAPERMILL_FILE = "PAPERMILL_INPUT_PATH"
"""Where papermill does (papermill, "Command Line Interface", ``--inject-input-path``)."""

_SESSION_FILE = "JPY_SESSION_NAME"
"""The variable in which Jupyter Server 2 gives the path (jupyter_server, ``SessionManager.get_kernel_env``)."""

_FILE_OPTIONS = ("-f", "--f", "--IPKernelApp.connection_file")
_SERVED_FILE = re.compile(r"kernel-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json")


class Kernel(NamedTuple):
    """A running kernel.

    - ``namespace``: the variables of its cells.
    - ``cells``: the texts of the cells run so far, as typed and in the order of running; None where it keeps none.
    - ``file``: the notebook's path as the kernel itself knows it, None where it does not.
    - ``is_marimo``: whether it is marimo's.
    """

    namespace: Mapping[str, Any]
    cells: Sequence[str] | None
    file: str | None
    is_marimo: bool


def running() -> Kernel | None:
    """Give the kernel that this process is, None for a program of any other kind."""
    return _ipython_kernel() or _marimo_kernel()


def _ipython_kernel() -> Kernel | None:
    shell = _called(sys.modules.get("IPython.core.getipython"), "get_ipython")
    context = databricks_context()
    is_kernel = getattr(shell, "kernel", None) is not None
    # IPython in a terminal has a shell as well.
    if shell is None or not (is_kernel or getattr(context, "isInNotebook", False)):
        return None
    typed = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
    # The history counts from 1, as the numbers beside the cells do: what is before is empty.
    cells = None if typed is None else list(typed[1:])
    return Kernel(shell.user_ns, cells, getattr(context, "notebookPath", None), is_marimo=False)


def _marimo_kernel() -> Kernel | None:
    context = _called(sys.modules.get("marimo._runtime.context.types"), "safe_get_context")
    # A marimo notebook that is run as a script has a context of another class.
    if type(context).__name__ != "KernelRuntimeContext":
        return None
    return Kernel({}, None, context.filename, is_marimo=True)


def databricks_context() -> Any:
    """Give what the Databricks runtime holds of the notebook, None where there is no such runtime, or no notebook.

    Source: MLflow, mlflow.utils.databricks_utils, ``_use_repl_context_if_available``.
    """
    try:
        return _called(sys.modules.get("dbruntime.databricks_repl_context"), "get_context")
    except Exception:  # noqa: BLE001 - another's code, without which the kernel is still one
        return None


def _called(module: Any, name: str) -> Any:
    function = getattr(module, name, None)
    return function() if function is not None else None


def file_of(kernel: Kernel, environment: Mapping[str, str], words: Sequence[str]) -> str | None:
    """Give the path or name of the notebook as the kernel was told it, None where nobody told.

    Args:
        kernel: the kernel.
        environment: its variables.
        words: its command line.
    """
    for variable in (VS_CODE_FILE, _PAPERMILL_FILE):
        value = kernel.namespace.get(variable)
        if isinstance(value, str) and value:
            return value
    return kernel.file or session_file(environment, words)


def session_file(environment: Mapping[str, str], words: Sequence[str]) -> str | None:
    """Give the path that the Jupyter server named when it started the kernel, None where no server did.

    A kernel that was started inside a notebook, by nbclient or papermill, has the variable of that other notebook.
    """
    inherited = connection_file(words) is not None and kernel_id(words) is None
    return None if inherited else environment.get(_SESSION_FILE) or None


def kernel_id(words: Sequence[str]) -> str | None:
    """Give the id by which a Jupyter server knows this kernel, None where no server started it.

    Source: jupyter_client, ``MultiKernelManager``: the connection file is ``kernel-<id>.json``, the id a UUID.
    """
    named = _SERVED_FILE.fullmatch(os.path.basename(connection_file(words) or ""))
    return named and named[1]


def connection_file(words: Sequence[str]) -> str | None:
    """Give the file that the kernel was started with, from its command line; None where that names none.

    Source of the options: ipykernel, ``kernelapp.kernel_aliases``.
    """
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in _FILE_OPTIONS:
            return value if equals else next(iter(words[at + 1 :]), None)
    return None


def cells_sha256(cells: Sequence[str]) -> str:
    """Give the SHA-256 of cells: of each one's text in UTF-8, followed by a zero byte, in their order."""
    import hashlib

    digest = hashlib.sha256()
    for cell in cells:
        digest.update(cell.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
