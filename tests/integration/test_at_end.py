"""What providers say when a run ends: what changed since its start, and what is only known then."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from runcontext.record import OutcomeStatus
from runcontext.tracking import reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Finished, InstallPlugin, RunScript, StartScript

    from runcontext.record import Context

pytestmark = pytest.mark.usefixtures("quick")

TELLING = """
    import os
    from runcontext import NotInContext, current_program

    def _gone():
        raise NotInContext("it went away")

    def _failing():
        raise RuntimeError("no answer at the end")

    class Provider:
        def in_context(self):
            return True

        def tags(self):
            return {
                "told.same": "1", "told.other": "1", "told.gone": "1",
                "told.folder": os.getcwd(), "told.variable": os.environ.get("TOLD", "unset"),
            }

        def tags_at_end(self):
            return {
                "told.same": "1", "told.other": "2", "told.gone": _gone, "told.new": "3", "told.failing": _failing,
                "told.folder": os.getcwd(), "told.variable": os.environ.get("TOLD", "unset"),
                "told.imported": lambda: str("colorsys" in current_program().imported),
            }
"""


def last_word(name: str, code: str, *, placement: str = "companion") -> str:
    """Give a plugin that tells one fact at the start of a run, and runs ``code`` when it is asked at the end."""
    return f"""
        import os, time

        class Provider:
            placement = "{placement}"

            def in_context(self):
                return True

            def tags(self):
                return {{"{name}.fact": "1"}}

            def tags_at_end(self):
                {code}
        """


PROGRAM = """
    import os
    import runcontext

    os.environ.pop("TOLD", None)
    with runcontext.start_run() as run:
        assert run.tags["told.other"] == "1"
        os.environ["TOLD"] = "set"
        os.makedirs("below", exist_ok=True)
        os.chdir("below")
        import colorsys
"""

CHANGED = {
    "changed.told.other": "2",
    "changed.told.gone": "absent",
    "changed.told.variable": "set",
}


@pytest.fixture
def ended(wait_until: Callable[..., None]) -> Callable[[Finished, str], Context]:
    """Give the function that waits until a provider has had its last word, and gives the context."""

    def wait(found: Finished, provider: str) -> Context:
        def context() -> Context:
            read = reading.read_context(found.store, found.runs[0].run_id)
            assert read is not None
            return read

        def is_there() -> bool:
            at_end = context().outcomes[provider].at_end
            return at_end is not None and at_end.status is not OutcomeStatus.PENDING

        wait_until(is_there, what=f"what {provider} says at the end")
        return context()

    return wait


def assert_told(context: Context, project: Path, provider: str) -> None:
    """Check what the telling provider's facts became."""
    told = {tag: value for tag, value in context.tags.items() if "told." in tag}
    assert {tag: value for tag, value in told.items() if tag.startswith("changed.")} == {
        **CHANGED,
        "changed.told.folder": str(project / "below"),
    }
    assert told["told.same"] == "1"
    assert told["told.other"] == "1"
    assert told["told.new"] == "3"
    assert told["told.imported"] == "True"
    changes = {each.tag: (each.provider, each.start, each.end) for each in context.changes if "told." in each.tag}
    assert changes == {
        "told.other": (provider, "1", "2"),
        "told.gone": (provider, "1", None),
        "told.folder": (provider, str(project), str(project / "below")),
        "told.variable": (provider, "unset", "set"),
    }
    at_end = context.outcomes[provider].at_end
    assert at_end is not None
    assert at_end.status is OutcomeStatus.PARTIAL
    assert at_end.failures["told.failing"] == "RuntimeError: no answer at the end"
    assert at_end.failures["told.gone"] == "absent: it went away"


@pytest.mark.parametrize("placement", ["companion", "thread", "inline"])
def test_what_changed_is_on_record_with_both_values(
    project: Path,
    run_script: RunScript,
    install_plugin: InstallPlugin,
    ended: Callable[[Finished, str], Context],
    placement: str,
) -> None:
    """Wherever a provider runs, what it says at the end is compared with what it said at the start."""
    install_plugin("telling", TELLING)
    table = f'[tool.runcontext.providers.telling]\nplacement = "{placement}"\n'
    (project / "pyproject.toml").write_text(table, encoding="utf-8")
    found = run_script(PROGRAM, env={"RUNCONTEXT_PROVIDERS": "telling"})
    assert_told(ended(found, "telling"), project, "telling")
    assert found.stderr.splitlines() == [
        "provider 'telling' at the end of the run, fact 'told.failing': RuntimeError: no answer at the end"
    ]


