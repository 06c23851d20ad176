"""Runs one provider under guard, and merges what all of them said.

Everything here speaks the form that outcomes have on disk, in the companion's pipe and under ``--json``: plain
dictionaries (``record.py`` has the records that people read them as). So the program that is being described pays for
no record class, and what crosses a process needs no conversion.
"""

from __future__ import annotations

import _thread
import os
import posixpath
import time

from runcontext import redaction, registry
from runcontext.errors import NotInContext
from runcontext.files import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeAlias

    Outcome: TypeAlias = dict[str, Any]
    AttachmentRow: TypeAlias = dict[str, Any]
    ContextRow: TypeAlias = dict[str, Any]

SCHEMA = 1
MAX_TAGS = 1_000
MAX_KEY_CHARACTERS = 250
MAX_VALUE_CHARACTERS = 8_000
ABSENT = "absent: "
"""Begins the reason of a fact that is not there, as against one that failed."""

CHANGED = "changed."
"""Begins the name of the tag that holds a fact's value at the end of the run, where that differs from the start's."""

GONE = "absent"
"""The value of such a tag where the fact was there at the start and is not at the end."""

CALLER = "caller"
"""Who wins a conflict with a tag that the program itself set."""

_at_work = _thread._local()

_KEY_PUNCTUATION = frozenset("_.-/ :")
_MESSAGE_CHARACTERS = 2_000


def provider_at_work() -> str | None:
    """Give the provider that this thread is running, None for none: what it captures itself must not run it again."""
    return getattr(_at_work, "name", None)


def pending(placement: str) -> Outcome:
    """Give the outcome of a provider that has not answered yet."""
    return _outcome("pending", None, placement=placement)


def disabled(placement: str, switched_by: str) -> Outcome:
    """Give the outcome of a provider that a setting switched off."""
    return _outcome("disabled", f"switched off by {switched_by}", placement=placement)


def absent(placement: str, reason: str) -> Outcome:
    """Give the outcome of a provider that has nothing to say, for ``reason``."""
    return _outcome("absent", reason, placement=placement)


def failed(placement: str, reason: str) -> Outcome:
    """Give the outcome of a provider that could not even be run."""
    return _outcome("failed", reason, placement=placement)


def _outcome(status: str, reason: str | None, *, placement: str) -> Outcome:
    return {
        "status": status,
        "reason": reason,
        "seconds": 0.0,
        "started_at": now_milliseconds(),
        "placement": placement,
        "tags": {},
        "failures": {},
        "redacted": 0,
        "at_end": None,
    }


