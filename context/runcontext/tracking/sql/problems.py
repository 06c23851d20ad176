"""Tells what went wrong at a database: whether it may go right later, and what to do where it will not.

Servers say it in codes: PostgreSQL in SQLSTATEs (its documentation, appendix A), MySQL and MariaDB in error numbers
(MySQL's "Server Error Message Reference" and "Client Error Message Reference"), SQL Server's driver in SQLSTATEs of
ODBC. SQLite's driver has only texts, and so has PostgreSQL's while a connection is being made.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import exc

from runcontext.errors import StoreError, StoreUnavailableError, StoreUnusableError
from runcontext.redaction import redact_text
from runcontext.tracking.sql.addresses import DRIVERS, EXTRAS

if TYPE_CHECKING:
    from runcontext.tracking.sql.addresses import Address


@dataclass(frozen=True, slots=True)
class _Family:
    """Problems with one remedy; ``remedy`` None means that they may go right by themselves."""

    remedy: str | None
    texts: tuple[str, ...]
    sqlstates: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    is_sqlites: bool = False


WRITABLE_FOLDER = "check that its folder is there and can be written"
"""What to do where SQLite's file can be neither opened nor made."""

_WRITABLE_FILE = (
    "check that the file and its folder can be written, also by who only reads while others write: SQLite keeps files"
    " beside it"
)

_OPTION_WORDS = ("invalid connection option", "for connection option", "bad value for", "invalid dsn")
"""What PostgreSQL's drivers say of a parameter; only some of it is a ProgrammingError."""

_CONNECTION_NUMBERS = (2002, 2003, 2006, 2012, 2013, 2014, 2026, 2055)
"""MySQL's client has one of these for whatever went wrong with a connection; the text says more."""

# The first that fits counts: what is certain before what is vague.
_FAMILIES = (
    _Family(
        "check the user name and the password",
        (
            "password authentication failed",
            "no password supplied",
            "no pg_hba.conf entry",
            "login failed",
            'fatal: role "',
        ),
        sqlstates=("28",),
        numbers=(1045, 1698, 1862),
    ),
    _Family(
        "create the database, or name one that there is",
        ("unknown database", "cannot open database", 'fatal: database "'),
        sqlstates=("3D000",),
        numbers=(1049,),
    ),
    _Family(_WRITABLE_FILE, ("readonly database",), is_sqlites=True),
    _Family(
        "grant the user what runs need: SELECT, INSERT, UPDATE and DELETE ON ALL TABLES, on PostgreSQL USAGE ON ALL"
        " SEQUENCES too, and CREATE for the first run",
        ("permission denied", "permission was denied", "not authorized"),
        sqlstates=("42501",),
        numbers=(1044, 1142, 1143, 1227, 1370),
    ),
    _Family(
        "check the certificates and the TLS options of the URI",
        ("certificate", "ssl:", "ssl error", "does not support ssl", "sslmode"),
        numbers=(2026,),
    ),
    _Family(
        "name a SQLite database, or a file that is not there yet",
        ("file is not a database", "malformed"),
        is_sqlites=True,
    ),
    _Family(WRITABLE_FOLDER, ("unable to open database file",), is_sqlites=True),
    _Family(
        None,
        (
            "database is locked",
            "database table is locked",
            "database schema is locked",
            "database or disk is full",
            "disk i/o error",
            "too many clients",
            "remaining connection slots",
            "starting up",
            "shutting down",
            "recovery mode",
            "connection",
            "timeout",
            "timed out",
            "could not translate host name",
            "name or service not known",
            "failed to resolve host",
        ),
        # Classes: connections, rollbacks (deadlocks), resources. Then a server that stops or starts, a cancelled query,
        # a lock or an answer that did not come in time, a standby that was the primary until now, a failing disk.
        sqlstates=("08", "40", "53", "57P", "57014", "55P03", "HYT", "25006", "58030"),
        # Full disks and tables, too many connections, locks and deadlocks, a server that stops, one that is read-only,
        # a table that was upgraded while it was read.
        numbers=(
            *(1021, 1114, 1040, 1203, 1226, 1205, 1213, 1020, 1206, 3572, 1053, 1077, 1927, 4031, 3024, 1290, 1836),
            1412,
            *_CONNECTION_NUMBERS,
        ),
    ),
)
_NAMES = re.compile(r"""(?<!\w)(['"]).*?\1""", re.DOTALL)
_MOST_CHARACTERS = 400
_SQLSTATE_CHARACTERS = 5


