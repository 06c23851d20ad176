"""How a run ends, in every way that a program can: the design's table of endings, by real programs that really end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runcontext import process
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Finished, RunScript, StartScript

FAST = {"RUNCONTEXT_DISABLED": "1"}
"""No provider and so no companion: these tests are about how a program ends."""

NESTINGS = (
    "block",
    "open",
    "block block",
    "block open",
    "open block",
    "open open",
    "block open block",
    "open block open",
)

ENDINGS = {
    "falls off its end": ("pass", 0, "FINISHED"),
    "sys.exit(0)": ("sys.exit(0)", 0, "FINISHED"),
    "sys.exit(3)": ("sys.exit(3)", 3, "FAILED"),
    "sys.exit(text)": ("sys.exit('no data')", 1, "FAILED"),
    "exception": ("raise ValueError('no data')", 1, "FAILED"),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(10)", -signal.SIGINT, "KILLED"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)", -signal.SIGTERM, "KILLED"),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(10)", -signal.SIGHUP, "KILLED"),
    "os._exit(0)": ("os._exit(0)", 0, "LOST"),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "LOST"),
}


def program(nesting: str, ending: str) -> str:
    """Write a program that opens runs 0, 1, ... one inside the other, by a block or by a call, and then ends."""
    lines = ["import os, signal, sys, time", "import runcontext"]
    indent = ""
    for depth, how in enumerate(nesting.split()):
        call = f"runcontext.start_run(run_name='{depth}', nested=True)"
        lines.append(f"{indent}with {call}:" if how == "block" else f"{indent}{call}")
        indent += "    " if how == "block" else ""
    return "\n".join([*lines, indent + ending])


def statuses(finished: Finished) -> list[str]:
    """Give the status of every run, the outermost first."""
    return [str(run.status) for run in sorted(finished.runs, key=lambda run: run.run_name)]


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_in_every_nesting(run_script: RunScript, nesting: str, ending: str) -> None:
    """Whatever is open ends with the status of the table, the innermost first, and the program ends as it would."""
    source, returncode, status = ENDINGS[ending]
    finished = run_script(program(nesting, source), env=FAST, returncode=returncode)
    assert statuses(finished) == [status] * len(nesting.split())
    if status in ("FINISHED", "FAILED"):
        ends = [run.end_time or 0 for run in sorted(finished.runs, key=lambda run: run.run_name)]
        assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize(
    ("nesting", "expected"),
    [
        ("block", ["FAILED"]),
        ("open", ["FINISHED"]),
        ("block open", ["FAILED", "FAILED"]),
        ("open block", ["FINISHED", "FAILED"]),
    ],
)
def test_system_exit_that_nobody_can_see(run_script: RunScript, nesting: str, expected: list[str]) -> None:
    """``raise SystemExit(3)`` is seen by a block alone; without one, the record says that the code is unknown."""
    finished = run_script(program(nesting, "raise SystemExit(3)"), env=FAST, returncode=3)
    assert statuses(finished) == expected
    reasons = [run.tags["end.reason"] for run in sorted(finished.runs, key=lambda run: run.run_name)]
    assert reasons == ["exit code 3" if status == "FAILED" else "exit code unknown" for status in expected]


@pytest.mark.parametrize(
    ("source", "returncode", "status", "reason"),
    [
        ("with runcontext.start_run(): pass", 0, "FINISHED", None),
        ("runcontext.start_run(); runcontext.end_run()", 0, "FINISHED", None),
        ("runcontext.start_run(); runcontext.end_run('FAILED')", 0, "FAILED", None),
        ("runcontext.start_run(); runcontext.end_run(runcontext.RunStatus.KILLED)", 0, "KILLED", None),
        ("runcontext.start_run(); sys.exit()", 0, "FINISHED", "exit code 0"),
        ("runcontext.start_run(); sys.exit(True)", 1, "FAILED", "exit code 1"),
        ("runcontext.start_run(); sys.exit(0.0)", 1, "FAILED", "exit code 1"),
        ("runcontext.start_run(); 1 / 0", 1, "FAILED", "ZeroDivisionError: division by zero"),
        ("with runcontext.start_run(): 1 / 0", 1, "FAILED", "ZeroDivisionError: division by zero"),
        ("with runcontext.start_run(): raise GeneratorExit", 1, "FINISHED", "the generator was closed"),
    ],
)
def test_reasons(run_script: RunScript, source: str, returncode: int, status: str, reason: str | None) -> None:
    """The tag ``end.reason`` says why a run ended, where there is more to say than the status does."""
    finished = run_script(f"import sys, runcontext\n{source}", env=FAST, returncode=returncode)
    assert (finished.run.status, finished.run.tags.get("end.reason")) == (status, reason)


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("try:\n    sys.exit(3)\nexcept SystemExit:\n    runcontext.log_param('goes', 'on')", "FINISHED"),
        ("threading.Thread(target=sys.exit, args=(3,)).start()", "FINISHED"),
        ("threading.excepthook = print\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()", "FINISHED"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass", "FINISHED"),
        ("sys.excepthook = lambda *error: None\n1 / 0", "FAILED"),
        ("import types; sys.modules['IPython'] = types.ModuleType('IPython')\n1 / 0", "FAILED"),
        ("atexit.register(lambda: runcontext.log_param('late', 1))", "FINISHED"),
    ],
    ids=[
        "caught exit",
        "exit of a thread",
        "a thread's exception",
        "caught",
        "own excepthook",
        "IPython imported",
        "atexit",
    ],
)
def test_what_is_not_the_programs_end(run_script: RunScript, source: str, status: str) -> None:
    """What only looks like the program's end does not count, and what is, is seen past the program's own hooks."""
    start = "import atexit, sys, threading, runcontext\nruncontext.start_run()\n"
    finished = run_script(start + source, env=FAST, returncode=None)
    assert finished.run.status == status


def test_the_wrapped_exit_is_chained(run_script: RunScript) -> None:
    """A ``sys.exit`` that the program has replaced before is still the one that is called."""
    source = """
        import sys
        import runcontext
        theirs, calls = sys.exit, []

        def exit_loudly(code=None):
            print("bye", code)
            theirs(code)

        sys.exit = exit_loudly
        runcontext.start_run()
        sys.exit(4)
    """
    finished = run_script(source, env=FAST, returncode=4)
    assert finished.stdout == "bye 4\n"
    assert finished.run.tags["end.reason"] == "exit code 4"


def test_cancelled_by_ctrl_c_under_asyncio(run_script: RunScript) -> None:
    """Ctrl-C reaches a block in ``asyncio.run()`` as a cancellation, and still counts as Ctrl-C."""
    source = """
        import asyncio, os, signal
        import runcontext

        async def main():
            with runcontext.start_run():
                asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
                await asyncio.sleep(10)

        asyncio.run(main())
    """
    assert run_script(source, env=FAST, returncode=-signal.SIGINT).run.status == "KILLED"


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGTERM"])
def test_the_companion_records_a_death(
    start_script: StartScript, project: Path, wait_until: Callable[..., None], signal_name: str
) -> None:
    """Killed without a word: the companion puts that on record, with the whole context, and nobody has to read."""
    source = (
        "import runcontext, time\nrunning = runcontext.start_run()\nprint(running.path, flush=True)\ntime.sleep(60)"
    )
    started = start_script(source)
    assert started.stdout is not None
    path = started.stdout.readline().strip()
    started.send_signal(getattr(signal, signal_name))
    started.wait()
    wait_until(lambda: reading.final_status(path) is not None, what="the companion's record")
    final = reading.final_status(path)
    assert final is not None
    assert final["status"] == ("LOST" if signal_name == "SIGKILL" else "KILLED")
    wait_until(
        lambda: "pending" not in Path(path, "context.json").read_text(encoding="utf-8"), what="the whole context"
    )
    assert "mlflow.source.git.commit" in only_run(project).tags


def test_killed_at_the_first_moment(run_script: RunScript) -> None:
    """A run whose program dies as soon as ``start_run()`` has returned gets its context all the same."""
    source = "import os, runcontext\nprint(runcontext.start_run().path, flush=True)\nos.kill(os.getpid(), 9)"
    finished = run_script(source, returncode=-9)
    path = finished.stdout.strip()
    until = time.monotonic() + 15
    while "pending" in Path(path, "context.json").read_text(encoding="utf-8") and time.monotonic() < until:
        time.sleep(0.05)
    assert finished.context.tags["mlflow.source.git.branch"] == "main"


C_CALLS = {
    "a C call that holds the GIL": "import ctypes; ctypes.PyDLL(None).sleep(60)",
    "a C call without the GIL": "import ctypes; ctypes.CDLL(None).sleep(60)",
    "a long regular expression": "import re; re.match('(a+)+$', 'a' * 64 + 'b')",
}


@pytest.mark.parametrize("call", C_CALLS)
def test_a_signal_acts_at_once_in_c(start_script: StartScript, project: Path, call: str) -> None:
    """SIGTERM during a long call into C ends the program at once, as it would without us, and the run is KILLED."""
    started = start_script(
        f"import runcontext\nruncontext.start_run()\nprint('go', flush=True)\n{C_CALLS[call]}", env=FAST
    )
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(0.1)
    began = time.monotonic()
    started.terminate()
    assert started.wait() == -signal.SIGTERM
    assert time.monotonic() - began < 15
    run = only_run(project)
    assert (run.status, run.tags["end.reason"]) == ("KILLED", "SIGTERM")
    assert "script.py" in (run.path / "SIGTERM.txt").read_text(encoding="utf-8")


OWN_HANDLER = """
    import os, signal, sys, time
    import runcontext

    def handler(number, frame):
        print("handled", flush=True)
        {reaction}

    {before}
    {block}runcontext.start_run(){colon}
    {indent}{after}
    {indent}os.kill(os.getpid(), signal.SIGTERM)
    {indent}time.sleep(0.05)
    runcontext.end_run()
    {before_last}
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)
"""


@pytest.mark.parametrize("installed", ["before", "after"])
@pytest.mark.parametrize("form", ["block", "open"])
def test_a_programs_own_handler_stays_in_force(run_script: RunScript, installed: str, form: str) -> None:
    """A program's own handler is called during the run and after it; a program that goes on has its own ending."""
    install = "signal.signal(signal.SIGTERM, handler)"
    source = OWN_HANDLER.format(
        reaction="pass",
        before=install if installed == "before" else "",
        after=install if installed == "after" else "pass",
        block="with " if form == "block" else "",
        colon=":" if form == "block" else "",
        indent="    " if form == "block" else "",
        before_last="",
    )
    finished = run_script(source, env=FAST)
    assert finished.stdout == "handled\n" * 2
    assert finished.run.status == "FINISHED"


