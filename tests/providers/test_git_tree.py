"""What the git provider says of the tree as it stands: its hash, its submodules, the files that Git LFS keeps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runcontext.program import Program
from runcontext.testing import resolve_provider
from runcontext_providers.git import GitProvider

if TYPE_CHECKING:
    from runcontext.record import Context

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("own_git_configuration")


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run git in ``folder`` and give what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return os.fsdecode(done.stdout).strip()


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    """Write files."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path) -> str:
    """Commit all there is, and give the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "all")
    return git(folder, "rev-parse", "HEAD")


def new_repository(folder: Path, *options: str) -> Path:
    """Make a repository of one commit with some files, and give its folder."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main", *options)
    write(folder, {"train.py": "print('training')\n", "src/model.py": "x\n", "src/deep/down.py": "y\n", "z.sh": "z\n"})
    commit(folder)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give the work tree of a repository."""
    return new_repository(tmp_path / "project")


def capture(tree: Path, *, method: str = "tags") -> Context:
    """Run the provider for a program in ``tree``, outside any CI."""
    program = Program(pid=os.getpid(), cwd=str(tree))
    return resolve_provider(GitProvider(environment={}), name="git", program=program, method=method)


def fact(tree: Path, name: str) -> str:
    """Give a fact that has to be there."""
    context = capture(tree)
    assert name in context.tags, context.outcomes["git"].failures.get(name)
    return context.tags[name]


def why_not(tree: Path, name: str) -> str:
    """Give the reason why a fact is not there."""
    return capture(tree).outcomes["git"].failures[name]


def tree_hash(tree: Path) -> str:
    """Give the hash of the tree as it stands."""
    return fact(tree, "git.tree")


def committed_tree(tree: Path) -> str:
    """Give the tree that git itself would commit of all that is tracked or could be, by committing a copy of it."""
    copy = tree.with_name(f"{tree.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(tree, copy, symlinks=True)
    git(copy, "add", "--all")
    name = git(copy, "write-tree")
    shutil.rmtree(copy)
    return name


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Give everything below ``folder``, with when it was last written, when it was last changed and its size."""
    found = {}
    for file in [folder, *folder.rglob("*")]:
        stat = file.lstat()
        found[str(file)] = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    return found


# --- git.tree -----------------------------------------------------------------------------------------------------


def test_a_clean_tree_is_the_commits(tree: Path) -> None:
    """Where nothing was changed it is HEAD's own tree."""
    assert tree_hash(tree) == git(tree, "rev-parse", "HEAD^{tree}")


def file_becomes_folder(tree: Path) -> None:
    """Put a folder in a file's place."""
    (tree / "train.py").unlink()
    write(tree, {"train.py/inside": "x\n"})


def folder_becomes_file(tree: Path) -> None:
    """Put a file in a folder's place."""
    shutil.rmtree(tree / "src")
    write(tree, {"src": "x\n"})


def file_becomes_link(tree: Path) -> None:
    """Put a link, to nowhere, in a file's place."""
    (tree / "train.py").unlink()
    (tree / "train.py").symlink_to("/nowhere/at all")


def folder_becomes_link(tree: Path) -> None:
    """Put a link to the same folder, moved, in its place."""
    (tree / "src").rename(tree / "moved")
    (tree / "src").symlink_to("moved")


def staged_and_taken_back(tree: Path) -> None:
    """Stage a change, and take it back in the work tree alone."""
    write(tree, {"train.py": "changed\n"})
    git(tree, "add", "train.py")
    write(tree, {"train.py": "print('training')\n"})


def no_longer_tracked(tree: Path) -> None:
    """Take a file out of the index and leave it where it is."""
    git(tree, "rm", "--cached", "--quiet", "src/model.py")


def no_longer_tracked_and_ignored(tree: Path) -> None:
    """The same, with the file ignored from then on."""
    no_longer_tracked(tree)
    write(tree, {".gitignore": "model.py\n"})


