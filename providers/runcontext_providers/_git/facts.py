"""Each fact about a repository, as git tells it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from runcontext import Attachment, NotInContext
from runcontext_providers._git.command import KEPT_BYTES, GitAnswer, GitCommand, GitError
from runcontext_providers._git.layout import common_dir_of, git_dir_of, marked_folder, marker_of
from runcontext_providers._git.looks import Index, look_into_index, may_have_tags
from runcontext_providers._git.objects import algorithm_of, identify
from runcontext_providers._git.questions import (
    ATTRIBUTES,
    EMPTY_TREE,
    FLAGS,
    FLAGS_OF_COMMIT,
    FLAGS_OF_WORK_TREE,
    HEAD,
    INSIDE,
    PUSHED,
    QUESTIONS,
    UNTRACKED_FILES,
)
from runcontext_providers._git.repository import Repository, is_tracked, refusal
from runcontext_providers._git.status import Change, Status

PATCH = "git.patch"
UNTRACKED = "untracked.json"
NO_REMOTES = "no remotes"
DETACHED = "detached HEAD"
_NO_COMMIT = "no commit yet"
_NO_WORK_TREE = "a bare repository has no work tree"
# No more places are named to git, which then looks through the whole work tree once more.
_MOST_PLACES = 200
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
    def commit_time(self) -> str: ...
    def pushed(self) -> str: ...
    def state(self) -> str: ...
    def submodules(self) -> str: ...
    def lfs(self) -> str: ...
    def tree(self) -> str: ...
    def attachments(self, patch_cap: int) -> Iterable[Attachment]: ...


class GitsAnswers:
    """The facts as git tells them: all questions are put at once, and none twice.

    ``wanted`` names the questions to put at once, all unless said; any other is put when its answer is needed.
    """

    def __init__(self, repository: Repository, command: GitCommand, wanted: Collection[str] = QUESTIONS) -> None:
        self._repository = repository
        self._git_dir = git_dir_of(repository.root)
        self.command = command
        self._inside: dict[str, GitsAnswers] = {}
        self.lfs_changes: frozenset[str] = frozenset()
        self._answers = command.ask(repository.root, self._questions(wanted))
        self._flags = self._answers["flags"].lines
        if not self._flags:
            raise refusal(self._answers["flags"], f"{marker_of(repository.root)}: ")
        _refuse_another(repository.root, self._flags)

    def commit(self) -> str:
        return of_some_commit(self.head[0])

    def branch(self) -> str:
        name = self.head[1]
        if name is None:
            raise NotInContext(DETACHED)
        return name

    def configuration(self) -> Mapping[str, list[str]]:
        answer = self._answer("configuration")
        if answer.returncode == 1:
            return {}
        values = defaultdict(list)
        for entry in answer.text().split("\0")[:-1]:
            key, _, value = entry.partition("\n")
            values[key].append(value)
        return values

    def is_dirty(self) -> bool:
        return self.status.is_dirty

    def untracked(self) -> str:
        return str(len(self.status.untracked))

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
            (is_in_commit and not self.status.has_removed(path))
            or is_tracked(main_file, self._repository.root, self.command)
        )

    def describe(self) -> str:
        self.commit()
        answer = self._answers.get("describe")
        if answer is None or any(words in answer.reason for words in ("No names found", "No tags can describe")):
            reason = "no tag on HEAD or before it"
            raise NotInContext(reason)
        return answer.text().removesuffix("\n")

    def commit_time(self) -> str:
        self.commit()
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(self._tree_and_time[1])))

    def pushed(self) -> str:
        if not remotes_of(self.configuration()):
            raise NotInContext(NO_REMOTES)
        self.commit()
        return as_boolean(self.ask(PUSHED).text())

    def state(self) -> str:
        words = [word for word, holds in self._states() if holds]
        if not words:
            reason = "nothing out of the ordinary"
            raise NotInContext(reason)
        return ",".join(words)

    def submodules(self) -> str:
        from runcontext_providers._git.submodules import submodules_of

        _ = self.status
        listed = self._answer("index").text() if self._index.has_submodules else ""
        return submodules_of(self.root(), listed, self.status, lambda path: self.inside(path).head[0])

    def lfs(self) -> str:
        from runcontext_providers._git.lfs import pointers_among

        _ = self.status
        listed = self._answer("lfs").text() if self._index.has_attributes else ""
        return pointers_among(self.root(), listed.split("\0")[:-1])

    def tree(self) -> str:
        if self.status.is_clean and self.head[0] is not None:
            return self._tree_and_time[0]
        from runcontext_providers._git.tree import WorkTree, hash_tree

        is_unborn = self.head[0] is None
        tree = self.empty_tree() if is_unborn else self._tree_and_time[0]
        return hash_tree(
            WorkTree(
                root=self.root(),
                tree=None if is_unborn else tree,
                algorithm=algorithm_of(tree),
                changes=self.status.changes,
                untracked=self.untracked_paths,
                drivers=frozenset(key.split(".", 1)[1].rpartition(".")[0] for key in self._filters()),
                lfs=self.lfs_changes | self._kept_by_lfs(self.untracked_paths),
                tells_executables=self.configuration().get("core.filemode", ["true"])[-1].lower() in _TRUE,
                state_inside=self.state_inside,
            ),
            self.command,
        )

    def attachments(self, patch_cap: int) -> Iterator[Attachment]:
        from runcontext_providers._git.attachments import attachments_of

        return attachments_of(self, patch_cap)

    def ask(self, question: tuple[str, ...], *, keep: int = KEPT_BYTES, given: bytes | None = None) -> GitAnswer:
        """Put one more question, in the root; the arguments are those of ``GitCommand.ask``."""
        return self.command.ask(self.root(), {"": question}, keep=keep, given={} if given is None else {"": given})[""]

    def inside(self, path: str) -> GitsAnswers:
        """Give the facts of a repository inside this one, at ``path`` from the root."""
        if path not in self._inside:
            root = os.path.realpath(os.path.join(self.root(), path))
            self._inside[path] = GitsAnswers(Repository(root, None), self.command, INSIDE)
        return self._inside[path]

    def state_inside(self, path: str) -> tuple[str | None, str | None]:
        """Give the commit of a repository inside this one, and a hash of its tree where that is not the commit's."""
        inside = self.inside(path)
        return inside.head[0], None if inside.status.is_clean and inside.head[0] else inside.tree()

    def empty_tree(self) -> str:
        """Name the tree that has no files."""
        return self.ask(EMPTY_TREE).text().strip()

    @property
    def _has_work_tree(self) -> bool:
        return len(self._flags) >= FLAGS_OF_WORK_TREE

    @cached_property
    def status(self) -> Status:
        """What `git status` told; raises NotInContext where there is no work tree, and GitError where it failed."""
        answer = self._answer("status")
        if "must be run in a work tree" in answer.reason:
            raise NotInContext(_NO_WORK_TREE)
        status = Status.of(answer.text())
        if status.branch == "(unknown)":
            # So git calls it where HEAD's reference holds no commit, as after a crash; all files then seem new.
            message = "git status: the reference that HEAD names is broken"
            raise GitError(message)
        self.lfs_changes = self._kept_by_lfs([change.path for change in status.changes if change.is_changed_file])
        return status._replace(changes=tuple(filter(None, map(self._corrected, status.changes))))

    @cached_property
    def head(self) -> tuple[str | None, str | None]:
        """The commit, None before the first, and the branch, None where detached: by `git status`, or else without."""
        if not self._answer("status").reason:
            return self.status.commit, self.status.branch
        if len(self._flags) >= FLAGS_OF_COMMIT:
            commit, branch = self._flags[FLAGS_OF_WORK_TREE:FLAGS_OF_COMMIT]
            return commit, None if branch == "HEAD" else branch.removeprefix("refs/heads/")
        answers = self.command.ask(self._repository.root, HEAD)
        is_unborn = "Needed a single revision" in answers["commit"].reason
        is_detached = answers["branch"].returncode == 1
        return (
            None if is_unborn else answers["commit"].text().strip(),
            None if is_detached else answers["branch"].text().strip(),
        )

    @cached_property
    def untracked_paths(self) -> tuple[str, ...]:
        """Each untracked file, and each untracked repository with a slash at its end."""
        # Of a folder in the place of a tracked file `git status` says only that the file is gone.
        gone = (f"{change.path}/" for change in self.status.changes if change.is_gone)
        replaced = (path for path in gone if os.path.isdir(os.path.join(self.root(), path)))
        places = [*self.status.untracked, *replaced]
        if not places:
            return ()
        named = [f":(literal){place}" for place in places] if len(places) <= _MOST_PLACES else []
        return tuple(sorted(self.ask((*UNTRACKED_FILES, *named)).text().split("\0")[:-1]))

    @cached_property
    def _tree_and_time(self) -> tuple[str, str]:
        tree, seconds = self._answer("commit").text().split("\n")[1].split(" ")
        return tree, seconds

    def _answer(self, name: str) -> GitAnswer:
        if name not in self._answers:
            self._answers[name] = self.ask(QUESTIONS[name])
        return self._answers[name]

    def _filters(self) -> Iterator[str]:
        return (key for key in self.configuration() if key.startswith("filter."))

    def _corrected(self, change: Change) -> Change | None:
        """Give what is left of a change, since git takes each touched file that Git LFS keeps for changed."""
        if change.has_changes_inside:
            with contextlib.suppress(NotInContext, GitError):
                return change if self.inside(change.path).status.is_dirty else change.without_changes_inside()
        if change.path not in self.lfs_changes or change.mode != change.index_mode:
            return change
        from runcontext_providers._git.lfs import pointer_of

        pointer = pointer_of(os.path.join(self.root(), change.path), lambda: self.command.is_late)
        if identify(algorithm_of(change.index_id), b"blob", pointer) != change.index_id:
            return change
        return change.as_in_index()

    def _kept_by_lfs(self, paths: Sequence[str]) -> frozenset[str]:
        """Give those of ``paths`` that have the attribute filter=lfs."""
        may_be_kept = self._index.has_attributes or any(path.endswith(".gitattributes") for path in paths)
        if not paths or not may_be_kept:
            return frozenset()
        given = os.fsencode("".join(f"{path}\0" for path in paths))
        told = self.ask(ATTRIBUTES, given=given).text().split("\0")[:-1]
        return frozenset(path for path, value in zip(told[::3], told[2::3], strict=True) if value == "lfs")

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

    @cached_property
    def _index(self) -> Index:
        return look_into_index(self._repository.root, self._git_dir)

    def _questions(self, wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
        path, root = self._repository.main_path, self._repository.root
        needless = {
            "describe": not may_have_tags(None if self._git_dir is None else common_dir_of(self._git_dir)),
            "lfs": not self._index.has_attributes,
            "index": not self._index.has_submodules,
            "superproject": marked_folder(os.path.dirname(root)) is None,
        }
        questions = {name: words for name, words in QUESTIONS.items() if name in wanted and not needless.get(name)}
        if path is not None:
            questions["flags"] = (*FLAGS, f"HEAD:{path}")
        return questions


def _refuse_another(root: str, flags: list[str]) -> None:
    # Where a `.git` is broken git goes on to the folders above: what it finds there is not this program's code.
    marker = marker_of(root)
    if marker != root and len(flags) >= FLAGS_OF_WORK_TREE:
        is_same = os.path.realpath(flags[4]) == root or os.path.realpath(flags[2]) == os.path.realpath(marker)
        if not is_same:
            reason = f"{marker} is not a repository that git can read"
            raise NotInContext(reason)


def remotes_of(configuration: Mapping[str, list[str]]) -> dict[str, str]:
    """Give each remote's first address, in the order of the configuration."""
    return {
        key.removeprefix("remote.").removesuffix(".url"): urls[0]
        for key, urls in configuration.items()
        if key.startswith("remote.") and urls[0]
    }


def of_some_commit(commit: str | None) -> str:
    """Give the commit; raises NotInContext before the first one."""
    if commit is None:
        raise NotInContext(_NO_COMMIT)
    return commit


def as_boolean(value: object) -> str:
    """Write a truth as tags hold it."""
    return "true" if value else "false"
