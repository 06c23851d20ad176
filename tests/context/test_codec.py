"""JSON without the ``json`` package: the same as with it, for any value."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcontext import codec

texts = st.text(st.characters(), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_writes_what_json_writes(value: Any) -> None:
    """Character for character what ``json.dumps`` gives, in one line of ASCII."""
    written = codec.dumps(value)
    assert written == json.dumps(value, separators=(",", ":"))
    assert written.isascii()
    assert "\n" not in written


@given(values)
def test_reads_what_json_reads(value: Any) -> None:
    """The value that ``json.loads`` gives, with its types, and NaN where NaN was."""
    for text in (codec.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert repr(codec.loads(text)) == repr(json.loads(text))


@given(st.text(max_size=40) | values.map(json.dumps).map(lambda text: text[:-1]))
def test_refuses_what_json_refuses(text: str) -> None:
    """What is no JSON raises ValueError, as there; only white space in front, which nobody writes, is refused too."""
    try:
        expected = json.loads(text)
    except ValueError:
        if text.strip() != text or any(ord(each) < 32 for each in text):
            return
        with pytest.raises(ValueError, match="JSON"):
            codec.loads(text)
    else:
        if text == text.lstrip():
            assert repr(codec.loads(text)) == repr(expected)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), 1j, {"a": {1}}, {b"key": 1}])
def test_refuses_what_has_no_json_form(value: Any) -> None:
    """Other types raise TypeError, as there."""
    with pytest.raises(TypeError):
        json.dumps(value)
    with pytest.raises(TypeError):
        codec.dumps(value)


@pytest.mark.parametrize("text", ["", " ", "{", '{"a"', '{"a": 1}}', "[1,]", "nul", '"a', '"\\u12"', "1 2", "\0"])
def test_refusals_where_json_was_never_imported(text: str) -> None:
    """ValueError too in a process that has never imported ``json``, whose errors the scanner would like to raise."""
    source = (
        "import sys\nfrom runcontext import codec\n"
        f"assert 'json' not in sys.modules\ntry:\n    codec.loads({text!r})\n"
        "except ValueError:\n    sys.exit(0)\nsys.exit(5)"
    )
    # A process whose coverage is measured has imported json before it begins.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    assert subprocess.run([sys.executable, "-c", source], env=unmeasured, check=False).returncode == 0


def test_special_numbers() -> None:
    """NaN and the infinities have their names."""
    assert codec.dumps([math.inf, -math.inf, math.nan]) == "[Infinity,-Infinity,NaN]"
    assert codec.loads("[Infinity,-Infinity]") == [math.inf, -math.inf]
    assert math.isnan(codec.loads("NaN"))


def test_the_fallback_is_the_same() -> None:
    """Where the C halves are missing, ``json`` itself gives the same form."""
    dumps, loads = codec._python_functions()
    value = {"a": [1, 2.5, None, True, "\u00fc\ud800"]}
    assert dumps(value) == codec.dumps(value)
    assert loads(dumps(value)) == value
