"""Reads filter strings and orderings: the grammar of MLflow's ``search_runs``, on the tokens that sqlparse finds.

MLflow (``mlflow/utils/search_utils.py`` of 3.17, ``SearchUtils.parse_search_filter``) groups sqlparse's tokens into
SQL's structure; here they are read in one pass from left to right, so that any text takes linear time and each error
says where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from runcontext.redaction import redact_text
from runcontext.tracking.search import terms
from runcontext.tracking.search.terms import Comparison, Kind, Ordering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FILTER_CHARACTERS = 65_536
MAX_COMPARISONS = 100
MAX_ORDERINGS = 20
_MOST_SHOWN = 40
_LARGEST_INTEGER = 2**63 - 1
"""What the integer columns of databases hold."""

_QUOTES = ("'", '"')

_EXPONENT = r"""'[^']*'|"[^"]*"|`[^`]*`|(?<=[0-9][eE])\+(?=[0-9])"""
"""What is quoted, or the plus sign in a number such as ``1e+20``, where sqlparse takes it for an operator."""


def parse(filter_string: str) -> tuple[Comparison, ...]:
    """Read a filter: comparisons joined by AND, nothing for an empty one; as in MLflow an AND may join nothing.

    Raises:
        ValueError: it is no filter; the message says where, what was found and what is expected.
    """
    if not filter_string:
        return ()
    reader = _Reader("filter", filter_string)
    found: list[Comparison] = []
    reader.skip_words("AND")
    while not reader.is_at_end:
        if len(found) == MAX_COMPARISONS:
            reader.fail(f"at most {MAX_COMPARISONS} comparisons")
        found.append(_comparison(reader))
        if not reader.skip_words("AND") and not reader.is_at_end:
            reader.fail("AND between two comparisons (there is no OR and no parentheses), or the end")
    return tuple(found)


def parse_order(order_by: Iterable[str]) -> tuple[Ordering, ...]:
    """Read orderings: a key each, with ASC or DESC after it where it is to be said.

    Raises:
        ValueError: one is no ordering, or two are about the same key.
    """
    if isinstance(order_by, str):
        message = f"order_by {order_by[:_MOST_SHOWN]!r} is a text; a list of them is expected: [{order_by[:40]!r}]"
        raise ValueError(message)  # noqa: TRY004 - the same kind of error as of an ill-formed text
    found = tuple(_ordering(each) for each in order_by)
    if len(found) > MAX_ORDERINGS:
        message = f"order_by has {len(found)} keys; at most {MAX_ORDERINGS} are expected"
        raise ValueError(message)
    keys = [(each.kind, each.key) for each in found]
    for number, each in enumerate(keys):
        if each in keys[:number]:
            message = f"order_by names {each[0]} {each[1]!r} twice; each key once is expected"
            raise ValueError(message)
    return found


def _comparison(reader: _Reader) -> Comparison:
    kind, key = _identifier(reader)
    accepted = terms.accepted_comparators(kind, key)
    comparator = reader.take_comparator(accepted, f"a comparator of {kind} {key!r}: {', '.join(accepted)}")
    if comparator in terms.PRESENCE_COMPARATORS:
        return Comparison(kind, key, comparator, None)
    if comparator in terms.LIST_COMPARATORS:
        return Comparison(kind, key, comparator, tuple(_listed(reader)))
    if not terms.is_numeric(kind, key):
        return Comparison(kind, key, comparator, reader.take_text(f"a quoted text to compare {kind} {key!r} with"))
    number = reader.take_number(f"a number to compare {kind} {key!r} with")
    return Comparison(kind, key, comparator, float(number) if kind == "metric" else number)


def _ordering(text: object) -> Ordering:
    if not isinstance(text, str):
        message = f"order_by holds {text!r}; texts such as 'metrics.loss ASC' are expected"
        raise ValueError(message)  # noqa: TRY004 - the same kind of error as of an ill-formed text
    reader = _Reader("order_by", text)
    kind, key = _identifier(reader)
    if kind == "dataset":
        reader.fail_with(f"runs cannot be ordered by {kind} {key!r}; a metric, param, tag or attribute is expected")
    direction = "ASC" if reader.is_at_end else reader.take_word(("ASC", "DESC"), "ASC, DESC or the end")
    if not reader.is_at_end:
        reader.fail("the end")
    return Ordering(kind, key, direction == "ASC")


