"""What a CI system's variables say where the checkout itself cannot tell: marked as such, and never instead of git."""

from __future__ import annotations

import contextlib

from runcontext import NotInContext
from runcontext.redaction import redact_url
from runcontext_providers._git.command import GitError
from runcontext_providers._git.facts import DETACHED, NO_REMOTES, Facts, remotes_of
from runcontext_providers._git.no_answers import NoCheckout
from runcontext_providers._surroundings.ci_systems import CiVcs

COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
URL = "mlflow.source.git.repoURL"
_FIELDS = {COMMIT: "commit", BRANCH: "branch", URL: "repository_url"}
_HELPED = (DETACHED, NO_REMOTES)


class Origin:
    """The commit, branch and address of the code: git's, else the CI's.

    Without any checkout the CI tells all three. In one, it tells the branch where HEAD is detached, and the address
    where there are no remotes, unless it speaks of another commit than git does.
    """

    def __init__(self, facts: Facts, ci: CiVcs | None) -> None:
        """Take both."""
        self._facts = facts
        self._ci = ci
        self._variables: dict[str, str] = {}

    def commit(self) -> str:
        """Give the commit; raises NotInContext or GitError, as the others do."""
        return self._told(COMMIT)

    def branch(self) -> str:
        """Give the branch."""
        return self._told(BRANCH)

    def url(self) -> str:
        """Give the address, without its credentials."""
        return self._told(URL)

    def fallback(self) -> str:
        """Say which of the three are from which variable; raises NotInContext where none is."""
        for tag in _FIELDS:
            with contextlib.suppress(NotInContext, GitError):
                self._told(tag)
        if not self._variables:
            reason = "nothing was taken from the variables of a CI system"
            raise NotInContext(reason)
        return ", ".join(f"{tag} from {variable}" for tag, variable in self._variables.items())

    def _told(self, tag: str) -> str:
        told_by_git = {COMMIT: self._facts.commit, BRANCH: self._facts.branch, URL: self._url}
        try:
            return told_by_git[tag]()
        except NotInContext as reason:
            return self._told_by_ci(tag, reason)

    def _told_by_ci(self, tag: str, reason: NotInContext) -> str:
        ci, field = self._ci, _FIELDS[tag]
        value: str | None = getattr(ci, field, None)
        is_helped = isinstance(self._facts, NoCheckout) or str(reason) in _HELPED
        if ci is None or value is None or not is_helped:
            raise reason
        variable = ci.variables[field]
        if not isinstance(self._facts, NoCheckout) and ci.commit not in {None, self._facts.commit()}:
            reason = NotInContext(f"{reason}, and {variable} is about another commit, {ci.commit}")
            raise reason
        self._variables[tag] = variable
        return value

    def _url(self) -> str:
        configuration = self._facts.configuration()
        remotes = remotes_of(configuration)
        if not remotes:
            raise NotInContext(NO_REMOTES)
        upstream = ""
        with contextlib.suppress(NotInContext, GitError):
            upstream = configuration.get(f"branch.{self._facts.branch()}.remote", [""])[-1]
        chosen = next(name for name in ("origin", upstream, *remotes) if name in remotes)
        return redact_url(remotes[chosen])
