"""How a tracking URI is read: its scheme, and where it is malformed.

``start_run()`` asks this of every tracking URI, so this module imports nothing.
"""

from __future__ import annotations

import sys

SERVERS = ("http", "https")
"""Schemes of MLflow's tracking server."""

SQL_ENGINES = ("sqlite", "postgresql", "mysql", "mariadb", "mssql")
"""Schemes of databases; a driver after a ``+`` is no part of the scheme, as in MLflow's own registry."""

DATABRICKS_WORDS = ("databricks", "databricks-uc", "uc")
"""What names a workspace without any ``:`` (``get_uri_scheme`` in ``mlflow.utils.uri``)."""

NAMED_BY_QUERY = frozenset(("odbc_connect", "dbname", "service"))
"""Query parameters that may say which database is meant: pyodbc's connection string, libpq's name and service."""

DATABASE_FORM = "DIALECT://USER@HOST:PORT/DATABASE"
"""How a database is named; a password is left out, for it would be taken out again where this is shown."""

DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql", "mssql": "pyodbc"}
"""Engine -> the driver, and its module, that is used where a URI names none; SQLite's is Python's own."""

OF_PATHS = "/:@!$&'()*+,;=\\"
"""What a file's path may have in a URI as it is (RFC 3986, section 3.3), and the backslash of Windows."""

STRAY_AT = "an @ in a user's name, a password or a database's name is %40"
"""What is wrong with a database's URI in which a password may reach into any part: none of it can be shown."""

_PORTS = {"http": "80", "https": "443", "postgresql": "5432", "mysql": "3306", "mariadb": "3306", "mssql": "1433"}
"""The port that a URI means which names none."""

_SQLITE_OPTIONS = frozenset(("timeout",))
_MAX_PORT = 65_535


def scheme_of(uri: str) -> str:
    """Give the scheme of a URI, in lower case and without a database's driver; empty of a path.

    RFC 3986, section 3.1, says what is one; a single letter is a drive of Windows.
    """
    if uri in DATABRICKS_WORDS:
        return uri
    scheme, colon, _ = uri.partition(":")
    is_scheme = scheme[:1].isalpha() and scheme.isascii() and all(each.isalnum() or each in "+-." for each in scheme)
    if not colon or len(scheme) == 1 or not is_scheme:
        return ""
    scheme = scheme.lower()
    engine = scheme.partition("+")[0]
    return engine if engine in SQL_ENGINES else scheme


def encoded(text: str, kept: str = "") -> str:
    """Percent-encode what may be read as a part of a URI: all but letters, digits, ``-._~`` and what is ``kept``.

    Bytes of a file's name that are no UTF-8, which Python holds as surrogates, are themselves again.
    """
    return "".join(
        each
        if each.isalnum() or each in "-._~" or each in kept
        else "".join(f"%{byte:02X}" for byte in each.encode("utf-8", "surrogateescape"))
        for each in text
    )


def database_part(uri: str) -> str | None:
    """Give what a database's URI says between its host and its query, still encoded; None where it has no such part."""
    _, slash, database = _place(uri).partition("?")[0].partition("/")
    return database if slash else None


def is_same_place(one: str, other: str) -> bool:
    """Say whether two tracking URIs name one place, whoever asks there and however it is spelt.

    What is compared has no secrets: in a query they would tell one place from itself.
    """
    return _spelt_alike(one) == _spelt_alike(other)


def _spelt_alike(uri: str) -> tuple[str, ...]:
    scheme = scheme_of(uri)
    rest = uri.partition("://")[2]
    if scheme not in (*SERVERS, *SQL_ENGINES) or not rest:
        # Only its plugin knows what means the same.
        return (uri,)
    named, _, query = (rest if scheme in SERVERS else _place(uri)).partition("?")
    authority, slash, path = named.partition("/")
    host = authority.rpartition("@")[2]
    return scheme, host.lower().removesuffix(f":{_PORTS.get(scheme)}"), (slash + path).rstrip("/"), query


def malformed(uri: str, scheme: str) -> str | None:
    """Say where a URI of a built-in ``scheme`` is malformed, without showing any of it; None where it is not.

    Of databases it is the form that SQLAlchemy reads ("Engine Configuration", Database URLs).
    """
    for position, each in enumerate(uri, 1):
        if each.isspace() or not each.isprintable():
            return f"character {position} is a space or cannot be printed"
    whole_scheme, _, rest = uri.partition(":")
    if not rest.startswith("//"):
        return f"after {whole_scheme}: two slashes are expected"
    if scheme == "sqlite":
        return _malformed_file(rest.removeprefix("//"), whole_scheme.lower().partition("+")[2])
    return _malformed_server(rest.removeprefix("//")) if scheme in SERVERS else _malformed_database(uri)


def _malformed_server(rest: str) -> str | None:
    if "?" in rest or "#" in rest:
        return f"a server's address has no {'?' if '?' in rest else '#'}; it is %3F or %23 in a path or a password"
    host = rest.partition("/")[0].rpartition("@")[2]
    if not host or host.startswith(":"):
        return "no host follows the two slashes"
    return _malformed_port(host)


def _place(uri: str) -> str:
    # A password may hold anything but an @, a user's name no /.
    before, at, after = uri.partition("://")[2].partition("@")
    return after if at and "/" not in before.partition(":")[0] else before + at + after


def _malformed_database(uri: str) -> str | None:
    named, _, query = _place(uri).partition("?")
    if "@" in named:
        return STRAY_AT
    host, _, database = named.partition("/")
    problem = _malformed_port(host)
    keys = {each.partition("=")[0] for each in query.split("&")}
    if problem is None and not database and not NAMED_BY_QUERY & keys:
        return f"it names no database; {DATABASE_FORM} is expected"
    return problem


def _malformed_file(rest: str, driver: str) -> str | None:
    path, _, query = rest.partition("?")
    if path and not path.startswith("/"):
        return "three slashes are expected before a relative path, four before an absolute one"
    if path in ("", "/", "/:memory:"):
        return "it names no file; a database in memory is gone with the process"
    if path.startswith("/file:"):
        return "it names no file by its path"
    wrong = {each.partition("=")[0] for each in query.split("&") if each} - _SQLITE_OPTIONS
    if wrong and driver in ("", "pysqlite"):
        return f"after ? SQLite takes timeout, and not {min(wrong)}; a ? in a file's name is %3F"
    return None


def _malformed_port(host: str) -> str | None:
    if host.startswith("["):
        address, bracket, after = host.partition("]")
        if not bracket or not address[1:]:
            return "the [ of its host is not closed, or empty"
        colon, port = after[:1], after[1:]
    else:
        _, colon, port = host.partition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= _MAX_PORT
    if colon not in ("", ":") or (port and not is_port):
        # Where an @ is missing a password stands here, so it is not shown.
        return f"after the colon behind the host a port number is expected, up to {_MAX_PORT}"
    return None


def is_importable(module: str) -> bool:
    """Say whether a top-level module can be imported, without doing so."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return any(finder.find_spec(module, None) for finder in sys.meta_path)