def now_milliseconds() -> int:
    """Give the time as outcomes hold it: milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


class Resolution:
    """One provider being resolved: its facts first, then its attachments, each under guard.

    - ``outcome``: what is known so far, in the form that JSON holds.
    - ``attachments``: what was added, a row each.
    """

    def __init__(self, name: str, placement: str, *, reraise_interrupt: bool = False) -> None:
        """Prepare for the provider called ``name``.

        Args:
            name: how reasons call it.
            placement: where this runs, for the record.
            reraise_interrupt: let KeyboardInterrupt through: in the main thread of the program it is the user's.
        """
        self.name = name
        self.outcome = _outcome("pending", None, placement=placement)
        self.attachments: list[AttachmentRow] = []
        self.provider: Any = None
        self._passing: tuple[type[BaseException], ...] = (KeyboardInterrupt,) if reraise_interrupt else ()
        self._began = time.perf_counter()

    def run(self, load: Callable[[], Any], method: str = "tags", known: Iterable[str] = ()) -> Outcome:
        """Load the provider, ask whether it is in context, and read its facts; never raises what it raises.

        ``method`` names what gives the facts; those whose names are ``known`` are not read.
        """
        outer, _at_work.name = provider_at_work(), self.name
        try:
            self._run(load, method, known)
            if method == "tags" and self._has_more_at_end():
                self.outcome["at_end"] = pending(self.outcome["placement"])
            return self.outcome
        finally:
            _at_work.name = outer

    def _has_more_at_end(self) -> bool:
        # One that is absent may be in context by then: a program imports torch after the start of its run.
        return self.outcome["status"] != "failed" and hasattr(self.provider, "tags_at_end")

    def _run(self, load: Callable[[], Any], method: str, known: Iterable[str]) -> Outcome:
        try:
            self.provider = registry.build(self.name, load())
            self.outcome["started_at"] = now_milliseconds()
            if not self.provider.in_context():
                self._settle("absent", "not in context")
            else:
                self._take(getattr(self.provider, method)(), frozenset(known))
        except self._passing:
            raise
        except NotInContext as reason:
            self._settle("absent", _message(reason) or "not in context")
        except BaseException as error:  # noqa: BLE001 - the one guard: whatever a provider raises is an outcome
            self._settle("failed", describe_error(error))
        return self.outcome

    def wants_attachments(self) -> bool:
        """Say whether the facts are in and there are attachments to ask for."""
        return self.outcome["status"] in ("captured", "partial") and hasattr(self.provider, "attachments")

    def run_attachments(self, folder: str | None) -> Outcome:
        """Read the attachments and write them below ``folder``; without one only sizes and hashes are kept."""
        outer, _at_work.name = provider_at_work(), self.name
        try:
            return self._run_attachments(folder)
        finally:
            _at_work.name = outer

    def _run_attachments(self, folder: str | None) -> Outcome:
        try:
            for each in self.provider.attachments():
                self.attachments.append(_attached(self.name, each, folder))
                self.outcome["redacted"] += each.redacted
        except self._passing:
            raise
        except NotInContext as reason:
            self.outcome["failures"]["attachments"] = ABSENT + _message(reason)
        except BaseException as error:  # noqa: BLE001 - as above
            self.outcome["failures"]["attachments"] = describe_error(error)
            self.outcome["status"] = "partial"
        self._stop_clock()
        return self.outcome

    def _take(self, mapping: Any, known: frozenset[str]) -> None:
        if not (hasattr(mapping, "keys") and hasattr(mapping, "__getitem__")):
            message = f"{type(self.provider).__name__} gave a {type(mapping).__name__}; a mapping of tags is expected"
            raise TypeError(message)
        values: dict[str, Any] = {}
        failures: dict[str, str] = {}
        for count, key in enumerate(mapping.keys()):
            if count >= MAX_TAGS:
                failures["more tags"] = f"more than {MAX_TAGS:,} tags: the first {MAX_TAGS:,} count"
                break
            problem = key_problem(key)
            if problem is None and key in known:
                continue
            if problem is None:
                values[str.__str__(key)] = mapping[key]
            else:
                failures[_readable(key)] = problem
        self._evaluate(values, failures)

    def _evaluate(self, values: Mapping[str, Any], failures: dict[str, str]) -> None:
        tags: dict[str, str] = {}
        for tag, value in values.items():
            try:
                text = value() if callable(value) else value
                if text is not None:
                    tags[tag] = _checked(tag, text)
            except self._passing:
                raise
            except NotInContext as reason:
                failures[tag] = ABSENT + _message(reason)
            except BaseException as error:  # noqa: BLE001 - one failing fact costs one fact
                failures[tag] = describe_error(error)
        self.outcome["tags"] = tags
        self.outcome["failures"] = failures
        self.outcome["redacted"] = sum(value.count(redaction.MARK) for value in tags.values())
        failing = [reason for reason in failures.values() if not reason.startswith(ABSENT)]
        self._settle("partial" if failing else "captured", None)

    def _settle(self, status: str, reason: str | None) -> None:
        self.outcome["status"] = status
        self.outcome["reason"] = reason
        self._stop_clock()

    def _stop_clock(self) -> None:
        self.outcome["seconds"] = round(time.perf_counter() - self._began, 6)


def key_problem(key: object) -> str | None:
    r"""Say what is wrong with a tag's, param's or metric's name, None where it is well formed.

    At most 250 characters of ``[\w.\-/ :]`` that are a normal relative path: what MLflow's servers accept
    (mlflow.utils.validation, ``_validate_tag_name``).
    """
    if not isinstance(key, str):
        return f"a name of type {type(key).__name__}; a string is expected"
    if not key or len(key) > MAX_KEY_CHARACTERS:
        return f"a name of {len(key):,} characters; 1 to {MAX_KEY_CHARACTERS} are expected"
    if not all(each.isalnum() or each in _KEY_PUNCTUATION for each in key):
        return f"ill-formed name {key!r}; letters, digits and _ . - / : and space are expected"
    if key[0] == "/" or posixpath.normpath(key) != key or key.split("/", 1)[0] in (".", ".."):
        return f"ill-formed name {key!r}; it must not begin with / or hold . or .. or // as parts of a path"
    return None


def cut(value: str, most_characters: int = MAX_VALUE_CHARACTERS) -> str:
    """Shorten a value that is too long, for a tag unless said otherwise, with a mark that says so."""
    if len(value) <= most_characters:
        return value
    mark = f"... [cut: {len(value):,} characters in all]"
    return value[: most_characters - len(mark)] + mark


def writable(value: str) -> str:
    r"""Give ``value`` as every store can hold it: lone surrogates as ``\udcXX``, NUL as ``\x00``."""
    value = str.__str__(value)
    if not value.isascii():
        value = value.encode("utf-8", "backslashreplace").decode()
    return value.replace("\0", "\\x00") if "\0" in value else value


def describe_error(error: BaseException) -> str:
    """Give an exception's type and message as a reason, whatever its ``__str__`` does."""
    message = _message(error)
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def _message(error: BaseException) -> str:
    try:
        text = str.__str__(str(error))[: 4 * _MESSAGE_CHARACTERS]
    except BaseException as worse:  # noqa: BLE001 - a provider's exception may raise when it is read
        text = f"<its message cannot be read: {type(worse).__name__}>"
    try:
        # Cut only afterwards: the first half of a secret looks like none.
        return redaction.redact_text(writable(text))[:_MESSAGE_CHARACTERS]
    except Exception:  # noqa: BLE001 - what cannot be judged may be a secret, and a reason is not worth the program
        return redaction.MARK


