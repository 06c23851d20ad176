"""Writes runs into a database; each function is called in a transaction of its own, and may be called again.

A run's row is locked while something of the run is written, so that what is read of it then holds till the end: two
who send the same batch take turns, and the second finds it taken. All statements are those that every engine has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Text, and_, bindparam, case, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from runcontext.record import RunStatus
from runcontext.resolution import writable
from runcontext.tracking.sql.schema import (
    BATCHES,
    EXPERIMENTS,
    LATEST_METRICS,
    LONGEST_EXPERIMENT_NAME,
    LONGEST_NAME,
    LONGEST_RUN_ID,
    METRIC_POINTS,
    PARAMS,
    RUNS,
    TAGS,
    ExactText,
    is_too_long,
    stored_number,
)
from runcontext.tracking.store import Refusal

if TYPE_CHECKING:
    from sqlalchemy import Insert, Table
    from sqlalchemy.engine import Connection

    from runcontext.tracking.store import Batch, MetricPoint, NewRun, RunUpdate

NAME_TAG = "mlflow.runName"
"""The tag that holds a run's name: to change one changes the other, as on MLflow's servers."""

_MOST_AT_ONCE = 500  # parameters of a statement: SQL Server takes 2,100, old SQLite 999
_INT64 = range(-(2**63), 2**63)


class CannotWriteError(Exception):
    """What was to be written has no place in this database; the message does not name that."""


def create_run(connection: Connection, run: NewRun, artifact_uri: str | None) -> str | None:
    """Make a run and its experiment where they are not there; give the artifact URI that is stored of it.

    Raises:
        CannotWriteError: the run's id or its experiment's name is too long.
    """
    for what, name, longest in (
        ("run id", run.run_id, LONGEST_RUN_ID),
        ("experiment name", run.experiment_name, LONGEST_EXPERIMENT_NAME),
    ):
        if is_too_long(name, longest):
            message = f"the {what} {name[:40]!r}... has {len(name):,} characters; a database takes {longest}"
            raise CannotWriteError(message)
    where = RUNS.c.run_id == run.run_id
    found = connection.execute(select(RUNS.c.artifact_uri).where(where)).first()
    if found is None:
        try:
            with connection.begin_nested():
                _insert_run(connection, run, artifact_uri)
        except IntegrityError:
            # Somebody else was faster; a real problem shows at the second look.
            found = connection.execute(select(RUNS.c.artifact_uri).where(where)).one()
    return artifact_uri if found is None else found[0]


def log_batch(connection: Connection, run_id: str, batch: Batch) -> tuple[Refusal, ...]:
    """Take a batch, unless it has been taken; give what of it the database cannot hold.

    Raises:
        CannotWriteError: there is no such run.
    """
    sequence = batch.sequence
    _lock(connection, run_id, last_batch=case((RUNS.c.last_batch < sequence, sequence), else_=RUNS.c.last_batch))
    refusals = tuple(_refusals(batch))
    taken = and_(BATCHES.c.run_id == run_id, BATCHES.c.sequence == sequence)
    if connection.execute(select(BATCHES.c.sequence).where(taken)).first() is None:
        connection.execute(insert(BATCHES).values(run_id=run_id, sequence=sequence))
        refused = {(each.kind, each.key) for each in refusals}
        _write_metrics(connection, run_id, sequence, [each for each in batch.metrics if _problem_of(each) is None])
        _write_texts(connection, PARAMS, run_id, _without(batch.params, "param", refused))
        tags = _without(batch.tags, "tag", refused)
        _write_texts(connection, TAGS, run_id, tags)
        if tags.get(NAME_TAG):
            _lock(connection, run_id, run_name=tags[NAME_TAG])
    return refusals


def update_run(connection: Connection, run_id: str, change: RunUpdate) -> None:
    """Record how a run stands.

    Raises:
        CannotWriteError: there is no such run.
    """
    name = {"run_name": change.run_name} if change.run_name else {}
    _lock(connection, run_id, status=change.status.value, end_time=change.end_time, **name)
    if change.run_name:
        _write_texts(connection, TAGS, run_id, {NAME_TAG: change.run_name})


def _insert_run(connection: Connection, run: NewRun, artifact_uri: str | None) -> None:
    row = {
        "run_id": run.run_id,
        "experiment_id": _experiment_id(connection, run.experiment_name),
        "run_name": run.tags.get(NAME_TAG) or run.run_name,
        "status": RunStatus.RUNNING.value,
        "start_time": run.start_time,
        "end_time": None,
        "parent_run_id": run.parent_run_id,
        "artifact_uri": artifact_uri,
        "last_batch": 0,
    }
    connection.execute(insert(RUNS), row)
    _insert(connection, TAGS, [{"run_id": run.run_id, "name": key, "value": run.tags[key]} for key in run.tags])


def _experiment_id(connection: Connection, name: str) -> int:
    wanted = select(EXPERIMENTS.c.experiment_id).where(EXPERIMENTS.c.name == name)
    found = connection.execute(wanted).scalar()
    if found is None:
        try:
            with connection.begin_nested():
                made = connection.execute(insert(EXPERIMENTS).values(name=name)).inserted_primary_key
        except IntegrityError:
            return int(connection.execute(wanted).scalar_one())
        return int(made[0]) if made is not None else int(connection.execute(wanted).scalar_one())
    return int(found)


def _lock(connection: Connection, run_id: str, **values: Any) -> None:
    """Change a run's row, which nobody else can do until this transaction ends."""
    if not connection.execute(update(RUNS).where(RUNS.c.run_id == run_id).values(**values)).rowcount:
        message = f"there is no run {run_id!r}: it was deleted there"
        raise CannotWriteError(message)


