"""The values that a secret's name announces: where each begins and ends, and which hide nothing."""

from __future__ import annotations

from runcontext.redaction.blocks import block_span, indentation
from runcontext.redaction.masking import MARK, compiled
from runcontext.redaction.verdicts import is_code, is_literal, is_secret_name, is_variable, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_NAME = r"(?P<name>[.\-]*[A-Za-z0-9_][A-Za-z0-9_.\-]*)(?P<close>\\{0,7}[\"'`])?"
_NAMED = (
    _NAME + r"\]?(?P<separator>[ \t]*(?:=>|:=|[=!]?=+|:(?!:))|[ \t]*,(?=[ \t]*\\{0,7}[\"'])|%3[Dd]|[ \t]+(?:\\\r?\n)?)"
    r"(?P<space>[ \t]*)"
)
# {"name": "DB_PASSWORD", "value": "x"} of Kubernetes and ECS, <add key="Password" value="x"/> of NuGet.
_PAIRED = _NAME + r"(?P<separator>[ \t]*,?\s{0,80}\\{0,7}[\"']?[vV]alue\\{0,7}[\"']?[ \t]{0,8}[:=])(?P<space>[ \t]*)"
_PAIR_BEGINS = r"(?i:name|key)\\{0,7}[\"']?[ \t]{0,4}[:=][ \t]{0,4}\\{0,7}[\"']?$"
_ELEMENT = _NAME + r"(?P<separator>>)(?P<space>\s{0,80})"
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
_CONTENT = r"[^<>\s](?:[^<>\n]*[^<>\s])?(?=\s{0,80}</)"
_ENCODED = r"(?:[^\s\"'`&#;,<>%]|%(?!2[36]))+"
_HEADER_VALUE = r"[^\r\n\"'`\\]+"
# IANA's registry of HTTP authentication schemes, and those that GitHub, AWS and Discord made up.
AUTHENTICATION_SCHEME = (
    r"(?i:apikey|aws4-hmac-sha256|basic|bearer|bot|digest|dpop|hawk|key|negotiate|ntlm|oauth|token)[ \t]+"
)
_REST_OF_LINE = r"(?:[ \t]{1,80}(?!#)[^\s]+)+"
# A mapping's members are judged each by its name; of one that is called after several secrets, all texts go.
_MAPPING = r"\{(?:\s{0,80}(?=[\"'])|[ \t]*\r?\n|[ \t]*[A-Za-z_][\w.\-]{0,80}:[ \t])"
_PLACEHOLDER = r"<[A-Za-z][\w .,'/\-]{0,60}>"
_FIRST_OF_LIST = r"[(\[]\s{0,80}(?=[fFrRbBuU]{0,2}\\{0,7}[\"'])"
_OPEN_QUOTE = r"[fFrRbBuU$]{0,2}(\\{0,7})(\"\"\"|'''|[\"'`])"
_PROSE = frozenset({"and", "is", "must", "not", "or", "was"})
_AFTER_A_VALUE = frozenset(("", *" \t\r\n\"'`,;&)]}"))
_HEADERS = frozenset({"auth", "authorization", "cookie"})
_SETTERS = ("ENV ", "ARG ", "setenv ", "SetEnv ", " -x ", " -gx ")  # of Docker, csh, Apache, fish


