"""Plugins that do everything wrong: the run, the program and every other provider must not notice."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import pytest

from runcontext.record import OutcomeStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import psutil
    from tests.integration.conftest import Finished, InstallPlugin, RunScript

    from runcontext.record import Context, Outcome

pytestmark = pytest.mark.usefixtures("quick")
both_placements = pytest.mark.parametrize("placement", ["companion", "thread"])

PROGRAM = """
    import json, os, sys, time
    import runcontext

    before = os.getcwd(), dict(os.environ)
    began = time.monotonic()
    with runcontext.start_run() as run:
        run.log_param("before", 1)
        run.tags
        waited = time.monotonic() - began
        run.log_param("after", 2)
    print(json.dumps({"waited": waited, "unchanged": before == (os.getcwd(), dict(os.environ))}))
"""

HEALTHY = """
    class Provider:
        def in_context(self):
            return True

        def tags(self):
            return {"healthy": "yes"}
"""

DEADLINE_SECONDS = 4.0

ALL = {"RUNCONTEXT_PROVIDERS": ""}
"""Every built-in provider beside the bad ones, those too that ``quick`` leaves out."""


def body(lines: str, *, before: str = "", after: str = 'return {"culprit": "there"}') -> str:
    """Write a plugin whose ``tags()`` runs ``lines``, in a module that begins with ``before``."""
    method = textwrap.indent(textwrap.dedent(f"{textwrap.dedent(lines).strip()}\n{after}"), " " * 8)
    head = "class Provider:\n    def in_context(self):\n        return True\n\n    def tags(self):\n"
    return f"{textwrap.dedent(before)}\n{head}{method}\n"


class Misbehaving:
    """Runs a program beside one bad plugin, a healthy one and the built-ins, and checks what must hold in any case."""

    def __init__(self, project: Path, run_script: RunScript, install_plugin: InstallPlugin) -> None:
        """Take the test's own project and functions."""
        self._project = project
        self._run_script = run_script
        self._install = install_plugin

    def __call__(
        self,
        source: str,
        *,
        placement: str = "companion",
        target: str = "Provider",
        program: str = PROGRAM,
        deadline: float = 30.0,
    ) -> Finished:
        """Run ``program`` beside the plugin ``culprit``, whose module has the text ``source``."""
        place(self._project, ["culprit"], placement)
        self._install("culprit", source, target=target)
        self._install("healthy", HEALTHY)
        found = self._run_script(program, env={"RUNCONTEXT_TIMEOUT": str(deadline)})
        assert found.run.status == "FINISHED"
        assert_others_answered(found.context)
        assert found.context.outcomes["culprit"].placement == placement
        return found


@pytest.fixture
def beside(project: Path, run_script: RunScript, install_plugin: InstallPlugin) -> Misbehaving:
    """Give the function that runs a program beside a bad plugin."""
    return Misbehaving(project, run_script, install_plugin)


def place(project: Path, names: Iterable[str], placement: str) -> None:
    """Say in the project's pyproject.toml where plugins run."""
    tables = [f'[tool.runcontext.providers.{name}]\nplacement = "{placement}"\n' for name in names]
    (project / "pyproject.toml").write_text("".join(tables) if placement != "companion" else "", encoding="utf-8")


def assert_others_answered(context: Context) -> None:
    """Check that the healthy plugin and the built-in providers that take little time said what they always say."""
    for name in ("user", "source", "host", "healthy"):
        outcome = context.outcomes[name]
        assert outcome.status is OutcomeStatus.CAPTURED, (name, outcome)
    assert context.tags["healthy"] == "yes"
    assert context.tags["host.name"]


def assert_all_others_answered(context: Context) -> None:
    """Check that every built-in provider did, where none was left out."""
    assert_others_answered(context)
    for name in ("git", "python"):
        outcome = context.outcomes[name]
        assert outcome.status is OutcomeStatus.CAPTURED, (name, outcome)
    assert context.outcomes["gpu"].status in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT)
    assert len(context.tags["mlflow.source.git.commit"]) == 40


def culprit(found: Finished) -> Outcome:
    """Give the bad plugin's outcome."""
    return found.context.outcomes["culprit"]


