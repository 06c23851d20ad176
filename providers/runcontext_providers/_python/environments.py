"""Which kind of environment an interpreter belongs to, read from what the tool that made it left there."""

from __future__ import annotations

from pathlib import Path


def environment(executable: str, base_prefix: str) -> str:
    """Give kind and folder of the environment that interpreter ``executable`` belongs to, as ``venv /path``.

    ``base_prefix`` is ``sys.base_prefix``, where the Python itself is installed.

    - ``uv``, ``virtualenv``, ``venv``: pyvenv.cfg has a key ``uv``, ``virtualenv``, or neither; ``poetry``, ``pipenv``:
      it is one of those that these two keep in a folder of their own.
    - ``conda``, ``pixi``: there is a folder conda-meta, with pixi's own file in it.
    - ``pyenv``: no environment, but a Python that pyenv built; ``system``: any other.
    """
    # Where an interpreter looks for its pyvenv.cfg: beside itself, else one folder above.
    folders = list(Path(executable).parents[:2]) if executable else []
    for folder in folders:
        if (folder / "pyvenv.cfg").is_file():
            return f"{_kind_of_venv(folder)} {folder}"
    prefix = Path(base_prefix)
    for folder in (*folders, prefix):
        if (folder / "conda-meta").is_dir():
            return f"{'pixi' if (folder / 'conda-meta' / 'pixi').exists() else 'conda'} {folder}"
    # $PYENV_ROOT/versions/<version>, beside which pyenv keeps the commands that it puts on PATH.
    is_of_pyenv = prefix.parent.name == "versions" and (prefix.parent.parent / "shims").is_dir()
    return f"{'pyenv' if is_of_pyenv else 'system'} {prefix}"


def _kind_of_venv(folder: Path) -> str:
    lines = (folder / "pyvenv.cfg").read_text("utf-8", errors="replace").splitlines()
    keys = {line.partition("=")[0].strip().lower() for line in lines if "=" in line}
    if folder.parent.name == "virtualenvs" and "pypoetry" in folder.parts:
        return "poetry"
    if folder.parent.name == "virtualenvs" and (folder / ".project").is_file():
        return "pipenv"
    return next((tool for tool in ("uv", "virtualenv") if tool in keys), "venv")
