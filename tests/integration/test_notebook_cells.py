"""Cells of a notebook, run as a kernel runs them: one by one in one namespace, with ``await`` at their top level."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import RunScript

FAST = {"RUNCONTEXT_DISABLED": "1"}

KERNEL = """
    import ast, asyncio, contextvars, inspect, sys, traceback

    def run_cells(*cells, each_in_its_own_context):
        shared = contextvars.copy_context()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        namespace = {"__name__": "__main__"}
        for number, cell in enumerate(cells):
            code = compile(cell, f"<cell {number}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

            async def run_cell():
                result = eval(code, namespace)
                if inspect.isawaitable(result):
                    await result

            context = contextvars.copy_context() if each_in_its_own_context else shared
            try:
                task = context.run(loop.create_task, run_cell())
                loop.run_until_complete(task)
            except Exception as error:
                # What IPython and the console do: report, keep for the debugger, and go on.
                sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
                traceback.print_exc()
        loop.close()

    sys.ps1 = "In : "
"""

BLOCK = """
with runcontext.start_run(run_name="0") as run:
    await asyncio.sleep(0.01)
    runcontext.log_param("cell", 1)
    assert runcontext.active_run() is run
"""

TASK = """
async def work():
    with runcontext.start_run(run_name="0") as run:
        await asyncio.sleep(0.05)
        runcontext.log_param("cell", 5)
task = asyncio.create_task(work())
"""

NESTED = """
with runcontext.start_run(run_name="1", nested=True):
    await asyncio.sleep(0.01)
    runcontext.log_param("cell", "inner")
"""

START = 'run = runcontext.start_run(run_name="0")'

CELLS = {
    "a block in one cell": (BLOCK, "assert runcontext.active_run() is None"),
    "a run across cells": (
        START,
        'await asyncio.sleep(0.01)\nruncontext.log_param("cell", 2)',
        "runcontext.end_run()\nassert run.status == 'FINISHED'",
        "assert runcontext.active_run() is None",
    ),
    "a run and a cell that fails": (START, "1 / 0", 'runcontext.log_param("cell", 3)', "runcontext.end_run()"),
    "a run that nobody ends": (START, 'runcontext.log_param("cell", 4)', "1 / 0"),
    "a task that outlives its cell": (
        TASK,
        "await asyncio.sleep(0)",
        "await task\nassert runcontext.active_run() is None",
    ),
    "a nested run in a later cell": (START, NESTED, 'runcontext.log_param("cell", 6)\nruncontext.end_run()'),
}


@pytest.mark.parametrize("each_in_its_own_context", [False, True], ids=["one context", "a context each"])
@pytest.mark.parametrize("name", CELLS)
def test_cells(run_script: RunScript, name: str, each_in_its_own_context: bool) -> None:
    """A run may begin in one cell, be logged to in another and end in a third, in whichever context each one runs."""
    source = f"""{KERNEL}
    import asyncio
    cells = {("import asyncio, runcontext", *CELLS[name])!r}
    run_cells(*cells, each_in_its_own_context={each_in_its_own_context})
    """
    finished = run_script(source, env=FAST)
    assert "Error" not in finished.stderr.replace("ZeroDivisionError", "")
    outer = next(run for run in finished.runs if run.run_name == "0")
    assert outer.params["cell"] in "123456"
    assert {str(run.status) for run in finished.runs} == {"FINISHED"}


def test_a_notebook_records_todays_commit(run_script: RunScript) -> None:
    """A second run in the same process sees what has happened to the repository since the first."""
    source = f"""{KERNEL}
    first = '''
    import subprocess, runcontext
    with runcontext.start_run(run_name="0") as run:
        before = run.tags["mlflow.source.git.commit"]
    '''
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    commit = ["git", *author, "commit", "-q", "--allow-empty", "-m", "second"]
    second = f'''
    subprocess.run({{commit!r}}, check=True)
    with runcontext.start_run(run_name="1") as run:
        after = run.tags["mlflow.source.git.commit"]
    print(before != after)
    '''
    import textwrap
    run_cells(*map(textwrap.dedent, (first, second)), each_in_its_own_context=True)
    """
    assert run_script(source).stdout == "True\n"


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="IPython is not installed")
def test_cells_of_ipython(run_script: RunScript) -> None:
    """The same by a real IPython shell."""
    source = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for cell in (
            "import asyncio, runcontext",
            "run = runcontext.start_run()",
            "await asyncio.sleep(0.01)",
            "runcontext.log_param('cell', 1)",
            "1 / 0",
            "runcontext.end_run()",
        ):
            shell.run_cell(cell)
    """
    finished = run_script(source, env=FAST)
    assert (finished.run.status, finished.run.params) == ("FINISHED", {"cell": "1"})
