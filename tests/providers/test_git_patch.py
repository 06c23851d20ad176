"""The git provider's attachment: a patch that applies, holds no secret and is never cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runcontext.program import Program
from runcontext.redaction import MARK
from runcontext.testing import resolve_provider
from runcontext_providers.git import GitProvider

if TYPE_CHECKING:
    from runcontext.record import AttachmentRecord

GITHUB_TOKEN = "ghp_" + "a1B2" * 9
PRIVATE_KEY = "\n".join(
    ["-----BEGIN RSA PRIVATE KEY-----", *["MIIEpAIBAAKCAQEA" * 4] * 6, "-----END RSA PRIVATE KEY-----", ""]
)


pytestmark = pytest.mark.usefixtures("own_git_configuration")


def git(folder: Path, *arguments: str, check: bool = True) -> bytes:
    """Run git in ``folder`` and give what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    """Write files."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path) -> None:
    """Commit all there is."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "all")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give the work tree of a repository that has a file of ten lines, train.py."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    write(folder, {"train.py": "".join(f"line {number}\n" for number in range(10))})
    commit(folder)
    return folder


def attachments(tree: Path, *, patch_cap: int = 10 << 20) -> tuple[AttachmentRecord, ...]:
    """Capture in ``tree`` and give what was attached."""
    program = Program(pid=os.getpid(), cwd=str(tree))
    context = resolve_provider(GitProvider(patch_cap=patch_cap), program=program, folder=tree.parent / "run")
    assert "attachments" not in context.outcomes["provider"].failures
    return tuple(context.attachments)


def patch_of(tree: Path) -> tuple[AttachmentRecord, bytes]:
    """Capture in ``tree`` and give the patch's record and content."""
    record = next(each for each in attachments(tree) if each.name == "git.patch")
    assert record.path is not None, record.reason
    return record, record.path.read_bytes()


def files_of(tree: Path) -> dict[bytes, tuple[int, bytes]]:
    """Give every file of a work tree: whether it is a link and executable, and its content."""
    found = {}
    for folder, folders, names in os.walk(os.fsencode(tree)):
        folders[:] = [name for name in folders if name != b".git"]
        for name in names:
            path = os.path.join(folder, name)
            content = os.readlink(path) if os.path.islink(path) else Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(tree))] = (os.lstat(path).st_mode, content)
    return found


def applied(tree: Path, patch: bytes) -> dict[bytes, tuple[int, bytes]]:
    """Apply ``patch`` with `git apply` to a clean checkout of the commit of ``tree``, and give that one's files."""
    clone = tree.parent / "clone"
    if git(tree, "rev-parse", "--verify", "--quiet", "HEAD", check=False):
        git(tree, "clone", "--quiet", "--no-hardlinks", str(tree), str(clone))
        git(clone, "checkout", "--quiet", git(tree, "rev-parse", "HEAD").decode().strip())
    else:
        clone.mkdir()
        git(clone, "init", "--quiet")
    file = tree.parent / "to-apply.patch"
    file.write_bytes(patch)
    git(clone, "apply", str(file))
    return files_of(clone)


def test_a_clean_tree_has_no_patch(tree: Path) -> None:
    """No attachment says that nothing tracked was changed; what is untracked is not in it."""
    assert attachments(tree) == ()
    write(tree, {"new.py": "x"})
    assert [record.name for record in attachments(tree)] == ["untracked.json"]


