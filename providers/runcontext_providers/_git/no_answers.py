"""The facts about code whose repository nobody can be asked about: nothing but the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runcontext import Attachment, NotInContext


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
