"""The companion process: out of the program's way, replaced where it cannot be had, gone when the program is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runcontext.record import OutcomeStatus
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psutil
    from tests.integration.conftest import Finished, InstallPlugin, RunScript, StartScript

COMPANION_FACTS = ("git", "host", "gpu", "python")
QUICK_FACTS = ("host",)
"""Those of them that the fixture ``quick`` leaves in."""

PROGRAM = """
    import json, os, sys, time
    import runcontext
    {before}
    with runcontext.start_run() as run:
        {inside}
        began = time.monotonic()
        run.tags
        waited = time.monotonic() - began
    print(json.dumps(waited))
"""

FIND = """
    import glob, os, signal, time

    def companions():
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    words = file.read().split(b"\\0")
            except OSError:
                continue
            if any(b"runcontext.companion" in word for word in words) and b"sh" not in words[:1]:
                if str(os.getpid()).encode() in words:
                    found.append(int(path.split("/")[2]))
        return found

    def supervisor():
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found = companions()
            if found:
                return min(found)
        raise SystemExit("no companion")
"""

PLUGIN = """
    class Provider:
        def in_context(self):
            return True

        def tags(self):
            return {"healthy": "yes"}
"""

HANGING = """
    import time

    class Provider:
        def in_context(self):
            return True

        def tags(self):
            time.sleep(1_000)
"""

LEAVING = """
    import os, subprocess, time

    class Provider:
        def in_context(self):
            return True

        def tags(self):
            child = subprocess.Popen(["sleep", "1000"])
            with open(os.path.join(os.environ["HOME"], "child"), "w") as file:
                print(child.pid, file=file, flush=True)
                time.sleep(1_000)