def _write_metrics(connection: Connection, run_id: str, sequence: int, points: list[MetricPoint]) -> None:
    rows = [
        {"run_id": run_id, "name": each.key, "batch": sequence, "position": position, **_number_of(each)}
        for position, each in enumerate(points)
    ]
    _insert(connection, METRIC_POINTS, rows)
    latest: dict[str, MetricPoint] = {}
    for each in points:
        if each.key not in latest or (latest[each.key].step, latest[each.key].timestamp) <= (each.step, each.timestamp):
            latest[each.key] = each
    columns = (LATEST_METRICS.c.step, LATEST_METRICS.c.timestamp)
    known = {name: (step, time) for name, step, time in _known(connection, LATEST_METRICS, run_id, latest, *columns)}
    newer = [each for key, each in latest.items() if key not in known or known[key] <= (each.step, each.timestamp)]
    rows = [{"run_id": run_id, "name": each.key, **_number_of(each)} for each in newer]
    _insert_or_update(connection, LATEST_METRICS, rows, known)


def _number_of(point: MetricPoint) -> dict[str, Any]:
    value, special = stored_number(point.value)
    return {"value": value, "special": special, "step": point.step, "timestamp": point.timestamp}


def _write_texts(connection: Connection, table: Table, run_id: str, texts: Mapping[str, str]) -> None:
    known = {name for (name,) in _known(connection, table, run_id, texts)}
    rows = [{"run_id": run_id, "name": name, "value": value} for name, value in texts.items()]
    _insert_or_update(connection, table, rows, known)


def _known(connection: Connection, table: Table, run_id: str, names: Iterable[str], *columns: Any) -> Iterator[Any]:
    wanted = list(names)
    for start in range(0, len(wanted), _MOST_AT_ONCE):
        where = and_(table.c.run_id == run_id, table.c.name.in_(wanted[start : start + _MOST_AT_ONCE]))
        yield from connection.execute(select(table.c.name, *columns).where(where)).all()


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if len(rows) > 1 and connection.dialect.name == "postgresql":
        connection.execute(_insert_of_arrays(table, rows))
    elif rows:
        connection.execute(insert(table), rows)


def _insert_of_arrays(table: Table, rows: list[dict[str, Any]]) -> Insert:
    """Give PostgreSQL's fastest statement after COPY: an array for each column, a quarter of the time of rows."""
    arrays = []
    for column in (table.c[name] for name in rows[0]):
        is_text = isinstance(column.type, ExactText)
        values: list[Any] = [row[column.name] for row in rows]
        if is_text:
            values = [value if value is None else writable(value) for value in values]
        arrays.append(literal(values, ARRAY(Text() if is_text else column.type)))
    columns = func.unnest(*arrays).table_valued(*rows[0]).render_derived()
    return insert(table).from_select(list(rows[0]), select(columns))


def _insert_or_update(connection: Connection, table: Table, rows: list[dict[str, Any]], known: Iterable[str]) -> None:
    there = set(known)
    _insert(connection, table, [row for row in rows if row["name"] not in there])
    changed = [{f"new_{key}": value for key, value in row.items()} for row in rows if row["name"] in there]
    if changed:
        where = and_(table.c.run_id == bindparam("new_run_id"), table.c.name == bindparam("new_name"))
        values: dict[str, Any] = {key: bindparam(f"new_{key}") for key in rows[0] if key not in {"run_id", "name"}}
        connection.execute(update(table).where(where).values(values), changed)


def _without(texts: Mapping[str, str], kind: str, refused: set[tuple[str, str]]) -> dict[str, str]:
    return {key: value for key, value in texts.items() if (kind, key) not in refused}


def _refusals(batch: Batch) -> Iterator[Refusal]:
    for point in batch.metrics:
        problem = _problem_of(point)
        if problem is not None:
            yield Refusal("metric", point.key, problem)
    for kind, texts in (("param", batch.params), ("tag", batch.tags)):
        for key in texts:
            problem = _name_problem(key)
            if problem is not None:
                yield Refusal(kind, key, problem)


def _problem_of(point: MetricPoint) -> str | None:
    if point.step not in _INT64 or point.timestamp not in _INT64:
        return f"step {point.step} at {point.timestamp}: a database takes integers of 64 bits"
    return _name_problem(point.key)


def _name_problem(name: str) -> str | None:
    return f"a name of more than {LONGEST_NAME} characters" if is_too_long(name, LONGEST_NAME) else None
