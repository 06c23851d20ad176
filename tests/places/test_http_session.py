"""What a session makes of a server that is away, busy, broken, somebody else, or not to be trusted."""

from __future__ import annotations

import email.utils
import logging
import socket
import ssl
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from tests.places.loopback import Answer, Authority, Loopback

from runcontext import plugins
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.tracking.http import ServerRefusalError, ServerSession, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Listen = Callable[..., Loopback]

pytestmark = pytest.mark.usefixtures("alone")

SECRET = "correct-horse-battery"  # noqa: S105 - what the tests look for
RUN = "/api/2.0/mlflow/runs/get"


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Give the function that starts a server of this test's."""
    started: list[Loopback] = []

    def start(*answers: Answer, context: ssl.SSLContext | None = None) -> Loopback:
        started.append(Loopback(context))
        started[-1].answers += answers
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give a certificate authority that nobody trusts unless told so."""
    return Authority(tmp_path_factory.mktemp("authority"))


def session_of(uri: str, sleep: Callable[[float], None] = time.sleep, **environment: str) -> ServerSession:
    """Give a session with no plugins."""
    return ServerSession(uri, environment=environment, header_providers=[], auth_providers=[], sleep=sleep)


PASSING = [
    Answer(500),
    Answer(502, b"<html>"),
    Answer(408),
    Answer(504),
    Answer(200, b"<html>login</html>"),
    Answer(200, b'{"run": {}}', cut=True),
    Answer(hang_up=True),
]


def test_reading_goes_on_until_it_succeeds(listen: Listen) -> None:
    """Every failure that passes is asked again, seven times at most, and each time later than before."""
    server = listen(*PASSING, Answer.json(200, run={"info": {}}))
    waits: list[float] = []
    session = session_of(server.url, waits.append)
    assert session.get(RUN) == {"run": {"info": {}}}
    assert len(server.asked) == len(PASSING) + 1
    for number, wait in enumerate(waits):
        least = min(120, 2 * 2**number) if number else 0
        assert least <= wait <= min(120, least + 1)


@pytest.mark.parametrize(("value", "repetitions"), [("0", 0), ("2", 2), ("99", 10)])
def test_reading_gives_up(listen: Listen, value: str, repetitions: int) -> None:
    """MLFLOW_HTTP_REQUEST_MAX_RETRIES says how often, up to 10."""
    server = listen(*[Answer(503)] * 20)
    session = session_of(server.url, lambda _: None, MLFLOW_HTTP_REQUEST_MAX_RETRIES=value)
    with pytest.raises(StoreUnavailableError, match=r"cannot do it now \(503"):
        session.get(RUN)
    assert len(server.asked) == 1 + repetitions


def test_retry_after(listen: Listen) -> None:
    """A server's own wish is kept, unless a variable says otherwise; one of an hour is nobody's to wait for."""
    later = email.utils.formatdate(time.time() + 60, usegmt=True)
    busy = [Answer(429, headers={"Retry-After": "7"}), Answer(503, headers={"Retry-After": later})]
    waits: list[float] = []
    session_of(listen(*busy).url, waits.append).get(RUN)
    assert waits[0] == 7
    assert 50 < waits[1] <= 60
    waits.clear()
    session_of(listen(*busy).url, waits.append, MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER="false").get(RUN)
    assert max(waits) <= 5
    waits.clear()
    with pytest.raises(StoreUnavailableError) as caught:
        session_of(listen(Answer(503, headers={"Retry-After": "3600"})).url, waits.append).get(RUN)
    assert caught.value.retry_after_seconds == 3600
    assert not waits


def test_a_wish_for_at_once_is_none(listen: Listen) -> None:
    """A server that fails and says Retry-After: 0 is asked again as late as one that says nothing."""
    waits: list[float] = []
    session = session_of(
        listen(*[Answer(503, headers={"Retry-After": "0"})] * 3).url,
        waits.append,
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="2",
        MLFLOW_HTTP_REQUEST_BACKOFF_JITTER="0",
    )

    session.get(RUN)

    assert waits == [0, 4, 8]


@pytest.mark.parametrize("answer", [*PASSING, Answer(429, headers={"Retry-After": "3"})])
def test_writing_is_never_repeated(listen: Listen, answer: Answer) -> None:
    """A write whose reply is lost or bad reaches the server once; the caller learns that it may go right later."""
    server = listen(answer)
    with pytest.raises(StoreUnavailableError) as caught:
        session_of(server.url).post("/api/2.0/mlflow/runs/create", {"a": 1})
    assert len(server.asked) == 1
    assert caught.value.retry_after_seconds == (3 if answer.status == 429 else None)


def test_nobody_listens() -> None:
    """A closed port is something that may go right later; whoever is patient hears at once that there is trouble."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
        waits: list[float] = []
        with pytest.raises(StoreUnavailableError, match=rf"{uri} cannot be reached \(Connection refused\)"):
            session_of(uri, waits.append).get(RUN)
    assert len(waits) == 7


