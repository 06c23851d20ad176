"""The tracking store over a database."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import case, literal, select

from runcontext.errors import StoreError
from runcontext.settings import current_settings
from runcontext.tracking.search import check, encode_token, position_of
from runcontext.tracking.sql import addresses, reading, searching, upgrading
from runcontext.tracking.sql import writing as rows
from runcontext.tracking.sql.engine import (
    check_is_file,
    file_identity,
    open_engine,
    prepare_file,
    reported,
    snapshot,
    writing,
)
from runcontext.tracking.sql.schema import RUNS, VERSION, ExactText
from runcontext.tracking.store import BatchLimits, RunPage, StoredRun

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from runcontext.artifacts.repository import ArtifactRepository
    from runcontext.record import RunRecord
    from runcontext.tracking.sql.searching import Search
    from runcontext.tracking.store import Batch, NewRun, Query, Refusal, RunUpdate

IN_DATABASE = "database"
"""What is stored as the artifact URI of a run whose artifacts are in the database itself, whatever its URL is later."""

LIMITS = BatchLimits(param_characters=60_000)
_PLACEHOLDER = "00RUNID00"


class SqlStore:
    """Runs in a database that SQLAlchemy has a dialect for; our own ids are the runs' ids there.

    Writing makes the tables where they are missing, and upgrades those of an earlier version; reading changes nothing.
    A batch is taken in one transaction that notes its sequence number: whoever sends it again, nothing is there twice.

    Args:
        uri: the database's URL, as SQLAlchemy takes it.

    Raises:
        StoreError: the URL is malformed, or the database's driver is not installed.
    """

    def __init__(self, uri: str) -> None:
        """Read the URL; nothing is connected to yet."""
        self._address = addresses.parsed(uri)
        self._engine = open_engine(self._address)
        self._prepared: tuple[int, int] | None = None
        self._preparing = threading.Lock()

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<runcontext.tracking.sql.SqlStore({self.uri!r})>"

    @property
    def uri(self) -> str:
        """The database's URL, without credentials."""
        return self._address.shown

    @property
    def limits(self) -> BatchLimits:
        """How much one transaction holds."""
        return LIMITS

    def create_run(self, run: NewRun) -> StoredRun:
        """Make a run and its experiment where they are not there."""
        if run.experiment_id is not None:
            from runcontext.tracking import default_experiment

            default_experiment.note_ignored(run.experiment_id, self.uri, run.experiment_name)
        stored = IN_DATABASE
        if run.artifact_uri:
            stored = addresses.without_credentials(_artifact_uri(run.artifact_uri, run.run_id))
        with self._writing() as connection:
            found = rows.create_run(connection, run, stored)
        return StoredRun(run.run_id, run.run_id, None, self._usable(run.run_id, found, run.artifact_uri))

    def log_batch(self, run: StoredRun, batch: Batch) -> tuple[Refusal, ...]:
        """Take a batch in one transaction, unless it has been taken."""
        with self._writing() as connection:
            return rows.log_batch(connection, run.run_id, batch)

    def update_run(self, run: StoredRun, update: RunUpdate) -> None:
        """Record how a run stands."""
        with self._writing() as connection:
            rows.update_run(connection, run.run_id, update)

    def get_run(self, run_id: str) -> RunRecord:
        """Give the run of this id."""
        with self._reading() as connection:
            found = [] if connection is None else reading.records(connection, [run_id], self._shown_artifact_uri)
        if not found:
            message = f"no run {run_id!r} in {self.uri}"
            raise StoreError(message)
        return found[0]

    def search_runs(self, query: Query) -> RunPage:
        """Give the runs that fit, in their order."""
        check(query)
        search = searching.Search.of(query)
        page = RunPage()
        with self._reading() as connection:
            if connection is None:
                return page
            for record in self._found(connection, search):
                if query.max_results is not None and len(page) >= query.max_results:
                    page.token = encode_token(query, position_of(page[-1], search.orderings)) if page else None
                    break
                page.append(record)
        return page

    def artifacts(self, run: StoredRun) -> ArtifactRepository:
        """Give the place of a run's artifacts: where the user wanted them, else rows of this database."""
        from runcontext.artifacts.places import open_repository

        stored = run.artifact_uri or self._stored_artifact_uri(run.run_id)
        uri = self._usable(run.run_id, stored, None)
        return open_repository(uri, tracking_uri=addresses.whole_url(self._address.given))

    def close(self) -> None:
        """Let go of connections; the next use opens one again."""
        self._engine.dispose()

    # --- transactions -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Give a transaction on tables of a version that may be written, which is checked within it."""
        with reported(self.uri):
            self._prepare()
            try:
                with writing(self._engine).begin() as connection:
                    if not upgrading.is_usable(upgrading.shared_version(connection), self.uri):
                        message = f"{self.uri} was put back to an earlier version of its tables while it was in use"
                        raise StoreError(message)
                    yield connection
            except rows.CannotWriteError as error:
                message = f"{self.uri}: {error}"
                raise StoreError(message) from error

    def _prepare(self) -> None:
        # One thread at a time: connections that another has at that moment nobody would close.
        with self._preparing:
            if self._prepared is not None and self._prepared == file_identity(self._address):
                return
            # Of a SQLite file that was deleted or replaced, open connections still write to the old one.
            self._engine.dispose()
            prepare_file(self._address, self._engine)
            with writing(self._engine).connect() as connection:
                upgrading.upgrade(connection, self.uri)
            self._prepared = file_identity(self._address)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """Give a transaction that reads what there is at one moment: a page ends where its last run stood in the order.

        None where there are no tables yet: nothing is made or upgraded for it.
        """
        check_is_file(self._address)
        if self._address.file is not None and not os.path.isfile(self._address.file):
            message = f"no database {self.uri}: there is no file {self._address.file}; writing a run makes it"
            raise StoreError(message)
        with reported(self.uri), snapshot(self._engine).connect() as connection:
            version = upgrading.version_of(connection)
            if version is not None and not upgrading.is_usable(version, self.uri):
                message = f"{self.uri} has schema {version}, an earlier one than {VERSION}: writing a run upgrades it"
                raise StoreError(message)
            yield None if version is None else connection

    def _found(self, connection: Connection, search: Search) -> Iterator[RunRecord]:
        """Give the runs that a query asks for, read some at a time, without regard to its ``max_results``."""
        most = reading.MOST_AT_ONCE
        if search.query.max_results is not None and search.is_decided_by_statement:
            most = min(most, search.query.max_results + 1)
        position = search.position
        while True:
            found = searching.statement(search, position, most, self._artifact_column)
            run_ids = connection.execute(found).scalars().all()
            records = reading.records(connection, run_ids, self._shown_artifact_uri)
            yield from filter(search.fits, records)
            if len(run_ids) < most or not records:
                return
            position = position_of(records[-1], search.orderings)

    # --- artifact URIs ----------------------------------------------------------------------------------------------

    def _stored_artifact_uri(self, run_id: str) -> str | None:
        with self._reading() as connection:
            wanted = select(RUNS.c.artifact_uri).where(RUNS.c.run_id == run_id)
            return None if connection is None else connection.execute(wanted).scalar()

    def _usable(self, run_id: str, stored: str | None, wanted: str | None) -> str:
        """Give the artifact URI that can be used, with the credentials that are not stored and not shown."""
        if stored in {None, IN_DATABASE, self._shown_artifact_uri(run_id, IN_DATABASE)}:
            return _artifact_uri(addresses.whole_url(self._address.given), run_id)
        for root in (wanted, current_settings().artifact_uri):
            if root and addresses.without_credentials(_artifact_uri(root, run_id)) == stored:
                return _artifact_uri(root, run_id)
        return str(stored)

    def _shown_artifact_uri(self, run_id: str, stored: str | None) -> str:
        if stored in {None, IN_DATABASE}:
            return _artifact_uri(addresses.shown_url(self._address.given), run_id)
        return str(stored)

    @property
    def _artifact_column(self) -> ColumnElement[str]:
        before, _, after = self._shown_artifact_uri(_PLACEHOLDER, IN_DATABASE).rpartition(_PLACEHOLDER)
        here = literal(before, ExactText()) + RUNS.c.run_id + literal(after, ExactText())
        return case((RUNS.c.artifact_uri == IN_DATABASE, here), else_=RUNS.c.artifact_uri)


def _artifact_uri(root: str, run_id: str) -> str:
    return addresses.below(root, f"{run_id}/artifacts")