def test_changes_of_every_kind_apply(tree: Path) -> None:
    """Staged or not, text, binary, modes, links, deletions, odd names: a clean checkout becomes the same."""
    write(
        tree,
        {
            "binary": bytes(range(256)),
            "binary-gone": b"\0\1",
            "crlf.txt": "a\r\nb\r\n",
            "empty-gone": "",
            "gone.py": "x\n",
            "latin1.txt": b"caf\xe9\n",
            "no-newline": "a",
            "renamed-from": "same\n" * 50,
            "run.sh": "x\n",
            "swapped": "a file\n",
            "to-link": "a file\n",
            "folder/inside": "a file\n",
            "blank.txt": "a\n\n\n\nb\n\n\n\nc\n",
        },
    )
    (tree / "link").symlink_to("run.sh")
    commit(tree)
    for name in ("binary-gone", "empty-gone", "gone.py", "swapped", "to-link", "link"):
        (tree / name).unlink()
    shutil.rmtree(tree / "folder")
    write(
        tree,
        {
            "binary": bytes(range(255, -1, -1)) * 3,
            "crlf.txt": "a\r\nc\r\n",
            "latin1.txt": b"th\xe9\n",
            "no-newline": "b",
            "swapped/inside": "now a folder\n",
            "folder": "now a file\n",
            "blank.txt": "a\n\n\n\nB\n\n\n\nc\n",
            "a name with spaces": "x\n",
            'tab\tquote"back\\slash\nnewline': "x\n",
            "diff --git a": "--- a/x\n+++ b/x\n@@ -1 +1 @@\ndiff --git a/x b/x\n",
            "empty": "",
            "-- dash": "x\n",
        },
    )
    (tree / "link").symlink_to("elsewhere")
    (tree / "to-link").symlink_to("run.sh")
    (tree / "run.sh").chmod(0o755)
    Path(os.fsdecode(os.fsencode(tree) + b"/n\xff\xfe.txt")).write_bytes(b"\xff\n")
    git(tree, "mv", "renamed-from", "renamed-to")
    git(tree, "add", "--all")
    write(tree, {"train.py": "staged\n"})
    git(tree, "add", "train.py")
    write(tree, {"train.py": "and changed again\n"})
    record, patch = patch_of(tree)
    assert applied(tree, patch) == files_of(tree)
    assert record.reason is None
    assert record.redacted == 0
    assert record.sha256 == hashlib.sha256(patch).hexdigest()


def test_before_the_first_commit(tmp_path: Path) -> None:
    """With no commit the patch is against the empty tree."""
    tree = tmp_path / "unborn"
    tree.mkdir()
    git(tree, "init", "--quiet")
    write(tree, {"train.py": "x\n"})
    git(tree, "add", "train.py")
    assert applied(tree, patch_of(tree)[1]) == files_of(tree)


@pytest.mark.parametrize("is_unborn", [False, True])
def test_sha256(tmp_path: Path, is_unborn: bool) -> None:
    """A repository of SHA-256 has a patch that applies, before its first commit too."""
    tree = tmp_path / "sha256"
    tree.mkdir()
    git(tree, "init", "--quiet", "--object-format=sha256", check=False)
    if not (tree / ".git").exists():
        pytest.skip("this git makes no SHA-256 repositories")
    write(tree, {"train.py": "x\n"})
    git(tree, "add", "train.py")
    if not is_unborn:
        commit(tree)
        write(tree, {"train.py": "y\n", "data": b"\0\1"})
        git(tree, "add", "data")
    _, patch = patch_of(tree)
    assert b"train.py" in patch
    if is_unborn:
        git(tree, "apply", "--check", "--reverse", str(tree.parent / "run/context/git.patch"))
    else:
        assert applied(tree, patch) == files_of(tree)


def test_in_the_middle_of_a_merge(tree: Path) -> None:
    """With conflicts of every kind the patch gives what lies in the work tree."""
    write(tree, {"both": "base\n", "we-delete": "base\n", "they-delete": "base\n", "binary": b"\0base"})
    commit(tree)
    git(tree, "checkout", "--quiet", "-b", "side")
    write(tree, {"both": "side\n", "we-delete": "side\n", "added": "side\n", "binary": b"\0side", "theirs": "x\n"})
    (tree / "they-delete").unlink()
    commit(tree)
    git(tree, "checkout", "--quiet", "main")
    write(tree, {"both": "main\n", "they-delete": "main\n", "added": "main\n", "binary": b"\0main"})
    (tree / "we-delete").unlink()
    commit(tree)
    git(tree, "merge", "side", check=False)
    _, patch = patch_of(tree)
    assert b"<<<<<<<" in patch
    assert applied(tree, patch) == files_of(tree)