@contextlib.contextmanager
def reported(shown: str) -> Iterator[None]:
    """Raise what a database says as StoreUnavailableError or StoreError; ``shown`` is what it is called there."""
    # `from None`: what SQLAlchemy raises holds the statement, and drivers quote their connection strings.
    try:
        yield
    except exc.TimeoutError:
        message = f"{shown} cannot be used now: all connections of this process are in use"
        raise StoreUnavailableError(message) from None
    except exc.DBAPIError as error:
        _raise(shown, error.orig or error, is_lost=error.connection_invalidated)
    except exc.SQLAlchemyError as error:
        message = f"{shown} cannot be used: {_line(error)}"
        raise StoreUnusableError(message) from None
    except (RuntimeError, OSError) as error:
        # PyMySQL asks in this way for the package `cryptography`, and the operating system for a folder's permission.
        message = f"{shown} cannot be used: {_line(error)}"
        raise StoreUnusableError(message) from None


def is_about_options(error: BaseException) -> bool:
    """Say whether a driver that was to connect has not understood what it was given (PEP 249: ProgrammingError)."""
    text = str(error).lower()
    is_meant = type(error).__name__ == "ProgrammingError" or any(words in text for words in _OPTION_WORDS)
    return is_meant and _codes(error) == (None, None)


def wrong_options(address: Address, error: BaseException) -> StoreError:
    """Give the error for what a driver does not understand: what follows the ? of the URI goes to it."""
    line = _line(error)
    options = address.url.query
    named = [key for key, value in options.items() if repr(value) in line or key in line] or list(options)
    where = f"the part after ? is wrong, at {' or '.join(named)}: " if named else ""
    return StoreError(f"{address.shown} cannot be used: {where}{line}")


def missing_driver(address: Address, error: BaseException) -> StoreError:
    """Give the error for a driver that is not installed."""
    driver = address.url.get_driver_name()
    if address.dialect not in DRIVERS:
        hint = f"install the package that brings {address.dialect} to SQLAlchemy"
    elif driver == DRIVERS[address.dialect]:
        hint = f"pip install 'runcontext[{EXTRAS[address.dialect]}]'"
    else:
        hint = f"install it, or leave +{driver} out of the URI to use {DRIVERS[address.dialect]}"
    return StoreUnusableError(
        f"{address.shown} needs the driver {driver}, which cannot be used ({_line(error)}): {hint}"
    )


def _raise(shown: str, error: BaseException, *, is_lost: bool) -> NoReturn:
    family = _family_of(error)
    if family is not None and family.remedy is not None:
        message = f"{shown} cannot be used: {_line(error)}; {family.remedy}"
        raise StoreUnusableError(message) from None
    if family is not None or is_lost or _is_about_the_connection(error):
        message = f"{shown} cannot be used now: {_line(error)}"
        raise StoreUnavailableError(message) from None
    message = f"{shown} refused what was asked of it: {_line(error)}"
    raise StoreError(message) from None


def _family_of(error: BaseException) -> _Family | None:
    state, number = _codes(error)
    # A host, a user or a database may be called like any problem; what is quoted is a name.
    text = " ".join(_NAMES.sub(r"\1\1", _words(error)).lower().split())
    # With a code of the server's its text may quote anything, a metric's name too.
    is_text_telling = state is None and (number is None or number in _CONNECTION_NUMBERS)
    for each in _FAMILIES:
        if each.is_sqlites and not _is_sqlites(error):
            continue
        is_coded = (state is not None and state.startswith(each.sqlstates or ("-",))) or number in each.numbers
        if is_coded or (is_text_telling and any(words in text for words in each.texts)):
            return each
    return None


def _codes(error: Any) -> tuple[str | None, int | None]:
    """Give a driver's SQLSTATE and error number, each None where it has none."""
    state = getattr(error, "sqlstate", None)
    first = error.args[0] if error.args else None
    if isinstance(first, str) and len(first) == _SQLSTATE_CHARACTERS and len(error.args) > 1:
        state = first
    return (state if isinstance(state, str) and state else None), first if isinstance(first, int) else None


def _is_about_the_connection(error: BaseException) -> bool:
    # PEP 249: what is not under the programmer's control; SQLite's driver raises it for a missing table as well.
    return type(error).__name__ == "OperationalError" and not _is_sqlites(error) and _codes(error) == (None, None)


def _is_sqlites(error: BaseException) -> bool:
    return type(error).__module__.startswith("sqlite3")


def _line(error: BaseException) -> str:
    return redact_text(" ".join(_words(error).split())[:_MOST_CHARACTERS]) or type(error).__name__


def _words(error: BaseException) -> str:
    last = error.args[-1] if len(error.args) > 1 else None
    return last if isinstance(last, str) else str(error)
