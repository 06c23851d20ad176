"""Filters, orderings and pages: MLflow's grammar read, answered as MLflow answers it, and written again for servers."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tests.places import servers_kept, servers_mlflow
from tests.places.servers_kept import CannotStartError

from runcontext.record import RunRecord, RunStatus
from runcontext.testing.samples import START, new_run, run_id_at, sample_runs
from runcontext.tracking import search
from runcontext.tracking.search import Comparison, Ordering, grammar
from runcontext.tracking.store import Query


@dataclass(frozen=True, slots=True)
class Asked:
    """What MLflow's own store was asked, and its answers: ids, and comparisons; None where it refused."""

    records: list[RunRecord]
    queries: list[tuple[str, list[str]]]
    answers: list[list[str] | None]
    filters: list[str]
    parsed: list[list[Any] | None]


REFERENCE = Path(__file__).with_name("mlflow_search_reference.py")


def record(**fields: Any) -> RunRecord:
    """Make a run of which a test names what matters."""
    texts = {name: MappingProxyType(fields.pop(name, {})) for name in ("tags", "params", "metrics")}
    start_time = fields.pop("start_time", START)
    fields = {
        "run_id": run_id_at(start_time),
        "run_name": "name",
        "experiment_name": "Default",
        "status": RunStatus.FINISHED,
        "start_time": start_time,
        "end_time": None,
        "parent_run_id": None,
        "last_event_time": start_time,
        "path": None,
        **fields,
    }
    return RunRecord(**fields, **texts)


def fits(filter_string: str, **fields: Any) -> bool:
    """Say whether a filter fits a run."""
    return search.matches(record(**fields), search.parse(filter_string))