@pytest.mark.parametrize(
    ("reaction", "returncode", "status"),
    [
        ("sys.exit(0)", 0, "FINISHED"),
        ("sys.exit(5)", 5, "FAILED"),
        ("raise RuntimeError('stopped')", 1, "FAILED"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KILLED"),
        ("runcontext.log_param('stopped', 'yes'); runcontext.end_run('KILLED'); sys.exit(0)", 0, "KILLED"),
    ],
)
def test_what_a_programs_own_handler_does_counts(
    run_script: RunScript, reaction: str, returncode: int, status: str
) -> None:
    """A program that ends by its own handler of SIGTERM ends as that handler says."""
    source = f"""
        import os, signal, sys, time
        import runcontext

        def handler(number, frame):
            {reaction}

        signal.signal(signal.SIGTERM, handler)
        runcontext.start_run()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    """
    assert run_script(source, env=FAST, returncode=returncode).run.status == status


def test_a_handler_may_log_while_the_program_logs(run_script: RunScript) -> None:
    """A handler that logs never finds the journal locked by the very call that it interrupted."""
    source = """
        import signal, time
        import runcontext
        handled = 0

        def handler(number, frame):
            global handled
            handled += 1
            runcontext.log_param(f"handled{handled}", handled)

        with runcontext.start_run():
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0003)
            until = time.monotonic() + 1
            count = 0
            while time.monotonic() < until:
                count += 1
                runcontext.log_metric("count", count, step=count)
            signal.setitimer(signal.ITIMER_REAL, 0)
        print(handled, count)
    """
    finished = run_script(source, env=FAST, timeout=30)
    handled, count = map(int, finished.stdout.split())
    assert handled > 10
    assert len(finished.run.params) == handled
    assert finished.run.metrics["count"] == count


def test_signals_are_given_back(run_script: RunScript) -> None:
    """After the run a signal acts as it did before it, and no file for one that never came is left behind."""
    source = """
        import os, signal, time
        import runcontext
        with runcontext.start_run():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    """
    finished = run_script(source, env=FAST, returncode=-signal.SIGTERM)
    assert finished.run.status == "FINISHED"
    assert not list(finished.run.path.glob("SIG*"))


def test_a_later_run_is_watched_after_a_handler_came_and_went(run_script: RunScript) -> None:
    """A handler that the program set in one run and took back later does not keep the next one from being watched."""
    source = """
        import os, signal, time
        import runcontext
        with runcontext.start_run(run_name="0"):
            signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        runcontext.start_run(run_name="1")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    """
    assert statuses(run_script(source, env=FAST, returncode=-signal.SIGTERM)) == ["FINISHED", "KILLED"]


def test_signals_reset_and_descriptors_closed_in_mid_run(run_script: RunScript) -> None:
    """A program that resets its signals and closes every descriptor is watched again once it logs."""
    source = """
        import os, signal, time
        import runcontext
        runcontext.start_run()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.closerange(3, 2_000)
        files = [open(f"script{number}.py", "w") for number in range(100)]
        time.sleep(1.1)
        runcontext.log_metric("loss", 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    """
    finished = run_script(source, env=FAST, returncode=-signal.SIGTERM)
    assert (finished.run.status, finished.run.metrics["loss"]) == ("KILLED", 1)
    assert all(not file.stat().st_size for file in finished.project.glob("script?*.py") if file.name[6].isdigit())


def test_a_signal_after_all_descriptors_were_closed(run_script: RunScript) -> None:
    """Where the program has closed our files and opened its own, what is noted of a signal lands in none of them."""
    source = """
        import os, signal, time
        import runcontext
        runcontext.start_run()
        os.closerange(3, 2_000)
        files = [open(f"script{number}.py", "w") for number in range(200)]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    """
    finished = run_script(source, env=FAST, returncode=-signal.SIGTERM)
    files = [file for file in finished.project.glob("script*.py") if file.name[6].isdigit()]
    assert (len(files), sum(file.stat().st_size for file in files)) == (200, 0)


def test_ignored_signals_stay_ignored(project: Path, environment: dict[str, str]) -> None:
    """Under nohup a program outlives SIGHUP: it was started with the signal ignored, and it stays so."""
    inner = project / "script_inner.py"
    inner.write_text(
        "import os, signal, time, runcontext\n"
        "with runcontext.start_run():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    time.sleep(0.05)\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n",
        encoding="utf-8",
    )
    outer = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    words = [sys.executable, "-c", outer, sys.executable, str(inner)]
    subprocess.run(words, cwd=project, env={**environment, **FAST}, check=True)
    run = only_run(project)
    assert run.status == "FINISHED"
    assert not list(run.path.glob("SIGHUP*"))


@pytest.mark.parametrize("handler", ["", "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"])
def test_a_forked_childs_end_is_not_its_parents(run_script: RunScript, handler: str) -> None:
    """A child killed by SIGTERM writes nothing into its parent's record, and keeps the program's own handler."""
    source = f"""
        import os, signal, sys, time
        import runcontext
        runcontext.start_run()
        {handler}
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(1)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    finished = run_script(source, env=FAST, returncode=-9)
    assert finished.stdout.strip() == ("7" if handler else "-15")
    assert finished.run.status == "LOST"


def test_a_forked_child_ends_no_run(run_script: RunScript) -> None:
    """A child that falls off its end, exits or leaves the parent's block leaves the parent's run as it is."""
    source = """
        import os, sys
        import runcontext
        with runcontext.start_run() as run:
            if os.fork() == 0:
                sys.exit(3)
            os.wait()
            if os.fork() == 0:
                assert runcontext.active_run() is None
                runcontext.end_run()
                run.end("FAILED")
                run.log_param("child", "was here")
                sys.exit(0)
            os.wait()
            print(runcontext.get_run(run.run_id).status, flush=True)
    """
    finished = run_script(source, env=FAST)
    assert finished.stdout == "RUNNING\n"
    assert (finished.run.status, finished.run.params) == ("FINISHED", {"child": "was here"})


WORKER = """
    import multiprocessing, sys
    import runcontext

    def work(ending):
        runcontext.start_run(run_name=multiprocessing.current_process().name)
        {ending}

    if __name__ == "__main__":
        with runcontext.start_run(run_name="outer"):
            workers = multiprocessing.get_context("{method}")
            worker = workers.Process(target=work, args=(0,), name="worker")
            worker.start()
            worker.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("pass", "FINISHED"),
        ("1 / 0", "FAILED"),
        ("sys.exit(3)", "FAILED"),
        ("raise SystemExit(3)", "FAILED"),
        ("multiprocessing.current_process().terminate()", "KILLED"),
        ("multiprocessing.current_process().kill()", "LOST"),
    ],
)
def test_workers_of_multiprocessing(run_script: RunScript, method: str, ending: str, status: str) -> None:
    """A worker that leaves a run open ends it, although it never reaches ``atexit``; its parent's run is its own."""
    if ending.endswith(("terminate()", "kill()")):
        name = "SIGTERM" if "terminate" in ending else "SIGKILL"
        ending = f"import os, signal, time; os.kill(os.getpid(), signal.{name}); time.sleep(5)"
    finished = run_script(WORKER.format(ending=ending, method=method), env=FAST)
    assert {run.run_name: str(run.status) for run in finished.runs} == {"outer": "FINISHED", "worker": status}