def test_without_a_companion_the_same_is_on_record(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, ended: Callable[[Finished, str], Context]
) -> None:
    """Where no companion may be started, threads of the program say the same at its end."""
    install_plugin("telling", TELLING)
    (project / "pyproject.toml").write_text("", encoding="utf-8")
    found = run_script(PROGRAM, env={"RUNCONTEXT_COMPANION": "0"})
    context = ended(found, "telling")
    assert context.outcomes["telling"].placement == "thread"
    assert_told(context, project, "telling")


def test_a_provider_that_was_absent_is_asked_again(
    run_script: RunScript, install_plugin: InstallPlugin, ended: Callable[[Finished, str], Context]
) -> None:
    """What was not there when the run began may be there when it ends: then it is captured."""
    install_plugin(
        "late",
        """
        import os

        class Provider:
            def in_context(self):
                return os.path.exists("late.txt")

            def tags(self):
                return {"late.fact": "1"}

            tags_at_end = tags
        """,
    )
    found = run_script(
        """
        import runcontext
        with runcontext.start_run() as run:
            assert str(run.context.outcomes["late"].status) == "absent"
            open("late.txt", "w").close()
        """
    )
    context = ended(found, "late")
    assert context.outcomes["late"].status is OutcomeStatus.ABSENT
    assert context.tags["late.fact"] == "1"
    assert "changed.late.fact" not in context.tags
    assert [(each.start, each.end) for each in context.changes if each.provider == "late"] == [(None, "1")]


def test_facts_of_a_run_that_ends_at_once_are_not_read_twice(
    run_script: RunScript, install_plugin: InstallPlugin, ended: Callable[[Finished, str], Context]
) -> None:
    """What is read after a run has ended is its end: only what nobody read yet is asked for."""
    install_plugin(
        "slow",
        """
        import time
        time.sleep(0.5)  # it is still being imported when the run ends

        def _again():
            raise AssertionError("it was read again")

        class Provider:
            def in_context(self):
                return True

            def tags(self):
                return {"slow.fact": "1"}

            def tags_at_end(self):
                return {"slow.fact": _again, "slow.new": "2"}
        """,
    )
    found = run_script(
        "import runcontext\nwith runcontext.start_run():\n    pass\n", env={"RUNCONTEXT_PROVIDERS": "slow"}
    )
    context = ended(found, "slow")
    assert (context.tags["slow.fact"], context.tags["slow.new"]) == ("1", "2")
    assert not found.stderr


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("placement", ["companion", "thread"])
def test_one_that_hangs_at_the_end_holds_the_program_for_a_second(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, placement: str
) -> None:
    """The end of a run waits a second at most for what providers say then; the others' word counts."""
    install_plugin(
        "hanging",
        last_word("hanging", "time.sleep(120)"),
    )
    table = f'[tool.runcontext.providers.hanging]\nplacement = "{placement}"\n'
    (project / "pyproject.toml").write_text(table, encoding="utf-8")
    found = run_script(
        """
        import json, time
        import runcontext
        run = runcontext.start_run()
        run.tags
        began = time.monotonic()
        run.end()
        print(json.dumps(time.monotonic() - began))
        """
    )
    assert 0.9 < found.json < 15
    assert found.context.tags["hanging.fact"] == "1"
    assert found.run.status == "FINISHED"


@pytest.mark.parametrize("code", ["os._exit(3)", "os.kill(os.getpid(), 11)", "raise SystemExit(2)"])
def test_one_that_dies_at_the_end_costs_only_its_last_word(
    run_script: RunScript, install_plugin: InstallPlugin, ended: Callable[[Finished, str], Context], code: str
) -> None:
    """A provider that crashes or exits at the end is named, and everything else is on record."""
    install_plugin(
        "dying",
        last_word("dying", code),
    )
    found = run_script("import runcontext\nwith runcontext.start_run() as run:\n    run.tags\n")
    context = ended(found, "dying")
    at_end = context.outcomes["dying"].at_end
    assert at_end is not None
    assert at_end.status is OutcomeStatus.FAILED
    assert context.tags["dying.fact"] == "1"
    assert found.run.status == "FINISHED"
    assert "provider 'dying' at the end of the run failed" in found.stderr


