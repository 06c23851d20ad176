"""Threads, tasks and processes at once: whose run is whose, and nothing of one gets into another."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import RunScript, StartScript

FAST = {"RUNCONTEXT_DISABLED": "1", "PYTHONWARNINGS": "error"}


def test_threads_each_with_their_own_run(run_script: RunScript) -> None:
    """Threads that start runs at once each have their own, whole, and one companion serves them all."""
    source = """
        import json, threading
        import runcontext
        barrier = threading.Barrier(12)
        problems = []

        def work(number):
            barrier.wait()
            with runcontext.start_run(run_name=str(number)) as run:
                for step in range(20):
                    runcontext.log_metric("step", step, step=step)
                    runcontext.log_param(f"p{step}", number)
                if runcontext.active_run() is not run or "host.name" not in run.tags:
                    problems.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not problems, problems
        assert runcontext.active_run() is None
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,source,host"})
    assert finished.stderr == ""
    assert sorted(run.run_name for run in finished.runs) == sorted(map(str, range(12)))
    for run in finished.runs:
        assert (run.status, run.parent_run_id) == ("FINISHED", None)
        assert dict(run.params) == {f"p{step}": run.run_name for step in range(20)}
        assert run.metrics == {"step": 19}
        assert run.tags["host.name"]


def test_threads_that_log_to_one_run(run_script: RunScript) -> None:
    """Threads without a run of their own log to the process's only one; no event is lost, none is torn."""
    source = """
        import threading
        import runcontext

        def work(number):
            for step in range(200):
                runcontext.log_param(f"{number}-{step}", "x" * 200)

        with runcontext.start_run():
            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
    """
    finished = run_script(source, env=FAST)
    assert len(finished.run.params) == 1_600
    (journal,) = finished.run.path.glob("events/*")
    assert len(journal.read_text(encoding="utf-8").splitlines()) == 1_602


def test_several_runs_and_none_active(run_script: RunScript) -> None:
    """Where several runs are open and none is this thread's, ``log_*`` and ``end_run`` raise, and name them."""
    source = """
        import threading
        import runcontext
        runs = []

        def leave_open(name):
            runs.append(runcontext.start_run(run_name=name))

        for name in ("first", "second"):
            thread = threading.Thread(target=leave_open, args=(name,))
            thread.start()
            thread.join()
        assert runcontext.active_run() is None
        for call in (lambda: runcontext.log_param("a", 1), runcontext.end_run):
            try:
                call()
            except RuntimeError as error:
                assert all(run.run_id[-8:] in str(error) and run.run_name in str(error) for run in runs), error
            else:
                raise SystemExit("it raised nothing")
        runs[0].end()
        runcontext.log_param("a", 1)
        runcontext.end_run()
    """
    finished = run_script(source, env=FAST)
    assert {run.run_name: dict(run.params) for run in finished.runs} == {"first": {}, "second": {"a": "1"}}


def test_tasks_each_with_their_own_run(run_script: RunScript) -> None:
    """Tasks of asyncio have a run each, none the child of another's, however their steps alternate."""
    source = """
        import asyncio
        import runcontext

        async def work(number):
            with runcontext.start_run(run_name=str(number)) as run:
                for step in range(5):
                    await asyncio.sleep(0)
                    assert runcontext.active_run() is run
                    runcontext.log_metric("step", step, step=step)
                    runcontext.log_param(f"p{step}", number)

        async def main():
            await asyncio.gather(*(work(number) for number in range(10)))
            assert runcontext.active_run() is None

        asyncio.run(main())
    """
    finished = run_script(source, env=FAST)
    assert len(finished.runs) == 10
    for run in finished.runs:
        assert (run.status, run.parent_run_id) == ("FINISHED", None)
        assert dict(run.params) == {f"p{step}": run.run_name for step in range(5)}


def test_tasks_inside_a_run(run_script: RunScript) -> None:
    """A task inside a run is in that run, and what it starts is that run's child; without ``nested`` it raises."""
    source = """
        import asyncio
        import runcontext

        async def child(number, parent):
            assert runcontext.active_run() is parent
            try:
                runcontext.start_run()
            except RuntimeError as error:
                assert "nested=True" in str(error)
            with runcontext.start_run(run_name=str(number), nested=True) as run:
                await asyncio.sleep(0.01)
                assert runcontext.active_run() is run
            assert runcontext.active_run() is parent

        async def main():
            with runcontext.start_run(run_name="parent") as parent:
                await asyncio.gather(*(child(number, parent) for number in range(3)))
                await asyncio.to_thread(runcontext.log_param, "from", "thread")

        asyncio.run(main())
    """
    finished = run_script(source, env=FAST)
    by_name = {run.run_name: run for run in finished.runs}
    parent = by_name.pop("parent")
    assert parent.params == {"from": "thread"}
    assert {run.parent_run_id for run in by_name.values()} == {parent.run_id}
    assert {run.tags["mlflow.parentRunId"] for run in by_name.values()} == {parent.run_id}