def test_one_that_never_answers() -> None:
    """A server that accepts and says nothing is left after MLFLOW_HTTP_REQUEST_TIMEOUT seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session = session_of(f"http://127.0.0.1:{silent.getsockname()[1]}", MLFLOW_HTTP_REQUEST_TIMEOUT="0.2")
        with pytest.raises(StoreUnavailableError, match=r"no answer in 0\.2 s, see MLFLOW_HTTP_REQUEST_TIMEOUT"):
            session.post("/x", {})


@pytest.mark.parametrize(
    ("answer", "said", "error_code"),
    [
        (Answer(401, b"no"), "does not accept the credentials (401, sent: MLFLOW_TRACKING_TOKEN)", None),
        (
            Answer.json(403, error_code="PERMISSION_DENIED", message="not yours"),
            "(403, sent: MLFLOW",
            "PERMISSION_DENIED",
        ),
        (Answer(404, b"<html>"), "is no MLflow tracking server", None),
        (Answer.json(404, error_code="RESOURCE_DOES_NOT_EXIST", message="No run"), "No run", "RESOURCE_DOES_NOT_EXIST"),
        (Answer.json(400, error_code="INVALID_PARAMETER_VALUE", message="bad"), "bad", "INVALID_PARAMETER_VALUE"),
        (Answer(413, b"<html>"), "takes no request of this size", None),
        (
            Answer.json(500, error_code="INTERNAL_ERROR", message="(DataError) value too long"),
            "too long",
            "INTERNAL_ERROR",
        ),
    ],
)
def test_refusals(listen: Listen, answer: Answer, said: str, error_code: str | None) -> None:
    """What will not go right later is said at once, with the server's own word for it, and asked once."""
    server = listen(answer)
    with pytest.raises(ServerRefusalError) as caught:
        session_of(server.url, MLFLOW_TRACKING_TOKEN=SECRET).get(RUN)
    assert said in str(caught.value)
    assert server.url in str(caught.value)
    assert (caught.value.status, caught.value.error_code) == (answer.status, error_code)
    assert len(server.asked) == 1
    assert not isinstance(caught.value, StoreUnavailableError)


def test_a_page_is_no_servers_answer(listen: Listen) -> None:
    """A website, or a proxy that wants a login, answers 200 with a page: that is said at once, with what to check."""
    server = listen(Answer(200, b"<html>login</html>", {"Content-Type": "Text/HTML; charset=utf-8"}))
    with pytest.raises(
        StoreError, match=r"is no MLflow tracking server: .* page \(200\).*; the tracking URI"
    ) as caught:
        session_of(server.url, lambda _: None).get(RUN)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert len(server.asked) == 1


def test_a_redirect_is_followed_by_readers(listen: Listen) -> None:
    """A server that moved is read where it is now, and a write says what the tracking URI should be."""
    there = listen()
    here = listen(*[Answer(301, headers={"Location": f"{there.url}/x?token={SECRET}"})] * 3)
    session = session_of(here.url)
    assert session.get(RUN) == {}
    with pytest.raises(
        StoreError, match=f"{here.url} sends requests on to {there.url}: make that the tracking URI"
    ) as caught:
        session.post("/api/2.0/mlflow/runs/create", {})
    assert SECRET not in str(caught.value)
    assert [each.method for each in there.asked] == ["GET", "GET"]
    with pytest.raises(StoreError, match="sends requests on to"):
        session_of(here.url, MLFLOW_ALLOW_HTTP_REDIRECTS="false").get(RUN)


def test_credentials_stay_with_their_server(listen: Listen) -> None:
    """Another host that a redirect leads to sees neither the token nor what plugins add."""

    class Plugin:
        def in_context(self) -> bool:
            return True

        def request_headers(self) -> dict[str, str]:
            return {"X-Access-Token": SECRET}

    there = listen()
    here = listen(Answer(302, headers={"Location": f"http://localhost:{there.port}/"}))
    known = plugins.Plugin(plugins.REQUEST_HEADERS, "access", "", "pkg:Access", "some-package", "1.0")
    environment = {"MLFLOW_TRACKING_TOKEN": SECRET}
    ServerSession(here.url, environment=environment, header_providers=[(known, Plugin())]).get(RUN)
    assert SECRET in str(here.asked[0].headers)
    assert SECRET not in str(there.asked[0].headers)