# --- the grammar ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  \n", ()),
        ("metrics.loss < 0.5", (Comparison("metric", "loss", "<", 0.5),)),
        ("metric.x>=-1e-3", (Comparison("metric", "x", ">=", -0.001),)),
        ("params.a = 'b' and tag.c != \"it's\"", (
            Comparison("param", "a", "=", "b"), Comparison("tag", "c", "!=", "it's")
        )),
        ("parameter.`two words` like '%x' AND parameters.\"a.b\" ILIKE 'y'", (
            Comparison("param", "two words", "LIKE", "%x"), Comparison("param", "a.b", "ILIKE", "y")
        )),
        ("tags.mlflow.source.git.commit = ''", (Comparison("tag", "mlflow.source.git.commit", "=", ""),)),
        ("tags.select = 'x' AND tags.order = 'y'", (
            Comparison("tag", "select", "=", "x"), Comparison("tag", "order", "=", "y")
        )),
        ("params.größe = '1' AND metrics._x = 2", (
            Comparison("param", "größe", "=", "1"), Comparison("metric", "_x", "=", 2.0)
        )),
        ("`run name` = 'a' AND attr.`Run Name` = 'b' AND run_name = 'c'", tuple(
            Comparison("attribute", "run_name", "=", each) for each in "abc"
        )),
        ("attributes.Created > 5 AND run.end_time <= 1.5", (
            Comparison("attribute", "start_time", ">", 5), Comparison("attribute", "end_time", "<=", 1.5)
        )),
        ("run_id IN ('a', \"b\") AND run_id NOT IN ('c',)", (
            Comparison("attribute", "run_id", "IN", ("a", "b")), Comparison("attribute", "run_id", "NOT IN", ("c",))
        )),
        ("params.a IS NULL AND tags.b is not  null", (
            Comparison("param", "a", "IS NULL", None), Comparison("tag", "b", "IS NOT NULL", None)
        )),
        ("metrics.'a b' = 1 AND tags.'x.y' = 'c'", (
            Comparison("metric", "a b", "=", 1.0), Comparison("tag", "x.y", "=", "c")
        )),
        ("AND metrics.a = 1 and AND metrics.b = 2 AND", (
            Comparison("metric", "a", "=", 1.0), Comparison("metric", "b", "=", 2.0)
        )),
        ("datasets.name = 'mnist'", (Comparison("dataset", "name", "=", "mnist"),)),
    ],
)  # fmt: skip
def test_filters_that_are_read(text: str, expected: tuple[Comparison, ...]) -> None:
    """Every form of MLflow's grammar is read into one."""
    assert search.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("metrics.loss", 13, "comparator"),
        ("metrics.loss < 'low'", 16, "number"),
        ("metrics.loss < nan", 16, "number"),
        ("metrics.loss LIKE '1%'", 14, "LIKE"),
        ("metrics.loss IS NULL", 14, "IS NULL"),
        ("params.a = b", 12, "quoted"),
        ("params.a = 5", 12, "quoted"),
        ("params.a = 'open", 12, "quoted"),
        ("params.a > 'b'", 10, ">"),
        ("params.a == 'b'", 10, "=="),
        ("params.a NOT LIKE 'b'", 10, "NOT LIKE"),
        ("params.a = 'b' OR params.c = 'd'", 16, "AND"),
        ("params.a = 'b' params.c = 'd'", 16, "AND"),
        ("params.a = 'b';", 15, "AND"),
        ("(params.a = 'b')", 1, "found '('"),
        ("NOT params.a = 'b'", 1, "NOT"),
        ("params.a-b = 'c'", 9, "comparator"),
        ("params.a.`b c` = 'd'", 10, "quotes"),
        ("params. a = 'b'", 9, "key"),
        ("params.batch size = 'b'", 14, "found 'size'"),
        ("params.a not  Like 'b'", 10, "found 'not Like'"),
        ("loss < 5", 1, "metrics.KEY"),
        ("metrics.1 > 2", 1, "backquotes"),
        ("model.name = 'x'", 1, "no kind of key"),
        ("attributes.experiment = 'x'", 12, "start_time"),
        ("status IN ('FINISHED')", 8, "LIKE"),
        ("run_id IN ()", 12, "quoted"),
        ("run_id IN ('a' 'b')", 16, "comma"),
        ("'run name' = 'a'", 1, "metrics.KEY"),
        ("run_id IN 'a'", 11, "parentheses"),
        ("datasets.size = 'x'", 10, "digest"),
        ("start_time > 99999999999999999999", 14, "9223372036854775807"),
        ("params.a = 'b' -- comment", 16, "AND"),
    ],
)
def test_filters_that_are_none(text: str, where: int, says: str) -> None:
    """What is no filter is refused with the place, what was found and what is expected."""
    with pytest.raises(ValueError, match=rf"^filter, character {where} ") as caught:
        search.parse(text)
    assert says in str(caught.value)


def test_a_secret_in_a_filter_is_not_shown() -> None:
    """A message shows the filter near the error, without what looks like a credential."""
    secret = "ghp_" + "a1B2" * 9
    with pytest.raises(ValueError, match="filter") as caught:
        search.parse(f"tags.a = '{secret}' OR")
    assert secret not in str(caught.value)
    assert secret[:20] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 70_000,
        " AND ".join(["params.a = 'b'"] * (grammar.MAX_COMPARISONS + 1)),
        "(" * 60_000,
        "params.a = '" + "''" * 30_000,
        "`" * 60_001,
        "metrics.a > " + "1" * 60_000,
        "run_id IN (" + "'a'," * 15_000,
        "params.a = 'b' AND " * 3_000,
        "NOT " * 15_000,
        "$a$" * 20_000,
        "/*" * 30_000,
        "a." * 30_000,
    ],
)
def test_hostile_filters(text: str) -> None:
    """A filter that is huge or deep is refused soon, by a message of a few lines."""
    began = time.process_time()
    with pytest.raises(ValueError, match=r"^(the )?filter") as caught:
        search.parse(text)
    assert time.process_time() - began < 3
    assert len(str(caught.value)) < 600