RAISING = {
    "a missing module": ("", "nowhere_to_be_found:Provider", "ModuleNotFoundError", "nowhere_to_be_found"),
    "a missing attribute": ("", "Nobody", "AttributeError", "Nobody"),
    "a syntax error": ("class Provider:\n    def in_context(self) return True\n", "", "SyntaxError", ""),
    "an error at import": ("raise ValueError('at import')\n", "", "ValueError", "at import"),
    "an exit at import": ("import sys\nsys.exit(3)\n", "", "SystemExit", "3"),
    "an error in __init__": (
        "class Provider:\n    def __init__(self): raise LookupError('in init')\n    in_context = tags = __init__\n",
        "",
        "LookupError",
        "in init",
    ),
    "an error in in_context": (
        "class Provider:\n    def in_context(self): raise OSError('in context')\n    def tags(self): return {}\n",
        "",
        "OSError",
        "in context",
    ),
    "a missing method": (
        "class Provider:\n    def in_context(self): return True\n",
        "",
        "MisshapenProviderError",
        "tags()",
    ),
    "a misspelt method": (
        "class Provider:\n    def in_contxt(self): return True\n    def tags(self): return {}\n",
        "",
        "MisshapenProviderError",
        "in_contxt(): a misspelling?",
    ),
    "a builder that gives nothing": ("def Provider(): return None\n", "", "MisshapenProviderError", "in_context()"),
    "no provider at all": ("Provider = 7\n", "", "MisshapenProviderError", "in_context()"),
    "an error in tags": (body("raise RuntimeError('in tags')"), "", "RuntimeError", "in tags"),
    "an exit in tags": (body("sys.exit('enough')", before="import sys"), "", "SystemExit", "enough"),
    "endless recursion": (body("self.tags()"), "", "RecursionError", ""),
    "no memory": (body("raise MemoryError"), "", "MemoryError", ""),
    "a cancelled task": (
        body("raise asyncio.CancelledError('task')", before="import asyncio"),
        "",
        "CancelledError",
        "task",
    ),
    "Ctrl-C of its own": (body("raise KeyboardInterrupt"), "", "KeyboardInterrupt", ""),
    "a BaseException of its own": (
        body("raise Mine('own')", before="class Mine(BaseException): pass"),
        "",
        "Mine",
        "own",
    ),
    "an exception that cannot be shown": (
        body(
            "raise Mute",
            before="""
            class Mute(Exception):
                def __str__(self): raise ValueError("mute")
                __repr__ = __str__
            """,
        ),
        "",
        "Mute",
        "cannot be read: ValueError",
    ),
    "an exception that exits when it is shown": (
        body(
            "raise Leaving",
            before="""
            class Leaving(Exception):
                def __str__(self): raise SystemExit(1)
            """,
        ),
        "",
        "Leaving",
        "cannot be read: SystemExit",
    ),
    "a mapping whose keys raise": (
        body(
            "",
            before="""
            class Broken(dict):
                def keys(self): raise ValueError("no keys")
            """,
            after="return Broken(a='1')",
        ),
        "",
        "ValueError",
        "no keys",
    ),
    "a mapping whose values raise": (
        body(
            "",
            before="""
            class Broken(dict):
                def __getitem__(self, key): raise ValueError(f"no {key}")
            """,
            after="return Broken(a='1')",
        ),
        "",
        "ValueError",
        "no a",
    ),
    "None": (body("", after="return None"), "", "TypeError", "NoneType; a mapping of tags is expected"),
    "a list": (body("", after="return [('a', '1')]"), "", "TypeError", "list; a mapping of tags is expected"),
}


@both_placements
def test_plugins_that_raise_cost_themselves_only(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, placement: str
) -> None:
    """Whatever each raises, wherever: its own outcome says what, once in the log too, and nothing else changes."""
    names = {f"raising{number:02}": case for number, case in enumerate(RAISING)}
    for name, case in names.items():
        install_plugin(name, RAISING[case][0], target=RAISING[case][1] or "Provider")
    install_plugin("healthy", HEALTHY)
    place(project, names, placement)
    found = run_script(PROGRAM, env=ALL)
    assert found.run.status == "FINISHED"
    assert found.run.params == {"before": "1", "after": "2"}
    assert_all_others_answered(found.context)
    for name, case in names.items():
        _, _, kind, words = RAISING[case]
        outcome = found.context.outcomes[name]
        assert outcome.status is OutcomeStatus.FAILED, (case, outcome)
        assert outcome.placement == placement
        assert outcome.reason is not None
        assert outcome.reason.startswith(kind), (case, outcome)
        assert words in outcome.reason
        assert not outcome.tags
        assert found.stderr.count(f"provider {name!r} failed: {kind}") == 1, (case, found.stderr)


