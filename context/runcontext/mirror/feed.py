"""What is new in a run's journals: whole lines behind the offsets of what was taken before, in the order of time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runcontext.errors import StoreUnavailableError
from runcontext.mirror import state
from runcontext.tracking.journal import event_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_BYTES = 4 * 1024 * 1024
"""How much of a journal is read at a time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, in which journal it stands, and the offset behind it."""

    event: Mapping[str, Any]
    journal: str
    end: int


def new_entries(
    folder: str, offsets: Mapping[str, int], until: Mapping[str, int] | None = None, *, most_bytes: int = MOST_BYTES
) -> list[Entry]:
    """Give the events behind ``offsets``, by time; those of one journal keep their order.

    Args:
        folder: the run's folder.
        offsets: how far each journal has been taken, in bytes.
        until: how far to read at most, of each journal that is named; None for all that is there.
        most_bytes: how much of each journal is read at most, where ``until`` is not given.

    Raises:
        StoreUnavailableError: a journal cannot be read, or one is gone of which ``until`` speaks.
    """
    found: list[Entry] = []
    for journal, size in state.journal_sizes(folder).items():
        start = offsets.get(journal, 0)
        end = min(size, start + most_bytes) if until is None else until.get(journal, start)
        if end > start:
            found += _entries(folder, journal, start, end)
    found.sort(key=lambda entry: entry.event["t"])
    if until is not None:
        _check_whole(folder, found, offsets, until)
    return found


def _check_whole(folder: str, found: Iterable[Entry], offsets: Mapping[str, int], until: Mapping[str, int]) -> None:
    """See that all is there that was there before: what is sent again must be what was sent."""
    ends = dict(offsets)
    for entry in found:
        ends[entry.journal] = max(entry.end, ends.get(entry.journal, 0))
    missing = [journal for journal, end in until.items() if ends.get(journal, 0) < end]
    if missing:
        ours = " and ".join(os.path.join(folder, name) for name in (state.STATE_FILE, state.MANIFEST_FILE))
        message = (
            f"the journal {missing[0]} of the run in {folder} is not as long any more as it was when it was sent: bring"
            " it back; where its end is lost, as by a power failure, delete the run at its place for good, and"
            f" {ours}, to have what is left sent anew"
        )
        raise StoreUnavailableError(message)


def tag_events(folder: str, until: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """Give the events before ``until`` that set tags or say how the run stands, by time: what a sender must recall."""
    found: list[Mapping[str, Any]] = []
    for journal, end in until.items():
        events = (entry.event for entry in _entries(folder, journal, 0, end, words=(b'"tags"', b'"status"')))
        found += events
    found.sort(key=lambda event: event["t"])
    return found


def _entries(folder: str, journal: str, start: int, end: int, *, words: tuple[bytes, ...] = ()) -> Iterator[Entry]:
    """Give what begins between two offsets, as far as it is whole; an event may be longer than what lies between."""
    at = start
    try:
        with open(os.path.join(folder, "events", journal), "rb") as file:
            file.seek(start)
            while at < end:
                line = file.readline()
                if not line or (not line.endswith(b"\n") and not state.is_whole(line)):
                    # Still being written, or its writer was killed in mid-write.
                    return
                at += len(line)
                if not words or any(word in line for word in words):
                    # What is no event is taken too, and adds nothing.
                    yield Entry(event_in(line), journal, at)
    except OSError as error:
        message = f"the journal {journal} of the run in {folder} cannot be read: {error}"
        raise StoreUnavailableError(message) from error