def test_filters_of_another_type() -> None:
    """What is no text is refused as such."""
    with pytest.raises(ValueError, match="a text is expected"):
        search.parse(["metrics.loss < 1"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a list of them"):
        search.parse_order("metrics.loss")
    with pytest.raises(ValueError, match="texts such as"):
        search.parse_order([5])  # type: ignore[list-item]


def test_orderings() -> None:
    """An ordering is a key, with a direction where it is not upwards."""
    found = search.parse_order(["metrics.`a b` DESC", "created asc", '"run name"', "params.lr"])
    assert found == (
        Ordering("metric", "a b", is_ascending=False),
        Ordering("attribute", "start_time", is_ascending=True),
        Ordering("attribute", "run_name", is_ascending=True),
        Ordering("param", "lr", is_ascending=True),
    )


@pytest.mark.parametrize(
    ("order_by", "says"),
    [
        (["loss"], "metrics.KEY"),
        ([""], "found its end"),
        (["metrics.loss down"], "ASC"),
        (["metrics.loss ASC, status"], "the end"),
        (["start_time DESC NULLS LAST"], "NULLS"),
        (["datasets.name"], "cannot be ordered"),
        (["metrics.loss", "metric.loss DESC"], "twice"),
        ([f"metrics.m{number}" for number in range(30)], "at most 20"),
    ],
)
def test_orderings_that_are_none(order_by: list[str], says: str) -> None:
    """What is no ordering is refused, and so is a key that is named twice."""
    with pytest.raises(ValueError, match=r"^order_by") as caught:
        search.parse_order(order_by)
    assert says in str(caught.value)


# --- what fits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "x", False),
        ("%", "", True),
        ("a%", "abc", True),
        ("%c", "abc", True),
        ("%b%", "abc", True),
        ("a%c", "ac", True),
        ("a%a", "a", False),
        ("ab%bc", "abc", False),
        ("%ab%ab%", "abab", True),
        ("%ab%ab%", "ab", False),
        ("_", "ä", True),
        ("_", "", False),
        ("a_%", "a", False),
        ("%_%_%", "ab", True),
        ("a.c", "abc", False),
        ("a\\_b", "a_b", False),
        ("a\\_b", "a\\xb", True),
        ("a%b", "a\nb", True),
        ("a", "a\n", False),
        ("A", "a", False),
    ],
)
def test_like(pattern: str, text: str, expected: bool) -> None:
    """% stands for any characters, _ for one, and everything else for itself."""
    assert search.like(pattern, ignores_case=False)(text) is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("ärger", "ÄRGER", True),
        ("MOSKAU %", "moskau x", True),
        ("straße", "STRASSE", False),
        ("k", "\N{KELVIN SIGN}", False),
        ("İ", "i", False),
        ("\N{GREEK SMALL LETTER FINAL SIGMA}", "Σ", False),
        ("%δ", "Δ", True),
    ],
)
def test_like_without_case(pattern: str, text: str, expected: bool) -> None:
    """Case is that of single characters, and no letter beyond ASCII is one of ASCII's."""
    assert search.like(pattern, ignores_case=True)(text) is expected


def test_a_pattern_takes_no_long_time() -> None:
    """Many wildcards over a long text that nearly fits are no trap."""
    began = time.process_time()
    assert not search.like("%a" * 500 + "b", ignores_case=False)("a" * 8_000)
    assert time.process_time() - began < 3


def test_what_is_missing_fits_nothing() -> None:
    """Only IS NULL fits what a run does not have; != asks for another value."""
    for text in ("params.a != 'x'", "params.a LIKE '%'", "params.a IS NOT NULL", "metrics.m != 1", "end_time != 1"):
        assert not fits(text), text
    assert not fits("user_id != 'x'")
    assert not fits("datasets.name != 'x'")
    assert fits("params.a IS NULL")
    assert fits("run_id NOT IN ('x')")


def test_numbers_as_python_writes_them() -> None:
    """``repr()`` of a float can be pasted into a filter; what is quoted stays as it is."""
    (first, second) = grammar.parse("metrics.`a 1e+3` > 1.5e+300 AND params.p = '1e+3'")

    assert (first.key, first.value) == ("a 1e+3", 1.5e300)
    assert second.value == "1e+3"


