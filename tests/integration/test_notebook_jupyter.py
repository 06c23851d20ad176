"""Runs in real notebooks: Jupyter servers with their kernels, kernels without a server, marimo."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

TOKEN = "5e5a3e0c0ffee5e5a3e0c0ffee5e5a3e0c0ffee5e5a3e0c0"  # noqa: S105 - of no server but this test's own
REPORT = """import json, runcontext
with runcontext.start_run() as run:
    context = run.context.to_json()
print(json.dumps(context))"""
FAST = {"RUNCONTEXT_PROVIDERS": "user,source,notebook"}
PLENTY_SECONDS = 60


class Notebook:
    """A notebook that is open on a server: its session, and a client of its kernel."""

    def __init__(self, server: Server, session: dict[str, Any]) -> None:
        """Connect to the session's kernel."""
        from jupyter_client import BlockingKernelClient

        self.server = server
        self.session = session
        self.kernel_id: str = session["kernel"]["id"]
        self._client = BlockingKernelClient()
        self._client.load_connection_file(str(server.runtime / f"kernel-{self.kernel_id}.json"))
        # On a busy machine a kernel that is still starting misses heartbeats, and would count as dead.
        self._client.start_channels(hb=False)
        self._client.wait_for_ready(timeout=PLENTY_SECONDS)

    def run(self, cell: str) -> str:
        """Run a cell, as a front end does, and give what it printed."""
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            assert message["msg_type"] != "error", "\n".join(content.get("traceback", ()))
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed.append(content["text"])

        self._client.execute_interactive(cell, output_hook=hear, timeout=PLENTY_SECONDS)
        return "".join(printed)

    def close(self) -> None:
        """Let go of the kernel."""
        self._client.stop_channels()


class Server:
    """A Jupyter server of this test's own, on a free port of 127.0.0.1.

    Args:
        folder: its root.
        runtime: its runtime folder.
        environment: its variables, and so those of its kernels.
        options: more of its command line.
    """

    def __init__(self, folder: Path, runtime: Path, environment: dict[str, str], options: tuple[str, ...]) -> None:
        """Start it."""
        self.folder = folder
        self.runtime = runtime
        self.notebooks: list[Notebook] = []
        words = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
        words += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}", *options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *words],
            env={**environment, "JUPYTER_RUNTIME_DIR": str(runtime)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        assert self._process.poll() is None
        try:
            self.ask("api")
        except (OSError, ValueError):
            # It does not listen yet, or its file is being written.
            return False
        return True

    @property
    def url(self) -> str:
        """Its address, as its file in the runtime folder has it."""
        url: str = json.loads((self.runtime / f"jpserver-{self._process.pid}.json").read_text())["url"]
        return url

    def ask(self, what: str, method: str = "GET", **fields: Any) -> Any:
        """Use its interface, as a front end does."""
        request = urllib.request.Request(  # noqa: S310 - http, to 127.0.0.1
            self.url + what,
            data=json.dumps(fields).encode() if fields else None,
            headers={"Authorization": f"token {TOKEN}"},
            method=method,
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=PLENTY_SECONDS) as answer:
            return json.load(answer)

    def open(self, path: str) -> Notebook:
        """Make an empty notebook and open it."""
        import nbformat

        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(), file)
        name = path.rpartition("/")[2]
        kernel = {"name": "python3"}
        opened = Notebook(self, self.ask("api/sessions", "POST", path=path, name=name, type="notebook", kernel=kernel))
        self.notebooks.append(opened)
        return opened

    def stop(self) -> None:
        """Close all notebooks and end the server with its kernels."""
        for each in self.notebooks:
            each.close()
        self._process.terminate()
        self._process.wait(PLENTY_SECONDS)


@pytest.fixture
def serve(
    tmp_path: Path, project: Path, environment: dict[str, str], wait_until: Callable[..., None]
) -> Iterator[Callable[..., Server]]:
    """Give the function that starts a Jupyter server in the project."""
    for needed in ("jupyter_server", "ipykernel", "nbformat"):
        pytest.importorskip(needed)
    runtime = tmp_path / "runtime"
    started = []

    def start(*options: str) -> Server:
        token = f"--IdentityProvider.token={TOKEN}"
        server = Server(project, runtime, {**environment, **FAST}, (token, *options))
        started.append(server)
        wait_until(lambda: server.is_up, PLENTY_SECONDS, "the server")
        return server

    yield start
    for server in started:
        server.stop()