def test_runs_of_threads_end_with_the_program(run_script: RunScript) -> None:
    """What a thread left open ends with the program; an exception that leaves a thread's block is its run's alone."""
    source = """
        import threading
        import runcontext
        threading.excepthook = lambda _: None

        def leave_open():
            runcontext.start_run(run_name="0")

        def fail():
            with runcontext.start_run(run_name="1"):
                1 / 0

        for target in (leave_open, fail):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        runcontext.start_run(run_name="2")
    """
    assert statuses(run_script(source, env=FAST)) == ["FINISHED", "FAILED", "FINISHED"]


def test_another_program_in_the_same_process(
    start_script: StartScript, project: Path, wait_until: Callable[..., None]
) -> None:
    """A program that replaces itself by another (exec) runs on, and is LOST when that ends: nobody is left to tell."""
    source = """
        import os, sys
        import runcontext
        runcontext.start_run(providers=["host"])
        os.execv(sys.executable, [sys.executable, "-c", "print('other', flush=True); input()"])
    """
    started = start_script(source)
    assert started.stdout is not None
    assert started.stdin is not None
    started.stdout.readline()
    assert only_run(project).status == "RUNNING"
    started.stdin.close()
    started.wait()
    wait_until(lambda: reading.final_status(str(only_run(project).path)), what="the companion's record")
    assert only_run(project).status == "LOST"