def test_ended_elsewhere_than_it_was_started(run_script: RunScript) -> None:
    """A run may be ended in another thread or task than the one that started it; both see that it has ended."""
    source = """
        import asyncio, contextvars, threading
        import runcontext

        def in_thread(work):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

        first = runcontext.start_run(run_name="started here, ended in a thread")
        in_thread(runcontext.end_run)
        assert runcontext.active_run() is None
        second = []
        in_thread(lambda: second.append(runcontext.start_run(run_name="the other way round")))
        runcontext.end_run()
        third = runcontext.start_run(run_name="ended in a copied context")
        contextvars.copy_context().run(runcontext.end_run)
        assert runcontext.active_run() is None

        async def main():
            await asyncio.create_task(start())
            assert runcontext.active_run() is None
            await asyncio.create_task(end())

        async def start():
            runcontext.start_run(run_name="by tasks")

        async def end():
            runcontext.end_run()

        asyncio.run(main())
        with runcontext.start_run(run_name="outer") as outer:
            inner = runcontext.start_run(run_name="inner", nested=True)
            in_thread(inner.end)
            assert runcontext.active_run() is outer
        print(sum(run.status == "FINISHED" for run in runcontext.search_runs()), flush=True)
    """
    assert run_script(source, env=FAST).stdout == "6\n"


def test_a_run_may_end_twice(run_script: RunScript) -> None:
    """Ending a run that has ended does nothing, whoever does it and at whichever moment."""
    source = """
        import threading
        import runcontext
        for _ in range(50):
            run = runcontext.start_run()
            threads = [threading.Thread(target=run.end, args=(status,)) for status in ("FINISHED", "FAILED") * 2]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            runcontext.end_run()
    """
    finished = run_script(source, env=FAST)
    assert len(finished.runs) == 50
    for run in finished.runs:
        (journal,) = run.path.glob("events/*")
        assert journal.read_text(encoding="utf-8").count('"status"') == 1


