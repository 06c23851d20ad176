"""Pages of an answer: their tokens, and a page of records for stores that cannot search by themselves."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

from runcontext import codec
from runcontext.tracking.search.grammar import parse, parse_order
from runcontext.tracking.search.matching import matches
from runcontext.tracking.search.ordering import comes_after, ordered, position_of
from runcontext.tracking.store import RunPage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runcontext.record import RunRecord
    from runcontext.tracking.store import Query

MAX_TOKEN_CHARACTERS = 65_536
_DIGEST_CHARACTERS = 22


def encode_token(query: Query, position: object) -> str:
    """Give the token of the page after ``position``, which is a store's own and anything that JSON holds.

    It belongs to the query's experiments, filter and orderings; the next page may be of another size.
    """
    return base64.urlsafe_b64encode(codec.dumps({"of": _digest(query), "at": position}).encode()).decode()


def decode_token(query: Query) -> Any:
    """Give the position that the query's page token holds, None where it has none.

    The position is the user's input again, and to be checked by the store.

    Raises:
        ValueError: it is no token of runcontext's, or of another query.
    """
    token = query.page_token
    if not token:
        return None
    if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS:
        message = f"the page token {str(token)[:20]!r}... is none; the token of the page before is expected"
        raise ValueError(message)
    try:
        row = codec.loads(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode())
        digest, position = row["of"], row["at"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"the page token {token[:20]!r} is none; the token of the page before is expected"
        raise ValueError(message) from error
    if digest != _digest(query):
        message = (
            f"the page token {token[:20]!r} belongs to another search; the next page is asked for with the same"
            " experiment_names, filter_string and order_by"
        )
        raise ValueError(message)
    return position


def check(query: Query) -> None:
    """Refuse a query whose ``max_results`` is no number of runs.

    Raises:
        ValueError: it is not; the message says what is expected.
    """
    most = query.max_results
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        message = f"max_results is {most!r}; a number of runs, 0 or more, or None for all is expected"
        raise ValueError(message)


def page_of(records: Iterable[RunRecord], query: Query) -> RunPage:
    """Give one page of the answer to a query, of all the runs that a store has.

    Raises:
        ValueError: the filter, an ordering or the page token is none.
    """
    check(query)
    comparisons, orderings, position = parse(query.filter_string), parse_order(query.order_by), decode_token(query)
    names = None if query.experiment_names is None else frozenset(query.experiment_names)
    found = [
        record
        for record in records
        if (names is None or record.experiment_name in names)
        and (not comparisons or matches(record, comparisons))
        and (position is None or comes_after(record, position, orderings))
    ]
    most = len(found) if query.max_results is None else query.max_results
    page = RunPage(ordered(found, orderings)[:most])
    if page and most < len(found):
        page.token = encode_token(query, position_of(page[-1], orderings))
    return page


def _digest(query: Query) -> str:
    names = None if query.experiment_names is None else sorted(query.experiment_names)
    words = codec.dumps([names, query.filter_string, list(query.order_by)])
    return base64.urlsafe_b64encode(hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest()).decode()[
        :_DIGEST_CHARACTERS
    ]