def test_a_submodule_at_another_commit(tree: Path) -> None:
    """A submodule's new commit is in the patch, which applies; changes inside it are not."""
    library = tree.parent / "library"
    library.mkdir()
    git(library, "init", "--quiet")
    write(library, {"lib.py": "x\n"})
    commit(library)
    git(tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    commit(tree)
    write(tree / "lib", {"lib.py": "y\n"})
    commit(tree / "lib")
    write(tree / "lib", {"lib.py": "changed\n"})
    write(tree, {"train.py": "z\n"})
    record, patch = patch_of(tree)
    new_commit = git(tree / "lib", "rev-parse", "HEAD").strip()
    assert b"+Subproject commit " + new_commit + b"\n" in patch
    assert applied(tree, patch)[b"train.py"][1] == b"z\n"
    assert record.reason == "not in it: changes inside the submodule lib"


def test_files_that_are_only_announced(tree: Path) -> None:
    """What `git add --intent-to-add` announced is in the patch as a new file, an empty one too."""
    write(tree, {"new.py": "x\n", "empty.py": "", "folder/binary": b"\0\1"})
    git(tree, "add", "--intent-to-add", "new.py", "empty.py", "folder/binary")
    assert applied(tree, patch_of(tree)[1]) == files_of(tree)


def test_line_ends_that_git_converts(tree: Path) -> None:
    """With line ends converted on the way in and out, a checkout with the same attributes becomes the same."""
    attributes = "*.dos eol=crlf\n*.py text\n*.mixed -text\n"
    write(tree, {".gitattributes": attributes, "a.dos": "1\r\n2\r\n", "b.mixed": "1\r\n2\n"})
    commit(tree)
    write(tree, {"a.dos": "1\r\n3\r\n", "b.mixed": "1\n2\r\n3\r", "train.py": "changed\n"})
    assert applied(tree, patch_of(tree)[1]) == files_of(tree)


def test_attributes_that_make_text_binary(tree: Path) -> None:
    """A file that is binary by its attributes is patched as one; a secret in it is found all the same."""
    write(tree, {".gitattributes": "*.lock -diff\n*.dat binary\n", "a.lock": "1\n", "b.dat": "1\n"})
    commit(tree)
    write(tree, {"a.lock": "2\n" * 9, "b.dat": f"token = {GITHUB_TOKEN}\n"})
    record, patch = patch_of(tree)
    assert "left out: b.dat, a binary file that holds a secret" in (record.reason or "")
    assert applied(tree, patch)[b"a.lock"][1] == b"2\n" * 9


NAMES = (b"a", b"b.py", b"caf\xc3\xa9", b"n\xff", b'q"uo\\te', b"two words", b"line\nbreak", b"-d", b"p")
CONTENTS = (
    b"",
    b"x",
    b"x\n",
    b"a\r\nb\r\n",
    b"\0\1\2" * 99,
    b"\n" * 9,
    b"l\n" * 40,
    b"l\n" * 20 + b"m\n" + b"l\n" * 20,
)


def edit_at_random(choice: random.Random, path: bytes) -> None:
    """Make something else of what lies at ``path``: a file of some kind, a link, or nothing."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    kind = choice.choice(("file", "file", "file", "executable", "link", "gone"))
    if kind == "gone":
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if kind == "link":
        os.symlink(choice.choice(NAMES), path)
    else:
        Path(os.fsdecode(path)).write_bytes(choice.choice(CONTENTS))
        os.chmod(path, 0o755 if kind == "executable" else 0o644)


def test_random_changes_apply(tree: Path) -> None:
    """Any mixture of edits, staged or not: text, binary files, links, modes, folders; a clean checkout becomes it."""
    choice = random.Random(7)
    paths = [os.path.join(os.fsencode(tree), folder, name) for folder in (b"", b"p", b"p/q", b"r") for name in NAMES]
    compared = 0
    for _ in range(15):
        for _ in range(choice.randrange(1, 9)):
            with contextlib.suppress(NotADirectoryError, FileExistsError):
                edit_at_random(choice, choice.choice(paths))
            if choice.random() < 0.3:
                git(tree, "add", "--all")
        git(tree, "add", "--all", *choice.choice(((), ("--intent-to-add",))))
        if git(tree, "diff", "HEAD", "--name-only"):
            compared += 1
            assert applied(tree, patch_of(tree)[1]) == files_of(tree), git(tree, "status", "--short")
            shutil.rmtree(tree.parent / "clone")
        if choice.random() < 0.4:
            commit(tree)
    assert compared > 10


HOSTILE_SETTINGS = {
    "color.ui": "always",
    "core.fsmonitor": "{trap}",
    "core.pager": "{trap}",
    "core.quotePath": "false",
    "diff.colorMoved": "zebra",
    "diff.context": "0",
    "diff.external": "{trap}",
    "diff.ignoreSubmodules": "all",
    "diff.interHunkContext": "9",
    "diff.mnemonicPrefix": "true",
    "diff.noprefix": "true",
    "diff.relative": "true",
    "diff.renames": "copies",
    "diff.submodule": "log",
    "diff.suppressBlankEmpty": "true",
    "diff.trap.command": "{trap}",
    "diff.trap.textconv": "{trap}",
    "diff.wordRegex": ".",
    "pager.diff": "true",
    "pager.status": "true",
    "status.branch": "false",
    "status.relativePaths": "false",
    "status.showStash": "true",
    "status.showUntrackedFiles": "no",
    "status.submoduleSummary": "true",
}


def test_no_setting_runs_a_program_or_spoils_the_patch(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No external diff, text conversion, monitor, hook or pager is run; no taste in diffs makes it unusable."""
    ran = tree.parent / "ran"
    trap = tree.parent / "trap"
    trap.write_text(f'#!/bin/sh\necho "$0" >> "{ran}"\n')
    trap.chmod(0o755)
    write(tree, {"folder/blank.txt": "a\n\nb\n\nc\n", "caf\u00e9.txt": "x\n"})
    commit(tree)
    for hook in ("post-index-change", "fsmonitor-watchman", "query-watchman"):
        shutil.copy(trap, tree / ".git" / "hooks" / hook)
    for name, value in HOSTILE_SETTINGS.items():
        git(tree, "config", name, value.format(trap=trap))
    write(tree, {".git/info/attributes": "*.txt diff=trap\n*.py diff=trap\n"})
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "PAGER"):
        monkeypatch.setenv(name, str(trap))
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
    write(tree, {"folder/blank.txt": "a\n\nB\n\nc\n", "caf\u00e9.txt": "y\n", "train.py": "changed\n", "new": ""})
    program = Program(pid=os.getpid(), cwd=str(tree / "folder"))
    ran.unlink(missing_ok=True)
    context = resolve_provider(GitProvider(), program=program, folder=tree.parent / "run")
    assert not ran.exists()
    assert context.tags["git.untracked"] == "1"
    record = context.attachments[0]
    assert record.path is not None
    (tree / "new").unlink()
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "PAGER", "GIT_DIFF_OPTS"):
        monkeypatch.delenv(name)
    assert applied(tree, record.path.read_bytes()) == files_of(tree)


