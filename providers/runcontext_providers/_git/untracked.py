"""What lies in a work tree without being tracked: a description from which small text files can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from runcontext import Attachment
from runcontext.redaction import redact_text
from runcontext_providers._git.files import LARGE_BYTES, open_file
from runcontext_providers._git.secrets import (
    in_short,
    is_named_like_a_secret,
    lines_in_words,
    redacted_lines,
    shown,
)

SCHEMA = 1
MOST_FILES = 10_000
MOST_TEXT_BYTES = 64 << 10
"""A larger file's text is not kept."""

MOST_TEXT_IN_ALL_BYTES = 1 << 20
_MOST_HASHED_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20


def describe_untracked(name: str, root: str, paths: tuple[str, ...]) -> Attachment:
    """Make the attachment called ``name`` of the files at ``paths`` below ``root``; a repository's ends in a slash.

    Secrets in text are replaced, and files named like secrets are described without their text.
    """
    describer = _Describer(root)
    files = [describer.describe(path) for path in paths[:MOST_FILES]]
    most = [f"the first {MOST_FILES:,} of {len(paths):,} files"] if len(paths) > MOST_FILES else []
    remarks = [*most, *describer.remarks]
    content = json.dumps({"schema": SCHEMA, "count": len(paths), "files": files}, indent=1) + "\n"
    return Attachment(name, content.encode(), in_short(remarks), redacted=describer.redacted)


class _Describer:
    """Describes one file after another, within limits for all together."""

    def __init__(self, root: str) -> None:
        self.remarks: list[str] = []
        self.redacted = 0
        self._root = root
        self._text_left = MOST_TEXT_IN_ALL_BYTES
        self._hashed_left = _MOST_HASHED_BYTES

    def describe(self, path: str) -> dict[str, Any]:
        """Give what is to be known of one file, JSON's types only."""
        described: dict[str, Any] = {"path": self._redact(path, "a name")[0]}
        full = os.path.join(self._root, path)
        try:
            kind = os.lstat(full).st_mode
            if stat.S_ISDIR(kind):
                described["left_out"] = "a repository of its own"
            elif stat.S_ISLNK(kind):
                described["link"] = self._redact(os.readlink(full), f"the target of {shown(os.fsencode(path))}")[0]
            elif stat.S_ISREG(kind):
                described.update(self._file(path, full))
            else:
                described["left_out"] = "neither a file nor a link"
        except OSError as error:
            described["left_out"] = str(error.strerror)
        return described

    def _file(self, path: str, full: str) -> Iterator[tuple[str, Any]]:
        with open_file(full) as file:
            found = os.fstat(file.fileno())
            yield "mode", "100755" if found.st_mode & stat.S_IXUSR else "100644"
            yield "size_bytes", found.st_size
            if not stat.S_ISREG(found.st_mode) or found.st_size > min(LARGE_BYTES, self._hashed_left):
                yield "modified_at", found.st_mtime_ns // 1_000_000
                yield "left_out", "not read: over 10 MiB, or over 256 MiB in all"
                return
            self._hashed_left -= found.st_size
            is_small = found.st_size <= MOST_TEXT_BYTES
            content, digest = _read(iter(lambda: file.read(_CHUNK_BYTES), b""), keep=is_small)
            yield "sha256", digest
            yield from self._content(path, content) if is_small else [("left_out", f"over {MOST_TEXT_BYTES} bytes")]

    def _content(self, path: str, content: bytes) -> Iterator[tuple[str, Any]]:
        if is_named_like_a_secret(os.fsencode(path)):
            self.redacted += 1
            self.remarks.append(f"without its text: {shown(os.fsencode(path))}, named like a secret")
            yield "left_out", "named like a secret"
            return
        text = _text_of(content)
        if text is None:
            yield "left_out", "no UTF-8 text"
        elif len(content) > self._text_left:
            yield "left_out", f"over {MOST_TEXT_IN_ALL_BYTES} bytes of text in all"
        else:
            self._text_left -= len(content)
            clean, lines = self._redact(text, shown(os.fsencode(path)))
            yield "text", clean
            if lines:
                yield "redacted_lines", lines

    def _redact(self, text: str, what: str) -> tuple[str, list[int]]:
        clean = redact_text(text)
        if clean == text:
            return text, []
        lines = list(redacted_lines(text))
        self.redacted += len(lines)
        self.remarks.append(f"redacted: {what}, {lines_in_words(lines)}")
        return clean, lines


def _read(chunks: Iterable[bytes], *, keep: bool) -> tuple[bytes, str]:
    content, digest = b"", hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        content += chunk if keep else b""
    return content, digest.hexdigest()


def _text_of(content: bytes) -> str | None:
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None
