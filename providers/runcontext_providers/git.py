"""From what code: the commit, branch and remote of the program's repository, and what was changed in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import cached_property

from runcontext import Attachment, NotInContext, current_program
from runcontext.provider import TagValue
from runcontext.redaction import redact_url
from runcontext_providers._git_command import GitCommand, GitError, NoGit
from runcontext_providers._git_facts import NO_REMOTES, Facts, FilesOnly, GitsAnswers, as_boolean, remotes_of
from runcontext_providers._gitpython import make_gitpython_usable
from runcontext_providers._repository import Repository, choose_repository


class GitProvider:
    """The state of the code: which repository, commit and branch, and a patch of what was changed since.

    The repository is the main file's where it tracks that file, else that of the working directory. All facts are
    git's own answers at the moment of the capture. ``git.untracked`` counts as ``git status`` shows by default: a
    folder with nothing tracked in it is one, an ignored file is none. ``mlflow.source.git.dirty`` is about tracked
    files, in submodules too. ``mlflow.source.git.repoURL`` is the address as configured, before any ``insteadOf``,
    without its credentials.

    ``budget`` is what all calls of git may take together, in seconds: less than a provider may, so that a git that
    hangs costs its facts and leaves time to say so. ``patch_cap`` is in bytes.
    """

    placement = "companion"

    def __init__(self, *, budget: float = 20.0, patch_cap: int = 10 << 20) -> None:
        """Take the limits; nothing is looked at before the first call."""
        self._budget = budget
        self._patch_cap = patch_cap

    def in_context(self) -> bool:
        """Find the repository; raises NotInContext, with the reason, where the code is in none."""
        return bool(self._repository.root)

    def tags(self) -> Mapping[str, TagValue]:
        """Give the facts, each of which can fail alone; raises NotInContext where git refuses the repository."""
        facts = self._facts
        return {
            "mlflow.source.git.commit": facts.commit,
            "mlflow.source.git.branch": facts.branch,
            "mlflow.source.git.repoURL": lambda: _repo_url(facts),
            "mlflow.source.git.dirty": lambda: as_boolean(facts.is_dirty()),
            "git.untracked": facts.untracked,
            "git.root": facts.root,
            "git.tracked": facts.tracked,
            "git.describe": facts.describe,
            "git.pushed": facts.pushed,
            "git.state": facts.state,
        }

    def attachments(self) -> Iterator[Attachment]:
        """Give ``git.patch``, against the commit, where a tracked file was changed; a clean tree has none."""
        patch = self._facts.patch(self._patch_cap)
        if patch is not None:
            yield patch

    @cached_property
    def _command(self) -> GitCommand | NoGit:
        try:
            return GitCommand(budget=self._budget)
        except NoGit as error:
            return error

    @cached_property
    def _repository(self) -> Repository:
        command = self._command
        return choose_repository(current_program(), None if isinstance(command, NoGit) else command)

    @cached_property
    def _facts(self) -> Facts:
        command = self._command
        if isinstance(command, NoGit):
            return FilesOnly(self._repository, str(command))
        facts = GitsAnswers(self._repository, command)
        if current_program().pid == os.getpid():
            make_gitpython_usable()
        return facts


def _repo_url(facts: Facts) -> str:
    configuration = facts.configuration()
    remotes = remotes_of(configuration)
    if not remotes:
        raise NotInContext(NO_REMOTES)
    upstream = ""
    with contextlib.suppress(NotInContext, GitError):
        upstream = configuration.get(f"branch.{facts.branch()}.remote", [""])[-1]
    chosen = next(name for name in ("origin", upstream, *remotes) if name in remotes)
    return redact_url(remotes[chosen])
