"""Who a request says it is from: every way that MLflow's client knows, seen by a server on loopback."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.places.loopback import Answer, Loopback

from runcontext import plugins
from runcontext.errors import StoreError
from runcontext.tracking.http import ServerSession

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "correct-horse-battery"  # noqa: S105 - what the tests look for
ENVIRONMENT = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": SECRET}
TOKEN = {"MLFLOW_TRACKING_TOKEN": f"tok-{SECRET}"}


def basic(user: str, password: str) -> str:
    """Give the header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(autouse=True)
def home(alone: Path) -> Path:
    """Give the home folder, which is the test's own."""
    return alone


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Give a server that keeps what it is asked."""
    found = Loopback()
    yield found
    found.close()


def ask(uri: str, environment: dict[str, str] | None = None, **options: Any) -> ServerSession:
    """Make one request, without any installed plugin."""
    options = {"header_providers": [], "auth_providers": [], **options}
    session = ServerSession(uri, environment=environment or {}, **options)
    session.get("/api/2.0/mlflow/runs/get", is_patient=False)
    session.close()
    return session


def plugin(name: str, kind: plugins.Kind = plugins.REQUEST_HEADERS) -> plugins.Plugin:
    """Give what an installed plugin is known by."""
    return plugins.Plugin(kind, name, kind.groups[1], f"pkg:{name}", "some-package", "1.0")


def with_userinfo(uri: str, userinfo: str) -> str:
    """Put user and password into a URI."""
    return uri.replace("://", f"://{userinfo}@")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (ENVIRONMENT, basic("ann", SECRET)),
        ({**ENVIRONMENT, **TOKEN}, basic("ann", SECRET)),
        (TOKEN, f"Bearer tok-{SECRET}"),
        ({"MLFLOW_TRACKING_TOKEN": f"tok-{SECRET}\n"}, f"Bearer tok-{SECRET}"),
        ({"MLFLOW_TRACKING_USERNAME": "ann", **TOKEN}, f"Bearer tok-{SECRET}"),
        ({**ENVIRONMENT, "MLFLOW_TRACKING_USERNAME": "änn"}, basic("änn", SECRET)),
    ],
)
def test_variables(server: Loopback, environment: dict[str, str], expected: str | None) -> None:
    """User and password win over a token; half of the one counts as nothing."""
    ask(server.url, environment)
    assert server.authorization == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, basic("kept", "100%kept")),
        ({"MLFLOW_TRACKING_USERNAME": "ann"}, basic("ann", "100%kept")),
        (ENVIRONMENT, basic("ann", SECRET)),
        (TOKEN, basic("kept", "100%kept")),
    ],
)
def test_credentials_file(server: Loopback, home: Path, environment: dict[str, str], expected: str) -> None:
    """~/.mlflow/credentials stands in for each variable that is not set."""
    (home / ".mlflow").mkdir()
    text = "[mlflow]\nmlflow_tracking_username = kept\nmlflow_tracking_password = 100%kept\n"
    (home / ".mlflow" / "credentials").write_text(text, encoding="utf-8")
    ask(server.url, environment)
    assert server.authorization == expected


@pytest.mark.parametrize(
    "text", [f"mlflow_tracking_password = {SECRET}", f"[mlflow]\n{SECRET}", f"[mlflow]\n[{SECRET}"]
)
def test_malformed_credentials_file(server: Loopback, home: Path, text: str) -> None:
    """A file that cannot be read is named, and nothing of it is shown."""
    (home / ".mlflow").mkdir()
    (home / ".mlflow" / "credentials").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"\.mlflow.credentials cannot be used") as caught:
        ask(server.url)
    assert SECRET not in str(caught.value)
    assert not server.asked


def test_userinfo_of_the_uri(server: Loopback) -> None:
    """User and password of the URI are used before the variables', and the session shows nothing of them."""
    session = ask(with_userinfo(server.url, f"bob:{SECRET}%40"), ENVIRONMENT)
    assert server.authorization == basic("bob", f"{SECRET}@")
    assert SECRET not in session.uri
    assert SECRET not in session.base_url


def test_netrc_only_where_there_is_nothing_else(server: Loopback, home: Path) -> None:
    """~/.netrc is what requests makes of it, but takes no place of a token or of a plugin's credentials."""
    (home / ".netrc").write_text(f"machine 127.0.0.1 login net password {SECRET}\n", encoding="utf-8")
    (home / ".netrc").chmod(0o600)
    ask(server.url)
    assert server.authorization == basic("net", SECRET)
    ask(server.url, TOKEN)
    assert server.authorization == f"Bearer tok-{SECRET}"
    ask(server.url, header_providers=[(plugin("own"), Headers({"authorization": "Bearer plugin"}))])
    assert server.authorization == "Bearer plugin"


class Headers:
    """A plugin that gives headers."""

    def __init__(self, headers: Any) -> None:
        """Keep them, or the function that gives them; None for not in context."""
        self.headers = headers

    def in_context(self) -> bool:
        return self.headers is not None

    def request_headers(self) -> Any:
        return self.headers() if callable(self.headers) else self.headers


