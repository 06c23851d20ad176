"""How far a run has been sent: ``mirror.json`` in its folder, which only the one who sends it writes.

Read by the program too, so nothing but what it has anyway is imported here.
"""

from __future__ import annotations

import os
import time

from runcontext import codec
from runcontext.files import is_temporary, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCHEMA = 1
STATE_FILE = "mirror.json"
MANIFEST_FILE = "mirror.artifacts.jsonl"
LOCK_FILE = "mirror.lock"
_EVENTS = "events"


class MirrorState:
    """What is known of a run at the place of its tracking URI.

    - ``uri``: that place, without credentials; ``remote_id``, ``url`` and ``artifact_uri`` the run there, None before
      it is made; ``artifact_uri`` is None too where it holds credentials.
    - ``offsets``: of each journal, how many bytes have been taken; ``under_way``: how far the batches reach that were
      sent without an answer, and the number of the first of them.
    - ``sequence``: the number of the last batch; ``tags``: a hash of each tag's value as it was sent.
    - ``status``: status, end time and name as they were sent; ``refusals``: what the place will never take;
      ``warnings``: what else the program's user is to know, as that a plugin of theirs failed there.
    - ``context``: name, size and time of change of each context file as it was when all was there.
    - ``error``: why nothing goes on, for people, None while it does; ``error_at``: when, milliseconds since the epoch;
      ``is_given_up``: whether it needs somebody to do something first.
    - ``is_complete``: whether all was there when it was last looked at.
    """

    __slots__ = (
        "artifact_uri",
        "context",
        "error",
        "error_at",
        "is_complete",
        "is_given_up",
        "offsets",
        "refusals",
        "remote_id",
        "sequence",
        "status",
        "tags",
        "under_way",
        "uri",
        "url",
        "warnings",
    )

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Take up what an earlier sender left; raises KeyError on what is no state."""
        self.uri: str = fields["uri"]
        self.remote_id: str | None = fields.get("remote_id")
        self.url: str | None = fields.get("url")
        self.artifact_uri: str | None = fields.get("artifact_uri")
        self.offsets: dict[str, int] = dict(fields.get("offsets", {}))
        self.under_way: dict[str, Any] | None = fields.get("under_way")
        self.sequence: int = fields.get("sequence", 0)
        self.tags: dict[str, str] = dict(fields.get("tags", {}))
        self.status: list[Any] | None = fields.get("status")
        self.refusals: list[dict[str, str]] = list(fields.get("refusals", ()))
        self.warnings: list[str] = list(fields.get("warnings", ()))
        self.error: str | None = fields.get("error")
        self.error_at: int = fields.get("error_at", 0)
        self.context: list[list[Any]] = list(fields.get("context", ()))
        self.is_given_up: bool = fields.get("is_given_up", False)
        self.is_complete: bool = fields.get("is_complete", False)

    def note_error(self, reason: str, *, is_given_up: bool) -> None:
        """Note why nothing goes on; nothing that is there is less there for it."""
        self.error, self.is_given_up, self.error_at = reason, is_given_up, time.time_ns() // 1_000_000

    def write(self, folder: str) -> None:
        """Keep it in the run's folder; raises OSError."""
        row = {"schema": SCHEMA, **{name: getattr(self, name) for name in self.__slots__}}
        replace_file(os.path.join(folder, STATE_FILE), codec.dumps(row).encode())


def note_error(folder: str, uri: str, reason: str, *, is_given_up: bool) -> None:
    """Put on record why sending a run has not even begun; a folder that cannot be written costs the record."""
    from runcontext.redaction import redact_text, redact_url

    known = read(folder) or MirrorState({"uri": redact_url(uri)})
    known.note_error(redact_text(reason), is_given_up=is_given_up)
    try:
        known.write(folder)
    except OSError:
        return


def read(folder: str) -> MirrorState | None:
    """Read how far the run in ``folder`` has been sent, None where nobody has begun, or what is there is no state."""
    try:
        with open(os.path.join(folder, STATE_FILE), "rb") as file:
            found = MirrorState(codec.loads(file.read().decode()))
            return found if found.uri else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def why_not(folder: str, state: MirrorState | None) -> str:
    """Say why a run has not been sent, for people; ``""`` where nothing is known."""
    if state is not None and state.error:
        return state.error
    try:
        # Whose code runs while it is sent, or ran when its sender died.
        with open(os.path.join(folder, LOCK_FILE), "rb") as file:
            name = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return f"{name} has not come back, or has ended the process that sends" if name else ""


def journal_sizes(folder: str) -> dict[str, int]:
    """Give how long each journal of a run is, in bytes."""
    events = os.path.join(folder, _EVENTS)
    try:
        names = [name for name in os.listdir(events) if name.endswith(".jsonl")]
        return {name: os.stat(os.path.join(events, name)).st_size for name in sorted(names)}
    except OSError:
        return {}


