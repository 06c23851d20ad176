"""The notebook provider's question to Jupyter servers, put to servers of these tests' own on 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runcontext import Program
from runcontext.testing import resolve_provider
from runcontext_providers._notebook.jupyter_servers import loopback_among
from runcontext_providers.notebook import NotebookProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runcontext.record import Context

KERNEL_ID = "95146add-9081-4ad1-bad3-1c9590ba7774"
SESSION_ID = "9f66b0dc-4a9d-4b44-89e4-ea837893533b"
TOKEN = "5e5a3e0c0ffee5e5a3e0c0ffee5e5a3e0c0ffee5e5a3e0c0"  # noqa: S105 - of no server
SECONDS = 0.5
"""What a server that hangs is given."""

PLENTY_SECONDS = 10.0
"""What one that answers is given: a machine that is busy with other tests takes its time."""

HANG_SECONDS = 30.0

SESSION = {
    "id": SESSION_ID,
    "path": "sub/a b.ipynb",
    "name": "a b.ipynb",
    "type": "notebook",
    "kernel": {"id": KERNEL_ID, "name": "python3", "execution_state": "busy", "connections": 1},
    "notebook": {"path": "sub/a b.ipynb", "name": "a b.ipynb"},
}
"""A session as Jupyter Server 2.21 gives it (Jupyter Server, "REST API", GET /api/sessions)."""


class Server(ThreadingHTTPServer):
    """A server that answers as it is told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Handler], None]) -> None:
        """Listen on a free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []
        self.is_over = threading.Event()

    @property
    def port(self) -> int:
        """The port."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: those who do not wait for the end of an answer are right."""


class Handler(BaseHTTPRequestHandler):
    """One question."""

    server: Server

    def do_GET(self) -> None:
        """Keep it and answer."""
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.server.answer(self)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Answer in full."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def giving(value: Any) -> Callable[[Handler], None]:
    """Answer with this in JSON."""
    return lambda handler: handler.give(json.dumps(value).encode())


def hanging(handler: Handler) -> None:
    """Say nothing at all."""
    handler.server.is_over.wait(HANG_SECONDS)


def dripping(handler: Handler) -> None:
    """Say a byte at a time, without end."""
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until and not handler.server.is_over.wait(0.02):
        handler.wfile.write(b"H")


def flooding(handler: Handler) -> None:
    """Say much more than anybody needs."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(64):
        handler.wfile.write(b"[" * (1 << 20))


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Handler], None]], Server]]:
    """Give the function that starts a server; all end with the test."""
    started = []

    def start(answer: Callable[[Handler], None]) -> Server:
        server = Server(answer)
        started.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in started:
        server.is_over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Give a runtime folder, as Jupyter has for each user."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    return folder


def announce(runtime: Path, port: int, *, name: str = "", **fields: Any) -> Path:
    """Leave the file of a server in the runtime folder (jupyter_server, ServerApp.server_info)."""
    info = {
        "base_url": "/",
        "hostname": "localhost",
        "password": False,
        "pid": os.getpid(),
        "port": port,
        "root_dir": str(runtime.parent),
        "secure": False,
        "sock": "",
        "token": TOKEN,
        "url": f"http://localhost:{port}/",
        "version": "2.21.1",
        **fields,
    }
    file = runtime / (name or f"jpserver-{info['pid']}.json")
    file.write_text(json.dumps(info))
    return file


def asked(runtime: Path, seconds: float = PLENTY_SECONDS, **variables: str) -> Context:
    """Give the companion's half of what the provider says of a kernel whose runtime folder this is."""
    words = (sys.executable, "-m", "ipykernel_launcher", "-f", str(runtime / f"kernel-{KERNEL_ID}.json"))
    provider = NotebookProvider(root=str(runtime), seconds=seconds, environment=variables)
    # A process that is not this one: in the companion the kernel is another.
    program = Program(pid=os.getppid(), orig_argv=words, argv=words[2:])
    began = time.monotonic()
    context = resolve_provider(provider, program=program, method="companion_tags")
    assert time.monotonic() - began < seconds + PLENTY_SECONDS < HANG_SECONDS
    assert TOKEN not in json.dumps(context.to_json())
    return context


def reason(context: Context, tag: str = "notebook.id") -> str:
    """Give why a fact is absent; nothing has failed."""
    why = context.outcomes["provider"].failures[tag]
    assert why.startswith("absent: ")
    return why


