"""Keeps the pages true: what they show is run, what they name exists, and what exists is named.

A fenced block is what its language says, and what comments right above it say of it:

- ``python`` and ``sh`` blocks run, in the order of the page, each in a process of its own, in one project a page;
- ``<!-- prints -->``: it prints exactly what the ``text`` block after it holds, where ``...`` stands for anything;
- ``<!-- output of: COMMAND -->``, above a ``text`` block: on a terminal of 80 columns the command prints lines that
  begin with the same words, in this order; CHECKOUT is the root of this repository;
- ``<!-- file: NAME -->``: it is written to that file of the project instead;
- ``<!-- from: PATH -->``: it is a part of that file of this repository, word for word;
- ``<!-- shape: NAME -->``: it has the keys of that file of a run;
- ``<!-- not run: REASON -->``: it is none of these.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import runcontext
import runcontext_providers
from runcontext import Program, registry, resolution, settings
from runcontext.cli.arguments import parser
from runcontext.entry_points import GROUPS
from runcontext.testing import resolve_provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), ROOT / "examples" / "plugin" / "README.md"]
TAGS = DOCS / "tags.md"
SETTINGS = DOCS / "settings.md"
CONCEPTS = DOCS / "concepts.md"
README = ROOT / "README.md"

_FENCE = re.compile(r"^((?:<!-- [^\n]* -->\n)*)```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (prints|output of|file|from|shape|not run)(?:: ([^\n]*))? -->")
_FOREIGN = ("RUNCONTEXT_", "MLFLOW_", "GIT_", "PYTHON", "CUDA_", "XDG_", "TEAM", "COST_CENTER", "LAB_BENCH")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and what the comments above it say."""

    page: Path
    line: int
    language: str
    text: str
    marks: Mapping[str, str]

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it is a program."""
        return self.language in ("python", "sh") and not self.marks.keys() & {"file", "from", "not run"}


def blocks_of(page: Path) -> list[Block]:
    """Give the blocks of a page in their order."""
    text = page.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        comments = match[1].splitlines()
        marks = [_MARK.fullmatch(comment) for comment in comments]
        assert all(marks), f"{page.name}: not a known mark: {comments}"
        marked = {mark[1]: mark[2] or "" for mark in marks if mark is not None}
        found.append(Block(page, text.count("\n", 0, match.start(2)) + 1, match[2], match[3], marked))
    return found


def blocks_marked(mark: str) -> list[Block]:
    """Give the blocks of all pages that have a mark."""
    return [block for page in PAGES for block in blocks_of(page) if mark in block.marks]


def rows_of(text: str) -> list[list[str]]:
    """Give the cells of every row of the tables in ``text``, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rules = [at for at, row in enumerate(rows) if set("".join(row)) <= set("- |")]
    return [row for at, row in enumerate(rows) if at not in rules and at + 1 not in rules]


def code_in(cell: str) -> list[str]:
    """Give what stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def section(page: Path, heading: str) -> str:
    """Give the text below a heading of the second level."""
    _, found, below = page.read_text("utf-8").partition(f"\n## {heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return below.split("\n## ", 1)[0]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give a clean environment in which ``python`` and ``runcontext`` are those of these tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    return {
        **kept,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONUTF8": "1",
        "RUNCONTEXT_CACHE_DIR": str(tmp_path / "cache"),
        "RUNCONTEXT_TIMEOUT": "30",
    }


@pytest.fixture
def project(tmp_path: Path, environment: dict[str, str]) -> Path:
    """Give a project with one commit on the branch ``main``, and one file changed since."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.txt").write_text("1\n", encoding="utf-8")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=folder, check=True, env=environment)
    (folder / "data.txt").write_text("2\n", encoding="utf-8")
    return folder


# --- what the pages show ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_runs(page: Path, project: Path, environment: dict[str, str]) -> None:
    """Every program on the page runs as it stands, warns of nothing, and prints what the page says."""
    blocks = blocks_of(page)
    for block, after in zip(blocks, [*blocks, None][1:], strict=True):
        if "file" in block.marks:
            target = project / block.marks["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.is_run:
            printed = _printed_by(block, project, environment)
            if "prints" in block.marks:
                assert after is not None
                assert after.language == "text", f"{block}: what it prints is missing"
                assert _is_printed(after.text, printed), f"{block} printed:\n{printed}"


def _printed_by(block: Block, project: Path, environment: dict[str, str]) -> str:
    script = project / f"line{block.line}.py"
    if block.language == "python":
        script.write_text(block.text, encoding="utf-8")
    command = [sys.executable, script.name] if block.language == "python" else ["sh", "-e", "-c", block.text]
    ended = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), f"{block}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def test_what_a_page_shows_of_a_terminal_is_printed(project: Path, environment: dict[str, str]) -> None:
    """Every row of a shown output begins with a word that a row of the real one begins with, in the same order."""
    shown = blocks_marked("output of")
    assert shown
    for block in shown:
        printed = iter(_first_words(_on_terminal(block.marks["output of"], project, environment)))
        for word in _first_words(block.text):
            assert word in printed, f"{block}: {word}"


