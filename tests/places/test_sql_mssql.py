"""SQL Server without a server: every statement is compiled for its dialect, and the text checked; none is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import MetaData, Table, event
from sqlalchemy.dialects import mssql
from sqlalchemy.schema import CreateIndex, CreateTable
from tests.places.sql_places import batch, new_run, opened

from runcontext.record import RunStatus
from runcontext.tracking.sql import addresses, upgrading
from runcontext.tracking.sql.schema import METADATA
from runcontext.tracking.store import Query, RunUpdate

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Dialect

_FILTER = (
    "metrics.loss > 0.5 AND metrics.x != 1 AND params.a ILIKE '%x' AND params.a LIKE 'x%' AND tags.b != 'c'"
    " AND run_id IN ('a', 'b') AND params.z IS NULL AND artifact_uri LIKE 's%' AND end_time >= 5 AND user_id = 'ada'"
    " AND status != 'LOST'"
)
_ORDER = ("metrics.loss DESC", "params.p", "start_time", "artifact_uri", "end_time DESC", "user_id")
_MOST_PARAMETERS = 2_100
_FOREIGN = re.compile(
    r"\bLIMIT\b|\bON CONFLICT\b|\bON DUPLICATE\b|\|\||\bRETURNING\b|\bILIKE\b|\btrue\b|\bfalse\b|\bunnest\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def dialect() -> Dialect:
    """Give SQL Server's dialect; it imports no driver."""
    found: Dialect = mssql.dialect()
    return found


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Give every statement that a run's life and a search's pages take, as it goes to an engine."""
    found: list[Any] = []
    with opened(f"sqlite:///{tmp_path_factory.mktemp('sql')}/runs.db") as store:
        event.listen(store._engine, "before_execute", lambda _connection, statement, *_: found.append(statement))
        for number in range(3):
            run = store.create_run(new_run(number, artifact_uri="s3://bucket" if number else None))
            texts = {f"p{each}": "x" for each in range(600)}
            for sequence in (1, 1, 2):
                store.log_batch(
                    run, batch(sequence, {f"m{each}": 1.0 for each in range(600)}, params=texts, tags=texts)
                )
            store.log_batch(run, batch(3, params={"a": "1"}, tags={"mlflow.runName": "name"}))
            store.update_run(run, RunUpdate(RunStatus.FINISHED, 5, "name"))
            store.get_run(run.run_id)
        for query in (
            Query(("Default",), _FILTER, _ORDER),
            Query(order_by=_ORDER, max_results=1),
            Query(max_results=1),
        ):
            page = store.search_runs(query)
            if page.token is not None:
                store.search_runs(Query(query.experiment_names, query.filter_string, query.order_by, 1, page.token))
    return [each for each in found if not hasattr(each, "text") and not str(each).startswith("PRAGMA")]


def test_every_statement_is_one_of_its_dialect(statements: list[Any], dialect: Dialect) -> None:
    """Each compiles to T-SQL: TOP for limits, no truth values, no other engine's words, not too many parameters."""
    texts = set()
    for each in statements:
        compiled = each.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        assert not _FOREIGN.search(str(compiled)), compiled
        assert len(compiled.params or ()) < _MOST_PARAMETERS
        texts.add(str(compiled))
    assert any("SELECT TOP " in each for each in texts)
    kinds = {(each.split()[0], table) for each in texts for table in METADATA.tables if f" {table}" in each}
    written = {("INSERT", each) for each in METADATA.tables}
    assert written <= kinds
    assert {("UPDATE", f"runcontext_{each}") for each in ("runs", "params", "tags", "latest_metrics")} <= kinds


def test_no_order_names_a_column_twice(statements: list[Any], dialect: Dialect) -> None:
    """SQL Server refuses an ORDER BY that does (its error 169)."""
    orders = 0
    for each in statements:
        words = str(each.compile(dialect=dialect)).partition("ORDER BY")[2]
        columns = re.findall(r"(runcontext_runs\.(?:start_time|run_id)) (?:ASC|DESC)", words)
        assert len(columns) == len(set(columns))
        orders += len(columns) > 1
    assert orders