@pytest.mark.parametrize(
    "answers",
    [[Answer(401)], [Answer(403, f"password={SECRET}".encode())], [Answer(200, f"token={SECRET}".encode())], None],
)
def test_nothing_shows_a_credential(
    listen: Listen, caplog: pytest.LogCaptureFixture, answers: list[Answer] | None
) -> None:
    """Neither messages, nor tracebacks, nor the logs of the libraries below show what is secret."""
    caplog.set_level(logging.DEBUG)
    server = listen(*(answers or []))
    uri = server.url.replace("://", f"://ann:{SECRET}@")
    if answers is None:
        server.close()
    with pytest.raises(StoreError) as caught:
        session_of(uri, lambda _: None, MLFLOW_TRACKING_TOKEN=SECRET, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0").get(RUN)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "127.0.0.1" in shown
    assert SECRET not in shown


BASIC = "Ym9iOlMzQ1JFVHB3MTIzNA=="
"""bob:S3CRETpw1234, as RFC 7617 has it."""


@pytest.mark.parametrize(
    ("userinfo", "environment", "secrets"),
    [
        ("bob:S3CRETpw1234@", {}, (f"Basic {BASIC}", BASIC, "bob:S3CRETpw1234", "S3CRETpw1234")),
        ("bob:S3%2FCRET%20pw@", {}, ("S3/CRET pw", "S3%2FCRET%20pw")),
        ("", {"MLFLOW_TRACKING_TOKEN": "abcDEF123456"}, ("Bearer abcDEF123456", "abcDEF123456")),
        ("", {}, ("plainwords", "Header plainwords")),
    ],
)
@pytest.mark.parametrize(
    "answering",
    [
        lambda said: Answer(403, f"denied for <{said}>".encode()),
        lambda said: Answer.json(400, error_code="BAD_REQUEST", message=f"denied for <{said}>"),
        lambda said: Answer.json(503, error_code="BUSY", message=f"denied for <{said}>"),
        lambda said: Answer(200, f"denied for <{said}>".encode()),
        lambda said: Answer(307, headers={"Location": f"/for/{said}"}),
    ],
    ids=["forbidden", "refused", "busy", "no-json", "elsewhere"],
)
def test_what_was_sent_as_a_credential_is_not_shown_where_a_reply_repeats_it(
    listen: Listen,
    userinfo: str,
    environment: dict[str, str],
    secrets: tuple[str, ...],
    answering: Callable[[str], Answer],
) -> None:
    """Password, token, header, and what plugins added: whatever they look like, no message has them."""

    class Plugin:
        def in_context(self) -> bool:
            return True

        def request_headers(self) -> dict[str, str]:
            return {"X-Access": "Header plainwords"}

    known = plugins.Plugin(plugins.REQUEST_HEADERS, "access", "", "pkg:Access", "some-package", "1.0")
    server = listen(*map(answering, secrets))
    uri = server.url.replace("://", f"://{userinfo}")
    session = ServerSession(
        uri,
        environment={**environment, "MLFLOW_ALLOW_HTTP_REDIRECTS": "false"},
        header_providers=[(known, Plugin())],
        auth_providers=[],
    )
    for secret in secrets:
        with pytest.raises(StoreError) as caught:
            session.get(RUN, is_patient=False)
        shown = str(caught.value)
        assert "denied for <" in shown or "sends requests on to /for/" in shown
        assert not [each for each in (*secrets, secret.split()[-1]) if each in shown]
        assert not isinstance(caught.value, ServerRefusalError) or secret not in caught.value.detail


@pytest.mark.parametrize(
    "environment",
    [{"MLFLOW_TRACKING_TOKEN": f"{SECRET}\nsecond"}, {"MLFLOW_WORKSPACE": f"{SECRET}\n日"}, {"MLFLOW_WORKSPACE": "日"}],
)
def test_a_malformed_header_is_not_shown(listen: Listen, environment: dict[str, Any]) -> None:
    """A token or workspace that no header can hold is an error that names its variable and does not quote it."""
    server = listen()
    with pytest.raises(StoreError, match=next(iter(environment))) as caught:
        session_of(server.url, **environment).get(RUN)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert not server.asked


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("http://host", None),
        ("https://ann:pass@host:5000/mlflow/", None),
        ("http://[::1]:5000", None),
        ("http://mlflow_server:5000", None),
        ("http://münchen.example", None),
        ("ftp://host", "does not begin with http"),
        ("http:/host", "two slashes"),
        ("http://", "no host"),
        ("http://:5000", "no host"),
        ("http://host:port", "a port number is expected"),
        ("http://host:70000", "a port number is expected"),
        ("http://ho st", "character 10"),
        ("http://host?a=1", "has no ?"),
        ("http://host/#/experiments", "has no #"),
        ("http://[::1", "is not closed"),
        ("http://::1:5000", "no host"),
        ("http://" + "ä" * 80 + ".example", "no name and no address"),
    ],
)
def test_malformed_uris(uri: str, problem: str | None) -> None:
    """A URI that is none says where, before anything is asked of a network."""
    found = problem_of(uri)
    assert (found is None) if problem is None else (problem in str(found))
    if problem is not None:
        with pytest.raises(StoreError, match="is expected"):
            session_of(uri)