def _first_words(text: str) -> list[str]:
    """Give the first word of each line; rows are indented a little, the lines that continue a cell a lot."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith(("   ", "...")))
    return [line.split()[0] for line in lines]


def _on_terminal(command: str, project: Path, environment: dict[str, str]) -> str:
    pty = pytest.importorskip("pty", reason="this system has no pseudo terminals")
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        ["sh", "-e", "-c", command],
        cwd=project,
        env={**environment, "TERM": "dumb", "COLUMNS": "80", "CHECKOUT": str(ROOT)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    printed = b""
    # Reading from a terminal that nobody has open any more fails with EIO on Linux.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 1 << 16):
            printed += chunk
    os.close(ours)
    assert program.wait() == 0, printed.decode()
    return printed.decode()


def _is_printed(expected: str, printed: str) -> bool:
    """Compare, blanks at the ends of lines aside."""
    wanted, given = ("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (expected, printed))
    return re.fullmatch(".*".join(re.escape(part) for part in wanted.split("...")), given, re.DOTALL) is not None


def test_what_is_quoted_from_a_file_stands_there() -> None:
    """Every part of a file that a page quotes is in that file, word for word."""
    quoted = blocks_marked("from")
    assert quoted
    for block in quoted:
        assert block.text in (ROOT / block.marks["from"]).read_text("utf-8"), str(block)


def test_links_lead_somewhere() -> None:
    """Every link to a file of the repository, and to a heading in it, has a target."""
    for page in PAGES:
        text = _FENCE.sub("", page.read_text("utf-8"))
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            target = (page.parent / path) if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in _anchors(target), f"{page.name}: {link}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- settings --------------------------------------------------------------------------------------------------------


def test_every_setting_is_documented_as_it_is() -> None:
    """The table of variables has every variable, with its key and its fallback, and no other."""
    table = SETTINGS.read_text("utf-8").split("\n## ", 1)[0]
    documented = {code_in(row[0])[0]: (code_in(row[1]), code_in(row[2])) for row in rows_of(table)}
    expected = {
        variable: ([key] if key else [], [fallback] if fallback else [])
        for variable, (key, fallback, _) in settings.VARIABLES.items()
    }
    assert documented == expected


def test_every_key_of_a_providers_table_is_documented() -> None:
    """The table of keys under [tool.runcontext.providers.<name>] is complete, and names no other."""
    rows = rows_of(section(SETTINGS, "pyproject.toml"))
    assert {code_in(row[0])[0] for row in rows} == set(settings.PROVIDER_KEYS)


def test_the_pages_name_no_setting_that_is_none() -> None:
    """Every RUNCONTEXT_* that a page mentions is a variable that is read."""
    for page in PAGES:
        for name in re.findall(r"RUNCONTEXT_\w+(?:<[A-Z]+>)?", page.read_text("utf-8")):
            families = (settings.PROVIDER_VARIABLE, settings.PLUGIN_VARIABLE)
            is_of_a_family = name.startswith(families) and name not in families
            assert name in settings.VARIABLES or is_of_a_family or name == "RUNCONTEXT_", f"{page.name}: {name}"


# --- providers and tags ----------------------------------------------------------------------------------------------


class NamesOf:
    """A provider that gives another's tag names, with what they would hold left aside."""

    def __init__(self, provider: Any, method: str) -> None:
        """Ask ``provider`` by ``method``."""
        self._provider = provider
        self._method = method

    def in_context(self) -> bool:
        """Answer as the provider does."""
        return bool(self._provider.in_context())

    def tags(self) -> dict[str, str]:
        """Give each name."""
        return dict.fromkeys(getattr(self._provider, self._method)(), "named")


def provider_class(name: str) -> Any:
    """Give the class of a built-in provider."""
    module, _, attribute = registry.BUILT_IN[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)


