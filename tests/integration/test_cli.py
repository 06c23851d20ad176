"""The command line, as people and scripts call it: real processes, real terminals, real signals."""

from __future__ import annotations

import codecs
import fcntl
import itertools
import json
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runcontext.cli import context as cli_context
from runcontext.presentation import times
from runcontext.record import Context, RankDifference

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 30.0
CLI = [sys.executable, "-m", "runcontext"]
OUTCOME_KEYS = {"status", "reason", "seconds", "started_at", "placement", "tags", "failures", "redacted", "at_end"}
RUN_KEYS = {
    "schema",
    "run_id",
    "run_name",
    "experiment_name",
    "status",
    "start_time",
    "end_time",
    "tags",
    "params",
    "metrics",
    "parent_run_id",
    "last_event_time",
    "path",
    "remote_id",
    "url",
    "artifact_uri",
    "is_mirrored",
}


class Place:
    """A project of its own, where the command line is called."""

    def __init__(self, folder: Path, cache: Path, **environment: str) -> None:
        """Call it in ``folder``, with nothing set that could change what it does but ``environment``."""
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNCONTEXT_", "MLFLOW_"))}
        self.environment = {**kept, "RUNCONTEXT_CACHE_DIR": str(cache), "LC_ALL": "C.UTF-8", **environment}
        self.environment.pop("COLUMNS", None)
        self.environment.pop("NO_COLOR", None)

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``runcontext`` with these words."""
        environment = {**self.environment, **options.pop("environment", {})}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([*CLI, *words], cwd=self.folder, env=environment, text=True, **pipes)

    def call(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Call ``runcontext`` with these words and wait for it."""
        return subprocess.run(
            [*CLI, *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def json(self, *words: str, **environment: str) -> Any:
        """Call a subcommand with ``--json`` and give what it printed."""
        done = self.call(words[0], "--json", *words[1:], **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def latest(self) -> Any:
        """Give the newest run, as ``show`` knows it."""
        return self.json("show", "latest")

    def runs(self) -> list[Any]:
        """Give all runs, newest first."""
        return list(self.json("ls")["runs"])

    def script(self, name: str, text: str) -> str:
        """Write a file into the project and give its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one cache of entry points to all tests, so that only the first of them scans."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    """Give a project of its own, where the providers that take most of a capture's time are left out."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    return Place(folder, cache, RUNCONTEXT_PROVIDERS="-git,-gpu,-python")


@pytest.fixture
def all_providers(place: Place) -> None:
    """Leave no provider out."""
    place.environment["RUNCONTEXT_PROVIDERS"] = ""


def until(condition: Callable[[], Any]) -> Any:
    """Wait until ``condition`` gives something true, and give that."""
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


def fields(text: str) -> list[list[str]]:
    """Split what a pipe gets into lines of fields."""
    return [line.split("\t") for line in text.splitlines()]


# --- a terminal -------------------------------------------------------------------------------------------------------

_WITH_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal of 80 columns, and what a program prints on it."""

    def __init__(self, place: Place, words: list[str], **environment: str) -> None:
        """Start a program that has it for its controlling terminal."""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WITH_TERMINAL, *words],
            cwd=place.folder,
            env={**place.environment, "TERM": "xterm-256color", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        """Type on its keyboard."""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until ``text`` was printed."""
        ends_at = time.monotonic() + SECONDS
        while text not in self.text:
            assert time.monotonic() < ends_at, self.text
            if not self._read(0.1):
                assert text in self.text, self.text

    def end(self) -> str:
        """Wait for the program to end, and give all that it printed."""
        while self._read(SECONDS):
            continue
        self.process.wait(SECONDS)
        os.close(self._ours)
        return self.text.replace("\r\n", "\n")

    def _read(self, seconds: float) -> bool:
        """Read once; False when the program has closed the terminal."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return seconds < SECONDS
        try:
            chunk = os.read(self._ours, 65_536)
        except OSError:
            return False
        self.text += self._decoder.decode(chunk)
        return bool(chunk)


def on_terminal(place: Place, *words: str, **environment: str) -> str:
    """Call ``runcontext`` on a terminal and give what it showed."""
    return Terminal(place, [*CLI, *words], **environment).end()


def without_colour(text: str) -> str:
    """Take rich's colours out, and nothing else."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def tables(shown: str) -> list[str]:
    """Give the lines of a terminal below the warnings, which are as long as they are."""
    lines = shown.splitlines()
    return lines[next(at for at, line in enumerate(lines) if line.startswith("Context")) :]


def headings(shown: str) -> list[str]:
    """Give the headings on a terminal: lines between blank ones and indented ones."""
    lines = ["", *shown.splitlines()]
    return [line for before, line in itertools.pairwise(lines) if not before and line[:1].isalpha()]


# --- help, version, usage ---------------------------------------------------------------------------------------------


def test_version_is_the_installed_one(place: Place) -> None:
    """``--version`` prints name and version on standard output."""
    done = place.call("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"runcontext \d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("subcommand", ["capture", "providers", "run", "ls", "show"])
def test_each_subcommand_explains_itself(place: Place, subcommand: str) -> None:
    """``--help`` fits 80 columns, and says what it does and what a pipe gets."""
    done = place.call(subcommand, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "SUBCOMMAND"),
        (["nonsense"], "nonsense"),
        (["ls", "--max", "0"], "'0' is not a whole number"),
        (["ls", "--max", "many"], "'many'"),
        (["show"], "RUN"),
        (["run"], "COMMAND is missing"),
        (["run", "--"], "COMMAND is missing"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(place: Place, words: list[str], named: str) -> None:
    """What was wrong is named in one line on stderr that says where help is; nothing is printed, nothing is made."""
    done = place.call(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (place.folder / ".runcontext").exists()


def test_the_installed_command_is_the_same(place: Place) -> None:
    """The console script is the same command line as ``python -m runcontext``."""
    script = Path(sys.executable).with_name("runcontext")
    if not script.exists():
        pytest.skip("no console script beside this interpreter")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, env=place.environment)
    assert done.stdout == place.call("--version").stdout


# --- capture ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("all_providers")
def test_capture_json_has_the_stable_shape(place: Place) -> None:
    """``capture --json`` prints exactly the documented keys, with this command as the source."""
    found = place.json("capture")
    assert list(found) == ["schema", "tags", "outcomes", "conflicts", "changes", "attachments", "ranks"]
    assert found["schema"] == 1
    assert list(found["outcomes"])[:6] == ["user", "source", "git", "host", "gpu", "python"]
    assert all(set(outcome) == OUTCOME_KEYS for outcome in found["outcomes"].values())
    assert found["tags"]["mlflow.source.name"] == "runcontext"
    assert found["outcomes"]["git"]["status"] == "absent"
    assert found["tags"]["process.working_directory"] == str(place.folder)
    assert "capture --json" in found["tags"]["process.command_args"]


def test_capture_keeps_nothing(place: Place) -> None:
    """It makes no run and no folder: it only looks."""
    place.call("capture")
    assert sorted(each.name for each in place.folder.iterdir()) == ["pyproject.toml"]


@pytest.mark.usefixtures("all_providers")
def test_captured_lines_say_what_they_are(place: Place) -> None:
    """A pipe gets a line a row, whole and without colour: the first field names its kind."""
    tags = json.dumps({"team": "a" * 300, "cpu.count": "many"})
    done = place.call("capture", RUNCONTEXT_TAGS=tags, RUNCONTEXT_PROVIDER_GPU="0")
    lines = fields(done.stdout)
    assert {line[0] for line in lines} <= {"tag", "provider", "fact", "conflict", "attachment"}
    assert ["tag", "team", "a" * 300, "RUNCONTEXT_TAGS"] in lines
    assert ["tag", "cpu.count", "many", "RUNCONTEXT_TAGS"] in lines
    assert ["conflict", "cpu.count", "RUNCONTEXT_TAGS", "host"] in lines
    gpu = next(line for line in lines if line[:2] == ["provider", "gpu"])
    assert gpu[2:] == ["disabled", "0.000000", "companion", "switched off by RUNCONTEXT_PROVIDER_GPU=0"]
    assert ["fact", "git", "attachments"] not in [line[:3] for line in lines]
    assert "\x1b" not in done.stdout


@pytest.mark.usefixtures("all_providers")
def test_captured_tables_fit_the_terminal(place: Place) -> None:
    """On a terminal no line is wider than it, whatever the values, and nothing of them is lost."""
    value = "".join(f"{number:04d}" for number in range(100))
    tags = json.dumps({"long." + "n" * 60: value})
    shown = without_colour(on_terminal(place, "capture", "--all", RUNCONTEXT_TAGS=tags))
    assert max(map(len, tables(shown))) <= 80
    assert value in "".join(re.findall(r"\d{4,}", shown)).replace(" ", "")
    assert "Provider" in shown
    assert "captured" in shown


def test_captured_tables_fit_a_narrow_terminal(place: Place) -> None:
    """COLUMNS is obeyed, down to widths where every column has to fold."""
    for words in (["capture"], ["capture", "--all"]):
        shown = without_colour(on_terminal(place, *words, COLUMNS="30"))
        assert max(map(len, tables(shown))) <= 30


def test_no_color_is_obeyed(place: Place) -> None:
    """NO_COLOR takes the colours away, and only them."""
    coloured, plain = on_terminal(place, "providers"), on_terminal(place, "providers", NO_COLOR="1")
    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in plain
    assert without_colour(coloured) == without_colour(plain)


def test_values_cannot_command_the_terminal(place: Place) -> None:
    """Escape sequences, carriage returns and markup in a value are shown, not obeyed; bidirectional overrides too."""
    hostile = "\x1b]0;title\x07[bold red]x[/] \r:smile: \u202e"
    for shown in (
        on_terminal(place, "capture", RUNCONTEXT_TAGS=json.dumps({"t": hostile}), NO_COLOR="1", COLUMNS="200"),
        place.call("capture", RUNCONTEXT_TAGS=json.dumps({"t": hostile})).stdout,
    ):
        assert "\x1b]" not in shown
        assert "\x07" not in shown
        assert "\u202e" not in shown
        assert r"\x1b]0;title\x07[bold red]x[/] \r:smile: \u202e" in shown


def test_a_line_break_in_a_value_makes_no_second_line(place: Place) -> None:
    """In a pipe a row is one line: breaks and tabs in values are escapes."""
    done = place.call("capture", RUNCONTEXT_TAGS=json.dumps({"t": "a\nprovider\tb"}))
    assert ["tag", "t", r"a\nprovider\tb", "RUNCONTEXT_TAGS"] in fields(done.stdout)


def test_a_failed_fact_is_shown_with_its_reason(place: Place) -> None:
    """A plugin's failing fact costs that fact, and table and lines say why."""
    place.script(
        "plugin.py",
        "def broken():\n    raise ValueError('no such luck')\n\n\nclass Team:\n"
        "    def in_context(self):\n        return True\n\n"
        "    def tags(self):\n        return {'team': 'vision', 'luck': broken}\n",
    )
    extra = {"RUNCONTEXT_EXTRA_PROVIDERS": "plugin:Team", "PYTHONPATH": str(place.folder)}
    lines = fields(place.call("capture", **extra).stdout)
    assert ["tag", "team", "vision", "Team"] in lines
    assert ["fact", "Team", "luck", "ValueError: no such luck"] in lines
    for words in (["capture"], ["capture", "--all"]):
        shown = " ".join(without_colour(on_terminal(place, *words, COLUMNS="200", **extra)).split())
        wrong = shown.partition("Went wrong ")[2]
        assert "Team partial luck: ValueError: no such luck → report it to RUNCONTEXT_EXTRA_PROVIDERS" in wrong
        assert "RUNCONTEXT_PROVIDER_TEAM=0 switches it off" in shown


@pytest.mark.usefixtures("all_providers")
def test_capture_is_quiet_unless_asked_for_everything(place: Place) -> None:
    """At first there is what people ask for, under headings, and how much more there is; --all has that too."""
    switches = {"RUNCONTEXT_TAGS": '{"team": "vision", "os.type": "mine"}', "RUNCONTEXT_PROVIDER_HOST": "1"}
    first = without_colour(on_terminal(place, "capture", **switches))
    expected = ["Who", "Code", "Machine", "Accelerators", "Software", "Launch", "Tags", "Attachments"]
    assert [each for each in headings(first) if each in expected] == expected
    assert "mlflow.user" in first
    assert "process.pid" not in first
    assert re.search(
        r"^--all shows \d+ more facts, why \d+ are not there and what\s\d+ providers did$", first, re.MULTILINE
    )
    everything = without_colour(on_terminal(place, "capture", "--all", COLUMNS="120", **switches))
    assert re.search(r"process.pid +\d+ +source", everything)
    assert re.search(r"os.type +by RUNCONTEXT_TAGS, over host", everything)
    assert re.search(r"source.sha256 +absent: no file runs as the main module", everything)
    assert re.search(r"user +captured +[\d.]+ ms +inline", everything)
    assert "--all" not in everything.splitlines()[-1]


@pytest.mark.usefixtures("all_providers")
def test_what_is_missed_is_said_at_first(place: Place) -> None:
    """That there is no commit is said with its reason, without being asked."""
    shown = " ".join(without_colour(on_terminal(place, "capture", COLUMNS="300")).split())
    assert re.search(r"mlflow.source.name runcontext( mlflow\S+ \S+)? git absent: no\S* ", shown), shown


def test_a_pipe_gets_everything_with_and_without_all(place: Place) -> None:
    """Scripts lose no line: --all changes nothing in a pipe."""
    names = [[line[:2] for line in fields(place.call("capture", *words).stdout)] for words in ([], ["--all"])]
    assert names[0] == names[1]
    assert ["tag", "process.pid"] in names[0]


def test_many_reasons_are_not_all_shown_at_first(place: Place) -> None:
    """Of a provider with a hundred failed facts ten reasons are shown, and how many more there are; --all has all."""
    place.script(
        "broken.py",
        "class Broken:\n    def in_context(self):\n        return True\n\n"
        "    def tags(self):\n        return {f'fact{number}': number for number in range(100)}\n",
    )
    extra = {"RUNCONTEXT_EXTRA_PROVIDERS": "broken:Broken", "PYTHONPATH": str(place.folder), "COLUMNS": "200"}
    first = without_colour(on_terminal(place, "capture", **extra))
    assert re.search(r"fact9: TypeError.*\n +and 90 more facts\s", first)
    assert "fact10:" not in "\n".join(tables(first))
    assert "fact99:" in "\n".join(tables(without_colour(on_terminal(place, "capture", "--all", **extra))))


def test_a_time_out_is_told_with_its_remedy(place: Place) -> None:
    """A provider that is too slow stands in plain sight, with what gives it more time."""
    place.script(
        "slow.py",
        "import time\n\n\nclass Slow:\n    timeout = 0.2\n\n"
        "    def in_context(self):\n        time.sleep(60)\n\n    def tags(self):\n        return {}\n",
    )
    extra = {"RUNCONTEXT_EXTRA_PROVIDERS": "slow:Slow", "PYTHONPATH": str(place.folder), "COLUMNS": "200"}
    shown = " ".join(without_colour(on_terminal(place, "capture", **extra)).split())
    assert "Slow timed out took longer than its limit of 0.2 s" in shown
    assert "→ timeout = 120 under [tool.runcontext.providers.Slow] of pyproject.toml gives it so many seconds" in shown


def test_a_page_can_be_written(place: Place) -> None:
    """``--html FILE`` writes a page instead of printing, whatever stands at that place; ``-`` prints it."""
    (place.folder / "page.html").write_text("x" * 1_000_000)
    done = place.call("capture", "--html", "page.html")
    assert (done.returncode, done.stdout) == (0, "")
    page = (place.folder / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.endswith("</html>\n")
    assert "mlflow.source.name" in page
    printed = place.call("capture", "--html", "-", RUNCONTEXT_TAGS='{"t": "größe"}', PYTHONIOENCODING="ascii").stdout
    assert printed.startswith("<!DOCTYPE html>")
    assert "größe" in printed


@pytest.mark.parametrize("path", ["missing/page.html", "."])
def test_a_page_that_cannot_be_written_is_said(place: Place, path: str) -> None:
    """One line that names the file and the reason, and status 1."""
    done = place.call("capture", "--html", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot write the page to {path!r}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_is_only_known_at_the_end_has_lines_of_its_own(place: Place) -> None:
    """A pipe gets both values of what changed, and what failed when the run ended."""
    place.script(
        "ending.py",
        "def broken():\n    raise ValueError('no such luck')\n\n\nclass Ending:\n"
        "    def in_context(self):\n        return True\n\n"
        "    def tags(self):\n        return {'count': '1', 'gone': 'x'}\n\n"
        "    def tags_at_end(self):\n        return {'count': '2', 'late': '3', 'luck': broken}\n",
    )
    program = place.script("train.py", "import runcontext\nwith runcontext.start_run() as run: run.context\n")
    extra = {"RUNCONTEXT_EXTRA_PROVIDERS": "ending:Ending", "PYTHONPATH": str(place.folder)}
    subprocess.run([sys.executable, program], cwd=place.folder, env={**place.environment, **extra}, check=True)
    until(lambda: "late" in place.call("show", "latest").stdout)
    lines = fields(place.call("show", "latest").stdout)
    assert ["change", "count", "Ending", "1", "2"] in lines
    assert ["tag", "changed.count", "2", "Ending"] in lines
    assert ["tag", "late", "3", "Ending"] in lines
    assert ["fact", "Ending", "luck", "at the end: ValueError: no such luck"] in lines
    shown = without_colour(on_terminal(place, "show", "latest"))
    assert re.search(r"changed.count +1 → 2", shown)
    assert re.search(r"Ending, at the end +partial +luck: ValueError: no such luck", shown)


def test_other_ranks_have_lines_of_their_own() -> None:
    """A pipe gets each rank of a distributed job, and what is otherwise there."""
    ranks = (RankDifference(1, "node2", {"gpu.name": "A", "x": None}), RankDifference(2, None, {}))
    captured = Context(tags={"gpu.name": "B"}, outcomes={}, conflicts=(), attachments=(), ranks=ranks)
    (table,) = (each for each in cli_context.lines(captured, captured.tags) if each.kind == "rank")
    assert list(table.rows) == [
        ("1", "node2", "gpu.name", "A", "B"),
        ("1", "node2", "x", "", ""),
        ("2", "", "", "", ""),
    ]


def test_strict_capture_fails(place: Place) -> None:
    """RUNCONTEXT_STRICT=1 makes a failed provider the status of the command, in one line."""
    done = place.call("capture", RUNCONTEXT_STRICT="1", RUNCONTEXT_TAGS="not json")
    assert done.returncode == 1
    assert "RUNCONTEXT_TAGS" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# --- providers --------------------------------------------------------------------------------------------------------


def test_providers_tell_where_from_and_what_switched_them(place: Place) -> None:
    """Each provider in its order, with origin, place and switch; ``--json`` has the same and the target."""
    (place.folder / "pyproject.toml").write_text("[tool.runcontext.providers.host]\nenabled = false\n")
    switches = {"RUNCONTEXT_PROVIDER_GPU": "0", "RUNCONTEXT_EXTRA_PROVIDERS": "pkg.mod:Team"}
    lines = fields(place.call("providers", **switches).stdout)
    assert [line[0] for line in lines[:6]] == ["user", "source", "git", "host", "gpu", "python"]
    assert ["user", "built-in", "inline", "on", "default"] in lines
    assert ["host", "built-in", "companion", "off", "[tool.runcontext.providers.host] enabled"] in lines
    assert ["gpu", "built-in", "companion", "off", "RUNCONTEXT_PROVIDER_GPU=0"] in lines
    found = place.json("providers", **switches)
    assert found["schema"] == 1
    assert [each["name"] for each in found["providers"]] == [line[0] for line in lines]
    team = next(each for each in found["providers"] if each["name"] == "Team")
    assert team == {
        "name": "Team",
        "origin": "RUNCONTEXT_EXTRA_PROVIDERS",
        "target": "pkg.mod:Team",
        "placement": "companion",
        "enabled": True,
        "switched_by": "default",
    }


# --- run: what passes through -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "status"), [(0, "FINISHED"), (1, "FAILED"), (3, "FAILED"), (255, "FAILED")])
def test_the_exit_status_passes_through(place: Place, code: int, status: str) -> None:
    """The command's exit status is runcontext's, and decides the run's status."""
    done = place.call("run", "--name", "mine", "--", "sh", "-c", f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    run = place.latest()
    assert (run["run_name"], run["status"], run["end_reason"]) == ("mine", status, f"exit code {code}")


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("SIGTERM", "KILLED", "SIGTERM"),
        ("SIGHUP", "KILLED", "SIGHUP"),
        ("SIGINT", "KILLED", "SIGINT"),
        ("SIGKILL", "FAILED", "signal SIGKILL"),
        ("SIGSEGV", "FAILED", "signal SIGSEGV"),
    ],
)
def test_a_command_ended_by_a_signal(place: Place, name: str, status: str, reason: str) -> None:
    """Runcontext ends by the signal that ended its command, and the run says so."""
    done = place.call("run", "--", "sh", "-c", f"kill -{name[3:]} $$")
    assert done.returncode == -getattr(signal, name)
    run = place.latest()
    assert (run["status"], run["end_reason"]) == (status, reason)


def test_input_and_output_are_the_commands(place: Place) -> None:
    """Standard input, output and error are the command's own, byte for byte; runcontext adds nothing."""
    done = place.call("run", "sh", "-c", "cat; echo err >&2", stdin="some\ninput")
    assert (done.returncode, done.stdout, done.stderr) == (0, "some\ninput", "err\n")


def test_options_of_the_command_are_its_own(place: Place) -> None:
    """What follows the command's name is never read as an option of ours, with or without ``--``."""
    show = "import sys; print(sys.argv[1:])"
    for before in ([], ["--"]):
        done = place.call("run", *before, sys.executable, "-c", show, "--json", "--name", "x", "--", "y")
        assert done.stdout == "['--json', '--name', 'x', '--', 'y']\n"


def test_descriptors_pass_through(place: Place) -> None:
    """A descriptor that a shell opened for the command reaches it, and none of ours does."""
    listing = "import os; print([n for n in range(256) if os.path.exists(f'/proc/self/fd/{n}')])"
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list descriptors")
    shell = f'exec 7</dev/null; exec "{sys.executable}" -m runcontext run -- "{sys.executable}" -c "{listing}"'
    done = subprocess.run(
        ["sh", "-c", shell], cwd=place.folder, env=place.environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [0, 1, 2, 7]


def test_no_such_command(place: Place) -> None:
    """A command that is not found is status 127, one line, and a run that FAILED for this reason."""
    done = place.call("run", "--", "no-such-command", "x")
    assert (done.returncode, done.stderr) == (127, "runcontext: command not found: no-such-command\n")
    run = place.latest()
    assert (run["status"], run["end_reason"]) == ("FAILED", "command not found: no-such-command")


def test_a_file_that_is_not_executable(place: Place) -> None:
    """A file that cannot be executed is status 126, with the system's reason."""
    place.script("data.txt", "x")
    done = place.call("run", "--", "./data.txt")
    assert (done.returncode, done.stderr) == (126, "runcontext: cannot execute ./data.txt: Permission denied\n")
    assert place.latest()["status"] == "FAILED"


def test_a_script_without_interpreter_line(place: Place) -> None:
    """A shell script without a first line that names its interpreter runs as it does from a shell."""
    path = place.script("job", "echo $1\n")
    os.chmod(path, stat.S_IRWXU)
    assert place.call("run", "--", "./job", "hello").stdout == "hello\n"


def test_a_store_that_cannot_be(place: Place) -> None:
    """Where the run cannot be kept the command does not run: status 125, and how to choose another place."""
    done = place.call("run", "--tracking-uri", "/dev/null/runs", "--", "touch", "ran")
    assert done.returncode == 125
    assert "RUNCONTEXT_TRACKING_URI" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (place.folder / "ran").exists()


def test_the_run_is_on_disk_before_the_command_begins(place: Place) -> None:
    """The command finds its run under the variables that it was given, with an absolute path."""
    done = place.call("run", "--", "sh", "-c", 'cat "$RUNCONTEXT_TRACKING_URI/runs/$RUNCONTEXT_RUN_ID/run.json"')
    assert json.loads(done.stdout)["run_id"] == place.latest()["run_id"]


def test_what_the_command_leaves_behind_is_not_waited_for(place: Place) -> None:
    """A process that the command leaves in the background keeps neither runcontext nor the run."""
    began = time.monotonic()
    done = place.call("run", "--", "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")
    os.kill(int(done.stdout), signal.SIGKILL)
    assert time.monotonic() - began < 50
    assert place.latest()["status"] == "FINISHED"


@pytest.mark.parametrize(("code", "expected"), [(0, 125), (3, 3)])
def test_strict_run_fails_where_its_command_did_not(place: Place, code: int, expected: int) -> None:
    """RUNCONTEXT_STRICT=1: a failed provider makes success a failure of ours; a failing command's status stays."""
    strict = {"RUNCONTEXT_STRICT": "1", "RUNCONTEXT_TAGS": "not json"}
    done = place.call("run", "--", "sh", "-c", f"exit {code}", **strict)
    assert done.returncode == expected
    assert "RUNCONTEXT_TAGS" in done.stderr
    assert place.latest()["end_reason"] == f"exit code {code}"


def test_run_json_is_printed_behind_the_output(place: Place) -> None:
    """``run --json`` prints the run as JSON after all that the command printed."""
    done = place.call("run", "--json", "--experiment", "e1", "--", "sh", "-c", "echo out; exit 4")
    first, _, rest = done.stdout.partition("\n")
    found = json.loads(rest)
    assert (done.returncode, first) == (4, "out")
    assert set(found) == RUN_KEYS | {"end_reason", "exit_status", "signal"}
    assert (found["status"], found["exit_status"], found["signal"]) == ("FAILED", 4, None)
    assert found["experiment_name"] == "e1"


# --- run: what it describes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("companion", ["1", "0"])
@pytest.mark.usefixtures("all_providers")
def test_the_facts_are_the_commands(place: Place, companion: str) -> None:
    """The source facts describe the command and its own process, also where there is no companion."""
    place.script("job.sh", "echo $$\n")
    done = place.call("run", "--", "sh", "job.sh", "--token", "s3cr3t-value", RUNCONTEXT_COMPANION=companion)
    run = place.latest()
    tags = run["tags"]
    assert tags["process.pid"] == done.stdout.strip()
    assert tags["mlflow.source.name"] == "job.sh"
    assert tags["process.command_args"].startswith("sh job.sh --token ")
    assert "s3cr3t-value" not in json.dumps(run)
    assert Path(tags["process.executable.path"]).name == "sh"
    assert len(tags["source.sha256"]) == 64
    assert run["context"]["outcomes"]["python"]["status"] == "absent"


def test_an_executable_script_is_the_source(place: Place) -> None:
    """A script that names its own interpreter is the main file of its run."""
    path = place.script("job", "#!/bin/sh\nexit 0\n")
    os.chmod(path, stat.S_IRWXU)
    place.call("run", "--", "./job")
    tags = place.latest()["tags"]
    assert tags["mlflow.source.name"] == "job"
    assert "source.sha256" in tags


def test_a_command_that_is_over_at_once_fails_no_fact(place: Place) -> None:
    """A command shorter than its capture costs the facts of its process, for that reason, and no failure."""
    done = place.call("run", "--", "true")
    assert done.stderr == ""
    statuses = {outcome["status"] for outcome in place.latest()["context"]["outcomes"].values()}
    assert statuses <= {"captured", "absent", "disabled"}


# --- run: signals -----------------------------------------------------------------------------------------------------

_COUNTING = """
import signal, sys, time
seen = []
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), lambda number, frame: seen.append(signal.Signals(number).name))
print("ready", flush=True)
while not seen:
    time.sleep(0.02)
time.sleep(0.5)
print(",".join(seen), flush=True)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_is_handed_on_once(place: Place, name: str) -> None:
    """A signal sent to runcontext reaches the command, once; the command's own ending counts."""
    path = place.script("count.py", _COUNTING)
    with place.popen("run", "--", sys.executable, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        assert process.stdout.read() == f"{name}\n"
        assert process.wait(SECONDS) == 0
    assert place.latest()["status"] == "FINISHED"


def test_sigterm_ends_command_and_run(place: Place) -> None:
    """SIGTERM to runcontext ends a command that does not handle it, then runcontext itself; the run is KILLED."""
    with place.popen("run", "--", "sh", "-c", "echo ready; exec sleep 60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == -signal.SIGTERM
    run = place.latest()
    assert (run["status"], run["end_reason"]) == ("KILLED", "SIGTERM")


def test_ctrl_c_reaches_the_command_once(place: Place) -> None:
    """Ctrl-C in a terminal reaches the whole process group: runcontext does not send it again."""
    path = place.script("count.py", _COUNTING)
    terminal = Terminal(place, [*CLI, "run", "--", sys.executable, path])
    terminal.wait_for("ready")
    terminal.type("\x03")
    assert "SIGINT\n" in terminal.end()
    assert "SIGINT,SIGINT" not in terminal.text
    assert place.latest()["status"] == "FINISHED"


@pytest.mark.parametrize("stop", ["ctrl-z", "itself"])
def test_job_control_works(place: Place, stop: str) -> None:
    """A stopped command stops the job that the shell sees, and ``fg`` lets both go on."""
    stopping = "read line" if stop == "ctrl-z" else "kill -TSTP $$; read line"
    inner = f"echo ready; {stopping}; echo got $line"
    job = f"\"{sys.executable}\" -m runcontext run -- sh -c '{inner}'"
    terminal = Terminal(place, ["sh", "-m", "-c", f"{job}; echo stopped; fg; echo ended $?"])
    terminal.wait_for("ready")
    if stop == "ctrl-z":
        terminal.type("\x1a")
    terminal.wait_for("stopped")
    terminal.type("hello\n")
    terminal.wait_for("got hello")
    assert "ended 0" in terminal.end()
    assert place.latest()["status"] == "FINISHED"


def test_dispositions_are_those_of_a_fresh_process(place: Place) -> None:
    """The command has no signal blocked, and ignores only what was ignored when runcontext was called."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("this system does not list a process's signals")
    shell = f"trap '' HUP; exec \"{sys.executable}\" -m runcontext run -- grep -E '^Sig(Blk|Ign)' /proc/self/status"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=place.folder, env=place.environment, capture_output=True, text=True, check=True
    )
    masks = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert int(masks["SigBlk"], 16) == 0
    # What was started in the background of a shell ignores SIGQUIT; SIGPIPE and SIGXFSZ are Python's own doing.
    here = {each for each in signal.valid_signals() if signal.getsignal(each) is signal.SIG_IGN}
    ignored = here - {signal.SIGPIPE, signal.SIGXFSZ} | {signal.SIGHUP}
    # Signal 32 and above are the C library's.
    assert int(masks["SigIgn"], 16) & 0x7FFFFFFF == sum(1 << (number - 1) for number in ignored)


def test_a_killed_runcontext_leaves_a_lost_run(place: Place) -> None:
    """``kill -9`` of runcontext itself: the command goes on, and the run is LOST, for nobody can see its end."""
    with place.popen("run", "--", "sh", "-c", "echo $$; exec sleep 60") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert place.latest()["status"] == "RUNNING"
        process.kill()
        process.wait(SECONDS)
        run = until(lambda: next((each for each in place.runs() if each["status"] == "LOST"), None))
        assert until(lambda: '"LOST"' in journals(run["path"])), "the companion has put it on record"
        os.kill(pid, signal.SIGKILL)
    assert run["tags"]["process.pid"] == str(pid)


def journals(path: str) -> str:
    """Give what the processes of a run have written down."""
    return "".join(each.read_text() for each in (Path(path) / "events").glob("*.jsonl"))


# --- run: joining -----------------------------------------------------------------------------------------------------

_TRAIN = """
import os
import sys
import runcontext
with runcontext.start_run(run_name="from-program", tags={"team": "vision"}) as run:
    run.log_param("lr", 0.1)
    run.log_metric("loss", 0.5, step=1)
    run.log_text("weights", "model.txt")
    os.write(1, f"{run.run_id}\\n".encode())
    if "--fail" in sys.argv:
        raise ValueError("diverged")
"""


@pytest.mark.usefixtures("all_providers")
def test_a_program_joins_the_run_around_it(place: Place) -> None:
    """A ``start_run()`` inside the command logs to the command's run, and its facts fill in what was missing."""
    path = place.script("train.py", _TRAIN)
    done = place.call("run", "--", sys.executable, path)
    assert (done.returncode, done.stderr) == (0, "")
    runs = place.runs()
    assert [run["run_id"] for run in runs] == [done.stdout.strip()]
    run = place.latest()
    assert (run["run_name"], run["status"], run["end_reason"]) == ("from-program", "FINISHED", "exit code 0")
    assert (run["params"], run["metrics"]) == ({"lr": "0.1"}, {"loss": 0.5})
    assert run["tags"]["team"] == "vision"
    assert run["tags"]["mlflow.source.name"] == "train.py"
    outcomes = run["context"]["outcomes"]
    assert outcomes["python"]["status"] == "captured"
    assert "python.flags" in outcomes["source"]["tags"]
    assert "python.flags" not in outcomes["source"]["failures"]
    paths = [each["path"] for each in run["artifacts"]]
    assert "model.txt" in paths
    assert "context.joined/packages.txt" in paths
    packages = next(each for each in run["context"]["attachments"] if each["name"] == "packages.txt")
    assert Path(packages["path"]).stat().st_size == packages["size_bytes"]


def test_a_name_that_the_user_gave_stays(place: Place) -> None:
    """``--name`` wins over the name that the joining program gives."""
    path = place.script("train.py", _TRAIN)
    place.call("run", "--name", "given", "--", sys.executable, path)
    assert place.latest()["run_name"] == "given"


def test_joining_never_ends_the_outer_run(place: Place) -> None:
    """The joined run goes on when its program has left its block: only the command's end ends it."""
    path = place.script("train.py", _TRAIN)
    script = f'"{sys.executable}" "{path}"; "{sys.executable}" -m runcontext show --json latest; exit 5'
    done = place.call("run", "--", "sh", "-c", script)
    between = json.loads(done.stdout.partition("\n")[2])
    assert (between["status"], between["params"]) == ("RUNNING", {"lr": "0.1"})
    run = place.latest()
    assert (done.returncode, run["status"], run["end_reason"]) == (5, "FAILED", "exit code 5")


def test_a_joined_program_that_fails(place: Place) -> None:
    """The exit status of the failing program decides, not the exception that left its block."""
    path = place.script("train.py", _TRAIN)
    done = place.call("run", "--", "sh", "-c", f'"{sys.executable}" "{path}" --fail 2>/dev/null || exit 0')
    assert done.returncode == 0
    assert place.latest()["status"] == "FINISHED"


def test_the_second_program_is_a_child(place: Place) -> None:
    """Who comes second gets a run of its own, a child of the outer one, which ends by itself."""
    path = place.script("train.py", _TRAIN)
    twice = f'"{sys.executable}" "{path}"; "{sys.executable}" "{path}" --fail 2>/dev/null; exit 0'
    first, second = place.call("run", "--", "sh", "-c", twice).stdout.split()
    runs = {run["run_id"]: run for run in place.runs()}
    assert len(runs) == 2
    assert runs[second]["parent_run_id"] == first
    assert (runs[first]["status"], runs[second]["status"]) == ("FINISHED", "FAILED")


def test_many_programs_at_once_have_one_joiner(place: Place) -> None:
    """Of programs that start at the same moment exactly one joins; the others are its run's children."""
    path = place.script("train.py", _TRAIN)
    four = " ".join(f'"{sys.executable}" "{path}" &' for _ in range(4))
    done = place.call("run", "--", "sh", "-c", f"{four} wait")
    runs = place.runs()
    outer = min(runs, key=lambda run: str(run["run_id"]))
    assert len(runs) == 4
    assert outer["run_id"] in done.stdout.split()
    assert {run["parent_run_id"] for run in runs if run is not outer} == {outer["run_id"]}
    assert {run["status"] for run in runs} == {"FINISHED"}


def test_a_run_inside_a_run_is_its_child(place: Place) -> None:
    """``runcontext run`` inside ``runcontext run`` has a run of its own, and a program inside joins that."""
    path = place.script("train.py", _TRAIN)
    inner = [*CLI, "run", "--name", "inner", "--", sys.executable, path]
    done = place.call("run", "--name", "outer", "--", *inner)
    runs = {run["run_name"]: run for run in place.runs()}
    assert set(runs) == {"inner", "outer"}
    assert runs["inner"]["parent_run_id"] == runs["outer"]["run_id"]
    assert done.stdout.strip() == runs["inner"]["run_id"]
    assert runs["outer"]["params"] == {}


def test_asking_for_the_surrounding_run_joins_it(place: Place) -> None:
    """``start_run(run_id=...)`` of the surrounding run joins as well, also a second time, and never ends it."""
    path = place.script(
        "again.py",
        "import os, sys, runcontext\n"
        "with runcontext.start_run(run_id=os.environ['RUNCONTEXT_RUN_ID']) as run:\n"
        "    run.log_param(sys.argv[1], 1)\n",
    )
    script = f'for each in a b; do "{sys.executable}" "{path}" $each; done; exit 7'
    place.call("run", "--", "sh", "-c", script)
    runs = place.runs()
    assert len(runs) == 1
    assert runs[0]["params"] == {"a": "1", "b": "1"}
    assert (runs[0]["status"], runs[0]["tags"]["end.reason"]) == ("FAILED", "exit code 7")


def test_a_killed_joiner_leaves_the_outer_run_alone(place: Place) -> None:
    """A joined program that SIGTERM ends does not end the run, nor leave a mark that could later pass for its end."""
    path = place.script(
        "train.py",
        "import os, signal, runcontext\nrun = runcontext.start_run()\nrun.log_param('a', 1)\n"
        "with runcontext.start_run(nested=True) as inner:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    signal.pause()\n",
    )
    done = place.call("run", "--", "sh", "-c", f'"{sys.executable}" "{path}"; exit 0')
    assert done.returncode == 0
    runs = {run["parent_run_id"]: run for run in place.runs()}
    outer = runs.pop(None)
    inner = runs.pop(outer["run_id"])
    assert (outer["status"], outer["params"]) == ("FINISHED", {"a": "1"})
    assert not list(Path(outer["path"]).glob("SIG*.txt"))
    assert (inner["status"], inner["tags"]["end.reason"]) == ("KILLED", "SIGTERM")


def test_a_run_id_of_nowhere_is_said_and_no_obstacle(place: Place) -> None:
    """RUNCONTEXT_RUN_ID of a run that is not there: one warning, and a run of the program's own."""
    path = place.script("train.py", _TRAIN)
    done = subprocess.run(
        [sys.executable, path],
        cwd=place.folder,
        env={**place.environment, "RUNCONTEXT_RUN_ID": "0" * 32},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "RUNCONTEXT_RUN_ID" in done.stderr
    assert place.latest()["status"] == "FINISHED"


# --- ls and show ------------------------------------------------------------------------------------------------------


@pytest.fixture
def three_runs(place: Place) -> Place:
    """Give a project with three runs of two experiments."""
    place.script(
        "make.py",
        "import runcontext\n"
        "for name, experiment in (('one', 'A'), ('two', 'B'), ('three', 'A')):\n"
        "    with runcontext.start_run(run_name=name, experiment_name=experiment, providers=['user', 'source'],\n"
        "                              tags={'note': '[red]x'}, description='two\\nlines') as run:\n"
        "        run.log_param('lr', 0.1)\n"
        "        run.log_metrics({'loss': 0.5, 'nan': float('nan')})\n"
        "        run.log_text('hello', 'notes/hello.txt')\n",
    )
    subprocess.run([sys.executable, "make.py"], cwd=place.folder, env=place.environment, check=True)
    return place


def test_ls_is_newest_first(three_runs: Place) -> None:
    """A pipe gets a line a run, newest first: id, name, experiment, status, local start, seconds, source, sent."""
    lines = fields(three_runs.call("ls").stdout)
    assert [line[1] for line in lines] == ["three", "two", "one"]
    assert [line[1] for line in fields(three_runs.call("ls", "--max", "1").stdout)] == ["three"]
    assert [line[1] for line in fields(three_runs.call("ls", "--experiment", "A", "--max", "2").stdout)] == [
        "three",
        "one",
    ]
    short_id, _, experiment, status, started, seconds, source, sent = lines[0]
    assert len(short_id) == 8
    assert (experiment, status, source, sent) == ("A", "FINISHED", "make.py", "")
    assert abs(time.mktime(time.strptime(started, "%Y-%m-%d %H:%M:%S")) - time.time()) < 300
    assert 0 <= float(seconds) < 60


def test_ls_json_has_the_stable_shape(three_runs: Place) -> None:
    """``ls --json`` prints whole records, newest first, and is empty where nothing fits."""
    found = three_runs.json("ls")
    assert set(found) == {"schema", "runs"}
    assert found["schema"] == 1
    assert all(set(run) == RUN_KEYS for run in found["runs"])
    assert found["runs"][0]["metrics"] == {"loss": 0.5, "nan": "NaN"}
    assert three_runs.json("ls", "--experiment", "C") == {"schema": 1, "runs": []}


def test_ls_fits_the_terminal(three_runs: Place) -> None:
    """On a terminal the table has headings and fits."""
    shown = without_colour(on_terminal(three_runs, "ls"))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.split()[:4] == ["Run", "Name", "Experiment", "Status"]
    assert "make.py" in shown


def test_a_reader_that_leaves_early_is_no_error(three_runs: Place) -> None:
    """``runcontext ls | head -0`` ends quietly, however much there is to print."""
    shell = (
        f'"{sys.executable}" -m runcontext show latest --json | head -c 1; "{sys.executable}" -m runcontext ls | true'
    )
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=three_runs.folder,
        env=three_runs.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_closed_output_is_no_error(three_runs: Place) -> None:
    """Standard output that is closed gets nothing, and nobody is told off."""
    shell = f'exec "{sys.executable}" -m runcontext ls >&-'
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=three_runs.folder,
        env=three_runs.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_no_runs_is_said(place: Place) -> None:
    """Where there are no runs, ``ls`` prints none and says so on stderr; ``show`` has nothing to show."""
    done = place.call("ls")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no runs in" in done.stderr
    done = place.call("show", "latest")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no runs in" in done.stderr


def test_show_takes_what_names_a_run(three_runs: Place) -> None:
    """A run is found by its id, any unique beginning or ending of it, its name, or ``latest``."""
    runs = three_runs.runs()
    second = runs[1]
    for words in (second["run_id"], second["run_id"][:-1], second["run_id"][-8:], second["run_id"][-8:].upper(), "two"):
        assert three_runs.json("show", words)["run_id"] == second["run_id"]
    assert three_runs.json("show", "latest")["run_id"] == runs[0]["run_id"]


@pytest.mark.parametrize("words", ["nothing", "0"])
def test_show_says_what_it_could_not_find(three_runs: Place, words: str) -> None:
    """No run, or several: one line on stderr that says what to do, and status 1."""
    done = three_runs.call("show", words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert repr(words) in done.stderr


def test_show_prints_everything(three_runs: Place) -> None:
    """The lines of a run hold its identity, params, metrics, tags with their giver, outcomes and files."""
    lines = fields(three_runs.call("show", "two").stdout)
    run = three_runs.json("show", "two")
    for expected in (
        ["run", "run", run["run_id"]],
        ["run", "status", "FINISHED"],
        ["run", "experiment", "B"],
        ["param", "lr", "0.1"],
        ["metric", "loss", "0.5"],
        ["metric", "nan", "NaN"],
        ["tag", "note", "[red]x", "caller"],
        ["tag", "mlflow.note.content", r"two\nlines", "caller"],
        ["tag", "mlflow.source.name", "make.py", "source"],
        ["artifact", "notes/hello.txt", "5", "", ""],
    ):
        assert expected in lines
    assert ["provider", "user", "captured"] in [line[:3] for line in lines]


def test_show_json_has_the_stable_shape(three_runs: Place) -> None:
    """``show --json`` is what ``ls --json`` has of a run, and its context, files and process."""
    found = three_runs.json("show", "two")
    assert set(found) == RUN_KEYS | {"end_reason", "host", "pid", "context", "artifacts"}
    assert {"path": "notes/hello.txt", "size_bytes": 5} in found["artifacts"]
    assert set(found["context"]) == {"schema", "tags", "outcomes", "conflicts", "changes", "ranks", "attachments"}


def test_show_fits_the_terminal(three_runs: Place) -> None:
    """On a terminal every table of a run fits, and line breaks in a value are kept in its cell."""
    for words in (["show", "two"], ["show", "two", "--all"]):
        shown = without_colour(on_terminal(three_runs, *words))
        assert max(map(len, shown.splitlines())) <= 80
        assert "[red]x" in shown
    assert re.search(r"mlflow.note.content +two +caller *\n +lines *\n", shown)


def test_show_is_quiet_unless_asked_for_everything(three_runs: Place) -> None:
    """At first a run's own rows, what people ask for, how it ended and its files; --all has the rest."""
    first = without_colour(on_terminal(three_runs, "show", "two"))
    assert first.startswith("two, FINISHED after ")
    for heading in ("Run", "Params", "Metrics", "Who", "Code", "How it ended", "Tags", "Artifacts"):
        assert heading in headings(first)
    assert re.search(r"status +FINISHED", first)
    assert re.search(r"notes/hello.txt +5 bytes", first)
    assert "process.pid" not in first
    assert re.search(r"process.pid +\d+", without_colour(on_terminal(three_runs, "show", "two", "--all")))


def test_show_can_write_a_page(three_runs: Place) -> None:
    """``show RUN --html FILE`` writes a page of the run, its params, metrics and files."""
    assert three_runs.call("show", "two", "--html", "two.html").returncode == 0
    page = (three_runs.folder / "two.html").read_text("utf-8")
    for expected in ("<title>two - runcontext</title>", ">lr</a>", ">0.1</dd>", "notes/hello.txt", "[red]x"):
        assert expected in page


def test_a_running_run_shows_its_last_event(place: Place) -> None:
    """A run that goes on shows when it last said something: all that another host can know."""
    with place.popen("run", "--", "sh", "-c", "echo ready; read line", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        lines = fields(place.call("show", "latest").stdout)
        assert ["run", "status", "RUNNING"] in lines
        assert any(line[:2] == ["run", "last event"] for line in lines)
        identity = place.latest()
        assert identity["pid"] == process.pid


def test_another_store_can_be_named(three_runs: Place, tmp_path: Path) -> None:
    """``--tracking-uri`` names the store, for ``run``, ``ls`` and ``show`` alike; the variable does too."""
    elsewhere = str(tmp_path / "elsewhere")
    three_runs.call("run", "--name", "there", "--tracking-uri", elsewhere, "--", "true")
    assert [run["run_name"] for run in three_runs.json("ls", "--tracking-uri", f"file://{elsewhere}")["runs"]] == [
        "there"
    ]
    assert three_runs.json("show", "there", RUNCONTEXT_TRACKING_URI=elsewhere)["status"] == "FINISHED"
    assert three_runs.call("show", "there").returncode == 1


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/runs", "sqlite:///x.db", "nowhere:x"])
def test_a_place_that_is_not_there_is_refused(place: Place, uri: str) -> None:
    """A tracking URI that names no place, or one that is not there, is status 1, in one line."""
    done = place.call("ls", "--tracking-uri", uri, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-5, "0.0s"),
        (0, "0.0s"),
        (9_940, "9.9s"),
        (9_960, "10s"),
        (59_600, "1m00s"),
        (3_599_000, "59m59s"),
        (3_600_000, "1h00m"),
        (90_000_000, "1d01h"),
    ],
)
def test_durations_are_short(milliseconds: int, text: str) -> None:
    """A duration is told by its two largest units."""
    assert times.duration(milliseconds) == text


def test_moments_long_ago_have_a_year() -> None:
    """A start of today is told with its time of day, one of years ago with its year; both are equally long."""
    now = time.time()
    assert times.short_moment(int(now * 1_000)) == time.strftime("%b %d %H:%M", time.localtime(now))
    long_ago = times.short_moment(1_000_000_000_000)
    assert long_ago.endswith(" 2001")
    assert len(long_ago) == 12


def test_output_that_an_encoding_cannot_show(three_runs: Place) -> None:
    """Where the output's encoding lacks a character, its escape is printed instead of a traceback."""
    three_runs.call("run", "--name", "größe-✓", "--", "true")
    done = three_runs.call("ls", "--max", "1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "gr\\xf6\\xdfe-\\u2713" in done.stdout


def test_rich_is_imported_only_for_tables(place: Place) -> None:
    """``runcontext run`` starts its command without rich, and so do lines in a pipe."""
    for words in (["run", "--", "true"], ["ls"], ["providers"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "runcontext", *words],
            cwd=place.folder,
            env=place.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not re.search(r"\| +rich", done.stderr)
