"""Providers in the program itself: registered objects, and plugins that ask for its own state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runcontext.record import OutcomeStatus
from runcontext.tracking import reading

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import InstallPlugin, RunScript

pytestmark = pytest.mark.usefixtures("quick")

SEEING = """
    import os, threading

    import_thread = threading.current_thread().name

    class Provider:
        {attributes}

        def in_context(self):
            return True

        def tags(self):
            return {{
                "seen.pid": str(os.getpid()),
                "seen.thread": threading.current_thread().name,
                "seen.import": import_thread,
            }}
"""

PROGRAM = """
    import os, threading
    import runcontext
    with runcontext.start_run() as run:
        run.tags
        assert run.context.outcomes
"""


@pytest.mark.parametrize("asked", ["thread", "inline"])
def test_plugin_that_asks_for_the_program_runs_in_a_thread_of_it(
    run_script: RunScript, install_plugin: InstallPlugin, asked: str
) -> None:
    """``placement`` on its class brings a plugin into the program: imported in its main thread, run in another."""
    install_plugin("seeing", SEEING.format(attributes=f'placement = "{asked}"'))
    run_script(PROGRAM)
    found = run_script(PROGRAM)
    for run in found.runs:
        context = reading.read_context(found.store, run.run_id)
        assert context is not None
        outcome = context.outcomes["seeing"]
        assert outcome.status is OutcomeStatus.CAPTURED
        assert outcome.placement == "thread"
        assert outcome.tags["seen.pid"] == run.tags["process.pid"]
        assert outcome.tags["seen.thread"] == "runcontext-seeing"
        assert outcome.tags["seen.import"] == "MainThread"


def test_user_may_let_a_plugin_run_inline(project: Path, run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """Only [tool.runcontext.providers.<name>] lets an installed package run in the caller's own thread."""
    install_plugin("seeing", SEEING.format(attributes="pass"))
    (project / "pyproject.toml").write_text(
        '[tool.runcontext.providers.seeing]\nplacement = "inline"\n', encoding="utf-8"
    )
    run_script(PROGRAM)
    found = run_script(PROGRAM)
    context = reading.read_context(found.store, found.runs[0].run_id)
    assert context is not None
    assert context.outcomes["seeing"].placement == "inline"
    assert context.tags["seen.thread"] == "MainThread"