def _checked(tag: str, value: Any) -> str:
    if not isinstance(value, str):
        message = f"tag {tag!r} is a {type(value).__name__}; a string, a callable that gives one, or None is expected"
        raise TypeError(message)
    if redaction.is_secret_name(tag.removeprefix("env.")):
        return redaction.MARK
    return redaction.redact_text(writable(value))


def _readable(key: object) -> str:
    try:
        text = key if isinstance(key, str) else repr(key)
    except BaseException:  # noqa: BLE001 - a provider's key may raise when it is shown
        text = f"<{type(key).__name__}>"
    return writable(text)[:MAX_KEY_CHARACTERS]


def _attached(provider: str, attachment: Any, folder: str | None) -> AttachmentRow:
    import hashlib

    name = attachment.name
    if name != os.path.basename(name) or name in ("", ".", ".."):
        message = f"attachment {name!r} is not a plain file name"
        raise ValueError(message)
    row = {"name": name, "provider": provider, "path": None, "reason": attachment.reason}
    row["redacted"] = attachment.redacted
    if attachment.content is None:
        return {**row, "size_bytes": attachment.size_bytes, "sha256": attachment.sha256}
    row.update(size_bytes=len(attachment.content), sha256=hashlib.sha256(attachment.content).hexdigest())
    if folder is not None:
        replace_file(os.path.join(folder, name), attachment.content)
        row["path"] = f"{os.path.basename(folder)}/{name}"
    return row


def merged(
    order: Iterable[str],
    outcomes: Mapping[str, Outcome],
    attachments: Iterable[AttachmentRow] = (),
    caller_tags: Mapping[str, str] | None = None,
) -> ContextRow:
    """Merge outcomes into a context: later providers win, the caller's own tags last, conflicts on record.

    Args:
        order: the providers' names, the first to be overridden first.
        outcomes: what each said; one that is missing is left out.
        attachments: the rows of all providers.
        caller_tags: what the program set itself.
    """
    changes = [row for name in order if name in outcomes for row in _changes(name, outcomes[name])]
    layers: list[tuple[str, Mapping[str, str]]]
    layers = [(name, _tags_of(outcomes[name])) for name in order if name in outcomes]
    layers.append((CALLER, caller_tags or {}))
    tags: dict[str, str] = {}
    givers: dict[str, list[str]] = {}
    for name, values in layers:
        for tag, value in values.items():
            tags[tag] = cut(value)
            givers.setdefault(tag, []).append(name)
    for row in changes:
        # What was not there at the start has its own tag, with its value at the end.
        if row["start"] is not None and key_problem(CHANGED + row["tag"]) is None:
            tags[CHANGED + row["tag"]] = GONE if row["end"] is None else cut(row["end"])
    return {
        "schema": SCHEMA,
        "tags": tags,
        "outcomes": {name: outcomes[name] for name in order if name in outcomes},
        "conflicts": [
            {"tag": tag, "winner": names[-1], "losers": names[:-1]} for tag, names in givers.items() if len(names) > 1
        ],
        "changes": changes,
        "attachments": list(attachments),
        "ranks": [],
    }


def _tags_of(outcome: Outcome) -> Mapping[str, str]:
    """Give a provider's facts: those of the start, and what was only known at the end."""
    at_end = outcome.get("at_end") or {"tags": {}}
    return {**at_end["tags"], **outcome["tags"]}


def _changes(name: str, outcome: Outcome) -> list[dict[str, Any]]:
    """Give a row for each fact of a provider's that was another at the end than at the start."""
    at_end = outcome.get("at_end")
    if not at_end:
        return []
    start, end = outcome["tags"], at_end["tags"]
    gone = [tag for tag, reason in at_end["failures"].items() if reason.startswith(ABSENT)]
    return [
        {"tag": tag, "provider": name, "start": start.get(tag), "end": end.get(tag)}
        for tag in (*end, *gone)
        if (tag in start or _was_absent(outcome, tag)) and start.get(tag) != end.get(tag)
    ]


