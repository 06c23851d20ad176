"""Every fact that the page of tags names is captured on this machine, or absent for a reason that is on record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runcontext import registry
from runcontext.record import OutcomeStatus

if TYPE_CHECKING:
    from tests.integration.conftest import RunScript

    from runcontext.record import Context

TAGS = Path(__file__).parents[2] / "docs" / "tags.md"
_MOST_TAGS = 80
_OF_ONE_SYSTEM_EACH = ("launcher", "ci", "container", "cloud", "notebook")
"""Providers whose tags belong to many systems, of which a run is in one: that one says what it has."""

_WITHOUT_A_VALUE = ("gpu.missing", "python.packages.broken")

PROGRAM = """
    import random
    import runcontext
    with runcontext.start_run() as run:
        run.tags
"""


def documented() -> dict[str, list[str]]:
    """Give the tags of each provider, as the page has them."""
    found = {}
    for name in registry.BUILT_IN:
        text = TAGS.read_text("utf-8").split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        tables = re.findall(r"^\| tag \|.*\n\|[ |-]+\n((?:\|.*\n)+)", text, re.MULTILINE)
        found[name] = [tag for table in tables for tag in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)]
    return found


@pytest.fixture
def captured(run_script: RunScript) -> Context:
    """Give the context of a run as it is by default."""
    return run_script(PROGRAM).context


def test_every_fact_is_captured_or_absent_for_a_reason(captured: Context) -> None:
    """No row of the page is left without an answer: a value, or why there is none."""
    for name, tags in documented().items():
        assert tags, name
        outcome = captured.outcomes[name]
        if outcome.status in (OutcomeStatus.ABSENT, OutcomeStatus.DISABLED):
            assert outcome.reason, name
        if outcome.status is not OutcomeStatus.CAPTURED or name in _OF_ONE_SYSTEM_EACH:
            assert outcome.status in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT, OutcomeStatus.DISABLED), outcome
            continue
        said = {*captured.tags, *outcome.failures}
        if outcome.at_end is not None:
            said |= set(outcome.at_end.failures)
        silent = set(tags) - said - set(_WITHOUT_A_VALUE)
        assert not silent, (name, silent)


def test_the_tags_of_a_run_are_not_too_many(captured: Context) -> None:
    """A common machine's run has fewer than eighty tags, so that people still read them."""
    assert len(captured.tags) < _MOST_TAGS, sorted(captured.tags)


def test_nothing_fails_on_this_machine(captured: Context) -> None:
    """What is not there is absent; nothing that is built in fails or is late."""
    failed = {
        name: (outcome.reason, dict(outcome.failures))
        for name, outcome in captured.outcomes.items()
        if outcome.status not in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT, OutcomeStatus.DISABLED)
    }
    assert not failed
