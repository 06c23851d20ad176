"""An SFTP server on loopback: paramiko's server side over a folder, each user in a folder of its own.

A program: ``sftp_server.py PORT ROOT HOST_KEY PASSWORD``. A file USER.cut beside a user's folder holds how many bytes
more may be written before the server drops that user's connection, once.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

import paramiko


class Server(paramiko.ServerInterface):
    """Lets in who knows the password; remembers who it is."""

    def __init__(self, password: str) -> None:
        """Know nobody yet."""
        self.password = password
        self.user = ""

    def check_auth_password(self, username: str, password: str) -> int:
        self.user = username
        return paramiko.AUTH_SUCCESSFUL if password == self.password else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - paramiko's signature
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002 - as above
        return paramiko.OPEN_SUCCEEDED


class Handle(paramiko.SFTPHandle):
    """An open file, which may cut its user's connection."""

    def __init__(self, flags: int, files: Files) -> None:
        """Remember whose it is."""
        super().__init__(flags)
        self.files = files

    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def chattr(self, attr: Any) -> int:
        os.ftruncate(self.writefile.fileno(), attr.st_size)
        return paramiko.SFTP_OK

    def write(self, offset: int, data: bytes) -> int:
        if self.files.cuts(len(data)):
            return paramiko.SFTP_CONNECTION_LOST
        self.writefile.seek(offset)
        self.writefile.write(data)
        self.writefile.flush()
        return paramiko.SFTP_OK


class Files(paramiko.SFTPServerInterface):
    """A user's folder."""

    def __init__(self, server: Server, root: str, transport: paramiko.Transport) -> None:
        """Make the folder."""
        super().__init__(server)
        self.root = os.path.join(root, server.user)
        self.cut = f"{self.root}.cut"
        self.transport = transport
        self.is_cut = False
        os.makedirs(self.root, exist_ok=True)

    def cuts(self, size: int) -> bool:
        """Say whether these bytes are too many."""
        try:
            with open(self.cut, encoding="ascii") as file:
                left = int(file.read()) - size
        except FileNotFoundError:
            return self.is_cut
        if left >= 0:
            with open(self.cut, "w", encoding="ascii") as file:
                file.write(str(left))
            return False
        os.unlink(self.cut)
        self.is_cut = True
        self.transport.close()
        return True

    def _real(self, path: str) -> str:
        return self.root + self.canonicalize(path)

    def list_folder(self, path: str) -> Any:
        try:
            found = []
            for name in os.listdir(self._real(path)):
                attributes = paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(self._real(path), name)))
                attributes.filename = name
                found.append(attributes)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return found

    def stat(self, path: str) -> Any:
        return self._tried(lambda: paramiko.SFTPAttributes.from_stat(os.stat(self._real(path))))

    def lstat(self, path: str) -> Any:
        return self._tried(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(self._real(path))))

    def open(self, path: str, flags: int, attr: Any) -> Any:  # noqa: ARG002 - paramiko's signature
        def opened() -> Handle:
            writes = flags & (os.O_WRONLY | os.O_RDWR)
            wanted = flags & ~os.O_WRONLY | os.O_RDWR if writes else flags
            made = Handle(flags, self)
            descriptor = os.open(self._real(path), wanted, 0o666)
            made.readfile = made.writefile = os.fdopen(descriptor, "r+b" if writes else "rb")
            return made

        return self._tried(opened)

    def mkdir(self, path: str, attr: Any) -> Any:  # noqa: ARG002 - as above
        return self._tried(lambda: os.mkdir(self._real(path)))

    def remove(self, path: str) -> Any:
        return self._tried(lambda: os.unlink(self._real(path)))

    def rename(self, oldpath: str, newpath: str) -> Any:
        if os.path.exists(self._real(newpath)):
            return paramiko.SFTP_FAILURE
        return self._tried(lambda: os.rename(self._real(oldpath), self._real(newpath)))

    def chattr(self, path: str, attr: Any) -> Any:
        return self._tried(lambda: paramiko.SFTPServer.set_file_attr(self._real(path), attr))

    def posix_rename(self, oldpath: str, newpath: str) -> Any:
        return self._tried(lambda: os.replace(self._real(oldpath), self._real(newpath)))

    @staticmethod
    def _tried(call: Any) -> Any:
        try:
            done = call()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return paramiko.SFTP_OK if done is None else done


def serve(connection: socket.socket, root: str, key: paramiko.PKey, password: str) -> None:
    """Serve one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(connection)
    transport.add_server_key(key)
    server = Server(password)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files, root, transport)
    try:
        transport.start_server(server=server)
    except (paramiko.SSHException, EOFError, OSError):
        transport.close()


def main(port: str, root: str, key_file: str, password: str) -> None:
    """Serve until killed."""
    key = paramiko.RSAKey.from_private_key_file(key_file)
    with socket.create_server(("127.0.0.1", int(port))) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection, root, key, password), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