def test_the_server_tells_name_path_and_id(serve: Any, runtime: Path) -> None:
    """They are those of the session that has the kernel; the token goes to the server, and the path is the file's."""
    (runtime.parent / "sub").mkdir()
    (runtime.parent / "sub" / "a b.ipynb").touch()
    other = {**SESSION, "id": "other", "kernel": {"id": "95146add-0000-4ad1-bad3-1c9590ba7774"}}
    server = serve(giving([other, SESSION]))
    announce(runtime, server.port)
    assert dict(asked(runtime).tags) == {
        "notebook.name": "a b.ipynb",
        "notebook.path": str(runtime.parent / "sub" / "a b.ipynb"),
        "notebook.id": SESSION_ID,
    }
    assert server.asked == [("/api/sessions", f"token {TOKEN}")]


def test_a_servers_prefix_is_kept(serve: Any, runtime: Path) -> None:
    """Under JupyterHub a server lives below /user/NAME/, as its file says."""
    server = serve(giving([SESSION]))
    announce(runtime, server.port, base_url="/user/ada/")
    assert asked(runtime, JUPYTERHUB_SERVICE_PREFIX="/user/ada/").tags["notebook.id"] == SESSION_ID
    assert server.asked[0][0] == "/user/ada/api/sessions"


def test_a_server_without_a_token_is_sent_none(serve: Any, runtime: Path) -> None:
    """Where the server's file holds no token there is no Authorization."""
    server = serve(giving([SESSION]))
    announce(runtime, server.port, token="")
    assert asked(runtime).tags["notebook.id"] == SESSION_ID
    assert server.asked == [("/api/sessions", None)]


def test_jupyter_notebook_6_tells_as_well(serve: Any, runtime: Path) -> None:
    """Its file has another name and another word for the root (notebook 6, NotebookApp.server_info)."""
    (runtime.parent / "sub").mkdir()
    (runtime.parent / "sub" / "a b.ipynb").touch()
    server = serve(giving([SESSION]))
    file = announce(runtime, server.port, name=f"nbserver-{os.getpid()}.json", notebook_dir=str(runtime.parent))
    file.write_text(file.read_text().replace('"root_dir"', '"unknown"'))
    assert asked(runtime).tags["notebook.path"] == str(runtime.parent / "sub" / "a b.ipynb")


def test_a_notebook_kept_elsewhere_has_the_servers_path(serve: Any, runtime: Path) -> None:
    """Where there is no such file below the root, the path is as the server knows it."""
    server = serve(giving([{**SESSION, "path": "RTC:sub/a b.ipynb"}]))
    announce(runtime, server.port)
    assert asked(runtime).tags["notebook.path"] == "RTC:sub/a b.ipynb"


def test_a_console_that_shares_the_kernel_is_not_the_notebook(serve: Any, runtime: Path) -> None:
    """Of several sessions of one kernel the notebook's counts."""
    console = {**SESSION, "id": "console", "path": "sub/console-1", "name": "Console 1", "type": "console"}
    announce(runtime, serve(giving([console, SESSION])).port)
    assert asked(runtime).tags["notebook.name"] == "a b.ipynb"


def test_a_session_without_a_name_has_its_paths(serve: Any, runtime: Path) -> None:
    """Clients need not name a session: then the last part of the path is the name."""
    announce(runtime, serve(giving([{**SESSION, "name": ""}])).port)
    assert asked(runtime).tags["notebook.name"] == "a b.ipynb"


def test_what_vs_code_calls_its_session_is_not_recorded(serve: Any, runtime: Path) -> None:
    """VS Code's session on a server has a made-up name (vscode-jupyter, jvscIdentifier); only the id is of use."""
    made_up = "a-jvsc-c2f2a306-4b49-4e2a-908f-c733addbc010fd7d86de.ipynb"
    announce(runtime, serve(giving([{**SESSION, "path": made_up, "name": made_up}])).port)
    context = asked(runtime)
    assert dict(context.tags) == {"notebook.id": SESSION_ID}
    assert not context.outcomes["provider"].failures


