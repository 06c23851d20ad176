"""Secrets in a text: every rule in its order, the last being for values whose name says that they are secret."""

from __future__ import annotations

from runcontext.redaction.addresses import redact_addresses, without_password
from runcontext.redaction.formats import is_private_key_line, redact_formats, redact_private_keys, without_key
from runcontext.redaction.masking import MARK, hidden, lowercase, positions
from runcontext.redaction.patterns import are_in_force, redact_matches
from runcontext.redaction.verdicts import QUERY_NAMES, STEMS, is_secret_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    _Redacted = TypeVar("_Redacted", str, "list[str]")

_SHORTEST_FORMAT = 16  # no published format of letters and digits alone is so short; most tags are shorter
_MOST_ROUNDS = 6  # bounds what hostile input can cost
_LONGEST_REMEMBERED, _MOST_REMEMBERED = 512, 256
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_HEX_DIGITS = frozenset("0123456789ABCDEFabcdef")
_ESCAPES = {"n": 1, "r": 1, "t": 1, "0": 1, "x": 3, "u": 5}
_PARAMETER_BEGINS = ("?", "&", "#", "\\u0026", "%3F", "%3f", "%26")


_known: dict[str, str] = {}  # the next run of a program has mostly the same facts


def redact_text(text: str) -> str:
    """Replace every secret in ``text`` by ``MARK``: source code, a patch's added lines, a log, a configuration.

    Code that only refers to a secret stays as it is (``token=args.token``, ``password: str``, ``${TOKEN}``): nothing
    is to be read from it, and a patch with it redacted would give back another program.
    """
    if are_in_force() or len(text) > _LONGEST_REMEMBERED:
        return settled(_redact_once, text, only_marked)
    if len(text) < _SHORTEST_FORMAT and text.isalnum():
        return text
    known = _known.get(text)
    if known is None:
        if len(_known) >= _MOST_REMEMBERED:
            _known.clear()
        known = _known[text] = settled(_redact_once, text, only_marked)
    return known


def redact_url(url: str) -> str:
    """Take the credentials out of one address: a remote, a tracking URI, an index.

    Of http(s) and of an address with no scheme all that stands before the ``@`` is a credential
    (``https://[redacted]@host/x``); elsewhere the user is part of the address and only the password goes
    (``ssh://git:[redacted]@host``, ``user:[redacted]@host:path``). Secret query parameters and values in a known
    format go too.
    """
    return settled(lambda address: redact_text(without_password(address)), url, only_marked)


def settled(
    redact: Callable[[_Redacted], _Redacted], value: _Redacted, given_up: Callable[[_Redacted], _Redacted]
) -> _Redacted:
    """Redact until nothing changes: what stands beside a mark can look different. Two rounds are the rule.

    What a user's patterns still change after the last round is ``given_up``.
    """
    for _round in range(_MOST_ROUNDS):
        redacted = redact(value)
        if redacted == value:
            return value
        value = redacted
    return given_up(value) if are_in_force() else value


def only_marked(text: str) -> str:
    """Leave of a text nothing but a mark and its line breaks."""
    return MARK + "\n" * text.count("\n")


def _redact_once(text: str) -> str:
    return redact_matches(_redact_by_rules(text))


def _redact_by_rules(text: str) -> str:
    if is_private_key_line(text):
        return without_key(text)
    text = redact_private_keys(text)
    lowered = lowercase(text)
    redacted = redact_addresses(redact_formats(text, lowered))
    if redacted is not text:
        text, lowered = redacted, lowercase(redacted)
    stems = [stem for stem in (*STEMS, "sig=") if stem in lowered]
    return _redact_named(text, lowered, stems) if stems and any(sign in text for sign in "=: ,\t>%") else text


def _redact_named(text: str, lowered: str, stems: list[str]) -> str:
    pieces: list[str] = []
    done = 0
    judged: dict[str, bool] = {}
    for start, end in _names(text, lowered, stems):
        if start < done or not _is_secret(text, start, end, judged):
            continue
        # Most programs have no name of a secret to show, and need none of this.
        from runcontext.redaction.values import secret_spans

        for begin, after in secret_spans(text, start):
            pieces += (text[done:begin], hidden(text[begin:after]))
            done = after
    return "".join((*pieces, text[done:]))


def _names(text: str, lowered: str, stems: list[str]) -> Iterator[tuple[int, int]]:
    """Give where those names begin and end that have one of ``stems`` in them."""
    end = 0
    for at in positions(lowered, stems):
        if at < end:
            continue
        start = end = at
        while start and text[start - 1] in _NAME_CHARACTERS:
            start -= 1
        while text[end : end + 1] in _NAME_CHARACTERS:
            end += 1
        before = text[start - 1 : start]
        if before == "%":
            start += 2 * _HEX_DIGITS.issuperset(text[start : start + 2])  # %26token
        elif before == "\\":
            start += _ESCAPES.get(text[start], end)  # \ntoken; of any other, nobody knows where the name begins
        if start < end:
            yield start, end


def _is_secret(text: str, start: int, end: int, judged: dict[str, bool]) -> bool:
    name = text[start:end]
    secret = judged.get(name)
    if secret is None:
        secret = judged[name] = is_secret_name(name)
    if secret:
        return True
    before = text[max(0, start - 6) : start]
    if before.endswith(_PARAMETER_BEGINS):
        return name.lower() in QUERY_NAMES
    return before[-2:-1] == "\\" and is_secret_name(before[-1] + name)  # \t may be an escape or a t
