"""What git is asked, and how: commands that neither a setting nor a pager changes the answers of."""

from __future__ import annotations

import os

from runcontext_providers._git.status import STATUS

# git stops at the first that it cannot tell, so what is always there stands first: a bare repository has no top folder,
# and HEAD names no commit before the first one. Whether that commit has the main file is asked last: a process of its
# own, `git ls-files`, is then needed only for a file that it has not.
FLAGS = (
    "rev-parse",
    "--is-bare-repository",
    "--is-shallow-repository",
    "--absolute-git-dir",
    "--git-common-dir",
    "--show-toplevel",
    "HEAD",
    "--symbolic-full-name",
    "HEAD",
)
FLAGS_OF_WORK_TREE, FLAGS_OF_COMMIT = 5, 7
"""Of the lines that FLAGS gives, how many there are in a work tree, and where there is a commit as well."""

PUSHED = ("for-each-ref", "--contains", "HEAD", "--count=1", "--format=%(refname)", "refs/remotes")

QUESTIONS = {
    "status": STATUS,
    "flags": FLAGS,
    "configuration": (
        "config",
        "-z",
        "--get-regexp",
        r"^(remote\..*\.url|branch\..*\.remote|core\.(sparsecheckout|filemode)|filter\..*\.(clean|process))$",
    ),
    "describe": ("describe", "--tags", "HEAD"),
    "commit": ("rev-list", "--max-count=1", "--format=%T %ct", "HEAD", "--"),
    "lfs": ("ls-files", "-z", "--", ":(attr:filter=lfs)"),
    "index": ("ls-files", "--stage", "-z"),
    "superproject": ("rev-parse", "--show-superproject-working-tree"),
}
"""What is asked at once, by the names that the answers have."""

AT_END = frozenset({"status", "flags", "describe", "commit"})
"""The questions whose answers can be others when the run ends."""

INSIDE = frozenset({"status", "flags", "commit"})
"""What is asked of a repository inside another."""

HEAD = {"commit": ("rev-parse", "--verify", "HEAD"), "branch": ("symbolic-ref", "--short", "--quiet", "HEAD")}
# The empty tree's name depends on the repository's hash function.
EMPTY_TREE = ("hash-object", "-t", "tree", os.devnull)
UNTRACKED_FILES = ("ls-files", "--others", "--exclude-standard", "-z", "--")
ATTRIBUTES = ("check-attr", "-z", "--stdin", "filter")
