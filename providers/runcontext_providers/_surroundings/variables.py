"""Reading facts out of an environment by a table, so that a system is data and not code.

A fact's sources are a tuple, the first that says something being the one. A source is one of

- ``"NAME"``: the variable's value;
- ``"{NAME}/{OTHER}"``: a text in which variables are replaced, where all of them are set;
- ``("NAME", pattern)``: the first group of a regular expression that matches from the value's beginning.

A mark is one of ``"NAME"``, which has to be set, ``"!NAME"``, which must not be, and ``"NAME=text"``, whose value has
to begin with the text, in any case. An empty variable counts as unset throughout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Source: TypeAlias = "str | tuple[str, str]"
Sources: TypeAlias = "tuple[Source, ...]"
Marks: TypeAlias = "tuple[tuple[str, ...], ...]"
"""Ways to know a system, each of them marks that all have to hold."""

_VARIABLE = re.compile(r"\{(\w+)\}")
_ANYTHING = r"(?s:(.+))"


def is_marked(environment: Mapping[str, str], ways: Marks) -> bool:
    """Say whether the marks of one of the ways all hold."""
    return any(all(_holds(environment, mark) for mark in marks) for marks in ways)


def value_of(environment: Mapping[str, str], sources: Sources) -> tuple[str, str] | None:
    """Give what the first source that says something says, and the first variable that it is made of."""
    for source in sources:
        text, pattern = (source, _ANYTHING) if isinstance(source, str) else source
        names = _VARIABLE.findall(text)
        if not all(environment.get(name) for name in names or (text,)):
            continue
        value = _VARIABLE.sub(lambda match: environment[match[1]], text) if names else environment[text]
        match = re.match(pattern, value)
        if match is not None:
            return match[1], (names or [text])[0]
    return None


def variables_of(sources: Iterable[Source]) -> list[str]:
    """Name the variables that a fact is looked for in, in their order."""
    texts = [source if isinstance(source, str) else source[0] for source in sources]
    return list(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text) or [text]))


def _holds(environment: Mapping[str, str], mark: str) -> bool:
    if mark.startswith("!"):
        return not environment.get(mark[1:])
    name, _, beginning = mark.partition("=")
    value = environment.get(name, "")
    return bool(value) and value.lower().startswith(beginning.lower())
