"""What a person sees of a context or a run: rows under headings, what went wrong, what each provider did."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from runcontext.presentation import headings, remedies, text, times
from runcontext.record import OutcomeStatus, RunStatus, json_number
from runcontext.resolution import ABSENT, CALLER, CHANGED, GONE
from runcontext.tracking.local import END_REASON_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runcontext.presentation.remedies import Problem
    from runcontext.record import AttachmentRecord, Change, Context, Outcome, RunRecord

_MOST_AT_FIRST = 20
"""How many params, metrics, files or tags of one plugin are shown at first."""

PROBLEMS = "Went wrong"
PROVIDERS = "Providers"
_HEADING = ("name",)
_ENDING = ("status", "reason", "ended")
_SECOND = ("process",)
_NOTHING = (OutcomeStatus.ABSENT, OutcomeStatus.DISABLED)


class Kind(str, Enum):
    """What a row is."""

    FACT = "fact"
    CHANGED = "changed"
    ABSENT = "absent"


class Row(NamedTuple):
    """A fact, or why it is not there, as a line under a heading.

    - ``giver``: the provider that gave it, or whoever else did.
    - ``is_first``: a person asks for it before the others.
    """

    name: str
    value: str
    giver: str = ""
    kind: Kind = Kind.FACT
    is_first: bool = True


class Group(NamedTuple):
    """Rows under a heading."""

    title: str
    rows: Sequence[Row]


class ProviderRow(NamedTuple):
    """What one provider did: its status, how long it took and where it ran, and what there is to say of that."""

    name: str
    status: str
    took: str
    placement: str
    notes: tuple[str, ...]


class View(NamedTuple):
    """Everything that a page or a terminal shows of a context or a run."""

    title: str
    status: str
    subtitle: str
    groups: Sequence[Group]
    problems: Sequence[Problem]
    pending: Sequence[str]
    providers: Sequence[ProviderRow]

    def left_out(self) -> str:
        """Say how much there is beyond what is shown at first; empty for nothing."""
        rest = [row for group in self.groups for row in group.rows if not row.is_first]
        absent = sum(row.kind is Kind.ABSENT for row in rest)
        said = [
            text.counted(len(rest) - absent, "more fact") if len(rest) > absent else "",
            f"why {absent:,} {'is' if absent == 1 else 'are'} not there" if absent else "",
            f"what {text.counted(len(self.providers), 'provider')} did" if self.providers else "",
        ]
        *most, last = [each for each in said if each] or [""]
        return f"{', '.join(most)} and {last}" if most else last


def of_context(context: Context, origins: Mapping[str, str] | None = None) -> View:
    """Give what is seen of a context by itself.

    Args:
        context: what was captured.
        origins: the distribution or setting that each provider comes from, where it is known.
    """
    groups = [*_facts(context, context.tags), Group("Attachments", _attachments(context)), _conflicts(context)]
    title = " on ".join(each for each in ("Context", context.tags.get("host.name")) if each)
    started_at = min((each.started_at for each in context.outcomes.values()), default=None)
    subtitle = "" if started_at is None else f"captured {times.moment(started_at)}"
    return _view(title, "", subtitle, groups, context, origins)


def of_run(
    run: RunRecord,
    context: Context,
    *,
    process: str = "",
    files: Iterable[tuple[str, int]] = (),
    sending: Iterable[tuple[str, str]] = (),
    origins: Mapping[str, str] | None = None,
) -> View:
    """Give what is seen of a run and its context.

    Args:
        run: the run as it stands.
        context: what was captured of it; an empty one where nothing was.
        process: which process the run belongs to.
        files: its artifacts, each with its size in bytes.
        sending: how far it has been sent elsewhere, a name and a value each.
        origins: as ``of_context`` takes them.
    """
    rows = [row for row in identity(run, process, sending) if row[0] not in _HEADING]
    known = [Row(*row, is_first=row[0] not in _SECOND) for row in rows]
    about_run, *facts = _facts(
        context,
        {tag: value for tag, value in run.tags.items() if tag != END_REASON_TAG},
        {
            headings.RUN: [row for row in known if row.name not in _ENDING],
            headings.HOW_IT_ENDED: [row for row in known if row.name in _ENDING],
        },
    )
    groups = [
        about_run,
        Group("Params", _capped(Row(name, value) for name, value in run.params.items())),
        Group("Metrics", _capped(Row(name, str(json_number(value))) for name, value in run.metrics.items())),
        *facts,
        _ranks(context),
        Group("Artifacts", [*_capped(_files(run, context, files)), *_attachments(context, only_left_out=True)]),
        _conflicts(context),
    ]
    return _view(run.run_name, run.status.value, _when(run), groups, context, origins)


def identity(run: RunRecord, process: str, sending: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Give what a run is by itself, and how far it has been sent elsewhere: a name and a value each."""
    rows = [("run", run.run_id), ("name", run.run_name), ("experiment", run.experiment_name)]
    rows += [("status", run.status.value), ("reason", run.tags.get(END_REASON_TAG, ""))]
    rows += [("started", times.moment(run.start_time))]
    if run.end_time is not None:
        rows += [("ended", f"{times.moment(run.end_time)}, after {times.duration(run.end_time - run.start_time)}")]
    if run.status is RunStatus.RUNNING:
        # Whether it still does can only be seen on its own host; its last event is what everybody can see.
        rows += [("last event", times.moment(run.last_event_time))]
    rows += [("process", process), ("parent", run.parent_run_id or ""), ("folder", str(run.path or ""))]
    rows += sending
    return [row for row in rows if row[1]]


