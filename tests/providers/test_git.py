"""The git provider's facts, in real repositories."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from runcontext.program import Program
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.git import GitProvider

if TYPE_CHECKING:
    from runcontext.record import Context

COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
URL = "mlflow.source.git.repoURL"
DIRTY = "mlflow.source.git.dirty"


class Checkout:
    """A repository under test, and the git that makes it."""

    def __init__(self, path: Path) -> None:
        """Take the folder, which need not exist yet."""
        self.path = path

    def git(self, *arguments: str, fails: bool = False) -> str:
        """Run git in the folder and give what it prints."""
        done = subprocess.run(["git", *arguments], cwd=self.path, capture_output=True, check=False)
        assert (done.returncode != 0) == fails, done.stderr
        return os.fsdecode(done.stdout).strip()

    def init(self, *options: str) -> Checkout:
        """Make it a repository with one commit of one file, train.py."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)
        self.write("train.py", "print('training')\n")
        return self.commit("first")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def commit(self, message: str = "more") -> Checkout:
        """Commit all there is."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self

    def head(self) -> str:
        """Give the commit's full name."""
        return self.git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's git settings out, and its user's repositories above the temporary folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    settings = {
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Give a repository of one commit, on branch main, without remotes."""
    return Checkout(tmp_path / "project").init()


def capture(
    cwd: Path | None, main_file: Path | None = None, *, folder: Path | None = None, budget: float = 20.0
) -> Context:
    """Run the provider for a program with this working directory and main file."""
    program = Program(
        pid=os.getpid(),
        cwd=None if cwd is None else str(cwd),
        main_file=None if main_file is None else str(main_file),
    )
    return resolve_provider(GitProvider(budget=budget, environment={}), name="git", program=program, folder=folder)


def why_absent(context: Context) -> str:
    """Give the reason why the provider had nothing to say, after checking that it said nothing."""
    outcome = context.outcomes["git"]
    assert outcome.status == "absent"
    assert not context.tags
    assert outcome.reason
    return outcome.reason


def contents_of_git(path: Path) -> dict[str, tuple[bytes, int]]:
    """Give every file below ``.git``: its bytes and when it was last written."""
    files = [file for file in (path / ".git").rglob("*") if file.is_file()]
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.fixture
def replace_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Give a function that puts a shell script called git first on PATH; ``$GIT`` in it is the real one."""

    def replace(script: str) -> None:
        real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
        wrapper = tmp_path / "wrapper" / "git"
        wrapper.parent.mkdir()
        wrapper.write_text(f"#!/bin/sh\nGIT={real}\n{script}\n")
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")

    return replace


def outside_ci() -> GitProvider:
    """Build a provider to which no CI system says anything."""
    return GitProvider(environment={})


class TestGitProvider(ProviderContract):
    """The provider keeps the contract in a repository with changes and files that are not tracked."""

    provider = outside_ci

    @pytest.fixture(autouse=True)
    def in_a_repository(self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
        """Work in a repository with changes."""
        checkout.write("train.py", "changed\n")
        checkout.write("new.py", "x\n")
        monkeypatch.chdir(checkout.path)


# --- an ordinary repository ---------------------------------------------------------------------------------------


def test_every_fact_of_a_clean_repository(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean repository gives every fact that it has, a reason for each that it has not, and no patch."""
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-11-22T22:19:32+0100")
    checkout.git("commit", "--quiet", "--amend", "--no-edit")
    checkout.git("tag", "v1.0")
    context = capture(checkout.path, checkout.path / "train.py")
    assert context.tags == {
        COMMIT: checkout.head(),
        BRANCH: "main",
        DIRTY: "false",
        "git.untracked": "0",
        "git.tree": checkout.git("rev-parse", "HEAD^{tree}"),
        "git.root": str(checkout.path),
        "git.tracked": "true",
        "git.describe": "v1.0",
        "git.commit.time": "2026-11-22T21:19:32Z",
    }
    assert context.outcomes["git"].failures == {
        URL: "absent: no remotes",
        "git.pushed": "absent: no remotes",
        "git.state": "absent: nothing out of the ordinary",
        "git.submodules": "absent: no submodules",
        "git.lfs": "absent: no tracked file has the attribute filter=lfs",
        "git.fallback": "absent: nothing was taken from the variables of a CI system",
    }
    assert not context.attachments


def test_facts_are_of_the_moment(checkout: Checkout) -> None:
    """A second capture in the same process tells the new commit and branch, not the first one's."""
    before = capture(checkout.path)
    checkout.git("checkout", "--quiet", "-b", "next")
    checkout.write("train.py", "print('more')\n")
    checkout.commit()
    after = capture(checkout.path)
    assert before.tags[BRANCH] == "main"
    assert after.tags[BRANCH] == "next"
    assert after.tags[COMMIT] == checkout.head() != before.tags[COMMIT]


def test_untracked_is_counted_as_git_status_shows(checkout: Checkout) -> None:
    """A folder of untracked files counts once, an ignored file not at all, and neither makes the tree dirty."""
    checkout.write(".gitignore", "*.log\n")
    checkout.commit()
    for name in ("new.py", "data/a", "data/b", "run.log"):
        checkout.write(name, "x")
    context = capture(checkout.path)
    assert context.tags["git.untracked"] == "2"
    assert context.tags[DIRTY] == "false"


@pytest.mark.parametrize("change", ["staged", "unstaged", "deleted", "mode"])
def test_any_change_to_a_tracked_file_is_dirty(checkout: Checkout, tmp_path: Path, change: str) -> None:
    """What differs from HEAD, staged or not, is dirty."""
    file = checkout.path / "train.py"
    if change == "deleted":
        file.unlink()
    elif change == "mode":
        file.chmod(0o755)
    else:
        file.write_text("changed\n")
    if change == "staged":
        checkout.git("add", "train.py")
    assert capture(checkout.path, folder=tmp_path).tags[DIRTY] == "true"


def test_nothing_below_git_changes(checkout: Checkout, tmp_path: Path) -> None:
    """Neither a clean nor a dirty capture writes the index, an object or anything else below ``.git``."""
    for state in ("clean", "touched", "dirty"):
        if state == "touched":
            os.utime(checkout.path / "train.py", (1, 1))
        if state == "dirty":
            checkout.write("train.py", "changed\n")
        before = contents_of_git(checkout.path)
        context = capture(checkout.path, checkout.path / "train.py", folder=tmp_path)
        assert contents_of_git(checkout.path) == before
        assert context.tags[DIRTY] == ("true" if state == "dirty" else "false")


@pytest.mark.parametrize("change", ["none", "modified", "added", "unindexed", "ignored"])
def test_tracked_tells_whether_the_index_holds_the_main_file(checkout: Checkout, tmp_path: Path, change: str) -> None:
    """A file is tracked from `git add` on, changed or not, and no longer once taken out of the index."""
    main_file = checkout.path / "train.py"
    if change == "modified":
        main_file.write_text("changed\n")
    elif change == "unindexed":
        checkout.git("rm", "--quiet", "--cached", "train.py")
    elif change == "added":
        main_file = checkout.write("new.py", "")
        checkout.git("add", "new.py")
    elif change == "ignored":
        checkout.write(".git/info/exclude", "*\n")
        main_file = checkout.write("new.py", "")
    context = capture(checkout.path, main_file, folder=tmp_path)
    assert context.tags["git.tracked"] == ("false" if change in {"unindexed", "ignored"} else "true")


def test_describe_counts_from_the_last_tag(checkout: Checkout) -> None:
    """`git.describe` names the last tag and the commits since; without a tag it is absent with the reason."""
    assert capture(checkout.path).outcomes["git"].failures["git.describe"] == "absent: no tag on HEAD or before it"
    checkout.git("tag", "v1.0")
    checkout.write("train.py", "more\n")
    checkout.commit()
    assert capture(checkout.path).tags["git.describe"].startswith("v1.0-1-g")


@pytest.mark.parametrize("where", ["packed", "worktree", "annotated"])
def test_tags_are_found_wherever_they_lie(checkout: Checkout, tmp_path: Path, where: str) -> None:
    """In the packed references, from a linked worktree, annotated or in a folder of tags."""
    checkout.git("tag", *(("--annotate", "--message", "x") if where == "annotated" else ()), "releases/v1.0")
    if where == "packed":
        checkout.git("pack-refs", "--all", "--prune")
    if where == "worktree":
        checkout.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "tree"))
    assert capture(tmp_path / "tree" if where == "worktree" else checkout.path).tags["git.describe"] == "releases/v1.0"


def test_pushed_asks_the_remote_tracking_branches(checkout: Checkout, tmp_path: Path) -> None:
    """HEAD is pushed where any remote-tracking branch holds it, and no longer after the next commit."""
    other = Checkout(tmp_path / "clone")
    checkout.git("clone", "--quiet", str(checkout.path), str(other.path))
    assert capture(other.path).tags["git.pushed"] == "true"
    other.write("train.py", "more\n")
    other.commit()
    assert capture(other.path).tags["git.pushed"] == "false"


# --- which repository ---------------------------------------------------------------------------------------------


def test_the_main_files_repository_wins(checkout: Checkout, tmp_path: Path) -> None:
    """A tracked main file's repository is the one, whatever repository the working directory is in."""
    other = Checkout(tmp_path / "other").init()
    context = capture(other.path, checkout.path / "train.py")
    assert context.tags["git.root"] == str(checkout.path)
    assert context.tags["git.tracked"] == "true"


@pytest.mark.parametrize("main_file", ["project/new.py", "elsewhere/script.py", "project/.venv/bin/train", None])
def test_else_the_working_directorys(checkout: Checkout, tmp_path: Path, main_file: str | None) -> None:
    """An untracked script, one outside, a console script of the project's own venv and `-c` are cwd's code."""
    checkout.write("src/keep", "")
    context = capture(checkout.path / "src", None if main_file is None else tmp_path / main_file)
    assert context.tags["git.root"] == str(checkout.path)
    if main_file is None:
        assert context.outcomes["git"].failures["git.tracked"] == "absent: no main file"
    else:
        assert context.tags["git.tracked"] == "false"


def test_a_console_script_under_dotfiles_is_not_their_code(tmp_path: Path) -> None:
    """A script in `~/.venv/bin`, with the home folder a repository, run elsewhere: absent, and the reason names all."""
    home = Checkout(tmp_path / "home").init()
    elsewhere = tmp_path / "data"
    elsewhere.mkdir()
    script = home.write(".venv/bin/train", "")
    reason = why_absent(capture(elsewhere, script))
    assert reason == (f"{home.path} does not track {script}, and the working directory {elsewhere} is in no repository")


def test_a_link_is_followed_to_its_repository(checkout: Checkout, tmp_path: Path) -> None:
    """A symbolic link to a script runs that script's code: its repository, not the link's folder."""
    link = tmp_path / "bin" / "train"
    link.parent.mkdir()
    link.symlink_to(checkout.path / "train.py")
    assert capture(tmp_path, link).tags["git.root"] == str(checkout.path)


def test_no_repository_at_all(tmp_path: Path) -> None:
    """Outside every repository the provider is absent, and the reason says where it looked."""
    reason = why_absent(capture(tmp_path, tmp_path / "train.py"))
    assert (
        reason
        == f"no repository above {tmp_path / 'train.py'}, and the working directory {tmp_path} is in no repository"
    )


def test_a_deleted_working_directory(checkout: Checkout) -> None:
    """With its working directory gone, only the program's main file counts."""
    assert capture(None, checkout.path / "train.py").tags["git.tracked"] == "true"
    assert why_absent(capture(None)) == "no main file, and the working directory was deleted"


# --- kinds of repositories ----------------------------------------------------------------------------------------


def test_a_linked_worktree(checkout: Checkout, tmp_path: Path) -> None:
    """A linked worktree has its own branch and root."""
    tree = Checkout(tmp_path / "tree")
    checkout.git("worktree", "add", "--quiet", "-b", "side", str(tree.path))
    context = capture(tree.path, tree.path / "train.py")
    assert context.tags[BRANCH] == "side"
    assert context.tags["git.root"] == str(tree.path)
    assert context.tags["git.state"] == "worktree"


def test_a_submodule(checkout: Checkout, tmp_path: Path) -> None:
    """Inside a submodule the submodule is the repository; its changes make the outer one dirty, untracked files not."""
    library = Checkout(tmp_path / "library").init()
    checkout.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "lib")
    checkout.commit()
    inner = Checkout(checkout.path / "lib")
    inner.write("untracked", "")
    context = capture(inner.path, inner.path / "train.py")
    assert context.tags[COMMIT] == library.head()
    assert context.tags["git.root"] == str(inner.path)
    assert context.tags["git.state"] == "submodule"
    assert capture(checkout.path).tags[DIRTY] == "false"
    inner.write("train.py", "changed\n")
    outer = capture(checkout.path, folder=tmp_path)
    assert outer.tags[DIRTY] == "true"
    assert [attachment.path for attachment in outer.attachments] == [None]
    assert outer.attachments[0].reason == "not in it: changes inside the submodule lib"