"""

WAIT_FOR_CHILD = "while not os.path.exists(os.path.expanduser('~/child')): time.sleep(0.05)"


def child_of_plugin(environment: dict[str, str]) -> int:
    """Give the pid of the process that the plugin left behind."""
    with open(os.path.join(environment["HOME"], "child"), encoding="utf-8") as file:
        return int(file.read())


def program(*, before: str = "", inside: str = "") -> str:
    """Write a program that waits for its context."""
    return PROGRAM.format(before=before, inside=inside or "pass")


def assert_complete(found: Finished, *, placement: str | None = None, facts: tuple[str, ...] = COMPANION_FACTS) -> None:
    """Check that every built-in provider said what it says in the companion, or those of ``facts``."""
    assert found.run.status == "FINISHED"
    for name in facts:
        outcome = found.context.outcomes[name]
        assert outcome.status in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT), (name, outcome)
        assert placement is None or outcome.placement == placement, (name, outcome)
    assert "git" not in facts or len(found.context.tags["mlflow.source.git.commit"]) == 40
    assert len(found.context.tags["source.sha256"]) == 64
    assert found.context.outcomes["source"].status is OutcomeStatus.CAPTURED


# --- where no companion can be had ---------------------------------------------------------------------------------


UNSTARTABLE = {
    "switched off": ("", {"RUNCONTEXT_COMPANION": "0"}),
    "no executable known": ("sys.executable = None", {}),
    "an empty executable": ("sys.executable = ''", {}),
    "a missing executable": ("sys.executable = '/nowhere/python3'", {}),
    "another program": ("sys.executable = '/bin/cat'", {}),
    "a frozen application": ("sys.frozen = True", {}),
    "a python that is none": ("sys.executable = os.path.abspath('python-fake')", {}),
}


@pytest.mark.parametrize("case", UNSTARTABLE)
@pytest.mark.usefixtures("quick")
def test_fallback_gives_the_same_facts(
    project: Path, run_script: RunScript, install_plugin: InstallPlugin, case: str
) -> None:
    """Where no companion can be started, threads of the program find out the same, plugins included."""
    # What all providers find out is compared where it is switched off, and where it fails last of all.
    whole = {"RUNCONTEXT_PROVIDERS": ""} if case in ("switched off", "a python that is none") else {}
    facts = COMPANION_FACTS if whole else QUICK_FACTS
    install_plugin("healthy", PLUGIN)
    fake = project / "python-fake"
    fake.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    fake.chmod(0o755)
    run_script(program(), env=whole)
    before, variables = UNSTARTABLE[case]
    found = run_script(program(before=before), env={**whole, **variables})
    second, first = (reading.read_context(found.store, run.run_id) for run in found.runs)
    assert first is not None
    assert second is not None
    for name in (*facts, "healthy"):
        assert first.outcomes[name].placement == "companion"
        assert second.outcomes[name].placement == "thread"
        # Which environment it is, a program that hides its interpreter does not tell.
        told = {tag for tag in first.outcomes[name].tags if tag != "python.environment" or not before} - {"load"}
        assert {tag: second.outcomes[name].tags[tag] for tag in told} == {
            tag: first.outcomes[name].tags[tag] for tag in told
        }
        assert second.outcomes[name].status is first.outcomes[name].status
    assert {each.name for each in second.attachments} == {each.name for each in first.attachments}
    # What the threads import, and the processes that they start, are then the program's.
    of_the_program = {"process.executable.path", "random.state", "usage.children.memory.peak"}
    assert first.tags.keys() - of_the_program == second.tags.keys() - of_the_program


FAKES = {
    "garbage": r"os.write(3, b'\xff\x00 garbage \n' * 1_000)",
    "garbage without an end": r"os.write(3, b'\xff\x00 garbage'); time.sleep(20)",
    "JSON that is no message": r"os.write(3, b'[1, 2]\n'); time.sleep(20)",
    "half a greeting": r"os.write(3, b'{\"op\": \"hel')",
    "half a greeting, and waits": r"os.write(3, b'{\"op\": \"hel'); time.sleep(20)",
    "a greeting and half an answer": r"os.write(3, b'{\"op\": \"hello\", \"pid\": 1}\n{\"op\": \"outco')",
    "a greeting, and goes": r"os.write(3, b'{\"op\": \"hello\", \"pid\": 1}\n')",
    "an answer that lacks everything": (
        r"os.write(3, b'{\"op\": \"hello\", \"pid\": 1}\n{\"op\": \"outcomes\", \"id\": \"%s-1\"}\n' % pid); "
        "time.sleep(20)"
    ),
    "100 MB without an end": "send(b'x' * 1_000_000, 100)",
    "100 MB of lines": r"send(b'{}\n' * 300_000, 100)",
    "10 MB of unknown messages": r"send(b'{\"op\": \"no\"}\n' * 80_000, 8)",
    "nothing": "time.sleep(20)",
    "nothing, and goes": "pass",
    "a crash": "os.abort()",
}


LONGER = ("garbage without an end", "100 MB without an end")
"""Four seconds of waiting or of work each: by ``make slow``. Half a line, and a wait, are among the others too."""


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in LONGER else case for case in FAKES]
)
@pytest.mark.usefixtures("quick")
def test_companion_that_talks_nonsense_is_replaced(project: Path, run_script: RunScript, case: str) -> None:
    """Whatever an alleged companion says, the built-ins answer from threads, within the deadline."""
    fake = project / "python-fake"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import os, socket, sys, time\n"
        "pid = sys.argv[5].encode()\n"
        "def send(chunk, times):\n"
        "    end = socket.socket(fileno=3)\n"
        "    for _ in range(times):\n"
        "        end.sendall(chunk)\n"
        f"{FAKES[case]}\n",
        encoding="utf-8",
    )
    fake.chmod(0o755)
    before = "sys.dont_write_bytecode = False; sys.executable = os.path.abspath('python-fake')"
    found = run_script(program(before=before), env={"RUNCONTEXT_TIMEOUT": "20"})
    assert found.json < 18
    assert_complete(found, placement="thread", facts=QUICK_FACTS)


def test_silence_after_the_greeting_ends_with_the_deadline(project: Path, run_script: RunScript) -> None:
    """A companion that greets and then hangs costs its own facts, each with a reason, and no more than the deadline."""
    fake = project / "python-fake"
    fake.write_text(
        f'#!{sys.executable}\nimport os, time\nos.write(3, b\'{{"op": "hello", "pid": 1}}\\n\')\ntime.sleep(10)\n',
        encoding="utf-8",
    )
    fake.chmod(0o755)
    before = "sys.executable = os.path.abspath('python-fake')"
    found = run_script(program(before=before), env={"RUNCONTEXT_TIMEOUT": "2"})
    assert found.json < 9
    for name in COMPANION_FACTS:
        assert found.context.outcomes[name].status is OutcomeStatus.TIMED_OUT
        assert "2 s" in (found.context.outcomes[name].reason or "")
    assert found.context.outcomes["user"].status is OutcomeStatus.CAPTURED


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 0.5])
@pytest.mark.usefixtures("quick")
def test_companion_that_is_killed_is_replaced(
    run_script: RunScript,
    install_plugin: InstallPlugin,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
    seconds: float,
) -> None:
    """SIGKILL to it at any moment costs the plugins that were at work; the built-ins answer, and no worker is left."""
    install_plugin("hanging", HANGING)
    inside = f"time.sleep({seconds}); victim = supervisor(); os.kill(victim, signal.SIGKILL)"
    found = run_script(FIND + program(inside=inside), env={"RUNCONTEXT_TIMEOUT": "4"})
    assert_complete(found, facts=QUICK_FACTS)
    outcome = found.context.outcomes.get("hanging")
    assert outcome is None or outcome.status in (OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT)
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the workers")


def test_killed_companion_takes_its_workers_and_their_children_with_it(
    run_script: RunScript,
    environment: dict[str, str],
    install_plugin: InstallPlugin,
    companions: Callable[[int], list[psutil.Process]],
    has_ended: Callable[[int], bool],
    wait_until: Callable[..., None],
) -> None:
    """A plugin that hangs in a worker, and the process that it started, end with the companion."""
    install_plugin("leaving", LEAVING)
    inside = f"""
        {WAIT_FOR_CHILD}
        os.kill(supervisor(), signal.SIGKILL)
    """
    found = run_script(FIND + program(inside=inside))
    assert_complete(found)
    assert found.context.outcomes["leaving"].reason == "the companion process ended before it answered"
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the workers")
    wait_until(lambda: has_ended(child_of_plugin(environment)), 15.0, "the end of the worker's child")


def test_process_limit_leaves_the_facts(tmp_path: Path, project: Path, run_script: RunScript) -> None:
    """Where no process and no thread can be started any more, the built-ins run in the program's own thread."""
    if os.geteuid() == 0 and not sys.platform.startswith("linux"):
        pytest.skip("a limit for root needs Linux's capabilities")
    # Limits do not hold root: the program becomes nobody, and keeps root's access to files (capabilities(7)).
    before = """
    import ctypes, resource
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(8, 1, 0, 0, 0)
        os.setuid(65534)
        access = (1 << 1) | (1 << 2)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if libc.capset(header, (ctypes.c_uint32 * 6)(access, access, 0, 0, 0, 0)):
            raise SystemExit("no capset")
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        print("no limit")
    except BlockingIOError:
        pass
    """
    project.chmod(0o777)
    tmp_path.joinpath("cache").mkdir(mode=0o777)
    found = run_script(program(before=before), env={"RUNCONTEXT_TRACKING_URI": ".runcontext"})
    if "no limit" in found.stdout:
        pytest.skip("this system does not hold the limit of processes")
    assert found.run.status == "FINISHED"
    for name in ("user", "source", "host", "python"):
        assert found.context.outcomes[name].status is OutcomeStatus.CAPTURED, found.context.outcomes[name]
    assert found.context.outcomes["git"].status is not OutcomeStatus.TIMED_OUT


