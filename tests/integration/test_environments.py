"""Hostile environments: what a program may lack, close, shadow or fill with bytes that are no text."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runcontext
import runcontext_providers
from runcontext import registry
from runcontext.tracking import reading
from runcontext.tracking.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil
    from tests.integration.conftest import Finished, RunScript, StartScript

    from runcontext.record import Context, RunRecord

PROGRAM = """
    import runcontext
    with runcontext.start_run() as run:
        run.log_param("lr", 0.1)
        run.log_text("text", "note.txt")
        assert run.tags["process.pid"]
        assert run.context.outcomes
"""

SOURCES = os.pathsep.join(
    str(Path(package.__file__ or "").parent.parent) for package in (runcontext, runcontext_providers)
)
"""Where both packages are, for an interpreter that reads no site-packages."""

WITHOUT_PROC = 'mount -t tmpfs none /proc; exec "$@"'


FEWER = {"RUNCONTEXT_PROVIDERS": "-gpu,-python"}
"""For promises that are not about what these two find."""


def assert_whole(run: RunRecord, context: Context, *, without: tuple[str, ...] = ()) -> None:
    """Check that a run is finished, and that no provider failed; those of ``without`` may have failing facts."""
    assert (run.status, dict(run.params)) == ("FINISHED", {"lr": "0.1"})
    assert (run.path / "artifacts" / "note.txt").read_text(encoding="utf-8") == "text"
    for name, outcome in context.outcomes.items():
        if name not in (*without, *registry.ASKED_FOR):
            assert outcome.status in ("captured", "absent"), (name, outcome.reason, dict(outcome.failures))
    assert "mlflow.source.git.commit" in run.tags


def assert_finished_whole(finished: Finished, *, without: tuple[str, ...] = ()) -> None:
    """Check the same of the only run of a script, which has said nothing on stderr."""
    assert finished.stderr == ""
    assert_whole(finished.run, finished.context, without=without)


@pytest.mark.parametrize(
    "options", [(), ("-O",), ("-OO",), ("-I",), ("-E", "-s"), ("-B",), ("-X", "dev", "-W", "error")]
)
def test_interpreter_options(run_script: RunScript, options: tuple[str, ...]) -> None:
    """Asserts and docstrings away, isolated, every warning an error: the run is the same, and nothing is said."""
    source = PROGRAM.replace("assert ", "") if "-I" not in options else PROGRAM
    assert_finished_whole(run_script(source, options=options))


def test_without_site(run_script: RunScript) -> None:
    """Under ``-S`` the program has no site-packages; its companion has its own."""
    finished = run_script(PROGRAM, options=("-S",), env={"PYTHONPATH": SOURCES})
    assert_finished_whole(finished)


@pytest.mark.parametrize("companion", ["1", "0"])
def test_packages_in_a_zip_file(run_script: RunScript, tmp_path: Path, companion: str) -> None:
    """Both packages work from a zip file on the path, in the program and in its companion."""
    archive = tmp_path / "site-packages.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for package in (runcontext, runcontext_providers):
            folder = Path(package.__file__ or "").parent
            for path in folder.rglob("*.py"):
                file.write(path, path.relative_to(folder.parent))
    program = f"import runcontext\nassert '.zip' in runcontext.__file__\n{textwrap.dedent(PROGRAM)}"
    env = {"PYTHONPATH": str(archive), "RUNCONTEXT_COMPANION": companion}
    finished = run_script(program, options=("-S",), env=env)
    if companion == "1":
        assert_finished_whole(finished)
    else:
        # Without site-packages there is no GitPython and no psutil in the program, and nothing else runs.
        assert finished.run.status == "FINISHED"
        assert finished.context.outcomes["user"].status == "captured"


SHADOWS = ("git", "platform", "json", "typing", "psutil", "pynvml", "user", "host", "worker")


@pytest.mark.parametrize("name", SHADOWS)
def test_a_module_of_the_users_beside_the_script(run_script: RunScript, project: Path, name: str) -> None:
    """A user's own git.py, platform.py or json.py is never taken for the module that it is called like."""
    (project / f"{name}.py").write_text("print('imported', __name__)\n", encoding="utf-8")
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    finished = run_script(PROGRAM)
    assert finished.stdout == ""
    assert_finished_whole(finished)


