"""What TeamProvider promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from runcontext_example_plugin.team import TeamProvider

from runcontext import OutcomeStatus, Program
from runcontext.testing import ProviderContract, resolve_provider

if TYPE_CHECKING:
    from pathlib import Path


class TestTeamProvider(ProviderContract):
    """It keeps what every provider keeps, whatever this machine's environment says."""

    provider = TeamProvider


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Give a program whose script lies below a folder with an OWNERS file."""
    (tmp_path / "OWNERS").write_text("# who is asked\nada@example.org\ngrace@example.org\n", encoding="utf-8")
    (tmp_path / "jobs").mkdir()
    return Program(pid=1, cwd="/", main_file=str(tmp_path / "jobs" / "train.py"))


def test_it_names_team_cost_center_and_owners(
    monkeypatch: pytest.MonkeyPatch, program: Program, tmp_path: Path
) -> None:
    """All three facts are there, and the OWNERS file is attached as it is."""
    monkeypatch.setenv("TEAM", "vision")
    monkeypatch.setenv("COST_CENTER", "4711")
    context = resolve_provider(TeamProvider, name="team", program=program, folder=tmp_path)
    assert dict(context.tags) == {
        "team.name": "vision",
        "team.cost_center": "4711",
        "team.owners": "ada@example.org,grace@example.org",
    }
    (attached,) = context.attachments
    assert attached.path is not None
    assert attached.path.read_text("utf-8").startswith("# who is asked")


def test_without_owners_only_that_fact_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other facts stay, and the reason is on record."""
    monkeypatch.setenv("TEAM", "vision")
    monkeypatch.delenv("COST_CENTER", raising=False)
    context = resolve_provider(TeamProvider, name="team", program=Program(pid=1, cwd=str(tmp_path)))
    assert dict(context.tags) == {"team.name": "vision"}
    assert context.outcomes["team"].failures["team.owners"].startswith("absent: no OWNERS file above")


def test_without_a_team_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TEAM is not set, the provider is absent, with a reason that a person can act on."""
    monkeypatch.delenv("TEAM", raising=False)
    outcome = resolve_provider(TeamProvider, name="team").outcomes["team"]
    assert outcome.status is OutcomeStatus.ABSENT
    assert outcome.reason == "TEAM is not set: export TEAM=your-team"