def test_a_detached_head(checkout: Checkout) -> None:
    """With HEAD detached the commit is there and the branch is absent, with the reason."""
    checkout.git("checkout", "--quiet", "--detach")
    context = capture(checkout.path)
    assert context.tags[COMMIT] == checkout.head()
    assert context.outcomes["git"].failures[BRANCH] == "absent: detached HEAD"


def test_an_unborn_branch(tmp_path: Path) -> None:
    """Before the first commit there is a branch and a state of the tree, and a reason for what needs a commit."""
    checkout = Checkout(tmp_path)
    checkout.git("init", "--quiet", "--initial-branch=main")
    main_file = checkout.write("train.py", "")
    context = capture(tmp_path, main_file)
    failures = context.outcomes["git"].failures
    assert context.tags[BRANCH] == "main"
    assert context.tags[DIRTY] == "false"
    assert context.tags["git.untracked"] == "1"
    assert context.tags["git.tracked"] == "false"
    assert failures[COMMIT] == failures["git.describe"] == "absent: no commit yet"


@pytest.mark.parametrize("is_unborn", [False, True])
def test_a_bare_repository(checkout: Checkout, tmp_path: Path, is_unborn: bool) -> None:
    """A bare repository has a commit and a branch, and a reason why it has no state of a tree."""
    bare = Checkout(tmp_path / "bare.git")
    if is_unborn:
        checkout.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare.path))
    else:
        checkout.git("clone", "--quiet", "--bare", str(checkout.path), str(bare.path))
    context = capture(bare.path)
    failures = context.outcomes["git"].failures
    assert context.tags.get(COMMIT) == (None if is_unborn else checkout.head())
    assert failures.get(COMMIT) == ("absent: no commit yet" if is_unborn else None)
    assert context.tags[BRANCH] == "main"
    assert context.tags["git.root"] == str(bare.path)
    assert context.tags["git.state"] == "bare"
    assert failures[DIRTY] == failures["git.untracked"]
    assert failures[DIRTY] == "absent: a bare repository has no work tree"
    assert not context.attachments


