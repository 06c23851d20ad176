"""The benchmark's own arithmetic and tables: what it says of a measurement is what was measured."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
COLUMNS = 80

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are in the checkout only")


@pytest.fixture(scope="module", name="bench")
def _bench() -> Iterator[SimpleNamespace]:
    """The benchmark's modules, which import each other as scripts of one folder do."""
    names = ("measures", "peers", "ground", "companion_memory", "servers", "figures", "bench")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in names}
        yield SimpleNamespace(**modules)
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in names:
            sys.modules.pop(name, None)


def test_a_sample_gives_median_quartiles_and_the_largest_value(bench: SimpleNamespace) -> None:
    """Half of the values lie between the quartiles; one value is its own spread."""
    sample = bench.measures.Sample((5.0, 1.0, 2.0, 4.0, 3.0))
    assert (sample.median, sample.quartiles, sample.most) == (3.0, (2.0, 4.0), 5.0)
    assert bench.measures.Sample((7.0,)).quartiles == (7.0, 7.0)


def test_subjects_are_measured_in_turns_and_the_first_round_does_not_count(bench: SimpleNamespace) -> None:
    """A B A B ..., so that a machine that gets slower hits both alike; byte code is written in the first round."""
    order: list[str] = []

    def measure(name: str) -> dict[str, float]:
        order.append(name)
        return {"took": float(len(order))}

    turns = bench.measures.take_turns({"a": lambda: measure("a"), "b": lambda: measure("b")}, 2)
    assert order == ["a", "b"] * 3
    assert turns.of("a", "took").values == (3.0, 5.0)
    assert turns.of("b", "took").values == (4.0, 6.0)


def test_a_subject_that_cannot_be_measured_is_reported_and_the_others_still_are(bench: SimpleNamespace) -> None:
    """A peer that cannot be installed costs its own rows only, and those say why."""
    measures = bench.measures

    def fail() -> dict[str, float]:
        reason = "no such package"
        raise measures.NotMeasuredError(reason)

    turns = measures.take_turns({"ours": lambda: {"held": 1.0}, "peer": fail}, 1)
    against_it = measures.Target(claim="of peer's", ours=("ours", "held"), theirs=("peer", "held"), limit=0.5)
    alone = measures.Target(claim="alone", ours=("ours", "held"), limit=2)
    row = against_it.row(turns)
    assert (row.value, row.is_met, row.reason) == (None, None, "no such package")
    assert alone.row(turns).is_met is True


@pytest.mark.parametrize(
    ("limit", "is_minimum", "met"), [(0.5, False, True), (0.4, False, False), (0.5, True, True), (0.6, True, False)]
)
def test_a_target_with_a_peer_is_about_the_ratio_of_medians(
    bench: SimpleNamespace, *, limit: float, is_minimum: bool, met: bool
) -> None:
    """At most, or with ``is_minimum`` at least, so many times the peer's median."""
    sample = bench.measures.Sample
    turns = bench.measures.Turns({"ours": {"t": sample((1.0, 9.0, 2.0))}, "peer": {"t": sample((4.0, 4.0, 90.0))}}, {})
    target = bench.measures.Target(
        claim="", ours=("ours", "t"), theirs=("peer", "t"), limit=limit, is_minimum=is_minimum
    )
    row = target.row(turns)
    assert (row.value, row.value_unit, row.is_met) == (0.5, "x", met)


def test_a_target_for_the_worst_is_about_the_largest_value(bench: SimpleNamespace) -> None:
    """One thread in one repetition is a thread started."""
    turns = bench.measures.Turns({"ours": {"threads": bench.measures.Sample((0.0, 1.0, 0.0))}}, {})
    target = bench.measures.Target(claim="", ours=("ours", "threads"), limit=0, unit="", is_worst=True)
    assert target.row(turns).is_met is False