def giver(context: Context, tag: str, value: str) -> str:
    """Give the name of the provider whose value a tag has: the last that gave it, unless the program set another."""
    if context.tags.get(tag) != value or any(each.tag == tag and each.winner == CALLER for each in context.conflicts):
        return CALLER
    names = [name for name, outcome in context.outcomes.items() if tag in _tags_of(outcome)]
    names += [each.provider for each in context.changes if tag == CHANGED + each.tag]
    return names[-1] if names else CALLER


def _tags_of(outcome: Outcome) -> set[str]:
    return {*outcome.tags, *(outcome.at_end.tags if outcome.at_end is not None else ())}


def _when(run: RunRecord) -> str:
    return "" if run.end_time is None else f"after {times.duration(run.end_time - run.start_time)}"


def _view(
    title: str,
    status: str,
    subtitle: str,
    groups: Iterable[Group],
    context: Context,
    origins: Mapping[str, str] | None,
) -> View:
    return View(
        title,
        status,
        subtitle,
        [group for group in groups if group.rows],
        remedies.problems(context, origins or {}),
        [name for name, outcome in context.outcomes.items() if outcome.status is OutcomeStatus.PENDING],
        [_provider(name, outcome) for name, outcome in context.outcomes.items()],
    )


# --- facts ------------------------------------------------------------------------------------------------------------


def _facts(
    context: Context, tags: Mapping[str, str], known: Mapping[str, Sequence[Row]] = MappingProxyType({})
) -> list[Group]:
    """Give the tags, and why others are not there, under their headings, below what is ``known`` under each."""
    rows: dict[str, list[Row]] = {title: [] for title in headings.TITLES}
    changes = {each.tag: each for each in context.changes}
    for tag, value in tags.items():
        by = giver(context, tag, value)
        title = headings.title_of_tag(tag, by)
        rows.setdefault(title, []).append(_fact(title, tag, value, by, changes))
    for name, outcome in context.outcomes.items():
        for title, row in _absences(name, outcome, tags):
            rows.setdefault(title, []).append(row)
    # What the program set itself comes after what others found.
    rows[headings.TAGS] = rows.pop(headings.TAGS, [])
    return [
        Group(title, [*known.get(title, ()), *(_in_order(title, each) if title in headings.TITLES else _capped(each))])
        for title, each in rows.items()
    ]


def _in_order(title: str, rows: Iterable[Row]) -> list[Row]:
    def order(row: Row) -> tuple[bool, bool, bool, int]:
        place = headings.place_among_first(title, row.name)
        return not row.is_first, not row.is_first and row.kind is Kind.ABSENT, place is None, place or 0

    return sorted(rows, key=order)


def _fact(title: str, tag: str, value: str, by: str, changes: Mapping[str, Change]) -> Row:
    change = changes.get(tag.removeprefix(CHANGED))
    is_first = headings.place_among_first(title, tag) is not None
    if change is None or change.provider != by:
        return Row(tag, value, by, is_first=is_first)
    start, end = (GONE if value is None else value for value in (change.start, change.end))
    return Row(tag, f"{start} → {end}", by, Kind.CHANGED, is_first)