def test_numbers_that_are_none() -> None:
    """NaN differs from every number, and is neither below nor above one; infinities are beyond all."""
    assert fits("metrics.m != 5", metrics={"m": math.nan})
    assert not any(fits(f"metrics.m {each} 5", metrics={"m": math.nan}) for each in ("=", "<", "<=", ">", ">="))
    assert fits("metrics.m > 1e308 AND metrics.m = 1e999", metrics={"m": math.inf})


# --- the order, and pages -----------------------------------------------------------------------------------------


def test_the_order_of_what_is_missing() -> None:
    """NaN comes after all numbers and what is missing after that, in both directions; then the latest start."""
    values: list[float | None] = [None, math.nan, 2.0, 1.0, 2.0, None, math.nan]
    runs = [
        record(run_name=str(number), start_time=START + number, metrics={} if value is None else {"m": value})
        for number, value in enumerate(values)
    ]
    names = {
        order: "".join(each.run_name for each in search.ordered(runs, search.parse_order([order])))
        for order in ("metrics.m ASC", "metrics.m DESC")
    }
    assert names == {"metrics.m ASC": "3426150", "metrics.m DESC": "4236150"}


def test_runs_of_one_millisecond() -> None:
    """They are in the order of their ids, as MLflow has them."""
    runs = [record(run_id=each * 32) for each in "cab"]
    assert [each.run_id[0] for each in search.ordered(runs, ())] == ["a", "b", "c"]


def test_every_place_of_a_page() -> None:
    """What comes after a run in an order is what stands behind it there."""
    runs = [each.record() for each in sample_runs("Default")] * 1
    for order in ("metrics.loss ASC", "metrics.big DESC", "params.note DESC", "tags.Team", "status DESC", "end_time"):
        orderings = search.parse_order([order])
        found = search.ordered(runs, orderings)
        for number, each in enumerate(found):
            position = json.loads(json.dumps(search.position_of(each, orderings)))
            after = [run for run in found if search.comes_after(run, position, orderings)]
            assert after == found[number + 1 :], order


def test_tokens() -> None:
    """A token gives its position back to its own search, and says so to any other."""
    query = Query(("a", "b"), "metrics.m > 1", ("metrics.m",), 5)
    token = search.encode_token(query, [1, "x", None])
    assert search.decode_token(Query(("b", "a"), "metrics.m > 1", ("metrics.m",), 9, token)) == [1, "x", None]
    assert search.decode_token(query) is None
    for other in (("a",), "metrics.m > 1", ("metrics.m",)), (None, "", ()), (("a", "b"), "", ("metrics.m",)):
        with pytest.raises(ValueError, match="belongs to another search"):
            search.decode_token(Query(*other, 5, token))


@pytest.mark.parametrize("token", ["x", "é", "e30=", "bnVsbA==", "W10=", "a" * 100_000, "//8=", "W1tbW1tb" * 5_000])
def test_tokens_that_are_none(token: str) -> None:
    """What is no token of ours is refused, however it is made."""
    with pytest.raises(ValueError, match="page token"):
        search.decode_token(Query(page_token=token))


@pytest.mark.parametrize("position", [None, 5, [], [[0, 1]], [[0, "a"], [0, 5]], [["x", 1], [0, "a"]], {"a": 1}])
def test_positions_that_are_none(position: Any) -> None:
    """A position that somebody made up within a token of ours is refused too."""
    query = Query(filter_string="status = 'FINISHED'", max_results=1)
    made_up = Query(None, query.filter_string, (), 1, search.encode_token(query, position))
    if position is None:
        assert search.page_of([], made_up) == []
        return
    with pytest.raises(ValueError, match="page token"):
        search.page_of([record()], made_up)


# --- for a server of MLflow's -------------------------------------------------------------------------------------

OURS = "018bcfe568007abc8def0123456789ab"
THEIRS = "f" * 12 + "4" + "f" * 19