def test_growth_compares_what_was_measured_in_the_same_round(bench: SimpleNamespace) -> None:
    """A round in which the machine was slow was slow for both."""
    sample = bench.measures.Sample
    turns = bench.measures.Turns({"one": {"t": sample((1.0, 11.0))}, "many": {"t": sample((3.0, 14.0))}}, {})
    grown = turns.growth("t", {"ours": ("one", "many")})
    assert grown.of("ours", "t").values == (2.0, 3.0)


def test_growth_of_what_was_not_measured_has_a_reason(bench: SimpleNamespace) -> None:
    """A missing half makes the difference missing, not zero."""
    turns = bench.measures.Turns({"one": {"t": bench.measures.Sample((1.0,))}}, {"many": "it crashed"})
    with pytest.raises(bench.measures.NotMeasuredError, match="it crashed"):
        turns.growth("t", {"ours": ("one", "many")}).of("ours", "t")


def test_the_table_fits_80_columns_and_says_what_is_missing(bench: SimpleNamespace) -> None:
    """Values with their spread, the target, whether it is met, and for what was not measured the reason."""
    sample = bench.measures.Sample
    turns = bench.measures.Turns(
        {"ours": {"t": sample((10.0, 12.0, 11.0))}, "peer": {"t": sample((123_456.0,))}}, {"gone": "no wheel for it"}
    )
    targets = [
        bench.measures.Target(claim="of peer's", ours=("ours", "t"), theirs=("peer", "t"), limit=1, unit="/s"),
        bench.measures.Target(claim="too long", ours=("ours", "t"), limit=3),
        bench.measures.Target(claim="of gone's", ours=("ours", "t"), theirs=("gone", "t"), limit=1),
    ]
    rows = [target.row(turns) for target in targets]
    output = io.StringIO()
    Console(width=COLUMNS, file=output).print(bench.bench.table("held", "a claim", rows))
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= COLUMNS
    for expected in ("held: a claim", "11 /s", "10.5-11.5", "123.5k /s", "yes", "NO", "not measured: no wheel for it"):
        assert expected in text
    assert bench.bench.summary([rows]) == "targets: 1 met, 1 missed, 1 not measured"


def test_the_report_is_json_with_every_value(bench: SimpleNamespace) -> None:
    """Whoever doubts a median can see what it is of."""
    turns = bench.measures.Turns({"ours": {"t": bench.measures.Sample((1.0, 2.0))}}, {})
    rows = [bench.measures.Target(claim="quick", ours=("ours", "t"), limit=3).row(turns)]
    found = json.loads(json.dumps(bench.bench.report([(bench.figures.FIGURES[0], rows)], {"runcontext": "1"}, 2)))
    (figure,) = found["figures"]
    assert found["schema"] == 1
    assert found["versions"] == {"runcontext": "1"}
    assert figure["name"] == "held"
    assert figure["rows"][0]["ours"] == {"median": 1.5, "quartiles": [1.25, 1.75], "values": [1.0, 2.0]}
    assert figure["rows"][0]["met"] is True


def test_a_case_that_fails_is_no_measurement(bench: SimpleNamespace, tmp_path: Path) -> None:
    """The reason is the last thing that it said; what a case prints last is what it measured."""
    command = ["python", str(tmp_path / "case.py")]
    with pytest.raises(bench.measures.NotMeasuredError, match=r"case\.py failed: ValueError: no"):
        bench.ground.reading(command, 1, "", "Traceback\nValueError: no\n")
    assert bench.ground.reading(command, 0, 'hello\n{"held": 1.5}\n', "") == {"held": 1.5}


def test_every_figure_has_a_name_of_its_own_and_a_target(bench: SimpleNamespace) -> None:
    """``--only`` names one figure, and none is there just to look good."""
    names = [figure.name for figure in bench.figures.FIGURES]
    assert len(names) == len(set(names))
    assert all(any(target.limit is not None for target in figure.targets) for figure in bench.figures.FIGURES)
