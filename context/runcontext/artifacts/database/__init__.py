"""Artifacts as rows of a database, in pieces: any engine that SQLAlchemy has a dialect for.

``address`` says what of an artifact URI is the database and what the run's part of it, ``tables`` what the rows are,
``contents`` keeps the bytes of files, ``repository`` their names.
"""

from __future__ import annotations

from runcontext.artifacts.database.repository import DatabaseRepository

__all__ = ["DatabaseRepository"]