_LAUNCHERS_OWN = "airflow|argo|azureml|databricks|htcondor|k8s|kubeflow|launcher|lsf|mpi|pbs|ray|sagemaker|sge|slurm"
_TAGS_IN_SOURCE = {
    "gpu": ("gpu.py", "_gpu/nv*.py", r"gpu(\.\w+)+"),
    "launcher": (
        "launcher.py",
        "_surroundings/launchers.py",
        rf"rank|local_rank|world_size|(?:{_LAUNCHERS_OWN}|torchrun|vertex)(\.[a-z]+)+",
    ),
    "ci": ("ci.py", r"(?:cicd|vcs)(\.\w+)+"),
    "container": ("container.py", r"(?:container|k8s)(\.\w+)+"),
    "cloud": ("cloud.py", r"(?:cloud|host)(\.\w+)+"),
    "notebook": ("notebook.py", r"notebook(\.\w+)+"),
}
"""Files and pattern of the tags of providers that tell nothing without a GPU, outside of a job, a build, a notebook."""


def tags_of(name: str, project: Path) -> set[str]:
    """Give the names of all tags that a built-in provider can give."""
    if name in _TAGS_IN_SOURCE:
        *files, pattern = _TAGS_IN_SOURCE[name]
        folder = Path(runcontext_providers.__file__).parent
        return {tag for each in files for file in folder.glob(each) for tag in _texts(file, pattern)}
    provider = provider_class(name)()
    program = Program(pid=os.getpid(), cwd=str(project), executable=sys.executable, sys_path=tuple(sys.path))
    methods = [method for method in ("tags", "companion_tags", "tags_at_end") if hasattr(provider, method)]
    return {tag for method in methods for tag in resolve_provider(NamesOf(provider, method), program=program).tags}


