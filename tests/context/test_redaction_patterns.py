"""The patterns that a user adds: what they match is a secret everywhere, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import runcontext.redaction
from runcontext.redaction import MARK, pattern_problem, redact_args, redact_text, redact_url, use_patterns

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE_ROOT = Path(runcontext.redaction.__file__).parents[2]


@pytest.fixture(autouse=True)
def none_afterwards() -> Iterator[None]:
    """Leave no pattern in force."""
    yield
    use_patterns([])


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"host-[a-z]+", "on host-alpha and host-beta", f"on {MARK} and {MARK}"),
        (r"badge ([0-9]+)", "badge 4711, badge 12", f"badge {MARK}, badge {MARK}"),
        (r"(?i)PROJECT X", "project x and Project X", f"{MARK} and {MARK}"),
        (r"a(b)|c", "ab c", f"a{MARK} {MARK}"),
        (r"(a)(b)", "ab", f"{MARK}b"),
        (r"x=(\w*)", "x= x=1", f"x= x={MARK}"),
        (r"(?s)<key>(.*)</key>", "<key>a\nb\n</key>", f"<key>{MARK}\n\n</key>"),
        (r"\d", "ab123", f"ab{MARK}"),
        (r"[a-z]+", "short", MARK),
        (r"\bno-such\b", "nothing here", "nothing here"),
        (r"alpha", f"{MARK}alpha{MARK}", MARK * 3),
        (r"\w+", MARK, MARK),
        (r".+", f"a {MARK} b", MARK),
    ],
)
def test_what_a_pattern_matches_is_a_secret(pattern: str, text: str, expected: str) -> None:
    """The first group is the secret, the whole match where there is none; line breaks and marks stay."""
    use_patterns([pattern])
    assert redact_text(text) == expected
    assert redact_text(expected) == expected


def test_patterns_hold_for_addresses_and_words() -> None:
    """An address and each word of a command are texts too, with what stands before the value in the word."""
    use_patterns([r"team-[a-z]+", r"--badge=(\d+)"])
    assert redact_url("https://host/team-red/x") == f"https://host/{MARK}/x"
    assert redact_args(["--for", "team-red", "--badge=12", "--lr=12"]) == ["--for", MARK, f"--badge={MARK}", "--lr=12"]


def test_the_rules_hold_beside_the_patterns() -> None:
    """A pattern adds to what is known to be secret, and takes nothing from it."""
    use_patterns([r"host-[a-z]+"])
    assert redact_text("--token abcdef host-alpha") == f"--token {MARK} {MARK}"


def test_patterns_replace_those_in_force() -> None:
    """The last call counts, whole; none is none."""
    use_patterns(["alpha"])
    use_patterns(["beta"])
    assert redact_text("alpha beta") == f"alpha {MARK}"
    use_patterns([])
    assert redact_text("alpha beta") == "alpha beta"


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "no regular expression: missing )"),
        ("[z-a]", "no regular expression: bad character range"),
        ("a{99999999999999999999}", "no regular expression: "),
        ("", "matches the empty string"),
        ("a*", "matches the empty string"),
        ("a|", "matches the empty string"),
    ],
)
def test_an_unusable_pattern_is_told(pattern: str, problem: str) -> None:
    """What does not compile or matches nothing at all is refused, and what was in force stays so."""
    assert (pattern_problem(pattern) or "").startswith(problem)
    use_patterns(["alpha"])
    with pytest.raises(ValueError, match="empty string" if "empty" in problem else "no regular expression"):
        use_patterns(["beta", pattern])
    assert redact_text("alpha beta") == f"{MARK} beta"


@pytest.mark.parametrize("pattern", ["a", "a+", r"\bx", "(?=a)a", "(a*)b"])
def test_a_usable_pattern_has_no_problem(pattern: str) -> None:
    """A pattern that matches some text is usable."""
    assert pattern_problem(pattern) is None


PATTERNS = st.sampled_from(
    [
        r"\w+",
        r".",
        r".(.)",
        r"a+",
        r"[^a]+",
        r"\s+",
        r"(?s).+",
        r"\n",
        r"red",
        r"\[(\w)",
        r"(\w)\]",
        r"^.",
        r".$",
        "]",
        " ",
    ]
)  # fmt: skip - a list of patterns reads best as one


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(PATTERNS, min_size=1, max_size=3), st.text("ab \n[]=redacted\"'", max_size=60))
@example([".(.)"], "abcdefghijklmnopqrstuvwxyz")
@example(["^."], "abc\ndef")
def test_redacting_twice_changes_nothing_more(patterns: list[str], text: str) -> None:
    """Whatever a pattern matches, of a mark too, redacted text is final and has its lines."""
    use_patterns(patterns)
    redacted = redact_text(text)
    assert redact_text(redacted) == redacted
    assert redacted.count("\n") == text.count("\n")
    words = redact_args([text, "x"])
    assert redact_args(words) == words


def test_no_pattern_costs_no_regular_expressions() -> None:
    """A program without patterns does not pay for `import re`; one with them does."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from runcontext.redaction import redact_text, use_patterns\n"
        "use_patterns([]); redact_text('ordinary text'); assert 're' not in sys.modules\n"
        "use_patterns(['a']); assert 're' in sys.modules\n"
    )
    command_line = [sys.executable, "-I", "-S", "-c", program, str(SOURCE_ROOT)]
    result = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(\w+\.)*\w+", r"((?:x{2,}y)*z)+", r"(a*)*b", r"(?:(?:a|b)+c?)+"])
def test_a_pattern_that_repeats_what_repeats_is_refused(pattern: str) -> None:
    """Such a pattern could hold the program for ever on some texts: why it is refused is said."""
    assert pattern_problem(pattern) is not None


@pytest.mark.parametrize("pattern", [r"host-[0-9]+", r"(a{1,3}){2,5}b", r"[a-z]+@[a-z]+\.org", r"(?i)key=(\S+)"])
def test_a_pattern_that_repeats_once_is_usable(pattern: str) -> None:
    """Repeats beside each other, and repeats with a limit, are usable."""
    assert pattern_problem(pattern) is None
