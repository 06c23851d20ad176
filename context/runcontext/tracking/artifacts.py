"""Copies what a run produced into its folder, and never out of it."""

from __future__ import annotations

import os
import shutil

from runcontext.files import replace_file


def copy(run_folder: str, local_path: str | os.PathLike[str], artifact_path: str | None) -> None:
    """Copy a file or a folder into the run's artifacts, below ``artifact_path``.

    Raises:
        OSError: it cannot be read, or there is no room for it.
        ValueError: ``artifact_path`` leads out of the artifacts.
    """
    source = os.path.normpath(os.fspath(local_path))
    target = os.path.join(_place(run_folder, artifact_path), os.path.basename(source))
    if os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        _copy_file(source, target)


def copy_contents(run_folder: str, local_dir: str | os.PathLike[str], artifact_path: str | None) -> None:
    """Copy what is in a folder into the run's artifacts, below ``artifact_path``; raises as ``copy`` does."""
    shutil.copytree(os.fspath(local_dir), _place(run_folder, artifact_path), dirs_exist_ok=True)


def write_text(run_folder: str, text: str, artifact_file: str) -> None:
    """Write a text as an artifact, in UTF-8; raises as ``copy`` does."""
    replace_file(_place(run_folder, artifact_file), text.encode("utf-8", "backslashreplace"))


def _copy_file(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        shutil.copy2(source, temporary)
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _place(run_folder: str, artifact_path: str | None) -> str:
    root = os.path.join(run_folder, "artifacts")
    if artifact_path is None:
        return root
    relative = os.path.normpath(artifact_path)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        message = f"artifact path {artifact_path!r} leads out of the run's artifacts: name one within them"
        raise ValueError(message)
    return os.path.join(root, relative)
