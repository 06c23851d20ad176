"""Transactions of a database whose tables of artifacts are made by the first that writes."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from runcontext.artifacts.database import schema
from runcontext.tracking.sql.engine import check_is_file, open_engine, prepare_file, writing
from runcontext.tracking.sql.problems import reported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from runcontext.tracking.sql.addresses import Address


class Database:
    """One database, with the tables of artifacts in it or not yet; used by several threads at once."""

    def __init__(self, address: Address) -> None:
        """Connect to nothing yet.

        Raises:
            StoreError: the database's driver is not installed.
        """
        self._address = address
        self._engine = open_engine(address)
        self._preparing = threading.Lock()
        self._has_tables = False

    def has_tables(self) -> bool:
        """Say whether there is anything to read.

        Raises:
            StoreError: a newer runcontext made the tables.
        """
        check_is_file(self._address)
        if not self._has_tables and (self._address.file is None or os.path.exists(self._address.file)):
            with self.reading() as connection:
                self._has_tables = schema.is_there(connection, self._address.shown)
        return self._has_tables

    def prepare(self) -> bool:
        """Make the tables where they are missing; say whether this is the first time that they were asked for here."""
        with self._preparing:
            if self._has_tables:
                return False
            if not self.has_tables():
                self._make_tables()
            return True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that only reads."""
        with reported(self._address.shown), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction, which ends with the block."""
        with reported(self._address.shown), writing(self._engine).begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()

    def _make_tables(self) -> None:
        with reported(self._address.shown):
            prepare_file(self._address, self._engine)
            with writing(self._engine).connect() as connection:
                schema.make(connection, self._address.shown)
        self._has_tables = True
