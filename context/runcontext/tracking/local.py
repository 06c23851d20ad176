"""The default store: files that need no server, survive crashes, and can be read with the tools people have.

    .runcontext/
        .gitignore          "*", so that capturing a run never makes a repository dirty
        runs/<run_id>/
            run.json        identity, written once
            events/<host>-<pid>-<start>.jsonl   a journal for each writing process
            context.json    the whole context, reasons included; context.joined.json of a program that joined the run,
                            context.rank.<n>.json of another process of the same distributed job
            artifacts/      what was logged; below context/ the context's attachments, below context.joined/
                            those of a program that joined the run
            SIGTERM.txt     where the program was when that signal ended it

Every file says ``"schema": 1``. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import os
import time

from runcontext import codec, project
from runcontext.errors import StoreError
from runcontext.files import replace_file
from runcontext.tracking.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCHEMA = 1
CONTEXT_FILE = "context.json"
JOINED_CONTEXT_FILE = "context.joined.json"
JOINED_MARK = "joined.json"
_RANK_CONTEXT = ("context.rank.", ".json")
_RUN_ID_DIGITS = 32
END_REASON_TAG = "end.reason"
"""The tag that says why a run ended as it did."""

FATAL_SIGNALS = ("SIGTERM", "SIGHUP")
"""Signals that end a program without a word of its own, and leave ``<signal>.txt`` in the run's folder."""

_CHOOSE = "choose another place with RUNCONTEXT_TRACKING_URI=FOLDER or runcontext.set_tracking_uri(FOLDER)"


class RunFolder:
    """One run's folder as its writers see it."""

    __slots__ = ("_identity", "path")

    def __init__(self, path: str, identity: Mapping[str, Any]) -> None:
        """Name the folder and what its run.json says."""
        self.path = path
        self._identity = identity

    def create(self) -> None:
        """Make the folder with its run.json; raises OSError."""
        try:
            os.mkdir(self.path)
        except FileNotFoundError:
            os.makedirs(self.path)
        self._write_identity()

    def restore(self) -> None:
        """Make again what somebody deleted; raises OSError."""
        _prepare(os.path.dirname(os.path.dirname(self.path)))
        os.makedirs(self.path, exist_ok=True)
        if self._identity:
            self._write_identity()

    def _write_identity(self) -> None:
        replace_file(self.file("run.json"), codec.dumps(self._identity).encode())

    def file(self, name: str) -> str:
        """Give the path of a file of this run."""
        return os.path.join(self.path, name)

    @property
    def signal_records(self) -> str:
        """The folder where this run's process notes the signal that ends it: its own, or an outer run's."""
        return str(self._identity.get("signal_records") or self.path)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What run.json says."""
        return self._identity

    def attachments(self, context_file: str) -> str:
        """Give where a context's attachments go; a joining program's own overwrite none of its run's."""
        return os.path.join(self.path, "artifacts", context_file.removesuffix(".json"))

    def set_aside_signal_records(self) -> None:
        """Keep the records of signals that ended an earlier process from being taken for those of the next one."""
        for name in FATAL_SIGNALS:
            record = self.file(f"{name}.txt")
            try:
                os.replace(record, self.file(f"{name}-{time.time_ns() // 1_000_000}.txt"))
            except OSError:
                continue

    def claim(self, identity: Mapping[str, Any], mark: str = JOINED_MARK) -> bool:
        """Be the one program that joins this run as ``mark`` says; False where another was faster; raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(self.file(mark), flags, 0o666)
        except FileExistsError:
            return False
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(codec.dumps({"schema": SCHEMA, **identity}))
        return True

    def journal(self, host: str, pid: int, started: str) -> Journal:
        """Give the journal that process ``pid`` writes."""
        run_id = os.path.basename(self.path)
        header = {"schema": SCHEMA, "run_id": run_id, "host": host, "pid": pid, "started": started}
        return Journal(self.file(f"events/{host}-{pid}-{started}.jsonl"), header, self.restore)

    def write_context(self, row: Mapping[str, Any], name: str = CONTEXT_FILE) -> None:
        """Write the context as far as it is known, whole or not at all; raises OSError."""
        replace_file(self.file(name), codec.dumps(row).encode())


class LocalStore:
    """A ``.runcontext`` folder: makes runs, and finds them again."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        """Name the folder; nothing is touched yet."""
        self.path = path

    @classmethod
    def at(cls, tracking_uri: str | os.PathLike[str] | None, folder: str | None) -> LocalStore:
        """Give the store that a tracking URI names.

        Args:
            tracking_uri: a path, a ``file:`` URI, or None for the default place.
            folder: where a relative path begins and the default place is looked for; None where it is unknown.

        Raises:
            StoreError: it names no store that there is, or there is no default place here.
        """
        if tracking_uri is None:
            path = project.store_folder(folder) if folder is not None else project.default_folder()
            if path is None:
                message = f"no place to keep runs: no home folder is known, and {folder} is not a project; {_CHOOSE}"
                raise StoreError(message)
            return cls(path)
        tracking_uri = os.fspath(tracking_uri)
        path = os.path.expanduser(_path_of(tracking_uri))
        if folder is None and not os.path.isabs(path):
            message = f"tracking URI {tracking_uri!r} is relative, and the working directory is gone; name it from /"
            raise StoreError(message)
        return cls(os.path.normpath(os.path.join(folder or os.sep, path)))

    @property
    def uri(self) -> str:
        """The store's own tracking URI: its path."""
        return self.path

    def create_run(self, run: RunFolder) -> None:
        """Put a run on disk.

        Raises:
            StoreError: the store cannot be used; the message says why, and how to choose another.
        """
        try:
            _prepare(self.path)
            run.create()
        except OSError as error:
            message = f"cannot keep runs in {self.path}: {error}; {_CHOOSE}"
            raise StoreError(message) from error

    def claim(self, run: RunFolder, identity: Mapping[str, Any], mark: str = JOINED_MARK) -> bool:
        """Be the one program that joins ``run`` as ``mark`` says; False where another was faster.

        Raises:
            StoreError: the run's folder cannot be written; the message says why.
        """
        try:
            return run.claim(identity, mark)
        except OSError as error:
            message = f"cannot join the run in {run.path}: {error}; unset RUNCONTEXT_RUN_ID to start a run of its own"
            raise StoreError(message) from error

    def open_run(self, run_id: str) -> RunFolder:
        """Give the folder of a run that there is already.

        Raises:
            StoreError: there is no such run here.
        """
        path = self.run_path(run_id)
        if not os.path.isfile(os.path.join(path, "run.json")):
            message = f"no run {run_id!r} in {self.path}"
            raise StoreError(message)
        with open(os.path.join(path, "run.json"), encoding="utf-8") as file:
            return RunFolder(path, codec.loads(file.read()))

    def run_path(self, run_id: str) -> str:
        """Give the path of a run's folder."""
        return os.path.join(self.path, "runs", run_id)