def _identifier(reader: _Reader) -> tuple[Kind, str]:
    expected = "metrics.KEY, params.KEY, tags.KEY or an attribute"
    start = reader.position
    first, is_quoted = reader.take_name(expected)
    if not reader.is_at_dot:
        return "attribute", _attribute(reader, first, start)
    if first not in terms.KINDS or (is_quoted and not reader.text.startswith("`", start)):
        reader.fail_with(f"{_shown(first)} is no kind of key; expected {expected}", start)
    kind = terms.KINDS[first]
    start = reader.position + 1
    key = reader.take_key(f"a key of {kind}, in backquotes where it is not of letters, digits, _ and dots")
    if kind == "dataset" and key not in terms.DATASET_ATTRIBUTES:
        known = ", ".join(terms.DATASET_ATTRIBUTES)
        reader.fail_with(f"{_shown(key)} is nothing that a dataset has; known are {known}", start)
    return kind, _attribute(reader, key, start) if kind == "attribute" else key


def _attribute(reader: _Reader, name: str, start: int) -> str:
    if name not in terms.ATTRIBUTES:
        known = ", ".join(dict.fromkeys(terms.ATTRIBUTES.values()))
        hint = "others are named metrics.KEY, params.KEY, tags.KEY, KEY in backquotes where it is no plain word"
        reader.fail_with(f"{_shown(name)} is no attribute of runs; known are {known}; {hint}", start)
    return terms.ATTRIBUTES[name]


def _listed(reader: _Reader) -> Iterator[str]:
    expected = "a list of quoted texts in parentheses"
    reader.take_punctuation("(", expected)
    while True:
        yield reader.take_text(expected)
        if reader.take_punctuation(",)", f"a comma or a closing parenthesis: {expected}") == ")":
            return
        if reader.is_at(")"):
            # A comma may follow the last one too, as in Python.
            reader.take_punctuation(")", expected)
            return