# --- servers that do not tell ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hanging, "no answer in time"),
        (dripping, "no answer in time"),
        (flooding, "no usable answer"),
        (lambda handler: handler.give(b"<html>"), "no usable answer"),
        (lambda handler: handler.give(b"[" * 100_000), "no usable answer"),
        (lambda handler: handler.give(b"\xff\xfe\xfd"), "no usable answer"),
        (lambda handler: handler.wfile.write(b"220 200 ready\r\n"), "no usable answer"),
        (lambda handler: handler.wfile.write(b"\r\n\r\n"), "no usable answer"),
        (lambda handler: handler.wfile.write(b""), "no usable answer"),
        (giving({"message": "hello"}), "no session of the kernel"),
        (giving([]), "no session of the kernel"),
        (giving([1, None, "a", [], {"kernel": None}, {"kernel": {"id": KERNEL_ID}}]), "no session of the kernel"),
        (giving([{**SESSION, "id": 1}]), "no session of the kernel"),
        (giving([{**SESSION, "path": {}}]), "no session of the kernel"),
        (
            lambda handler: handler.give(b'{"message": "Forbidden"}', 403),
            "HTTP 403: it lets in only who logs in; started with a token",
        ),
        (lambda handler: handler.give(b"", 404), "HTTP 404"),
    ],
    ids=[
        "hangs",
        "drips",
        "floods",
        "page",
        "nested",
        "bytes",
        "another protocol",
        "empty lines",
        "nothing",
        "object",
        "no session",
        "garbage",
        "number for an id",
        "object for a path",
        "forbidden",
        "another server",
    ],
)
def test_a_server_that_does_not_tell_costs_its_facts(
    serve: Any, runtime: Path, answer: Callable[[Handler], None], why: str
) -> None:
    """Whatever a server answers, all three facts are absent in time, with what it did as the reason."""
    announce(runtime, serve(answer).port)
    context = asked(runtime, SECONDS if answer in (hanging, dripping) else PLENTY_SECONDS)
    assert not context.tags
    for tag in ("notebook.name", "notebook.path", "notebook.id"):
        assert why in reason(context, tag)


def test_redirects_are_not_followed(serve: Any, runtime: Path) -> None:
    """A server that sends elsewhere is not obeyed: the other never hears of the token."""
    other = serve(giving([SESSION]))
    address = f"http://127.0.0.1:{other.port}/api/sessions"
    announce(runtime, serve(lambda handler: handler.give(b"", 302, Location=address)).port)
    assert "HTTP 302, a redirect, which is not followed" in reason(asked(runtime))
    assert other.asked == []


def test_proxies_are_not_used(serve: Any, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy the environment names, the server itself is asked."""
    proxy, server = serve(giving([])), serve(giving([SESSION]))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    announce(runtime, server.port)
    assert asked(runtime).tags["notebook.id"] == SESSION_ID
    assert proxy.asked == []


def test_a_server_that_is_gone_is_not_asked(serve: Any, runtime: Path) -> None:
    """A file that outlived its server sends no token to who has its port now."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    server = serve(giving([SESSION]))
    announce(runtime, server.port, pid=ended.pid)
    assert "its process is gone" in reason(asked(runtime))
    assert server.asked == []


def test_who_else_listens_on_the_port_is_not_asked(serve: Any, runtime: Path) -> None:
    """The process that the file names has to be the one that listens: with its id given anew, it is not."""
    server = serve(giving([SESSION]))
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        announce(runtime, server.port, pid=sleeper.pid)
        assert f"does not listen on port {server.port}" in reason(asked(runtime))
    finally:
        sleeper.communicate(b"\n")
    assert server.asked == []


@pytest.mark.parametrize(
    ("addresses", "reached"),
    [
        (["127.0.0.1"], "127.0.0.1"),
        (["127.0.1.1"], "127.0.1.1"),
        (["::1"], "::1"),
        (["0.0.0.0"], "127.0.0.1"),  # noqa: S104 - what the server does
        (["::"], "::1"),
        (["172.28.0.12", "127.0.0.1"], "127.0.0.1"),
        (["172.28.0.12"], None),
        (["10.127.0.1", "fe80::1"], None),
    ],
)
def test_only_loopback_is_asked(addresses: list[str], reached: str | None) -> None:
    """A server is reached on loopback, or not at all; Colab's, for one, listens at 172.28.0.12."""
    assert loopback_among(addresses) == reached


@pytest.mark.parametrize(
    "fields",
    [
        {"token": f"{TOKEN}\r\nX-Smuggled: 1"},
        {"token": f"{TOKEN}\rX-Smuggled: 1"},
        {"token": f"{TOKEN}é"},
        {"base_url": "/ HTTP/1.0\r\n\r\n"},
        {"base_url": "/a b/"},
        {"base_url": "elsewhere/"},
    ],
)
def test_a_file_that_holds_no_address_is_not_used(serve: Any, runtime: Path, fields: dict[str, str]) -> None:
    """What would be more than one question, or none, is not sent."""
    server = serve(giving([SESSION]))
    announce(runtime, server.port, **fields)
    assert "no usable answer" in reason(asked(runtime))
    assert server.asked == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"pid": 1, "po',
        b"[]",
        b"7",
        b"\xff",
        b'{"pid": null, "port": 1}',
        b'{"pid": Infinity, "port": 1}',
        b"[" * 60_000,
        b'{"port": 8888}',
    ],
)
def test_a_file_that_is_none_is_passed_over(runtime: Path, content: bytes) -> None:
    """Half-written and foreign files count as no server."""
    (runtime / "jpserver-1.json").write_bytes(content)
    assert f"no Jupyter server has left word in {runtime}" in reason(asked(runtime))


