"""Which part of an artifact URI is the database, and which the run's: ``/<run_id>/artifacts`` is put after its path.

Of a server's URL the first part of the path is the database and the rest the root of the artifacts, as in
``postgresql://host/team/<run_id>/artifacts``; where the query says which database (``odbc_connect``, ``dbname``,
``service``) the whole path is the root. Of an SQLite URL the database is that part of the path which is a file; where
there is none yet, the first part that ends in .db, .db3, .sqlite or .sqlite3.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import NoSuchModuleError

from runcontext.errors import StoreError
from runcontext.program import current_program
from runcontext.tracking.sql import addresses
from runcontext.tracking.sql.addresses import Address
from runcontext.tracking.uris import NAMED_BY_QUERY, database_part, encoded

if TYPE_CHECKING:
    from sqlalchemy import URL

_SQLITE_SUFFIXES = (".db", ".db3", ".sqlite", ".sqlite3")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """An artifact URI of a database, taken apart.

    - ``database``: the database's own address.
    - ``root``: what the artifacts lie below, ``<run_id>/artifacts``; ``""`` where nothing follows the database.
    - ``shown``: the artifact URI as it may be shown.
    """

    database: Address
    root: str
    shown: str

    @classmethod
    def of(cls, artifact_uri: str) -> DatabaseAddress:
        """Take an artifact URI apart.

        Raises:
            StoreError: it is no URL of a database, or does not say where the database ends.
        """
        url = addresses.read(artifact_uri)
        name, root = _divided(url, database_part(artifact_uri) or "")
        url, root = url.set(database=name), root.strip("/")
        shown = addresses.shown_url(url)
        return cls(_address(url), root, addresses.below(shown, encoded(root, "/")) if root else shown)


def _address(url: URL) -> Address:
    if url.get_backend_name() in addresses.DRIVERS:
        return addresses.address_of(url)
    try:
        url.get_dialect()
    except (NoSuchModuleError, ImportError):
        message = (
            f"{addresses.shown_url(url)} is of an engine that SQLAlchemy does not know here; install the package that"
            f" brings {url.drivername} to it"
        )
        raise StoreError(message) from None
    return Address(url=url, given=url, shown=addresses.shown_url(url), file=None)


def _divided(url: URL, path: str) -> tuple[str, str]:
    """Give the database and the root that ``path`` names, still encoded: a database may have a slash in its name."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_file(addresses.decoded(path), url)
    if NAMED_BY_QUERY & url.query.keys():
        return "", addresses.decoded(path)
    name, _, root = path.lstrip("/").partition("/")
    return addresses.decoded(name), addresses.decoded(root)


def _sqlite_file(path: str, url: URL) -> tuple[str, str]:
    parts = path.split("/")
    files = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    folder = current_program().cwd or os.sep
    found = next((each for each in files if os.path.isfile(os.path.join(folder, os.path.expanduser(each)))), None)
    if found is None:
        found = next((each for each in files if each.endswith(_SQLITE_SUFFIXES)), None)
    if found is not None:
        return found, path[len(found) :]
    if not path or parts[0] == ":memory:" or len(parts) == 1:
        return path, ""
    message = (
        f"artifact URI {addresses.shown_url(url)!r}: nothing says where the file's name ends; a file that is there, or"
        f" whose name ends in {', '.join(_SQLITE_SUFFIXES)}, is expected"
    )
    raise StoreError(message)
