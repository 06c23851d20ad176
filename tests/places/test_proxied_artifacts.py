"""Artifacts through MLflow's own tracking servers, 2.22 and the newest, read back with MLflow's own client."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.places import servers_artifacts

from runcontext.artifacts.proxied import ProxiedRepository
from runcontext.artifacts.proxied.address import SERVICE, ProxiedAddress
from runcontext.artifacts.server_paths import check_is_here
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.testing import ArtifactRepositoryContract
from runcontext.tracking.http import ServerSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.places.conftest import PrivateMLflow
    from tests.places.faults import FaultProxy
    from tests.places.servers_kept import Session
    from tests.places.servers_mlflow import MLflowServer


class ProxiedContract(ArtifactRepositoryContract):
    """What both servers keep of the contract; they cannot keep every name."""

    refused_names = ("a%20b.txt", "#1.txt")


class TestNewest(ProxiedContract):
    """Through the newest MLflow's server."""

    @pytest.fixture
    def repository(self, mlflow_newest: MLflowServer) -> Iterator[ProxiedRepository]:
        with run_on(mlflow_newest) as (_, found):
            yield found


class Test222(ProxiedContract):
    """Through the server of MLflow 2.22."""

    @pytest.fixture
    def repository(self, mlflow_2_22: MLflowServer) -> Iterator[ProxiedRepository]:
        with run_on(mlflow_2_22) as (_, found):
            yield found