# --- secrets ------------------------------------------------------------------------------------------------------


def test_a_secret_in_an_added_line_is_redacted(tree: Path) -> None:
    """The secret goes, the rest of the line stays, and the patch applies: only that line differs."""
    content = f"line 0\nTOKEN = '{GITHUB_TOKEN}'\n" + "".join(f"line {n}\n" for n in range(2, 9)) + "the end"
    write(tree, {"train.py": content, "other.py": "x\n"})
    git(tree, "add", "other.py")
    record, patch = patch_of(tree)
    assert GITHUB_TOKEN.encode() not in patch
    assert record.redacted == 1
    assert record.reason == "redacted: train.py, line 2"
    files = applied(tree, patch)
    assert files[b"train.py"][1].decode() == content.replace(GITHUB_TOKEN, MARK)
    assert files[b"other.py"][1] == b"x\n"


def test_a_key_of_many_lines_is_redacted(tree: Path) -> None:
    """A private key in a text file goes whole, whether all of it was added or some of its lines."""
    write(tree, {"config.txt": PRIVATE_KEY})
    commit(tree)
    changed = PRIVATE_KEY.replace("MIIE", "NJJF", 1)
    write(tree, {"config.txt": changed, "train.py": f"KEY = '''\n{PRIVATE_KEY}'''\n"})
    record, patch = patch_of(tree)
    added = [line for line in patch.splitlines() if line.startswith(b"+") and not line.startswith(b"+++")]
    assert not any(b"MIIE" in line or b"NJJF" in line for line in added)
    assert record.redacted > 6
    applied(tree, patch)


def test_the_middle_of_a_key_is_redacted(tree: Path) -> None:
    """Lines of a key that the patch shows without its first line are known by the whole file."""
    body = "\n".join(f"{number:02}" + "MIIEpAIBAAKCAQEA" * 4 for number in range(30))
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n"
    write(tree, {"key.txt": key})
    commit(tree)
    changed = key.replace("15MIIE", "15NEWX")
    write(tree, {"key.txt": changed})
    record, patch = patch_of(tree)
    assert b"-----BEGIN" not in patch
    assert b"NEWX" not in patch
    assert record.reason == "redacted: key.txt, line 17"
    differing = zip(applied(tree, patch)[b"key.txt"][1].decode().splitlines(), changed.splitlines(), strict=True)
    assert [number for number, (made, there) in enumerate(differing, 1) if made != there] == [17]