def reported(printed: str) -> dict[str, Any]:
    """Give the context that a cell reported."""
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def test_a_run_in_a_notebook_names_it(serve: Callable[..., Server]) -> None:
    """Name, path and id are the server's; the hash is that of the cells run; the server's token is nowhere."""
    server = serve("--ServerApp.base_url=/user/ada/")
    notebook = server.open("sub/a b.ipynb")
    notebook.run("x = 1")
    context = reported(notebook.run(REPORT))
    tags = context["tags"]
    assert {tag: value for tag, value in tags.items() if tag.startswith("notebook.")} == {
        "notebook.environment": "jupyter",
        "notebook.name": "a b.ipynb",
        "notebook.path": str(server.folder / "sub" / "a b.ipynb"),
        "notebook.id": notebook.session["id"],
        "notebook.kernel.id": notebook.kernel_id,
    }
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("a b.ipynb", "NOTEBOOK")
    assert tags["source.sha256"] == hashlib.sha256(f"x = 1\0{REPORT}\0".encode()).hexdigest()
    assert not context["outcomes"]["notebook"]["failures"]
    assert not context["outcomes"]["source"]["failures"]
    store = server.folder / "sub" / ".runcontext"
    store = store if store.exists() else server.folder / ".runcontext"
    files = [file for file in store.rglob("*") if file.is_file()]
    assert files
    assert not any(TOKEN.encode() in file.read_bytes() for file in files)


def test_a_renamed_notebook_has_its_new_name(serve: Callable[..., Server]) -> None:
    """A notebook that was renamed since its kernel started is told by the name that it has now."""
    server = serve()
    notebook = server.open("first.ipynb")
    (server.folder / "first.ipynb").rename(server.folder / "second.ipynb")
    server.ask(f"api/sessions/{notebook.session['id']}", "PATCH", path="second.ipynb", name="second.ipynb")
    tags = reported(notebook.run(REPORT))["tags"]
    assert tags["notebook.name"] == "second.ipynb"
    assert tags["notebook.path"] == str(server.folder / "second.ipynb")


def test_a_run_across_cells_has_another_hash_at_its_end(serve: Callable[..., Server]) -> None:
    """Cells that ran while the run was open are in the hash at its end, and the change is on record."""
    notebook = serve().open("train.ipynb")
    # As people do for code that was a script's: it is no main file.
    start = "import runcontext\n__file__ = 'data.txt'\nrun = runcontext.start_run()"
    cells = [start, "y = 2", "runcontext.end_run()"]
    for cell in cells:
        notebook.run(cell)
    tags = json.loads(notebook.run("import json; print(json.dumps(dict(run.context.tags)))"))
    first, last = ("".join(f"{cell}\0" for cell in cells[:count]).encode() for count in (1, 3))
    assert tags["source.sha256"] == hashlib.sha256(first).hexdigest()
    assert tags["changed.source.sha256"] == hashlib.sha256(last).hexdigest()


def test_one_of_two_servers_has_the_kernel(serve: Callable[..., Server]) -> None:
    """Two servers of one user share a runtime folder; the one with the kernel tells."""
    first, second = serve(), serve()
    for server, name in ((first, "one.ipynb"), (second, "two.ipynb")):
        assert reported(server.open(name).run(REPORT))["tags"]["notebook.name"] == name


def test_a_server_that_asks_for_a_password_does_not_tell(serve: Callable[..., Server]) -> None:
    """With a password and no token the id is absent for that reason; name and path are what the kernel was told."""
    from jupyter_server.auth import passwd

    server = serve(f"--PasswordIdentityProvider.hashed_password={passwd('a long phrase')}")
    notebook = server.open("train.ipynb")
    file = next(server.runtime.glob("jpserver-*.json"))
    # As the server writes it where it is started without a token.
    file.write_text(json.dumps({**json.loads(file.read_text()), "token": ""}))
    context = reported(notebook.run(REPORT))
    assert context["tags"]["notebook.name"] == "train.ipynb"
    assert context["tags"]["notebook.path"] == str(server.folder / "train.ipynb")
    assert set(context["outcomes"]["notebook"]["failures"]) == {"notebook.id"}
    assert "started with a token instead of a password" in context["outcomes"]["notebook"]["failures"]["notebook.id"]


