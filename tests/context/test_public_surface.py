"""The public surface, and the rules of who imports whom: users build on both as if they could never change."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import runcontext
import runcontext_providers
from runcontext import registry

KERNEL = Path(runcontext.__file__).parent
PROVIDERS = Path(runcontext_providers.__file__).parent
BESIDE_PROVIDERS = ("__init__", "py.typed")

HOT_PATH_FREE_OF = {
    "asyncio",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "urllib",
}
"""What costs the program milliseconds, and the first line of a block must not wait for."""


def modules_after(source: str, folder: Path | None = None) -> set[str]:
    """Give the modules that a fresh interpreter has imported after ``source`` and had not at its start."""
    program = f"import sys\nbefore = set(sys.modules)\n{source}\nprint(*sorted(set(sys.modules) - before))"
    words = [sys.executable, "-c", program]
    return set(subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout.split())


def imports_of(path: Path) -> set[tuple[str, str]]:
    """Give each import of a file, at its top or within: the module, and the name that is imported from it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(each.name, "") for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            found |= {(node.module or "", each.name) for each in node.names}
    return found


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` is sorted, each name of it exists, and ``dir()`` shows the same."""
    assert sorted(runcontext.__all__) == runcontext.__all__
    assert len(set(runcontext.__all__)) == len(runcontext.__all__)
    for name in runcontext.__all__:
        assert getattr(runcontext, name) is not None
    assert sorted(dir(runcontext)) == runcontext.__all__


def test_what_the_issue_asks_for_is_public() -> None:
    """The names that the documentation promises are there."""
    promised = """
        start_run end_run active_run log_param log_params log_metric log_metrics set_tag set_tags log_artifact
        log_artifacts log_text get_run search_runs set_tracking_uri get_tracking_uri set_experiment resolve_context
        register_provider unregister_provider RunContextProvider NotInContext Attachment Context Outcome OutcomeStatus
        RunStatus Run
    """
    assert set(promised.split()) <= set(runcontext.__all__)


def test_types_see_what_is_imported_on_use() -> None:
    """The imports that type checkers read, and the names that are imported on use, are the same."""
    seen = {name for module, name in imports_of(KERNEL / "__init__.py") if module.startswith("runcontext")}
    assert seen | {"__version__"} == set(runcontext.__all__)


def test_an_unknown_name() -> None:
    """A misspelt name raises AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="module 'runcontext' has no attribute 'start_rn'"):
        _ = runcontext.start_rn


def test_the_version() -> None:
    """``__version__`` is the distribution's."""
    assert runcontext.__version__ == importlib.metadata.version("runcontext")


def test_star_import() -> None:
    """``from runcontext import *`` gives every public name."""
    assert "start_run" in modules_and_names("from runcontext import *")


def modules_and_names(source: str) -> set[str]:
    """Give the names that ``source`` defines."""
    namespace: dict[str, object] = {}
    exec(source, namespace)  # noqa: S102 - a star import is only allowed at a module's top
    return set(namespace)


def test_importing_imports_nothing_else() -> None:
    """``import runcontext`` imports itself and not one module more."""
    assert modules_after("import runcontext") <= {"runcontext", "__future__"}


@pytest.mark.parametrize("providers", ["[]", "None"])
def test_the_first_run_imports_little(providers: str, tmp_path: Path) -> None:
    """Up to the first line of the block nothing heavy, no third-party package and no companion provider is imported."""
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = [\n  'runcontext',\n]\n", encoding="utf-8")
    source = f"import runcontext\nrunning = runcontext.start_run(tracking_uri='runs', providers={providers})"
    imported = modules_after(source, tmp_path)
    top_level = {name.partition(".")[0] for name in imported}
    assert not imported & HOT_PATH_FREE_OF, imported & HOT_PATH_FREE_OF
    assert top_level - set(sys.stdlib_module_names) <= {"runcontext", "runcontext_providers"}
    assert not imported & {f"runcontext_providers.{name}" for name in ("git", "host", "gpu", "python")}


def test_logging_imports_nothing_more(tmp_path: Path) -> None:
    """Params, metrics and tags are logged with what the first run has imported."""
    start = "import runcontext\nwith runcontext.start_run(tracking_uri='runs', providers=[]) as run:\n"
    log = "    run.log_param('a', 1)\n    run.log_metric('b', 2, step=3)\n    run.set_tag('c', 4)\n"
    assert not modules_after(start + log, tmp_path) & HOT_PATH_FREE_OF


@pytest.mark.parametrize("path", sorted(KERNEL.rglob("*.py")), ids=lambda path: str(path.relative_to(KERNEL)))
def test_the_kernel_imports_no_provider(path: Path) -> None:
    """Providers are named by strings and imported where they run; the kernel knows none."""
    assert not {module for module, _ in imports_of(path) if module.partition(".")[0] == "runcontext_providers"}


@pytest.mark.parametrize("path", sorted(PROVIDERS.glob("*.py")), ids=lambda path: path.name)
def test_providers_import_only_what_is_public(path: Path) -> None:
    """A provider of ours can do what anybody's can: it imports public names of the kernel, and of redaction."""
    for module, name in imports_of(path):
        if module == "runcontext":
            assert name in runcontext.__all__
        elif module.partition(".")[0] == "runcontext":
            assert module in ("runcontext.provider", "runcontext.redaction", "runcontext.program"), module
            assert name in importlib.import_module(module).__dict__
            assert not name.startswith("_")
        assert module.partition(".")[0] not in ("context", "providers"), "that would be a second copy of every class"


def test_the_entry_points_are_the_providers() -> None:
    """The distribution declares exactly the built-in providers, and each is a file of its own name."""
    declared = importlib.metadata.distribution("runcontext").entry_points
    ours = {each.name: each.value for each in declared if each.group == "runcontext.providers"}
    assert ours == {name: target for name, (target, _) in registry.BUILT_IN.items()}
    files = {path.stem for path in PROVIDERS.glob("*.py") if not path.stem.startswith("_")}
    assert files == set(registry.BUILT_IN)
    for name, target in ours.items():
        assert target.startswith(f"runcontext_providers.{name}:")
        provider = registry.load(target)
        assert registry.shape_problem(provider) is None
        assert provider.__doc__


def test_mlflow_finds_us() -> None:
    """The one entry point of MLflow's group is ours, and its module can be imported without MLflow."""
    declared = importlib.metadata.distribution("runcontext").entry_points
    (ours,) = [each for each in declared if each.group == "mlflow.run_context_provider"]
    assert ours.load() is not None
    assert not any(name.partition(".")[0] == "mlflow" for name in modules_after(f"import {ours.module}"))


def test_public_things_are_documented() -> None:
    """Every public name has a docstring that says what it is for."""
    for name in runcontext.__all__:
        if name != "__version__":
            assert (getattr(runcontext, name).__doc__ or "").strip(), name


def test_the_packages_are_typed() -> None:
    """Both packages carry the mark that makes type checkers read them (PEP 561)."""
    assert (KERNEL / "py.typed").is_file()
    assert (PROVIDERS / "py.typed").is_file()


def test_nothing_else_lies_in_a_source_root() -> None:
    """In a checkout, each source root holds its package and nothing that could be imported by accident."""
    for package in (KERNEL, PROVIDERS):
        if package.parent.name in ("context", "providers"):
            names = {path.name for path in package.parent.iterdir() if path.name[0] not in "._"}
            assert names == {package.name}
