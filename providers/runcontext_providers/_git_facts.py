"""Each fact about a repository, as git tells it, or as its files do where there is no git."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, Protocol

from runcontext import Attachment, NotInContext
from runcontext_providers._git_command import GitCommand, GitError
from runcontext_providers._gitpython import read_branch, read_commit, read_configuration
from runcontext_providers._patch import PATCH_COMMAND, without_secrets
from runcontext_providers._repository import Repository, is_tracked, marked_folder, refusal

_PATCH = "git.patch"
_NO_COMMIT = "no commit yet"
NO_REMOTES = "no remotes"
_NO_WORK_TREE = "a bare repository has no work tree"
_DETACHED = "detached HEAD"
# git stops at the first that it cannot tell, so what is always there stands first: a bare repository has no top folder,
# and HEAD names no commit before the first one. Whether that commit has the main file is asked last: a process of its
# own, `git ls-files`, is then needed only for a file that it has not.
_FLAGS = (
    "rev-parse",
    "--is-bare-repository",
    "--is-shallow-repository",
    "--absolute-git-dir",
    "--git-common-dir",
    "--show-toplevel",
    "HEAD",
    "--symbolic-full-name",
    "HEAD",
)
_FLAGS_OF_WORK_TREE, _FLAGS_OF_COMMIT = 5, 7
_HEAD = ("rev-parse", "--verify", "HEAD")
_BRANCH = ("symbolic-ref", "--short", "--quiet", "HEAD")
_STATUS = (
    "status",
    "--porcelain=v2",
    "--branch",
    "-z",
    "--untracked-files=normal",
    "--ignore-submodules=untracked",
    "--no-renames",
    "--no-ahead-behind",
)
_SUPERPROJECT = ("rev-parse", "--show-superproject-working-tree")
_DESCRIBE = ("describe", "--tags", "HEAD")
_PUSHED = ("for-each-ref", "--contains", "HEAD", "--count=1", "--format=%(refname)", "refs/remotes")
_CONFIGURATION = (
    "config",
    "-z",
    "--get-regexp",
    r"^(remote\..*\.url|branch\..*\.remote|core\.sparsecheckout)$",
)
# The empty tree's name depends on the repository's hash function.
_EMPTY_TREE = ("hash-object", "-t", "tree", os.devnull)
# What lies in a repository's folder while an operation is under way, as `git status` looks for it:
# wt_status_get_state in git's wt-status.c.
_UNDER_WAY = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
_TRUE = frozenset({"", "true", "yes", "on", "1"})


class Facts(Protocol):
    """One method a fact: it gives the value, or raises NotInContext or GitError with the reason why not."""

    def commit(self) -> str: ...
    def branch(self) -> str: ...
    def configuration(self) -> Mapping[str, list[str]]: ...
    def is_dirty(self) -> bool: ...
    def untracked(self) -> str: ...
    def root(self) -> str: ...
    def tracked(self) -> str: ...
    def describe(self) -> str: ...
    def pushed(self) -> str: ...
    def state(self) -> str: ...
    def patch(self, cap: int) -> Attachment | None: ...


class GitsAnswers:
    """The facts as git tells them: all questions are put at once, and none twice."""

    def __init__(self, repository: Repository, command: GitCommand) -> None:
        self._repository = repository
        self._command = command
        self._answers = command.ask(repository.root, _questions(repository))
        self._flags = self._answers["flags"].lines
        if not self._flags:
            raise refusal(self._answers["flags"], f"{_marker(repository.root)}: ")
        _refuse_another(repository.root, self._flags)

    def commit(self) -> str:
        return _of_some_commit(self._head[0])

    def branch(self) -> str:
        name = self._head[1]
        if name is None:
            raise NotInContext(_DETACHED)
        return name

    def configuration(self) -> Mapping[str, list[str]]:
        answer = self._answers["configuration"]
        if answer.returncode == 1:
            return {}
        values = defaultdict(list)
        for entry in answer.text().split("\0")[:-1]:
            key, _, value = entry.partition("\n")
            values[key].append(value)
        return values

    def is_dirty(self) -> bool:
        return self._status.changed > 0

    def untracked(self) -> str:
        return str(self._status.untracked)

    def root(self) -> str:
        return self._flags[4] if self._has_work_tree else self._flags[2]

    def tracked(self) -> str:
        main_file = self._repository.main_file
        if main_file is None:
            reason = "no main file"
            raise NotInContext(reason)
        path = self._repository.main_path
        if path is None:
            return "false"
        is_in_commit = self._answers["flags"].returncode == 0
        return as_boolean(
            (is_in_commit and path not in self._status.removed)
            or is_tracked(main_file, self._repository.root, self._command)
        )

    def describe(self) -> str:
        self.commit()
        answer = self._answers["describe"]
        if any(words in answer.reason for words in ("No names found", "No tags can describe")):
            reason = "no tag on HEAD or before it"
            raise NotInContext(reason)
        return answer.text().removesuffix("\n")

    def pushed(self) -> str:
        if not remotes_of(self.configuration()):
            raise NotInContext(NO_REMOTES)
        self.commit()
        return as_boolean(self._command.ask(self._repository.root, {"pushed": _PUSHED})["pushed"].text())

    def state(self) -> str:
        words = [word for word, holds in self._states() if holds]
        if not words:
            reason = "nothing out of the ordinary"
            raise NotInContext(reason)
        return ",".join(words)

    def patch(self, cap: int) -> Attachment | None:
        try:
            return self._patch(cap) if self.is_dirty() else None
        except NotInContext:
            return None
        except GitError as error:
            return Attachment(_PATCH, None, reason=str(error))

    def _patch(self, cap: int) -> Attachment:
        commit = self._head[0] or self._command.ask(self.root(), {"tree": _EMPTY_TREE})["tree"].text().strip()
        question = {"diff": (*PATCH_COMMAND, commit, "--")}
        answer = self._command.ask(self.root(), question, keep=cap)["diff"]
        if answer.returncode == 0 and answer.stdout is None:
            reason = f"the patch is over its cap of {cap} bytes"
            return Attachment(_PATCH, None, reason, answer.size_bytes, answer.sha256)
        if not answer.output():
            reason = "what was changed is inside submodules, or was undone since"
            return Attachment(_PATCH, None, reason)
        safe = without_secrets(answer.output(), self.root())
        remarks = "; ".join(safe.remarks) or None
        if not safe.content:
            return Attachment(_PATCH, None, remarks, answer.size_bytes, answer.sha256, safe.redacted)
        return Attachment(_PATCH, safe.content, remarks, redacted=safe.redacted)

    @property
    def _has_work_tree(self) -> bool:
        return len(self._flags) >= _FLAGS_OF_WORK_TREE

    @cached_property
    def _status(self) -> _Status:
        answer = self._answers["status"]
        if "must be run in a work tree" in answer.reason:
            raise NotInContext(_NO_WORK_TREE)
        status = _Status.of(answer.text())
        if status.branch == "(unknown)":
            # So git calls it where HEAD's reference holds no commit, as after a crash; all files then seem new.
            message = "git status: the reference that HEAD names is broken"
            raise GitError(message)
        return status

    @cached_property
    def _head(self) -> tuple[str | None, str | None]:
        """The commit, None before the first, and the branch, None where detached: by `git status`, or else without."""
        if not self._answers["status"].reason:
            return self._status.commit, self._status.branch
        if len(self._flags) >= _FLAGS_OF_COMMIT:
            commit, branch = self._flags[_FLAGS_OF_WORK_TREE:_FLAGS_OF_COMMIT]
            return commit, None if branch == "HEAD" else branch.removeprefix("refs/heads/")
        answers = self._command.ask(self._repository.root, {"commit": _HEAD, "branch": _BRANCH})
        is_unborn = "Needed a single revision" in answers["commit"].reason
        is_detached = answers["branch"].returncode == 1
        return (
            None if is_unborn else answers["commit"].text().strip(),
            None if is_detached else answers["branch"].text().strip(),
        )

    def _states(self) -> Iterator[tuple[str, bool]]:
        git_dir, common_dir = (os.path.join(self._repository.root, path) for path in self._flags[2:4])
        superproject = self._answers.get("superproject")
        yield "bare", self._flags[0] == "true"
        yield "worktree", os.path.realpath(git_dir) != os.path.realpath(common_dir)
        yield "submodule", superproject is not None and superproject.text() != ""
        yield "shallow", self._flags[1] == "true"
        yield "sparse", self.configuration().get("core.sparsecheckout", ["false"])[-1].lower() in _TRUE
        under_way = (word for name, word in _UNDER_WAY.items() if os.path.exists(os.path.join(git_dir, name)))
        yield from ((word, True) for word in under_way)


class FilesOnly:
    """The facts where there is no git binary: what HEAD and the configuration say, by GitPython's readers."""

    def __init__(self, repository: Repository, reason: str) -> None:
        if repository.opened is None:
            raise NotInContext(reason)
        self._opened = repository.opened
        self._root = repository.root
        self._reason = reason

    def commit(self) -> str:
        return _of_some_commit(read_commit(self._opened))

    def branch(self) -> str:
        name = read_branch(self._opened)
        if name is None:
            raise NotInContext(_DETACHED)
        return name

    def configuration(self) -> Mapping[str, list[str]]:
        return read_configuration(self._opened)

    def root(self) -> str:
        return self._root

    def patch(self, cap: int) -> Attachment:  # noqa: ARG002 - the size of no patch
        return Attachment(_PATCH, None, reason=self._reason)

    def is_dirty(self) -> bool:
        raise NotInContext(self._reason)

    def _unknown(self) -> str:
        raise NotInContext(self._reason)

    untracked = tracked = describe = pushed = state = _unknown


