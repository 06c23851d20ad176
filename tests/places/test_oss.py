"""Artifacts on OSS: against a server on loopback that speaks its protocol and checks every signature."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from tests.places import servers_artifacts
from tests.places.oss_server import KEY_ID, KEY_SECRET

from runcontext.artifacts import addresses, oss
from runcontext.artifacts.content import measured
from runcontext.artifacts.progress import nothing
from runcontext.artifacts.remote import RemoteRepository
from runcontext.errors import StoreError, StoreUnavailableError
from runcontext.testing.artifacts import ArtifactRepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.places.faults import FaultProxy
    from tests.places.servers_kept import Session

MEBIBYTE = 1 << 20
BIG = 17 * MEBIBYTE
"""Three parts of an upload."""


@pytest.fixture
def server(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the server's URL, and set the variables that aliyunstoreplugin reads."""
    url = servers_artifacts.oss_url(session)
    for name in [each for each in os.environ if each.startswith(("OSS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_OSS_ENDPOINT_URL", url)
    monkeypatch.setenv("MLFLOW_OSS_KEY_ID", KEY_ID)
    monkeypatch.setenv("MLFLOW_OSS_KEY_SECRET", KEY_SECRET)
    monkeypatch.setenv("RUNCONTEXT_CACHE_DIR", str(tmp_path / "cache"))
    return url


@pytest.fixture
def repository(server: str) -> Iterator[RemoteRepository]:
    """Give an empty repository in a bucket of its own."""
    bucket = servers_artifacts.fresh_bucket(server)
    found = RemoteRepository(f"oss://{bucket}/1/run/artifacts", block_bytes=MEBIBYTE)
    yield found
    found.close()


class TestOss(ArtifactRepositoryContract):
    """OSS keeps the contract; its listings come in pages of three."""

    secrets = (KEY_SECRET,)


def test_an_upload_goes_on_where_it_stopped(
    server: str,
    repository: RemoteRepository,
    fault_proxy: Callable[[str], FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Parts that arrived are not sent again."""
    file = tmp_path / "big.bin"
    file.write_bytes(random.Random(0).randbytes(BIG))
    proxy = fault_proxy(server)
    monkeypatch.setenv("MLFLOW_OSS_ENDPOINT_URL", proxy.url)
    through = RemoteRepository(repository.uri)
    proxy.answer(503, path="partNumber=3")
    with pytest.raises(StoreUnavailableError, match=r"'big\.bin' in oss://"):
        through.upload_file(str(file), "big.bin")
    proxy.heal()
    sent = [each.path for each in proxy.seen if each.kind.name == "PASS" and "partNumber" in each.path]
    proxy.seen.clear()
    through.upload_file(str(file), "big.bin")
    again = [each.path for each in proxy.seen if "partNumber" in each.path]
    assert len(sent) + len(again) == 3
    repository.download_file("big.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    proxy.seen.clear()
    through.upload_file(str(file), "big.bin")
    assert [each.method for each in proxy.seen] == ["HEAD"]
    through.close()


@pytest.mark.parametrize("size", [10, 17 << 20])
def test_a_file_that_is_replaced_before_it_is_sent_is_not_kept(
    repository: RemoteRepository, tmp_path: Path, size: int
) -> None:
    """By another of the same size: what is sent is not what was measured."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"a" * size)
    content = measured(str(file))
    file.write_bytes(b"b" * size)
    files, root = oss.opened(addresses.parsed(repository.uri))
    with pytest.raises(StoreUnavailableError, match="changed while it was sent"):
        files.write(content, f"{root}/file.bin", nothing)
    files.close()
    assert repository.list_artifacts() == []


def test_a_download_goes_on_where_it_stopped(
    server: str,
    repository: RemoteRepository,
    fault_proxy: Callable[[str], FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A reply that breaks off costs its block, and no more."""
    file, target = tmp_path / "file.bin", tmp_path / "to" / "file.bin"
    file.write_bytes(random.Random(1).randbytes(6 * MEBIBYTE))
    repository.upload_file(str(file), "file.bin")
    proxy = fault_proxy(server)
    monkeypatch.setenv("MLFLOW_OSS_ENDPOINT_URL", proxy.url)
    through = RemoteRepository(repository.uri, block_bytes=MEBIBYTE)

    def cut_the_rest(size: int) -> None:
        if size:
            proxy.cut_replies(path="file.bin")

    with pytest.raises(StoreUnavailableError):
        through.download_file("file.bin", str(target), on_bytes=cut_the_rest)
    (arrived,) = [each.stat().st_size for each in target.parent.iterdir()]
    proxy.heal()
    proxy.seen.clear()
    through.download_file("file.bin", str(target))
    fetched = {int(each.headers["range"][6:].partition("-")[0]) for each in proxy.seen if each.method == "GET"}
    assert 0 < arrived < 6 * MEBIBYTE
    assert fetched == set(range(arrived, 6 * MEBIBYTE, MEBIBYTE))
    assert target.read_bytes() == file.read_bytes()
    through.close()


def test_each_variable_is_asked_for(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not set is named; nothing is sent unsigned instead."""
    assert server
    for name in ("MLFLOW_OSS_ENDPOINT_URL", "MLFLOW_OSS_KEY_ID", "MLFLOW_OSS_KEY_SECRET"):
        with monkeypatch.context() as without:
            without.delenv(name)
            with pytest.raises(StoreError, match=rf"oss://bucket/x need {name} in the environment"):
                RemoteRepository("oss://bucket/x").list_artifacts()


def test_a_wrong_key_is_said_and_not_shown(repository: RemoteRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own words, without what it was sent."""
    monkeypatch.setenv("MLFLOW_OSS_KEY_SECRET", "wrong-and-hidden")
    other = RemoteRepository(repository.uri)
    with pytest.raises(StoreError, match=r"SignatureDoesNotMatch.*check the credentials") as caught:
        other.list_artifacts()
    assert not isinstance(caught.value, StoreUnavailableError)
    assert "hidden" not in str(caught.value)
    other.close()


def test_a_bucket_that_is_not_there_is_no_empty_place(server: str, tmp_path: Path) -> None:
    """It is said, when listing and when writing."""
    assert server
    (tmp_path / "x").write_bytes(b"x")
    missing = RemoteRepository("oss://no-such-bucket/x")
    for call in (missing.list_artifacts, lambda: missing.upload_file(str(tmp_path / "x"), "x")):
        with pytest.raises(StoreError, match="NoSuchBucket"):
            call()
    missing.close()