def intended(tree: Path) -> None:
    """Announce a file to git that is not added yet."""
    write(tree, {"new.py": "x\n"})
    git(tree, "add", "--intent-to-add", "new.py")


def odd_names(tree: Path) -> None:
    """Add files with names of every kind, some in new folders and some in old ones."""
    names = ['"quoted"', "back\\slash", "line\nbreak", "ends in cr\r", "tab\there", "-dash", ":(glob)*", "caf\u00e9"]
    write(tree, {f"{folder}{name}": name for name in names for folder in ("", "src/", f"{name} folder/")})
    Path(os.fsdecode(os.fsencode(tree) + b"/src/n\xff\xfe.py")).write_bytes(b"\xff")


def odd_folders_of_the_commit(tree: Path) -> None:
    """Change files in folders of the commit with odd names, next to files that stay."""
    for name in ("line\nbreak", "ends in cr\r", '"quoted"', "back\\slash", "a b"):
        write(tree, {f"{name}/a": "1\n", f"{name}/b": "1\n"})
    commit(tree)
    for name in ("line\nbreak", "ends in cr\r", '"quoted"', "back\\slash", "a b"):
        write(tree, {f"{name}/a": "2\n"})


def in_conflict(tree: Path) -> None:
    """Leave a merge half done, with conflicts of several kinds."""
    write(tree, {"both": "base\n", "deleted": "base\n"})
    commit(tree)
    git(tree, "checkout", "--quiet", "-b", "side")
    write(tree, {"both": "side\n", "deleted": "side\n", "added": "side\n"})
    commit(tree)
    git(tree, "checkout", "--quiet", "main")
    write(tree, {"both": "main\n", "added": "main\n"})
    (tree / "deleted").unlink()
    commit(tree)
    git(tree, "merge", "side", check=False)


def other_line_ends(tree: Path) -> None:
    """Have git convert line ends, and files with other ones than it keeps."""
    write(tree, {".gitattributes": "* text=auto\n*.raw -text\n"})
    commit(tree)
    write(tree, {"train.py": "a\r\nb\r\n", "new.py": "a\r\nb\r\n", "new.raw": "a\r\n"})


def sorted_like_a_folder(tree: Path) -> None:
    """Add names that sort differently as files and as folders."""
    write(tree, {"src-a": "x", "src.b": "x", "src0": "x", "src/z": "x", "sr": "x"})


CHANGES: dict[str, Callable[[Path], object]] = {
    "text": lambda tree: write(tree, {"train.py": "changed\n"}),
    "new": lambda tree: write(tree, {"new.py": "x\n", "more/a/b.py": "x\n"}),
    "empty": lambda tree: write(tree, {"empty": ""}),
    "binary": lambda tree: write(tree, {"train.py": bytes(range(256)) * 100}),
    "mode": lambda tree: (tree / "z.sh").chmod(0o755),
    "deleted": lambda tree: (tree / "train.py").unlink(),
    "deleted folder": lambda tree: shutil.rmtree(tree / "src"),
    "deleted folder below": lambda tree: shutil.rmtree(tree / "src" / "deep"),
    "renamed": lambda tree: git(tree, "mv", "src/model.py", "src/renamed.py"),
    "all removed": lambda tree: git(tree, "rm", "--quiet", "-r", "."),
    "new link": lambda tree: (tree / "link").symlink_to("train.py"),
    "file becomes folder": file_becomes_folder,
    "folder becomes file": folder_becomes_file,
    "file becomes link": file_becomes_link,
    "folder becomes link": folder_becomes_link,
    "staged and taken back": staged_and_taken_back,
    "no longer tracked": no_longer_tracked,
    "no longer tracked and ignored": no_longer_tracked_and_ignored,
    "intended": intended,
    "odd names": odd_names,
    "odd folders of the commit": odd_folders_of_the_commit,
    "in conflict": in_conflict,
    "other line ends": other_line_ends,
    "sorted like a folder": sorted_like_a_folder,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_tree_is_what_git_would_commit(tree: Path, change: str) -> None:
    """Whatever was changed: the tree that `git add --all` and `git write-tree` give, and nothing is written."""
    CHANGES[change](tree)
    expected = committed_tree(tree)
    before = listing(tree / ".git")
    assert tree_hash(tree) == expected
    assert listing(tree / ".git") == before


def edit_at_random(choice: random.Random, tree: Path, paths: list[str]) -> None:
    """Change what lies at one of ``paths``, or what the index has of it."""
    name = choice.choice(paths)
    file = tree / name
    kind = choice.choice(("write", "write", "link", "delete", "mode", "stage", "unstage", "reset"))
    in_index = {
        "stage": ("add", "--all", choice.choice(("p", "r", "."))),
        "unstage": ("rm", "-r", "--quiet", "--cached", name),
        "reset": ("reset", "--quiet", "--", name),
    }
    if kind in in_index:
        git(tree, *in_index[kind], check=False)
    elif kind == "mode":
        if file.is_file():
            file.chmod(choice.choice((0o644, 0o755)))
    else:
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)
        if kind == "link" and file.parent.is_dir():
            file.symlink_to(choice.choice(paths))
        elif kind == "write" and file.parent.is_dir():
            file.write_text(str(choice.random()))