NBCLIENT = """
import sys, nbformat
from nbclient import NotebookClient
cells = [nbformat.v4.new_code_cell(cell) for cell in ("x = 1", CELL)]
notebook = nbformat.v4.new_notebook(cells=cells)
NotebookClient(notebook, timeout=60).execute()
print(notebook.cells[-1].outputs[0].text)
"""


def executed(script: str, cwd: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Give what a notebook that a script executes reported."""
    asked = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return reported(asked.stdout.strip())


def test_a_kernel_without_a_server_has_no_notebook_to_name(project: Path, environment: dict[str, str]) -> None:
    """A notebook that nbclient executes is one, with the hash of its cells; what it is called nobody has told it."""
    for needed in ("nbclient", "ipykernel"):
        pytest.importorskip(needed)
    context = executed(f"CELL = {REPORT!r}\n{NBCLIENT}", project, {**environment, **FAST})
    outcome = context["outcomes"]["notebook"]
    assert outcome["tags"] == {"notebook.environment": "jupyter"}
    assert "nbclient" in outcome["failures"]["notebook.name"]
    assert context["tags"]["mlflow.source.name"] == "<notebook>"
    assert context["tags"]["source.sha256"] == hashlib.sha256(f"x = 1\0{REPORT}\0".encode()).hexdigest()


def test_a_notebook_that_a_notebook_executes_has_not_its_name(serve: Callable[..., Server]) -> None:
    """A kernel that inherits the variables of another notebook's kernel is not taken for that notebook."""
    pytest.importorskip("nbclient")
    notebook = serve().open("outer.ipynb")
    context = reported(notebook.run(f"CELL = {REPORT!r}\n{NBCLIENT}").strip())
    assert context["outcomes"]["notebook"]["tags"] == {"notebook.environment": "jupyter"}
    assert context["tags"]["mlflow.source.name"] == "<notebook>"


def test_ipython_in_a_terminal_is_no_notebook(project: Path, environment: dict[str, str]) -> None:
    """IPython's shell is none, not even with the kernel's package imported."""
    pytest.importorskip("ipykernel")
    asked = subprocess.run(
        [sys.executable, "-m", "IPython", "-c", f"import ipykernel.kernelapp\n{REPORT}"],
        cwd=project,
        env={**environment, **FAST},
        capture_output=True,
        text=True,
        check=True,
    )
    context = reported(asked.stdout)
    assert context["outcomes"]["notebook"]["status"] == "absent"
    assert context["tags"]["mlflow.source.type"] == "LOCAL"


MARIMO = """
import marimo
app = marimo.App()

@app.cell
def _():
    import json, pathlib, runcontext
    with runcontext.start_run() as run:
        pathlib.Path("context.json").write_text(json.dumps(run.context.to_json()))

if __name__ == "__main__":
    app.run()
"""


@pytest.mark.parametrize("is_script", [False, True], ids=["in marimo's kernel", "as a script"])
def test_a_marimo_notebook(project: Path, environment: dict[str, str], is_script: bool) -> None:
    """In marimo's kernel a run has the notebook's name and path; the same file run by Python is a script."""
    pytest.importorskip("marimo")
    file = project / "explore.py"
    file.write_text(MARIMO)
    command = ["-m", "marimo", "export", "html", "explore.py", "-o", "explore.html", "-f"]
    words = ["explore.py"] if is_script else command
    subprocess.run(
        [sys.executable, *words], cwd=project, env={**environment, **FAST}, capture_output=True, check=True, timeout=60
    )
    context = json.loads((project / "context.json").read_text())
    notebook = {"notebook.environment": "marimo", "notebook.name": "explore.py", "notebook.path": str(file)}
    assert context["outcomes"]["notebook"]["tags"] == ({} if is_script else notebook)
    assert context["tags"]["mlflow.source.type"] == ("LOCAL" if is_script else "NOTEBOOK")
    assert context["tags"]["source.sha256"] == hashlib.sha256(MARIMO.encode()).hexdigest()
