"""Which files are kept for their secrets, and how one that is not kept is named."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence

from runcontext.redaction import redact_text
from runcontext_providers._git.files import LARGE_BYTES, open_file

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
# What `strings` would show of a binary file, somewhat longer: all else only resembles a secret by chance. The same in
# UTF-16, which git takes for binary.
_TEXT_IN_BINARY = (
    (re.compile(rb"[\t\n\r\x20-\x7e]{8,}"), 0, 1),
    (re.compile(rb"(?:[\t\n\r\x20-\x7e]\0){8,}"), 0, 2),
    (re.compile(rb"(?:\0[\t\n\r\x20-\x7e]){8,}"), 1, 2),
)
_MARKS_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_SEARCHED_BYTES = 32 << 20
_MOST_REMARKS = 20


def is_named_like_a_secret(path: bytes) -> bool:
    """Say whether files of this name hold keys or passwords by convention."""
    return _SECRET_FILE.fullmatch(os.fsdecode(os.path.basename(path))) is not None


def secret_in_binary(path: bytes) -> str:
    """Say why the binary file at ``path`` must not be kept, empty where nothing speaks against it."""
    try:
        if os.lstat(path).st_size > _MOST_SEARCHED_BYTES:
            return "a binary file too large to be searched for secrets"
        content = b"".join(_content(path))
    except OSError:
        return ""
    holds_one = any(redact_text(text) != text for text in _texts(content))
    return "a binary file that holds a secret" if holds_one else ""


def _texts(content: bytes) -> Iterator[str]:
    if content.startswith(_MARKS_OF_UTF16):
        yield content.decode("utf-16", "replace")
    for pattern, first, step in _TEXT_IN_BINARY:
        yield "\n".join(run[first::step].decode() for run in pattern.findall(content))


def identity_of(path: bytes) -> str:
    """Give size and SHA-256 of what git would keep of the file at ``path``; of a large one, size and time."""
    digest = hashlib.sha256()
    try:
        found = os.lstat(path)
        if found.st_size > LARGE_BYTES:
            changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
            return f"{found.st_size} bytes, changed {changed}"
        for chunk in _content(path):
            digest.update(chunk)
    except OSError:
        return "deleted"
    return f"{found.st_size} bytes, sha256 {digest.hexdigest()}"


def _content(path: bytes) -> Iterator[bytes]:
    # What git keeps of a symbolic link is its target.
    kind = os.lstat(path).st_mode
    if stat.S_ISLNK(kind):
        yield os.readlink(path)
    elif stat.S_ISREG(kind):
        with open_file(path) as file:
            yield from iter(lambda: file.read(1 << 20), b"")


def shown(path: bytes) -> str:
    """Give ``path`` for a person, in one line and without secrets."""
    # Quoted where it could be taken for more than a name: a line break in it would begin a line of the patch.
    text = path.decode("utf-8", "backslashreplace")
    return redact_text(text if text.isprintable() else ascii(text))


def in_short(remarks: Sequence[str]) -> str | None:
    """Join the first remarks, and say how many more there are; None where there is none."""
    more = [f"and {len(remarks) - _MOST_REMARKS} more"] if len(remarks) > _MOST_REMARKS else []
    return "; ".join((*remarks[:_MOST_REMARKS], *more)) or None


def lines_in_words(lines: Sequence[int]) -> str:
    """Name lines by their numbers, ascending, each run of them by its first and last."""
    runs: list[tuple[int, int]] = []
    for line in lines:
        if runs and runs[-1][1] == line - 1:
            runs[-1] = runs[-1][0], line
        else:
            runs.append((line, line))
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"line{'s' * (len(lines) > 1)} {told}"


def redacted_lines(text: str) -> dict[int, str]:
    """Give each line of ``text`` that holds a secret, by its number from 1, without it."""
    clean = redact_text(text)
    if clean == text:
        return {}
    pairs = zip(text.split("\n"), clean.split("\n"), strict=True)
    return {number: after for number, (before, after) in enumerate(pairs, 1) if before != after}