@pytest.mark.parametrize("name", ["git", "platform", "json", "typing", "psutil"])
def test_a_module_of_the_users_where_there_is_no_companion(run_script: RunScript, project: Path, name: str) -> None:
    """Where providers run in the program, the user's module may cost their facts, never the run, and it says so."""
    (project / f"{name}.py").write_text("", encoding="utf-8")
    # No dataclass can be made under a user's own typing.py, and the context is one.
    source = PROGRAM.replace("assert run.context.outcomes", "pass")
    finished = run_script(source, env={"RUNCONTEXT_COMPANION": "0"})
    assert (finished.run.status, dict(finished.run.params)) == ("FINISHED", {"lr": "0.1"})
    assert finished.run.tags["mlflow.user"]
    assert all(outcome.reason or outcome.status != "failed" for outcome in finished.context.outcomes.values())


@pytest.mark.parametrize("companion", ["1", "0"])
@pytest.mark.parametrize(
    "setting",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "no_SUCH.locale"},
    ],
    ids=["C", "C without UTF-8", "POSIX", "unknown"],
)
def test_locales(run_script: RunScript, setting: dict[str, str], companion: str) -> None:
    """In a locale without UTF-8, text beyond ASCII is kept as it is, in tags, params and artifacts."""
    source = PROGRAM + '    run.set_tag("who", "J\\u00fcrgen \\u4e2d \\U0001f600")\n'
    finished = run_script(source, env={**setting, "RUNCONTEXT_COMPANION": companion})
    assert finished.run.tags["who"] == "J\u00fcrgen \u4e2d \U0001f600"
    assert_finished_whole(finished)


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_bytes_that_are_no_text(run_script: RunScript, project: Path, locale: dict[str, str]) -> None:
    """Arguments, variables, folders and values that are no text in any encoding are kept readable, byte for byte."""
    source = PROGRAM + '    run.set_tag("odd", "a\\udce9\\0b")\n'
    odd = project / "caf\udce9"
    odd.mkdir()
    (odd / "pyproject.toml").write_text("", encoding="utf-8")
    env = {**locale, "LATIN": "caf\udce9", "RUNCONTEXT_TAGS": '{"t": "caf\udce9"}'}
    finished = run_script(source, args=["--name=caf\udce9", "\udcff"], env=env, cwd=odd)
    assert_finished_whole(finished)
    assert finished.run.tags["odd"] == "a\\udce9\\x00b"
    assert finished.run.tags["t"] == "caf\\udce9"
    assert "caf\\udce9" in finished.run.tags["process.command_args"]
    assert "caf\\udce9" in finished.run.tags["process.working_directory"]
    (finished.run.path / "run.json").read_bytes().decode("ascii")


@pytest.mark.parametrize("home", [None, "", "relative/home", "/no/such/home"])
def test_no_home(run_script: RunScript, home: str | None) -> None:
    """A HOME that is missing, empty, relative or nowhere changes nothing for a run in a project."""
    change = "os.environ.pop('HOME')" if home is None else f"os.environ['HOME'] = {home!r}"
    source = f"import os\n{change}\nos.environ.pop('RUNCONTEXT_CACHE_DIR')\n{textwrap.dedent(PROGRAM)}"
    assert_finished_whole(run_script(source))


@pytest.mark.parametrize("cache", ["data.txt", "data.txt/below", "/proc/cache"])
def test_no_cache(run_script: RunScript, cache: str) -> None:
    """A cache folder that cannot be used costs time, and nothing else."""
    finished = run_script(PROGRAM, env={**FEWER, "RUNCONTEXT_CACHE_DIR": cache})
    assert_finished_whole(finished, without=("gpu", "python"))


def test_a_working_directory_that_was_deleted(run_script: RunScript) -> None:
    """Where the working directory is gone, the store is the one of the script's project."""
    source = "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir(os.getcwd())\n" + textwrap.dedent(PROGRAM)
    finished = run_script(source)
    assert (finished.run.status, finished.run.path.parents[2]) == ("FINISHED", finished.project)
    assert "process.working_directory" not in finished.run.tags
    assert finished.run.tags["host.name"]
    assert "cwd" not in finished.stderr