def test_random_changes(tree: Path) -> None:
    """Any mixture of edits, staged or not, gives what git would commit."""
    choice = random.Random(3)
    write(tree, {f"{folder}{name}": f"{folder}{name}\n" for name in "abcd" for folder in ("", "p/", "p/q/", "r/")})
    commit(tree)
    paths = [f"{folder}{name}" for name in ("a", "b", "c", "d", "e", "p") for folder in ("", "p/", "p/q/", "r/", "a/")]
    for _ in range(25):
        for _ in range(choice.randrange(1, 6)):
            with contextlib.suppress(NotADirectoryError):
                edit_at_random(choice, tree, paths)
        assert tree_hash(tree) == committed_tree(tree), git(tree, "status", "--short")
        if choice.random() < 0.2:
            commit(tree)


def test_two_dirty_trees_compare(tree: Path) -> None:
    """Equal exactly when the files are: from whatever commit, staged or not, tracked or not."""
    write(tree, {"train.py": "changed\n", "new.py": "x\n"})
    dirty = tree_hash(tree)
    git(tree, "add", "new.py")
    assert tree_hash(tree) == dirty
    commit(tree)
    assert tree_hash(tree) == dirty
    write(tree, {"new.py": "y\n"})
    other = tree_hash(tree)
    assert other != dirty
    write(tree, {"new.py": "x\n"})
    assert tree_hash(tree) == dirty
    (tree / "new.py").chmod(0o755)
    assert tree_hash(tree) not in {dirty, other}


def test_ignored_files_do_not_count(tree: Path) -> None:
    """What git ignores is no part of the tree."""
    write(tree, {".gitignore": "*.log\n"})
    before = tree_hash(tree)
    write(tree, {"run.log": "x\n", "deep/run.log": "x\n"})
    assert tree_hash(tree) == before


def test_large_files_go_by_size_and_time(tree: Path) -> None:
    """Over 10 MiB, changed or untracked, and the value says how many; one that is as committed goes by hash."""
    write(tree, {"kept.bin": b"\0" * (10 * MIB + 1), "data.bin": b"\0" * (10 * MIB + 1)})
    commit(tree)
    write(tree, {"train.py": "changed\n"})
    assert tree_hash(tree) == committed_tree(tree)
    os.truncate(tree / "data.bin", 10 * MIB + 2)
    os.utime(tree / "data.bin", ns=(1, 1_000_000_001))
    first = tree_hash(tree)
    assert first.endswith(" (1 file over 10 MiB by size and time)")
    (tree / "data.bin").write_bytes(b"\1" * (10 * MIB + 2))
    os.utime(tree / "data.bin", ns=(1, 1_000_000_001))
    assert tree_hash(tree) == first
    os.utime(tree / "data.bin", ns=(1, 1_000_000_002))
    assert tree_hash(tree) != first
    write(tree, {"new.bin": b"\0" * (10 * MIB), "newer.bin": b"\0" * (10 * MIB + 1)})
    assert tree_hash(tree).endswith(" (2 files over 10 MiB by size and time)")


