"""Artifacts on S3 (moto's server), over SFTP and in fsspec's memory: they arrive whole, go on where they stopped."""

from __future__ import annotations

import base64
import errno
import importlib.util
import os
import random
import socket
import ssl
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import pytest
from paramiko import ssh_exception as paramiko_error
from tests.places import file_systems, servers_artifacts
from tests.places.servers_artifacts import PASSWORD, SftpServer

from runcontext.artifacts import addresses, failures, s3, schemes, sftp
from runcontext.artifacts.content import measured
from runcontext.artifacts.failures import Meaning
from runcontext.artifacts.files import temporary_name
from runcontext.artifacts.places import open_repository
from runcontext.artifacts.progress import nothing
from runcontext.artifacts.remote import RemoteRepository
from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.testing.artifacts import ArtifactRepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.places.faults import FaultProxy
    from tests.places.servers_kept import Session

MEBIBYTE = 1 << 20
BIG = 17 * MEBIBYTE
"""Three parts of an upload."""

MEDIUM = 4 * MEBIBYTE + 5
"""Five blocks of a download."""

SECRET = "the-secret-key-of-the-tests"  # noqa: S105 - moto takes any
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=me/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0000000000000000"
)


@pytest.fixture
def s3_server(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the URL of the S3 server, and make the environment name it."""
    url = servers_artifacts.s3_url(session)
    for name in [each for each in os.environ if each.startswith(("AWS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", url)
    monkeypatch.setenv("RUNCONTEXT_CACHE_DIR", str(tmp_path / "cache"))
    return url


@pytest.fixture
def bucket(s3_server: str) -> str:
    """Give the name of an empty bucket."""
    return servers_artifacts.fresh_bucket(s3_server, SIGNED)


@pytest.fixture
def repository(bucket: str) -> Iterator[RemoteRepository]:
    """Give an empty repository in the bucket."""
    found = RemoteRepository(f"s3://{bucket}/1/run/artifacts", block_bytes=MEBIBYTE)
    yield found
    found.close()


@pytest.fixture
def proxied(
    s3_server: str, bucket: str, fault_proxy: Callable[[str], FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[RemoteRepository, FaultProxy]]:
    """Give a repository in the bucket, and the proxy on the way to it."""
    proxy = fault_proxy(s3_server)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", proxy.url)
    found = RemoteRepository(f"s3://{bucket}/1/run/artifacts", block_bytes=MEBIBYTE)
    yield found, proxy
    found.close()


@pytest.fixture
def server(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, str]:
    """Give the SFTP server, and a home whose known_hosts vouches for it."""
    return vouched_for(servers_artifacts.sftp_server(session), monkeypatch, tmp_path)


@pytest.fixture
def private_server(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SftpServer]:
    """Give an SFTP server that only this test uses, and may kill, and a home whose known_hosts vouches for it."""
    found = SftpServer(session, tmp_path / "sftp")
    vouched_for(found.found, monkeypatch, tmp_path)
    yield found
    found.kill()


def vouched_for(found: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Mapping[str, str]:
    """Make a home whose known_hosts vouches for a server, and nobody's keys are in; give the server back."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (folder / "home" / ".ssh").mkdir(parents=True)
    (folder / "home" / ".ssh" / "known_hosts").write_text(found["known_hosts"], encoding="ascii")
    return found


@pytest.fixture
def user() -> str:
    """Give the name of a user of the SFTP server whom no other test is."""
    return f"user-{uuid.uuid4().hex[:12]}"


def sftp_uri(server: Mapping[str, str], user: str, password: str = PASSWORD) -> str:
    """Give the URI of a run's artifacts on the server."""
    return f"sftp://{user}:{quote(password, safe='')}@127.0.0.1:{server['port']}/mlruns/1/run/artifacts"


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """Give a file that takes several parts."""
    file = tmp_path / "big.bin"
    file.write_bytes(random.Random(0).randbytes(BIG))
    return file


@pytest.fixture
def medium_file(tmp_path: Path) -> Path:
    """Give a file that takes several blocks."""
    file = tmp_path / "medium.bin"
    file.write_bytes(random.Random(0).randbytes(MEDIUM))
    return file


class TestS3(ArtifactRepositoryContract):
    """S3 keeps the contract."""

    secrets = (SECRET,)


class TestSftp(ArtifactRepositoryContract):
    """An SFTP server keeps the contract."""

    secrets = (PASSWORD, quote(PASSWORD, safe=""))

    @pytest.fixture
    def repository(self, server: Mapping[str, str], user: str) -> Iterator[RemoteRepository]:
        found = RemoteRepository(sftp_uri(server, user))
        yield found
        found.close()


class TestOtherFiles(ArtifactRepositoryContract):
    """A scheme that only fsspec knows keeps the contract: one of files and folders."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Iterator[Any]:
        file_systems.registered()
        found = open_repository(f"disk://{tmp_path}/artifacts")
        yield found
        found.close()


class TestOtherObjects(ArtifactRepositoryContract):
    """A scheme that only fsspec knows keeps the contract: one of objects."""

    @pytest.fixture
    def repository(self) -> Iterator[Any]:
        file_systems.registered()
        found = open_repository(f"kept://{uuid.uuid4().hex}/artifacts")
        yield found
        found.close()


def test_an_upload_to_s3_goes_on_where_it_stopped(
    proxied: tuple[RemoteRepository, FaultProxy], big_file: Path, tmp_path: Path
) -> None:
    """Parts that arrived are not sent again; by another object of ours as well, as after a crash."""
    repository, proxy = proxied
    proxy.answer(503, path="partNumber=3")
    with pytest.raises(StoreUnavailableError, match=r"big\.bin"):
        repository.upload_file(str(big_file), "big.bin")
    arrived = {each for each in (1, 2) if proxy_saw(proxy, f"partNumber={each}")}
    proxy.heal()
    proxy.seen.clear()
    told: list[int] = []
    again = RemoteRepository(repository.uri)
    again.upload_file(str(big_file), "big.bin", on_bytes=told.append)
    again.close()
    assert {each for each in (1, 2, 3) if proxy_saw(proxy, f"partNumber={each}")} == {1, 2, 3} - arrived
    assert sum(told) == BIG
    repository.download_file("big.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == big_file.read_bytes()
    assert list((tmp_path / "cache" / "uploads").iterdir()) == []


def test_an_upload_whose_parts_are_gone_begins_anew(
    proxied: tuple[RemoteRepository, FaultProxy], bucket: str, s3_server: str, big_file: Path
) -> None:
    """Buckets throw unfinished uploads away after some days."""
    repository, proxy = proxied
    proxy.answer(503, path="partNumber=3")
    with pytest.raises(StoreUnavailableError):
        repository.upload_file(str(big_file), "big.bin")
    proxy.heal()
    client = boto3.client("s3", endpoint_url=s3_server)
    for each in client.list_multipart_uploads(Bucket=bucket)["Uploads"]:
        client.abort_multipart_upload(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])
    repository.upload_file(str(big_file), "big.bin")
    assert repository.holds("big.bin", str(big_file))
    client.close()


@pytest.mark.parametrize("size", [10, BIG])
def test_a_file_that_is_replaced_before_it_is_sent_is_not_kept(bucket: str, tmp_path: Path, size: int) -> None:
    """By another of the same size: what is sent is not what was measured, and that is tried again."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"a" * size)
    content = measured(str(file))
    file.write_bytes(b"b" * size)
    files, root = s3.opened(addresses.parsed(f"s3://{bucket}/x"))
    with pytest.raises(StoreUnavailableError, match="changed while it was sent"):
        files.write(content, f"{root}/file.bin", nothing)
    files.close()
    repository = RemoteRepository(f"s3://{bucket}/x")
    assert repository.list_artifacts() == []
    repository.upload_file(str(file), "file.bin")
    repository.download_file("file.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"b" * size
    repository.close()


def test_a_file_that_changes_while_its_parts_are_sent_is_not_kept(
    repository: RemoteRepository, big_file: Path, tmp_path: Path
) -> None:
    """In its last part, when the first has arrived; one that takes its name meanwhile does no harm."""
    last = 6 * (8 << 20) - 1
    os.truncate(big_file, last + 1)

    def change(_bytes: int) -> None:
        with big_file.open("r+b") as file:
            file.seek(last)
            file.write(b"x")

    def replace(_bytes: int) -> None:
        # Called by the threads of several parts at once.
        other = tmp_path / uuid.uuid4().hex
        other.write_bytes(b"other")
        os.replace(other, big_file)

    with pytest.raises(StoreUnavailableError, match="changed while it was sent"):
        repository.upload_file(str(big_file), "big.bin", on_bytes=change)
    assert repository.list_artifacts() == []
    sha256 = measured(str(big_file)).sha256
    repository.upload_file(str(big_file), "big.bin", on_bytes=replace)
    repository.download_file("big.bin", str(tmp_path / "back"))
    assert measured(str(tmp_path / "back")).sha256 == sha256


def test_a_file_that_is_replaced_is_not_kept_over_sftp(server: Mapping[str, str], user: str, tmp_path: Path) -> None:
    """Nor is what was sent of it taken for the beginning of anything."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"a" * 100_000)
    content = measured(str(file))
    file.write_bytes(b"b" * 100_000)
    files, root = sftp.opened(addresses.parsed(sftp_uri(server, user)))
    with pytest.raises(StoreUnavailableError, match="changed while it was sent"):
        files.write(content, f"{root}/file.bin", nothing)
    assert list(files.entries(root)) == []
    files.close()


def test_a_file_that_is_there_is_not_sent_again(
    proxied: tuple[RemoteRepository, FaultProxy], medium_file: Path
) -> None:
    """Where size and checksum say that it is the same; another of the same size is sent."""
    repository, proxy = proxied
    repository.upload_file(str(medium_file), "big.bin")
    proxy.seen.clear()
    repository.upload_file(str(medium_file), "big.bin")
    assert {each.method for each in proxy.seen} == {"HEAD"}
    content = bytearray(medium_file.read_bytes())
    content[MEDIUM // 2] ^= 1
    medium_file.write_bytes(content)
    repository.upload_file(str(medium_file), "big.bin")
    assert repository.holds("big.bin", str(medium_file))


def test_a_download_goes_on_where_it_stopped(
    proxied: tuple[RemoteRepository, FaultProxy], medium_file: Path, tmp_path: Path
) -> None:
    """Blocks that arrived are not fetched again; until it is whole there is no file of its name."""
    repository, proxy = proxied
    repository.upload_file(str(medium_file), "big.bin")
    proxy.seen.clear()
    passed = threading.Event()

    def refuse_the_rest(size: int) -> None:
        if size and not passed.is_set():
            passed.set()
            proxy.refuse()

    target = tmp_path / "to" / "big.bin"
    with pytest.raises(StoreUnavailableError):
        repository.download_file("big.bin", str(target), on_bytes=refuse_the_rest)
    assert not target.exists()
    (arrived,) = [each.stat().st_size for each in target.parent.iterdir()]
    proxy.heal()
    proxy.seen.clear()
    repository.download_file("big.bin", str(target))
    fetched = {int(each.headers["Range"][6:].partition("-")[0]) for each in proxy.seen if each.method == "GET"}
    assert 0 < arrived < MEDIUM
    assert fetched == set(range(arrived, MEDIUM, MEBIBYTE))
    assert target.read_bytes() == medium_file.read_bytes()
    assert [each.name for each in target.parent.iterdir()] == ["big.bin"]


def test_a_reply_that_breaks_off_leaves_nothing(proxied: tuple[RemoteRepository, FaultProxy], tmp_path: Path) -> None:
    """A small file is there whole or not at all, and comes with the next attempt."""
    repository, proxy = proxied
    source, target = tmp_path / "source", tmp_path / "to" / "target"
    source.write_bytes(b"x" * 100_000)
    repository.upload_file(str(source), "small.bin")
    proxy.cut_replies(path="small.bin")
    with pytest.raises(StoreUnavailableError):
        repository.download_file("small.bin", str(target))
    assert list(target.parent.iterdir()) == []
    proxy.heal()
    repository.download_file("small.bin", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_damage_is_found(repository: RemoteRepository, bucket: str, s3_server: str, tmp_path: Path) -> None:
    """An object whose bytes are not those of its checksum is not taken for the artifact, large or small."""
    client = boto3.client("s3", endpoint_url=s3_server)
    for size in (10, MEDIUM):
        client.put_object(
            Bucket=bucket, Key="1/run/artifacts/x", Body=b"y" * size, Metadata={"runcontext-sha256": "0" * 64}
        )
        with pytest.raises(StoreUnavailableError, match=r"did not arrive whole.*sha256"):
            repository.download_file("x", str(tmp_path / "to" / "x"))
        assert list((tmp_path / "to").iterdir()) == []
    client.close()


def test_what_others_have_put_there_is_checked_by_its_etag(
    repository: RemoteRepository, bucket: str, s3_server: str, tmp_path: Path
) -> None:
    """MLflow's own uploads have no checksum of ours; a plain upload's ETag is its MD5."""
    client = boto3.client("s3", endpoint_url=s3_server)
    client.put_object(Bucket=bucket, Key="1/run/artifacts/x", Body=b"content")
    client.close()
    (tmp_path / "same").write_bytes(b"content")
    (tmp_path / "other").write_bytes(b"contend")
    assert repository.holds("x", str(tmp_path / "same"))
    assert not repository.holds("x", str(tmp_path / "other"))
    repository.download_file("x", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"content"


def test_names_that_no_artifact_has_are_left_out(
    repository: RemoteRepository, bucket: str, s3_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bucket may hold any key: those that lead out of the root are not listed, and that is said."""
    client = boto3.client("s3", endpoint_url=s3_server)
    for key in ("ok.txt", "../../out.txt", "a//b.txt", "folder/", "./x"):
        client.put_object(Bucket=bucket, Key=f"1/run/artifacts/{key}", Body=b"")
    client.close()
    assert [each.path for each in repository.list_artifacts()] == ["a", "folder", "ok.txt"]
    assert repository.list_artifacts("a") == []
    assert repository.list_artifacts("folder") == []
    assert "run/artifacts lists '..', which is no artifact's name" in caplog.text


def test_a_file_and_a_folder_of_one_name_are_both_listed(
    repository: RemoteRepository, bucket: str, s3_server: str
) -> None:
    """As a bucket may have them; no file system can."""
    client = boto3.client("s3", endpoint_url=s3_server)
    for key in ("x", "x/y"):
        client.put_object(Bucket=bucket, Key=f"1/run/artifacts/{key}", Body=b"content")
    client.close()
    assert [(each.path, each.is_dir, each.size_bytes) for each in repository.list_artifacts()] == [
        ("x", False, 7),
        ("x", True, None),
    ]
    assert [each.path for each in repository.list_artifacts("x")] == ["x/y"]


def test_an_object_that_is_replaced_while_it_is_read_is_read_anew(
    repository: RemoteRepository, bucket: str, s3_server: str, medium_file: Path, tmp_path: Path
) -> None:
    """The attempt says that it was changed; the next one gives the new one whole, and nothing of the old."""
    repository.upload_file(str(medium_file), "big.bin")
    client = boto3.client("s3", endpoint_url=s3_server)
    new = b"y" * MEDIUM

    def replace(size: int) -> None:
        if size:
            client.put_object(Bucket=bucket, Key="1/run/artifacts/big.bin", Body=new)

    target = tmp_path / "to" / "big.bin"
    with pytest.raises(StoreUnavailableError, match="changed at the same time"):
        repository.download_file("big.bin", str(target), on_bytes=replace)
    repository.download_file("big.bin", str(target))
    assert target.read_bytes() == new
    assert os.listdir(target.parent) == ["big.bin"]
    client.close()


@pytest.mark.soak
def test_a_listing_of_many_pages_is_whole(repository: RemoteRepository, bucket: str, s3_server: str) -> None:
    """S3 gives 1,000 names at a time."""
    client = boto3.client("s3", endpoint_url=s3_server)
    with ThreadPoolExecutor(4) as pool:
        keys = [f"1/run/artifacts/{each:04}" for each in range(1_005)]
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    client.close()
    assert [each.path for each in repository.list_artifacts()] == [f"{each:04}" for each in range(1_005)]


def test_what_the_server_says_becomes_one_clear_error(
    proxied: tuple[RemoteRepository, FaultProxy], tmp_path: Path
) -> None:
    """Busy and broken servers may be asked again, denied requests not; each message names URI and artifact."""
    repository, proxy = proxied
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for status, error in ((403, StoreUnusableError), (500, StoreUnavailableError), (503, StoreUnavailableError)):
        proxy.answer(status, retry_after=7)
        with pytest.raises(StoreError, match=r"'a\.txt' in s3://.* cannot be uploaded") as caught:
            repository.upload_file(str(source), "a.txt")
        assert type(caught.value) is error
        assert getattr(caught.value, "retry_after_seconds", 7.0) == 7.0
        proxy.heal()
    proxy.refuse()
    with pytest.raises(StoreUnavailableError):
        repository.list_artifacts()


def test_a_bucket_that_is_not_there_is_named(s3_server: str, tmp_path: Path) -> None:
    """Neither writing nor listing takes it for an empty place."""
    assert s3_server
    missing = RemoteRepository("s3://no-such-bucket-here/artifacts")
    (tmp_path / "x").write_bytes(b"x")
    for call in (lambda: missing.upload_file(str(tmp_path / "x"), "x"), missing.list_artifacts):
        with pytest.raises(StoreUnusableError, match=r"s3://no-such-bucket-here/artifacts.*bucket does not exist"):
            call()
    missing.close()


def test_a_host_that_is_not_there_may_come_back(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is what a machine without a network sees."""
    assert s3_server
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://no-such-host.invalid:9")
    repository = RemoteRepository("s3://bucket/artifacts")
    with pytest.raises(StoreUnavailableError, match="s3://bucket/artifacts"):
        repository.list_artifacts()
    repository.close()


def test_mlflows_settings_of_s3_are_in_force(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint, addressing, TLS, what is added to each upload; one that cannot be used says so without showing it."""
    monkeypatch.setenv("MLFLOW_S3_IGNORE_TLS", "true")
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"StorageClass": "STANDARD_IA"}')
    monkeypatch.setenv("MLFLOW_S3_EXPECTED_BUCKET_OWNER", "123456789012")
    options = s3.storage_options(s3_server, "path")
    assert options["endpoint_url"] == s3_server
    assert options["client_kwargs"] == {"verify": False}
    assert options["config_kwargs"]["s3"] == {"addressing_style": "path"}
    assert options["s3_additional_kwargs"] == {"StorageClass": "STANDARD_IA", "ExpectedBucketOwner": "123456789012"}
    monkeypatch.setenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "sideways")
    with pytest.raises(StoreError, match=r"sideways.*auto, path, virtual"):
        RemoteRepository("s3://bucket/x").list_artifacts()
    monkeypatch.setenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "path")
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "SSECustomerKey=hidden")
    with pytest.raises(StoreError, match="MLFLOW_S3_UPLOAD_EXTRA_ARGS is no JSON object") as caught:
        RemoteRepository("s3://bucket/x").list_artifacts()
    assert "hidden" not in str(caught.value)


