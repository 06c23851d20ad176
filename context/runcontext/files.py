"""Files that are whole or not there."""

from __future__ import annotations

import os

from runcontext import descriptors

_LAST_STANDARD_STREAM = 2
_CHUNK_BYTES = 1024 * 1024
_SPARSE_CHUNK_BYTES = 64 * 1024
_FICLONE = 0x40049409
"""Share the other file's blocks until either is written (linux/fs.h, FICLONE; ioctl_ficlone(2))."""

_WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_TEMPORARY = (".runcontext-", ".tmp")
"""How the name of a file begins and ends that is not whole yet; what is between is of one writer alone."""

_RANDOM_BYTES = 8
_BLOCK_BYTES = 512
"""What ``st_blocks`` counts (stat(3type))."""


def replace_file(path: str, content: bytes) -> None:
    """Write a file whole or not at all, making its folder where it is missing; raises OSError.

    It has a temporary name of this writer's own until it is whole, so that any number of them may write it at once.
    """
    temporary = _temporary(path)
    try:
        descriptor = os.open(temporary, _WRITING, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(temporary, _WRITING, 0o666)
    try:
        if descriptor <= _LAST_STANDARD_STREAM:
            # The program has closed that stream, and may still write to its number.
            descriptor = descriptors.moved_up(descriptor)
        _write_all(descriptor, content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_all(descriptor: int, content: bytes) -> None:
    try:
        _write(descriptor, content)
    finally:
        os.close(descriptor)


def copy_file(source: str, target: str) -> None:
    """Copy a file with its times and permissions, whole or not at all, making the folder where it is missing.

    Where the file system can, the copy is a reflink: at once, and without room of its own until one of the two is
    written. The holes of a sparse file stay holes. Raises OSError.
    """
    # 3 ms, and only for who copies.
    import shutil

    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = _temporary(target)
    try:
        copy_content(source, temporary)
        shutil.copystat(source, temporary)
        os.replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise


def copy_content(source: str, target: str) -> None:
    """Write what is in one file into another, which nobody else reads before it is whole; raises OSError."""
    reader = descriptors.moved_up(
        os.open(source, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    )
    try:
        # What only its owner may read is not to be read by others meanwhile.
        writer = descriptors.moved_up(os.open(target, _WRITING, 0o600))
        try:
            if not _clone(reader, writer):
                _copy_data(reader, writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def is_temporary(name: str) -> bool:
    """Say whether a file has the name of one of ours that is not whole yet."""
    beginning, ending = _TEMPORARY
    length = len(beginning) + 2 * _RANDOM_BYTES + len(ending)
    return name.startswith(beginning) and name.endswith(ending) and len(name) == length


def _temporary(path: str) -> str:
    """Name a file beside ``path``, of no other writer's, however long the name of ``path`` may be."""
    beginning, ending = _TEMPORARY
    return os.path.join(os.path.dirname(path), f"{beginning}{os.urandom(_RANDOM_BYTES).hex()}{ending}")


def _clone(reader: int, writer: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(writer, _FICLONE, reader)
    except (ImportError, OSError):
        # Another file system, or one that cannot; most cannot.
        return False
    return True


def _copy_data(reader: int, writer: int) -> None:
    found = os.fstat(reader)
    is_sparse = getattr(found, "st_blocks", found.st_size) * _BLOCK_BYTES < found.st_size
    size = _SPARSE_CHUNK_BYTES if is_sparse else _CHUNK_BYTES
    zeros = bytes(_SPARSE_CHUNK_BYTES)
    for chunk in iter(lambda: os.read(reader, size), b""):
        # What reads as zeros is known here; where a file system says that its holes are has been wrong (OpenZFS 15526).
        if is_sparse and chunk == zeros[: len(chunk)]:
            os.lseek(writer, len(chunk), os.SEEK_CUR)
        else:
            _write(writer, chunk)
    if is_sparse:
        os.ftruncate(writer, os.lseek(writer, 0, os.SEEK_CUR))


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