def test_many_large_files_are_not_read(tree: Path) -> None:
    """Above 256 MiB in all only smaller files are read, and the value says so."""
    for number in range(30):
        with (tree / f"{number}.bin").open("wb") as file:
            file.truncate(9 * MIB)
    assert tree_hash(tree).endswith(" (30 files over 1 MiB by size and time)")


@pytest.mark.parametrize("is_unborn", [False, True])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_every_object_format(tmp_path: Path, object_format: str, is_unborn: bool) -> None:
    """A repository of SHA-256 has hashes of 64 digits; before the first commit the tree is all there is."""
    tree = tmp_path / "project"
    tree.mkdir()
    git(tree, "init", "--quiet", f"--object-format={object_format}", check=False)
    if not (tree / ".git").exists():
        pytest.skip("this git makes no SHA-256 repositories")
    assert tree_hash(tree) == committed_tree(tree)
    write(tree, {"train.py": "x\n", "src/a.py": "x\n"})
    if not is_unborn:
        commit(tree)
        assert tree_hash(tree) == git(tree, "rev-parse", "HEAD^{tree}")
        write(tree, {"src/a.py": "y\n", "src/b.py": "y\n"})
    git(tree, "add", "src")
    write(tree, {"src/a.py": "z\n"})
    assert tree_hash(tree) == committed_tree(tree)
    assert len(tree_hash(tree)) == (64 if object_format == "sha256" else 40)


def test_kinds_of_checkouts(tree: Path, tmp_path: Path) -> None:
    """A linked worktree, a sparse one, a shallow clone with packed references and a split index tell their trees."""
    git(tree, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "worktree"))
    git(tree, "clone", "--quiet", "--depth=1", tree.as_uri(), str(tmp_path / "shallow"))
    git(tmp_path / "shallow", "pack-refs", "--all")
    git(tree, "clone", "--quiet", str(tree), str(tmp_path / "sparse"))
    git(tmp_path / "sparse", "sparse-checkout", "set", "elsewhere")
    git(tree, "clone", "--quiet", str(tree), str(tmp_path / "split"))
    git(tmp_path / "split", "update-index", "--split-index")
    write(tree, {"train.py": "changed\n", "new/file.py": "x\n"})
    expected = tree_hash(tree)
    assert expected == committed_tree(tree)
    for name in ("worktree", "shallow", "sparse", "split"):
        assert tree_hash(tmp_path / name) == git(tree, "rev-parse", "HEAD^{tree}")
        write(tmp_path / name, {"train.py": "changed\n", "new/file.py": "x\n"})
        assert tree_hash(tmp_path / name) == expected


def test_no_filter_is_run(tree: Path, tmp_path: Path) -> None:
    """A filter is a program: none is run to hash the tree, not even a required one."""
    ran = tmp_path / "ran"
    git(tree, "config", "filter.trap.clean", f"touch {ran}; cat")
    git(tree, "config", "filter.trap.required", "true")
    write(tree, {".git/info/attributes": "*.new filter=trap\n", "a.new": "x\n"})
    assert tree_hash(tree) == committed_tree_without_filters(tree)
    assert not ran.exists()


def committed_tree_without_filters(tree: Path) -> str:
    """Give what git would commit without the attributes that are this checkout's own."""
    attributes = (tree / ".git/info/attributes").read_bytes()
    (tree / ".git/info/attributes").unlink()
    expected = committed_tree(tree)
    (tree / ".git/info/attributes").write_bytes(attributes)
    return expected