def test_the_tables_are_ones_of_its_dialect(dialect: Dialect) -> None:
    """Texts are NVARCHAR compared by code point, numbers wide enough, and keys no longer than an index can hold."""
    for table in METADATA.sorted_tables:
        made = str(CreateTable(table).compile(dialect=dialect))
        assert "VARCHAR" not in made.replace("NVARCHAR", "")
        assert made.count("NVARCHAR") == made.count("COLLATE Latin1_General_100_BIN2")
        assert "TEXT" not in made
        assert sum(_bytes(each) for each in table.primary_key) <= 900  # SQL Server, "Maximum capacity specifications"
    points = str(CreateTable(METADATA.tables["runcontext_metric_points"]).compile(dialect=dialect))
    assert "value DOUBLE PRECISION NULL" in points
    assert "step BIGINT NOT NULL" in points
    experiments = str(CreateTable(METADATA.tables["runcontext_experiments"]).compile(dialect=dialect))
    assert "experiment_id INTEGER NOT NULL IDENTITY" in experiments
    assert "UNIQUE (name)" in experiments


def test_the_first_revision_makes_these_tables(tmp_path: Path, dialect: Dialect) -> None:
    """What Alembic runs is, table by table and index by index, what the statements are made for."""
    with opened(f"sqlite:///{tmp_path}/runs.db") as store:
        made: list[Any] = []
        event.listen(store._engine, "before_execute", lambda _connection, statement, *_: made.append(statement))
        store.create_run(new_run(1))
    tables = [each for each in made if isinstance(each, CreateTable) and "version" not in each.element.name]
    indexes = [each for each in made if isinstance(each, CreateIndex)]
    found = sorted(str(each.compile(dialect=dialect)) for each in (*tables, *indexes))
    wanted: list[Table] = [each.to_metadata(MetaData()) for each in METADATA.sorted_tables]
    expected = [str(CreateTable(each).compile(dialect=dialect)) for each in METADATA.sorted_tables]
    expected += [str(CreateIndex(index).compile(dialect=dialect)) for each in wanted for index in each.indexes]
    assert found == sorted(expected)


def test_the_lock_is_asked_for_within_the_transaction() -> None:
    """sp_getapplock needs an owner, and gives less than 0 where it gives no lock."""
    assert "@LockOwner = 'Transaction'" in upgrading.MSSQL_LOCK
    assert re.findall(r":(\w+)", upgrading.MSSQL_LOCK) == ["name", "milliseconds"]


def test_the_version_is_kept_by_hints(dialect: Dialect) -> None:
    """It has no FOR SHARE and no FOR UPDATE."""
    for is_shared, hint in ((True, "WITH (HOLDLOCK)"), (False, "WITH (HOLDLOCK, XLOCK)")):
        words = str(upgrading.locking_version(is_shared=is_shared).compile(dialect=dialect))
        assert words.endswith(f"FROM runcontext_alembic_version {hint}")


def test_urls_of_its_driver() -> None:
    """It is pyodbc unless another is named; a connection string is a secret as a whole."""
    found = addresses.parsed("mssql://u:s3cret@host/runs?driver=ODBC+Driver+18+for+SQL+Server")
    assert found.url.drivername == "mssql+pyodbc"
    assert found.shown == "mssql://u:[redacted]@host/runs?driver=ODBC Driver 18 for SQL Server"
    words = "DRIVER%3DODBC%3BSERVER%3Dhost%3BUID%3Du%3BPWD%3Ds3cret"
    assert (
        addresses.parsed(f"mssql+pyodbc:///?odbc_connect={words}").shown == "mssql+pyodbc:///?odbc_connect=[redacted]"
    )


def _bytes(column: Any) -> int:
    return 2 * column.type.length if hasattr(column.type, "length") else 8