def _prepare(store_folder: str) -> None:
    ignore = os.path.join(store_folder, ".gitignore")
    if not os.path.exists(ignore):
        os.makedirs(os.path.join(store_folder, "runs"), exist_ok=True)
        replace_file(ignore, b"*\n")


def rank_context_file(rank: int) -> str:
    """Give what the context of another rank of the run's distributed job is called."""
    beginning, ending = _RANK_CONTEXT
    return f"{beginning}{rank}{ending}"


def rank_of_context_file(name: str) -> int | None:
    """Give the rank whose context a file of a run's folder holds, None for any other file."""
    beginning, ending = _RANK_CONTEXT
    number = name.removeprefix(beginning).removesuffix(ending)
    return int(number) if number.isdecimal() and name == rank_context_file(int(number)) else None


def new_run_id() -> str:
    """Make a run id: 32 hex digits that sort by time (RFC 9562, section 5.7, UUID version 7).

    The 12 bits after the version are the fraction of the millisecond (section 6.2, method 3), so that the runs of one
    process sort too.
    """
    now = time.time_ns()
    milliseconds, rest = divmod(now, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return f"{milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random:032x}"


def time_of_run_id(run_id: str) -> int | None:
    """Give when ``new_run_id`` made an id, in milliseconds since the epoch, UTC; None of an id that it did not make."""
    if len(run_id) != _RUN_ID_DIGITS or run_id[12] != "7" or run_id[16] not in "89ab":
        return None
    try:
        return int(run_id[:12], 16)
    except ValueError:
        return None


def _path_of(tracking_uri: str) -> str:
    if ":" not in tracking_uri:
        return tracking_uri
    from runcontext.tracking import uris

    scheme = uris.scheme_of(tracking_uri)
    if not scheme:
        return tracking_uri
    rest = tracking_uri[len(scheme) + 1 :]
    if scheme != "file":
        from runcontext.redaction import redact_url

        message = f"{redact_url(tracking_uri)!r} is no folder: a path or a file: URI is expected here; {_CHOOSE}"
        raise StoreError(message)
    from urllib.parse import unquote

    authority = rest.removeprefix("//")
    return unquote(authority.removeprefix("localhost") if rest.startswith("//") else rest)