@pytest.mark.parametrize(
    ("filter_string", "expected"),
    [
        ("metrics.loss<.5 AND start_time > 5", "metrics.`loss` < 0.5 AND attributes.start_time > 5"),
        ("metrics.m > 1e20", "metrics.`m` > 1e20"),
        ("metrics.m < 1e999", ""),
        ("user_id = 'ada'", "tags.`mlflow.user` = 'ada'"),
        ('params."a`b" = "it\'s"', 'params."a`b" = "it\'s"'),
        ("params.a LIKE 'a_b\\c%'", "params.`a` LIKE 'a%b%c%'"),
        ("params.a ILIKE 'größe%'", "params.`a` ILIKE 'gr%%e%'"),
        ("params.a IS NULL", ""),
        ("params.a IS NOT NULL", "params.`a` LIKE '%'"),
        ("status = 'LOST'", "tags.`runcontext.status` = 'LOST'"),
        ("status = 'FINISHED'", "attributes.status = 'FINISHED'"),
        ("status = 'FAILED'", "attributes.status = 'FAILED'"),
        ("status != 'FINISHED'", "attributes.status != 'FINISHED'"),
        ("status != 'FAILED'", ""),
        ("status != 'LOST'", ""),
        ("status = 'nonsense'", "attributes.status = 'nonsense'"),
        (f"run_id = '{OURS}'", f"tags.`runcontext.run_id` = '{OURS}'"),
        (f"run_id = '{THEIRS}'", f"attributes.run_id = '{THEIRS}'"),
        (f"run_id != '{OURS}'", ""),
        (f"run_id IN ('{THEIRS}')", f"attributes.run_id IN ('{THEIRS}')"),
        (f"run_id IN ('{OURS}', '{OURS[:-1]}x')", ""),
        (f"run_id IN ('{OURS}', '{OURS[:16]}{'a' * 16}')", f"tags.`runcontext.run_id` LIKE '{OURS[:16]}%'"),
        (f"tags.mlflow.parentRunId = '{OURS}'", f"tags.`runcontext.parent_run_id` = '{OURS}'"),
        ("datasets.name = 'mnist'", "datasets.`name` = 'mnist'"),
    ],
)
def test_what_a_server_is_asked(filter_string: str, expected: str) -> None:
    """What is asked fits at least what is to be found, in words that every MLflow has."""
    assert search.render(search.parse(filter_string)).filter_string == expected


def test_what_is_looked_at_again() -> None:
    """All that a server answered is looked at again, save for what only it knows."""
    comparisons = search.parse(
        "status != 'LOST' AND datasets.name = 'x' AND artifact_uri LIKE 's3%' AND params.a = 'b'"
    )
    assert [each.key for each in search.render(comparisons).comparisons] == ["status", "a"]


def test_orders_of_a_server() -> None:
    """Numbers are ordered there, with our ids for equals; texts here, since its database has an order of its own."""
    own = "tags.`runcontext.run_id` ASC"
    assert search.render_order(()) == search.RenderedOrder(("attributes.start_time DESC", own), is_exact=True)
    found = search.render_order(search.parse_order(["metrics.`a b` DESC", "start_time ASC"]))
    assert found.order_by == ("metrics.`a b` DESC", "attributes.start_time ASC", own)
    assert not search.render_order((), search.parse("datasets.name = 'mnist'")).is_exact
    for order in ("params.a", "status", "run_id", "tags.x DESC", "run_name"):
        assert not search.render_order(search.parse_order([order])).is_exact