def test_a_run_that_dies_has_no_end_to_tell_of(
    start_script: StartScript,
    project: Path,
    install_plugin: InstallPlugin,
    wait_until: Callable[..., None],
) -> None:
    """Of a program that is killed nothing is said for its end, and the record says so."""
    install_plugin("telling", TELLING)
    program = start_script(
        """
        import time
        import runcontext
        run = runcontext.start_run()
        run.tags
        print(run.path, flush=True)
        time.sleep(60)
        """
    )
    assert program.stdout is not None
    path = program.stdout.readline().strip()
    os.kill(program.pid, signal.SIGKILL)
    program.wait()

    def at_end() -> dict[str, Any]:
        row = reading.context_row(path)
        assert row is not None
        found: dict[str, Any] = row["outcomes"]["telling"]["at_end"]
        return found

    wait_until(lambda: at_end()["status"] != "pending", what="the record of the end")
    assert (at_end()["status"], at_end()["reason"]) == ("absent", "the run did not end by itself")
    assert project.exists()


def test_what_the_program_sets_is_not_changed_by_the_end(
    run_script: RunScript, install_plugin: InstallPlugin, ended: Callable[[Finished, str], Context]
) -> None:
    """A tag that the program sets keeps its value, whatever a provider says of it at the end."""
    install_plugin("telling", TELLING)
    found = run_script(
        """
        import runcontext
        with runcontext.start_run(tags={"told.other": "mine"}) as run:
            run.set_tag("told.new", "mine too")
            run.tags
        """
    )
    context = ended(found, "telling")
    assert found.run.tags["told.other"] == "mine"
    assert found.run.tags["told.new"] == "mine too"
    assert context.tags["changed.told.other"] == "2"