def test_a_file_that_cannot_be_hashed(tree: Path) -> None:
    """What is neither a file nor a link costs this fact, is named, and is not waited for."""
    (tree / "train.py").unlink()
    os.mkfifo(tree / "train.py")
    assert "train.py" in why_not(tree, "git.tree")
    assert fact(tree, "mlflow.source.git.dirty") == "true"


def test_trees_that_were_lost(tree: Path) -> None:
    """Where the commit's trees are missing, no hash is made up."""
    write(tree, {"src/deep/down.py": "changed\n"})
    name = git(tree, "rev-parse", "HEAD:src/deep")
    (tree / ".git/objects" / name[:2] / name[2:]).unlink()
    assert "git.tree" not in capture(tree).tags


def test_a_bare_repository(tree: Path, tmp_path: Path) -> None:
    """Without a work tree there is none of this, and the time of the commit all the same."""
    git(tree, "clone", "--quiet", "--bare", str(tree), str(tmp_path / "bare"))
    context = capture(tmp_path / "bare")
    for name in ("git.tree", "git.submodules", "git.lfs"):
        assert context.outcomes["git"].failures[name] == "absent: a bare repository has no work tree"
    assert "git.commit.time" in context.tags


# --- git.submodules -----------------------------------------------------------------------------------------------


@pytest.fixture
def library(tree: Path, tmp_path: Path) -> Path:
    """Make another repository a submodule, ``lib``, of ``tree``, and give the submodule's work tree."""
    source = new_repository(tmp_path / "library")
    git(tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "lib")
    commit(tree)
    return tree / "lib"


def test_no_submodules(tree: Path) -> None:
    """Where there is none, that is the reason."""
    assert why_not(tree, "git.submodules") == "absent: no submodules"


def test_a_submodule_in_every_state(tree: Path, library: Path) -> None:
    """Its path and commit; the commit it is at where that was moved; and whether files in it were changed."""
    first = git(library, "rev-parse", "HEAD")
    assert fact(tree, "git.submodules") == f"lib@{first}"
    write(library, {"untracked": "x\n"})
    assert fact(tree, "git.submodules") == f"lib@{first}"
    assert fact(tree, "mlflow.source.git.dirty") == "false"
    second = commit(library)
    assert fact(tree, "git.submodules") == f"lib@{second}"
    write(library, {"train.py": "changed\n"})
    assert fact(tree, "git.submodules") == f"lib@{second}+dirty"
    shutil.rmtree(library)
    assert fact(tree, "git.submodules") == f"lib@{first}+deleted"


def test_submodules_that_were_not_initialised(tree: Path, library: Path, tmp_path: Path) -> None:
    """A plain clone has empty folders in their places: said so, with the commit that is meant."""
    source = new_repository(tmp_path / "more")
    git(tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "third party/more")
    commit(tree)
    first, second = git(library, "rev-parse", "HEAD"), git(source, "rev-parse", "HEAD")
    clone = tmp_path / "clone"
    git(tree, "clone", "--quiet", str(tree), str(clone))
    assert fact(clone, "git.submodules") == f"lib@{first}+uninitialised,third party/more@{second}+uninitialised"
    git(clone, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "lib")
    assert fact(clone, "git.submodules") == f"lib@{first},third party/more@{second}+uninitialised"
    assert tree_hash(clone) == tree_hash(tree)


def test_a_repository_that_was_added_without_being_declared(tree: Path) -> None:
    """One that `git add` took for a submodule is one, `.gitmodules` or not."""
    inner = new_repository(tree / "inner")
    commit(tree)
    assert not (tree / ".gitmodules").exists()
    assert fact(tree, "git.submodules") == f"inner@{git(inner, 'rev-parse', 'HEAD')}"