@contextlib.contextmanager
def run_on(server: MLflowServer) -> Iterator[tuple[str, ProxiedRepository]]:
    """Make a run, and give its id and the repository of its artifacts."""
    session = ServerSession(server.url)
    made = session.post("/api/2.0/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
    repository = ProxiedRepository(made["artifact_uri"], server.url)
    yield made["run_id"], repository
    repository.close()
    session.close()


def test_mlflows_own_client_reads_what_we_sent_and_we_what_it_sent(mlflow_server: MLflowServer, tmp_path: Path) -> None:
    """Files, folders, names and sizes are the same on both sides."""
    with run_on(mlflow_server) as (run_id, repository):
        (tmp_path / "source").write_bytes(bytes(range(256)) * 5_000)
        for name in ("model/weights & biases.bin", "notes.txt"):
            repository.upload_file(str(tmp_path / "source"), name)
        theirs = mlflow_server.ask(_THEIRS, run_id, str(tmp_path))

        assert theirs == {"": [["model", True, None], ["notes.txt", False, 1_280_000]], "same": True}
        assert [(each.path, each.size_bytes) for each in repository.list_artifacts("theirs")] == [("theirs/50%.txt", 6)]
        repository.download_file("theirs/50%.txt", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "theirs"


_THEIRS = """
import json, os, sys
import mlflow
run_id, folder = sys.argv[1:]
client = mlflow.MlflowClient()
listed = [[each.path, each.is_dir, each.file_size or None] for each in client.list_artifacts(run_id)]
os.mkdir(folder + "/got")
got = client.download_artifacts(run_id, "model/weights & biases.bin", folder + "/got")
with open(got, "rb") as one, open(folder + "/source", "rb") as other:
    same = one.read() == other.read()
with open(folder + "/50%.txt", "w") as file:
    file.write("theirs")
client.log_artifact(run_id, folder + "/50%.txt", "theirs")
print(json.dumps({"": listed, "same": same}))
"""


@pytest.mark.parametrize(
    ("artifact_uri", "tracking_uri", "server", "root"),
    [
        ("mlflow-artifacts:/1/r/artifacts", "http://h:5", "http://h:5", "1/r/artifacts"),
        ("mlflow-artifacts:/1/r/artifacts", "https://u:p@h/team/", "https://u:p@h/team/", "1/r/artifacts"),
        ("mlflow-artifacts://other:6/1/r", "https://u:p@h/team", "https://other:6/team", "1/r"),
        ("mlflow-artifacts://h:5/1/r", "http://u:p@h:5", "http://u:p@h:5", "1/r"),
        (f"http://h:5{SERVICE}/artifacts/1/a%20b", None, "http://h:5", "1/a b"),
        (f"http://h:5/team{SERVICE}/artifacts/1/r", "http://u:p@h:5/team", "http://u:p@h:5/team", "1/r"),
        (f"http://h:6{SERVICE}/artifacts/1/r", "http://u:p@h:5", "http://h:6", "1/r"),
    ],
)
def test_an_artifact_uri_names_server_and_folder(
    artifact_uri: str, tracking_uri: str | None, server: str, root: str
) -> None:
    """As MLflow's client reads it; the tracking URI's own password goes to its own host and port only."""
    assert ProxiedAddress.of(artifact_uri, tracking_uri) == ProxiedAddress(server, root)


@pytest.mark.parametrize(
    ("artifact_uri", "tracking_uri", "problem"),
    [
        ("mlflow-artifacts:/1/r", None, "the tracking URI is not set"),
        ("mlflow-artifacts:/1/r", "postgresql://u:hunter2@h/db", "set RUNCONTEXT_TRACKING_URI"),
        ("mlflow-artifacts://5000/1/r", "http://h", "a port and no host"),
        ("https://u:hunter2@h/files", "http://h", "names nothing that a tracking server proxies"),
    ],
)
def test_an_artifact_uri_that_names_no_server_is_refused(
    artifact_uri: str, tracking_uri: str | None, problem: str
) -> None:
    """The message says what is expected, and shows no password."""
    with pytest.raises(StoreError, match=problem) as caught:
        ProxiedRepository(artifact_uri, tracking_uri)
    assert "hunter2" not in str(caught.value)


def test_a_file_is_sent_with_its_type_and_length(
    mlflow_newest: MLflowServer, fault_proxy: Callable[[str], FaultProxy], tmp_path: Path
) -> None:
    """Content-Type by the name, Content-Length of the file, an empty one's too; the credentials go along."""
    proxy = fault_proxy(mlflow_newest.url)
    (tmp_path / "source").write_bytes(b"12345")
    (tmp_path / "empty").touch()
    address = proxy.url.replace("://", "://me:hunter2@")
    repository = ProxiedRepository("mlflow-artifacts:/0/types/artifacts", address)
    for name in ("a.json", "b.csv.gz", "c.unknown"):
        repository.upload_file(str(tmp_path / "source"), name)
    repository.upload_file(str(tmp_path / "empty"), "d.txt")
    repository.close()

    sent = [each.headers for each in proxy.seen]
    kinds = ["application/json", "application/octet-stream", "application/octet-stream", "text/plain"]
    assert [each["Content-Type"] for each in sent] == kinds
    assert [each["Content-Length"] for each in sent] == ["5", "5", "5", "0"]
    assert all(each["Authorization"].startswith("Basic ") for each in sent)


def test_a_download_that_is_cut_short_leaves_no_file(
    mlflow_newest: MLflowServer, fault_proxy: Callable[[str], FaultProxy], tmp_path: Path
) -> None:
    """A connection that breaks in mid-reply is StoreUnavailableError; the next attempt brings the whole file."""
    with run_on(mlflow_newest) as (_, repository):
        (tmp_path / "source").write_bytes(bytes(3_000_000))
        repository.upload_file(str(tmp_path / "source"), "a.bin")
        proxy = fault_proxy(mlflow_newest.url)
        through = ProxiedRepository(repository.uri, proxy.url)
        proxy.cut_replies(times=1)
        with pytest.raises(StoreUnavailableError, match=r"a\.bin"):
            through.download_file("a.bin", str(tmp_path / "target"))
        assert [each.name for each in tmp_path.iterdir()] == ["source"]
        through.download_file("a.bin", str(tmp_path / "target"))
        assert (tmp_path / "target").read_bytes() == bytes(3_000_000)
        through.close()


def test_a_busy_server_says_when_to_come_again(
    mlflow_newest: MLflowServer, fault_proxy: Callable[[str], FaultProxy], tmp_path: Path
) -> None:
    """503 with Retry-After is StoreUnavailableError with that time, for an upload as for a download."""
    proxy = fault_proxy(mlflow_newest.url)
    proxy.answer(503, retry_after=7, times=2)
    repository = ProxiedRepository("mlflow-artifacts:/0/busy/artifacts", proxy.url)
    (tmp_path / "source").write_bytes(b"x")
    for call in (
        lambda: repository.upload_file(str(tmp_path / "source"), "a.bin"),
        lambda: repository.download_file("a.bin", str(tmp_path / "target")),
    ):
        with pytest.raises(StoreUnavailableError) as caught:
            call()
        assert caught.value.retry_after_seconds == 7
    repository.close()


def test_a_refusal_is_of_one_artifact_or_of_all(
    mlflow_newest: MLflowServer, fault_proxy: Callable[[str], FaultProxy], tmp_path: Path
) -> None:
    """A file that is too large says nothing of the next; who is denied one thing is denied the rest."""
    proxy = fault_proxy(mlflow_newest.url)
    repository = ProxiedRepository("mlflow-artifacts:/0/denied/artifacts", proxy.url)
    (tmp_path / "source").write_bytes(b"x")
    for status, error in ((401, StoreUnusableError), (403, StoreUnusableError), (413, StoreError)):
        proxy.answer(status)
        with pytest.raises(StoreError) as caught:
            repository.upload_file(str(tmp_path / "source"), "a.bin")
        assert type(caught.value) is error
        proxy.heal()
    repository.close()


def test_a_folder_of_the_servers_machine_is_used_where_it_is_here(tmp_path: Path) -> None:
    """The folder of a run may be missing, its root may not; nothing is made on a machine that has none of it."""
    (tmp_path / "shared").mkdir()
    check_is_here(f"{tmp_path}/shared/art/1/r/artifacts", "http://h")
    check_is_here(f"file://{tmp_path}/shared/1/r/artifacts", "http://h")
    check_is_here("s3://bucket/1/r/artifacts", "http://h")
    for elsewhere in (
        "/mlruns/1/r/artifacts",
        f"{tmp_path}/no/such/root/1/r/artifacts",
        "file:///mlruns/1/r/artifacts",
    ):
        with pytest.raises(StoreError, match=r"http://h keeps artifacts in .* which is not here: start it with"):
            check_is_here(elsewhere, "http://h")


@pytest.mark.soak
def test_a_large_file_goes_in_parts_past_the_server(
    session: Session, private_mlflow: PrivateMLflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To a server that keeps artifacts in S3: in parts to S3 itself, unless switched off here; it comes back whole.

    Where nothing is set here, the server says that it can.
    """
    s3 = servers_artifacts.s3_url(session)
    bucket = servers_artifacts.fresh_bucket(s3)
    server = private_mlflow(
        args=("--artifacts-destination", f"s3://{bucket}/root"),
        env={
            "PYTHONPATH": boto3_alone(tmp_path / "boto3"),
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
        },
    )
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(6 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 << 20))
    (tmp_path / "source").write_bytes(os.urandom(1 << 20) * 7 + b"end")
    for switch, parts in (("true", "-2"), ("false", ""), ("", "-2")):
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", switch)
        with run_on(server) as (_, repository):
            repository.upload_file(str(tmp_path / "source"), "deep/large & odd.bin")
            assert [(each.path, each.size_bytes) for each in repository.list_artifacts("deep")] == [
                ("deep/large & odd.bin", 7 * (1 << 20) + 3)
            ]
            repository.download_file("deep/large & odd.bin", str(tmp_path / "target"))
            assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()
            tag = etag(s3, bucket, f"root/{repository.uri.removeprefix('mlflow-artifacts:/')}/deep/large & odd.bin")
            # S3 gives a file that came in parts the number of them behind a dash; below 8 MiB the server sends none.
            assert tag[32:] == parts


def test_a_store_that_takes_no_parts_gets_the_file_whole(
    mlflow_newest: MLflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that keeps artifacts in a folder refuses parts, and the file goes through it."""
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "10")
    (tmp_path / "source").write_bytes(bytes(100))
    with run_on(mlflow_newest) as (_, repository):
        repository.upload_file(str(tmp_path / "source"), "a.bin")
        assert [(each.path, each.size_bytes) for each in repository.list_artifacts()] == [("a.bin", 100)]


def boto3_alone(folder: Path) -> str:
    """Give a folder with boto3 of this environment and what it needs: the server's own environment has none."""
    folder.mkdir()
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six"):
        origin = importlib.util.find_spec(name)
        assert origin is not None
        assert origin.origin is not None
        there = Path(origin.origin)
        there = there.parent if there.name == "__init__.py" else there
        (folder / there.name).symlink_to(there)
    return str(folder)


def etag(s3: str, bucket: str, key: str) -> str:
    """Give an object's ETag without its quotes."""
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1", **keys)
    with contextlib.closing(client):
        return str(client.head_object(Bucket=bucket, Key=key)["ETag"]).strip('"')