def unsent_bytes(folder: str, state: MirrorState | None) -> int:
    """Give how much of a run's journals has not been taken yet, but for a last line that will never be whole."""
    taken = {} if state is None else state.offsets
    rests = {name: size - taken.get(name, 0) for name, size in journal_sizes(folder).items()}
    return sum(rest for name, rest in rests.items() if rest > 0 and not _is_torn(folder, name, taken.get(name, 0)))


def is_whole(line: bytes) -> bool:
    """Say whether a line without its end is an event nevertheless: its writer was killed before that one byte."""
    try:
        return isinstance(codec.loads(line.decode()), dict)
    except ValueError:
        return False


def _is_torn(folder: str, journal: str, offset: int) -> bool:
    try:
        with open(os.path.join(folder, _EVENTS, journal), "rb") as file:
            file.seek(offset)
            line = file.readline()
    except OSError:
        return False
    return not line.endswith(b"\n") and not is_whole(line)


def is_all_sent(folder: str, state: MirrorState | None) -> bool:
    """Say whether the place has the whole run: it has ended, and nothing was written since that was found."""
    if state is None or not state.is_complete or unsent_bytes(folder, state):
        return False
    return state.context == context_files(folder)


def context_files(folder: str) -> list[list[Any]]:
    """Give name, size in bytes and time of change in nanoseconds of each context file of a run."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith("context.") and name.endswith(".json")]
        found = [(name, os.stat(os.path.join(folder, name))) for name in sorted(names)]
    except OSError:
        return []
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]


def unsent(folder: str, state: MirrorState | None, *, is_over: bool = True) -> str:
    """Say in words what is still to be sent of a run, ``""`` for nothing; end and context only where it ``is_over``."""
    if is_all_sent(folder, state):
        return ""
    has_events = state is None or bool(unsent_bytes(folder, state))
    events = _lines_after(folder, {} if state is None else state.offsets) if has_events else 0
    files = len(unsent_artifacts(folder))
    counted = [f"{events:,} event{'s' * (events != 1)}"] if events else []
    counted += [f"{files:,} artifact{'s' * (files != 1)}"] if files else []
    if counted or not is_over:
        return " and ".join(counted)
    is_end_there = state is not None and state.status is not None and state.status[0] != "RUNNING"
    return "its context" if is_end_there else "how it ended"


def what_sends(state: MirrorState | None) -> str:
    """Say in words what sends the rest of a run; an error that was given up may come again, whatever anybody does."""
    return f"`runcontext sync` {'sends it' if state is None or not state.is_given_up else 'tries it again'}"


def _lines_after(folder: str, offsets: Mapping[str, int]) -> int:
    count = 0
    for name in journal_sizes(folder):
        try:
            with open(os.path.join(folder, _EVENTS, name), "rb") as file:
                file.seek(offsets.get(name, 0))
                # The first line of a journal says whose it is.
                count += sum(1 for line in file if line.endswith(b"\n")) - (not offsets.get(name))
        except OSError:
            continue
    return count


def manifest(folder: str) -> dict[str, tuple[int, int]]:
    """Give size in bytes and time of change in nanoseconds of each artifact as it was sent."""
    sent: dict[str, tuple[int, int]] = {}
    try:
        with open(os.path.join(folder, MANIFEST_FILE), "rb") as file:
            for line in file:
                try:
                    path, size, changed_ns = codec.loads(line.decode())
                except (ValueError, TypeError):
                    # Its writer was killed in mid-line: that artifact is sent again.
                    continue
                sent[path] = (size, changed_ns)
    except OSError:
        pass
    return sent


def note_artifact(folder: str, path: str, size: int, changed_ns: int) -> None:
    """Put on record that an artifact was sent as it is; raises OSError."""
    with open(os.path.join(folder, MANIFEST_FILE), "ab") as file:
        file.write((codec.dumps([path, size, changed_ns]) + "\n").encode())


def unsent_artifacts(folder: str, sent: Mapping[str, tuple[int, int]] | None = None) -> list[tuple[str, int, int]]:
    """Give each artifact that is not there as it is now: path below the artifacts, size, time of change."""
    sent = manifest(folder) if sent is None else sent
    return [each for each in _artifacts(os.path.join(folder, "artifacts"), "") if sent.get(each[0]) != each[1:]]


def _artifacts(root: str, below: str) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    try:
        entries = sorted(os.scandir(os.path.join(root, below)), key=lambda entry: entry.name)
    except OSError:
        return found
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                found += _artifacts(root, path)
            elif entry.is_file(follow_symlinks=False) and not is_temporary(entry.name):
                state = entry.stat()
                # An artifact has its source's time of modification, which may stay when its content does not.
                found.append((path, state.st_size, state.st_ctime_ns))
        except OSError:
            continue
    return found
