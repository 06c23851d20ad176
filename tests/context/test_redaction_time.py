"""What redaction costs: time in proportion to the length of hostile text, and little of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from runcontext.redaction import MARK, redact_args, redact_text, redact_url
from runcontext.redaction.formats import ELSEWHERE, FORMATS
from runcontext.redaction.verdicts import STEMS

if TYPE_CHECKING:
    from collections.abc import Callable

# Four times the text in up to eight times the time: a quadratic rule takes sixteen.
LONGER = 4
MOST_TIMES_LONGER = 8
# Below this a measurement is mostly noise.
FLOOR_SECONDS = 0.05

# Each rule's own beginning, and what its pattern takes most of: the longest way to no match.
NEEDLES = sorted({needle for _source, needles, _pattern in (*FORMATS, *ELSEWHERE) for needle in needles})
HOSTILE = [
    "a",
    "A1",
    "-",
    ".",
    "=",
    " ",
    "\n",
    "\t",
    "\\",
    '"',
    "'",
    "`",
    '"""',
    "\\n",
    '\\"',
    "\ud800",
    "\0",
    "\u0130",
    "@",
    "$",
    "%",
    "[",
    "{",
    "(",
    MARK,
    "://",
    "//a:",
    "//a:b//",
    "u:p@",
    "u:",
    "user@host:",
    "eyJ.",
    "eyJa.",
    "ghs_1_ey",
    "000Q~",
    "sk-a-",
    "xoxb-",
    "-----BEGIN",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n" + "a" * 64 + "\n",
    "token=",
    "token='",
    'token="',
    "token='x\n",
    'token="""',
    "token=(",
    "token=('",
    "token=(\n",
    "token='a' + ",
    "token: ",
    "token: a[",
    "token: [a",
    "token: [[",
    "token: |\n",
    "token: |\n ",
    "token:\n  - ",
    "token: a b ",
    "   - token: ",
    "token = a ",
    "token, ",
    "--token ",
    "--token \\\n",
    "password=a,",
    "<token>",
    "<token>a",
    "<token>a</",
    "name: token\nvalue: ",
    '"name": "token", ',
    "\\u0026token",
    "%26token%3D",
    "?sig=a&",
    "ENV TOKEN ",
    "Authorization: ",
    "Bearer ",
    "machine h ",
    "machine a login b account c ",
    "login a password ",
    "curl -u ",
    "curl -u a:",
    "docker login ",
    "docker login -p ",
    "mysql -p",
    "basicauth('a', ",
    "wandb " + "a" * 39 + " ",
    "/api/webhooks/1",
]  # fmt: skip - a list of values reads best as one


def seconds(work: Callable[[str], object], text: str, enough: float) -> float:
    """Give the processor time that a piece of work takes: the first that is ``enough``, else the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work(text)
        best = min(best, time.process_time() - began)
        if best < enough:
            break
    return best


def assert_linear(work: Callable[[str], object], unit: str, length: int) -> None:
    """Fail where ``LONGER`` times ``length`` of repeated ``unit`` takes far more than as many times as long."""
    short, long = (unit * (characters // len(unit)) for characters in (length, LONGER * length))
    most = MOST_TIMES_LONGER * max(seconds(work, short, FLOOR_SECONDS), FLOOR_SECONDS)
    assert seconds(work, long, most) < most, unit


@pytest.mark.parametrize("length", [10_000, pytest.param(250_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("unit", HOSTILE, ids=ascii)
def test_time_grows_with_length_only(unit: str, length: int) -> None:
    """Hostile repetition costs time in proportion to its length."""
    assert_linear(redact_text, unit, length)


@pytest.mark.parametrize("length", [3_000, pytest.param(250_000, marks=[pytest.mark.soak, pytest.mark.timeout(3_600)])])
@pytest.mark.parametrize("after", ["", " ", "="])
def test_time_of_every_needle_grows_with_length_only(after: str, length: int) -> None:
    """So does that of what each rule is first looked for by."""
    for needle in (*NEEDLES, *STEMS):
        assert_linear(redact_text, needle + after, length)
        assert_linear(redact_text, needle.upper() + after, length)


@pytest.mark.parametrize("work", [redact_url, lambda text: redact_args([text])], ids=["address", "word"])
@pytest.mark.parametrize("unit", ["a=", "a:", "token=", "u:p@", "https://u:p@h?token=a&", "--token "], ids=ascii)
def test_time_of_words_and_addresses_grows_with_length_only(work: Callable[[str], object], unit: str) -> None:
    """So does that of the words of a command, and of an address."""
    assert_linear(work, unit, 20_000)


def test_ten_megabytes_are_redacted() -> None:
    """A value of ten million characters goes whole, in memory that fits."""
    assert redact_text("token=" + "a" * 10_000_000) == f"token={MARK}"
    assert redact_args(["--token", "a" * 10_000_000]) == ["--token", MARK]


def test_ordinary_text_takes_little_time() -> None:
    """A large log or table is looked through at several megabytes a second."""
    line = "epoch 12, step 3400: loss=0.3127 lr=3e-4 tokens_per_second=41200 path=/data/shard-0017.tar key_dim=64\n"
    text = line * (2_000_000 // len(line))
    assert redact_text(text) == text
    assert seconds(redact_text, text, enough=2) < 2
