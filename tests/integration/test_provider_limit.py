"""How long a plugin's work may take: what its class says, unless its user says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runcontext import OutcomeStatus

if TYPE_CHECKING:
    from tests.integration.conftest import InstallPlugin, RunScript

SLEEPER = """
import time

class Provider:
    timeout = 0.5

    def in_context(self):
        return True

    def tags(self):
        time.sleep(60)
"""
SCRIPT = """
import runcontext

with runcontext.start_run():
    pass
"""


def test_a_class_limits_its_own_work(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """A plugin that takes longer than its ``timeout`` is timed out long before the deadline; the others answer."""
    install_plugin("sleeper", SLEEPER)
    ended = run_script(SCRIPT)
    outcome = ended.context.outcomes["sleeper"]
    assert (outcome.status, outcome.reason) == (OutcomeStatus.TIMED_OUT, "took longer than its limit of 0.5 s")
    assert ended.context.outcomes["git"].status is OutcomeStatus.CAPTURED
    assert ended.seconds < 20


def test_pyproject_says_otherwise(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """``timeout`` in [tool.runcontext.providers.<name>] wins over the class."""
    install_plugin("sleeper", SLEEPER.replace("0.5", "60"))
    configured = "import pathlib; pathlib.Path('pyproject.toml').write_text(" + repr(
        "[tool.runcontext.providers.sleeper]\ntimeout = 0.25\n"
    )
    ended = run_script(configured + ")\n" + SCRIPT)
    assert ended.context.outcomes["sleeper"].reason == "took longer than its limit of 0.25 s"
