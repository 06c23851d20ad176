"""Which notebook the program runs in: its name, path and id, and what runs it."""

from __future__ import annotations

import os
import sys

from runcontext import NotInContext, current_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runcontext import RunContextProvider
    from runcontext.provider import TagValue
    from runcontext_providers._notebook.jupyter_sessions import Inquiry

KERNEL_MODULES = ("ipykernel", "marimo", "dbruntime")
"""One of these is imported in every kernel: Jupyter's and those built on it, marimo's, Databricks's."""

_SECONDS = 0.5
_VS_CODE_SESSION = "-jvsc-"
"""In the names of the sessions that VS Code opens on a Jupyter server (vscode-jupyter, ``jvscIdentifier``)."""

_NO_KERNEL_ID = "no Jupyter server started this kernel: its connection file is not named after an id"


class NotebookProvider:
    """The notebook: from what its kernel holds; in the companion from the Jupyter server that started the kernel.

    Args:
        root: the folder that stands for ``/`` where SageMaker's metadata are looked for.
        runtime_folder: where Jupyter servers say how to reach them; the folder of the kernel's connection file unless
            given.
        seconds: how long all servers together may take to answer.
        environment: the kernel's variables; ``os.environ`` unless given.
    """

    placement = "inline"

    def __init__(
        self,
        root: str = "/",
        runtime_folder: str | None = None,
        seconds: float = _SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Keep where to look."""
        self._root = root
        self._runtime_folder = runtime_folder
        self._seconds = seconds
        self._environment = os.environ if environment is None else environment

    def in_context(self) -> bool:
        """Say no, for the price of a look at the imported modules, where no notebook can be."""
        # In the companion it is too late to look: the program's half of this provider has.
        if any(name in sys.modules for name in KERNEL_MODULES) or current_program().pid != os.getpid():
            return True
        reason = "no notebook: neither Jupyter's kernel nor marimo's runs in this process"
        raise NotInContext(reason)

    def tags(self) -> Mapping[str, TagValue]:
        """Give what the kernel itself holds."""
        from runcontext_providers._notebook import kernel as held
        from runcontext_providers._notebook import platforms

        kernel = held.running() if current_program().pid == os.getpid() else None
        if kernel is None:
            reason = "no notebook: this process is no kernel"
            raise NotInContext(reason)
        words = _words()
        platform = platforms.platform_of(kernel, self._environment, words, root=self._root)
        file = held.file_of(kernel, self._environment, words)
        is_session = file is not None and file == held.session_file(self._environment, words)
        why_pathless = platform.why_nameless if file is None else platform.why_pathless
        return {
            "notebook.environment": platform.name,
            "notebook.name": lambda: _known(file and os.path.basename(file), platform.why_nameless),
            "notebook.path": lambda: _known(None if is_session else _absolute(file), why_pathless),
            "notebook.id": lambda: _known(platforms.id_held(platform, self._environment), platform.why_without_id),
            "notebook.kernel.id": lambda: _known(held.kernel_id(words), _NO_KERNEL_ID),
        }

    def companion_tags(self) -> Mapping[str, TagValue]:
        """Give what files and the Jupyter server know better: a notebook may have been renamed since it was started."""
        from runcontext_providers._notebook import jupyter_sessions, platforms
        from runcontext_providers._notebook import kernel as held

        words = _words()
        platform = platforms.platform_of(None, self._environment, words, root=self._root)
        facts: dict[str, TagValue] = {}
        kernel_id = held.kernel_id(words)
        if platform.is_asked and kernel_id is not None:
            folder = self._runtime_folder or os.path.dirname(held.connection_file(words) or "")
            parent = self._environment.get("JPY_PARENT_PID", "")
            asked = jupyter_sessions.Inquiry(kernel_id, folder, seconds=self._seconds, parent=parent)
            told = held.session_file(self._environment, words)
            facts["notebook.name"] = lambda: _session_name(asked, told)
            facts["notebook.path"] = lambda: _session_path(asked, told)
            facts["notebook.id"] = lambda: asked.session().id
        if platform.name == "sagemaker":
            facts["notebook.id"] = lambda: platforms.sagemaker_resource(self._root)
        return facts


def _words() -> Sequence[str]:
    program = current_program()
    # Cells set sys.argv for the sake of argparse.
    return program.orig_argv or program.argv


def _known(value: str | None, why_not: str) -> str:
    if not value:
        raise NotInContext(why_not)
    return value


def _absolute(file: str | None) -> str | None:
    return file if file is not None and os.path.isabs(file) else None


def _session_name(asked: Inquiry, told: str | None) -> str | None:
    """Give the notebook's name now; None where the other half of this provider has said all there is to say."""
    try:
        session = asked.session()
    except NotInContext:
        if told is None:
            raise
        return None
    return None if _VS_CODE_SESSION in session.name else session.name


def _session_path(asked: Inquiry, told: str | None) -> str | None:
    """Give the notebook's path now, else the one that it had when its kernel was started, where that is still there."""
    try:
        session = asked.session()
    except NotInContext:
        if told is None or not os.path.isfile(told):
            raise
        return told
    return None if _VS_CODE_SESSION in session.name else session.path


if TYPE_CHECKING:
    _: type[RunContextProvider] = NotebookProvider