def _was_absent(outcome: Outcome, tag: str) -> bool:
    """Say whether there was no such fact at the start, as against one that is only known at the end."""
    return outcome["status"] == "absent" or str(outcome["failures"].get(tag, "")).startswith(ABSENT)


def united(first: Outcome, second: Outcome) -> Outcome:
    """Join what one provider said in the program with what it said in the companion."""
    tags = {**first["tags"], **second["tags"]}
    reasons = {**first["failures"], **second["failures"]}
    # What one half does not know the other may.
    failures = {fact: why for fact, why in reasons.items() if fact not in tags or not why.startswith(ABSENT)}
    if second["status"] in ("failed", "timed_out"):
        failures["in the companion"] = f"{second['status'].replace('_', ' ')}: {second['reason']}"
    failing = any(not reason.startswith(ABSENT) for reason in failures.values())
    status = "pending" if second["status"] == "pending" else "partial" if failing else "captured"
    return {
        **first,
        "status": status,
        "seconds": round(first["seconds"] + second["seconds"], 6),
        "tags": tags,
        "failures": failures,
        "redacted": first["redacted"] + second["redacted"],
    }


def settled(outcomes: Mapping[str, Outcome], reason: str) -> dict[str, Outcome]:
    """Give the outcomes with what is still pending as timed out, for ``reason``; what they say at the end stays."""
    return {
        name: {**outcome, "status": "timed_out", "reason": reason} if outcome["status"] == "pending" else outcome
        for name, outcome in outcomes.items()
    }


def settled_at_end(
    outcomes: Mapping[str, Outcome], status: str | None, reason: str = "", *, only: str | None = None
) -> dict[str, Outcome]:
    """Give the outcomes with what they still had to say at the end settled.

    Args:
        outcomes: what the providers said.
        status: what becomes of it; None for never asked.
        reason: why.
        only: only of providers in this placement; None for all.
    """
    return {
        name: {**outcome, "at_end": status and {**outcome["at_end"], "status": status, "reason": reason}}
        if is_pending_at_end(outcome) and only in (None, outcome["placement"])
        else outcome
        for name, outcome in outcomes.items()
    }


def is_pending_at_end(outcome: Outcome) -> bool:
    """Say whether a provider has more to say at the end of the run, and has not yet said it."""
    return outcome.get("at_end") is not None and outcome["at_end"]["status"] == "pending"


def problems(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Give one line for each failure: which provider, which fact, why."""
    lines = []
    for name, outcome in outcomes.items():
        lines += _problems(f"provider {name!r}", outcome)
        if outcome.get("at_end"):
            lines += _problems(f"provider {name!r} at the end of the run", outcome["at_end"])
    return lines


def _problems(who: str, outcome: Outcome) -> list[str]:
    said = []
    if outcome["status"] in ("failed", "timed_out"):
        said.append(f"{who} {outcome['status'].replace('_', ' ')}: {outcome['reason']}")
    failures = outcome["failures"].items()
    return said + [f"{who}, fact {fact!r}: {reason}" for fact, reason in failures if not reason.startswith(ABSENT)]


def joined(first: ContextRow, second: ContextRow) -> ContextRow:
    """Give ``first`` with what only ``second`` knows: how a joining program's facts fill in those of its run."""
    outcomes = dict(first["outcomes"])
    for name, outcome in second["outcomes"].items():
        known = outcomes.get(name)
        has_facts = known is not None and known["status"] in ("captured", "partial")
        outcomes[name] = _filled_in(known, outcome) if known is not None and has_facts else outcome
    names = {row["name"] for row in first["attachments"]}
    conflicting = {row["tag"] for row in first["conflicts"]}
    return {
        "schema": SCHEMA,
        "tags": {**second["tags"], **first["tags"]},
        "outcomes": outcomes,
        "conflicts": [*first["conflicts"], *(row for row in second["conflicts"] if row["tag"] not in conflicting)],
        "changes": [*first.get("changes", ()), *second.get("changes", ())],
        "ranks": [*first.get("ranks", ()), *second.get("ranks", ())],
        "attachments": [*first["attachments"], *(row for row in second["attachments"] if row["name"] not in names)],
    }


def _filled_in(known: Outcome, more: Outcome) -> Outcome:
    tags = {**more["tags"], **known["tags"]}
    reasons = {**more["failures"], **known["failures"]}
    failures = {fact: reason for fact, reason in reasons.items() if fact not in tags}
    failing = any(not reason.startswith(ABSENT) for reason in failures.values())
    return {**known, "status": "partial" if failing else "captured", "tags": tags, "failures": failures}