@pytest.mark.parametrize("pid", [0, -1, 2**70])
def test_a_number_that_is_no_process_is_none(serve: Any, runtime: Path, pid: int) -> None:
    """A process id that no process can have is one that is gone, or that does not listen."""
    server = serve(giving([SESSION]))
    announce(runtime, server.port, pid=pid)
    assert "its process" in reason(asked(runtime))
    assert server.asked == []


def test_without_a_runtime_folder_no_server_is_known(runtime: Path) -> None:
    """A connection file whose folder is gone, or of another machine, is a reason and no failure."""
    runtime.rmdir()
    assert "no Jupyter server has left word" in reason(asked(runtime))


def test_a_server_that_refuses_connections_costs_its_facts(runtime: Path) -> None:
    """One whose queue is full, and so lets nobody in, is not waited for."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        announce(runtime, port)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        assert "no answer in time" in reason(asked(runtime, SECONDS))
        for each in waiting:
            each.close()


# --- several servers -------------------------------------------------------------------------------------------------


def test_one_of_several_servers_knows(serve: Any, runtime: Path) -> None:
    """Every server is asked until one knows the kernel; one that hangs leaves time for the others."""
    for number, answer in enumerate((giving([SESSION]), hanging, giving([]))):
        file = announce(runtime, serve(answer).port, name=f"jpserver-{number}.json")
        os.utime(file, (number, number))
    assert asked(runtime, 6 * SECONDS).tags["notebook.id"] == SESSION_ID


def test_each_server_that_does_not_know_is_named(serve: Any, runtime: Path) -> None:
    """Where none knows, the reason says what each of them did."""
    announce(runtime, serve(giving([])).port, name="jpserver-1.json")
    announce(runtime, serve(hanging).port, name="jpserver-2.json")
    why = reason(asked(runtime, 4 * SECONDS))
    assert "jpserver-1.json: it has no session" in why
    assert "jpserver-2.json: no answer in time" in why


def test_the_server_that_started_the_kernel_is_asked_first(serve: Any, runtime: Path) -> None:
    """JPY_PARENT_PID names it (jupyter_client, launcher.launch_kernel); the others are left alone."""
    newer, parent = serve(hanging), serve(giving([SESSION]))
    announce(runtime, parent.port, name="jpserver-17.json")
    file = announce(runtime, newer.port, name="jpserver-170.json")
    os.utime(file, (2**31, 2**31))
    assert asked(runtime, JPY_PARENT_PID="17").tags["notebook.id"] == SESSION_ID
    assert newer.asked == []


def test_many_servers_that_hang_take_no_longer(serve: Any, runtime: Path) -> None:
    """All of them together have the time of one."""
    server = serve(hanging)
    for number in range(20):
        announce(runtime, server.port, name=f"jpserver-{number}.json")
    assert "no answer in time" in reason(asked(runtime, SECONDS))


# --- what the variable tells -----------------------------------------------------------------------------------------


def test_the_file_that_the_kernel_was_started_for_is_its_path(runtime: Path) -> None:
    """Where no server answers, the path that the kernel was started with counts as long as it is there."""
    notebook = runtime.parent / "train.ipynb"
    notebook.touch()
    context = asked(runtime, JPY_SESSION_NAME=str(notebook))
    assert dict(context.tags) == {"notebook.path": str(notebook)}
    assert set(context.outcomes["provider"].failures) == {"notebook.id"}
    notebook.unlink()
    assert "no Jupyter server has left word" in reason(asked(runtime, JPY_SESSION_NAME=str(notebook)), "notebook.path")


def test_a_notebook_renamed_since_has_its_new_name(serve: Any, runtime: Path) -> None:
    """What the server knows now wins over what the kernel was started with."""
    announce(runtime, serve(giving([SESSION])).port)
    assert asked(runtime, JPY_SESSION_NAME="/home/ada/old.ipynb").tags["notebook.name"] == "a b.ipynb"


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_server_that_speaks_tls_is_asked(serve: Any, runtime: Path, tmp_path: Path) -> None:
    """Its own certificate, signed by nobody, is no obstacle: who answers is known by its process."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run(
        ["openssl", "req", *options, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    server = serve(giving([SESSION]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    announce(runtime, server.port, secure=True)
    assert asked(runtime).tags["notebook.id"] == SESSION_ID