def test_no_working_directory_and_no_script(project: Path, environment: dict[str, str]) -> None:
    """Without either, runs are kept in the user's data folder."""
    source = "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir(os.getcwd())\n" + textwrap.dedent(PROGRAM)
    subprocess.run([sys.executable, "-c", source], cwd=project, env=environment, check=True)
    (run,) = reading.search_runs(LocalStore(str(Path(environment["HOME"], ".local/share/runcontext"))))
    assert (run.status, dict(run.params)) == ("FINISHED", {"lr": "0.1"})


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("companion", ["1", "0"])
def test_closed_standard_streams(project: Path, environment: dict[str, str], closed: str, companion: str) -> None:
    """No file of ours ever has the number of a standard stream, so that nothing printed can land in it."""
    script = project / "script.py"
    source = """
        import os, sys
        import runcontext

        def taken():
            return [number for number in range(3) if os.path.exists(f"/proc/self/fd/{number}")]

        before = taken()
        with runcontext.start_run() as run:
            run.log_param("lr", 0.1)
            # A provider in a thread may be reading a file just now.
            assert taken() == before or os.environ["RUNCONTEXT_COMPANION"] == "0"
            run.log_text("text", "note.txt")
            run.tags
        assert taken() == before
        sys.exit(0 if len(before) == int(sys.argv[1]) else 9)
    """
    script.write_text(textwrap.dedent(source), encoding="utf-8")
    expected = 3 - closed.count("-")
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, str(script), str(expected)]
    subprocess.run(words, cwd=project, env={**environment, **FEWER, "RUNCONTEXT_COMPANION": companion}, check=True)
    store = LocalStore(str(project / ".runcontext"))
    (run,) = reading.search_runs(store)
    context = reading.read_context(store, run.run_id)
    assert context is not None
    assert_whole(run, context, without=("gpu", "python"))


def test_few_descriptors(run_script: RunScript) -> None:
    """A program that may open few files has its run all the same."""
    source = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n{textwrap.dedent(PROGRAM)}"
    assert_finished_whole(run_script(source))