def _texts(file: Path, pattern: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(pattern, node.value):
            yield node.value


def run_tags() -> set[str]:
    """Give the tags that the kernel itself sets: its constants whose names end in ``_TAG``."""
    found = set()
    for file in Path(runcontext.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            is_tag = any(isinstance(target, ast.Name) and target.id.endswith("_TAG") for target in targets)
            if is_tag and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return found


def _unwrapped(heading: str) -> str:
    return " ".join(section(TAGS, heading).split())


def test_every_provider_is_documented() -> None:
    """The README's table and the page of tags have each built-in provider, in their order, and no other."""
    assert [code_in(row[0])[0] for row in rows_of(section(README, "What is captured"))] == list(registry.BUILT_IN)
    headings = re.findall(r"^## (.+)$", TAGS.read_text("utf-8"), re.MULTILINE)
    with_toggle = [each for each in headings if f"off with `{settings.PROVIDER_VARIABLE}" in _unwrapped(each)]
    assert with_toggle == list(registry.BUILT_IN)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_tag_of_a_provider_is_documented(name: str, project: Path) -> None:
    """The provider's table has every tag that it can give, and no other; its toggle stands above it."""
    text = section(TAGS, name)
    tags = re.findall(r"^\| tag \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    assert {code_in(row[0])[0] for table in tags for row in rows_of(table)} == tags_of(name, project)
    assert f"`{settings.PROVIDER_VARIABLE}{name.upper()}=0`" in text


def test_every_attachment_of_a_provider_is_documented(project: Path) -> None:
    """What is attached in a repository with changes stands in its provider's section."""
    program = Program(pid=os.getpid(), cwd=str(project), executable=sys.executable, sys_path=tuple(sys.path))
    names = {
        (name, attached.name)
        for name in registry.BUILT_IN
        for attached in resolve_provider(provider_class(name), program=program).attachments
    }
    assert names == {("git", "git.patch"), ("python", "packages.txt")}
    for name, attached in names:
        assert f"Attachment `{attached}`" in section(TAGS, name)


def test_every_tag_of_the_run_itself_is_documented(project: Path) -> None:
    """So are the tags that no provider gives."""
    rows = rows_of(section(TAGS, "Tags that the run itself has"))
    captured = {tag for name in registry.BUILT_IN for tag in tags_of(name, project)}
    made = {f"{resolution.CHANGED}<tag>", "rank.<n>.end.reason"}
    assert {tag for row in rows for tag in code_in(row[0])} == (run_tags() | made) - captured


def test_the_pages_name_no_tag_that_is_none(project: Path) -> None:
    """Whatever a page calls by a name like our tags' is one of them."""
    known = {tag for name in registry.BUILT_IN for tag in tags_of(name, project)} | run_tags() | {*GROUPS, "git.patch"}
    names = r"(?!\w+\.py$)(?:git|gpu|host|cpu|memory|process|end|mlflow\.source|mlflow\.user)(?:\.\w+)+"
    for page in PAGES:
        mentioned = [code for code in code_in(_FENCE.sub("", page.read_text("utf-8"))) if re.fullmatch(names, code)]
        assert set(mentioned) <= known, page.name


def test_the_order_of_the_built_in_providers_is_documented() -> None:
    """Later ones win, so the order is a promise."""
    assert ", ".join(f"`{name}`" for name in registry.BUILT_IN) in CONCEPTS.read_text("utf-8")


# --- names that people use -------------------------------------------------------------------------------------------


def test_every_public_name_is_documented() -> None:
    """Each name of ``runcontext`` stands on some page, and no page calls one that there is not."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    for name in set(runcontext.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", text), name
    called = set(re.findall(r"\bruncontext\.([a-z_]+)\(", text))
    assert called <= set(runcontext.__all__), called - set(runcontext.__all__)


def test_every_subcommand_is_documented() -> None:
    """The README has each subcommand, and no page shows one that there is not."""
    (subcommands,) = (action.choices for action in parser()._actions if action.dest == "subcommand")
    documented = {code_in(row[0])[0].split()[1] for row in rows_of(section(README, "The command line"))}
    assert documented == set(subcommands or ())
    for page in PAGES:
        shown = re.findall(r"(?:^|`)runcontext ([a-z]+)\b", page.read_text("utf-8"), re.MULTILINE)
        assert set(shown) <= documented, page.name


def test_every_make_target_on_a_page_is_one() -> None:
    """What a page says to make can be made."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        shown = re.findall(r"(?:^|`)make ([a-z]+)\b", page.read_text("utf-8"), re.MULTILINE)
        assert set(shown) <= targets, page.name


def test_every_status_is_documented() -> None:
    """The tables of the concepts have each status of a run and of a provider."""
    outcomes = {code_in(row[0])[0] for row in rows_of(section(CONCEPTS, "Outcome"))}
    assert outcomes == {str(status) for status in runcontext.OutcomeStatus}
    endings = section(CONCEPTS, "How a run ends")
    assert all(str(status) in endings for status in runcontext.RunStatus)


# --- the store's files -----------------------------------------------------------------------------------------------

FAILING = """
import runcontext

with runcontext.start_run(tags={"mlflow.user": "the-robot"}) as run:
    run.log_param("lr", 3e-4)
    run.log_metric("loss", 0.31, step=1)
    run.log_metric("loss", float("nan"), timestamp=1795382372000)
    run.set_tag("stage", "trial")
    run.context
    raise ValueError("no such column")
"""


@pytest.fixture
def run_folder(project: Path, environment: dict[str, str]) -> Path:
    """Give the folder of a run that has every kind of event."""
    subprocess.run(
        [sys.executable, "-c", FAILING], cwd=project, env=environment, stderr=subprocess.DEVNULL, check=False
    )
    (folder,) = (project / ".runcontext" / "runs").iterdir()
    return folder


def documented_shape(name: str) -> str:
    """Give the block that shows a file of a run."""
    (found,) = (block for block in blocks_marked("shape") if block.marks["shape"] == name)
    return found.text


def test_run_json_is_as_documented(run_folder: Path) -> None:
    """``run.json`` has the documented keys in their order."""
    written = json.loads((run_folder / "run.json").read_text("utf-8"))
    assert list(written) == list(json.loads(documented_shape("run.json")))


def test_the_journal_is_as_documented(run_folder: Path) -> None:
    """A journal begins with the documented header, and every event has the keys of a documented one."""
    (journal,) = (run_folder / "events").iterdir()
    header, *events = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    shown_header, *shown_events = [json.loads(line) for line in documented_shape("events").splitlines()]
    assert list(header) == list(shown_header)
    assert {frozenset(event) for event in events} == {frozenset(event) for event in shown_events}


def test_context_json_is_as_documented(run_folder: Path) -> None:
    """``context.json``, its outcomes, conflicts and attachments have the documented keys."""
    written = json.loads((run_folder / "context.json").read_text("utf-8"))
    shown = json.loads(documented_shape("context.json"))
    assert list(written) == list(shown)
    assert set(written["outcomes"]["user"]) == set(shown["outcomes"]["user"])
    assert written["conflicts"] == [{**shown["conflicts"][0]}]
    patch = next(each for each in written["attachments"] if each["name"] == "git.patch")
    assert set(patch) == set(shown["attachments"][0])
    assert patch["path"] == shown["attachments"][0]["path"]
    assert (run_folder / "artifacts" / patch["path"]).is_file()
