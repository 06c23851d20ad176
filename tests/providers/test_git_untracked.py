"""The git provider's list of untracked files: small ones can be made again, none is guessed, no secret is in it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runcontext.program import Program
from runcontext.redaction import MARK
from runcontext.testing import resolve_provider
from runcontext_providers.git import GitProvider

if TYPE_CHECKING:
    from runcontext.record import AttachmentRecord

MIB = 1 << 20
GITHUB_TOKEN = "ghp_" + "a1B2" * 9


pytestmark = pytest.mark.usefixtures("own_git_configuration")


def git(folder: Path, *arguments: str) -> None:
    """Run git in ``folder``."""
    subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give the work tree of a repository with one tracked file."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "train.py").write_text("x\n")
    git(folder, "add", "train.py")
    return folder


def write(folder: Path, name: str | bytes, content: str | bytes) -> Path:
    """Write a file, and the folders above it."""
    file = folder / os.fsdecode(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def described(tree: Path) -> tuple[AttachmentRecord, dict[str, Any]]:
    """Capture in ``tree`` and give the record and the content of what describes the untracked files."""
    program = Program(pid=os.getpid(), cwd=str(tree))
    folder = tree.parent / "run"
    context = resolve_provider(GitProvider(environment={}), program=program, folder=folder)
    record = next(each for each in context.attachments if each.name == "untracked.json")
    assert record.path is not None, record.reason
    return record, json.loads(record.path.read_text("ascii"))


def files_in(tree: Path) -> dict[str, dict[str, Any]]:
    """Give what is said of each untracked file, by its path."""
    return {each["path"]: each for each in described(tree)[1]["files"]}


def make_again(content: dict[str, Any], folder: Path) -> set[str]:
    """Make the files in ``folder`` that can be made, as the page on tags says, and give the paths of the others."""
    left_out = set()
    for each in content["files"]:
        file = folder / each["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if "link" in each:
            file.symlink_to(each["link"])
        elif "text" in each:
            file.write_bytes(each["text"].encode())
            file.chmod(int(each["mode"][-3:], 8))
        else:
            left_out.add(each["path"])
    return left_out


def test_small_files_can_be_made_again(tree: Path, tmp_path: Path) -> None:
    """Text with any line ends, links, executables, odd names: what is made of the list is what lies in the tree."""
    files: dict[str | bytes, str | bytes] = {
        "new.py": "print('new')\n",
        "empty": "",
        "crlf.txt": "a\r\nb\rc\n\nno end",
        "deep/er/caf\u00e9.txt": "\ufeffth\u00e9 \U0001f600\n",
        b"n\xff\xfe.txt": "x\n",
        'line\nbreak "quoted" \\': "x\n",
        "-dash": "x\n",
        "controls": "\x01\x1b[0m\x7f\u2028\n",
    }
    for name, content in files.items():
        write(tree, name, content)
    write(tree, "run.sh", "#!/bin/sh\n").chmod(0o755)
    (tree / "link").symlink_to(os.fsdecode(b"else\xffwhere"))
    record, content = described(tree)
    assert (record.reason, record.redacted) == (None, 0)
    assert content["schema"] == 1
    assert content["count"] == len(content["files"]) == len(files) + 2
    again = tmp_path / "again"
    assert make_again(content, again) == set()
    for each in content["files"]:
        file, made = tree / each["path"], again / each["path"]
        assert made.is_symlink() == file.is_symlink()
        if file.is_symlink():
            assert os.readlink(made) == os.readlink(file)
        else:
            assert made.read_bytes() == file.read_bytes()
            assert made.stat().st_mode & 0o100 == file.stat().st_mode & 0o100
            assert each["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
            assert each["size_bytes"] == made.stat().st_size


def test_nothing_untracked_is_no_attachment(tree: Path) -> None:
    """Ignored files, empty folders and sockets are not listed."""
    write(tree, ".git/info/exclude", "*.log\n")
    write(tree, "run.log", "x\n")
    (tree / "empty").mkdir()
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tree / "socket"))
        program = Program(pid=os.getpid(), cwd=str(tree))
        context = resolve_provider(GitProvider(environment={}), program=program)
    assert [each.name for each in context.attachments] == ["git.patch"]


def test_what_has_no_text_has_size_and_hash(tree: Path) -> None:
    """Binary files, other encodings, larger files, and files named like secrets: described, and why without text."""
    contents: dict[str, tuple[bytes, str]] = {
        "binary": (b"a\0b", "no UTF-8 text"),
        "latin1.txt": (b"caf\xe9\n", "no UTF-8 text"),
        "utf16.txt": (f"token={GITHUB_TOKEN}\n".encode("utf-16"), "no UTF-8 text"),
        "long.csv": (b"1\n" * 40_000, "over 65536 bytes"),
        ".env": (b"A=1\n", "named like a secret"),
        "tls/server.pem": (b"x\n", "named like a secret"),
    }
    for name, (content, _) in contents.items():
        write(tree, name, content)
    files = files_in(tree)
    for name, (content, reason) in contents.items():
        assert files[name] == {
            "path": name,
            "mode": "100644",
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "left_out": reason,
        }


def test_large_files_go_by_size_and_time(tree: Path) -> None:
    """Over 10 MiB nothing is read."""
    with write(tree, "data.bin", "").open("wb") as file:
        file.truncate(10 * MIB + 1)
    os.utime(tree / "data.bin", ns=(1, 1_500_000_000_123_456_789))
    assert files_in(tree)["data.bin"] == {
        "path": "data.bin",
        "mode": "100644",
        "size_bytes": 10 * MIB + 1,
        "modified_at": 1_500_000_000_123,
        "left_out": "not read: over 10 MiB, or over 256 MiB in all",
    }


def test_secrets_are_replaced(tree: Path) -> None:
    """In text, in names and in the targets of links; the lines that differ are named, the others as they were."""
    write(tree, "config.py", f"a = 1\r\nTOKEN = '{GITHUB_TOKEN}'\r\nb = 2\r\npassword = 'hunter2hunter2'")
    write(tree, f"{GITHUB_TOKEN}.txt", "x\n")
    (tree / "link").symlink_to(f"https://ada:{'s3cret' * 3}@example.org/x")
    record, content = described(tree)
    files = {each["path"]: each for each in content["files"]}
    text = json.dumps(content) + str(record.reason)
    assert GITHUB_TOKEN not in text
    assert "hunter2" not in text
    assert "s3cret" not in text
    assert files["config.py"]["text"] == f"a = 1\r\nTOKEN = '{MARK}'\r\nb = 2\r\npassword = '{MARK}'"
    assert files["config.py"]["redacted_lines"] == [2, 4]
    assert "redacted: config.py, lines 2, 4" in (record.reason or "")
    assert record.redacted == 4


def test_a_repository_is_named_and_not_walked(tree: Path) -> None:
    """What is in a repository inside this one is that one's affair."""
    write(tree, "inner/secret.txt", "x\n")
    git(tree / "inner", "init", "--quiet")
    assert files_in(tree) == {"inner/": {"path": "inner/", "left_out": "a repository of its own"}}


def test_what_cannot_be_read_is_said(tree: Path) -> None:
    """A file without permission to read costs its own content only."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    write(tree, "closed.txt", "x\n").chmod(0)
    assert files_in(tree)["closed.txt"] == {"path": "closed.txt", "left_out": "Permission denied"}


def test_the_text_of_all_files_has_a_limit(tree: Path) -> None:
    """1 MiB in all; the files that come after keep size and hash."""
    for number in range(20):
        write(tree, f"{number:02}.txt", "x" * 65_536)
    files = files_in(tree)
    assert [("text" in files[name]) for name in sorted(files)] == [True] * 16 + [False] * 4
    assert files["19.txt"]["left_out"] == "over 1048576 bytes of text in all"
    assert files["19.txt"]["sha256"] == hashlib.sha256(b"x" * 65_536).hexdigest()


def test_the_number_of_files_has_a_limit(tree: Path) -> None:
    """10,000 files are listed, and how many there are is on record."""
    for folder in range(101):
        (tree / str(folder)).mkdir()
        for name in range(100):
            (tree / str(folder) / str(name)).touch()
    record, content = described(tree)
    assert content["count"] == 10_100
    assert len(content["files"]) == 10_000
    assert record.reason == "the first 10,000 of 10,100 files"