def test_user_may_send_a_plugin_to_the_companion(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """The user's word counts more than the class's: one that asks for the program is kept out of it."""
    install_plugin("seeing", SEEING.format(attributes='placement = "thread"'))
    table = '[tool.runcontext.providers.seeing]\nplacement = "companion"\n'
    (project / "pyproject.toml").write_text(table, encoding="utf-8")
    found = run_script(PROGRAM)
    assert found.context.outcomes["seeing"].placement == "companion"
    assert found.context.tags["seen.pid"] != found.context.tags["process.pid"]


REGISTERED = {
    "an instance": "Provider()",
    "a class": "Provider",
    "a builder": "lambda: Provider()",
}


@pytest.mark.parametrize("case", REGISTERED)
def test_registered_provider_runs_in_a_thread(run_script: RunScript, case: str) -> None:
    """register_provider() takes an instance, a class or a function that builds one; it sees the program's own state."""
    found = run_script(f"""
        import os, threading
        import runcontext

        state = {{"epoch": 7}}

        class Provider:
            def in_context(self):
                return True

            def tags(self):
                return {{"epoch": str(state["epoch"]), "thread": threading.current_thread().name}}

        provider = {REGISTERED[case]}
        runcontext.register_provider(provider, name="mine")
        with runcontext.start_run() as run:
            assert run.tags["epoch"] == "7"
        runcontext.unregister_provider(provider)
        assert "mine" not in runcontext.resolve_context().outcomes
    """)
    assert found.context.outcomes["mine"].placement == "thread"
    assert found.context.tags["thread"] == "runcontext-mine"


@pytest.mark.parametrize("companion", ["0", "1"])
def test_registered_provider_may_run_inline(run_script: RunScript, companion: str) -> None:
    """An object that asks for it runs in the caller's thread, before start_run() returns."""
    found = run_script(
        """
        import threading
        import runcontext

        class Provider:
            placement = "inline"
            ran_in = None
            def in_context(self): return True
            def tags(self):
                Provider.ran_in = threading.current_thread()
                return {"inline": "yes"}

        runcontext.register_provider(Provider)
        with runcontext.start_run() as run:
            assert Provider.ran_in is threading.main_thread()
            assert run.tags["inline"] == "yes"
    """,
        env={"RUNCONTEXT_COMPANION": companion},
    )
    assert found.context.outcomes["Provider"].placement == "inline"


def test_misshapen_object_is_refused(run_script: RunScript) -> None:
    """Registering what is no provider raises and says what is missing; so does a name that a built-in has."""
    found = run_script("""
        import json
        import runcontext

        class Broken:
            def in_context(self): return True
            def tag(self): return {}

        class Whole:
            def in_context(self): return True
            def tags(self): return {}

        said = []
        for call in (
            lambda: runcontext.register_provider(Broken),
            lambda: runcontext.register_provider(Broken()),
            lambda: runcontext.register_provider(7),
            lambda: runcontext.register_provider(Whole, name="git"),
            lambda: runcontext.unregister_provider("nobody"),
        ):
            try:
                call()
            except (TypeError, ValueError, KeyError) as error:
                said.append(str(error))
        print(json.dumps(said))
    """)
    first, second, third, fourth, fifth = found.json
    assert "'Broken' has no method tags(); it has tag(): a misspelling?" in first
    assert first == second
    assert "has no method in_context()" in third
    assert "built-in" in fourth
    assert "registered: none" in fifth


def test_attachments_of_a_threaded_provider_are_kept(run_script: RunScript) -> None:
    """What a registered provider attaches is a file of the run."""
    found = run_script("""
        import runcontext

        class Provider:
            def in_context(self): return True
            def tags(self): return {}
            def attachments(self):
                yield runcontext.Attachment("notes.txt", b"kept")
                raise ValueError("then no more")

        runcontext.register_provider(Provider)
        with runcontext.start_run() as run:
            pass
    """)
    (attachment,) = [each for each in found.context.attachments if each.provider == "Provider"]
    assert attachment.path is not None
    assert attachment.path.read_bytes() == b"kept"
    assert found.context.outcomes["Provider"].failures == {"attachments": "ValueError: then no more"}


def test_context_without_a_run_has_threaded_facts_too(run_script: RunScript) -> None:
    """resolve_context() waits for threads as for the companion, and leaves no thread behind."""
    found = run_script("""
        import json, threading, time
        import runcontext

        class Provider:
            def in_context(self): return True
            def tags(self):
                time.sleep(0.2)
                return {"mine": "yes"}

        runcontext.register_provider(Provider)
        context = runcontext.resolve_context()
        until = time.monotonic() + 5
        while threading.active_count() > 1 and time.monotonic() < until:
            time.sleep(0.01)
        print(json.dumps([context.tags["mine"], "host.name" in context.tags, threading.active_count()]))
    """)
    assert found.json == ["yes", True, 1]
    assert not os.path.exists(found.project / ".runcontext")


def test_hung_thread_does_not_bring_the_program_down_at_its_end(run_script: RunScript) -> None:
    """A provider that still writes to the standard streams when the program ends costs no more than its outcome."""
    found = run_script(
        """
        import time
        import runcontext

        class Provider:
            def in_context(self): return True
            def tags(self):
                time.sleep(1_000)

        runcontext.register_provider(Provider)
        with runcontext.start_run() as run:
            pass
        print("ended")
    """,
        env={"RUNCONTEXT_TIMEOUT": "2"},
    )
    assert found.stdout == "ended\n"
    assert found.context.outcomes["Provider"].status is OutcomeStatus.TIMED_OUT
