"""Files over SSH, through paramiko.

Not through fsspec's own: it takes any server's key for the right one, and one connection of it cannot serve several
threads. Here a server must be known, as ``ssh`` itself asks: its key is in ~/.ssh/known_hosts or
/etc/ssh/ssh_known_hosts. ~/.ssh/config is read for HostName, User, Port, IdentityFile, UserKnownHostsFile and
ProxyCommand (ssh_config(5)).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Any

import paramiko

from runcontext.artifacts.addresses import Address
from runcontext.artifacts.content import Content, reading
from runcontext.artifacts.files import Entry, FileState, Leftovers, is_temporary, temporary_name
from runcontext.errors import StoreError

_PORT = 22
_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 32 << 10
"""How much a packet holds: what every server takes (draft-ietf-secsh-filexfer-02, section 3)."""

_READ_BACK_BYTES = 4 << 20
_SYSTEM_HOST_KEYS = "/etc/ssh/ssh_known_hosts"


class SftpFiles:
    """The files of one server, over one connection, which serves one thread at a time."""

    def __init__(self, client: paramiko.SSHClient) -> None:
        """Open a channel on a connected client."""
        self._client = client
        self._sftp: Any = client.open_sftp()
        self._sftp.get_channel().settimeout(_TIMEOUT_SECONDS)
        self._leftovers = Leftovers(self._sftp.listdir, self._sftp.remove)

    def state(self, path: str) -> FileState:
        """Describe a file, as ``Files`` says."""
        found = self._sftp.stat(path)
        if stat.S_ISDIR(found.st_mode or 0):
            raise IsADirectoryError(path)
        return FileState(int(found.st_size), f"{found.st_size} {found.st_mtime}", None)

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder, as ``Files`` says; a link counts as what it leads to."""
        try:
            if not stat.S_ISDIR(self._sftp.stat(folder).st_mode or 0):
                return
        except FileNotFoundError:
            return
        for found in self._sftp.listdir_attr(folder):
            if is_temporary(found.filename):
                continue
            attributes = found
            if stat.S_ISLNK(found.st_mode or 0):
                with contextlib.suppress(FileNotFoundError):
                    attributes = self._sftp.stat(f"{folder}/{found.filename}")
            is_dir = stat.S_ISDIR(attributes.st_mode or 0)
            yield Entry(found.filename, is_dir, None if is_dir else attributes.st_size)

    def read(self, path: str, start: int, end: int, version: str) -> bytes:  # noqa: ARG002 - the protocol has none
        """Give some bytes, as ``Files`` says: all packets are asked for at once, not one after the other."""
        packets = [(begin, min(_CHUNK_BYTES, end - begin)) for begin in range(start, end, _CHUNK_BYTES)]
        with self._sftp.open(path, "rb") as file:
            return b"".join(file.readv(packets))

    def write(self, content: Content, path: str, sent: Callable[[int], None]) -> None:
        """Keep a file, as ``Files`` says: under a temporary name, and from where an earlier attempt stopped.

        That name is the content's and the path's own, so two who send it at once write the same bytes.
        """
        folder, _, name = path.rpartition("/")
        self._make_folders(folder)
        temporary = f"{folder}/{temporary_name(name, content.sha256[:32])}"
        try:
            self._append(content, temporary, sent)
        except ConnectionError:
            raise
        except (OSError, StoreError):
            # A server that refuses one packet may have taken the next: what is there has a hole, or is of another file.
            with contextlib.suppress(OSError, EOFError):
                self._sftp.remove(temporary)
            raise
        self._rename(temporary, path, content.size)
        self._leftovers.remove_of(folder, name)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _append(self, content: Content, temporary: str, sent: Callable[[int], None]) -> None:
        there = self._arrived(content, temporary)
        sent(there)
        with self._sftp.open(temporary, "r+b" if there else "wb") as target, reading(content) as source:
            target.truncate(there)
            target.seek(there)
            source.skip(there)
            arrived = there
            while chunk := source.read(_CHUNK_BYTES):
                arrived += len(chunk)
                # The last one waits for what the server says to all of them: paramiko's close() does not.
                target.set_pipelined(arrived < content.size)
                target.write(chunk)
                sent(len(chunk))
            source.check()

    def _arrived(self, content: Content, temporary: str) -> int:
        """Give how many bytes of an earlier attempt are what they should be: read back, as nobody vouches for them."""
        try:
            there = min(int(self._sftp.stat(temporary).st_size), content.size)
        except FileNotFoundError:
            return 0
        with open(content.path, "rb") as source:
            for begin in range(0, there, _READ_BACK_BYTES):
                end = min(begin + _READ_BACK_BYTES, there)
                if self.read(temporary, begin, end, "") != source.read(end - begin):
                    return begin
        return there

    def _rename(self, temporary: str, path: str, size: int) -> None:
        try:
            if int(self._sftp.stat(temporary).st_size) != size:
                self._sftp.remove(temporary)
                message = f"{temporary} did not arrive whole; connection lost"
                raise ConnectionError(message)
            self._replace(temporary, path)
        except FileNotFoundError as error:
            # Somebody who sent the same content at the same time has renamed it; or another, and removed it.
            if int(self._sftp.stat(path).st_size) != size:
                message = f"{temporary} is gone: another {path} was sent at the same time"
                raise ConnectionError(message) from error

    def _replace(self, temporary: str, path: str) -> None:
        try:
            self._sftp.posix_rename(temporary, path)
        except FileNotFoundError:
            raise
        except OSError:
            # Not every server has that extension of OpenSSH's, and the protocol's own never replaces a file.
            with contextlib.suppress(FileNotFoundError):
                self._sftp.remove(path)
            self._sftp.rename(temporary, path)

    def _make_folders(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._sftp.stat(folder)
            return
        parent = folder.rpartition("/")[0]
        if parent:
            self._make_folders(parent)
        try:
            self._sftp.mkdir(folder)
        except OSError:
            # Another connection may have made it in between; if none has, this says what is wrong.
            self._sftp.stat(folder)


def opened(address: Address) -> tuple[SftpFiles, str]:
    """Connect to the server of an ``sftp://USER:PASSWORD@HOST:PORT/PATH`` URI; give its files and the root's path.

    Raises:
        StoreError: the server's key is not known, or the URI names no host.
    """
    if not address.host:
        message = f"artifact URI {address.shown} is malformed: it has no host; sftp://USER@HOST/PATH is expected"
        raise StoreError(message)
    options = connection_options(address)
    client = paramiko.SSHClient()
    for file in (_SYSTEM_HOST_KEYS, *options.pop("known_hosts")):
        with contextlib.suppress(FileNotFoundError):
            client.load_system_host_keys(file)
    client.set_missing_host_key_policy(_Unknown(address.shown))
    try:
        client.connect(**options)
        _send_at_once(client)
        return SftpFiles(client), address.path
    except BaseException:
        client.close()
        raise


def connection_options(address: Address) -> dict[str, Any]:
    """Give the arguments of ``SSHClient.connect`` and the files of known hosts, which the URI and ~/.ssh/config say.

    Raises:
        StoreError: the configuration wants a jump host, which paramiko has not.
    """
    config = paramiko.SSHConfig()
    with contextlib.suppress(FileNotFoundError):
        config = paramiko.SSHConfig.from_path(os.path.expanduser("~/.ssh/config"))
    found = config.lookup(address.host)
    if found.get("proxyjump", "none") != "none" and "proxycommand" not in found:
        message = (
            f"~/.ssh/config has ProxyJump for {address.host}, which is not supported for {address.shown}: write it as "
            f"ProxyCommand ssh -W %h:%p {found['proxyjump']}"
        )
        raise StoreError(message)
    command = found.get("proxycommand", "none")
    listed = found.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    return {
        "hostname": found.get("hostname", address.host),
        "port": address.port or int(found.get("port", _PORT)),
        "username": address.user or found.get("user"),
        "password": address.password,
        "key_filename": found.get("identityfile"),
        "sock": None if command == "none" else paramiko.ProxyCommand(command),
        "timeout": _TIMEOUT_SECONDS,
        "banner_timeout": _TIMEOUT_SECONDS,
        "auth_timeout": _TIMEOUT_SECONDS,
        "known_hosts": [os.path.expanduser(each) for each in listed],
    }


def _send_at_once(client: paramiko.SSHClient) -> None:
    """Keep the kernel from holding small packets back: whenever answers overtake requests, paramiko asks one by one."""
    transport: Any = client.get_transport()
    with contextlib.suppress(OSError, AttributeError):
        # What goes through a ProxyCommand has no such option.
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Unknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc] # paramiko has no types
    """Refuses a server whose key nobody has vouched for."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002 - paramiko's signature
        message = (
            f"artifacts at {self._shown}: the server's key ({key.get_name()} {key.fingerprint}) is not in "
            f"~/.ssh/known_hosts under {hostname}; connect once with ssh, which asks for it, or add the line that "
            "ssh-keyscan gives after comparing its fingerprint with the server's"
        )
        raise StoreError(message)
