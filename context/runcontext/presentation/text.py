"""Values as people can read them: nothing in one is obeyed, and numbers of bytes are rounded."""

from __future__ import annotations

from typing import NamedTuple

_BREAKS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
BYTES = frozenset(
    (
        "gpu.memory.peak",
        "gpu.memory.total",
        "memory.limit",
        "memory.total",
        "shm.size",
        "usage.children.memory.peak",
        "usage.memory.peak",
    )
)
"""Tags whose values are numbers of bytes, one for each device."""

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_MOST_CHARACTERS = 400


def readable(text: str) -> str:
    """Give ``text`` in one line: control and other invisible characters as escapes, as Python writes them."""
    return "".join(each if each.isprintable() else _BREAKS.get(each) or _escaped(each) for each in text)


def lines(text: str) -> str:
    """Give ``text`` with its line breaks kept and every other control character as an escape."""
    return "\n".join(readable(line) for line in text.split("\n"))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Rounded(NamedTuple):
    """A value for people, and what stands beside it where it has to be exact; empty where it is exact already."""

    short: str
    exact: str


def rounded(name: str, value: str) -> Rounded:
    """Give the value of a fact with its bytes rounded, and with equal values of several devices said once."""
    values = value.split(",")
    is_size = name in BYTES and all(each.isascii() and each.isdigit() for each in values)
    shown = [size(int(each)) for each in values] if is_size else values
    if name.startswith("gpu.") and len(values) > 1 and values[0] and len(set(values)) == 1:
        return Rounded(f"{len(values)} times {shown[0]}", values[0] if is_size else "")
    return Rounded(", ".join(shown), value) if is_size else Rounded(value, "")


def size(count: int) -> str:
    """Give a number of bytes in the largest unit that it fills, by IEC 80000-13: 23.5 GiB."""
    power = min((max(count, 1).bit_length() - 1) // 10, len(_UNITS))
    if not power:
        return counted(count, "byte")
    return f"{count / 1_024**power:,.1f}".removesuffix(".0") + f" {_UNITS[power - 1]}"


def cut(value: str) -> str:
    """Give the beginning of a long value, and how much of it is left out."""
    if len(value) <= _MOST_CHARACTERS:
        return value
    left_out = len(value) - _MOST_CHARACTERS
    return f"{value[:_MOST_CHARACTERS]} ... [{left_out:,} more characters]"


def counted(count: int, one: str, several: str = "") -> str:
    """Give a number with the noun that fits it."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def milliseconds(seconds: float) -> str:
    """Give a duration of a provider's in milliseconds, two digits that count; nothing for none."""
    amount = seconds * 1_000
    if not amount:
        return ""
    digits = 0 if amount >= 10 else 1 if amount >= 1 else 2  # noqa: PLR2004 - two that count
    return f"{amount:,.{digits}f} ms"
