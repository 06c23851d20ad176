"""The program that a run describes: the caller's process, wherever the code that describes it runs."""

from __future__ import annotations

import os
import sys

from runcontext.project import working_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_PYTHONS = ("python", "pypy")
_INTERPRETERS = (*_PYTHONS, "bash", "sh", "dash", "zsh")
_OPTIONS_WITH_VALUE = ("-W", "-X", "-o")


class Program:
    """What is known about the described program at the moment of the request.

    - ``pid``: its process id; facts about the process are read for this one, never for ``os.getpid()``.
    - ``argv``, ``orig_argv``: as ``sys.argv`` and ``sys.orig_argv``; of a command, its words.
    - ``executable``: absolute path of its interpreter, or of the command; empty where unknown.
    - ``cwd``: its working directory, None where that was deleted.
    - ``main_file``: absolute path of the file that runs as ``__main__``, None for ``-c``, stdin, a console, a notebook.
    - ``main_module``: the dotted name after ``-m``, None otherwise.
    - ``sys_path``: its import path, in its order; empty for a command.
    - ``is_python``: False for a command that ``runcontext run`` started.

    Instances are frozen: one request describes one moment.
    """

    __slots__ = (
        "_imported",
        "argv",
        "cwd",
        "executable",
        "is_python",
        "main_file",
        "main_module",
        "orig_argv",
        "pid",
        "sys_path",
    )

    _imported: tuple[str, ...]
    argv: tuple[str, ...]
    cwd: str | None
    executable: str
    is_python: bool
    main_file: str | None
    main_module: str | None
    orig_argv: tuple[str, ...]
    pid: int
    sys_path: tuple[str, ...]

    def __init__(
        self,
        *,
        pid: int,
        argv: tuple[str, ...] = (),
        orig_argv: tuple[str, ...] = (),
        executable: str = "",
        cwd: str | None = None,
        main_file: str | None = None,
        main_module: str | None = None,
        sys_path: tuple[str, ...] = (),
        is_python: bool = True,
        imported: tuple[str, ...] = (),
    ) -> None:
        """Set every field; only ``pid`` has no default."""
        values = {**locals(), "_imported": imported}
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a program is described once a request."""
        message = f"Program.{name} is frozen"
        raise AttributeError(message)

    def __repr__(self) -> str:
        """Show the process and what it runs."""
        return f"<runcontext.Program(pid={self.pid}, argv={list(self.argv)!r})>"

    @property
    def imported(self) -> tuple[str, ...]:
        """The top-level modules that it has imported: up to now in the program itself, elsewhere known at the end."""
        if self.is_python and self.pid == os.getpid():
            return tuple(sorted({name.partition(".")[0] for name in list(sys.modules)}))
        return self._imported

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON holds them."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        imported = fields.pop("_imported")
        return {**fields, "imported": imported}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Program:
        """Make a program of what ``to_json`` gave."""
        lists = {name: tuple(fields[name]) for name in ("argv", "imported", "orig_argv", "sys_path")}
        return cls(**{**fields, **lists})

    def at_end(self) -> Program:
        """Describe the same program as it ends: where it is by then, and what it has imported."""
        if self.pid != os.getpid():
            return self
        return Program.from_json({**self.to_json(), "cwd": working_directory(), "imported": self.imported})

    @classmethod
    def of_command(cls, command: list[str], *, pid: int, executable: str) -> Program:
        """Describe a command in any language that ``runcontext run`` starts as process ``pid``."""
        words = tuple(command)
        cwd = working_directory()
        script, module = _script_of(words, executable)
        file = os.path.abspath(script) if script is not None and cwd is not None else None
        return cls(
            pid=pid,
            argv=words,
            orig_argv=words,
            executable=executable,
            cwd=cwd,
            main_file=file if file is not None and os.path.isfile(file) else None,
            main_module=module,
            is_python=False,
        )


_described: Program | None = None


def current_program() -> Program:
    """Give the program that is being described: in the companion the caller's, elsewhere this process."""
    return _described if _described is not None else _this_process()


def described() -> Program | None:
    """Give what ``describe`` was last told, None for this process."""
    return _described


def describe(program: Program | None) -> None:
    """Make ``program`` the one that ``current_program`` gives; None means this process."""
    global _described  # noqa: PLW0603 - one process describes one program at a time
    _described = program


def _this_process() -> Program:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    cwd = working_directory()
    if file is not None and not os.path.isabs(file):
        file = os.path.normpath(os.path.join(cwd, file)) if cwd is not None else None
    return Program(
        pid=os.getpid(),
        argv=tuple(map(str, getattr(sys, "argv", ()))),
        orig_argv=tuple(getattr(sys, "orig_argv", ())),
        executable=sys.executable or "",
        cwd=cwd,
        main_file=_main_file(file) if file is not None else None,
        main_module=_module_name(spec.name) if spec is not None else None,
        sys_path=tuple(entry for entry in sys.path if isinstance(entry, str)),
    )


def _main_file(path: str) -> str | None:
    if os.path.basename(path) == "<stdin>":
        return None
    # What runs out of a zip file has no file of its own.
    archive = os.path.dirname(path)
    return archive if os.path.isfile(archive) else path


def _module_name(name: str) -> str | None:
    # A folder or a zip file that runs as a program has a spec of its own, and no name after -m.
    return None if name == "__main__" else name.removesuffix(".__main__")


def _script_of(words: tuple[str, ...], executable: str) -> tuple[str | None, str | None]:
    """Give the script and the module that the words of a command name, each None where they do not."""
    interpreter = os.path.basename(words[0]).rstrip("0123456789.")
    if interpreter not in _INTERPRETERS:
        return executable if _is_script(executable) else None, None
    rest = iter(words[1:])
    for word in rest:
        if word == "-m" and interpreter in _PYTHONS:
            return None, next(rest, None)
        if word in ("-c", "-"):
            return None, None
        if word in _OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            return word, None
    return None, None


def _is_script(executable: str) -> bool:
    try:
        with open(executable, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False
