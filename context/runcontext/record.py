"""The records that people read: a context, its outcomes, a run. Frozen, and readable as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class OutcomeStatus(str, Enum):
    """What became of one provider in one capture."""

    PENDING = "pending"
    CAPTURED = "captured"
    PARTIAL = "partial"
    ABSENT = "absent"
    DISABLED = "disabled"
    FAILED = "failed"
    TIMED_OUT = "timed_out"

    __str__ = str.__str__


class RunStatus(str, Enum):
    """How a run stands: MLflow's words, and LOST for one whose process died without a word."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    LOST = "LOST"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one provider said, or why it said nothing.

    - ``reason``: why there is nothing, or what it did to the program; None where there is nothing to say.
    - ``seconds``: how long its work took; ``started_at``: milliseconds since the epoch, UTC.
    - ``placement``: where it ran.
    - ``tags``: its own facts, whole, also those that another provider overrode.
    - ``failures``: each fact that is not there, and why; an absent one's reason begins with ``absent: ``.
    - ``redacted``: how many values were replaced because they held a secret.
    - ``at_end``: what it said when the run ended; pending until then, None where it has nothing to say then.
    """

    status: OutcomeStatus
    reason: str | None
    seconds: float
    started_at: int
    placement: str
    tags: Mapping[str, str]
    failures: Mapping[str, str]
    redacted: int
    at_end: Outcome | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Outcome:
        """Read the form that context.json holds."""
        values = {field.name: row[field.name] for field in fields(cls) if field.name != "at_end"}
        values["at_end"] = cls.from_json(row["at_end"]) if row.get("at_end") else None
        values["status"] = OutcomeStatus(row["status"])
        values["tags"] = MappingProxyType(dict(row["tags"]))
        values["failures"] = MappingProxyType(dict(row["failures"]))
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Give the form that context.json holds."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        at_end = None if self.at_end is None else self.at_end.to_json()
        plain = {"tags": dict(self.tags), "failures": dict(self.failures), "at_end": at_end}
        return {**row, "status": self.status.value, **plain}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A tag that several providers gave: who won, and who was overridden."""

    tag: str
    winner: str
    losers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that was another at the end of the run than at its start; None where it was not there."""

    tag: str
    provider: str
    start: str | None
    end: str | None


@dataclass(frozen=True, slots=True)
class RankDifference:
    """What differs on another rank of the run's distributed job: each fact with its value there, None for none."""

    rank: int
    host: str | None
    differs: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class AttachmentRecord:
    """A file that a provider added to the context: where it is, or why it was left out.

    ``path`` is absolute; None where there is no run to keep the file, or it was left out for ``reason``.
    ``size_bytes`` and ``sha256`` identify the content in both cases, where it is known.
    """

    name: str
    provider: str
    path: Path | None
    size_bytes: int | None
    sha256: str | None
    reason: str | None
    redacted: int


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that was captured about a run, and why the rest was not.

    - ``tags``: the merged facts, read-only.
    - ``outcomes``: per provider, in the order in which later ones win.
    - ``conflicts``: tags that several gave.
    - ``changes``: facts that were others at the end of the run than at its start.
    - ``attachments``: files that belong to the context.
    - ``ranks``: the other processes of the run's distributed job that attached to it, and what differs there.
    """

    tags: Mapping[str, str]
    outcomes: Mapping[str, Outcome]
    conflicts: tuple[Conflict, ...]
    attachments: tuple[AttachmentRecord, ...]
    changes: tuple[Change, ...] = ()
    ranks: tuple[RankDifference, ...] = ()

    def __repr__(self) -> str:
        """Show how much there is, not all of it."""
        return f"<runcontext.Context({len(self.tags)} tags from {len(self.outcomes)} providers)>"

    def _repr_html_(self) -> str | None:
        """Show it under headings, as notebooks do; never raises."""
        from runcontext import html

        return html.of_context(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any], folder: Path | None = None) -> Context:
        """Read the form that context.json holds; ``folder`` is where its attachments' paths begin."""
        return cls(
            tags=MappingProxyType(dict(row["tags"])),
            outcomes=MappingProxyType({name: Outcome.from_json(each) for name, each in row["outcomes"].items()}),
            conflicts=tuple(Conflict(each["tag"], each["winner"], tuple(each["losers"])) for each in row["conflicts"]),
            attachments=tuple(_attachment(each, folder) for each in row["attachments"]),
            changes=tuple(Change(**each) for each in row.get("changes", ())),
            ranks=tuple(
                RankDifference(each["rank"], each["host"], MappingProxyType(dict(each["differs"])))
                for each in row.get("ranks", ())
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the stable form that context.json holds and ``--json`` prints."""
        return {
            "schema": 1,
            "tags": dict(self.tags),
            "outcomes": {name: outcome.to_json() for name, outcome in self.outcomes.items()},
            "conflicts": [
                {"tag": each.tag, "winner": each.winner, "losers": list(each.losers)} for each in self.conflicts
            ],
            "changes": [{field.name: getattr(each, field.name) for field in fields(each)} for each in self.changes],
            "attachments": [_attachment_row(each) for each in self.attachments],
            "ranks": [{"rank": each.rank, "host": each.host, "differs": dict(each.differs)} for each in self.ranks],
        }


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as its store holds it, read at one moment.

    ``start_time`` and ``end_time`` are milliseconds since the epoch, UTC; ``end_time`` is None while the run goes on.
    ``metrics`` holds each metric's latest point: the one of the highest step, the later of equal ones. Tags, params and
    metrics are in the order of their names: not every place knows another.

    - ``path``: the run's folder; None where it was read from a place that is not on this machine.
    - ``remote_id``, ``url``: the id that the place of its tracking URI gave it, and a page there that shows it.
    - ``artifact_uri``: where its artifacts are there, without credentials; else where they are on this machine.
    - ``is_mirrored``: whether that place has all of it; None of a run that is kept here alone, or was read from there.
    """

    run_id: str
    run_name: str
    experiment_name: str
    status: RunStatus
    start_time: int
    end_time: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    parent_run_id: str | None
    last_event_time: int
    path: Path | None
    remote_id: str | None = None
    url: str | None = None
    artifact_uri: str | None = None
    is_mirrored: bool | None = None

    def __post_init__(self) -> None:
        """Put what has names in the order of these."""
        for each in ("tags", "params", "metrics"):
            found = getattr(self, each)
            object.__setattr__(self, each, MappingProxyType({name: found[name] for name in sorted(found)}))

    def __repr__(self) -> str:
        """Show which run, and how it stands."""
        return f"<runcontext.RunRecord({self.run_id} {self.run_name!r} {self.status})>"

    def _repr_html_(self) -> str | None:
        """Show it and its context under headings, as notebooks do; never raises."""
        from runcontext import html

        return html.of_run(self)

    def to_json(self) -> dict[str, Any]:
        """Give the stable form that ``--json`` prints; metrics that are not finite are strings."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        metrics = {name: json_number(value) for name, value in self.metrics.items()}
        plain = {"status": self.status.value, "tags": dict(self.tags), "params": dict(self.params), "metrics": metrics}
        return {"schema": 1, **row, **plain, "path": None if self.path is None else str(self.path)}


def json_number(value: float) -> float | str:
    """Give a metric's value as JSON can hold it: NaN, Infinity and -Infinity as strings."""
    if value != value:  # noqa: PLR0124 - NaN is the one number that differs from itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _attachment(row: Mapping[str, Any], folder: Path | None) -> AttachmentRecord:
    values = {field.name: row[field.name] for field in fields(AttachmentRecord)}
    path = None if folder is None or row["path"] is None else folder / row["path"]
    return AttachmentRecord(**{**values, "path": path})


def _attachment_row(record: AttachmentRecord) -> dict[str, Any]:
    row = {field.name: getattr(record, field.name) for field in fields(record)}
    return {**row, "path": None if record.path is None else str(record.path)}