def test_a_forked_child_logs_in_a_journal_of_its_own(run_script: RunScript) -> None:
    """A child that logs to its parent's run writes its own file; both are read as one run, which the parent ends."""
    source = """
        import os
        import runcontext
        with runcontext.start_run(tags={"by": "caller"}) as run:
            run.log_param("parent", 1)
            children = []
            for number in range(4):
                child = os.fork()
                if child == 0:
                    run.log_param(f"child{number}", number)
                    run.log_metric("loss", number, step=number)
                    run.log_text("text", f"child{number}.txt")
                    assert runcontext.active_run() is None
                    assert run.tags["by"] == "caller"
                    os._exit(0)
                children.append(child)
            for child in children:
                assert os.waitpid(child, 0)[1] == 0
            run.log_param("after", 1)
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,host"})
    assert sorted(finished.run.params) == ["after", "child0", "child1", "child2", "child3", "parent"]
    assert finished.run.metrics == {"loss": 3}
    assert len(list(finished.run.path.glob("events/*"))) == 5
    assert len(list(finished.run.path.glob("artifacts/child*.txt"))) == 4


def test_a_forked_child_has_runs_of_its_own(run_script: RunScript) -> None:
    """A child may start a run of its own, which is nobody's child, and ends it by its own ending."""
    source = """
        import os, sys
        import runcontext
        with runcontext.start_run(run_name="parent") as run:
            if os.fork() == 0:
                child = runcontext.start_run(run_name="child")
                assert child.tags["host.name"]
                sys.exit(3)
            os.wait()
            assert run.tags["host.name"]
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,host"})
    by_name = {run.run_name: run for run in finished.runs}
    assert (by_name["parent"].status, by_name["child"].status) == ("FINISHED", "FAILED")
    assert by_name["child"].parent_run_id is None
    assert all("host.name" in run.tags for run in finished.runs)


@pytest.mark.usefixtures("unmeasured")
def test_forks_while_threads_log_and_capture(run_script: RunScript) -> None:
    """A fork at any moment of what other threads do leaves no lock held in the child."""
    source = """
        import os, sys, threading, time, warnings
        import runcontext
        warnings.simplefilter("ignore", DeprecationWarning)
        stop = threading.Event()

        def work():
            with runcontext.start_run() as run:
                while not stop.is_set():
                    run.log_metric("x", 1)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        time.sleep(0.05)
        for number in range(20):
            child = os.fork()
            if child == 0:
                with runcontext.start_run(run_name="child", providers=["user"]) as run:
                    run.log_param("number", number)
                    assert run.tags["mlflow.user"]
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,host"}, timeout=100)
    assert sum(run.run_name == "child" and run.status == "FINISHED" for run in finished.runs) == 20
    assert len(finished.runs) == 23


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(run_script: RunScript, method: str) -> None:
    """Workers of a pool each have whole runs of their own, with the parent's run open around them."""
    source = f"""
        import multiprocessing
        import runcontext

        def work(number):
            with runcontext.start_run(run_name=str(number)) as run:
                run.log_param("number", number)
                return run.tags["host.name"]

        if __name__ == "__main__":
            with runcontext.start_run(run_name="parent"):
                with multiprocessing.get_context("{method}").Pool(2) as pool:
                    assert all(pool.map(work, range(6)))
                    pool.close()
                    pool.join()
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,host"})
    assert len(finished.runs) == 7
    assert all(run.status == "FINISHED" and run.tags["host.name"] for run in finished.runs)


def test_64_processes_in_one_folder(run_script: RunScript, project: Path) -> None:
    """64 processes that start runs in one new folder at the same moment make 64 complete runs."""
    source = """
        import os, sys, time
        import runcontext
        from runcontext import fluent
        gate = os.pipe()
        children = []
        for number in range(64):
            child = os.fork()
            if child == 0:
                os.close(gate[1])
                os.read(gate[0], 1)
                with runcontext.start_run(run_name=str(number)) as run:
                    run.log_param("number", number)
                    run.log_text(str(number), "number.txt")
                os._exit(0)
            children.append(child)
        os.close(gate[1])
        assert not any(os.waitpid(child, 0)[1] for child in children)
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,source"}, timeout=50)
    assert finished.stderr == ""
    assert {run.run_name: run.params["number"] for run in finished.runs} == {str(n): str(n) for n in range(64)}
    for run in finished.runs:
        context = reading.read_context(finished.store, run.run_id)
        assert context is not None
        assert run.status == "FINISHED"
        assert context.outcomes["user"].status == "captured"
    assert not list(project.glob(".runcontext/**/*.tmp"))


def test_programs_at_once(start_script: StartScript, project: Path) -> None:
    """Whole programs side by side, each with its companion, do not disturb each other."""
    source = (
        "import runcontext\nwith runcontext.start_run() as run:\n    run.log_param('pid', __import__('os').getpid())\n"
    )
    variables = {"RUNCONTEXT_PROVIDERS": "user,source,git"}
    started = [start_script(source, env=variables, name=f"script{number}.py") for number in range(6)]
    for each in started:
        out, err = each.communicate()
        assert (each.returncode, out, err) == (0, "", "")
    runs = reading.search_runs(LocalStore(str(project / ".runcontext")))
    assert {run.params["pid"] for run in runs} == {str(each.pid) for each in started}
    assert all(run.status == "FINISHED" and "mlflow.source.git.commit" in run.tags for run in runs)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="only from 3.12 on does a fork beside a thread warn")
def test_a_fork_warns_of_no_thread_of_ours(run_script: RunScript) -> None:
    """During a capture, the program has no more threads than without us: a fork does not warn."""
    source = """
        import os
        import runcontext
        with runcontext.start_run() as run:
            for _ in range(5):
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
            run.tags
            if os.fork() == 0:
                os._exit(0)
            os.wait()
    """
    assert run_script(source, options=("-W", "error")).stderr == ""


def test_the_processes_only_run_of_another_program(run_script: RunScript) -> None:
    """``os.fork`` then ``exec``: the other program knows nothing of the run, and has its own."""
    source = """
        import os, subprocess, sys
        import runcontext
        with runcontext.start_run(run_name="outer"):
            if len(sys.argv) == 1:
                subprocess.run([sys.executable, __file__, "inner"], check=True)
    """
    finished = run_script(source, env={"RUNCONTEXT_PROVIDERS": "user,host"})
    assert [str(run.status) for run in finished.runs] == ["FINISHED", "FINISHED"]
    assert {run.parent_run_id for run in finished.runs} == {None}
