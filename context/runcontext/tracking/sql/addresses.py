"""Database URLs: what they name, what is wrong with one, and how they are shown and stored without credentials.

Their form is SQLAlchemy's: ``dialect+driver://user:password@host:port/database?key=value``, with whatever is special in
user and password percent-encoded (SQLAlchemy's documentation, "Database URLs").
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode, urlsplit

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
    if uris.scheme_of(uri) not in DRIVERS:
        message = f"{redact_url(uri)!r} is no URI of a database; one of {', '.join(DRIVERS)} before :// is expected"
        raise StoreError(message)
    return address_of(read(uri))


def address_of(url: URL) -> Address:
    """Give the address of a database of one of ``DRIVERS``.

    Raises:
        StoreError: it names no database.
    """
    dialect = url.get_backend_name()
    shown = shown_url(url)
    file = _sqlite_file(url, shown) if dialect == "sqlite" else None
    if file is not None:
        url = url.set(database=file)
    elif not url.database and not uris.NAMED_BY_QUERY & url.query.keys():
        message = f"{shown} names no database; {uris.DATABASE_FORM} is expected"
        raise StoreError(message)
    has_driver = "+" in url.drivername
    return Address(url if has_driver else url.set(drivername=f"{dialect}+{DRIVERS[dialect]}"), url, shown, file)


def read(uri: str) -> URL:
    """Take a database URL of any engine apart, and decode it: what it names is the same with every SQLAlchemy.

    Raises:
        StoreError: it is malformed, which the message places.
    """
    dialect = uris.scheme_of(uri)
    problem = uris.malformed(uri, dialect) if dialect in DRIVERS else None
    if problem is None:
        try:
            url = make_url(uri)
        except (ArgumentError, ValueError):
            problem = "it cannot be read"
        else:
            # SQLAlchemy 2.0 leaves the database as it is written, and 2.1 decodes it.
            database = uris.database_part(uri)
            url = url if database is None else url.set(database=decoded(database))
            return url.set(drivername=url.drivername.lower())
    # Any part of it may be a password's: it is not shown.
    expected = "sqlite:///FILE" if dialect == "sqlite" else uris.DATABASE_FORM
    form = "" if expected in problem else f"; {expected} is expected"
    message = f"the {dialect} URI is malformed: {problem}{form}, with special characters percent-encoded"
    raise StoreError(message)


def decoded(part: str) -> str:
    """Decode a part of a URI that ``uris.encoded`` has encoded."""
    return unquote(part, errors="surrogateescape")


def whole_url(url: URL) -> str:
    """Give a database URL as a text with its credentials, of which ``read`` makes the same again."""
    query = [f"{quote_plus(key)}={quote_plus(value)}" for key in url.query for value in _values(url, key)]
    return _written(url, None if url.password is None else uris.encoded(str(url.password)), query)


def shown_url(url: URL) -> str:
    """Give a database URL as it may be shown: without its password and what is secret in its query."""
    query = [f"{key}={_shown_value(key, value)}" for key in url.query for value in _values(url, key)]
    return redact_url(_written(url, None if url.password is None else MARK, query))


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


def _written(url: URL, password: str | None, query: list[str]) -> str:
    # SQLAlchemy's own rendering leaves some characters as they are that cannot be read again, other ones each version.
    user = "" if url.username is None else uris.encoded(url.username)
    credentials = "" if url.username is None else f"{user}@" if password is None else f"{user}:{password}@"
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    port = "" if url.port is None else f":{url.port}"
    # A server's database may have a slash in its name; behind it begins what is kept there.
    kept = uris.OF_PATHS if url.get_backend_name() == "sqlite" else ":"
    database = "" if url.database is None else f"/{uris.encoded(url.database, kept)}"
    return f"{url.drivername}://{credentials}{host}{port}{database}" + (f"?{'&'.join(query)}" if query else "")


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
