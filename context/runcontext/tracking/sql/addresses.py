"""Database URLs: what they name, what is wrong with one, and how they are shown and stored without credentials.

Their form is SQLAlchemy's: ``dialect+driver://user:password@host:port/database?key=value``, with whatever is special in
user and password percent-encoded (SQLAlchemy's documentation, "Database URLs").
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from runcontext.errors import StoreError
from runcontext.program import current_program
from runcontext.redaction import MARK, is_secret_name, redact_url
from runcontext.tracking import uris

DRIVERS = {"sqlite": "pysqlite", **uris.DRIVERS}
"""Dialect -> the driver that is used where the URL names none."""

EXTRAS = {"sqlite": "sql", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql", "mssql": "mssql"}
"""Dialect -> the extra of runcontext that installs that driver."""

_CONNECTION_STRING = "odbc_connect"


@dataclass(frozen=True, slots=True)
class Address:
    """A database that runs are kept in.

    - ``url``: what SQLAlchemy is given, its driver named; it may hold a password, as may ``given``, the user's own.
    - ``shown``: the URI as it may be shown.
    - ``file``: the absolute path of a SQLite database, None of others.
    """

    url: URL
    given: URL
    shown: str
    file: str | None

    @property
    def dialect(self) -> str:
        """The engine: sqlite, postgresql, mysql, mariadb, mssql."""
        return self.url.get_backend_name()


def parsed(uri: str) -> Address:
    """Read a database URL.

    Raises:
        StoreError: it is malformed, which the message places, or names no database.
    """
    dialect = uris.scheme_of(uri)
    if dialect not in DRIVERS:
        message = f"{redact_url(uri)!r} is no URI of a database; one of {', '.join(DRIVERS)} before :// is expected"
        raise StoreError(message)
    url = _read(uri, dialect)
    shown = shown_url(url)
    file = _sqlite_file(url, shown) if dialect == "sqlite" else None
    if file is not None:
        url = url.set(database=file)
    elif not url.database and not uris.NAMED_BY_QUERY & url.query.keys():
        message = f"{shown} names no database; {uris.DATABASE_FORM} is expected"
        raise StoreError(message)
    has_driver = "+" in url.drivername
    return Address(url if has_driver else url.set(drivername=f"{dialect}+{DRIVERS[dialect]}"), url, shown, file)


def _read(uri: str, dialect: str) -> URL:
    problem = uris.malformed(uri, dialect)
    if problem is None:
        try:
            url = make_url(uri)
        except (ArgumentError, ValueError):
            problem = "it cannot be read"
        else:
            return url.set(drivername=url.drivername.lower())
    # Any part of it may be a password's: it is not shown.
    form = "" if uris.DATABASE_FORM in problem else f"; {uris.DATABASE_FORM} is expected"
    message = f"the {dialect} URI is malformed: {problem}{form}, with special characters percent-encoded"
    raise StoreError(message)


def shown_url(url: URL) -> str:
    """Give a database URL as it may be shown: without its password and what is secret in its query."""
    plain = url.set(query={}).render_as_string(hide_password=True)
    query = [f"{key}={_shown_value(key, value)}" for key in url.query for value in _values(url, key)]
    return redact_url("?".join((plain.replace(":***@", f":{MARK}@"), "&".join(query))) if query else plain)


def artifact_url(url: URL, run_id: str) -> URL:
    """Give the artifact URI of a run whose artifacts are in the database itself."""
    return url.set(database=f"{url.database or ''}/{run_id}/artifacts")


def below(uri: str, path: str) -> str:
    """Give a URI, or a local path, with ``path`` put after its own, before its query."""
    if "://" not in uri:
        return f"{uri.rstrip('/')}/{path}"
    start, mark, query = uri.partition("?")
    # Where the query names the database nothing stands between the slashes and the path.
    before = start.rstrip("/")
    return f"{before}{'//' * before.endswith(':')}/{path}{mark}{query}"


def without_credentials(uri: str) -> str:
    """Give an artifact URI as it may be stored: its password and the secrets in its query left out."""
    if "://" not in uri:
        return redact_url(uri)
    try:
        parts = urlsplit(uri)
        query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if not _is_secret(key)]
    except ValueError:
        return redact_url(uri)
    user, at, host = parts.netloc.rpartition("@")
    name = "" if parts.scheme in {"http", "https"} else user.partition(":")[0]
    netloc = f"{name}@{host}" if at and name else host
    kept = parts.query if len(query) == len(parse_qsl(parts.query, keep_blank_values=True)) else urlencode(query)
    # `urlunsplit` leaves slashes out where no host stands between them: those of sqlite:////home.
    stored = f"{parts.scheme}://{netloc}{parts.path}"
    stored += f"?{kept}" if kept else ""
    return redact_url(stored + f"#{parts.fragment}" if parts.fragment else stored)


def _is_secret(key: str) -> bool:
    return key == _CONNECTION_STRING or is_secret_name(key)


def _values(url: URL, key: str) -> tuple[str, ...]:
    value = url.query[key]
    return (value,) if isinstance(value, str) else tuple(value)


def _shown_value(key: str, value: str) -> str:
    return MARK if _is_secret(key) else quote(value, safe="/:,;=+ ")


def _sqlite_file(url: URL, shown: str) -> str:
    if not url.database or url.database.startswith("file:"):
        message = f"{shown} names no file by its path; sqlite:///runs.db or sqlite:////home/me/runs.db is expected"
        raise StoreError(message)
    path = os.path.expanduser(url.database or "")
    folder = current_program().cwd
    if folder is None and not os.path.isabs(path):
        message = f"{shown} is relative, and the working directory is gone; name the file from /: sqlite:////..."
        raise StoreError(message)
    return os.path.normpath(os.path.join(folder or os.sep, path))
