"""What the companion keeps of one capture, and what it writes of it into the run's folder."""

from __future__ import annotations

import time

from runcontext import resolution
from runcontext.tracking.local import RunFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from runcontext.companion.wire import Message
    from runcontext.resolution import AttachmentRow, Outcome

_WRITE_EVERY_SECONDS = 0.05
"""How often a context that is not complete is written at most: 100 plugins that answer would write it 100 times."""

_TELL_EVERY_SECONDS = 0.02
"""How often the program is told of what is not complete: each message wakes it up if it waits."""


_LATEST_AT_END_SECONDS = 60.0
"""How long what providers say at the end of a run is waited for after it: the program does not wait so long."""


class Surroundings:
    """What the described program is at one moment, and has around it, as a worker is told it."""

    __slots__ = ("environment", "program", "settings")

    def __init__(self, program: dict[str, Any], environment: dict[str, str], settings: dict[str, Any]) -> None:
        """Keep them in the form that crosses a process."""
        self.program = program
        self.environment = environment
        self.settings = settings

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON holds them."""
        return {"program": self.program, "environment": self.environment, "settings": self.settings}


class Capture:
    """One request of the caller: what its providers said so far, and where that is kept."""

    def __init__(self, request: Message, environment: dict[str, str]) -> None:
        """Read a request of the client's."""
        self.id: str = request["id"]
        self.surroundings = Surroundings(request["program"], environment, request["settings"])
        self.rows: dict[str, Message] = {}
        self.ended_at: int | None = None
        self.has_moved = False
        self.order: list[str] = request["order"]
        self.outcomes: dict[str, Outcome] = request["outcomes"]
        self.attachments: list[AttachmentRow] = []
        self.caller_tags: dict[str, str] = request["caller_tags"]
        self.wants_attachments: bool = request["attachments"]
        self.folder = RunFolder(request["folder"], request["identity"]) if request["folder"] is not None else None
        self.context_file: str = request["context_file"]
        self.records_end: bool = request["records_end"]
        self.cache_folder: str | None = request["cache_folder"]
        self.finishes_by = time.monotonic() + request["deadline_seconds"]
        self.is_open = True
        self.is_changed = not request["is_kept"]
        self._written_at = 0.0
        self._told_at = 0.0
        self._untold: list[Message] = []
        self.is_scanning = False
        self.is_disowned = False

    @property
    def is_complete(self) -> bool:
        """Whether every provider has answered, at the end of the run too where that has come."""
        if self.is_scanning or any(each["status"] == "pending" for each in self.outcomes.values()):
            return False
        return self.ended_at is None or not any(map(resolution.is_pending_at_end, self.outcomes.values()))

    def begin_end(self, message: Message, environment: dict[str, str]) -> None:
        """Note that the run ends, as what the program does so, and what it says itself at its end."""
        self.ended_at = message["at"]
        before = self.surroundings
        self.has_moved = environment is not before.environment or message["program"]["cwd"] != before.program["cwd"]
        self.surroundings = Surroundings(message["program"], environment, before.settings)
        self.finishes_by = time.monotonic() + _LATEST_AT_END_SECONDS
        for name, outcome in message["outcomes"].items():
            self.take_at_end(name, outcome)
        for name, outcome in self.outcomes.items():
            # Of a companion before this one.
            is_unknown = outcome["placement"] == "companion" and name not in self.rows
            if is_unknown and resolution.is_pending_at_end(outcome):
                self.take_at_end(name, resolution.absent("companion", "the companion that captured it is gone"))
                self.answered(name)

    def asks_at_end(self, name: str) -> bool:
        """Say whether the companion has to ask a provider now what it has to say at the end of the run."""
        outcome = self.outcomes[name]
        is_ready = self.ended_at is not None and outcome["status"] != "pending"
        is_ours = outcome["placement"] == "companion" and name in self.rows
        return is_ready and is_ours and resolution.is_pending_at_end(outcome)

    def known_at_end(self, name: str) -> list[str]:
        """Give the facts of a provider's that were read after the run had ended, and say what they would say again."""
        outcome = self.outcomes[name]
        is_late = self.ended_at is not None and outcome["started_at"] >= self.ended_at
        # What it was told of the program's folder and environment was that of the start.
        return [*outcome["tags"], *outcome["failures"]] if is_late and not self.has_moved else []

    def take_at_end(self, name: str, outcome: Outcome) -> None:
        """Keep what a provider said at the end of the run."""
        if name in self.outcomes:
            self.outcomes[name] = {**self.outcomes[name], "at_end": outcome}
            self.is_changed = True

    def take(self, name: str, outcome: Outcome, attachments: Iterable[AttachmentRow] = ()) -> None:
        """Keep what a provider said; an inline provider's companion facts join those that it gave in the program."""
        known = self.outcomes.get(name)
        if known is not None and known["placement"] == "inline" and known["status"] != "disabled":
            outcome = resolution.united(known, outcome)
        self.outcomes[name] = outcome
        self.attachments.extend(attachments)
        self.is_changed = True

    def write(self) -> None:
        """Write the context into the run's folder; a store that fails later costs the file, not the companion."""
        now = time.monotonic()
        if self.is_open and not self.is_complete and now - self._written_at < _WRITE_EVERY_SECONDS:
            return
        if self.folder is None or not self.is_changed:
            return
        if self.is_disowned and self.ended_at is None and self.has_final_status():
            return
        self._written_at = now
        row = resolution.merged(self.order, self.outcomes, self.attachments, self.caller_tags)
        try:
            self.folder.write_context(row, self.context_file)
            self.is_changed = False
        except OSError:
            # Tried again with the next outcome and at the end; the program itself warns about its store.
            return

    def answered(self, name: str, attachments: Iterable[AttachmentRow] = ()) -> None:
        """Note that the program is to be told what the provider called ``name`` said."""
        self._untold.append({"name": name, "outcome": self.outcomes[name], "attachments": list(attachments)})

    @property
    def has_untold(self) -> bool:
        """Whether there is something to tell the program."""
        return bool(self._untold) and self.is_open

    def news(self) -> Message | None:
        """Give what the program is to be told now, None for nothing yet."""
        now = time.monotonic()
        if not self.has_untold or (not self.is_complete and now - self._told_at < _TELL_EVERY_SECONDS):
            return None
        self._told_at = now
        answers, self._untold = self._untold, []
        return {"op": "outcomes", "id": self.id, "answers": answers, "is_kept": not self.is_changed}

    @property
    def is_over(self) -> bool:
        """Whether nobody will add anything: the run has ended, and who had to say something at its end has."""
        return not self.is_open and (self.is_complete or time.monotonic() > self.finishes_by)

    def has_final_status(self) -> bool:
        """Say whether the program has ended its run by itself: what it wrote then is not to be overwritten."""
        from runcontext.tracking import reading

        # A run that it has only joined others may have ended.
        return self.records_end and self.folder is not None and reading.final_status(self.folder.path) is not None

    def settle(self, reason: str) -> None:
        """Make what is still pending final; who was asked at the end of the run may still answer."""
        self.outcomes = resolution.settled(self.outcomes, reason)
        self.is_scanning = False
        self.is_open = False
        self.is_changed = True
        if self.ended_at is None:
            self.outcomes = resolution.settled_at_end(self.outcomes, "absent", "the run did not end by itself")
        else:
            late = "no answer at the end of the run"
            self.outcomes = resolution.settled_at_end(self.outcomes, "timed_out", late, only="thread")
        self.write()

    def settle_at_end(self) -> None:
        """Make final what was still to be said at the end of the run."""
        self.outcomes = resolution.settled_at_end(self.outcomes, "timed_out", "no answer after the end of the run")
        self.is_changed = True
        self.write()