def test_a_detached_bare_repository(checkout: Checkout, tmp_path: Path) -> None:
    """A bare repository's HEAD can be detached too."""
    bare = Checkout(tmp_path / "bare.git")
    checkout.git("clone", "--quiet", "--bare", str(checkout.path), str(bare.path))
    bare.write("HEAD", checkout.head() + "\n")
    context = capture(bare.path)
    assert context.tags[COMMIT] == checkout.head()
    assert context.outcomes["git"].failures[BRANCH] == "absent: detached HEAD"


def test_inside_the_git_folder(checkout: Checkout) -> None:
    """A working directory inside `.git`, as of a hook, is in that repository."""
    context = capture(checkout.path / ".git" / "hooks")
    assert context.tags["git.root"] == str(checkout.path)
    assert context.tags[DIRTY] == "false"


def test_a_shallow_clone(checkout: Checkout, tmp_path: Path) -> None:
    """A shallow clone is said to be one: what describe tells there is of a cut history."""
    checkout.write("train.py", "more\n")
    checkout.commit()
    shallow = Checkout(tmp_path / "shallow")
    checkout.git("clone", "--quiet", "--depth=1", checkout.path.as_uri(), str(shallow.path))
    context = capture(shallow.path)
    assert context.tags["git.state"] == "shallow"
    assert context.tags[COMMIT] == checkout.head()


