"""The files that tell what the commit does not: what was changed since, and what git does not track."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from runcontext import Attachment, NotInContext
from runcontext_providers._git.command import GitError
from runcontext_providers._git.facts import PATCH, UNTRACKED, GitsAnswers
from runcontext_providers._git.patch import PATCH_COMMAND, without_secrets
from runcontext_providers._git.secrets import identity_of, in_short, shown
from runcontext_providers._git.untracked import describe_untracked

_MOST_ARGUMENTS = 100_000


def attachments_of(facts: GitsAnswers, patch_cap: int) -> Iterator[Attachment]:
    """Give the patch of at most ``patch_cap`` bytes, and the list of untracked files, each where there is any."""
    try:
        if facts.is_dirty():
            yield _patch(facts, patch_cap)
    except NotInContext:
        return
    except GitError as error:
        yield Attachment(PATCH, None, reason=str(error))
    try:
        if facts.untracked_paths:
            yield describe_untracked(UNTRACKED, facts.root(), facts.untracked_paths)
    except GitError as error:
        yield Attachment(UNTRACKED, None, reason=str(error))


def _patch(facts: GitsAnswers, cap: int) -> Attachment:
    commit = facts.head[0] or facts.empty_tree()
    answer = facts.ask((*PATCH_COMMAND, commit, "--", *_without(facts.lfs_changes)), keep=cap)
    if answer.returncode == 0 and answer.stdout is None:
        reason = f"the patch is over its cap of {cap} bytes"
        return Attachment(PATCH, None, reason, answer.size_bytes, answer.sha256)
    missing = list(_not_in_it(facts))
    if not answer.output():
        return Attachment(PATCH, None, in_short(missing) or "what was changed was undone since")
    safe = without_secrets(answer.output(), facts.root())
    remarks = in_short((*safe.remarks, *missing))
    if not safe.content:
        return Attachment(PATCH, None, remarks, answer.size_bytes, answer.sha256, safe.redacted)
    return Attachment(PATCH, safe.content, remarks, redacted=safe.redacted)


def _without(paths: Collection[str]) -> list[str]:
    if sum(map(len, paths)) > _MOST_ARGUMENTS:
        message = f"{len(paths)} files that Git LFS keeps were touched: too many to be left out"
        raise GitError(message)
    return [f":(exclude,literal){path}" for path in paths]


def _not_in_it(facts: GitsAnswers) -> Iterator[str]:
    for change in facts.status.changes:
        path = os.fsencode(change.path)
        if change.has_changes_inside:
            yield f"not in it: changes inside the submodule {shown(path)}"
        elif change.path in facts.lfs_changes:
            identity = identity_of(os.path.join(os.fsencode(facts.root()), path))
            yield f"left out: {shown(path)}, kept by Git LFS: {identity}"