def test_the_lines_that_differ_are_named(tree: Path) -> None:
    """By their numbers in the file as it is after the patch: only these differ from what lies in the work tree."""
    lines = [f"line {number}\n" for number in range(1, 101)]
    write(tree, {"long.py": "".join(lines)})
    commit(tree)
    lines.insert(20, "more\n")
    del lines[40]
    for number in (3, 50, 51, 52, 90):
        lines[number - 1] = f"TOKEN_{number} = '{GITHUB_TOKEN}'\n"
    write(tree, {"long.py": "".join(lines)})
    record, patch = patch_of(tree)
    assert record.reason == "redacted: long.py, lines 3, 50-52, 90"
    assert record.redacted == 5
    made = applied(tree, patch)[b"long.py"][1].decode().splitlines(keepends=True)
    differing = [number for number, pair in enumerate(zip(made, lines, strict=True), 1) if pair[0] != pair[1]]
    assert differing == [3, 50, 51, 52, 90]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_secret_in_utf16_is_found(tree: Path, encoding: str) -> None:
    """Such text is binary to git: with a secret in it, it goes whole, at odd places too; without, it stays."""
    secret = f"\u0442\u043e\u043a\u0435\u043d = {GITHUB_TOKEN}\n".encode(encoding)
    fine = "nothing to hide\n".encode(encoding)
    write(tree, {"config.ini": secret, "moved.bin": b"\0" + secret, "fine.ini": fine, "train.py": "x\n"})
    git(tree, "add", "--all")
    record, patch = patch_of(tree)
    digest = hashlib.sha256(secret).hexdigest()
    found = f"config.ini, a binary file that holds a secret: {len(secret)} bytes, sha256 {digest}"
    assert found in str(record.reason)
    assert set(applied(tree, patch)) == {b"train.py", b"fine.ini"}


def test_a_secret_in_a_name(tree: Path) -> None:
    """A file whose name is a secret is left out, and not named."""
    write(tree, {f"{GITHUB_TOKEN}.txt": "x\n", "train.py": "x\n"})
    git(tree, "add", "--all")
    record, patch = patch_of(tree)
    assert GITHUB_TOKEN not in patch.decode() + str(record.reason)
    assert f"left out: {MARK}.txt, a secret in its name: 2 bytes" in str(record.reason)


def test_removed_lines_and_undecodable_bytes_stay(tree: Path) -> None:
    """What HEAD holds is needed to apply the patch; bytes that are no text survive a redaction beside them."""
    write(tree, {"train.py": f"TOKEN = '{GITHUB_TOKEN}'\n"})
    commit(tree)
    write(tree, {"train.py": b"caf\xe9\r\npassword = 'hunter2hunter2'\r\nth\xe9"})
    record, patch = patch_of(tree)
    assert record.redacted == 1
    assert applied(tree, patch)[b"train.py"][1] == f"caf\xe9\r\npassword = '{MARK}'\r\nth\xe9".encode("latin-1")


@pytest.mark.parametrize(
    "name", [".env", ".env.production", "tls/server.pem", "id_rsa", "id_ed25519", "a.key", ".netrc"]
)
def test_a_file_named_like_a_secret_is_left_out(tree: Path, name: str) -> None:
    """Whatever is in it; its size and hash are on record and above the patch, and the rest applies."""
    write(tree, {name: "nothing that looks like one\n", "train.py": "x\n"})
    git(tree, "add", "--all", "--force")
    record, patch = patch_of(tree)
    digest = hashlib.sha256(b"nothing that looks like one\n").hexdigest()
    remark = f"left out: {name}, named like a secret: 28 bytes, sha256 {digest}"
    assert record.reason == remark
    assert record.redacted == 1
    assert patch.startswith(f"# {remark}\n".encode())
    assert b"nothing that looks" not in patch
    assert set(applied(tree, patch)) == {b"train.py"}


@pytest.mark.parametrize("name", ["id_mapping.py", "environment.py", ".env.example", "keys.py", "id_rsa.py"])
def test_code_that_is_named_alike_is_kept(tree: Path, name: str) -> None:
    """A name that only resembles a secret's is code, and code is kept."""
    write(tree, {name: "x\n"})
    git(tree, "add", "--all")
    assert applied(tree, patch_of(tree)[1]) == files_of(tree)


def test_a_deleted_secret_file_is_left_out(tree: Path) -> None:
    """The lines that a deletion removes are the secret: left out, and said to be deleted."""
    write(tree, {".env": "x\n"})
    commit(tree)
    (tree / ".env").unlink()
    write(tree, {"train.py": "x\n"})
    record, patch = patch_of(tree)
    assert record.reason == "left out: .env, named like a secret: deleted"
    assert b"deleted file" not in patch