def raising(error: BaseException) -> Any:
    """Give a function that raises."""

    def fail() -> None:
        raise error

    return fail


def test_plugin_headers(server: Loopback) -> None:
    """Values of one header are joined with a space, None is none, and one that is not in context is not asked."""
    providers = [
        (plugin("first"), Headers({"X-Team": "red", "X-None": None})),
        (plugin("second"), Headers({"x-team": "blue", "User-Agent": "theirs/1"})),
        (plugin("third"), Headers(None)),
    ]
    ask(server.url, header_providers=providers)
    found = server.asked[-1].headers
    assert found["x-team"] == "red blue"
    assert "x-none" not in found
    assert found["user-agent"].startswith("runcontext/")
    assert found["user-agent"].endswith(" theirs/1")


def test_credentials_override_a_plugins(server: Loopback) -> None:
    """What the user set himself overrides the Authorization header of a plugin, as in MLflow."""
    ask(server.url, TOKEN, header_providers=[(plugin("own"), Headers({"Authorization": "Bearer plugin"}))])
    assert server.authorization == f"Bearer tok-{SECRET}"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (raising(RuntimeError(f"password={SECRET}")), "RuntimeError"),
        (raising(SystemExit(2)), "SystemExit"),
        (lambda: ["no", "mapping"], "AttributeError"),
    ],
)
def test_failing_header_plugin(server: Loopback, caplog: pytest.LogCaptureFixture, headers: Any, said: str) -> None:
    """A plugin that fails costs its own headers and no others', and is named once, without its secrets."""
    providers = [(plugin("bad"), Headers(headers)), (plugin("good"), Headers({"X-Good": "yes"}))]
    session = ask(server.url, header_providers=providers)
    session.get("/again", is_patient=False)
    assert [each.headers.get("x-good") for each in server.asked] == ["yes", "yes"]
    (record,) = caplog.records
    message = record.getMessage()
    assert all(word in message for word in ("'bad'", "some-package 1.0", said, "without its headers"))
    assert SECRET not in message


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX-Evil: 1", f"模型 {SECRET}", 7, b"bytes"])
def test_unusable_header(server: Loopback, caplog: pytest.LogCaptureFixture, value: Any) -> None:
    """A value that is no header's is left out and said by name, its text not shown; no second one is smuggled in."""
    ask(server.url, header_providers=[(plugin("odd"), Headers({"X-Odd": value, "X-Fine": "fine"}))])
    assert server.asked[-1].headers.get("x-fine") == "fine"
    assert not {"x-odd", "x-evil"} & set(server.asked[-1].headers)
    assert "'X-Odd'" in caplog.text
    assert "'odd' of some-package 1.0" in caplog.text
    assert SECRET not in caplog.text


class Auth:
    """A plugin that MLFLOW_TRACKING_AUTH can name."""

    def __init__(self, name: str, auth: Any) -> None:
        """Keep both, or the function that gives the auth object."""
        self.name = name
        self.auth = auth

    def get_name(self) -> str:
        return self.name

    def get_auth(self) -> Any:
        return self.auth() if isinstance(self.auth, type(raising)) else self.auth


class Signs:
    """An auth object as requests takes it."""

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Signed {request.method}"
        return request


def test_auth_plugin(server: Loopback) -> None:
    """The plugin that is called so wins over user and password; a pair is user and password."""
    found = [(plugin("entry", plugins.REQUEST_AUTH), Auth("SIGNED", Signs())), (plugin("b"), Auth("PAIR", ("u", "p")))]
    ask(server.url, {**ENVIRONMENT, "MLFLOW_TRACKING_AUTH": "SIGNED"}, auth_providers=found)
    assert server.authorization == "Signed GET"
    ask(server.url, {"MLFLOW_TRACKING_AUTH": "PAIR"}, auth_providers=found)
    assert server.authorization == basic("u", "p")


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (
            Auth("OTHER", Signs()),
            "no auth plugin is called 'WANTED' (MLFLOW_TRACKING_AUTH)",
        ),
        (Auth("WANTED", raising(SystemExit(1))), "'entry' of some-package 1.0"),
        (Auth("WANTED", raising(ValueError(f"token={SECRET}"))), "ValueError"),
        (Auth("WANTED", None), "gave a NoneType"),
        (Auth("WANTED", Headers(None).in_context), "failed to sign a request"),
        (
            # Somebody forgot `return request`.
            Auth("WANTED", lambda: lambda _: None),
            "'entry' of some-package 1.0 (pkg:entry) signed a request and gave a NoneType; the request is expected",
        ),
    ],
)
def test_no_request_without_the_wanted_auth(server: Loopback, provider: Auth, said: str) -> None:
    """Where MLFLOW_TRACKING_AUTH cannot be had nothing is sent, and the error says why."""
    with pytest.raises(StoreError) as caught:
        ask(
            server.url,
            {**ENVIRONMENT, "MLFLOW_TRACKING_AUTH": "WANTED"},
            auth_providers=[(plugin("entry", plugins.REQUEST_AUTH), provider)],
        )
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not server.asked