def secret_spans(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Give where the secret values of the name at ``start`` begin and end: none where it announces none."""
    match = _announcement(text, start)
    if match:
        yield from _value_spans(text, match)


def _announcement(text: str, start: int) -> re.Match[str] | None:
    """Match the name at ``start`` and what separates it from its value, None where nothing does."""
    before = text[max(0, start - 24) : start]
    match = compiled(_ELEMENT).match(text, start) if before.endswith("<") else None
    is_value = before.rstrip("\"'\\ \t").endswith((":", "="))
    if is_value and compiled(_PAIR_BEGINS).search(before):
        match = compiled(_PAIRED).match(text, start)
    if match:
        return match
    match = compiled(_NAMED).match(text, start)
    if match and is_value and match["separator"].strip() == ",":
        return None
    if not match or (match["name"].isupper() and before.endswith(_SETTERS)):
        return match
    separator = match["separator"].strip()
    return match if _separates(match["name"], separator, is_quoted=match["close"] is not None) else None


def _separates(name: str, separator: str, *, is_quoted: bool) -> bool:
    """Say whether a value may follow: after a blank an option's, after a comma also `getenv("DB_PASSWORD", "x")`."""
    if separator in {"", "\\"}:
        return name.startswith("-")
    if separator == ",":
        return is_quoted and (name.startswith("-") or name.isupper() or len(words_of(name)) > 1)
    return True


def _value_spans(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    start = _value_start(text, match)
    separator = match["separator"].strip()
    marked = start + (text[start : start + 1] in {"'", '"'})
    if text.startswith(MARK, marked) and text[marked + len(MARK) : marked + len(MARK) + 1] in _AFTER_A_VALUE:
        return
    if separator in {"", "\\"} and text[start : start + 1] in set("-|&;>"):
        return  # a switch: what follows is another option, or the shell's
    block = block_span(text, match.start(), start) if separator == ":" else None
    if block:
        yield block
    elif text[start : start + 1] in {"(", "["} and (first := compiled(_FIRST_OF_LIST).match(text, start)):
        yield from _listed_spans(text, first.end())
    elif text[start : start + 1] == "{" and (first := compiled(_MAPPING).match(text, start)):
        yield from _mapped_spans(text, first.end()) if _is_collection(match["name"]) else ()
    else:
        yield from _plain_spans(text, start, match)


def _value_start(text: str, match: re.Match[str]) -> int:
    """Give where the value begins: in JSON it may be on the next line, in code after a type."""
    start = match.end()
    if match["separator"].strip() != ":":
        return start
    if match["close"] and text[start : start + 1] in {"\n", "\r"}:
        start += len(text[start : start + 200]) - len(text[start : start + 200].lstrip())
    annotation = compiled(_ANNOTATION).match(text, start)
    return annotation.end() if annotation else start


def _plain_spans(text: str, start: int, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    quoted = _quoted_span(text, start)
    span = quoted or _unquoted_span(text, start, match)
    if span is None:
        return
    start, end = span
    scheme = compiled(AUTHENTICATION_SCHEME).match(text, start, end) if is_header(match["name"]) else None
    start = scheme.end() if scheme else start
    if start >= end:
        return
    end_of_all = end if quoted else _end_of_plain_value(text, end, match)
    is_phrase = end < end_of_all and text[end] in " \t" and is_literal(text[start:end], match["name"])  # true love
    if not is_phrase and _is_harmless(text, start, end, match, is_quoted=quoted is not None):
        return
    yield start, end_of_all
    if quoted:
        yield from _added_spans(text, end)


def _added_spans(text: str, end: int) -> Iterator[tuple[int, int]]:
    """Give the strings that are added to the one that ends at ``end``: ``"a" + "b"``."""
    while plus := compiled(r"[\"'`\\]{1,9}[ \t]{0,40}\+[ \t]{0,40}").match(text, end):
        span = _quoted_span(text, plus.end())
        if span is None:
            return
        if span[0] < span[1] and text[span[0] : span[1]] != MARK:
            yield span
        end = span[1]


def _end_of_plain_value(text: str, end: int, match: re.Match[str]) -> int:
    """Give where an unquoted value ends: in YAML and INI files, where its name begins a line, with that line."""
    separator = match["separator"]
    is_line = (separator == ":" and match["space"]) or (separator.strip() == "=" and separator[0] in " \t")
    if not is_line or indentation(text, match.start()) is None:
        return end
    rest = compiled(_REST_OF_LINE).match(text, end)
    return rest.end() if rest else end


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
        comma = compiled(r"[\"'`\\]{0,9}\s{0,80}[,+]?\s{0,80}(?=[fFrRbBuU$]{0,2}\\{0,7}[\"'`])").match(text, span[1])
        if comma is None:
            return
        at = comma.end()


def _is_collection(name: str) -> bool:
    last = words_of(name)[-1]
    return last == "auth" or last.endswith("s")  # what describes one password is no secret: {"type": "string"}


def _mapped_spans(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Give the quoted values of a mapping with quoted keys: ``cookies={"session": "x"}``."""
    while key := _quoted_span(text, at):
        colon = compiled(r"[\"'`\\]{1,9}\s{0,80}:\s{0,80}").match(text, key[1])
        value = _quoted_span(text, colon.end()) if colon else None
        if value is None:
            return
        if value[0] < value[1] and text[value[0] : value[1]] != MARK and not is_variable(text[value[0] : value[1]]):
            yield value
        comma = compiled(r"[\"'`\\]{1,9}\s{0,80},\s{0,80}").match(text, value[1])
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
    if match["separator"] == ">":
        pattern = _CONTENT
    elif match["separator"].startswith("%"):
        pattern = _ENCODED
    elif before and before in "?&#":
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
    if is_literal(value, match["name"]) or is_variable(value) or _is_placeholder(text, start, value, match):
        return True
    if is_quoted:
        return match["separator"].strip() == "," and (value.startswith("-") or is_secret_name(value))
    is_shell = match["name"].isupper() and not match["separator"].startswith(" ") and not match["space"]
    if is_shell or match["name"].startswith("-"):
        return False
    return is_code(value, text[start : end + 200], is_after_colon=match["separator"].strip() == ":")


def _is_placeholder(text: str, start: int, value: str, match: re.Match[str]) -> bool:
    """Know ``<your token>``, ``${TOKEN:?is not set}``, ``${TOKEN:-${OTHER}}``, and prose: ``--token is required``."""
    if text[max(0, match.start() - 2) : match.start()] == "${":
        return value[0] == "?" or is_variable(value[1:])
    if not match["separator"].strip() and value in _PROSE:
        return True
    return value[0] == "<" and compiled(_PLACEHOLDER).match(text, start) is not None