def test_hardly_any_descriptors(run_script: RunScript) -> None:
    """Where hardly a file can be opened, facts may fail with their reason, and the run is there."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))\n"
    finished = run_script(limit + textwrap.dedent(PROGRAM))
    assert (finished.run.status, dict(finished.run.params)) == ("FINISHED", {"lr": "0.1"})
    for outcome in finished.context.outcomes.values():
        assert outcome.status != "pending"
        assert outcome.reason or outcome.status != "failed"


def test_many_descriptors(run_script: RunScript) -> None:
    """A program whose descriptors go beyond 1,023 can wait for its context: select() could not."""
    source = """
        import os, resource, sys
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 1_100 if hard == resource.RLIM_INFINITY else min(hard, 1_100)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        kept = []
        for _ in range(wanted - 30):
            kept.append(os.open(os.devnull, os.O_RDONLY))
    """
    assert_finished_whole(run_script(textwrap.dedent(source) + textwrap.dedent(PROGRAM)))


def test_a_process_without_proc(project: Path, environment: dict[str, str]) -> None:
    """Without /proc, its facts are missing with a reason, and a run is RUNNING to who cannot know better."""
    unshare = shutil.which("unshare")
    options = ["-m"] if os.geteuid() == 0 else ["-rm"]
    trial = [str(unshare), *options, "sh", "-c", WITHOUT_PROC, "sh", "true"]
    if unshare is None or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("hiding /proc needs unshare(1) and root, or user namespaces")
    script = project / "script.py"
    script.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    words = [unshare, *options, "sh", "-c", WITHOUT_PROC, "sh", sys.executable, str(script)]
    finished = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    store = LocalStore(str(project / ".runcontext"))
    (run,) = reading.search_runs(store)
    context = reading.read_context(store, run.run_id)
    assert context is not None
    assert_whole(run, context, without=("host", "source"))
    assert context.outcomes["host"].tags["host.name"]
    script.write_text("import os, runcontext\nruncontext.start_run()\nos._exit(0)\n", encoding="utf-8")
    subprocess.run(words, cwd=project, env={**environment, "RUNCONTEXT_DISABLED": "1"}, check=True)
    assert [str(each.status) for each in reading.search_runs(store)] == ["RUNNING", "FINISHED"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user of the machine can write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_user_whom_nobody_knows(open_folder: Path, environment: dict[str, str]) -> None:
    """A uid without a passwd entry, as in containers, is recorded as such, and nothing else is lost."""
    if os.geteuid():
        pytest.skip("needs root, to become another user")
    source = """
        import os
        import runcontext
        # What another user could not import is imported before we become one.
        runcontext.resolve_context()
        with runcontext.start_run(tracking_uri="warm") as run:
            run.tags
        os.environ.pop("HOME")
        os.setgroups([])
        os.setgid(12345)
        os.setuid(12345)
        with runcontext.start_run(tracking_uri="theirs") as run:
            tags = run.tags
        assert tags["mlflow.user"] == "uid:12345", tags["mlflow.user"]
        assert tags["mlflow.source.type"] == "LOCAL"
        assert tags["host.name"]
    """
    env = {**environment, "RUNCONTEXT_COMPANION": "0", "RUNCONTEXT_PROVIDERS": "user,source,host"}
    words = [sys.executable, "-c", textwrap.dedent(source)]
    finished = subprocess.run(words, cwd=open_folder, env=env, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (run,) = reading.search_runs(LocalStore(str(open_folder / "theirs")))
    assert run.status == "FINISHED"


@pytest.mark.parametrize("moment", ["at work", "idle"])
def test_a_killed_companion_and_a_deadly_sigpipe(
    start_script: StartScript,
    project: Path,
    companions: Callable[[int], list[psutil.Process]],
    wait_until: Callable[..., None],
    moment: str,
) -> None:
    """A program that dies of SIGPIPE, as command-line tools do, outlives its companion; its next run gets a new one."""
    source = f"""
        import os, signal, sys
        import runcontext
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        run = runcontext.start_run(run_name="first")
        {"run.tags" if moment == "idle" else ""}
        print("go", flush=True)
        sys.stdin.readline()
        run.log_param("lr", 0.1)
        run.tags
        run.end()
        with runcontext.start_run(run_name="second") as run:
            run.log_param("lr", 0.1)
            run.log_text("text", "note.txt")
            placements = {{outcome.placement for outcome in run.context.outcomes.values()}}
        print(sorted(placements), flush=True)
    """
    started = start_script(source)
    assert started.stdout is not None
    started.stdout.readline()
    wait_until(lambda: companions(started.pid), what="a companion")
    for each in companions(started.pid):
        each.send_signal(signal.SIGKILL)
    wait_until(lambda: not companions(started.pid), what="the companion's end")
    out, err = started.communicate("go\n")
    assert (started.returncode, out) == (0, "['companion', 'inline']\n"), err
    store = LocalStore(str(project / ".runcontext"))
    second, first = reading.search_runs(store)
    assert (first.status, first.params["lr"]) == ("FINISHED", "0.1")
    assert "mlflow.source.git.commit" in first.tags
    context = reading.read_context(store, second.run_id)
    assert context is not None
    assert_whole(second, context)


@pytest.mark.parametrize("way", ["-c", "-m", "stdin", "folder", "zip"])
def test_programs_that_are_no_script(project: Path, environment: dict[str, str], way: str) -> None:
    """A program from ``-c``, a module, standard input, a folder or a zip file has a whole run too."""
    source = textwrap.dedent(PROGRAM)
    (project / "package").mkdir()
    (project / "package" / "__main__.py").write_text(source, encoding="utf-8")
    with zipfile.ZipFile(project / "package.zip", "w") as file:
        file.writestr("__main__.py", source)
    words = {
        "-c": ["-c", source],
        "-m": ["-m", "package"],
        "stdin": ["-"],
        "folder": ["package"],
        "zip": ["package.zip"],
    }
    typed = source if way == "stdin" else None
    variables = {**environment, **FEWER}
    subprocess.run([sys.executable, *words[way]], cwd=project, env=variables, input=typed, text=True, check=True)
    store = LocalStore(str(project / ".runcontext"))
    (run,) = reading.search_runs(store)
    context = reading.read_context(store, run.run_id)
    assert context is not None
    assert_whole(run, context, without=("gpu", "python"))
