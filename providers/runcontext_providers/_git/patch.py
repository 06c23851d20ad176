"""Make a patch that may be kept: what holds a secret is replaced or left out, and what is left still applies."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from runcontext.redaction import redact_text
from runcontext_providers._git.files import open_file
from runcontext_providers._git.secrets import (
    identity_of,
    is_named_like_a_secret,
    lines_in_words,
    redacted_lines,
    secret_in_binary,
    shown,
)

# Every setting of a user's that changes what a patch looks like is answered here, or in the options of each call.
# Without renames each file stands for itself: one can be left out, and no similarity is computed.
PATCH_COMMAND = (
    "diff",
    "--patch",
    "--binary",
    "--full-index",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--submodule=short",
    "--ignore-submodules=dirty",
)
_HUNK = re.compile(rb"(?m)^(?=@@ )")
_HUNK_HEADER = re.compile(rb"@@ -\d+(?:,\d+)? \+(\d+)")
_FILE = re.compile(rb"(?m)^(?=diff --git )")
_HEADER = b"diff --git "
_MOST_WHOLE_BYTES = 256 << 10


class SafePatch(NamedTuple):
    """A patch without secrets.

    ``content`` is empty where nothing of the patch was left; ``redacted`` counts the lines that were changed and the
    files that were left out; ``remarks`` say which, a line each.
    """

    content: bytes
    redacted: int
    remarks: tuple[str, ...]


def without_secrets(patch: bytes, root: str) -> SafePatch:
    """Replace the secrets in the added lines of ``patch``, and leave out the files that hold them whole.

    ``patch`` is what git gave for PATCH_COMMAND in the work tree at ``root``. Left out are the changes to files named
    like secrets or by one, and of binary files that hold one; their size and SHA-256, as they lie in the work tree, are
    in the remarks, which also stand above the patch, where ``git apply`` reads over them. Of a redacted file they have
    the numbers of the lines, in the file as it is after the patch, that differ from what lies in the work tree.
    """
    kept: list[bytes] = []
    remarks: list[str] = []
    redacted = 0
    for change in _FILE.split(patch):
        if not change:
            continue
        path = _path_of(change)
        file = os.path.join(os.fsencode(root), path)
        reason = _why_left_out(change, path, file)
        if reason:
            redacted += 1
            remarks.append(f"left out: {shown(path)}, {reason}")
            continue
        clean, lines = _redact_added(change, file)
        kept.append(clean)
        if lines:
            redacted += len(lines)
            remarks.append(f"redacted: {shown(path)}, {lines_in_words(lines)}")
    above = "".join(f"# {remark}\n" for remark in remarks) if kept else ""
    return SafePatch(above.encode() + b"".join(kept), redacted, tuple(remarks))


def _path_of(change: bytes) -> bytes:
    # Without renames both names are the same, so each is half of the line: a/x b/x, or "a/\303\244" "b/\303\244".
    names = change[len(_HEADER) : change.index(b"\n")]
    name = names[len(names) // 2 + 1 :]
    if name.startswith(b'"'):
        name = name[1:-1].decode("unicode_escape").encode("latin-1")
    return name.removeprefix(b"b/")


def _why_left_out(change: bytes, path: bytes, file: bytes) -> str:
    header = _HUNK.split(change, maxsplit=1)[0]
    is_binary = b"\nGIT binary patch\n" in header
    has_content = is_binary or len(header) < len(change)
    if has_content and is_named_like_a_secret(path):
        return f"named like a secret: {identity_of(file)}"
    if is_binary and (found := secret_in_binary(file)):
        return f"{found}: {identity_of(file)}"
    name = os.fsdecode(path)
    return f"a secret in its name: {identity_of(file)}" if redact_text(name) != name else ""


def _redact_added(change: bytes, file: bytes) -> tuple[bytes, list[int]]:
    header, *hunks = _HUNK.split(change)
    known = _redacted_in_whole(file) if hunks else {}
    redacted = [_redact_hunk(hunk, known) for hunk in hunks]
    return header + b"".join(hunk for hunk, _ in redacted), [line for _, lines in redacted for line in lines]


def _redacted_in_whole(file: bytes) -> Mapping[int, str]:
    # What a hunk shows of a key can be lines of its middle, which nothing tells from other text.
    try:
        with open_file(file) as opened:
            content = opened.read(_MOST_WHOLE_BYTES + 1)
    except OSError:
        return {}
    return redacted_lines(_as_text(content)) if len(content) <= _MOST_WHOLE_BYTES else {}


def _redact_hunk(hunk: bytes, known: Mapping[int, str]) -> tuple[bytes, list[int]]:
    """Redact the added lines, seen among the lines they stand between, since a key is known by its first line."""
    lines = hunk.split(b"\n")
    new_side = [at for at, line in enumerate(lines) if line[:1] in {b"+", b" "}]
    text = _as_text(b"\n".join(lines[at][1:] for at in new_side))
    found = redacted_lines(text)
    header = _HUNK_HEADER.match(hunk)
    first = int(header[1]) if header is not None else 1
    changed = []
    for number, at in enumerate(new_side):
        line = known.get(first + number, found.get(number + 1))
        if line is not None and lines[at][:1] == b"+":
            ending = b"\r" if lines[at].endswith(b"\r") else b""
            lines[at] = b"+" + line.encode("utf-8", "surrogateescape").removesuffix(b"\r") + ending
            changed.append(first + number)
    return b"\n".join(lines), changed


def _as_text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
