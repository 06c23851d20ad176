"""Merging what providers said: order, conflicts, what is cut, and which names and values are well formed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcontext import resolution
from runcontext.errors import NotInContext


class Saying:
    """A provider that gives one mapping."""

    def __init__(self, mapping: Any) -> None:
        """Keep what it is to say."""
        self._mapping = mapping

    def in_context(self) -> bool:
        """Say yes."""
        return True

    def tags(self) -> Any:
        """Give the mapping."""
        return self._mapping


def said(mapping: Any) -> dict[str, Any]:
    """Resolve a provider that says ``mapping``; give its outcome."""
    return resolution.Resolution("one", "inline").run(lambda: Saying(mapping))


def outcomes(**tags: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Make captured outcomes of providers' tags."""
    return {name: {**resolution.pending("inline"), "status": "captured", "tags": each} for name, each in tags.items()}


def test_later_wins() -> None:
    """Of several that give a tag, the last in order wins, the caller over all; each conflict is on record."""
    row = resolution.merged(
        ["a", "b", "c"],
        outcomes(c={"x": "c", "y": "c"}, a={"x": "a", "z": "a"}, b={"x": "b"}),
        caller_tags={"z": "mine", "w": "mine"},
    )
    assert row["tags"] == {"x": "c", "y": "c", "z": "mine", "w": "mine"}
    assert row["conflicts"] == [
        {"tag": "x", "winner": "c", "losers": ["a", "b"]},
        {"tag": "z", "winner": "caller", "losers": ["a"]},
    ]
    assert list(row["outcomes"]) == ["a", "b", "c"]
    assert row["outcomes"]["a"]["tags"]["x"] == "a"


def test_who_has_not_answered_is_left_out() -> None:
    """Names in the order without an outcome cost nothing, and outcomes outside the order are not merged."""
    row = resolution.merged(["a", "b"], outcomes(a={"x": "a"}, z={"x": "z"}))
    assert (row["tags"], list(row["outcomes"])) == ({"x": "a"}, ["a"])


@pytest.mark.parametrize("length", [0, 1, 7_999, 8_000, 8_001, 100_000])
def test_long_values_are_cut_visibly(length: int) -> None:
    """A tag's value has at most 8,000 characters; a longer one ends with a mark, and is whole in its outcome."""
    value = "x" * length
    row = resolution.merged(["a"], outcomes(a={"t": value}))
    assert len(row["tags"]["t"]) == min(length, 8_000)
    assert ("cut" in row["tags"]["t"]) == (length > 8_000)
    assert f"{length:,} characters" in row["tags"]["t"] or length <= 8_000
    assert row["outcomes"]["a"]["tags"]["t"] == value


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("a", None),
        ("mlflow.source.git.commit", None),
        ("\u00e9t\u00e9/\u590f", None),
        ("x" * 250, None),
        ("x" * 251, "a name of 251 characters; 1 to 250 are expected"),
        ("", "a name of 0 characters; 1 to 250 are expected"),
        (7, "a name of type int; a string is expected"),
        (None, "a name of type NoneType; a string is expected"),
        ("a=b", "ill-formed name 'a=b'"),
        ("a\n", "ill-formed name"),
        ("/a", "must not begin with /"),
        ("../a", "must not begin with / or hold . or .. or //"),
        ("a/../b", "must not begin with /"),
        ("a//b", "must not begin with /"),
        (".", "must not begin with /"),
        ("..", "must not begin with /"),
        ("a/", "must not begin with /"),
    ],
)
def test_names(key: object, problem: str | None) -> None:
    """A name is what MLflow's servers accept, and what is wrong with another is said."""
    found = resolution.key_problem(key)
    assert found is None if problem is None else problem in (found or "")


@given(st.text(st.characters(), max_size=50))
def test_every_text_can_be_written(text: str) -> None:
    """What ``writable`` gives is UTF-8 without NUL, and well-formed text stays as it is."""
    found = resolution.writable(text)
    found.encode()
    assert "\0" not in found
    if "\0" not in text and text.isprintable():
        assert found == text.encode("utf-8", "backslashreplace").decode()


@given(
    st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), st.text(max_size=5) | st.integers() | st.none())
)
def test_any_mapping_is_taken_or_explained(mapping: dict[Any, Any]) -> None:
    """Every entry of a provider's mapping is a tag, a failed fact with its reason, or None: nothing gets lost."""
    outcome = said(mapping)
    nothing = {key for key, value in mapping.items() if value is None and resolution.key_problem(key) is None}
    assert len(outcome["tags"]) + len(outcome["failures"]) + len(nothing) >= len({repr(key) for key in mapping}) - 1
    assert outcome["status"] == ("partial" if outcome["failures"] else "captured")
    assert all(isinstance(value, str) for value in outcome["tags"].values())


def test_callables_cost_one_fact_each() -> None:
    """A fact that fails costs itself; None is no fact, and NotInContext says why there is none."""

    def fail() -> str:
        raise OSError("no such device")  # noqa: EM101, TRY003 - as providers write it

    def absent() -> str:
        raise NotInContext("no GPU here")  # noqa: EM101, TRY003 - as above

    outcome = said({"good": lambda: "yes", "none": lambda: None, "bad": fail, "absent": absent, "plain": "text"})
    assert outcome["tags"] == {"good": "yes", "plain": "text"}
    assert outcome["failures"] == {"bad": "OSError: no such device", "absent": "absent: no GPU here"}
    assert outcome["status"] == "partial"
    assert said({"absent": absent})["status"] == "captured"


@pytest.mark.parametrize("value", [1, 1.5, True, b"bytes", ["list"], {"a": 1}, object(), str])
def test_values_of_other_types(value: Any) -> None:
    """A value that is no string is a failed fact that names the tag and the type."""
    (reason,) = said({"t": value})["failures"].values() or ("",)
    if value is not str:
        assert "tag 't' is a " in reason
        assert type(value).__name__ in reason


def test_problems_name_provider_and_fact() -> None:
    """What is logged, or raised where that is asked for, has one line for each failure, and none for what is absent."""
    failing = {
        "a": {**resolution.pending("inline"), "status": "partial", "failures": {"x": "broken", "y": "absent: no"}},
        "b": resolution.failed("inline", "OSError: gone"),
        "c": resolution.disabled("inline", "RUNCONTEXT_DISABLED"),
    }
    assert resolution.problems(failing) == [
        "provider 'a', fact 'x': broken",
        "provider 'b' failed: OSError: gone",
    ]


def test_settled_is_final() -> None:
    """What is still out when the run ends is timed out, for a reason; the rest stays."""
    settled = resolution.settled({"a": resolution.pending("companion"), **outcomes(b={})}, "no answer")
    assert (settled["a"]["status"], settled["a"]["reason"], settled["b"]["status"]) == (
        "timed_out",
        "no answer",
        "captured",
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("text"), "ValueError: text"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (ValueError("a\0\ud800"), "ValueError: a\\x00\\ud800"),
    ],
)
def test_errors_as_reasons(error: BaseException, expected: str) -> None:
    """An exception is described by its type and its message, as every store can hold it."""
    assert resolution.describe_error(error) == expected


def test_an_error_that_cannot_be_shown() -> None:
    """An exception whose ``__str__`` raises is described all the same."""

    class WorseError(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert resolution.describe_error(WorseError()) == "WorseError: <its message cannot be read: SystemExit>"
