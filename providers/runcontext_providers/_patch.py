"""Make a patch that may be kept: what holds a secret is replaced or left out, and what is left still applies."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from runcontext.redaction import redact_text

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
# Files that hold keys and passwords by convention: their names in the manuals of dotenv, OpenSSL, ssh-keygen, curl,
# PostgreSQL, git, npm, pip, twine, Docker, htpasswd and Java's keytool. id_* is a key of OpenSSH only without an
# extension, or with one that a copy of a key gets: id_mapping.py is code.
_SECRET_FILE = re.compile(
    r"""
    \.env(\.(?!(example|sample|template|dist)$).+)? | .+\.env
    | .+\.(pem|key|p12|pfx|p8|ppk|jks|keystore|kdbx|gpg|asc)
    | id_[^.]+(\.(pub|bak|old|orig|txt))?
    | [._]netrc | \.pgpass | \.git-credentials | \.npmrc | \.pypirc | \.dockercfg | \.htpasswd | \.boto
    | (secrets?|credentials?)(\.(json|ya?ml|toml|ini|txt|cfg))?
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
# What `strings` would show of a binary file, somewhat longer: all else only resembles a secret by chance.
_TEXT_IN_BINARY = re.compile(rb"[\t\n\r\x20-\x7e]{8,}")
_MOST_SEARCHED = 32 << 20
_HUNK = re.compile(rb"(?m)^(?=@@ )")
_FILE = re.compile(rb"(?m)^(?=diff --git )")
_HEADER = b"diff --git "


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
    like secrets, and of binary files that hold one; their size and SHA-256, as they lie in the work tree, are in the
    remarks, which also stand above the patch, where ``git apply`` reads over them.
    """
    kept: list[bytes] = []
    remarks: list[str] = []
    redacted = 0
    for change in _FILE.split(patch):
        if not change:
            continue
        path = _path_of(change)
        reason = _why_left_out(change, os.path.join(os.fsencode(root), path))
        if reason:
            redacted += 1
            remarks.append(f"left out: {_shown(path)}, {reason}")
            continue
        clean, lines = _redact_added(change)
        kept.append(clean)
        if lines:
            redacted += lines
            remarks.append(f"redacted: {_shown(path)}, {lines} added line{'s' * (lines > 1)}")
    above = "".join(f"# {remark}\n" for remark in remarks) if kept else ""
    return SafePatch(above.encode() + b"".join(kept), redacted, tuple(remarks))


def _path_of(change: bytes) -> bytes:
    # Without renames both names are the same, so each is half of the line: a/x b/x, or "a/\303\244" "b/\303\244".
    names = change[len(_HEADER) : change.index(b"\n")]
    name = names[len(names) // 2 + 1 :]
    if name.startswith(b'"'):
        name = name[1:-1].decode("unicode_escape").encode("latin-1")
    return name.removeprefix(b"b/")


def _shown(path: bytes) -> str:
    # Quoted where it could be taken for more than a name: a line break in it would begin a line of the patch.
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)


def _why_left_out(change: bytes, path: bytes) -> str:
    header = _HUNK.split(change, 1)[0]
    is_binary = b"\nGIT binary patch\n" in header
    has_content = is_binary or len(header) < len(change)
    if has_content and _SECRET_FILE.fullmatch(os.fsdecode(os.path.basename(path))):
        return f"named like a secret: {_identity(path)}"
    if is_binary and (found := _secret_in(path)):
        return f"{found}: {_identity(path)}"
    return ""


def _secret_in(path: bytes) -> str:
    try:
        if os.lstat(path).st_size > _MOST_SEARCHED:
            return "a binary file too large to be searched for secrets"
        text = "\n".join(run.decode() for run in _TEXT_IN_BINARY.findall(b"".join(_content(path))))
    except OSError:
        return ""
    return "a binary file that holds a secret" if redact_text(text) != text else ""


def _identity(path: bytes) -> str:
    size, digest = 0, hashlib.sha256()
    try:
        for chunk in _content(path):
            size += len(chunk)
            digest.update(chunk)
    except OSError:
        return "deleted"
    return f"{size} bytes, sha256 {digest.hexdigest()}"


def _content(path: bytes) -> Iterator[bytes]:
    # What git keeps of a symbolic link is its target; a named pipe put in a file's place would be waited for.
    kind = os.lstat(path).st_mode
    if stat.S_ISLNK(kind):
        yield os.readlink(path)
    elif stat.S_ISREG(kind):
        with open(path, "rb") as file:
            yield from iter(lambda: file.read(1 << 20), b"")


def _redact_added(change: bytes) -> tuple[bytes, int]:
    header, *hunks = _HUNK.split(change)
    redacted = [_redact_hunk(hunk) for hunk in hunks]
    return header + b"".join(hunk for hunk, _ in redacted), sum(lines for _, lines in redacted)


def _redact_hunk(hunk: bytes) -> tuple[bytes, int]:
    """Redact the added lines, seen among the lines they stand between, since a key is known by its first line."""
    lines = hunk.split(b"\n")
    new_side = [at for at, line in enumerate(lines) if line[:1] in {b"+", b" "}]
    text = b"\n".join(lines[at][1:] for at in new_side).decode("utf-8", "surrogateescape")
    clean = redact_text(text)
    if clean == text:
        return hunk, 0
    changed = 0
    for at, line in zip(new_side, clean.encode("utf-8", "surrogateescape").split(b"\n"), strict=True):
        if lines[at][:1] == b"+" and lines[at][1:] != line:
            lines[at] = b"+" + line
            changed += 1
    return b"\n".join(lines), changed