# --- one companion, and its end ------------------------------------------------------------------------------------


def test_runs_of_a_program_share_one_companion(run_script: RunScript) -> None:
    """Runs after each other, inside each other and contexts without a run: one companion serves them all."""
    found = run_script(
        FIND
        + """
    import json
    import runcontext
    seen = set()
    for number in range(3):
        with runcontext.start_run() as run:
            run.tags
            seen.add(supervisor())
            with runcontext.start_run(nested=True) as inner:
                inner.tags
                seen.add(supervisor())
    runcontext.resolve_context()
    seen.add(supervisor())
    print(json.dumps([len(seen), len(companions())]))
    """
    )
    supervisors, processes = found.json
    assert supervisors == 1
    assert processes <= 3
    assert len(found.runs) == 6
    for run in found.runs:
        context = reading.read_context(found.store, run.run_id)
        assert context is not None
        assert context.outcomes["git"].status is OutcomeStatus.CAPTURED


@pytest.mark.slow
def test_idle_companion_ends_and_the_next_run_has_another(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """Ten seconds after the last run the companion is gone; a later run of the program gets one of its own."""
    install_plugin("healthy", PLUGIN)
    found = run_script(
        FIND
        + """
    import json
    import runcontext
    with runcontext.start_run() as run:
        run.tags
        first = supervisor()
    ended = time.monotonic()
    while companions() and time.monotonic() < ended + 30:
        time.sleep(0.1)
    idle = time.monotonic() - ended
    with runcontext.start_run() as run:
        placements = {name: str(each.placement) for name, each in run.context.outcomes.items()}
        second = supervisor()
    print(json.dumps([idle, first != second, placements]))
    """
    )
    idle, is_another, placements = found.json
    assert 9 < idle < 20
    assert is_another
    assert placements["healthy"] == placements["git"] == "companion"


ENDS = {
    "returns": "",
    "exits at once": "os._exit(0)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "replaces itself": "os.execv('/bin/true', ['true'])",
}


@pytest.mark.parametrize("case", ENDS)
@pytest.mark.usefixtures("quick")
def test_companion_ends_with_its_program(
    run_script: RunScript,
    environment: dict[str, str],
    install_plugin: InstallPlugin,
    companions: Callable[[int], list[psutil.Process]],
    has_ended: Callable[[int], bool],
    wait_until: Callable[..., None],
    case: str,
) -> None:
    """However the program ends, no companion, no worker and no child of a hanging plugin is left soon after."""
    install_plugin("leaving", LEAVING)
    source = f"""
    import os, signal, time
    import runcontext
    with runcontext.start_run() as run:
        {WAIT_FOR_CHILD}
        {ENDS[case] or "pass"}
    """
    found = run_script(source, env={"RUNCONTEXT_TIMEOUT": "2"}, returncode=None)
    wait_until(lambda: not companions(found.pid), 15.0, "the end of the companion")
    wait_until(lambda: has_ended(child_of_plugin(environment)), 15.0, "the end of the worker's child")
    assert found.context.outcomes["host"].status is OutcomeStatus.CAPTURED
    assert found.context.outcomes["leaving"].status is OutcomeStatus.TIMED_OUT


def test_killed_program_still_gets_its_context(
    project: Path, start_script: StartScript, wait_until: Callable[..., None]
) -> None:
    """A run that is killed in its first moment is described all the same, and on record as lost."""
    process = start_script(
        "import os, runcontext, signal\nruncontext.start_run()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert process.wait(30) == -signal.SIGKILL
    store = LocalStore(str(project / ".runcontext"))

    def is_described() -> bool:
        (run,) = reading.search_runs(store)
        context = reading.read_context(store, run.run_id)
        return context is not None and all(each.status != "pending" for each in context.outcomes.values())

    wait_until(is_described, 30.0, "the whole context")
    wait_until(lambda: list(store_journals(store)), 10.0, "the record of its end")
    (run,) = reading.search_runs(store)
    assert run.status == "LOST"
    assert len(run.tags["mlflow.source.git.commit"]) == 40


def store_journals(store: LocalStore) -> list[str]:
    """Give the lines of all journals of the only run."""
    (run,) = reading.search_runs(store)
    return [line for path in (run.path / "events").iterdir() for line in path.read_text().splitlines()]


# --- out of the program's way --------------------------------------------------------------------------------------


def test_program_with_built_ins_has_no_other_thread(run_script: RunScript) -> None:
    """From start_run() to the end of the capture the program has one thread."""
    found = run_script("""
        import json, os, threading
        import runcontext
        with runcontext.start_run() as run:
            counts = [threading.active_count(), len(os.listdir("/proc/self/task"))]
            run.tags
            counts += [threading.active_count(), len(os.listdir("/proc/self/task"))]
        print(json.dumps(counts))
    """)
    assert found.json == [1, 1, 1, 1]
    assert_complete(found, placement="companion")


def test_program_that_waits_for_its_children_never_meets_the_companion(run_script: RunScript) -> None:
    """os.wait() ends when the program's own children have, psutil counts only those, and none of ours costs it time."""
    found = run_script("""
        import json, os, resource
        import psutil
        import runcontext
        with runcontext.start_run() as run:
            own = {os.posix_spawn("/bin/sleep", ["sleep", "0.3"], os.environ) for _ in range(2)}
            children = {each.pid for each in psutil.Process().children(recursive=True)}
            run.tags
            seen = set()
            while True:
                try:
                    seen.add(os.wait()[0])
                except ChildProcessError:
                    break
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(json.dumps([sorted(own), sorted(children), sorted(seen), usage.ru_utime + usage.ru_stime]))
    """)
    own, children, seen, seconds = found.json
    assert own == children == seen
    assert seconds < 0.1
    assert_complete(found, placement="companion")


@pytest.mark.parametrize("flags", ["signal.SIG_DFL", "signal.SIG_IGN", "called.append"])
@pytest.mark.usefixtures("quick")
def test_handler_of_sigchld_never_hears_of_the_companion(run_script: RunScript, flags: str) -> None:
    """A program's SIGCHLD handler is called for its own children only; one that ignores them is served too."""
    found = run_script(f"""
        import json, os, signal
        import runcontext
        called = []
        handler = {flags if flags != "called.append" else "lambda *_: called.append(1)"}
        signal.signal(signal.SIGCHLD, handler)
        with runcontext.start_run() as run:
            run.tags
        before = len(called)
        pid = os.posix_spawn("/bin/true", ["true"], os.environ)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
        print(json.dumps([before, len(called), signal.getsignal(signal.SIGCHLD) == handler]))
    """)
    before, after, is_kept = found.json
    assert before == 0
    assert after == (1 if flags == "called.append" else 0)
    assert is_kept
    assert_complete(found, placement="companion", facts=QUICK_FACTS)


def test_child_that_ends_while_the_companion_starts_is_heard_of(run_script: RunScript) -> None:
    """The SIGCHLD of a program's own child is not lost where it comes while ours is held back."""
    found = run_script("""
        import json, os, signal, time
        import runcontext
        heard = []
        def handler(*_):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    heard.append(1)
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, handler)
        for _ in range(20):
            os.posix_spawn("/bin/true", ["true"], os.environ)
        with runcontext.start_run() as run:
            run.tags
        until = time.monotonic() + 10
        while len(heard) < 20 and time.monotonic() < until:
            time.sleep(0.01)
        print(len(heard))
    """)
    assert found.json == 20
    assert_complete(found)


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_forks_under_warnings_as_errors(run_script: RunScript, moment: str) -> None:
    """Forking during the capture or after it warns of no thread, and the child neither ends nor spoils the run."""
    found = run_script(
        f"""
        import os, sys, time
        import runcontext
        with runcontext.start_run() as run:
            if {moment == "later"}:
                run.tags
            children = []
            for way in ("exit", "raise", "hard"):
                pid = os.fork()
                if not pid:
                    if runcontext.active_run() is not None:
                        os._exit(9)
                    if way == "hard":
                        os._exit(0)
                    sys.exit(0) if way == "exit" else exec("raise SystemExit(0)")
                children.append(os.waitpid(pid, 0)[1])
            run.log_metric("after", 1)
            assert children == [0, 0, 0], children
    """,
        options=["-W", "error"],
    )
    assert_complete(found, placement="companion")
    assert found.run.metrics == {"after": 1.0}
    assert not found.stderr


def test_child_starts_a_run_of_its_own(run_script: RunScript) -> None:
    """A forked child may start a run: it has its own companion and a context of its own."""
    found = run_script(
        """
        import os
        import runcontext
        with runcontext.start_run(run_name="parent") as run:
            pid = os.fork()
            if not pid:
                with runcontext.start_run(run_name="child") as inner:
                    inner.tags
                os._exit(0)
            os.waitpid(pid, 0)
    """,
        options=["-W", "error"],
    )
    pids = set()
    for run in found.runs:
        assert run.status == "FINISHED"
        assert len(run.tags["mlflow.source.git.commit"]) == 40
        pids.add(run.tags["process.pid"])
    assert len(pids) == 2


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.usefixtures("quick")
def test_multiprocessing_inside_a_run(run_script: RunScript, method: str) -> None:
    """Workers of a pool do their work, know no run, and leave the parent's alone."""
    found = run_script(
        f"""
        import multiprocessing, os
        import runcontext

        def square(number):
            return number * number, runcontext.active_run() is None, os.getpid()

        if __name__ == "__main__":
            with runcontext.start_run() as run:
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    answers = pool.map(square, range(10))
                    pool.close()
                    pool.join()
                assert [each[0] for each in answers] == [number * number for number in range(10)]
                assert all(each[1] for each in answers), answers
                run.log_metric("sum", sum(each[0] for each in answers))
    """
    )
    assert_complete(found, placement="companion", facts=QUICK_FACTS)
    assert found.run.metrics == {"sum": 285.0}


@pytest.mark.parametrize("moment", ["at once", "later"])
@pytest.mark.usefixtures("quick")
def test_program_that_closes_all_descriptors_finds_nothing_of_ours_in_its_files(
    run_script: RunScript, project: Path, moment: str
) -> None:
    """os.closerange(3, ...), then files of its own under the same numbers: they hold what the program wrote only."""
    found = run_script(f"""
        import os, time
        import runcontext
        with runcontext.start_run() as run:
            run.log_metric("loss", 1, step=1)
            if {moment == "later"}:
                run.tags
            os.closerange(3, 4096)
            files = [open(f"own{{number}}.txt", "w") for number in range(100)]
            for step in range(2, 50):
                run.log_metric("loss", step, step=step)
            run.tags
            for file in files:
                file.write("mine")
                file.close()
    """)
    assert {path.read_text() for path in project.glob("own*.txt")} == {"mine"}
    assert found.run.metrics == {"loss": 49.0}
    assert_complete(found, facts=QUICK_FACTS)


@pytest.mark.parametrize("count", [8, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unmeasured")
def test_many_processes_at_once(project: Path, run_script: RunScript, count: int) -> None:
    """8 or 64 processes that start runs in one folder at the same time leave as many complete runs."""
    found = run_script(
        f"""
        import os
        go, ready = os.pipe()
        children = []
        for number in range({count}):
            pid = os.fork()
            if not pid:
                os.close(ready)
                os.read(go, 1)
                import runcontext
                with runcontext.start_run(run_name=f"run{{number}}") as run:
                    run.log_metric("number", number)
                    run.tags
                os._exit(0)
            children.append(pid)
        os.close(ready)
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
    """,
        env={"RUNCONTEXT_TIMEOUT": "90"},
        timeout=110,
    )
    assert len(found.runs) == count
    for run in found.runs:
        assert run.status == "FINISHED"
        assert run.run_name == f"run{run.metrics['number']:.0f}"
        assert len(run.tags["mlflow.source.git.commit"]) == 40
        assert run.tags["host.name"]
        assert run.tags["python.packages.count"]
    assert not list((project / ".runcontext" / "runs").glob("*/*.tmp"))


MODULES = (
    "argparse ast asyncio base64 bz2 calendar code collections.abc concurrent.futures configparser copy csv "
    "ctypes dataclasses datetime decimal difflib dis doctest email.message enum fileinput fractions ftplib "
    "gettext glob gzip hashlib heapq html.parser http.client http.server imaplib importlib.metadata inspect "
    "ipaddress json logging.handlers mailbox mimetypes multiprocessing.pool optparse pathlib pdb pickle "
    "platform plistlib pprint profile pydoc queue random sched secrets selectors shelve shlex shutil smtplib "
    "socketserver sqlite3 ssl statistics string subprocess tarfile tempfile textwrap threading timeit tokenize "
    "tracemalloc typing unittest.mock urllib.request uuid wave weakref xml.dom.minidom xml.etree.ElementTree "
    "zipfile zoneinfo"
)


@pytest.mark.parametrize("companion", ["0", "1"])
def test_imports_of_the_program_during_the_capture(run_script: RunScript, companion: str) -> None:
    """The program may import anything while providers are at work: nothing is half-initialised or waits for ever."""
    found = run_script(
        f"""
        import importlib, sys
        import runcontext
        with runcontext.start_run() as run:
            for name in {MODULES!r}.split():
                module = importlib.import_module(name)
                assert not getattr(module.__spec__, "_initializing", False), name
            import json.decoder, logging.config, git, psutil
            git.Repo, psutil.Process
            for name in sorted(sys.stdlib_module_names):
                if name.startswith(("email", "xml", "unittest", "concurrent", "wsgiref", "json")):
                    importlib.import_module(name)
            run.tags
    """,
        env={"RUNCONTEXT_COMPANION": companion},
    )
    assert_complete(found)


def test_pipeline_ends_when_the_program_does(
    project: Path, run_script: RunScript, environment: dict[str, str], install_plugin: InstallPlugin
) -> None:
    """``program | cat`` ends with the program, though its companion may live a little longer."""
    install_plugin("hanging", HANGING)
    run_script("pass")
    (project / "script.py").write_text(
        "import os, runcontext, time\nruncontext.start_run()\ntime.sleep(0.5)\n"
        "print('said', flush=True)\nos._exit(0)\n",
        encoding="utf-8",
    )
    site = str(project.parent / "site")
    process = subprocess.run(
        ["sh", "-c", f"{sys.executable} script.py | cat; date +%s.%N"],
        cwd=project,
        env={**environment, "PYTHONPATH": site, "RUNCONTEXT_TIMEOUT": "8"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=6,
        check=True,
    )
    assert process.stdout.startswith("said\n")


def test_lock_of_the_script_around_the_program_is_free_when_it_ends(
    project: Path, run_script: RunScript, environment: dict[str, str], install_plugin: InstallPlugin
) -> None:
    """``exec 9>lock; flock 9``: the companion does not hold descriptor 9 of the script that runs the program."""
    install_plugin("hanging", HANGING)
    run_script("pass")
    (project / "script.py").write_text(
        "import fcntl, os, runcontext, time\nfcntl.flock(9, fcntl.LOCK_EX)\nruncontext.start_run()\ntime.sleep(0.5)\n"
        "os._exit(0)\n",
        encoding="utf-8",
    )
    check = "import fcntl, sys; fcntl.flock(open('lock'), fcntl.LOCK_EX | fcntl.LOCK_NB); print('free')"
    process = subprocess.run(
        [
            "bash" if os.path.exists("/bin/bash") else "sh",
            "-c",
            f'(exec 9>lock; {sys.executable} script.py); {sys.executable} -c "{check}"',
        ],
        cwd=project,
        env={**environment, "PYTHONPATH": str(project.parent / "site"), "RUNCONTEXT_TIMEOUT": "8"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=7,
        check=True,
    )
    assert process.stdout == "free\n"


# --- waiting -------------------------------------------------------------------------------------------------------


def test_timeout_of_zero_never_waits(run_script: RunScript, install_plugin: InstallPlugin) -> None:
    """RUNCONTEXT_TIMEOUT=0: tags and the end of the run come at once, with what is known by then."""
    install_plugin("hanging", HANGING)
    found = run_script(
        """
        import json, time
        import runcontext
        run = runcontext.start_run()
        began = time.monotonic()
        tags = dict(run.tags)
        run.end()
        print(json.dumps([time.monotonic() - began, tags]))
    """,
        env={"RUNCONTEXT_TIMEOUT": "0"},
    )
    seconds, tags = found.json
    assert seconds < 0.9
    assert "mlflow.user" in tags
    assert found.context.outcomes["host"].status in (OutcomeStatus.TIMED_OUT, OutcomeStatus.CAPTURED)


@pytest.mark.parametrize("deadline", ["0", "0.5"])
def test_facts_that_come_late_are_recorded(run_script: RunScript, install_plugin: InstallPlugin, deadline: str) -> None:
    """A provider slower than the deadline is captured all the same while the run is open."""
    install_plugin("slow", PLUGIN.replace("return {", "import time; time.sleep(2); return {"))
    found = run_script(
        """
        import json, time
        import runcontext
        with runcontext.start_run() as run:
            early = run.context.outcomes.get("slow")
            until = time.monotonic() + 30
            while time.monotonic() < until:
                outcomes = json.loads((run.path / "context.json").read_text())["outcomes"]
                if outcomes.get("slow", {}).get("status") == "captured":
                    break
                time.sleep(0.05)
        print(json.dumps(str(early and early.status)))
    """,
        env={"RUNCONTEXT_TIMEOUT": deadline},
    )
    assert found.json in ("pending", "None")
    outcome = found.context.outcomes["slow"]
    assert outcome.status is OutcomeStatus.CAPTURED
    assert outcome.seconds > 1.9
    assert found.run.tags["healthy"] == "yes"
    assert_complete(found)


def test_threads_that_wait_at_once_are_all_served(run_script: RunScript) -> None:
    """Many threads, each with a run of its own, wait for their contexts together: none waits for the deadline."""
    found = run_script(
        """
        import json, threading, time
        import runcontext
        def work():
            with runcontext.start_run() as run:
                run.tags
        began = time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        print(json.dumps(time.monotonic() - began))
    """,
        env={"RUNCONTEXT_TIMEOUT": "80"},
        timeout=100,
    )
    assert not found.stderr
    assert found.json < 75
    assert len(found.runs) == 8
    assert all(len(run.tags["mlflow.source.git.commit"]) == 40 for run in found.runs)
