"""Where a value ends that YAML writes over several lines, or between brackets without quotes."""

from __future__ import annotations

from runcontext.redaction.masking import compiled

# YAML 1.2.2, 8.1.1, Block Scalar Headers, and what else may follow on that line.
_BLOCK_SCALAR = r"(?:!\S{1,80}[ \t]+)?[|>][+\-0-9]{0,2}[ \t]*(?:#[^\n]*)?\r?\n"
_LIST_BEGINS = r"[ \t]*\r?\n(?=[ \t]*-[ \t])"
_FLOW_LIST = r"\[(?!redacted\])(?=[^\s\"'\]])[^\[\]\n]{1,1000}(?=\])"
_DEEPEST_INDENTATION = 200


def block_span(text: str, name_start: int, start: int) -> tuple[int, int] | None:
    """Give where the lines begin and end that are the value at ``start``, None where it is none of YAML's.

    Its name begins at ``name_start``. A block scalar (``key: |``) ends before a line that is indented no more than the
    name, a list before one that is no item, or one that has a key of its own.
    """
    flow = compiled(_FLOW_LIST).match(text, start)
    if flow:
        return start + 1, flow.end()
    indent = indentation(text, name_start)
    if indent is None:
        return None
    scalar = compiled(_BLOCK_SCALAR).match(text, start)
    if scalar:
        return _span(text, scalar.end(), rf"(?:[ \t]{{{indent + 1},}}[^\n]*(?:\n|$)|[ \t]*\r?\n)+")
    items = compiled(_LIST_BEGINS).match(text, start)
    return _span(text, items.end(), rf"(?:[ \t]{{{indent},}}-[ \t]+(?:[^\n:]|:(?=\S))*(?:\n|$))+") if items else None


def _span(text: str, start: int, lines: str) -> tuple[int, int] | None:
    match = compiled(lines).match(text, start)
    if not match or not match.group().strip():
        return None
    margin = compiled(r"\s*(?:-[ \t]+)?").match(text, start)
    return (margin.end() if margin else start), match.end() - match.group().endswith("\n")


def indentation(text: str, name_start: int) -> int | None:
    """Give how far a name is indented that begins its line, None for one that does not; an item's dash counts."""
    before = text[max(0, name_start - _DEEPEST_INDENTATION) : name_start]
    _, line_break, margin = before.rpartition("\n")
    is_whole = bool(line_break) or name_start <= _DEEPEST_INDENTATION
    return len(margin) if is_whole and not margin.strip(" \t-\"'") else None