def test_generators_that_are_never_read_to_their_end(run_script: RunScript) -> None:
    """A run opened in a generator, plain or asynchronous, ends when that is closed, in whichever task that happens."""
    source = """
        import asyncio
        import runcontext

        def plain():
            with runcontext.start_run(run_name="0"):
                yield 1
                yield 2

        async def asynchronous():
            with runcontext.start_run(run_name="1", nested=True):
                yield 1
                yield 2

        async def main():
            generator = asynchronous()
            await anext(generator)
            await asyncio.create_task(generator.aclose())
            runcontext.start_run(run_name="2", nested=True)

        numbers = plain()
        next(numbers)
        numbers.close()
        assert runcontext.active_run() is None
        asyncio.run(main())
    """
    assert statuses(run_script(source, env=FAST)) == ["FINISHED"] * 3


def test_a_reader_elsewhere_sees_the_last_event(run_script: RunScript) -> None:
    """On another host nobody can know whether a process lives: the run is RUNNING, with the time of its last event."""
    finished = run_script("import os, runcontext\nruncontext.start_run().log_param('a', 1)\nos._exit(0)", env=FAST)
    assert finished.run.status == "LOST"
    change_identity(finished.run.path, host="elsewhere")
    (journal,) = finished.run.path.glob("events/*")
    last = json.loads(journal.read_text(encoding="utf-8").splitlines()[-1])
    assert (finished.run.status, finished.run.end_time) == ("RUNNING", None)
    assert finished.run.last_event_time == last["t"]


