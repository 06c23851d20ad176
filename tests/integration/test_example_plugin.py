"""The plugin in examples/plugin, installed as its users install theirs, in a real run."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from runcontext import OutcomeStatus, RunStatus

if TYPE_CHECKING:
    from tests.integration.conftest import RunScript

SCRIPT = """
import runcontext

with runcontext.start_run():
    pass
"""


def test_it_is_installed_with_its_entry_point() -> None:
    """``make test`` installs the plugin, and it is found under the name that it declares."""
    (found,) = entry_points(group="runcontext.providers", name="team")
    assert found.value == "runcontext_example_plugin.team:TeamProvider"


def test_its_tags_are_on_the_run(run_script: RunScript) -> None:
    """A run of a program that knows nothing of the plugin carries what the plugin tells."""
    ended = run_script(SCRIPT, env={"TEAM": "vision", "COST_CENTER": "4711"})
    assert ended.run.status is RunStatus.FINISHED
    assert ended.run.tags["team.name"] == "vision"
    assert ended.run.tags["team.cost_center"] == "4711"
    outcome = ended.context.outcomes["team"]
    assert (outcome.status, outcome.placement) == (OutcomeStatus.CAPTURED, "companion")
    assert outcome.failures["team.owners"].startswith("absent: no OWNERS file above ")


def test_its_attachment_is_among_the_runs_artifacts(run_script: RunScript) -> None:
    """The OWNERS file above the script is attached, and its owners are a tag."""
    owners = "import pathlib; pathlib.Path('OWNERS').write_text('ada@example.org\\n')\n"
    ended = run_script(owners + SCRIPT, env={"TEAM": "vision"})
    assert ended.run.tags["team.owners"] == "ada@example.org"
    (attached,) = (each for each in ended.context.attachments if each.provider == "team")
    assert attached.path is not None
    assert attached.path.read_text("utf-8") == "ada@example.org\n"


def test_it_says_why_it_has_nothing_to_say(run_script: RunScript) -> None:
    """Without its variable it is absent, with its own reason on record, and nothing is logged."""
    ended = run_script(SCRIPT)
    outcome = ended.context.outcomes["team"]
    assert (outcome.status, outcome.reason) == (OutcomeStatus.ABSENT, "TEAM is not set: export TEAM=your-team")
    assert ended.stderr == ""


def test_its_toggle_switches_it_off(run_script: RunScript) -> None:
    """RUNCONTEXT_PROVIDER_TEAM=0 leaves its tags out, and the outcome names the variable."""
    ended = run_script(SCRIPT, env={"TEAM": "vision", "RUNCONTEXT_PROVIDER_TEAM": "0"})
    assert "team.name" not in ended.run.tags
    outcome = ended.context.outcomes["team"]
    assert outcome.status is OutcomeStatus.DISABLED
    assert (outcome.reason or "").startswith("switched off by RUNCONTEXT_PROVIDER_TEAM")