def test_a_binary_file_that_holds_a_secret_is_left_out(tree: Path) -> None:
    """A binary change cannot be redacted in part: with a secret in it, it goes whole; without, it stays."""
    secret = b"\0\1\2 " + GITHUB_TOKEN.encode() + b"\0"
    write(tree, {"weights": b"\0\1\2", "state": secret})
    git(tree, "add", "--all")
    record, patch = patch_of(tree)
    digest = hashlib.sha256(secret).hexdigest()
    assert record.reason == f"left out: state, a binary file that holds a secret: {len(secret)} bytes, sha256 {digest}"
    assert set(applied(tree, patch)) == {b"train.py", b"weights"}


def test_what_stands_in_a_secret_files_place_is_not_waited_for(tree: Path) -> None:
    """A link is not read through; of a named pipe, which git itself cannot read, the reason is git's."""
    write(tree, {"server.pem": "x\n"})
    commit(tree)
    (tree / "server.pem").unlink()
    (tree / "server.pem").symlink_to("/dev/zero")
    write(tree, {"train.py": "x\n"})
    record, _ = patch_of(tree)
    digest = hashlib.sha256(b"/dev/zero").hexdigest()
    assert f"left out: server.pem, named like a secret: 9 bytes, sha256 {digest}" in (record.reason or "")
    (tree / "server.pem").unlink()
    os.mkfifo(tree / "server.pem")
    (record,) = attachments(tree)
    assert record.path is None
    assert (record.reason or "").startswith("git diff: ")


def test_a_binary_file_too_large_to_search_is_left_out(tree: Path) -> None:
    """What was not searched for secrets is not kept, however small its patch."""
    write(tree, {"weights": b"\0" * ((32 << 20) + 1)})
    git(tree, "add", "--all")
    (tree / "train.py").write_text("x\n")
    record, patch = patch_of(tree)
    assert "left out: weights, a binary file too large to be searched" in (record.reason or "")
    assert set(applied(tree, patch)) == {b"train.py"}


def test_many_remarks_are_cut_short(tree: Path) -> None:
    """The record names the first 20 files; above the patch stand all."""
    write(tree, {f"{number:02}.pem": "x\n" for number in range(23)} | {"train.py": "x\n"})
    git(tree, "add", "--all")
    record, patch = patch_of(tree)
    assert str(record.reason).count("left out: ") == 20
    assert str(record.reason).endswith("; and 3 more")
    assert patch.count(b"# left out: ") == 23


def test_nothing_but_secrets(tree: Path) -> None:
    """Where all of the patch was left out there is none, since `git apply` refuses an empty one; the reason says so."""
    write(tree, {".env": "TOKEN=x\n"})
    git(tree, "add", "--all", "--force")
    (record,) = attachments(tree)
    assert record.path is None
    assert (record.reason or "").startswith("left out: .env, named like a secret: 8 bytes")


def test_a_name_cannot_smuggle_a_line_into_the_patch(tree: Path) -> None:
    """A line break in the name of a file that is left out does not begin a line of the patch."""
    name = "x\ndiff --git a/train.py b/train.py\ndeleted file mode 100644\n.pem"
    write(tree, {name: "x\n", "other.py": "x\n"})
    git(tree, "add", "--all")
    _, patch = patch_of(tree)
    assert set(applied(tree, patch)) == {b"train.py", b"other.py"}


# --- size ---------------------------------------------------------------------------------------------------------


def test_a_patch_over_its_cap_is_left_out_whole(tree: Path) -> None:
    """Never cut: left out, with the size and hash of the whole."""
    write(tree, {"train.py": "x\n" * 1000})
    _, patch = patch_of(tree)
    (record,) = attachments(tree, patch_cap=len(patch))
    assert record.path is not None
    (record,) = attachments(tree, patch_cap=len(patch) - 1)
    assert record.path is None
    assert record.size_bytes == len(patch)
    assert record.sha256 == hashlib.sha256(patch).hexdigest()
    assert record.reason == f"the patch is over its cap of {len(patch) - 1} bytes"


def test_a_large_change_costs_no_memory(tree: Path) -> None:
    """A patch far over the cap is measured, not held."""
    write(tree, {"data.txt": "".join(f"{number:0100d}\n" for number in range(200_000))})
    git(tree, "add", "data.txt")
    (record,) = attachments(tree)
    assert record.path is None
    assert record.size_bytes is not None
    assert record.size_bytes > 200_000 * 101