def test_a_process_is_known_by_more_than_its_number(run_script: RunScript) -> None:
    """Process numbers are given out again: one that started at another time, or before another boot, is another one."""
    finished = run_script("import os, runcontext\nruncontext.start_run()\nos._exit(0)", env=FAST)
    mine = process.identity(os.getpid())
    change_identity(finished.run.path, **mine)
    assert finished.run.status == "RUNNING"
    for other in ({"process_start": mine["process_start"] - 1}, {"boot_id": "another"}):
        change_identity(finished.run.path, **{**mine, **other})
        assert finished.run.status == "LOST"
    for unknown in ("process_start", "boot_id", "pid_namespace"):
        change_identity(finished.run.path, **{**mine, unknown: None})
        assert finished.run.status == "RUNNING"


def test_a_resumed_run_is_judged_by_who_resumed_it(run_script: RunScript, project: Path) -> None:
    """A run that was killed and is resumed is RUNNING, then what its second process makes of it."""
    first = "import os, runcontext\nrun = runcontext.start_run(tags={'by': 'caller'})\nrun.set_tag('later', 1)\n"
    killed = run_script(first + "os.kill(os.getpid(), 15)\nimport time; time.sleep(5)", env=FAST, returncode=-15)
    run_id = killed.run.run_id
    assert killed.run.status == "KILLED"
    resume = f"import os, runcontext\nrun = runcontext.start_run(run_id={run_id!r})\nassert run.tags['later'] == '1'\n"
    assert run_script(resume + "print(runcontext.get_run(run.run_id).status)", env=FAST).stdout == "RUNNING\n"
    assert only_run(project).status == "FINISHED"
    run_script(resume + "os._exit(0)", env=FAST)
    assert only_run(project).status == "LOST"
    run_script(resume + "os.kill(os.getpid(), 15)\nimport time; time.sleep(5)", env=FAST, returncode=-15)
    assert only_run(project).status == "KILLED"


