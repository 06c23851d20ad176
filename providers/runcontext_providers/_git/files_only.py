"""The facts about a repository where there is no git binary: what its files tell, by GitPython's readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runcontext import Attachment, NotInContext
from runcontext_providers._git.facts import DETACHED, PATCH, UNTRACKED, of_some_commit
from runcontext_providers._git.gitpython import open_repository, read_branch, read_commit, read_configuration, root_of
from runcontext_providers._git.layout import marker_of
from runcontext_providers._git.no_answers import NoAnswers
from runcontext_providers._git.repository import Repository


class FilesOnly(NoAnswers):
    """The facts where there is no git binary: what HEAD and the configuration say."""

    def __init__(self, repository: Repository, reason: str) -> None:
        super().__init__(reason)
        opened = open_repository(repository.root)
        if opened is None or root_of(opened) != repository.root:
            unreadable = f"{marker_of(repository.root)} is not a repository that GitPython can read"
            raise NotInContext(unreadable)
        self._opened = opened
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

    def attachments(self, patch_cap: int) -> Iterator[Attachment]:  # noqa: ARG002 - the size of no patch
        for name in (PATCH, UNTRACKED):
            yield Attachment(name, None, reason=self.reason)