@pytest.mark.parametrize(
    ("environment", "file", "said"),
    [
        ({}, None, "no credentials"),
        ({}, ".netrc", "those of ~/.netrc or of a header plugin"),
        ({}, ".mlflow/credentials", "~/.mlflow/credentials"),
        (
            {"MLFLOW_TRACKING_USERNAME": "ann"},
            ".mlflow/credentials",
            "MLFLOW_TRACKING_USERNAME and ~/.mlflow/credentials",
        ),
        (ENVIRONMENT, ".mlflow/credentials", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ({**TOKEN, "MLFLOW_TRACKING_AUTH": "SIGNED"}, ".netrc", "MLFLOW_TRACKING_AUTH=SIGNED"),
    ],
)
def test_a_refusal_says_which_credentials_were_sent(
    server: Loopback, home: Path, environment: dict[str, str], file: str | None, said: str
) -> None:
    """What a server does not accept is called by where it is from: a plugin, a file, or the variables that are set."""
    if file is not None:
        (home / ".mlflow").mkdir()
        texts = {
            ".netrc": "machine 127.0.0.1 login net password kept\n",
            ".mlflow/credentials": "[mlflow]\nmlflow_tracking_username = kept\nmlflow_tracking_password = kept\n",
        }
        (home / file).write_text(texts[file], encoding="utf-8")
        (home / file).chmod(0o600)
    server.answers.append(Answer(401))
    providers = [(plugin("entry", plugins.REQUEST_AUTH), Auth("SIGNED", Signs()))]
    with pytest.raises(StoreError) as caught:
        ask(server.url, environment, auth_providers=providers)
    assert f"(401, sent: {said})" in str(caught.value)


def test_aws_signature_says_what_it_needs(server: Loopback) -> None:
    """Without its package nothing is sent, and the error names it."""
    if "requests_auth_aws_sigv4" in sys.modules:
        pytest.skip("requests-auth-aws-sigv4 is installed")
    with pytest.raises(StoreError, match="pip install requests-auth-aws-sigv4"):
        ask(server.url, {"MLFLOW_TRACKING_AWS_SIGV4": "true"})
    assert not server.asked


def test_service_account_outside_a_cluster(server: Loopback) -> None:
    """MLflow's own name for a pod's service account says what is missing outside of one."""
    with pytest.raises(StoreError, match="outside a cluster set MLFLOW_TRACKING_TOKEN"):
        ask(server.url, {"MLFLOW_TRACKING_AUTH": "kubernetes"})
    assert not server.asked


def test_workspace(server: Loopback) -> None:
    """MLFLOW_WORKSPACE goes with every request."""
    ask(server.url, {"MLFLOW_WORKSPACE": "team"})
    assert server.asked[-1].headers["x-mlflow-workspace"] == "team"


@pytest.mark.parametrize(
    "environment",
    [
        {"MLFLOW_TRACKING_INSECURE_TLS": "yes"},
        {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "many"},
        {"MLFLOW_HTTP_REQUEST_TIMEOUT": "-1"},
        {"MLFLOW_HTTP_REQUEST_TIMEOUT": "0"},
        {"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "nan"},
        {"MLFLOW_ALLOW_HTTP_REDIRECTS": "maybe"},
    ],
)
def test_unusable_variable(server: Loopback, environment: dict[str, str]) -> None:
    """A variable that cannot be used is named, with its value and what is expected; nothing is guessed."""
    ((name, value),) = environment.items()
    with pytest.raises(StoreError, match=rf"{name}='{value}' is not usable: .* expected"):
        ask(server.url, environment)
    assert not server.asked


MODULE = """
class Headers:
    def in_context(self):
        return True

    def request_headers(self):
        return {"X-Access": "granted"}

class Exits(Headers):
    def request_headers(self):
        exit(3)

class Auth:
    def get_name(self):
        return "ACME"

    def get_auth(self):
        def sign(request):
            request.headers["Authorization"] = "Acme " + request.method
            return request
        return sign
"""

ENTRY_POINTS = """
[mlflow.request_header_provider]
unused = acme:Headers
other = acme:Exits
[mlflow.request_auth_provider]
acme-auth = acme:Auth
"""


def test_installed_plugins(server: Loopback, tmp_path: Path) -> None:
    """Plugins written for MLflow are found by their entry points and used unchanged; one that exits is named."""
    folder = tmp_path / "acme-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    (tmp_path / "acme.py").write_text(MODULE, encoding="utf-8")
    source = """
import sys
from runcontext.tracking.http import ServerSession
session = ServerSession(sys.argv[1])
session.get("/x")
session.post("/x", {})
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MLFLOW_TRACKING_AUTH": "ACME"}
    done = subprocess.run(
        [sys.executable, "-c", source, server.url],
        env={**environment, "RUNCONTEXT_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [each.headers["authorization"] for each in server.asked] == ["Acme GET", "Acme POST"]
    assert [each.headers["x-access"] for each in server.asked] == ["granted", "granted"]
    assert done.stderr.count("'other' of acme 1.0") == 1
    assert "without its headers" in done.stderr