def test_what_is_added_to_each_upload_arrives(
    s3_server: str, bucket: str, big_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The storage class, metadata and type that MLFLOW_S3_UPLOAD_EXTRA_ARGS asks for, of files small and large."""
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"StorageClass": "STANDARD_IA", "Metadata": {"team": "a"}}')
    repository = RemoteRepository(f"s3://{bucket}")
    (tmp_path / "small.json").write_bytes(b"{}")
    repository.upload_file(str(tmp_path / "small.json"), "small.json")
    repository.upload_file(str(big_file), "big.bin")
    client = boto3.client("s3", endpoint_url=s3_server)
    for key in ("small.json", "big.bin"):
        found = client.head_object(Bucket=bucket, Key=key)
        assert found["StorageClass"] == "STANDARD_IA"
        assert sorted(found["Metadata"]) == ["runcontext-sha256", "team"]
    assert client.head_object(Bucket=bucket, Key="small.json")["ContentType"] == "application/json"
    repository.close()
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"ContentType": "text/x-own"}')
    repository = RemoteRepository(f"s3://{bucket}")
    repository.upload_file(str(tmp_path / "small.json"), "own.json")
    assert client.head_object(Bucket=bucket, Key="own.json")["ContentType"] == "text/x-own"
    client.close()
    repository.close()


def test_two_downloads_of_one_file_do_not_meet(repository: RemoteRepository, medium_file: Path, tmp_path: Path) -> None:
    """Both end with the whole file, and nothing beside it."""
    repository.upload_file(str(medium_file), "big.bin")
    target = tmp_path / "to" / "big.bin"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: repository.download_file("big.bin", str(target)), range(3)))
    assert target.read_bytes() == medium_file.read_bytes()
    assert os.listdir(target.parent) == ["big.bin"]


def test_a_server_that_nobody_vouches_for_is_refused(server: Mapping[str, str], user: str, tmp_path: Path) -> None:
    """Its key is in no known_hosts: the error says what to do, and the password was not sent."""
    (tmp_path / "home" / ".ssh" / "known_hosts").unlink()
    with pytest.raises(StoreUnusableError, match=r"ssh-rsa .* is not in ~/\.ssh/known_hosts .*ssh-keyscan") as caught:
        RemoteRepository(sftp_uri(server, user)).list_artifacts()
    assert PASSWORD not in str(caught.value)


def test_a_server_with_another_key_is_refused(server: Mapping[str, str], user: str, tmp_path: Path) -> None:
    """Somebody else may be answering; trying again does not help."""
    import paramiko

    other = paramiko.RSAKey.generate(2048)
    line = f"[127.0.0.1]:{server['port']} {other.get_name()} {other.get_base64()}\n"
    (tmp_path / "home" / ".ssh" / "known_hosts").write_text(line, encoding="ascii")
    with pytest.raises(StoreUnusableError, match="not who it should be"):
        RemoteRepository(sftp_uri(server, user)).list_artifacts()


def test_a_wrong_password_is_said_and_not_shown(server: Mapping[str, str], user: str) -> None:
    """The message names the URI without the password."""
    repository = RemoteRepository(sftp_uri(server, user, "wrong&secret"))
    with pytest.raises(StoreUnusableError, match=f"sftp://{user}:.*check the credentials") as caught:
        repository.list_artifacts()
    assert "wrong" not in str(caught.value) + repr(repository) + repository.uri


def test_an_upload_over_sftp_goes_on_where_it_stopped(
    server: Mapping[str, str], user: str, medium_file: Path, tmp_path: Path
) -> None:
    """The server cuts the connection, and then takes no more than what was missing."""
    cut = Path(server["root"]) / f"{user}.cut"
    cut.write_text(str(3 * MEBIBYTE), encoding="ascii")
    repository = RemoteRepository(sftp_uri(server, user))
    with pytest.raises(StoreUnavailableError):
        repository.upload_file(str(medium_file), "big.bin")
    assert repository.list_artifacts() == []
    cut.write_text(str(MEDIUM - 3 * MEBIBYTE + 65_536), encoding="ascii")
    repository.upload_file(str(medium_file), "big.bin")
    assert [each.path for each in repository.list_artifacts()] == ["big.bin"]
    repository.download_file("big.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == medium_file.read_bytes()
    repository.close()


@pytest.mark.parametrize("place", ["sftp", "disk"])
def test_what_an_upload_has_left_is_no_artifact(
    server: Mapping[str, str], user: str, place: str, tmp_path: Path
) -> None:
    """It is not listed, and removed once a file of that name has arrived; another name's may be still under way."""
    file_systems.registered()
    folder = Path(server["root"]) / user / "mlruns/1/run/artifacts" if place == "sftp" else tmp_path / "artifacts"
    uri = sftp_uri(server, user) if place == "sftp" else f"disk://{folder}"
    left = [temporary_name(name, "0" * 32) for name in ("a.bin", "b.bin")]
    folder.mkdir(parents=True)
    for each in left:
        (folder / each).touch()
    (tmp_path / "x").write_bytes(b"x")
    repository = RemoteRepository(uri)
    assert repository.list_artifacts() == []
    for name in ("a.bin", "c.bin"):
        repository.upload_file(str(tmp_path / "x"), name)
    assert [each.path for each in repository.list_artifacts()] == ["a.bin", "c.bin"]
    assert sorted(each.name for each in folder.iterdir()) == sorted([left[1], "a.bin", "c.bin"])
    repository.close()


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    """Also where only fsspec knows the scheme, if files can be renamed there: the old one stays until then."""
    file_systems.registered()
    (tmp_path / "x").write_bytes(b"new")
    content = measured(str(tmp_path / "x"))
    files, root = schemes.any_opened(addresses.parsed(f"disk://{tmp_path}/artifacts"))
    files.write(content, f"{root}/x", nothing)
    (tmp_path / "x").unlink()
    with pytest.raises(FileNotFoundError):
        files.write(content, f"{root}/x", nothing)
    assert os.listdir(root) == ["x"]
    assert (Path(root) / "x").read_bytes() == b"new"


def test_an_sftp_server_that_is_down_may_come_back(
    private_server: SftpServer, user: str, medium_file: Path, tmp_path: Path
) -> None:
    """Whether it goes before anything is connected or after: each call says to try again, and then works again."""
    repository = RemoteRepository(sftp_uri(private_server.found, user))
    for _ in range(2):
        private_server.kill()
        for call in (lambda: repository.upload_file(str(medium_file), "a.bin"), repository.list_artifacts):
            with pytest.raises(StoreUnavailableError, match=f"sftp://{user}:"):
                call()
        private_server.start()
        repository.upload_file(str(medium_file), "a.bin")
        repository.download_file("a.bin", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == medium_file.read_bytes()
    repository.close()


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_server_that_breaks_off_the_greeting_may_come_back(said: bytes) -> None:
    """As one does that is starting, or has too many connections already."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(said)

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(StoreUnavailableError, match="cannot be listed"):
            RemoteRepository(f"sftp://me@127.0.0.1:{listening.getsockname()[1]}/x").list_artifacts()


def test_ssh_config_says_how_to_connect(server: Mapping[str, str], user: str, tmp_path: Path) -> None:
    """A host of ~/.ssh/config stands for its name, port and user; a jump host, which cannot be, says how it can."""
    config = tmp_path / "home" / ".ssh" / "config"
    config.write_text(
        f"Host store\n  HostName 127.0.0.1\n  Port {server['port']}\n  User {user}\nHost far\n  ProxyJump near\n",
        encoding="ascii",
    )
    found = sftp.connection_options(addresses.parsed("sftp://store/x"))
    assert (found["hostname"], found["port"], found["username"]) == ("127.0.0.1", int(server["port"]), user)
    repository = RemoteRepository(f"sftp://:{quote(PASSWORD, safe='')}@store/x")
    assert repository.list_artifacts() == []
    repository.close()
    with pytest.raises(StoreError, match="ProxyCommand ssh -W %h:%p near"):
        RemoteRepository("sftp://far/x").list_artifacts()


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("s3:///key", "'' is no bucket"),
        ("s3://key:secret@bucket/x", "credentials in it"),
        ("oss://key:secret@bucket/x", "credentials in it"),
        ("s3://bucket:99/x", "it has the port 99"),
        ("b2://bucket@host:99/x", "it has the port 99"),
        ("s3://bucket/a/../b", "'..' or a NUL"),
        ("sftp://host:port/x", "'port' is no port"),
        ("sftp://me:the/secret@host/x", "to be written as %2F"),
        ("sftp://me:secret/the@host/x", "to be written as %2F"),
        ("sftp:///x", "no host"),
        ("nosuch://x/y", "no file system for 'nosuch'"),
        ("abfss://container@example.org/x", "no storage account"),
    ],
)
def test_a_malformed_uri_says_where(uri: str, problem: str) -> None:
    """And never shows a credential."""
    with pytest.raises(StoreError) as caught:
        schemes_of(uri)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", ["topsecret/word", "p@ss:word#topsecret", "a b%2Fc?topsecret", "topsecret"])
def test_a_password_arrives_and_is_never_shown(password: str) -> None:
    """Of a scheme that only fsspec knows (WebHDFS): as it was before it was percent-encoded, and not in any message."""
    heard: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_error(403, f"no entry with {password} or {quote(password)}")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"webhdfs://me:{quote(password, safe='')}@127.0.0.1:{server.server_port}/x"
        with pytest.raises(StoreError, match="cannot be listed") as caught:
            RemoteRepository(uri).list_artifacts()
        server.shutdown()
    assert base64.b64decode(heard[0].removeprefix("Basic ")).decode() == f"me:{password}"
    assert "secret" not in str(caught.value)


def test_an_address_of_ipv6_is_handed_on_whole() -> None:
    """In brackets, as every URI has it."""
    password = "hidden/word"  # noqa: S105 - of nobody
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        uri = f"webhdfs://me:{quote(password, safe='')}@[::1]:{taken.getsockname()[1]}/x"
        repository = RemoteRepository(uri)
        with pytest.raises(StoreUnavailableError, match="::1") as caught:
            repository.list_artifacts()
    shown = str(caught.value) + str(caught.value.__cause__)
    assert [each for each in ("hidden", "word") if each in shown] == []


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    """Each scheme's own."""
    for uri, library, extra in (
        ("gs://b/x", "gcsfs", "gs"),
        ("az://c/x", "adlfs", "azure"),
        ("hdfs://h/x", "", "hdfs"),
    ):
        library = library or "pyarrow"  # noqa: PLW2901 - the package of the extra's name
        if importlib.util.find_spec(library) is not None:
            continue
        with pytest.raises(StoreError, match=rf"{uri} need {library}.*pip install 'runcontext\[{extra}\]'"):
            RemoteRepository(uri).list_artifacts()


def test_azure_and_hadoop_are_asked_as_their_uris_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """What their file systems are given; neither service is run here."""
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", "key")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY", raising=False)
    monkeypatch.setenv("MLFLOW_KERBEROS_USER", "ada")
    address = addresses.parsed("abfss://container@account.dfs.core.windows.net/a/b")
    assert schemes.azure_options(address) == {
        "use_listings_cache": False,
        "account_key": "key",
        "account_name": "account",
    }
    china = schemes.azure_options(addresses.parsed("wasbs://container@account.blob.core.chinacloudapi.cn/a"))
    assert china["account_host"] == "account.blob.core.chinacloudapi.cn"
    assert schemes.hadoop_options(addresses.parsed("hdfs://name:8020/x")) == {
        "host": "hdfs://name",
        "port": 8020,
        "user": "ada",
    }
    assert schemes.hadoop_options(addresses.parsed("viewfs:///x"))["host"] == "default"


def test_r2_and_b2_are_s3_at_their_own_endpoints(s3_server: str) -> None:
    """MLflow's form of URI: the bucket before the @, the endpoint's host after it."""
    assert s3_server
    files, path = s3.opened_at_host(addresses.parsed("r2://bucket@account.r2.cloudflarestorage.com/a/b"))
    assert path == "bucket/a/b"
    assert files.name == "https://account.r2.cloudflarestorage.com/bucket"
    files, _ = s3.opened_at_host(addresses.parsed("b2://bucket@s3.us-west-004.backblazeb2.com/a"))
    assert files.name == "https://s3.us-west-004.backblazeb2.com/bucket"


def test_a_name_that_the_library_would_take_apart_is_refused() -> None:
    """Google's library takes what follows a # for a generation, Azure's what follows a ? for a version."""
    with pytest.raises(StoreError, match=r"'a#1\.txt' has '#' in it"):
        RemoteRepository("gs://bucket/x").download_file("a#1.txt", "never-written")


class _Named(Exception):  # noqa: N818 - stands for those of libraries that are not here
    pass


def _named(name: str, base: type[BaseException] = _Named, **attributes: Any) -> BaseException:
    error: BaseException = type(name, (base,), attributes)("text")
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (FileNotFoundError("x"), Meaning.MISSING),
        (PermissionError("x"), Meaning.DENIED),
        (OSError(errno.EBUSY, "SlowDown"), Meaning.UNAVAILABLE),
        (OSError(errno.EINVAL, "x"), Meaning.OTHER),
        (OSError("Socket is closed"), Meaning.UNAVAILABLE),
        (ConnectionResetError(), Meaning.UNAVAILABLE),
        (EOFError(), Meaning.UNAVAILABLE),
        (ssl.SSLCertVerificationError(), Meaning.UNTRUSTED),
        (paramiko_error.NoValidConnectionsError({("h", 22): OSError()}), Meaning.UNAVAILABLE),
        (paramiko_error.SSHException("Error reading SSH protocol banner"), Meaning.UNAVAILABLE),
        (paramiko_error.SSHException("No authentication methods available"), Meaning.DENIED),
        (paramiko_error.AuthenticationException("Authentication failed."), Meaning.DENIED),
        (paramiko_error.BadAuthenticationType("no", ["publickey"]), Meaning.DENIED),
        (paramiko_error.AuthenticationException("Authentication timeout."), Meaning.UNAVAILABLE),
        (
            paramiko_error.AuthenticationException("Authentication failed: transport shut down or saw EOF"),
            Meaning.UNAVAILABLE,
        ),
        (paramiko_error.IncompatiblePeer("no acceptable ciphers"), Meaning.OTHER),
        (OSError(errno.EHOSTDOWN, "x"), Meaning.UNAVAILABLE),
        (_named("NoCredentialsError"), Meaning.DENIED),
        (_named("ServerError", status=503), Meaning.UNAVAILABLE),
        (_named("ServerError", status=403), Meaning.DENIED),
        (_named("HttpResponseError", status_code=429), Meaning.UNAVAILABLE),
        (_named("HttpError", code=404), Meaning.MISSING),
        (ValueError("x"), Meaning.OTHER),
    ],
)
def test_a_failure_is_known_without_its_library(error: BaseException, meaning: Meaning) -> None:
    """By class, name, errno or HTTP status."""
    assert failures.meaning_of(error) is meaning


def test_a_certificate_among_the_causes_decides() -> None:
    """What a library makes of it is often a lost connection, which trying again would not mend."""
    error = ConnectionError()
    error.__cause__ = ssl.SSLCertVerificationError()
    assert failures.meaning_of(error) is Meaning.UNTRUSTED


def schemes_of(uri: str) -> None:
    """Use a repository as far as its URI allows."""
    address = addresses.parsed(uri)
    if address.scheme == "abfss":
        schemes.azure_options(address)
    RemoteRepository(uri).list_artifacts()


def proxy_saw(proxy: FaultProxy, query: str) -> bool:
    """Say whether a request with this in its path was passed on."""
    return any(query in each.path and each.kind.name == "PASS" for each in proxy.seen)