def test_a_sparse_checkout(checkout: Checkout) -> None:
    """Files left out of a sparse checkout are no change, and the checkout is said to be sparse."""
    checkout.write("data/big", "x")
    checkout.commit()
    checkout.git("sparse-checkout", "set", "src")
    context = capture(checkout.path)
    assert not (checkout.path / "data").exists()
    assert context.tags["git.state"] == "sparse"
    assert context.tags[DIRTY] == "false"


def test_a_sha256_repository(tmp_path: Path) -> None:
    """A repository of SHA-256 gives its full commit, of 64 digits."""
    checkout = Checkout(tmp_path / "sha256")
    checkout.path.mkdir()
    try:
        checkout.init("--object-format=sha256")
    except AssertionError:
        pytest.skip("this git makes no SHA-256 repositories")
    context = capture(checkout.path, checkout.path / "train.py")
    assert context.tags[COMMIT] == checkout.head()
    assert len(context.tags[COMMIT]) == 64
    assert context.tags["git.tracked"] == "true"


def test_packed_references(checkout: Checkout) -> None:
    """References in the packed file are as good as loose ones."""
    checkout.git("tag", "v1.0")
    checkout.git("pack-refs", "--all")
    assert not (checkout.path / ".git/refs/heads/main").exists()
    context = capture(checkout.path)
    assert context.tags[COMMIT] == checkout.head()
    assert context.tags["git.describe"] == "v1.0"


def test_reftable(tmp_path: Path) -> None:
    """References in the reftable format are read by git."""
    checkout = Checkout(tmp_path / "reftable")
    checkout.path.mkdir()
    try:
        checkout.init("--ref-format=reftable")
    except AssertionError:
        pytest.skip("this git has no reftable (new in git 2.45)")
    context = capture(checkout.path)
    assert context.tags[COMMIT] == checkout.head()
    assert context.tags[BRANCH] == "main"


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick", "revert", "am", "bisect"])
def test_an_operation_under_way(checkout: Checkout, tmp_path: Path, operation: str) -> None:
    """A merge, rebase, cherry-pick, revert or bisection in the middle is part of the state."""
    checkout.git("checkout", "--quiet", "-b", "side")
    checkout.write("train.py", "side\n")
    checkout.commit("side")
    patch = tmp_path / "side.patch"
    patch.write_text(checkout.git("format-patch", "--stdout", "-1") + "\n")
    checkout.git("checkout", "--quiet", "main")
    checkout.write("train.py", "main\n")
    checkout.commit("main")
    checkout.write("train.py", "main again\n")
    checkout.commit("main again")
    commands = {
        "merge": ("merge", "side"),
        "rebase": ("rebase", "side"),
        "cherry-pick": ("cherry-pick", "side"),
        "revert": ("revert", "--no-edit", "HEAD~1"),
        "am": ("am", str(patch)),
        "bisect": ("bisect", "start"),
    }
    checkout.git(*commands[operation], fails=operation != "bisect")
    context = capture(checkout.path, folder=tmp_path)
    assert context.tags["git.state"] == ("rebase" if operation == "am" else operation)
    assert context.tags[COMMIT] == checkout.head()


# --- remotes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ada:hunter2tok@example.org/o/r.git", "example.org/o/r.git"),
        ("https://hunter2tok@example.org/o/r.git", "example.org/o/r.git"),
        ("https://hunter2tok:x-oauth-basic@example.org/o/r.git", "example.org/o/r.git"),
        ("//ada:hunter2tok@example.org/o/r.git", "example.org/o/r.git"),
        ("ada:hunter2tok@example.org:o/r.git", "example.org:o/r.git"),
        ("https://example.org/o/r.git?access_token=hunter2tok", "https://example.org/o/r.git?access_token="),
        ("ssh://git:hunter2tok@example.org/o/r.git", "example.org/o/r.git"),
    ],
)
def test_credentials_leave_a_remotes_address(checkout: Checkout, url: str, kept: str) -> None:
    """Of every kind of address the credential goes and the rest stays."""
    checkout.git("remote", "add", "origin", url)
    told = capture(checkout.path).tags[URL]
    assert "hunter2tok" not in told
    assert kept in told


