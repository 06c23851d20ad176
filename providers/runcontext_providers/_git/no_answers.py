"""The facts about a repository where git cannot be asked: what its files tell, or nothing but the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runcontext import Attachment, NotInContext
from runcontext_providers._git.facts import DETACHED, PATCH, UNTRACKED, of_some_commit
from runcontext_providers._git.gitpython import read_branch, read_commit, read_configuration
from runcontext_providers._git.repository import Repository


class NoAnswers:
    """No fact at all, for one reason: what the others begin with."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def attachments(self, patch_cap: int) -> Iterator[Attachment]:  # noqa: ARG002 - the size of no patch
        yield from ()

    def configuration(self) -> Mapping[str, list[str]]:
        raise NotInContext(self.reason)

    def is_dirty(self) -> bool:
        raise NotInContext(self.reason)

    def _unknown(self) -> str:
        raise NotInContext(self.reason)

    commit = branch = untracked = root = tracked = describe = commit_time = _unknown
    pushed = state = submodules = lfs = tree = _unknown


class NoCheckout(NoAnswers):
    """There is no repository, or none that git reads: only a CI system may tell what the code is."""


class FilesOnly(NoAnswers):
    """The facts where there is no git binary: what HEAD and the configuration say, by GitPython's readers."""

    def __init__(self, repository: Repository, reason: str) -> None:
        super().__init__(reason)
        if repository.opened is None:
            raise NotInContext(reason)
        self._opened = repository.opened
        self._root = repository.root

    def commit(self) -> str:
        return of_some_commit(read_commit(self._opened))

    def branch(self) -> str:
        name = read_branch(self._opened)
        if name is None:
            raise NotInContext(DETACHED)
        return name

    def configuration(self) -> Mapping[str, list[str]]:
        return read_configuration(self._opened)

    def root(self) -> str:
        return self._root

    def attachments(self, patch_cap: int) -> Iterator[Attachment]:  # noqa: ARG002 - as above
        for name in (PATCH, UNTRACKED):
            yield Attachment(name, None, reason=self.reason)