class _Status(NamedTuple):
    """What `git status` told.

    ``commit`` is None before the first, ``branch`` is None where HEAD is detached; ``removed`` are the paths that the
    commit has and the index has not.
    """

    commit: str | None
    branch: str | None
    changed: int
    untracked: int
    removed: frozenset[str]

    @classmethod
    def of(cls, output: str) -> _Status:
        """Read git-status(1), "Porcelain Format Version 2", as it is with -z and without renames."""
        records = output.split("\0")
        parted = (record[2:].partition(" ") for record in records if record.startswith("# "))
        headers = {name: value for name, _, value in parted}
        commit, branch = headers["branch.oid"], headers["branch.head"]
        return cls(
            None if commit == "(initial)" else commit,
            None if branch == "(detached)" else branch,
            changed=sum(record.startswith(("1 ", "u ")) for record in records),
            untracked=sum(record.startswith("? ") for record in records),
            removed=frozenset(record.split(" ", 8)[8] for record in records if record.startswith("1 D")),
        )


def _marker(root: str) -> str:
    marker = os.path.join(root, ".git")
    return marker if os.path.lexists(marker) else root


def _refuse_another(root: str, flags: list[str]) -> None:
    # Where a `.git` is broken git goes on to the folders above: what it finds there is not this program's code.
    marker = _marker(root)
    if marker != root and len(flags) >= _FLAGS_OF_WORK_TREE:
        is_same = os.path.realpath(flags[4]) == root or os.path.realpath(flags[2]) == os.path.realpath(marker)
        if not is_same:
            reason = f"{marker} is not a repository that git can read"
            raise NotInContext(reason)


def _questions(repository: Repository) -> dict[str, tuple[str, ...]]:
    path = repository.main_path
    in_commit = () if path is None else (f"HEAD:{path}",)
    questions = {
        "status": _STATUS,
        "flags": (*_FLAGS, *in_commit),
        "configuration": _CONFIGURATION,
        "describe": _DESCRIBE,
    }
    if marked_folder(os.path.dirname(repository.root)) is not None:
        questions["superproject"] = _SUPERPROJECT
    return questions


def remotes_of(configuration: Mapping[str, list[str]]) -> dict[str, str]:
    """Give each remote's first address, in the order of the configuration."""
    return {
        key.removeprefix("remote.").removesuffix(".url"): urls[0]
        for key, urls in configuration.items()
        if key.startswith("remote.") and urls[0]
    }


def _of_some_commit(commit: str | None) -> str:
    if commit is None:
        raise NotInContext(_NO_COMMIT)
    return commit


def as_boolean(value: object) -> str:
    """Write a truth as tags hold it."""
    return "true" if value else "false"