def test_a_forked_process_has_connections_of_its_own(listen: Listen) -> None:
    """Parent and child ask at once without reading each other's answers."""
    server = listen(*[Answer.json(200, number=number) for number in range(200)])
    source = """
import os, sys
from runcontext.tracking.http import ServerSession
session = ServerSession(sys.argv[1], header_providers=[], auth_providers=[])
session.get("/before")
child = os.fork()
for _ in range(30):
    assert session.get("/child" if child == 0 else "/parent")["number"] >= 0
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", source, server.url], check=True)
    paths = [each.path for each in server.asked]
    assert (paths.count("/before"), paths.count("/child"), paths.count("/parent")) == (1, 30, 30)


def test_tls_with_an_authority_of_ones_own(
    listen: Listen, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority that MLFLOW_TRACKING_SERVER_CERT_PATH names is trusted, whatever requests' own variable says."""
    server = listen(context=authority.context())
    with pytest.raises(StoreError, match=r"does not verify .*MLFLOW_TRACKING_SERVER_CERT_PATH") as caught:
        session_of(server.url, lambda _: None).get(RUN)
    assert not isinstance(caught.value, StoreUnavailableError)
    monkeypatch.setenv(
        "REQUESTS_CA_BUNDLE", ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    )
    assert session_of(server.url, MLFLOW_TRACKING_SERVER_CERT_PATH=str(authority.certificate)).get(RUN) == {}


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_tls_unverified(listen: Listen, authority: Authority) -> None:
    """MLFLOW_TRACKING_INSECURE_TLS trusts anybody, and contradicts the name of an authority."""
    server = listen(context=authority.context())
    assert session_of(server.url, MLFLOW_TRACKING_INSECURE_TLS="true").get(RUN) == {}
    both = {"MLFLOW_TRACKING_INSECURE_TLS": "true", "MLFLOW_TRACKING_SERVER_CERT_PATH": "/x"}
    with pytest.raises(StoreError, match="INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set"):
        session_of(server.url, **both)


def test_tls_with_a_certificate_of_the_client(listen: Listen, authority: Authority) -> None:
    """MLFLOW_TRACKING_CLIENT_CERT_PATH is shown to a server that wants one, and without it nothing is asked."""
    server = listen(context=authority.context(wants_certificate=True))
    known = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.certificate)}
    certificate = str(authority.issue("client"))
    assert session_of(server.url, MLFLOW_TRACKING_CLIENT_CERT_PATH=certificate, **known).get(RUN) == {}
    with pytest.raises(StoreError, match=server.url):
        session_of(server.url, lambda _: None, **known).get(RUN)
    assert len(server.asked) == 1


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
def test_certificates_that_are_not_there(listen: Listen, authority: Authority, variable: str) -> None:
    """A file that is not there is an error that names the variables."""
    server = listen(context=authority.context())
    environment: dict[str, Any] = {variable: "/nowhere/file.pem"}
    with pytest.raises(StoreError, match=rf"nowhere.*{variable}"):
        session_of(server.url, **environment).get(RUN)


def test_https_where_there_is_none(listen: Listen) -> None:
    """A plain server that is asked with https says so."""
    server = listen()
    with pytest.raises(StoreError, match="is its address http://"):
        session_of(server.url.replace("http:", "https:"), lambda _: None).get(RUN)
