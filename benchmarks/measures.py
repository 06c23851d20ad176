"""What a measurement is: values taken in turns, their median and spread, and the target that they are held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median, quantiles

Reading = Mapping[str, float]
"""What one repetition of one subject gives: a number for each thing measured, in the unit that its row names."""

_QUIET_SECONDS = 0.05
"""A pause after each repetition: what a program leaves running must not be timed as part of the next one."""


class NotMeasuredError(Exception):
    """A subject cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one thing that was measured repeatedly, in the order of the rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that half of the repetitions stay below."""
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The values that a quarter and three quarters of the repetitions stay below: the spread."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        first, _, third = quantiles(self.values, n=4, method="inclusive")
        return first, third

    @property
    def most(self) -> float:
        """The largest value, for what may never be exceeded."""
        return max(self.values)

    def since(self, earlier: Sample) -> Sample:
        """Give by how much each round's value exceeds that of ``earlier`` in the same round: what growing costs."""
        return Sample(tuple(ours - theirs for ours, theirs in zip(self.values, earlier.values, strict=True)))

    def to_json(self) -> dict[str, object]:
        """Give median, spread and every value."""
        return {"median": self.median, "quartiles": list(self.quartiles), "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Turns:
    """What came of measuring several subjects in turns: samples by subject and thing, and why others are missing."""

    samples: Mapping[str, Mapping[str, Sample]]
    missing: Mapping[str, str]

    def of(self, subject: str, thing: str) -> Sample:
        """Give the sample of ``thing`` for ``subject``.

        Raises:
            NotMeasuredError: there is none; the message says why.
        """
        if subject in self.missing:
            raise NotMeasuredError(self.missing[subject])
        return self.samples[subject][thing]

    def growth(self, thing: str, pairs: Mapping[str, tuple[str, str]]) -> Turns:
        """Give, for each pair of a small and a large subject, by how much the large one exceeds the small one.

        Args:
            thing: what is compared; the samples of the answer are called the same.
            pairs: what each difference is called, and its two subjects, the small one first.
        """
        samples: dict[str, Mapping[str, Sample]] = {}
        missing: dict[str, str] = {}
        for name, (small, large) in pairs.items():
            try:
                samples[name] = {thing: self.of(large, thing).since(self.of(small, thing))}
            except NotMeasuredError as error:
                missing[name] = str(error)
        return Turns(samples, missing)


def take_turns(subjects: Mapping[str, Callable[[], Reading]], repetitions: int) -> Turns:
    """Measure subjects in turns (A B C A B C ...), so that a machine that gets slower or faster hits all alike.

    A first round is not counted: it writes byte code and fills caches. A subject that fails is left out from then on,
    with its reason.
    """
    readings: dict[str, list[Reading]] = {subject: [] for subject in subjects}
    missing: dict[str, str] = {}
    for _ in range(repetitions + 1):
        for subject, measure in subjects.items():
            if subject in missing:
                continue
            try:
                readings[subject].append(measure())
            except NotMeasuredError as error:
                missing[subject] = str(error)
            time.sleep(_QUIET_SECONDS)
    return Turns({name: _samples(rows[1:]) for name, rows in readings.items() if name not in missing}, missing)


def _samples(rows: Iterable[Reading]) -> dict[str, Sample]:
    values: dict[str, list[float]] = {}
    for row in rows:
        for thing, value in row.items():
            values.setdefault(thing, []).append(value)
    return {thing: Sample(tuple(each)) for thing, each in values.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: what was measured, against what, and whether the target is met.

    ``value`` is what counts against ``limit``, in ``value_unit``: a ratio ("x") or a number. Without a limit the row is
    there for comparison. ``unit`` is that of the samples.
    """

    claim: str
    unit: str
    value_unit: str
    limit: float | None
    is_minimum: bool
    ours: Sample | None = None
    theirs: Sample | None = None
    value: float | None = None
    reason: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none or nothing was measured."""
        if self.value is None or self.limit is None:
            return None
        return self.value >= self.limit if self.is_minimum else self.value <= self.limit

    def to_json(self) -> dict[str, object]:
        """Give the row, with every value behind it."""
        return {
            "claim": self.claim,
            "unit": self.unit,
            "ours": self.ours and self.ours.to_json(),
            "theirs": self.theirs and self.theirs.to_json(),
            "value": self.value,
            "value_unit": self.value_unit,
            "limit": self.limit,
            "limit_is": "at least" if self.is_minimum else "at most",
            "met": self.is_met,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is claimed of a measurement, and how far it may go.

    ``ours`` and ``theirs`` are each a subject and a thing of one ``Turns``. With ``theirs``, the ratio of the medians
    counts; without, our median does, or with ``is_worst`` the largest value that occurred.
    """

    claim: str
    ours: tuple[str, str]
    theirs: tuple[str, str] | None = None
    limit: float | None = None
    unit: str = "ms"
    is_minimum: bool = False
    is_worst: bool = False

    def row(self, turns: Turns) -> Row:
        """Hold ``turns`` against this target; what was not measured is a row with a reason."""
        empty = Row(self.claim, self.unit, "x" if self.theirs else self.unit, self.limit, self.is_minimum)
        try:
            ours = turns.of(*self.ours)
            theirs = turns.of(*self.theirs) if self.theirs else None
        except NotMeasuredError as error:
            return replace(empty, reason=str(error))
        value = ours.most if self.is_worst else ours.median
        return replace(empty, ours=ours, theirs=theirs, value=value / theirs.median if theirs else value)