@dataclass(frozen=True, slots=True)
class _Token:
    """A token; ``kind`` is word, name (in backquotes), text, number, comparator, punctuation or other."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)


class _Reader:
    """The tokens of one text, taken one after the other."""

    def __init__(self, what: str, text: str) -> None:
        """Split the text; blanks are left out."""
        if not isinstance(text, str):
            message = f"the {what} is {text!r}; a text is expected"
            raise ValueError(message)  # noqa: TRY004 - the same kind of error as of an ill-formed text
        if len(text) > MAX_FILTER_CHARACTERS:
            message = f"the {what} has {len(text):,} characters; at most {MAX_FILTER_CHARACTERS:,} are expected"
            raise ValueError(message)
        self.text = _without_plus(text) if "+" in text else text
        self._what = what
        self._tokens = list(_tokens(self.text))
        self._next = 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._next == len(self._tokens)

    @property
    def position(self) -> int:
        """Where the next token begins."""
        return len(self.text) if self.is_at_end else self._tokens[self._next].start

    @property
    def is_at_dot(self) -> bool:
        """Whether a dot follows at once, without blanks."""
        return self.is_at(".") and self._tokens[self._next].start == self._tokens[self._next - 1].end

    def is_at(self, punctuation: str) -> bool:
        """Say whether this is next."""
        return not self.is_at_end and self._tokens[self._next].text == punctuation

    def take_name(self, expected: str, quotes: str = '`"') -> tuple[str, bool]:
        """Take one word or quoted name, and say whether it was quoted."""
        token = self._take(("word", "name", "text"), expected)
        if token.kind == "word":
            return token.text, False
        if token.text[0] not in quotes:
            self.fail(expected, token)
        return token.text[1:-1], True

    def take_key(self, expected: str) -> str:
        """Take what follows a dot: one quoted name, or words with dots between them, without blanks."""
        words: list[str] = []
        while self.is_at_dot:
            dot = self._take(("punctuation",), expected)
            if self.position != dot.end:
                self.fail(expected)
            word, is_quoted = self.take_name(expected, "`\"'")
            if is_quoted and (words or self.is_at_dot):
                self.fail_with(f"a part of a key cannot be in quotes; expected {expected}", dot.end)
            words.append(word)
        return ".".join(words)

    def take_comparator(self, accepted: Iterable[str], expected: str) -> str:
        """Take a comparator, which may be several words; in upper case."""
        first = self._take(("comparator", "word"), expected)
        found = " ".join(first.text.split())
        while (
            found.upper() in {"IS", "IS NOT", "NOT"} and not self.is_at_end and self._tokens[self._next].kind == "word"
        ):
            found += " " + " ".join(self._take(("word",), expected).text.split())
        if found.upper() not in accepted:
            self.fail_with(f"expected {expected}; found {_shown(found)}", first.start)
        return found.upper()

    def take_text(self, expected: str) -> str:
        """Take a quoted text."""
        return self._take(("text",), expected).text[1:-1]

    def take_number(self, expected: str) -> int | float:
        """Take a number."""
        token = self._take(("number",), expected)
        if token.text.lstrip("-").isdigit():
            if len(token.text) > len(str(_LARGEST_INTEGER)) + 1 or abs(int(token.text)) > _LARGEST_INTEGER:
                self.fail(f"{expected}, of at most {_LARGEST_INTEGER}", token)
            return int(token.text)
        return float(token.text)

    def take_punctuation(self, one_of: str, expected: str) -> str:
        """Take one of these characters."""
        token = self._take(("punctuation",), expected)
        if token.text not in one_of:
            self.fail(expected, token)
        return token.text

    def take_word(self, accepted: str | tuple[str, ...], expected: str) -> str:
        """Take one of these words, whatever its case; in upper case."""
        token = self._take(("word",), expected)
        if token.text.upper() not in ((accepted,) if isinstance(accepted, str) else accepted):
            self.fail(expected, token)
        return token.text.upper()

    def skip_words(self, word: str) -> bool:
        """Take this word, whatever its case, as often as it is there; say whether it was."""
        start = self._next
        while not self.is_at_end and self._tokens[self._next].text.upper() == word:
            self._next += 1
        return self._next > start

    def fail(self, expected: str, token: _Token | None = None) -> NoReturn:
        """Say what was expected instead of a token, the next unless given."""
        if token is None and self.is_at_end:
            self.fail_with(f"expected {expected}; found its end", len(self.text))
        token = token or self._tokens[self._next]
        self.fail_with(f"expected {expected}; found {_shown(token.text)}", token.start)

    def fail_with(self, problem: str, start: int | None = None) -> NoReturn:
        """Raise the error."""
        place = self._tokens[self._next - 1].start if start is None else start
        around = _shown(self.text[max(place - _MOST_SHOWN // 2, 0) : place + _MOST_SHOWN // 2])
        message = f"{self._what}, character {place + 1} (near {around}): {problem}"
        raise ValueError(message)

    def _take(self, kinds: tuple[str, ...], expected: str) -> _Token:
        if self.is_at_end or self._tokens[self._next].kind not in kinds:
            self.fail(expected)
        self._next += 1
        return self._tokens[self._next - 1]


def _without_plus(text: str) -> str:
    """Give a text whose numbers are written without the plus sign that Python writes."""
    import re

    return re.sub(_EXPONENT, lambda found: "" if found[0] == "+" else found[0], text)


def _tokens(text: str) -> Iterator[_Token]:
    from sqlparse import lexer
    from sqlparse import tokens as types

    words = (types.Name, types.Keyword, types.DML, types.DDL)
    position = 0
    for kind, value in lexer.tokenize(text):  # type: ignore[no-untyped-call]
        start, position = position, position + len(value)
        if kind in types.Whitespace or kind is types.Newline:
            continue
        if value[0] in _QUOTES and (kind in types.String.Single or kind in types.String.Symbol):
            name = "text"
        elif kind in types.Number.Integer or kind in types.Number.Float:
            name = "number"
        elif kind in types.Comparison:
            name = "comparator"
        elif kind in types.Punctuation:
            name = "punctuation"
        elif value[0] == "`" and kind in types.Name:
            name = "name"
        else:
            name = "word" if any(kind in each for each in words) and _is_word(value) else "other"
        yield _Token(name, value, start)


def _is_word(value: str) -> bool:
    return all(each.isalnum() or each == "_" or each.isspace() for each in value)


def _shown(text: str) -> str:
    cut = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
    return repr(redact_text(cut))
