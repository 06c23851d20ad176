"""What GitPython does here: read HEAD and remotes where there is no git binary."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from contextlib import contextmanager

from runcontext import NotInContext

# GitPython runs `git version` twice as it is imported, with no time limit: what it finds to run and is no git could
# hang the import. With nothing to run, nothing is asked.
_AT_IMPORT = {"GIT_PYTHON_GIT_EXECUTABLE": os.devnull, "GIT_PYTHON_REFRESH": "quiet"}


@contextmanager
def _no_git_at_import() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _AT_IMPORT}
    os.environ.update(_AT_IMPORT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _no_git_at_import():
    import git
    from git.exc import GitError


def open_repository(folder: str) -> git.Repo | None:
    """Open the repository that ``folder`` is in, None where GitPython sees none."""
    try:
        return git.Repo(folder, search_parent_directories=True, expand_vars=False)
    except (GitError, configparser.Error, OSError, ValueError):
        return None


def root_of(repository: git.Repo) -> str:
    """Give the top folder of the work tree, or of the repository itself where it has none."""
    return os.path.realpath(repository.working_tree_dir or repository.git_dir)


def read_commit(repository: git.Repo) -> str | None:
    """Read the commit that HEAD names from the files of ``repository``, None before the first."""
    _refuse_reftable(repository)
    try:
        return git.SymbolicReference.dereference_recursive(repository, "HEAD")
    except ValueError as error:
        reason = f"HEAD cannot be read without a git binary: {error}"
        raise NotInContext(reason) from error


def read_branch(repository: git.Repo) -> str | None:
    """Read the branch that HEAD names from the files of ``repository``, None where it is detached."""
    _refuse_reftable(repository)
    head = repository.head
    return None if head.is_detached else head.reference.name


def read_configuration(repository: git.Repo) -> dict[str, list[str]]:
    """Read the remotes and each branch's remote, by git's names: ``remote.origin.url``, ``branch.main.remote``."""
    reader = repository.config_reader("repository")
    values: dict[str, list[str]] = {}
    for section in reader.sections():
        kind, _, name = section.partition(" ")
        for option in ("url", "remote"):
            if kind in {"remote", "branch"} and reader.has_option(section, option):
                values[f"{kind}.{name.strip(chr(34))}.{option}"] = [
                    str(value) for value in reader.get_values(section, option)
                ]
    return values


def _refuse_reftable(repository: git.Repo) -> None:
    # There HEAD is a file that only keeps old readers out: "ref: refs/heads/.invalid". gitrepository-layout(5).
    if os.path.isdir(os.path.join(repository.common_dir, "reftable")):
        reason = "references in the reftable format cannot be read without a git binary"
        raise NotInContext(reason)
