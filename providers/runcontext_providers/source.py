"""What was started, and how: the script or module, its arguments, its interpreter's flags."""

from __future__ import annotations

import os
import sys
import time

from runcontext import NotInContext, current_program, current_settings
from runcontext.redaction import redact_args
from runcontext_providers.notebook import KERNEL_MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runcontext import Program, RunContextProvider
    from runcontext.provider import TagValue
    from runcontext_providers._notebook.kernel import Kernel

_SAFE_IN_SHELL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")

_FLAGS = (
    "debug",
    "inspect",
    "interactive",
    "optimize",
    "dont_write_bytecode",
    "no_user_site",
    "no_site",
    "ignore_environment",
    "bytes_warning",
    "isolated",
    "dev_mode",
    "utf8_mode",
    "safe_path",
)
"""Fields of ``sys.flags`` that are 0 in an interpreter started without options."""

_FLAG_VARIABLES = (
    "PYTHONHASHSEED",
    "PYTHONOPTIMIZE",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "PYTHONCOERCECLOCALE",
    "PYTHONMALLOC",
    "PYTHONDEVMODE",
    "PYTHONSAFEPATH",
    "PYTHONNOUSERSITE",
    "PYTHONWARNINGS",
    "PYTHONINTMAXSTRDIGITS",
    "PYTHON_GIL",
    "PYTHON_JIT",
)
"""Variables of the Python documentation, "Command line and environment", that change what a program computes."""

_BATCH_VARIABLES = (
    "PBS_JOBID",
    "LSB_JOBID",
    "_CONDOR_JOB_AD",
    "AWS_BATCH_JOB_ID",
    "SM_TRAINING_ENV",
    "AZUREML_RUN_ID",
    "CLOUD_ML_JOB_ID",
)
"""Variables that batch systems give to the jobs they start, each as its own documentation names it."""

_INTERACTIVE_VARIABLES = ("SLURM_PTY_PORT", "LSB_INTERACTIVE")
_HEAD_BYTES = 4_096

_KERNELS = ("ipykernel", "ipykernel_launcher", "colab_kernel_launcher")
"""Modules that run after ``-m`` as Jupyter kernels."""

_NO_SCRIPTS = {"": "<console>", "-": "<stdin>", "-c": "-c", "-m": "-m"}
"""What ``sys.argv[0]`` is where no script runs, and what the source is called then."""


class SourceProvider:
    """The source of the run: name, type, arguments, folder, interpreter and flags; a hash of the main file.

    The hash is a ``companion_tags`` fact: it reads a file. A notebook's is over the cells that its kernel has run.
    """

    placement = "inline"

    def in_context(self) -> bool:
        """Say yes: every run was started somehow."""
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give what the process already holds."""
        program = current_program()
        facts: dict[str, Callable[[Program], str]] = {
            "mlflow.source.name": _name,
            "mlflow.source.type": _type,
            "process.command_args": _command_args,
            "process.working_directory": _working_directory,
            "process.executable.path": _executable,
            "process.pid": lambda program: str(program.pid),
            "process.creation.time": _creation_time,
            "python.flags": _flags,
        }
        return {**{tag: _bound(fact, program) for tag, fact in facts.items()}, **self.tags_at_end()}

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give ``source.sha256`` of a notebook: the cells run by now, which only its kernel knows."""
        return {"source.sha256": _cells_sha256} if _in_kernel() and current_program().is_python else {}

    def companion_tags(self) -> Mapping[str, TagValue]:
        """Give ``source.sha256``: the main file's bytes as they are now."""
        return {"source.sha256": _bound(_sha256, current_program())}


def _bound(fact: Callable[[Program], str], program: Program) -> Callable[[], str]:
    return lambda: fact(program)


def _name(program: Program) -> str:
    if program.is_python and _in_kernel():
        return _notebook() or "<notebook>"
    if program.main_module is not None:
        return program.main_module
    if not program.is_python:
        return os.path.basename(program.main_file) if program.main_file else program.argv[0]
    script = program.argv[0] if program.argv else ""
    if script in _NO_SCRIPTS:
        return _NO_SCRIPTS[script]
    return _console_script_target(program.main_file) or script