def test_strict_raises_what_failed_at_the_end(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """With RUNCONTEXT_STRICT=1 a failure at the end of the run is raised on leaving it."""
    install_plugin("telling", TELLING)
    found = run_script(PROGRAM, env={"RUNCONTEXT_STRICT": "1", "RUNCONTEXT_PROVIDERS": "telling"}, returncode=1)
    assert "ProviderError: provider 'telling' at the end of the run, fact 'told.failing'" in found.stderr


def test_a_resumed_run_redacts_by_patterns_of_ones_own(run_script: RunScript) -> None:
    """RUNCONTEXT_REDACT is in force for whatever a run records, also where nothing is captured."""
    found = run_script(
        """
        import runcontext
        with runcontext.start_run() as run:
            pass
        print(run.run_id)
        """,
    )
    run_script(
        f"""
        import runcontext
        with runcontext.start_run(run_id="{found.stdout.strip()}"):
            raise ValueError("the door is hunter2")
        """,
        env={"RUNCONTEXT_REDACT": "hunter[0-9]"},
        returncode=1,
    )
    assert found.run.tags["end.reason"] == "ValueError: the door is [redacted]"


def test_a_provider_that_exits_at_the_end_does_not_end_the_program(
    run_script: RunScript,
) -> None:
    """What a provider says with sys.exit() as a run ends is not how the program ends."""
    found = run_script(
        """
        import sys
        import runcontext

        class Exiting:
            placement = "inline"

            def in_context(self):
                return True

            def tags(self):
                return {}

            def tags_at_end(self):
                sys.exit(3)

        runcontext.register_provider(Exiting)
        outer = runcontext.start_run(run_name="outer")
        with runcontext.start_run(run_name="inner", nested=True):
            pass
        """
    )
    assert {run.run_name: run.status for run in found.runs} == {"outer": "FINISHED", "inner": "FINISHED"}


def test_facts_of_the_start_survive_an_end_without_threads(run_script: RunScript) -> None:
    """Where no thread can be started any more, as at the exit of Python 3.12, only what it would have said is lost."""
    found = run_script(
        """
        import runcontext

        class Threaded:
            def in_context(self):
                return True

            def tags(self):
                return {"mine.start": "precious"}

            def tags_at_end(self):
                return {"mine.end": "2"}

        runcontext.register_provider(Threaded)
        run = runcontext.start_run()
        run.tags
        """
    )
    assert found.run.tags["mine.start"] == "precious"
    assert found.context.outcomes["Threaded"].status is OutcomeStatus.CAPTURED


def test_nothing_stays_pending_when_the_companion_dies_at_the_end(
    run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """A companion that is killed while providers have their last word leaves a record that says so."""
    install_plugin(
        "slow",
        last_word("slow", "time.sleep(20)"),
    )
    found = run_script(
        """
        import os, signal, threading
        import runcontext
        from runcontext.companion import client

        run = runcontext.start_run()
        run.tags
        threading.Timer(0.3, lambda: os.kill(client.current().pid, signal.SIGKILL)).start()
        run.end()
        """,
        env={"RUNCONTEXT_PROVIDERS": "slow"},
    )
    at_end = found.context.outcomes["slow"].at_end
    assert at_end is not None
    assert at_end.status is OutcomeStatus.TIMED_OUT


def test_a_slow_thread_is_late_on_record(project: Path, run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """A provider in a thread that is not done when the end of a run has waited is timed out, not pending for ever."""
    install_plugin(
        "slow",
        last_word("slow", "time.sleep(3)", placement="thread"),
    )
    found = run_script("import runcontext\nwith runcontext.start_run() as run:\n    run.tags\n")
    at_end = found.context.outcomes["slow"].at_end
    assert at_end is not None
    assert at_end.status is OutcomeStatus.TIMED_OUT
    assert project.exists()


def test_a_variable_that_becomes_empty_is_not_gone(
    run_script: RunScript, ended: Callable[[Finished, str], Context]
) -> None:
    """An empty value is a value, at the end as at the start."""
    found = run_script(
        """
        import os
        import runcontext
        with runcontext.start_run() as run:
            run.tags
            os.environ["BENCH"] = ""
        """,
        env={"RUNCONTEXT_ENV": "BENCH", "BENCH": "4"},
    )
    assert ended(found, "environment").tags["changed.env.BENCH"] == ""


def test_only_the_programs_own_variables_are_recorded(run_script: RunScript) -> None:
    """Neither the shell that starts the companion nor the companion adds a variable to what the program has."""
    found = run_script(
        """
        import json, os
        import runcontext
        for name in ("PWD", "OLDPWD", "SHLVL"):
            os.environ.pop(name, None)
        own = sorted(os.environ)
        with runcontext.start_run() as run:
            recorded = sorted(tag.removeprefix("env.") for tag in run.tags if tag.startswith("env."))
        print(json.dumps([own, recorded]))
        """,
        env={"RUNCONTEXT_ENV": "*"},
    )
    own, recorded = found.json
    assert recorded == own


def test_what_nobody_will_answer_is_not_pending(run_script: RunScript) -> None:
    """Where the companion was gone before it could write the last word, as in a container, readers say so."""
    found = run_script("import runcontext\nwith runcontext.start_run():\n    pass\n")
    path = found.run.path
    context_file = path / "context.json"
    row = json.loads(context_file.read_text("utf-8"))
    at_end = row["outcomes"]["usage"]["at_end"]
    row["outcomes"]["usage"]["at_end"] = {**at_end, "status": "pending", "tags": {}}
    context_file.write_text(json.dumps(row), encoding="utf-8")
    (journal,) = (path / "events").iterdir()
    header, *events = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]

    def status(kept: list[dict[str, Any]], seconds_ago: int) -> OutcomeStatus:
        moved = [{**event, "t": event["t"] - seconds_ago * 1_000} for event in kept]
        journal.write_text("".join(json.dumps(each) + "\n" for each in (header, *moved)), encoding="utf-8")
        last_word = found.context.outcomes["usage"].at_end
        assert last_word is not None
        return last_word.status

    assert status(events, 0) is OutcomeStatus.PENDING
    assert status(events, 600) is OutcomeStatus.TIMED_OUT
    # Without an ending on record, of a process that is gone.
    assert status([event for event in events if "status" not in event], 0) is OutcomeStatus.ABSENT


def test_the_end_of_a_run_that_nobody_has_asked_about_is_soon_over(run_script: RunScript) -> None:
    """What the companion has said before, and nobody has read until the end, is not waited for once more."""
    finished = run_script("""
        import json, time
        import runcontext

        seconds = []
        for _ in range(4):
            run = runcontext.start_run()
            # Long enough for every answer to lie unread.
            time.sleep(0.4)
            began = time.perf_counter()
            run.end()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds))
    """)

    assert min(finished.json) < 0.5