def test_a_touched_file_of_lfs_in_a_submodule(tree: Path, library: Path) -> None:
    """It makes neither dirty: git-lfs need not be there to tell."""
    write(library, {".gitattributes": "*.bin filter=lfs -text\n", "a.bin": pointer_to(b"a")})
    first = commit(library)
    commit(tree)
    write(library, {"a.bin": b"a"})
    context = capture(tree)
    assert context.tags["git.submodules"] == f"lib@{first}"
    assert context.tags["mlflow.source.git.dirty"] == "false"
    assert context.tags["git.tree"] == git(tree, "rev-parse", "HEAD^{tree}")
    write(library, {"a.bin": b"b"})
    assert fact(tree, "git.submodules") == f"lib@{first}+dirty"


def test_the_tree_tells_what_is_in_submodules(tree: Path, library: Path) -> None:
    """A moved commit as git would commit it; changes and untracked files inside by that repository's own tree."""
    clean = tree_hash(tree)
    write(library, {"untracked": "x\n"})
    untracked = tree_hash(tree)
    assert untracked.endswith(" (with changes in lib)")
    write(library, {"untracked": "y\n"})
    assert len({clean, untracked, tree_hash(tree)}) == 3
    write(library, {"untracked": "x\n"})
    assert tree_hash(tree) == untracked
    commit(library)
    assert tree_hash(tree) == committed_tree(tree) != clean


def test_untracked_repositories_count_by_their_commit(tree: Path) -> None:
    """As git would add them; with changes, or before the first commit, by their own tree."""
    inner = new_repository(tree / "src/inner")
    assert tree_hash(tree) == committed_tree(tree)
    write(inner, {"train.py": "changed\n"})
    assert tree_hash(tree).endswith(" (with changes in src/inner)")
    (tree / "unborn").mkdir()
    git(tree / "unborn", "init", "--quiet")
    write(tree / "unborn", {"file": "x\n"})
    assert tree_hash(tree).endswith(" (with changes in src/inner, unborn)")


# --- git.lfs ------------------------------------------------------------------------------------------------------