def _console_script_target(main_file: str | None) -> str | None:
    """Give the ``module:function`` that an installed command calls, None for any other script.

    Source of the form: PyPA, "Entry points specification", use for scripts; pip's and uv's script templates.
    """
    if main_file is None or main_file.endswith((".py", ".pyw")):
        return None
    try:
        with open(main_file, "rb") as file:
            lines = file.read(_HEAD_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    module = next((line.split()[1] for line in lines if line.startswith("from ") and " import " in line), None)
    call = next((line.strip() for line in lines if line.strip().startswith("sys.exit(") and "(" in line[9:]), None)
    if module is None or call is None:
        return None
    return f"{module}:{call.removeprefix('sys.exit(').partition('(')[0]}"


def _in_kernel() -> bool:
    return _kernel() is not None


def _kernel() -> Kernel | None:
    if not any(name in sys.modules for name in KERNEL_MODULES):
        return None
    from runcontext_providers._notebook import kernel

    return kernel.running()


def _notebook() -> str | None:
    """Give the notebook's file name, as far as its kernel was told it."""
    from runcontext_providers._notebook.kernel import file_of

    kernel = _kernel()
    path = file_of(kernel, os.environ, current_program().orig_argv) if kernel is not None else None
    return os.path.basename(path) if path else None


def _cells_sha256() -> str | None:
    from runcontext_providers._notebook.kernel import cells_sha256

    kernel = _kernel()
    # Without cells of its own the kernel runs a file, which the companion reads.
    return cells_sha256(kernel.cells) if kernel is not None and kernel.cells else None


def _type(program: Program) -> str:
    if program.is_python and _in_kernel():
        return "NOTEBOOK"
    # MLflow's projects are the only ones that hand a run id to the program they start.
    if os.environ.get("MLFLOW_RUN_ID"):
        return "PROJECT"
    if any(os.environ.get(name) for name in _INTERACTIVE_VARIABLES):
        return "LOCAL"
    is_batch = any(os.environ.get(name) for name in ("SLURM_JOB_ID", *_BATCH_VARIABLES))
    return "JOB" if is_batch else "LOCAL"


def _command_args(program: Program) -> str:
    if not current_settings().record_args:
        reason = "left out by RUNCONTEXT_RECORD_ARGS=0, or record-args in [tool.runcontext]"
        raise NotInContext(reason)
    words = program.orig_argv or program.argv
    if not words:
        reason = "the interpreter is embedded and has no command line"
        raise NotInContext(reason)
    return " ".join(_quoted(word) for word in redact_args(words))


def _quoted(word: str) -> str:
    # As shlex.quote() does, whose module would cost the program 6 ms to import.
    if word and _SAFE_IN_SHELL.issuperset(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _working_directory(program: Program) -> str:
    if program.cwd is None:
        reason = "the working directory was deleted"
        raise NotInContext(reason)
    return program.cwd


def _executable(program: Program) -> str:
    if not program.executable:
        reason = "the interpreter does not know its own path"
        raise NotInContext(reason)
    return program.executable


def _creation_time(program: Program) -> str:
    """Give when the process started, from clock ticks since boot (proc(5), /proc/pid/stat, field 22)."""
    try:
        with open(f"/proc/{program.pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError, ValueError, IndexError):
        reason = f"this system does not tell when process {program.pid} started"
        raise NotInContext(reason) from None
    began = time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began))
    return f"{seconds}.{int(began % 1 * 1_000):03d}Z"


def _flags(program: Program) -> str:
    if not program.is_python:
        reason = "the command is not known to be Python"
        raise NotInContext(reason)
    said = [f"{name}={int(getattr(sys.flags, name))}" for name in _FLAGS if getattr(sys.flags, name, 0)]
    if not sys.flags.hash_randomization:
        said.append("hash_randomization=0")
    said += [f"-X {name}" if value is True else f"-X {name}={value}" for name, value in sys._xoptions.items()]
    said += [f"-W {option}" for option in sys.warnoptions]
    if not sys.flags.ignore_environment:
        said += [f"{name}={os.environ[name]}" for name in _FLAG_VARIABLES if os.environ.get(name)]
    return " ".join(said) or "default"


def _sha256(program: Program) -> str:
    import hashlib

    if program.main_file is None or _launches_kernel(program.orig_argv):
        reason = "no file runs as the main module: -c, stdin, a console or a notebook"
        raise NotInContext(reason)
    digest = hashlib.sha256()
    with open(program.main_file, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _launches_kernel(words: Sequence[str]) -> bool:
    # In a notebook people set __file__ themselves, for code that was a script's.
    return any(word == "-m" and words[at] in _KERNELS for at, word in enumerate(words[:-1], start=1))


if TYPE_CHECKING:
    _: type[RunContextProvider] = SourceProvider