@pytest.mark.parametrize(
    "url",
    [
        "git@example.org:o/r.git",
        "ssh://git@example.org/o/r.git",
        "https://example.org/o/r.git",
        "/srv/git/r.git",
        "../r.git",
    ],
)
def test_an_address_without_a_credential_stays_whole(checkout: Checkout, url: str) -> None:
    """`git@` is part of an ssh address, and a path is an address too."""
    checkout.git("remote", "add", "origin", url)
    assert capture(checkout.path).tags[URL] == url


def test_which_remote(checkout: Checkout) -> None:
    """The first remote; above it the branch's own; above that origin."""
    checkout.git("remote", "add", "a.first", "https://example.org/first")
    checkout.git("remote", "add", "mine", "https://example.org/mine")
    assert capture(checkout.path).tags[URL] == "https://example.org/first"
    checkout.git("config", "branch.main.remote", "mine")
    assert capture(checkout.path).tags[URL] == "https://example.org/mine"
    checkout.git("remote", "add", "origin", "https://example.org/origin")
    assert capture(checkout.path).tags[URL] == "https://example.org/origin"
    checkout.git("checkout", "--quiet", "--detach")
    assert capture(checkout.path).tags[URL] == "https://example.org/origin"


def test_a_token_in_instead_of_is_not_looked_up(checkout: Checkout) -> None:
    """The address is the one in the configuration: what `insteadOf` makes of it may hold a token."""
    checkout.git("config", "url.https://hunter2tok@example.org/.insteadOf", "https://example.org/")
    checkout.git("remote", "add", "origin", "https://example.org/o/r")
    assert capture(checkout.path).tags[URL] == "https://example.org/o/r"


# --- what stands in the way ---------------------------------------------------------------------------------------


@pytest.fixture
def foreign(checkout: Checkout) -> Checkout:
    """Give a repository that belongs to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    for file in (checkout.path, *checkout.path.rglob("*")):
        os.chown(file, 12345, 12345, follow_symlinks=False)
    return checkout


def test_a_repository_of_another_user(foreign: Checkout, tmp_path: Path) -> None:
    """It is absent with git's reason and the command that mends it, wherever the program runs."""
    for cwd, main_file in (
        (foreign.path, None),
        (foreign.path, foreign.path / "train.py"),
        (tmp_path, foreign.path / "train.py"),
    ):
        reason = why_absent(capture(cwd, main_file))
        assert "ownership" in reason or "owned by someone else" in reason
        assert f"git config --global --add safe.directory {foreign.path}" in reason


