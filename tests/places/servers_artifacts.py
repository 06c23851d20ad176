"""Servers of artifacts on loopback: moto's S3, an SFTP server, and one that speaks OSS's protocol."""

from __future__ import annotations

import importlib.util
import socket
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.places import servers_kept
from tests.places.servers_kept import CannotStartError, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_START_SECONDS = 60.0
_HERE = Path(__file__).parent
PASSWORD = "p@ss/w0rd-of-the-tests"  # noqa: S105 - of a server on loopback that ends with the tests


def s3_url(session: Session) -> str:
    """Give the URL of moto's S3 server, shared by all tests of the session."""
    return _shared(session, "moto", "moto", lambda port, _: ["-m", "moto.server", "-H", "127.0.0.1", "-p", port])["url"]


def oss_url(session: Session) -> str:
    """Give the URL of the server that speaks OSS's protocol, shared by all tests of the session."""
    return _shared(session, "oss", "oss2", lambda port, _: [str(_HERE / "oss_server.py"), port])["url"]


def sftp_server(session: Session) -> Mapping[str, str]:
    """Give an SFTP server's port, the root of its users' folders, and the line of known_hosts that vouches for it."""
    found = _shared(session, "sftp", "paramiko", _sftp_prepared)
    return _sftp_described(found["url"].rpartition(":")[2], Path(found["folder"]))


class SftpServer:
    """An SFTP server of one test's own, which may be killed and started again; ``found`` is as ``sftp_server`` says."""

    def __init__(self, session: Session, folder: Path) -> None:
        """Start it in a folder of its own, which is made."""
        folder.mkdir()
        port = str(servers_kept.free_port())
        self._session, self._folder = session, folder
        self._command = _sftp_prepared(port, folder)
        self.found = _sftp_described(port, folder)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = servers_kept.start(self._session, [sys.executable, *self._command], self._folder)
        port = int(self.found["port"])
        servers_kept.wait_until_up(self._process, lambda: _listens(port), self._folder, _START_SECONDS)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        servers_kept.kill(self._process.pid)
        self._process.wait()


def _sftp_prepared(port: str, folder: Path) -> list[str]:
    import paramiko

    key = paramiko.RSAKey.generate(2048)
    key.write_private_key_file(str(folder / "key"))
    (folder / "root").mkdir()
    line = f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
    (folder / "known_hosts").write_text(line, encoding="ascii")
    return [str(_HERE / "sftp_server.py"), port, str(folder / "root"), str(folder / "key"), PASSWORD]


def _sftp_described(port: str, folder: Path) -> Mapping[str, str]:
    known = (folder / "known_hosts").read_text(encoding="ascii")
    return {"port": port, "root": str(folder / "root"), "known_hosts": known}


def fresh_bucket(url: str, authorization: str | None = None) -> str:
    """Make an empty bucket by the request that S3 and the tests' OSS have in common, and give its name."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"{url}/{name}", method="PUT")  # noqa: S310 - loopback
    if authorization is not None:
        request.add_header("Authorization", authorization)
    with urllib.request.urlopen(request, timeout=_START_SECONDS):  # noqa: S310 - loopback
        return name


def _shared(
    session: Session, name: str, package: str, command: Callable[[str, Path], Sequence[str]]
) -> Mapping[str, Any]:
    def make() -> Mapping[str, Any]:
        if importlib.util.find_spec(package) is None:
            message = f"{package} is not installed"
            raise CannotStartError(message)
        port = servers_kept.free_port()
        folder = session.folder / name
        folder.mkdir()
        process = servers_kept.start(session, [sys.executable, *command(str(port), folder)], folder)
        servers_kept.wait_until_up(process, lambda: _listens(port), folder, _START_SECONDS)
        servers_kept.let_run(process)
        return {"url": f"http://127.0.0.1:{port}", "folder": str(folder)}

    try:
        return session.share(name, make)
    except CannotStartError as error:
        pytest.skip(str(error))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