def pointer_to(content: bytes) -> str:
    """Give the pointer to a file: Git LFS Specification, "The Pointer"."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"


def test_no_file_of_lfs(tree: Path) -> None:
    """Where nothing has the attribute there is nothing to fetch, whatever a file looks like."""
    write(tree, {"a.bin": pointer_to(b"x")})
    commit(tree)
    assert why_not(tree, "git.lfs") == "absent: no tracked file has the attribute filter=lfs"
    write(tree, {".gitattributes": "*.py text\n"})
    commit(tree)
    assert why_not(tree, "git.lfs") == "absent: no tracked file has the attribute filter=lfs"


@pytest.mark.parametrize("attributes", [".gitattributes", "data/.gitattributes", ".git/info/attributes"])
def test_pointers_that_were_never_pulled(tree: Path, attributes: str) -> None:
    """Counted, and the first few named, wherever the attribute was set and without git-lfs."""
    write(tree, {f"data/{name}.bin": pointer_to(name.encode()) for name in "abcd"})
    write(tree, {"data/e.bin": b"\0content", "data/empty.bin": b"", attributes: "*.bin filter=lfs diff=lfs -text\n"})
    commit(tree)
    assert fact(tree, "git.lfs") == "4 of 6: data/a.bin, data/b.bin, data/c.bin, ..."
    write(tree, {f"data/{name}.bin": name for name in "bcd"})
    assert fact(tree, "git.lfs") == "1 of 6: data/a.bin"
    (tree / "data/a.bin").unlink()
    assert why_not(tree, "git.lfs") == "absent: no mere pointer among the files of Git LFS (6)"


def test_what_only_resembles_a_pointer(tree: Path) -> None:
    """Only the published format counts: not a link to one, a large file that begins like one, or other words."""
    write(
        tree,
        {
            ".gitattributes": "*.bin filter=lfs\n",
            "a.bin": pointer_to(b"x") + "x" * 1024,
            "b.bin": pointer_to(b"x").replace("sha256", "md5"),
            "extended.bin": pointer_to(b"x").replace("oid", f"ext-0-foo sha256:{'0' * 64}\noid"),
        },
    )
    (tree / "c.bin").symlink_to("extended.bin")
    commit(tree)
    assert fact(tree, "git.lfs") == "1 of 4: extended.bin"


def test_a_changed_file_of_lfs_counts_as_its_pointer(tree: Path) -> None:
    """The tree is what git-lfs would have git commit, though it is not run; a file as committed is no change."""
    write(tree, {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.bin": pointer_to(b"a")})
    commit(tree)
    write(tree, {"a.bin": pointer_to(b"changed"), "b.bin": pointer_to(b"new"), "c.txt": "x\n"})
    as_pointers = tree_hash(tree)
    assert as_pointers == committed_tree(tree)
    write(tree, {"a.bin": b"changed", "b.bin": b"new"})
    assert tree_hash(tree) == as_pointers
    write(tree, {"a.bin": b"a"})
    git(tree, "checkout", "--quiet", "HEAD", "--", ".gitattributes")
    for name in ("b.bin", "c.txt"):
        (tree / name).unlink()
    context = capture(tree)
    assert context.tags["mlflow.source.git.dirty"] == "false"
    assert context.tags["git.tree"] == git(tree, "rev-parse", "HEAD^{tree}")
    assert not context.attachments


def test_with_git_lfs_itself(tree: Path) -> None:
    """What it fetched is told apart from what it did not, and hashed as it would; it is not run, and writes nothing."""
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed")
    git(tree, "lfs", "install", "--local")
    git(tree, "lfs", "track", "*.bin")
    write(tree, {"a.bin": b"\0" * 5000, "b.bin": b"\1" * 5000})
    commit(tree)
    clone = tree.with_name("clone")
    git(tree, "-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false", "clone", "--quiet", str(tree), str(clone))
    assert fact(clone, "git.lfs") == "2 of 2: a.bin, b.bin"
    assert "no mere pointer" in why_not(tree, "git.lfs")
    for file in tree.glob("*.bin"):
        os.utime(file, (1, 1))
    assert fact(tree, "mlflow.source.git.dirty") == "false"
    assert tree_hash(tree) == git(tree, "rev-parse", "HEAD^{tree}")
    write(tree, {"a.bin": b"\2" * 5000, "c.bin": b"\3" * 5000})
    expected = committed_tree(tree)
    before = listing(tree / ".git")
    assert tree_hash(tree) == expected
    (patch, untracked) = capture(tree).attachments
    digest = hashlib.sha256(b"\2" * 5000).hexdigest()
    assert patch.reason == f"left out: a.bin, kept by Git LFS: 5000 bytes, sha256 {digest}"
    assert untracked.reason is None
    assert listing(tree / ".git") == before


# --- at the end of a run ------------------------------------------------------------------------------------------


def test_what_is_told_at_the_end(tree: Path) -> None:
    """The facts that a run can change, in the same words as at its start where it did not."""
    git(tree, "tag", "v1")
    write(tree, {".gitattributes": "*.bin filter=lfs\n", "a.bin": b"content"})
    start, end = capture(tree).tags, capture(tree, method="tags_at_end").tags
    assert set(end) == {
        "mlflow.source.git.commit",
        "mlflow.source.git.branch",
        "mlflow.source.git.dirty",
        "git.untracked",
        "git.tree",
        "git.describe",
    }
    assert {name: start[name] for name in end} == end
    git(tree, "checkout", "--quiet", "-b", "next")
    head = commit(tree)
    write(tree, {"train.py": "changed\n"})
    end = capture(tree, method="tags_at_end").tags
    assert end["mlflow.source.git.commit"] == head
    assert end["mlflow.source.git.branch"] == "next"
    assert end["mlflow.source.git.dirty"] == "true"
    assert end["git.untracked"] == "0"
    assert end["git.describe"].startswith("v1-1-g")
    assert end["git.tree"] == committed_tree(tree)
