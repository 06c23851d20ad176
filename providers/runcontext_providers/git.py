"""From what code: the commit, branch and remote of the program's repository, and what was changed in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial

from runcontext import Attachment, NotInContext, current_program
from runcontext.provider import TagValue
from runcontext_providers._git.command import GitCommand, NoGit
from runcontext_providers._git.facts import Facts, GitsAnswers, as_boolean
from runcontext_providers._git.fallback import Origin
from runcontext_providers._git.no_answers import NoCheckout
from runcontext_providers._git.questions import AT_END
from runcontext_providers._git.repository import Repository, choose_repository
from runcontext_providers._surroundings.ci_systems import CiVcs, vcs_of_environment


class GitProvider:
    """The state of the code: which repository, commit and branch, and a patch of what was changed since.

    The repository is the main file's where it tracks that file, else that of the working directory. All facts are
    git's own answers at the moment of the capture. ``git.untracked`` counts as ``git status`` shows by default: a
    folder with nothing tracked in it is one, an ignored file is none. ``mlflow.source.git.dirty`` is about tracked
    files, in submodules too. ``mlflow.source.git.repoURL`` is the address as configured, before any ``insteadOf``,
    without its credentials. ``git.tree`` names the tree that git would commit of all that is tracked or could be:
    where it is the same, so are the files.

    ``budget`` is what all calls of git may take together, in seconds: less than a provider may, so that a git that
    hangs costs its facts and leaves time to say so. ``patch_cap`` is in bytes. ``environment`` is where the variables
    of a CI system are looked for, the process's own unless given.
    """

    placement = "companion"

    def __init__(
        self, *, budget: float = 20.0, patch_cap: int = 10 << 20, environment: Mapping[str, str] | None = None
    ) -> None:
        """Take the limits; nothing is looked at before the first call."""
        self._budget = budget
        self._patch_cap = patch_cap
        self._environment = environment

    def in_context(self) -> bool:
        """Find the repository; raises NotInContext, with the reason, where the code is in none and no CI knows it."""
        try:
            return bool(self._repository.root)
        except NotInContext:
            if self._ci is None:
                raise
            return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give the facts, each of which can fail alone; raises NotInContext where git refuses the repository."""
        facts = self._facts
        origin = Origin(facts, self._ci)
        return {
            "mlflow.source.git.commit": origin.commit,
            "mlflow.source.git.branch": origin.branch,
            "mlflow.source.git.repoURL": origin.url,
            "mlflow.source.git.dirty": lambda: as_boolean(facts.is_dirty()),
            "git.untracked": facts.untracked,
            "git.tree": facts.tree,
            "git.root": facts.root,
            "git.tracked": facts.tracked,
            "git.describe": facts.describe,
            "git.commit.time": facts.commit_time,
            "git.pushed": facts.pushed,
            "git.state": facts.state,
            "git.submodules": facts.submodules,
            "git.lfs": facts.lfs,
            "git.fallback": origin.fallback,
        }

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give the facts that are others where HEAD moved or files were edited during the run.

        Git is first asked when one of them is: of a run that ends at once none is.
        """
        readings: Mapping[str, Callable[[Facts, Origin], str | None]] = {
            "mlflow.source.git.commit": lambda _facts, origin: origin.commit(),
            "mlflow.source.git.branch": lambda _facts, origin: origin.branch(),
            "mlflow.source.git.dirty": lambda facts, _origin: as_boolean(facts.is_dirty()),
            "git.untracked": lambda facts, _origin: facts.untracked(),
            "git.tree": lambda facts, _origin: facts.tree(),
            "git.describe": lambda facts, _origin: facts.describe(),
        }
        return {tag: partial(self._read_at_end, read) for tag, read in readings.items()}

    def _read_at_end(self, read: Callable[[Facts, Origin], str | None]) -> str | None:
        return read(self._facts_at_end, self._origin_at_end)

    def attachments(self) -> Iterable[Attachment]:
        """Give ``git.patch``, against the commit, where a tracked file was changed, and what is untracked.

        A clean tree has no attachments.
        """
        return self._facts.attachments(self._patch_cap)

    @cached_property
    def _facts(self) -> Facts:
        return self._asked()

    @cached_property
    def _facts_at_end(self) -> Facts:
        return self._asked(AT_END)

    @cached_property
    def _origin_at_end(self) -> Origin:
        return Origin(self._facts_at_end, self._ci)

    @cached_property
    def _ci(self) -> CiVcs | None:
        return vcs_of_environment(os.environ if self._environment is None else self._environment)

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

    def _asked(self, *wanted: frozenset[str]) -> Facts:
        try:
            return self._of_checkout(*wanted)
        except NotInContext as reason:
            if self._ci is None:
                raise
            return NoCheckout(str(reason))

    def _of_checkout(self, *wanted: frozenset[str]) -> Facts:
        command = self._command
        if isinstance(command, NoGit):
            # GitPython, which it imports, takes longer to import than git does to answer.
            from runcontext_providers._git.files_only import FilesOnly

            return FilesOnly(self._repository, str(command))
        return GitsAnswers(self._repository, command, *wanted)