def _absences(name: str, outcome: Outcome, tags: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    """Give a row, with its heading, for each fact that is not there; of a whole provider only where it is missed."""
    title = headings.title_of_provider(name)
    if outcome.status in _NOTHING and not _tags_of(outcome) and headings.is_expected(title, name):
        yield title, Row(name, f"{outcome.status.value}: {outcome.reason}", name, Kind.ABSENT)
    at_end = {} if outcome.at_end is None else outcome.at_end.failures
    for fact, reason in {**at_end, **outcome.failures}.items():
        if reason.startswith(ABSENT) and fact not in _tags_of(outcome):
            title = headings.title_of_tag(fact, name)
            is_first = headings.is_expected(title, fact) and fact not in tags
            yield title, Row(fact, reason, name, Kind.ABSENT, is_first)


def _capped(rows: Iterable[Row]) -> list[Row]:
    """Give the rows, those beyond the first ones as no first ones, and those that are not there too."""
    return [
        row._replace(is_first=number < _MOST_AT_FIRST and row.kind is not Kind.ABSENT)
        for number, row in enumerate(rows)
    ]


def _conflicts(context: Context) -> Group:
    rows = [
        Row(each.tag, f"by {each.winner}, over {', '.join(each.losers)}", is_first=False) for each in context.conflicts
    ]
    return Group("Given twice", rows)


def _ranks(context: Context) -> Group:
    """Give a row for each fact that is another on other ranks of the job, and for each value that it has there."""
    found: dict[tuple[str, str | None], list[str]] = {}
    for each in context.ranks:
        for fact, value in each.differs.items():
            found.setdefault((fact, value), []).append(f"{each.rank} ({each.host})" if each.host else str(each.rank))
    rows = [
        Row(
            fact,
            f"{context.tags.get(fact, GONE)} here, {GONE if value is None else value} on rank {', '.join(ranks)}",
            kind=Kind.CHANGED,
        )
        for (fact, value), ranks in sorted(found.items(), key=lambda item: item[0][0])
    ]
    return Group("Other ranks", _capped(rows))


# --- files ------------------------------------------------------------------------------------------------------------


def _files(run: RunRecord, context: Context, files: Iterable[tuple[str, int]]) -> Iterator[Row]:
    root = Path() if run.path is None else run.path / "artifacts"
    attached = {each.path: each for each in context.attachments if each.path is not None}
    for path, size in files:
        each = attached.get(root / path)
        yield Row(path, text.size(size)) if each is None else Row(path, _about(each), each.provider)


def _attachments(context: Context, *, only_left_out: bool = False) -> list[Row]:
    return [_attachment(each) for each in context.attachments if _is_left_out(each) or not only_left_out]


def _attachment(record: AttachmentRecord) -> Row:
    if _is_left_out(record):
        return Row(record.name, f"left out: {record.reason}", record.provider, Kind.ABSENT)
    return Row(record.name, _about(record), record.provider)


def _is_left_out(record: AttachmentRecord) -> bool:
    # What is kept may have a reason too: where it had to be redacted.
    return record.path is None and record.reason is not None and not record.redacted


def _about(record: AttachmentRecord) -> str:
    size = "" if record.size_bytes is None else text.size(record.size_bytes)
    redacted = f"{record.redacted:,} redacted" if record.redacted else ""
    return "; ".join(each for each in (size, redacted, record.reason or "") if each)


# --- providers --------------------------------------------------------------------------------------------------------


def _provider(name: str, outcome: Outcome) -> ProviderRow:
    took = text.milliseconds(outcome.seconds + (0 if outcome.at_end is None else outcome.at_end.seconds))
    return ProviderRow(name, _words(outcome), took, outcome.placement, tuple(_notes(outcome)))


def _notes(outcome: Outcome) -> Iterator[str]:
    if outcome.reason:
        yield outcome.reason
    failed = sum(not reason.startswith(ABSENT) for reason in outcome.failures.values())
    if failed:
        yield text.counted(failed, "fact") + " failed"
    if outcome.redacted:
        yield f"{outcome.redacted:,} redacted"
    at_end = outcome.at_end
    is_news = at_end is not None and at_end.status not in (outcome.status, OutcomeStatus.PENDING)
    if at_end is not None and is_news and at_end.status is not OutcomeStatus.ABSENT:
        yield f"at the end: {_words(at_end)}" + (f": {at_end.reason}" if at_end.reason else "")


def _words(outcome: Outcome) -> str:
    return outcome.status.value.replace("_", " ")
