"""A database's answers to filters and orderings equal those over the same records in memory, page by page."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from tests.places.sql_places import ENGINES, batch, new_run, opened, uri_of

from runcontext.record import RunStatus
from runcontext.tracking.search import encode_token, page_of
from runcontext.tracking.sql.schema import LARGEST_DOUBLE
from runcontext.tracking.store import Query, RunUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runcontext.tracking.sql import SqlStore
    from runcontext.tracking.store import RunPage

_TEXTS = (
    *(
        "",
        " ",
        "a",
        "A",
        "a ",
        "b",
        "B%",
        "b_",
        "ab",
        "aB",
        "a\\b",
        "a[b]",
        "[a]",
        "ä",
        "Ä",
        "ß",
        "ẞ",
        "é",
        "e\u0301",
        "K",
        "k",
    ),
    *(
        "\u212a",
        "İ",
        "i",
        "\u0131",
        "😀",
        "😀a",
        "\ufffd",
        "line\nend",
        "it's",
        '"',
        "1",
        "10",
        "9",
        "x" * 6_000,
        "a^b",
        "%",
        "_",
    ),
)
_NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-300, LARGEST_DOUBLE, -LARGEST_DOUBLE, 5e-324, math.pi, 1e15, math.nan)
_ALL_NUMBERS = (*_NUMBERS, math.inf, -math.inf)
_PATTERNS = (
    "a%",
    "%a",
    "A%",
    "%B%",
    "_",
    "__",
    "%_b%",
    "%\\%",
    "%[%",
    "k",
    "K",
    "\u212a",
    "ä",
    "Ä%",
    "%İ%",
    "%😀%",
    "",
    "%",
    "a ",
)
_ORDERINGS = (
    *("metrics.loss", "metrics.`Loss`", "params.text", "params.Text", "tags.text", "attributes.status", "end_time"),
    *("attributes.run_name", "attributes.artifact_uri", "attributes.user_id", "run_id", "start_time", "metrics.none"),
)
_RUNS = 40


def _fill(store: SqlStore, chance: random.Random) -> None:
    for number in range(_RUNS):
        experiment = chance.choice(["Default", "default", "Default ", "Größe"])
        tags = {"mlflow.user": chance.choice(_TEXTS)} if chance.random() < 0.5 else {}
        root = chance.choice([None, None, "s3://bucket/x", "/data/A"])
        start = 1_000 + chance.randrange(5)
        fields = {"experiment_name": experiment, "tags": tags, "artifact_uri": root, "start_time": start}
        run = store.create_run(new_run(number, **fields))
        metrics = {key: chance.choice(_ALL_NUMBERS) for key in ("loss", "Loss") if chance.random() < 0.7}
        params = {key: chance.choice(_TEXTS) for key in ("text", "Text", "text ") if chance.random() < 0.7}
        store.log_batch(run, batch(metrics=metrics, params=params, tags=params if chance.random() < 0.5 else {}))
        if chance.random() < 0.6:
            status = chance.choice(list(RunStatus))
            store.update_run(
                run, RunUpdate(status, chance.choice([2_000, 2_001]), chance.choice(["name", "Name", "na"]))
            )


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    """Give a store over an empty database of each engine."""
    with opened(uri_of(request.param, request, tmp_path)) as found:
        yield found


def _comparison(chance: random.Random) -> str:
    kind = chance.choice(["metric", "text", "text", "text", "time", "listed", "dataset"])
    if kind == "metric":
        key, value = chance.choice(["loss", "`Loss`", "none"]), chance.choice(_NUMBERS[:-1])
        number = repr(value).replace("e+", "e")  # the sign is none of SQL's
        return f"metrics.{key} {chance.choice(['=', '!=', '<', '<=', '>', '>='])} {number}"
    if kind == "time":
        key, value = chance.choice(["start_time", "end_time"]), chance.choice([1_001, 2_000, 1_002.5, 10**18, 0])
        return f"{key} {chance.choice(['=', '!=', '<', '<=', '>', '>='])} {value!r}"
    if kind == "listed":
        ids = ", ".join(f"'{chance.randrange(60):032x}'" for _ in range(20))
        return f"run_id {chance.choice(['IN', 'NOT IN'])} ({ids})"
    if kind == "dataset":
        return chance.choice(
            ["tags.`text ` IS NULL", "params.text IS NOT NULL", "params.none IS NULL", "tags.Text IS NULL"]
        )
    keys = ["params.text", "params.`text `", "tags.Text", "status", "run_name", "user_id", "artifact_uri"]
    comparator = chance.choice(["=", "!=", "LIKE", "ILIKE", "ILIKE"])
    words = (*_TEXTS, "RUNNING", "name", "%data/a%")
    value = chance.choice(_PATTERNS if "LIKE" in comparator else words)
    return f"{chance.choice(keys)} {comparator} " + (f'"{value}"' if "'" in value else f"'{value}'")


def _query(chance: random.Random) -> Query:
    words = [_comparison(chance) for _ in range(chance.choice([0, 1, 1, 1, 2, 3]))]
    names = chance.choice([None, None, None, ("Default",), ("default", "Größe", "none"), ()])
    order = [
        f"{each} {chance.choice(['ASC', 'DESC'])}" for each in chance.sample(_ORDERINGS, chance.choice([0, 1, 2, 3]))
    ]
    return Query(names, " AND ".join(words), tuple(order), chance.choice([None, None, 3, 7, 39, 40, 100, 0]))


def _pages(ask: Callable[[Query], RunPage], query: Query) -> list[list[str]]:
    found: list[list[str]] = []
    while True:
        page = ask(query)
        found.append([each.run_id for each in page])
        if page.token is None:
            return found
        query = Query(query.experiment_names, query.filter_string, query.order_by, query.max_results, page.token)


@pytest.mark.parametrize("searches", [40, pytest.param(2_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_answers_and_pages_are_those_of_memory(store: SqlStore, searches: int) -> None:
    """Searches, over runs whose names, texts and numbers differ as little as they can, find the same pages."""
    _fill(store, random.Random(4))
    records = [store.get_run(f"{number:032x}") for number in range(_RUNS)]
    chance = random.Random(searches)
    found = 0
    for _ in range(searches):
        query = _query(chance)
        expected = _pages(lambda each: page_of(records, each), query)
        assert _pages(store.search_runs, query) == expected, query
        found += bool(expected[0])
    assert found > searches // 4


def test_a_search_reads_one_moment(store: SqlStore) -> None:
    """What others log while a search goes on moves no run of its answer, and no page after it skips one."""
    runs = [store.create_run(new_run(number)) for number in range(3)]
    for number, run in enumerate(runs):
        store.log_batch(run, batch(metrics={"loss": float(number)}))
    seen: list[str] = []

    def log_after_the_order_is_known(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "ORDER BY" in statement and not seen:
            seen.append(statement)
            with opened(store._address.given.render_as_string(hide_password=False)) as other:
                other.log_batch(runs[0], batch(2, {"loss": 9.0}))

    event.listen(store._engine, "after_cursor_execute", log_after_the_order_is_known)
    query = Query(order_by=("metrics.loss",), max_results=1)
    first = store.search_runs(query)
    assert [(each.run_id, dict(each.metrics)) for each in first] == [(runs[0].run_id, {"loss": 0.0})]
    rest = store.search_runs(Query(order_by=query.order_by, page_token=first.token))
    assert [each.run_id for each in rest] == [runs[1].run_id, runs[2].run_id, runs[0].run_id]


def test_as_many_orderings_as_there_may_be_have_pages(store: SqlStore) -> None:
    """Twenty metrics put runs in order, the last of them alone tells them apart, and each page begins after another."""
    for number in range(3):
        metrics = {f"m{each}": 1.0 for each in range(19)} | {"m19": float(number)}
        store.log_batch(store.create_run(new_run(number)), batch(metrics=metrics))
    order = tuple(f"metrics.m{each} {'DESC' if each % 2 else 'ASC'}" for each in range(20))
    pages = _pages(store.search_runs, Query(order_by=order, max_results=1))
    assert pages == [[f"{number:032x}"] for number in (2, 1, 0)]


def test_long_patterns_and_many_experiments_are_no_limit_of_an_engine(store: SqlStore) -> None:
    """A pattern of 60,000 letters, and 70,000 experiments, find what they find in memory."""
    letters = "a" * 59_000
    for number, value in enumerate((letters, letters[:-1] + "b", "a")):
        run = store.create_run(new_run(number, experiment_name=f"\0 {number}"))
        store.log_batch(run, batch(params={"p": value}))
    first, second, third = (f"{number:032x}" for number in range(3))
    for filter_string, expected in (
        (f"params.p LIKE '{letters}'", [first]),
        (f"params.p ILIKE '%{letters[1:]}'", [first]),
        (f"params.p LIKE '{letters[:-1]}_'", [second, first]),
    ):
        assert [each.run_id for each in store.search_runs(Query(filter_string=filter_string))] == expected
    names = (*map(str, range(70_000)), "\0 0", "\0 2")
    assert _pages(store.search_runs, Query(names, max_results=1)) == [[third], [first]]


def test_a_filter_is_data(store: SqlStore) -> None:
    """SQL in a key, a value or a name is looked for, not run."""
    store.create_run(new_run(1))
    wicked = "x'; DROP TABLE runcontext_runs; --"
    searches = [
        Query(filter_string=f'params.`{wicked}` = "{wicked}"'),
        Query(filter_string=f'tags.text LIKE "{wicked}"', order_by=(f"params.`{wicked}` DESC",)),
        Query(experiment_names=(wicked,)),
    ]
    assert [store.search_runs(each) for each in searches] == [[], [], []]
    assert len(store.search_runs(Query(order_by=(f"tags.`{wicked}`",)))) == 1


@pytest.mark.parametrize(
    "position",
    [
        [],
        [[0, 1]],
        [[0, "a"], [0, 1], [0, "b"]],
        [[0, 1.5], [0, "1"], [0, "b"]],
        [[7, 1.5], [0, 1], [0, "b"]],
        [[0, True], [0, 1], [0, "b"]],
        [[0, 1.5], [0, 2**70], [0, "b"]],
        [[True, 1.5], [0, 1], [0, "b"]],
        [[0.0, 1.5], [0, 1], [0, "b"]],
        [[0, 10**400], [0, 1], [0, "b"]],
        [[0, math.nan], [0, 1], [0, "b"]],
        [[2, 0], [2, 0], [0, "b"]],
        {"a": 1},
        "text",
    ],
)
def test_a_forged_token_is_refused(tmp_path: Path, position: object) -> None:
    """A token whose position is not one of this order raises ValueError, whatever is in it."""
    query = Query(order_by=("metrics.loss",))
    forged = Query(order_by=query.order_by, page_token=encode_token(query, position))
    with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        store.create_run(new_run(1))
        with pytest.raises(ValueError, match="page token"):
            store.search_runs(forged)
