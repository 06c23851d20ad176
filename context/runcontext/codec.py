"""JSON without the ``json`` package, which imports ``re`` and with it costs the program 7 ms at its first run.

The C halves of CPython's own ``json`` do the work; where they are missing, ``json`` itself does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _refuse(value: object) -> object:
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


class _ScannerOptions:
    """What ``json.JSONDecoder`` hands to its C scanner."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner empties it after each call

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name.replace("Infinity", "inf"))


def _beginning(text: str) -> str:
    # Cut afterwards: half a secret is not known as one.
    from runcontext.redaction import redact_text

    return redact_text(text)[:80]


def _c_functions() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    import _json

    sort_keys, skip_keys, allow_nan = False, False, True
    encode = _json.make_encoder(
        None, _refuse, _json.encode_basestring_ascii, None, ":", ",", sort_keys, skip_keys, allow_nan
    )
    scan: Callable[[str, int], tuple[Any, int]] = _json.make_scanner(_ScannerOptions)  # type: ignore[arg-type]

    def dumps(value: Any) -> str:
        return "".join(encode(value, 0))

    def loads(text: str) -> Any:
        try:
            value, end = scan(text, 0)
        except Exception:  # noqa: BLE001 - see below
            # Where the scanner finds an error it looks for json.JSONDecodeError, which may not be imported, or not be
            # that of the standard library.
            message = f"not JSON: {_beginning(text)!r}"
            raise ValueError(message) from None
        if text[end:].strip():
            message = f"more than one JSON value: {_beginning(text)!r}"
            raise ValueError(message)
        return value

    return dumps, loads


def _python_functions() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    import functools
    import json

    return functools.partial(json.dumps, separators=(",", ":")), json.loads


def _functions() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    try:
        return _c_functions()
    except (ImportError, AttributeError, TypeError):
        return _python_functions()


dumps, loads = _functions()
"""``dumps(value)`` gives one line of ASCII; ``loads(text)`` reads such a line, and raises ValueError on any other."""