# --- as MLflow answers --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Ask MLflow's own store; skips where MLflow cannot be had."""
    try:
        mlflow = servers_mlflow.installed("newest")
    except CannotStartError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("reference")
    shutil.copy(mlflow.database, folder / "mlflow.db")
    chance = random.Random(20)
    runs = some_runs(chance, 40)
    queries = [(some_filter(chance, len(runs)), some_order(chance)) for _ in range(150)]
    filters = some_texts(chance, 1_000)
    done = subprocess.run(
        [mlflow.python, str(REFERENCE), str(folder / "mlflow.db")],
        input=json.dumps({"runs": runs, "queries": queries, "filters": filters}),
        env={**servers_kept.clean_environment(folder), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    records = records_of(runs, answer["ids"])
    return Asked(records, queries, answer["answers"], filters, answer["parsed"])


TEXTS = ("a", "A", "aB", "ab", "", "100%", "a_b", "10", "9", "z'z", "ä", "日本", "a\nb", "\\")
NUMBERS = (0.0, -1.5, 2.0, 2.5, 1e-9, 3e20)
STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED")


def some_runs(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Make runs of few different values, so that many are equal in some of them."""

    def texts(*keys: str) -> dict[str, str]:
        return {key: chance.choice(TEXTS) for key in keys if chance.random() < 0.7}

    def points(key: str) -> list[Any]:
        values = [chance.choice([*NUMBERS, "NaN"]) for _ in range(chance.randint(0, 3))]
        return [[key, value, 1_000 + number, chance.randint(0, 1)] for number, value in enumerate(values)]

    runs = []
    for _ in range(count):
        name, status = chance.choice(["first", "second", "Third"]), chance.choice(STATUSES)
        start = START + chance.randint(0, 4)
        user = {"mlflow.user": chance.choice(["ada", "grace"])}
        runs.append({
            "run_name": name,
            "start_time": start,
            "status": status,
            "end_time": None if status == "RUNNING" else start + chance.randint(0, 3),
            "tags": {"mlflow.runName": name, **user, **texts("t", "two words")},
            "params": texts("p", "q"),
            "metrics": [*points("m"), *points("n")],
        })  # fmt: skip
    return runs


def some_comparison(chance: random.Random, count: int) -> str:
    """Make one comparison."""
    text = chance.choice(TEXTS)
    quoted = f'"{text}"' if "'" in text else f"'{text}'"
    pattern = chance.choice(["'%'", "'a%'", "'%b'", "'A_'", "'_'", "'%_b%'", "'10%'", "''", "'%%'"])
    number = str(chance.choice([*NUMBERS, 2, -7])).replace("e+", "e")
    ids = ", ".join(f"'{{{chance.randrange(count)}}}'" for _ in range(chance.randint(1, 4)))
    compared = chance.choice(["=", "!=", "<", "<=", ">", ">="])
    equal, like = chance.choice(["=", "!="]), chance.choice(["LIKE", "ILIKE", "like"])
    key = chance.choice(["params.p", "param.q", "params.none", "tags.t", "tag.`two words`"])
    return chance.choice(
        [
            f"metrics.{chance.choice('mnx')} {compared} {number}",
            f"{key} {equal} {quoted}",
            f"{key} {like} {pattern}",
            f"{key} IS {chance.choice(['', 'NOT '])}NULL",
            f"run_name {equal} 'first'",
            f"`Run Name` {like} '%ir%'",
            f"run_id {chance.choice(['', 'NOT '])}IN ({ids})",
            f"run_id {equal} '{{0}}'",
            f"{chance.choice(['start_time', 'end_time', 'created'])} {compared} {START + chance.randint(0, 6)}",
            f"attributes.status {equal} 'FAILED'",
            f"status {like} 'F%'",
            f"user_id {equal} 'ada'",
        ]
    )


def some_filter(chance: random.Random, count: int) -> str:
    """Make a filter."""
    return " AND ".join(some_comparison(chance, count) for _ in range(chance.choice([0, 1, 1, 2, 2, 3])))


def some_order(chance: random.Random) -> list[str]:
    """Make an order."""
    keys = ["metrics.m", "metrics.n", "params.p", "tags.t", "tags.`two words`", "start_time", "end_time", "status"]
    chosen = chance.sample([*keys, "run_id", "run_name", "user_id"], chance.choice([0, 1, 1, 2, 3]))
    return [f"{key}{chance.choice(['', ' ASC', ' DESC', ' desc'])}" for key in chosen]


def records_of(rows: list[dict[str, Any]], ids: list[str]) -> list[RunRecord]:
    """Give the runs as a store of ours reads them, with the ids that MLflow gave them."""
    found = []
    for row, run_id in zip(rows, ids, strict=True):
        latest: dict[str, tuple[tuple[int, int], float]] = {}
        for key, value, timestamp, step in row["metrics"]:
            if key not in latest or (step, timestamp) >= latest[key][0]:
                latest[key] = (step, timestamp), float(value)
        metrics = {key: value for key, (_, value) in latest.items()}
        fields = {key: row[key] for key in ("run_name", "start_time", "end_time", "tags", "params")}
        found.append(record(run_id=run_id, status=RunStatus(row["status"]), metrics=metrics, **fields))
    return found


WORDS = (
    "metrics.m", "params.p", "tags.`a b`", 'tags."x.y"', "attributes.status", "start_time", "run_id", "run_name",
    "`run name`", "datasets.name", "params.like", "metrics.'a b'", "=", "!=", "<", ">=", "LIKE", "ilike", "IN", "NOT",
    "IS", "NULL", "AND", "and", "OR", "'a'", '"b"', "'it''s'", "`c`", "5", "-1.5", "1e3", ".5", "('a')", "('a', 'b')",
    "(", ")", ",", "nan",
)  # fmt: skip
SHAPES = (
    "{k} {c} {v}",
    "{k} {c} {v} AND {k} {c} {v}",
    "{k}{c}{v}",
    "{k} {c} {v} {k} {c} {v}",
    "{k} IS NULL and {k} {c} {v}",
    "{k} {w} {v}",
    "{w} {w} {w}",
    "{k} {c} {w} AND {w}",
    "{w} {k} {c} {v} {w} AND",
)


def some_texts(chance: random.Random, count: int) -> list[str]:
    """Make what may be a filter."""
    keys, values = WORDS[:12], ("'a'", '"b"', "5", "-1.5", "('a')", "('a', \"b\")", "'100%'", "1e3")
    comparators = ("=", "!=", "<", ">=", "LIKE", "IN", "NOT IN", "ILIKE")
    texts = []
    for _ in range(count):
        text = chance.choice(SHAPES)
        for mark, choices in (("{k}", keys), ("{c}", comparators), ("{v}", values), ("{w}", WORDS)):
            while mark in text:
                text = text.replace(mark, chance.choice(choices), 1)
        texts.append(text)
    return texts


@pytest.mark.mlflow
def test_mlflow_answers_alike(reference: Asked) -> None:
    """The same runs and some hundred searches give the same runs in the same order in MLflow's own store.

    Left out is where we differ on purpose: letters beyond ASCII have case here, and none on MLflow's SQLite; an
    infinity is one here, and the largest number there; a run without the tag mlflow.user has no user.
    """
    wrong = []
    for (text, order_by), expected in zip(reference.queries, reference.answers, strict=True):
        filter_string = text
        for number, each in enumerate(reference.records):
            filter_string = filter_string.replace(f"{{{number}}}", each.run_id)
        try:
            page = search.page_of(reference.records, Query(None, filter_string, tuple(order_by)))
            found: list[str] | None = [each.run_id for each in page]
        except ValueError:
            found = None
        if found != expected:
            wrong.append((text, order_by, found, expected))
    assert not wrong, wrong[0]
    assert sum(bool(each) for each in reference.answers) > len(reference.queries) / 4


@pytest.mark.mlflow
def test_mlflow_reads_alike(reference: Asked) -> None:
    """What we read, MLflow reads, and as the same; what it reads beyond that lacks an AND."""
    both = 0
    for text, theirs in zip(reference.filters, reference.parsed, strict=True):
        try:
            found = search.parse(text)
        except ValueError:
            assert theirs is None or text.upper().count("AND") < len(theirs) - 1, text
            continue
        assert theirs == [
            [{"param": "parameter"}.get(each.kind, each.kind), each.key, each.comparator, _listed(each.value)]
            for each in found
        ], text
        both += 1
    assert both > 50


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_the_sample_is_told_apart() -> None:
    """The filters that the contract of stores asks tell its runs apart: few fit all of them, or none."""
    from runcontext.testing.stores import queries

    sample = sample_runs("Default")
    answers = [search.page_of([each.record() for each in sample], query) for query in queries("Default", sample)]
    assert sum(0 < len(each) < len(sample) for each in answers) > 40
    assert new_run("Default").run_id != new_run("Default").run_id
