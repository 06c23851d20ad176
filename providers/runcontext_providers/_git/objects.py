"""How git keeps a tree: what its objects hold, and how they are named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from runcontext_providers._git.command import GitError

Leaf: TypeAlias = "tuple[str, str]"
"""A mode, octal, and the name of an object: what a tree has for one name."""

_Node: TypeAlias = "dict[bytes, _Node | Leaf | None]"

_FOLDER = "40000"
_SHA256_DIGITS = 64


def identify(algorithm: str, kind: bytes, content: bytes) -> str:
    """Give the name of an object: the hash of its kind, its size and its content (Pro Git, "Git Objects")."""
    header = b"%s %d\0" % (kind, len(content))
    return hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest()


def algorithm_of(identity: str) -> str:
    """Give hashlib's name for the function that made the name of an object."""
    return "sha256" if len(identity) == _SHA256_DIGITS else "sha1"


def folders_above(path: bytes) -> Iterator[bytes]:
    """Give each folder above ``path``, with a slash at its end; the root is empty."""
    yield b""
    at = path.find(b"/")
    while at >= 0:
        yield path[: at + 1]
        at = path.find(b"/", at + 1)


def read_trees(answer: bytes, tree: str, folders: Iterable[bytes]) -> dict[bytes, dict[bytes, Leaf]]:
    """Read git-cat-file(1), "BATCH OUTPUT": of each folder that is one in ``tree``, its entries.

    Raises GitError where ``tree`` itself was not found.
    """
    listed = {}
    at = 0
    for folder in folders:
        missing = f"{tree}:".encode() + folder + b" missing\n"
        if answer.startswith(missing, at):
            at += len(missing)
            continue
        end = answer.index(b"\n", at)
        identity, kind, size = answer[at:end].split(b" ")
        at = end + 1 + int(size) + 1
        if kind == b"tree":
            listed[folder] = dict(_entries(answer[end + 1 : at - 1], len(identity) // 2))
    if b"" not in listed:
        message = f"the tree {tree} is not in this repository"
        raise GitError(message)
    return listed


def _entries(tree: bytes, id_bytes: int) -> Iterator[tuple[bytes, Leaf]]:
    """Read a tree object: for each entry its mode, a space, its name, a NUL and the bytes of its object's name."""
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        mode, _, name = tree[at:end].partition(b" ")
        at = end + 1 + id_bytes
        yield name, (mode.decode(), tree[end + 1 : at].hex())


def rebuilt_tree(
    trees: Mapping[bytes, Mapping[bytes, Leaf]], leaves: Mapping[bytes, Leaf | None], algorithm: str
) -> str:
    """Give the name of the tree that has ``leaves`` in place of what ``trees`` has at their paths; None is for nothing.

    Raises GitError where a tree that is needed for it is not among ``trees``.
    """
    return _Rebuilt(trees, algorithm).identity(b"", _nested(leaves)) or identify(algorithm, b"tree", b"")


def _nested(leaves: Mapping[bytes, Leaf | None]) -> _Node:
    root: _Node = {}
    # What is gone comes first: a file may stand where a folder was, or a folder where a file was.
    for path, leaf in sorted(leaves.items(), key=lambda entry: entry[1] is not None):
        *folders, name = path.split(b"/")
        node = root
        for folder in folders:
            below = node.get(folder)
            if not isinstance(below, dict):
                below = node[folder] = {}
            node = below
        node[name] = leaf
    return root


class _Rebuilt:
    """The trees of HEAD, with some of their entries replaced."""

    def __init__(self, listed: Mapping[bytes, Mapping[bytes, Leaf]], algorithm: str) -> None:
        self._listed = listed
        self._algorithm = algorithm

    def identity(self, folder: bytes, node: _Node) -> str | None:
        """Give the name of the tree of ``folder``, which is empty or ends in a slash; None where nothing is left."""
        entries = dict(self._listed.get(folder, {}))
        for name, change in node.items():
            if isinstance(change, dict):
                below = folder + name + b"/"
                if entries.get(name, ("", ""))[0] == _FOLDER and below not in self._listed:
                    message = f"the tree of {os.fsdecode(below)} is not in this repository"
                    raise GitError(message)
                tree = self.identity(below, change)
                leaf = None if tree is None else (_FOLDER, tree)
            else:
                leaf = change
            if leaf is None:
                entries.pop(name, None)
            else:
                entries[name] = leaf
        return identify(self._algorithm, b"tree", _written(entries)) if entries else None


def _written(entries: Mapping[bytes, Leaf]) -> bytes:
    # git's base_name_compare: a folder is sorted as if its name ended in a slash.
    ordered = sorted(entries.items(), key=lambda entry: entry[0] + b"/" * (entry[1][0] == _FOLDER))
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(key) for name, (mode, key) in ordered)