def test_plugin_that_exits_at_import_does_not_decide_how_the_program_ended(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """``sys.exit(3)`` in a plugin that is imported by the program is not the program's exit status."""
    place(project, ["culprit"], "thread")
    install_plugin("culprit", "import sys\nsys.exit(3)\n")
    found = run_script("import runcontext\nrun = runcontext.start_run()\nrun.tags\n")
    assert found.run.status == "FINISHED"


def test_plugin_that_asks_for_the_program_and_exits_does_not_decide_either(
    run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """The same where the companion finds out that it wants to be in the program, where its import then exits."""
    source = """
        import os, sys
        if "RUNCONTEXT_COMPANION" not in os.environ:
            sys.exit(3)
        class Provider:
            placement = "thread"
            def in_context(self): return True
            def tags(self): return {}
    """
    install_plugin("culprit", source)
    found = run_script("import runcontext\nrun = runcontext.start_run()\nrun.tags\n")
    assert culprit(found).reason == "SystemExit: 3"
    assert found.run.status == "FINISHED"


@both_placements
def test_failing_fact_costs_one_fact(beside: Misbehaving, placement: str) -> None:
    """A tag's callable that raises, exits, recurses, or has nothing to say leaves the other tags as they are."""
    source = body(
        "",
        before="""
        import sys
        from runcontext import NotInContext
        class Own(BaseException): pass
        def throw(error):
            raise error
        def endless():
            return endless()
        """,
        after="""return {
            "good": lambda: "1",
            "plain": "2",
            "nothing": lambda: None,
            "raising": lambda: throw(KeyError("here")),
            "exiting": lambda: sys.exit(4),
            "own": lambda: throw(Own("mine")),
            "endless": endless,
            "typed": lambda: 7,
            "absent": lambda: throw(NotInContext("not on this machine")),
        }""",
    )
    found = beside(source, placement=placement)
    outcome = culprit(found)
    assert outcome.status is OutcomeStatus.PARTIAL
    assert outcome.tags == {"good": "1", "plain": "2"}
    assert outcome.failures["raising"] == "KeyError: 'here'"
    assert outcome.failures["exiting"] == "SystemExit: 4"
    assert outcome.failures["own"] == "Own: mine"
    assert outcome.failures["endless"].startswith("RecursionError")
    assert "tag 'typed' is a int; a string" in outcome.failures["typed"]
    assert outcome.failures["absent"] == "absent: not on this machine"
    assert "nothing" not in outcome.failures
    assert found.stderr.count("provider 'culprit', fact 'raising': KeyError: 'here'") == 1
    assert "not on this machine" not in found.stderr


@both_placements
def test_values_that_no_store_can_hold_are_stated(beside: Misbehaving, placement: str) -> None:
    """Each ill-formed key and each value of another type is a failed fact by name; odd characters are written out."""
    source = body(
        "",
        before="class Text(str): pass",
        after="""return {
            "good": "1", "spaced name/of.parts:1-2_3": "2", "subclass": Text("3"),
            "int": 1, "bool": True, "float": 1.5, "bytes": b"x", "list": ["x"], "dict": {},
            "object": object(), "class": int,
            7: "x", None: "x", ("a", "b"): "x", "": "x", "k" * 251: "x",
            "new\\nline": "x", "../up": "x", "/absolute": "x", "two//slashes": "x", "half\\udc80": "x", "null\\0": "x",
            "surrogate": "a\\udc80b", "null": "a\\0b", "accent": "\\u00e9",
        }""",
    )
    outcome = culprit(beside(source, placement=placement))
    assert outcome.status is OutcomeStatus.PARTIAL
    assert outcome.tags == {
        "good": "1",
        "spaced name/of.parts:1-2_3": "2",
        "subclass": "3",
        "surrogate": "a\\udc80b",
        "null": "a\\x00b",
        "accent": "\u00e9",
    }
    for name in ("int", "bool", "float", "bytes", "list", "dict", "object", "class"):
        assert f"tag {name!r} is a" in outcome.failures[name]
    assert "a name of type int" in outcome.failures["7"]
    assert "a name of type NoneType" in outcome.failures["None"]
    assert "a name of type tuple" in outcome.failures["('a', 'b')"]
    assert "251 characters" in outcome.failures["k" * 250]
    for name in ("new\nline", "../up", "/absolute", "two//slashes", "half\\udc80", "null\\x00"):
        assert "ill-formed name" in outcome.failures[name]


@both_placements
def test_long_value_is_cut_in_tags_and_whole_on_record(beside: Misbehaving, placement: str) -> None:
    """5 MB of text, more than is received at once: the tag says that it was cut, and context.json holds all of it."""
    found = beside(body("", after='return {"long": "x" * 5_000_000}'), placement=placement)
    tag = found.context.tags["long"]
    assert len(tag) == 8_000
    assert tag.endswith("[cut: 5,000,000 characters in all]")
    assert len(culprit(found).tags["long"]) == 5_000_000


@both_placements
def test_tags_beyond_a_thousand_are_a_stated_failure(beside: Misbehaving, placement: str) -> None:
    """Of 10,000 tags the first 1,000 count; one failure says that there were more."""
    outcome = culprit(beside(body("", after='return {f"t{n}": "x" for n in range(10_000)}'), placement=placement))
    assert list(outcome.tags) == [f"t{n}" for n in range(1_000)]
    assert outcome.failures == {"more tags": "more than 1,000 tags: the first 1,000 count"}


ENDLESS = {
    "ever new keys": "yield f'k{count}'",
    "ever the same key": "yield 'k'",
    "ever ill-formed keys": "yield count",
}


@both_placements
@pytest.mark.parametrize("case", ENDLESS)
def test_endless_mapping_ends(beside: Misbehaving, case: str, placement: str) -> None:
    """A mapping whose keys never end is read as far as a thousand tags."""
    before = f"""
        import itertools
        class Endless:
            def keys(self):
                for count in itertools.count():
                    {ENDLESS[case]}
            def __getitem__(self, key): return "x"
    """
    outcome = culprit(beside(body("", before=before, after="return Endless()"), placement=placement))
    assert outcome.status is OutcomeStatus.PARTIAL
    assert "more than 1,000 tags" in outcome.failures["more tags"]
    assert len(outcome.tags) <= 1_000


LATELY = f"time.sleep({DEADLINE_SECONDS - 1.5})"
"""What is busy when the deadline comes need not have been all the time."""

HANGING = {
    "sleeps": (body("time.sleep(1_000)", before="import time"), "both"),
    "waits for a lock": (body("a = threading.Lock(); a.acquire(); a.acquire()", before="import threading"), "both"),
    "spins": (body(f"{LATELY}\nwhile True: pass", before="import time"), "both"),
    "spins against exceptions": (
        body(f"""
        {LATELY}
        for attempt in range(3):
            try:
                while True: pass
            except BaseException:
                pass
        while True: time.sleep(0.01)
        """, before="import time"),
        "companion",
    ),
    "hangs in C": (body("ctypes.CDLL(None).pause()", before="import ctypes"), "both"),
    "hangs in C with the GIL": (body("ctypes.PyDLL(None).pause()", before="import ctypes"), "companion"),
    "waits for a file lock": (
        body(
            """
            path = os.path.join(os.environ["HOME"], "lock")
            first, second = open(path, "w"), open(path, "w")
            fcntl.flock(first, fcntl.LOCK_EX)
            fcntl.flock(second, fcntl.LOCK_EX)
            """,
            before="import fcntl, os",
        ),
        "both",
    ),
    "is deaf to signals": (
        body(
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(1_000)",
            before="import signal, time",
        ),
        "companion",
    ),
    "hangs at import": ("import time\ntime.sleep(1_000)\n", "companion"),
    "hangs in a fact": (
        "import time\n" + body("", after='return {"culprit": lambda: time.sleep(1_000)}'),
        "both",
    ),
    "hangs in a value": (
        body("", before="""
        import time
        class Slow(dict):
            def __getitem__(self, key): time.sleep(1_000)
        """, after='return Slow(a="1")'),
        "both",
    ),
}  # fmt: skip


@both_placements
def test_plugins_that_hang_are_waited_for_until_the_deadline_only(
    project: Path,
    run_script: RunScript,
    install_plugin: InstallPlugin,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
    placement: str,
) -> None:
    """Whatever they hang in: the wait ends with the deadline, each outcome says so, and nothing is left running."""
    names = {
        f"hanging{n}": case for n, (case, (_, where)) in enumerate(HANGING.items()) if where in ("both", placement)
    }
    for name, case in names.items():
        install_plugin(name, HANGING[case][0])
    install_plugin("healthy", HEALTHY)
    place(project, names, placement)
    found = run_script(PROGRAM, env={"RUNCONTEXT_TIMEOUT": str(DEADLINE_SECONDS)})
    assert DEADLINE_SECONDS - 0.1 < found.json["waited"] < DEADLINE_SECONDS + 10.0
    assert found.run.params == {"before": "1", "after": "2"}
    assert_others_answered(found.context)
    for name, case in names.items():
        outcome = found.context.outcomes[name]
        assert outcome.status is OutcomeStatus.TIMED_OUT, (case, outcome)
        assert outcome.placement == placement
        assert f"{DEADLINE_SECONDS:g} s" in (outcome.reason or ""), (case, outcome)
        assert f"provider {name!r} timed out: " in found.stderr
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the companion")


def test_endless_loop_in_a_thread_is_ended_after_the_deadline(beside: Misbehaving) -> None:
    """A loop in Python gets a SystemExit when its time is over, and takes no more of the program's time."""
    program = """
        import json, threading, time
        import runcontext
        with runcontext.start_run() as run:
            run.tags
            until = time.monotonic() + 10
            while threading.active_count() > 1 and time.monotonic() < until:
                time.sleep(0.05)
            print(json.dumps([threading.active_count(), run.context.outcomes["culprit"].reason]))
    """
    found = beside(body("while True: pass"), placement="thread", program=program, deadline=1.0)
    threads, reason = found.json
    assert threads == 1
    assert reason == "took longer than the deadline of 1 s"
    assert culprit(found).status is OutcomeStatus.TIMED_OUT


@both_placements
def test_own_timeout_of_a_provider_is_its_limit(beside: Misbehaving, placement: str) -> None:
    """A provider whose class says ``timeout = 0.5`` is ended then, long before the deadline of 30 s."""
    source = body("while True: time.sleep(0.01)", before="import time").replace(
        "class Provider:", "class Provider:\n    timeout = 0.5\n"
    )
    found = beside(source, placement=placement)
    assert found.json["waited"] < 25
    assert culprit(found).status is OutcomeStatus.TIMED_OUT
    assert "0.5 s" in (culprit(found).reason or "")


@both_placements
def test_limit_in_pyproject_wins_over_the_providers_own(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, placement: str
) -> None:
    """``timeout`` in [tool.runcontext.providers.<name>] is the limit, whatever the class says."""
    source = body("while True: time.sleep(0.01)", before="import time").replace(
        "class Provider:", "class Provider:\n    timeout = 50\n"
    )
    install_plugin("culprit", source)
    table = f'[tool.runcontext.providers.culprit]\ntimeout = 0.5\nplacement = "{placement}"\n'
    (project / "pyproject.toml").write_text(table, encoding="utf-8")
    found = run_script(PROGRAM)
    assert found.json["waited"] < 25
    assert "0.5 s" in (culprit(found).reason or "")


def test_unusable_timeout_of_a_provider_is_as_good_as_none(beside: Misbehaving) -> None:
    """A ``timeout`` that is no number of seconds leaves the usual limit in force, and costs no facts."""
    source = body("").replace("class Provider:", "class Provider:\n    timeout = 'soon'\n")
    assert culprit(beside(source)).tags == {"culprit": "there"}


WRITING = """
for each in os.listdir("/proc/self/fd"):
    try:
        is_socket = stat.S_ISSOCK(os.fstat(int(each)).st_mode)
    except OSError:
        continue
    if is_socket:
        os.write(int(each), b"{}\\n")
"""

ENDING = {
    "kills its group": ("os.killpg(0, signal.SIGKILL)", "SIGKILL"),
    "terminates its group": ("os.killpg(0, signal.SIGTERM)", "SIGTERM"),
    "exits at once": ("os._exit(0)", "exited with status 0"),
    "exits with a status": ("os._exit(7)", "exited with status 7"),
    "segfaults": ("ctypes.string_at(0)", "SIGSEGV"),
    "aborts": ("os.abort()", "SIGABRT"),
    "closes all descriptors": ("os.closerange(0, 4096)", "worker process"),
    "writes into the connection": (WRITING, "sent what is no message"),
    "leaves its group": ("os.setpgid(0, os.getpgid(os.getppid())); time.sleep(1_000)", "its limit of 1 s"),
}


@pytest.mark.parametrize("case", ENDING)
def test_plugin_that_ends_its_process_costs_itself_only(
    beside: Misbehaving, companions: Callable[[int], list[psutil.Process]], wait_until: Callable[..., None], case: str
) -> None:
    """A crash in the companion is its own: the outcome says how the worker ended, and the others answer."""
    lines, words = ENDING[case]
    source = body(lines, before="import ctypes, os, signal, stat, time")
    found = beside(source.replace("class Provider:", "class Provider:\n    timeout = 1\n"))
    outcome = culprit(found)
    assert outcome.status in (OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT) or not words
    assert words in (outcome.reason or "")
    assert found.json["unchanged"]
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the companion")


def test_companion_keeps_surroundings_apart(beside: Misbehaving) -> None:
    """In the companion a plugin may change folder, environment, umask, streams and path: no effect on the program."""
    lines = """
        os.chdir("/")
        os.environ.clear()
        os.environ["CULPRIT"] = "1"
        os.umask(0o777)
        sys.path.clear()
        sys.argv.clear()
        print("said aloud")
        print("said aloud", file=sys.stderr)
        os.write(1, b"said aloud")
        os.write(2, b"said aloud")
        sys.stdout = sys.stderr = None
    """
    found = beside(body(lines, before="import os, sys"))
    assert culprit(found).status is OutcomeStatus.CAPTURED
    assert found.json["unchanged"]
    assert "said aloud" not in found.stdout + found.stderr
    assert {path.stat().st_mode & 0o600 for path in found.run.path.rglob("*.json")} == {0o600}


def test_thread_says_what_it_changed(beside: Misbehaving) -> None:
    """In a thread it does change the program's folder and environment: its outcome names what."""
    lines = """
        os.chdir(os.sep)
        os.environ["CULPRIT"] = "1"
        del os.environ["HOME"]
        time.sleep(0.05)
    """
    outcome = culprit(beside(body(lines, before="import os, time"), placement="thread"))
    assert outcome.status is OutcomeStatus.CAPTURED
    assert outcome.reason is not None
    assert "folder changed" in outcome.reason
    assert "to / while it ran" in outcome.reason
    assert "environment changed while it ran: CULPRIT, HOME" in outcome.reason


def test_thread_that_fails_says_what_it_changed_too(beside: Misbehaving) -> None:
    """A failure's reason does not hide what the provider did to the program before it."""
    lines = 'os.environ["CULPRIT"] = "1"; raise ValueError("then failed")'
    outcome = culprit(beside(body(lines, before="import os"), placement="thread"))
    assert outcome.status is OutcomeStatus.FAILED
    assert outcome.reason is not None
    assert outcome.reason.startswith("ValueError: then failed")
    assert "environment changed while it ran: CULPRIT" in outcome.reason


def test_journal_that_a_thread_closed_is_opened_again(beside: Misbehaving) -> None:
    """A plugin in a thread that closes every descriptor above 2 costs no event and no other provider's facts."""
    program = """
        import time
        import runcontext
        with runcontext.start_run() as run:
            for step in range(200):
                run.log_metric("loss", step, step=step)
                time.sleep(0.002)
            run.tags
    """
    found = beside(body("os.closerange(3, 4096)", before="import os"), placement="thread", program=program)
    assert found.run.metrics == {"loss": 199.0}
    lines = "".join(path.read_text() for path in (found.run.path / "events").iterdir())
    assert lines.count('"loss"') == 200


@pytest.mark.parametrize("daemon", [True, False])
def test_plugin_that_leaves_a_thread_behind_in_the_companion(
    beside: Misbehaving,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
    daemon: bool,
) -> None:
    """It is captured, its worker serves nobody else, and the thread ends with the companion."""
    lines = f"threading.Thread(target=time.sleep, args=(1_000,), daemon={daemon}).start()"
    found = beside(body(lines, before="import threading, time"))
    assert culprit(found).tags == {"culprit": "there"}
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the companion")


def test_plugin_that_leaves_a_thread_behind_in_the_program(beside: Misbehaving) -> None:
    """A daemon thread that it leaves in the program keeps neither the run nor the program from ending."""
    lines = "threading.Thread(target=time.sleep, args=(1_000,), daemon=True).start()"
    found = beside(body(lines, before="import threading, time"), placement="thread")
    assert culprit(found).tags == {"culprit": "there"}


@pytest.mark.parametrize("hangs", [False, True])
def test_child_of_a_plugin_ends_with_its_worker(
    beside: Misbehaving,
    project: Path,
    has_ended: Callable[[int], bool],
    wait_until: Callable[..., None],
    hangs: bool,
) -> None:
    """A process that a plugin started and left behind is ended: at once, or when its plugin's time is over."""
    lines = f"""
        child = subprocess.Popen(["sleep", "1000"])
        with open("child.pid", "w") as file:
            file.write(str(child.pid))
        {"time.sleep(1_000)" if hangs else ""}
    """
    beside(
        body(lines, before="import subprocess, time").replace("class Provider:", "class Provider:\n    timeout = 5\n")
    )
    pid = int((project / "child.pid").read_text())
    wait_until(lambda: has_ended(pid), 15.0, "the end of the child")


@pytest.mark.parametrize(("count", "deadline"), [(25, 4.0), pytest.param(100, 8.0, marks=pytest.mark.slow)])
def test_many_hanging_plugins_hold_nobody(
    project: Path,
    run_script: RunScript,
    install_plugin: InstallPlugin,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
    count: int,
    deadline: float,
) -> None:
    """25 or 100 plugins that sleep for ever: built-ins and a healthy plugin behind them answer within the deadline."""
    for number in range(count):
        install_plugin(f"hanging{number}", body("time.sleep(1_000)", before="import time"))
    install_plugin("healthy", HEALTHY)
    install_plugin("zealous", HEALTHY.replace("healthy", "zealous"))
    found = run_script(PROGRAM, env={**ALL, "RUNCONTEXT_TIMEOUT": str(deadline)})
    assert found.json["waited"] < deadline + 10
    assert_all_others_answered(found.context)
    assert found.context.tags["zealous"] == "yes"
    hanging = [found.context.outcomes[f"hanging{number}"] for number in range(count)]
    assert {each.status for each in hanging} == {OutcomeStatus.TIMED_OUT}
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the companion")
    assert project.is_dir()


@both_placements
def test_provider_inside_a_provider_does_not_recur(beside: Misbehaving, placement: str) -> None:
    """A plugin that itself captures a context and starts a run gets the built-ins' facts, and nothing runs for ever."""
    lines = """
        inner = runcontext.resolve_context()
        with runcontext.start_run(tracking_uri=os.path.join(os.environ["HOME"], "inner"), nested=True) as run:
            pass
    """
    after = 'return {"inner.host": inner.tags["host.name"], "inner.culprit": inner.tags.get("culprit", "not asked")}'
    found = beside(body(lines, before="import os, runcontext", after=after), placement=placement)
    assert culprit(found).status is OutcomeStatus.CAPTURED, culprit(found)
    assert culprit(found).tags["inner.host"] == found.context.tags["host.name"]
    assert culprit(found).tags["inner.culprit"] == "not asked"


def test_program_that_a_plugin_starts_does_not_recur(beside: Misbehaving) -> None:
    """A plugin in the companion that starts a program with a run of its own: that one runs no plugin."""
    lines = """
        code = "import runcontext; print('inner' in runcontext.resolve_context().tags)"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    """
    found = beside(body(lines, before="import subprocess, sys", after='return {"inner": said.strip()}'))
    assert culprit(found).tags == {"inner": "False"}, culprit(found)


def test_interrupt_of_the_user_is_not_swallowed(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin
) -> None:
    """Ctrl-C while the program waits for its context is the user's: it reaches the program."""
    install_plugin("culprit", body("time.sleep(1_000)", before="import time"))
    program = """
        import os, signal, threading, time
        import runcontext
        try:
            with runcontext.start_run() as run:
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
                try:
                    run.tags
                except KeyboardInterrupt:
                    print("interrupted")
                    run.end("KILLED") if False else None
                    raise
        except KeyboardInterrupt:
            pass
    """
    found = run_script(program, env={"RUNCONTEXT_TIMEOUT": "3"})
    assert "interrupted" in found.stdout
    assert found.run.status == "KILLED"
    assert os.path.isdir(project)


STRICT_SITES = {
    "tags": "run.tags",
    "context": "run.context",
    "leaving": "pass",
}


@both_placements
@pytest.mark.parametrize("site", STRICT_SITES)
def test_strict_raises_what_is_otherwise_logged(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, site: str, placement: str
) -> None:
    """RUNCONTEXT_STRICT=1: from run.tags, run.context or on leaving the run, naming provider, fact and reason."""
    install_plugin("culprit", body("", after='return {"good": "1", "bad": 7}'))
    install_plugin("worse", "raise ValueError('at import')")
    place(project, ["culprit", "worse"], placement)
    program = f"""
        import runcontext
        try:
            with runcontext.start_run() as run:
                {STRICT_SITES[site]}
                print("inside")
        except runcontext.ProviderError as error:
            print(error)
    """
    found = run_script(program, env={"RUNCONTEXT_STRICT": "1"})
    assert found.stdout.startswith("inside") == (site == "leaving")
    assert "provider 'culprit', fact 'bad': TypeError: tag 'bad' is a int" in found.stdout
    assert "provider 'worse' failed: ValueError: at import" in found.stdout
    assert found.run.status == ("FINISHED" if site == "leaving" else "FAILED")
    assert found.context.tags["good"] == "1"


def test_strict_does_not_hide_the_programs_own_exception(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """An exception that is under way goes on, with the failures as a note (before Python 3.11 in the log)."""
    install_plugin("culprit", "raise ValueError('at import')")
    program = """
        import runcontext
        try:
            with runcontext.start_run():
                raise LookupError("the program's own")
        except LookupError as error:
            print(*getattr(error, "__notes__", ["none"]))
    """
    found = run_script(program, env={"RUNCONTEXT_STRICT": "1"})
    assert "provider 'culprit' failed: ValueError: at import" in found.stdout + found.stderr
    assert found.run.status == "FAILED"
    assert found.run.tags["end.reason"] == "LookupError: the program's own"


def test_failure_is_logged_once_by_its_logger(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """One WARNING of the logger ``runcontext`` for each failure, however many runs and readers there are."""
    install_plugin("culprit", body("", after='return {"bad": 7}'))
    program = """
        import json, logging
        import runcontext

        class Keep(logging.Handler):
            kept = []
            def emit(self, record):
                self.kept.append([record.name, record.levelname, record.getMessage()])

        logging.getLogger().addHandler(Keep())
        for _ in range(3):
            with runcontext.start_run() as run:
                run.tags, run.context, run.tags
        print(json.dumps(Keep.kept))
    """
    found = run_script(program)
    ((logger, level, message),) = found.json
    assert (logger, level) == ("runcontext", "WARNING")
    assert message.startswith("provider 'culprit', fact 'bad': TypeError: tag 'bad' is a int")


def test_logging_that_fails_costs_the_message_only(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """A handler of the program's that raises does not turn a plugin's failure into the program's."""
    install_plugin("culprit", "raise ValueError('at import')")
    program = """
        import logging
        import runcontext

        class Broken(logging.Handler):
            def emit(self, record):
                raise RuntimeError("no log")

        logging.getLogger("runcontext").addHandler(Broken())
        with runcontext.start_run() as run:
            run.tags
    """
    assert culprit(run_script(program)).reason == "ValueError: at import"
