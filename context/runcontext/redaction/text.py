"""Secrets in a text: every rule in its order, the last being for values whose name says that they are secret."""

from __future__ import annotations

from runcontext.redaction.addresses import redact_addresses, without_password
from runcontext.redaction.formats import is_private_key_line, redact_formats, redact_private_keys, without_key
from runcontext.redaction.masking import MARK, compiled, emptied
from runcontext.redaction.verdicts import (
    QUERY_NAMES,
    STEMS,
    is_code,
    is_literal,
    is_secret_name,
    is_variable,
    words_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    _Redacted = TypeVar("_Redacted", str, "list[str]")

_SHORTEST_FORMAT = 16  # no published format of letters and digits alone is so short; most tags are shorter
_MOST_ROUNDS = 6  # bounds what hostile input can cost
_NAME_START = r"(?:(?<![A-Za-z0-9_.\-\\])|(?<=\\[nrt]))"
_NAMED = (
    _NAME_START
    + r"(?P<name>-*[A-Za-z0-9_][A-Za-z0-9_.\-]*)(?P<close>\\{0,7}[\"'`])?\]?"
    + r"(?P<separator>[ \t]*(?:=>|:=|[=!]?=+|:(?!:))|[ \t]*,(?=[ \t]*\\{0,7}[\"'])|[ \t]+(?:\\\r?\n)?)"
    + r"(?P<space>[ \t]*)"
)
_ANNOTATION = (
    r"(?:&?(?:'[a-z]+ )?[A-Za-z_][\w.]{0,60}(?:\[[^\]\n]{0,80}\]{1,4})?(?:[ \t]?\|[ \t]?\w{1,60}){0,4}"
    r"[ \t]{1,8}=[ \t]{1,8}"
    r"|(?:str|string|bytes|Optional\[str\])=)"
)
_UNQUOTED = (
    r"(?:[^\s\"'`,;&\\]+|[,;&](?![A-Za-z0-9_.\-]+=)|\\[nrt](?![A-Za-z_][A-Za-z0-9_.\-]*[=:])|\\(?![\t\r\n\"'`nrt]) ?"
    r"|\\?[\"'`]+(?=[A-Za-z0-9]))+"
)
_PARAMETER = r"[^\s\"'`&#;,<>]+"
_HEADER_VALUE = r"[^\r\n\"'`\\]+"
# IANA's registry of HTTP authentication schemes, and those that GitHub, AWS and Discord made up.
AUTHENTICATION_SCHEME = (
    r"(?i:apikey|aws4-hmac-sha256|basic|bearer|bot|digest|dpop|hawk|key|negotiate|ntlm|oauth|token)[ \t]+"
)
_OPEN_QUOTE = r"[fFrRbBuU$]{0,2}(\\{0,7})(\"\"\"|'''|[\"'`])"
_AFTER_A_VALUE = frozenset(("", *" \t\r\n\"'`,;&)]}"))
_HEADERS = frozenset({"auth", "authorization", "cookie"})


def redact_text(text: str) -> str:
    """Replace every secret in ``text`` by ``MARK``: source code, a patch's added lines, a log, a configuration.

    Code that only refers to a secret stays as it is (``token=args.token``, ``password: str``, ``${TOKEN}``): nothing
    is to be read from it, and a patch with it redacted would give back another program.
    """
    if len(text) < _SHORTEST_FORMAT and text.isalnum():
        return text
    return settled(_redact_once, text)


def redact_url(url: str) -> str:
    """Take the credentials out of one address: a remote, a tracking URI, an index.

    Of http(s) and of an address with no scheme all that stands before the ``@`` is a credential
    (``https://[redacted]@host/x``); elsewhere the user is part of the address and only the password goes
    (``ssh://git:[redacted]@host``, ``user:[redacted]@host:path``). Secret query parameters and values in a known
    format go too.
    """
    return settled(lambda address: redact_text(without_password(address)), url)


def settled(redact: Callable[[_Redacted], _Redacted], value: _Redacted) -> _Redacted:
    """Redact until nothing changes: what stands beside a mark can look different. Two rounds are the rule."""
    for _round in range(_MOST_ROUNDS):
        redacted = redact(value)
        if redacted == value:
            break
        value = redacted
    return value


def _redact_once(text: str) -> str:
    if is_private_key_line(text):
        return without_key(text)
    lowered = text.lower()
    text = redact_formats(redact_private_keys(text), lowered)
    text = redact_addresses(text)
    if any(stem in lowered for stem in (*STEMS, "sig=")) and any(sign in text for sign in "=: ,\t"):
        text = _redact_named(text)
    return text


def _redact_named(text: str) -> str:
    pieces: list[str] = []
    done = 0
    judged: dict[str, bool] = {}
    for match in compiled(_NAMED).finditer(text):
        if match.start() < done or not _is_announced(match, judged):
            continue
        for start, end in _secret_spans(text, match):
            pieces += (text[done:start], emptied(text[start:end]) if "\n" in text[start:end] else MARK)
            done = end
    return "".join((*pieces, text[done:]))


def _is_announced(match: re.Match[str], judged: dict[str, bool]) -> bool:
    """Say whether this name, so separated from what follows, announces a secret."""
    name = match["name"]
    secret = judged.get(name)
    if secret is None:
        secret = judged[name] = is_secret_name(name)
    before = match.string[max(0, match.start() - 2) : match.start()]
    if not secret and before[-1:] in {"?", "&", "#"}:
        secret = name.lower() in QUERY_NAMES
    if not secret and before[:1] == "\\" and len(before) == 2:  # noqa: PLR2004 - \t may be an escape or a t
        secret = is_secret_name(before[1] + name)
    return secret and _separates(name, match["separator"].strip(), is_quoted=match["close"] is not None)


def _separates(name: str, separator: str, *, is_quoted: bool) -> bool:
    """Say whether a value may follow: after a blank an option's, after a comma also `getenv("DB_PASSWORD", "x")`."""
    if separator in {"", "\\"}:
        return name.startswith("-")
    if separator == ",":
        return is_quoted and (name.startswith("-") or name.isupper() or len(words_of(name)) > 1)
    return True


def _secret_spans(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    start = match.end()
    separator = match["separator"].strip()
    if match["close"] and separator == ":" and text[start : start + 1] in {"\n", "\r"}:
        start += len(text[start : start + 200]) - len(text[start : start + 200].lstrip())
    if separator == ":":
        annotation = compiled(_ANNOTATION).match(text, start)
        start = annotation.end() if annotation else start
    marked = start + (text[start : start + 1] in {"'", '"'})
    if text.startswith(MARK, marked) and text[marked + len(MARK) : marked + len(MARK) + 1] in _AFTER_A_VALUE:
        return
    if separator in {"", "\\"} and text[start : start + 1] in set("-|&;>"):
        return  # a switch: what follows is another option, or the shell's
    if text[start : start + 1] in {"(", "["} and text[start + 1 : start + 2] in {"'", '"'}:
        yield from _listed_spans(text, start + 1)
        return
    quoted = _quoted_span(text, start)
    span = quoted or _unquoted_span(text, start, match)
    if span is None:
        return
    start, end = span
    scheme = compiled(AUTHENTICATION_SCHEME).match(text, start, end) if is_header(match["name"]) else None
    start = scheme.end() if scheme else start
    if start < end and not _is_harmless(text, start, end, match, is_quoted=quoted is not None):
        yield start, end


def is_header(name: str) -> bool:
    """Say whether a value of this name may begin with an authentication scheme, as in ``Authorization: Bearer X``."""
    words = words_of(name)
    return bool(words) and words[-1] in _HEADERS


def _listed_spans(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Give the quoted strings of a list or tuple: ``auth=("user", "password")``."""
    while True:
        span = _quoted_span(text, at)
        if span is None:
            return
        if span[0] < span[1] and text[span[0] : span[1]] != MARK:
            yield span
        comma = compiled(r"[\"'`\\]{0,9}[ \t]{0,40},[ \t]{0,40}").match(text, span[1])
        if comma is None:
            return
        at = comma.end()


def _quoted_span(text: str, at: int) -> tuple[int, int] | None:
    """Give where the quoted string at ``at`` begins and ends, without its quotes; None where there is none."""
    opening = compiled(_OPEN_QUOTE).match(text, at)
    if opening is None:
        return None
    escapes, quote = len(opening[1]), opening[2]
    end = text.find(quote, opening.end())
    while end >= 0:
        run = _backslashes_before(text, end, opening.end())
        if run == escapes or (escapes == 0 and run % 2 == 0):
            break
        end = text.find(quote, end + 1)
    end -= escapes
    if end < opening.end() or (len(quote) == 1 and text.find("\n", opening.end(), end) >= 0):
        return None
    return opening.end(), end


def _backslashes_before(text: str, at: int, start: int) -> int:
    end = at
    while at > start and text[at - 1] == "\\":
        at -= 1
    return end - at


def _unquoted_span(text: str, start: int, match: re.Match[str]) -> tuple[int, int] | None:
    opening = compiled(_OPEN_QUOTE).match(text, start)
    start = opening.end() if opening else start
    before = text[match.start() - 1 : match.start()]
    if before and before in "?&#":
        pattern = _PARAMETER
    elif match["separator"].strip() == ":" and words_of(match["name"])[-1:] in (["authorization"], ["cookie"]):
        pattern = _HEADER_VALUE
    else:
        pattern = _UNQUOTED
    value = compiled(pattern).match(text, start)
    if value is None:
        return None
    return start, start + len(_without_closers(value.group()))


def _without_closers(value: str) -> str:
    """Leave to the surrounding text the brackets and commas that close it, not the value."""
    if value[-1] not in ",;&)]}>":
        return value
    surplus = {pair[1]: value.count(pair[1]) - value.count(pair[0]) for pair in ("()", "[]", "{}", "<>")}
    end = len(value)
    while end and (value[end - 1] in ",;&" or surplus.get(value[end - 1], 0) > 0):
        if value[end - 1] in surplus:
            surplus[value[end - 1]] -= 1
        end -= 1
    return value[:end]


def _is_harmless(text: str, start: int, end: int, match: re.Match[str], *, is_quoted: bool) -> bool:
    if end - start > 256:  # noqa: PLR2004 - longer than any reference or literal
        return False
    value = text[start:end]
    if is_literal(value, match["name"]) or is_variable(value):
        return True
    if is_quoted:
        return match["separator"].strip() == "," and (value.startswith("-") or is_secret_name(value))
    is_shell = match["name"].isupper() and not match["separator"].startswith(" ") and not match["space"]
    if is_shell or match["name"].startswith("-"):
        return False
    return is_code(value, text[start : end + 200], is_after_colon=match["separator"].strip() == ":")
