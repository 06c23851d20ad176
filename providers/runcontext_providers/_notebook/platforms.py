"""What runs a notebook: told apart by what each puts into its kernels, and what each leaves unsaid, for a person."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runcontext_providers._notebook.kernel import VS_CODE_FILE, databricks_context, kernel_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runcontext_providers._notebook.kernel import Kernel

_SAGEMAKER_FILE = "opt/ml/metadata/resource-metadata.json"
"""AWS, "SageMaker Developer Guide", "Get Notebook Instance Metadata" and "Get Studio Notebook and App Metadata"."""

_LATE = "the companion process, which asks the Jupyter server, has not answered"
_NO_CONTEXT = "the Databricks runtime holds no notebook's context: code of a file or of a job runs outside of one"


class Platform(NamedTuple):
    """What runs notebooks.

    - ``name``: what ``notebook.environment`` calls it.
    - ``why_nameless``, ``why_pathless``, ``why_without_id``: why its kernels may not know their notebook's name, the
      path of a notebook whose name they know, and its id.
    - ``variable``: is set in its kernels, and only there; empty where something else tells.
    - ``id_variable``: holds the notebook's id, where there is such a variable.
    - ``is_asked``: whether the Jupyter server that started the kernel is asked.
    """

    name: str
    why_nameless: str
    why_pathless: str
    why_without_id: str
    variable: str = ""
    id_variable: str = ""
    is_asked: bool = False


_HOSTED = (
    # MLflow, mlflow.utils.databricks_utils, is_in_databricks_runtime().
    Platform("databricks", _NO_CONTEXT, _NO_CONTEXT, _NO_CONTEXT, "DATABRICKS_RUNTIME_VERSION"),
    # kagglehub, env.py, is_in_kaggle_notebook(). Kaggle's images are built on Colab's: it is looked for before Colab.
    Platform(
        "kaggle",
        "Kaggle does not tell a kernel what its notebook is called: name it with start_run(run_name=...)",
        "Kaggle keeps the notebook, which is no file of this machine",
        "Kaggle does not tell a kernel its notebook's id",
        "KAGGLE_KERNEL_RUN_TYPE",
    ),
    # kagglehub, env.py, is_in_colab_notebook(). COLAB_NOTEBOOK_ID is not documented: it is told where it is set.
    Platform(
        "colab",
        "Colab does not tell a kernel what its notebook is called, and its server is not on loopback, so it is not "
        "asked: name it with start_run(run_name=...)",
        "Colab keeps the notebook in Drive: it is no file of this machine",
        "this Colab runtime sets no COLAB_NOTEBOOK_ID",
        "COLAB_RELEASE_TAG",
        "COLAB_NOTEBOOK_ID",
    ),
)

_UNSAVED = "the notebook has not been saved yet"
_MARIMO = Platform("marimo", _UNSAVED, _UNSAVED, "marimo gives its notebooks no id")
_VS_CODE = Platform("vscode", _UNSAVED, _UNSAVED, "VS Code gives its notebooks no id")
_SERVED = Platform("jupyter", _LATE, _LATE, _LATE, is_asked=True)
_ALONE = Platform(
    "jupyter",
    "no Jupyter server started this kernel, so none knows its notebook: nbclient and nbconvert do not tell a kernel "
    "what it runs, papermill does with --inject-paths",
    "the kernel was told a relative path",
    "no Jupyter server started this kernel, so there is no session",
)


def platform_of(
    kernel: Kernel | None, environment: Mapping[str, str], words: Sequence[str], *, root: str = "/"
) -> Platform:
    """Give what runs the notebook.

    Args:
        kernel: the kernel, None in another process than its own.
        environment: its variables.
        words: its command line.
        root: the folder that stands for ``/``.
    """
    for platform in _HOSTED:
        if environment.get(platform.variable):
            return platform
    if kernel is not None and kernel.is_marimo:
        return _MARIMO
    local = _ALONE if kernel_id(words) is None else _SERVED
    if os.path.exists(os.path.join(root, _SAGEMAKER_FILE)):
        return local._replace(name="sagemaker", why_without_id=_LATE)
    is_vs_code = kernel is not None and isinstance(kernel.namespace.get(VS_CODE_FILE), str)
    return _VS_CODE if is_vs_code else local


def id_held(platform: Platform, environment: Mapping[str, str]) -> str | None:
    """Give the notebook's id where the kernel itself holds one, None where it does not."""
    if platform.name != "databricks":
        return environment.get(platform.id_variable) or None
    found = getattr(databricks_context(), "notebookId", None)
    return str(found) if found else None


def sagemaker_resource(root: str) -> str | None:
    """Give the ARN of the SageMaker notebook instance or app, None where its file has none."""
    import json

    with open(os.path.join(root, _SAGEMAKER_FILE), encoding="utf-8") as file:
        metadata = json.load(file)
    return metadata.get("ResourceArn") or None