def test_a_repository_of_another_user_that_was_declared_safe(
    foreign: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`safe.directory` counts where containers set it: in the environment."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(foreign.path))
    monkeypatch.setenv("GIT_CONFIG_KEY_1", "core.worktree")
    monkeypatch.setenv("GIT_CONFIG_VALUE_1", "/nowhere")
    assert capture(foreign.path).tags["git.root"] == str(foreign.path)


def test_no_git_binary(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git, HEAD and the remotes are still read, and all else is absent for that reason, the patch included."""
    checkout.git("remote", "add", "a", "https://ada:hunter2tok@example.org/a")
    checkout.git("remote", "add", "b", "https://example.org/b")
    checkout.git("config", "branch.main.remote", "b")
    commit = checkout.head()
    checkout.git("pack-refs", "--all")
    monkeypatch.setenv("PATH", str(tmp_path))
    context = capture(checkout.path, checkout.path / "train.py", folder=tmp_path)
    assert context.tags == {
        COMMIT: commit,
        BRANCH: "main",
        URL: "https://example.org/b",
        "git.root": str(checkout.path),
    }
    reasons = dict(context.outcomes["git"].failures)
    assert reasons.pop("git.fallback") == "absent: nothing was taken from the variables of a CI system"
    assert set(reasons.values()) == {"absent: no git binary on PATH"}
    assert [(file.name, file.path, file.reason) for file in context.attachments] == [
        ("git.patch", None, "no git binary on PATH"),
        ("untracked.json", None, "no git binary on PATH"),
    ]


def test_no_git_binary_in_odd_repositories(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git: detached, unborn, SHA-256 and reftable heads are told or have a reason; nothing is guessed."""
    unborn = Checkout(tmp_path)
    unborn.git("init", "--quiet", "--initial-branch=main", "unborn")
    checkout.git("checkout", "--quiet", "--detach")
    commit = checkout.head()
    script = tmp_path / "outside" / "script.py"
    script.parent.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    detached = capture(checkout.path)
    assert detached.tags[COMMIT] == commit
    assert detached.outcomes["git"].failures[BRANCH] == "absent: detached HEAD"
    assert COMMIT in capture(tmp_path / "unborn").outcomes["git"].failures
    assert "no git binary" in why_absent(capture(script.parent, checkout.path / "train.py"))
    (tmp_path / "broken" / ".git").mkdir(parents=True)
    assert str(tmp_path / "broken" / ".git") in why_absent(capture(tmp_path / "broken"))
    (checkout.path / ".git" / "reftable").mkdir()
    assert "reftable" in capture(checkout.path).outcomes["git"].failures[COMMIT]


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"]
)
def test_variables_that_name_another_repository(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A program started by a git hook has GIT_DIR and its like set: they do not say where its code is from."""
    other = Checkout(tmp_path / "other").init()
    values = {
        "GIT_WORK_TREE": other.path,
        "GIT_INDEX_FILE": other.path / ".git/index",
        "GIT_OBJECT_DIRECTORY": tmp_path / "nowhere",
    }
    commit = checkout.head()
    monkeypatch.setenv(name, str(values.get(name, other.path / ".git")))
    context = capture(checkout.path, checkout.path / "train.py")
    assert context.tags[COMMIT] == commit
    assert context.tags["git.root"] == str(checkout.path)
    assert context.tags[DIRTY] == "false"


def test_what_git_is_given(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace_git: Callable[[str], None]
) -> None:
    """Every call of git has the variables that keep it quiet, and none that names a repository."""
    local = checkout.git("rev-parse", "--local-env-vars").split()
    seen = tmp_path / "seen"
    replace_git(f'env >> "{seen}"; echo "ARGUMENTS $*" >> "{seen}"; exec "$GIT" "$@"')
    for name in (*local, "GIT_EXTERNAL_DIFF", "GIT_TRACE"):
        monkeypatch.setenv(name, "1" if name == "GIT_CONFIG_COUNT" else "/nowhere")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    checkout.write("train.py", "changed\n")
    assert capture(checkout.path, checkout.path / "train.py", folder=tmp_path).tags[DIRTY] == "true"
    lines = seen.read_text().splitlines()
    calls = sum(line.startswith("ARGUMENTS") for line in lines)
    names = {line.partition("=")[0] for line in lines}
    assert not names & {*local, "GIT_EXTERNAL_DIFF", "GIT_TRACE"}
    for line in (
        "GIT_OPTIONAL_LOCKS=0",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_NO_LAZY_FETCH=1",
        "GIT_ALLOW_PROTOCOL=none",
        "LC_ALL=C",
    ):
        assert lines.count(line) >= calls > 0


@pytest.mark.parametrize("damage", ["head", "empty", "file", "dangling"])
def test_a_broken_git_folder(checkout: Checkout, tmp_path: Path, damage: str) -> None:
    """A `.git` that is none is named, and a sound repository further up does not pass for it."""
    Checkout(tmp_path).init()
    folder = checkout.path / ".git"
    if damage == "head":
        (folder / "HEAD").write_text("garbage\n")
    else:
        folder.rename(tmp_path / "moved")
    if damage == "empty":
        folder.mkdir()
    elif damage in {"file", "dangling"}:
        folder.write_text("garbage\n" if damage == "file" else "gitdir: /nowhere\n")
    assert str(folder) in why_absent(capture(checkout.path, checkout.path / "train.py"))


def test_a_broken_configuration(checkout: Checkout) -> None:
    """A configuration that git cannot read: nothing is told, and git's reason is on record."""
    checkout.write(".git/config", "[core\n")
    outcome = capture(checkout.path).outcomes["git"]
    assert "bad config line 1" in (outcome.reason or "")


def test_a_broken_index(checkout: Checkout, tmp_path: Path) -> None:
    """A broken index costs the facts about the tree, with git's reason; the commit and branch are told."""
    checkout.write(".git/index", "garbage")
    context = capture(checkout.path, checkout.path / "train.py", folder=tmp_path)
    failures = context.outcomes["git"].failures
    assert context.tags[COMMIT] == checkout.head()
    assert context.tags[BRANCH] == "main"
    for name in (DIRTY, "git.untracked"):
        assert "git status: " in failures[name]
        assert not failures[name].startswith("absent")
    assert [file.path for file in context.attachments] == [None, None]
    assert all("git status: " in (file.reason or "") for file in context.attachments)


def test_a_broken_reference(checkout: Checkout, tmp_path: Path) -> None:
    """A branch whose file a crash left empty is not taken for one without commits, nor its files for new ones."""
    checkout.write(".git/refs/heads/main", "")
    context = capture(checkout.path, folder=tmp_path)
    for name in (COMMIT, BRANCH, DIRTY):
        assert context.outcomes["git"].failures[name].endswith("the reference that HEAD names is broken")
    assert [file.path for file in context.attachments] == [None, None]


def test_lost_objects(checkout: Checkout) -> None:
    """With its objects lost the commit is still named, and the reason for all else is on record."""
    for file in (checkout.path / ".git/objects").rglob("*"):
        if file.is_file():
            file.unlink()
    context = capture(checkout.path)
    assert context.tags[COMMIT]
    assert DIRTY in context.outcomes["git"].failures


def is_running(process_id: int) -> bool:
    """Say whether a process is there and not just waiting to be reaped."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


HANG = 'sleep 60 & echo $! >> "{pids}"; wait'


def assert_all_gone(pids: Path) -> None:
    """Check that each process that the wrapper noted is gone, or goes within two seconds."""
    deadline = time.monotonic() + 2
    started = [int(line) for line in pids.read_text().split()]
    while any(map(is_running, started)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started
    assert not any(map(is_running, started))


def test_a_git_that_hangs(checkout: Checkout, tmp_path: Path, replace_git: Callable[[str], None]) -> None:
    """All calls share one budget; when it is spent all is killed, the child that holds the pipes too, and told."""
    pids = tmp_path / "pids"
    replace_git(HANG.format(pids=pids))
    started = time.monotonic()
    outcome = capture(checkout.path, checkout.path / "train.py", budget=0.5).outcomes["git"]
    assert time.monotonic() - started < 10
    assert "no answer within 0.5 s" in (outcome.reason or "")
    assert_all_gone(pids)


def test_a_status_that_hangs(checkout: Checkout, tmp_path: Path, replace_git: Callable[[str], None]) -> None:
    """Where only `git status` hangs, only what it tells is lost."""
    pids = tmp_path / "pids"
    commit = checkout.head()
    replace_git(f'case " $* " in *" status "*) {HANG.format(pids=pids)};; *) exec "$GIT" "$@";; esac')
    context = capture(checkout.path, checkout.path / "train.py", folder=tmp_path, budget=2.0)
    assert context.tags[COMMIT] == commit
    assert context.tags[BRANCH] == "main"
    assert "git status: no answer within 2 s" in context.outcomes["git"].failures[DIRTY]
    assert "git status: no answer" in (context.attachments[0].reason or "")
    assert_all_gone(pids)


def test_a_diff_that_hangs(checkout: Checkout, tmp_path: Path, replace_git: Callable[[str], None]) -> None:
    """Where only `git diff` hangs the facts are whole, and the patch has the reason."""
    pids = tmp_path / "pids"
    replace_git(f'case " $* " in *" diff "*) {HANG.format(pids=pids)};; *) exec "$GIT" "$@";; esac')
    checkout.write("train.py", "changed\n")
    context = capture(checkout.path, folder=tmp_path, budget=2.0)
    assert context.tags[DIRTY] == "true"
    assert [(file.path, file.reason) for file in context.attachments] == [(None, "git diff: no answer within 2 s")]
    assert_all_gone(pids)


def test_a_file_that_is_deleted_meanwhile(checkout: Checkout, replace_git: Callable[[str], None]) -> None:
    """A file that goes while the tree is hashed is not in it, and costs nothing else."""
    checkout.write("kept.py", "x\n")
    without = capture(checkout.path).tags["git.tree"]
    gone = checkout.write("gone.py", "x\n")
    replace_git(f'case " $* " in *" hash-object "*) rm -f "{gone}";; esac; exec "$GIT" "$@"')
    context = capture(checkout.path)
    assert context.tags["git.tree"] == without
    assert context.tags["git.untracked"] == "2"


def test_a_child_of_git_that_holds_the_pipes(
    checkout: Checkout, tmp_path: Path, replace_git: Callable[[str], None]
) -> None:
    """A git that answers, and leaves a child behind with its pipes, has answered; the child is not waited for."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("only Linux shows the end of a process")
    pids = tmp_path / "pids"
    commit = checkout.head()
    replace_git(f'sleep 60 & echo $! >> "{pids}"; "$GIT" "$@"')
    started = time.monotonic()
    context = capture(checkout.path, checkout.path / "train.py")
    assert time.monotonic() - started < 10
    assert context.tags[COMMIT] == commit
    assert context.tags[DIRTY] == "false"
    assert_all_gone(pids)


def test_a_child_of_git_that_never_stops_writing(
    checkout: Checkout, tmp_path: Path, replace_git: Callable[[str], None]
) -> None:
    """A child that floods the pipes after git has ended holds nobody up."""
    pids = tmp_path / "pids"
    replace_git(f'"$GIT" "$@"; code=$?; yes >&2 & echo $! >> "{pids}"; exit $code')
    started = time.monotonic()
    context = capture(checkout.path, budget=5.0)
    assert time.monotonic() - started < 20
    assert context.tags.get(BRANCH, "main") == "main"
    assert_all_gone(pids)


def test_a_git_that_cannot_be_run(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that is no program is named in the reason."""
    fake = tmp_path / "fake" / "git"
    fake.parent.mkdir()
    fake.write_bytes(b"\x7fELF garbage")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    assert f"{fake} cannot be run" in (capture(checkout.path).outcomes["git"].reason or "")


def test_importing_asks_git_nothing(tmp_path: Path, replace_git: Callable[[str], None]) -> None:
    """GitPython asks git for its version when imported; here not: a git that hangs cannot hang the import."""
    ran = tmp_path / "ran"
    replace_git(f'echo x >> "{ran}"; sleep 60')
    check = (
        "import os, runcontext_providers._git.files_only\n"
        "assert not [name for name in os.environ if name.startswith('GIT_PYTHON')]\n"
    )
    done = subprocess.run([sys.executable, "-c", check], timeout=30, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not ran.exists()


def test_the_programs_own_gitpython_is_whole(checkout: Checkout) -> None:
    """After a capture in the program's own process GitPython knows its git, as if the program had imported it."""
    script = (
        "import git, os; from runcontext.program import Program; from runcontext.testing import resolve_provider\n"
        "from runcontext_providers.git import GitProvider\n"
        "resolve_provider(GitProvider(), program=Program(pid=os.getpid(), cwd=os.getcwd()))\n"
        "assert git.GIT_OK and git.Repo('.').head.is_valid()\n"
    )
    swapped = script.replace("import git, os; ", "import os; ").replace("assert git", "import git; assert git")
    for code in (script, swapped):
        subprocess.run([sys.executable, "-c", code], cwd=checkout.path, check=True)


# --- where the checkout cannot tell -------------------------------------------------------------------------------

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REF": "refs/heads/feature/x",
    "GITHUB_REPOSITORY": "team/project",
    "GITHUB_SERVER_URL": "https://github.com",
}


def capture_in_ci(cwd: Path, method: str = "tags", **environment: str) -> Context:
    """Run the provider as GitHub Actions would have it run; GitHub Docs, "Variables reference"."""
    provider = GitProvider(environment={**GITHUB, **environment})
    program = Program(pid=os.getpid(), cwd=str(cwd), main_file=str(cwd / "train.py"))
    return resolve_provider(provider, name="git", program=program, method=method)


def test_what_git_says_is_never_overridden(checkout: Checkout) -> None:
    """On a branch, with a remote, the CI's variables are not even looked at."""
    checkout.git("remote", "add", "origin", "https://example.org/real")
    context = capture_in_ci(checkout.path, GITHUB_SHA=checkout.head())
    assert (context.tags[BRANCH], context.tags[URL]) == ("main", "https://example.org/real")
    assert "git.fallback" not in context.tags


@pytest.mark.parametrize("method", ["tags", "tags_at_end"])
def test_the_branch_of_a_detached_head(checkout: Checkout, method: str) -> None:
    """CI systems detach HEAD: the branch is then theirs, at start and end, and that is said."""
    checkout.git("checkout", "--quiet", "--detach")
    context = capture_in_ci(checkout.path, method, GITHUB_SHA=checkout.head())
    assert context.tags[BRANCH] == "feature/x"
    assert context.tags[COMMIT] == checkout.head()
    if method == "tags":
        assert context.tags[URL] == "https://github.com/team/project"
        assert context.tags["git.fallback"] == f"{BRANCH} from GITHUB_REF, {URL} from GITHUB_SERVER_URL"


def test_variables_about_another_commit(checkout: Checkout) -> None:
    """Where the CI checked out something else, its branch is not that of this code."""
    checkout.git("checkout", "--quiet", "--detach")
    context = capture_in_ci(checkout.path, GITHUB_SHA="0" * 40)
    assert context.outcomes["git"].failures[BRANCH] == (
        f"absent: detached HEAD, and GITHUB_REF is about another commit, {'0' * 40}"
    )
    assert "git.fallback" not in context.tags


@pytest.mark.parametrize("method", ["tags", "tags_at_end"])
def test_no_repository_in_ci(tmp_path: Path, method: str) -> None:
    """Where the job has the code without its repository, commit, branch and address are the CI's, and that is said."""
    context = capture_in_ci(tmp_path, method, GITHUB_SHA="1" * 40)
    assert context.tags[COMMIT] == "1" * 40
    assert context.tags[BRANCH] == "feature/x"
    assert context.outcomes["git"].failures[DIRTY].startswith("absent: no repository above ")
    if method == "tags":
        assert set(context.tags) == {COMMIT, BRANCH, URL, "git.fallback"}
        assert context.tags["git.fallback"].startswith(f"{COMMIT} from GITHUB_SHA, {BRANCH} from GITHUB_REF, ")
    assert not context.attachments


def test_a_refused_repository_in_ci(checkout: Checkout, replace_git: Callable[[str], None]) -> None:
    """A container's checkout often belongs to another user: the CI tells what it is, and git's reason stands."""
    replace_git("echo \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128")
    context = capture_in_ci(checkout.path, GITHUB_SHA="1" * 40)
    assert context.tags[COMMIT] == "1" * 40
    assert "detected dubious ownership" in context.outcomes["git"].failures[DIRTY]


# --- how it grows -------------------------------------------------------------------------------------------------


def fastest(work: Callable[[], object], times: int = 3) -> float:
    """Give the shortest time that ``work`` took, in seconds: what other programs on the machine took is not in it."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@pytest.mark.parametrize("folders", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_ten_or_fifty_thousand_files(checkout: Checkout, tmp_path: Path, folders: int) -> None:
    """From one file to many a capture grows as `git status` does, clean; by one `git diff` more, dirty."""
    large = Checkout(tmp_path / "large")
    for number in range(folders):
        folder = large.path / f"part{number}"
        folder.mkdir(parents=True)
        for name in range(200):
            (folder / f"{name}.txt").write_bytes(b"x\n")
    large.init()
    large.git("status")

    def growth(work: Callable[[Checkout], object]) -> float:
        return fastest(lambda: work(large)) - fastest(lambda: work(checkout))

    status = growth(lambda repository: repository.git("status"))
    clean = growth(lambda repository: capture(repository.path, repository.path / "train.py"))
    for repository in (large, checkout):
        repository.write("train.py", "changed\n")
    dirty = growth(lambda repository: capture(repository.path, repository.path / "train.py", folder=tmp_path))
    # What measures coverage makes Python's part of it slower, and not git's.
    measured = 2.0 if any(name.startswith("COVERAGE") for name in os.environ) else 1.0
    # A machine that is busy is late now and then by more than git takes; what a file more costs shows by far.
    late = 0.2
    assert clean < 1.5 * measured * status + late
    assert dirty < 2.5 * measured * status + late