KILLED_WHILE_LOGGING = """
    import os, random, select, signal, sys, time
    import runcontext

    def log(reports):
        run = runcontext.start_run({arguments})
        os.write(reports, f"{{run.run_id}}\\n".encode())
        for number in range(1_000_000):
            run.log_param(f"p{{number}}", number)
            run.log_metrics({{"loss": number, "other": -number}}, step=number)
            run.set_tag("last", number)
            os.write(reports, f"{{number}}\\n".encode())

    chosen = random.Random(7)
    for _ in range({rounds}):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            log(writing)
        os.close(writing)
        if chosen.random() < 0.8:
            # Not before there is a run, however busy the machine.
            select.select([reading], [], [])
        time.sleep(chosen.uniform(0, {seconds}))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading) as said:
            print(said.read().replace("\\n", " "), flush=True)
"""


@pytest.mark.parametrize(
    ("rounds", "arguments", "seconds"),
    [
        (40, "providers=[]", 0.03),
        (6, "providers=['host']", 0.2),
        pytest.param(2_000, "providers=[]", 0.03, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)]),
        pytest.param(200, "", 0.3, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)]),
    ],
)
def test_killed_at_random_moments(
    start_script: StartScript, project: Path, rounds: int, arguments: str, seconds: float
) -> None:
    """Killed at any moment of a run that logs: every call that had returned is read back, and no reader fails."""
    source = KILLED_WHILE_LOGGING.format(rounds=rounds, arguments=arguments, seconds=seconds)
    started = start_script(source, env={"PYTHONWARNINGS": "error"})
    assert started.stdout is not None
    rounds_with_events = 0
    store = LocalStore(str(project / ".runcontext"))
    for number, line in enumerate(started.stdout):
        if number % 25 == 0:
            reading.search_runs(store)
        run_id, *reported = line.split() or [""]
        if run_id:
            assert_has_all(reading.get_run(store, run_id), [int(each) for each in reported])
            rounds_with_events += bool(reported)
    assert started.wait() == 0
    assert rounds_with_events


def assert_has_all(run: Any, reported: list[int]) -> None:
    """Check that a killed run has every event that was reported as logged."""
    assert run.status in ("LOST", "RUNNING")
    assert {f"p{number}" for number in reported} <= run.params.keys()
    if reported:
        assert run.metrics["loss"] >= reported[-1]
        assert int(run.tags["last"]) >= reported[-1]


def only_run(project: Path) -> Any:
    """Give the only run in the project's store."""
    (run,) = reading.search_runs(LocalStore(str(project / ".runcontext")))
    return run


def change_identity(folder: Path, **changes: Any) -> None:
    """Rewrite parts of a run's identity, as if it came from another process."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
