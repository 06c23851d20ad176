"""A command's words, where the next one may be what a name announces: ``--token X``."""

from __future__ import annotations

from runcontext.redaction.addresses import first_of
from runcontext.redaction.masking import MARK, compiled
from runcontext.redaction.patterns import redact_matches
from runcontext.redaction.text import only_marked, redact_text, settled
from runcontext.redaction.verdicts import is_literal, is_secret_name, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_USER_OPTIONS = frozenset({"-u", "--user", "--proxy-user"})
_DEEPEST_WORD = 3


def redact_args(args: Sequence[str]) -> list[str]:
    """Replace the secrets in a command's words, as many as were given, before they are joined or quoted.

    Knows what a text cannot tell: where a value ends, and that it may be the next word (``--token X``). A switch with
    another option after it hides nothing. Each other word is redacted as ``redact_text`` does it.
    """
    return settled(_redact_words, list(args), lambda words: [*map(only_marked, words)])


def _redact_words(args: list[str]) -> list[str]:
    redacted: list[str] = []
    before = ""
    is_wandb_login = "login" in args and any("wandb" in arg for arg in args)
    for arg in args:
        if _takes_secret(before) and not _is_option(arg):
            redacted.append(_redact_value(arg, before))
        elif before in _USER_OPTIONS:
            redacted.append(_redact_user(arg))
        elif is_wandb_login and len(arg) == 40 and set(arg) <= set("0123456789abcdef"):  # noqa: PLR2004 - W&B's
            redacted.append(MARK)
        else:
            redacted.append(_redact_word(arg))
        before = arg
    return [*map(redact_matches, redacted)]


def _takes_secret(arg: str) -> bool:
    """Say whether the word after this one is secret: after an option, or `aws configure set aws_secret_access_key`."""
    if not _is_name(arg):
        return False
    is_name_of_several_words = len(words_of(arg)) > 1 and "." not in arg
    return (arg.startswith("-") or is_name_of_several_words) and is_secret_name(arg)


def _is_option(arg: str) -> bool:
    return arg.startswith("--") or (arg.startswith("-") and len(arg) > 1 and _is_name(arg.partition("=")[0]))


def _is_name(word: str) -> bool:
    bare = word.lstrip("-+~").replace("_", "a").replace("-", "a").replace(".", "a").replace("/", "a").replace("@", "a")
    return bare.isalnum() and bare.isascii()


def _redact_value(value: str, name: str) -> str:
    return value if not value or (len(value) <= 256 and is_literal(value, name)) else MARK  # noqa: PLR2004


def _redact_user(value: str) -> str:
    name, colon, password = value.partition(":")
    is_credential = colon and password and not password.isdigit() and not password.startswith("//")
    return f"{name}:{MARK}" if is_credential else _redact_word(value)


def _redact_word(arg: str, depth: int = 0) -> str:
    # A word may be a value's own, as of Hydra and lm-eval; the depth bounds what hostile input can cost.
    end = first_of(arg, "=:") if depth < _DEEPEST_WORD else 0
    name, separator, value = arg[:end], arg[end : end + 1], arg[end + 1 :]
    if not separator or not _is_name(name):
        return redact_text(arg)
    if not is_secret_name(name):
        # The name is judged; the value may still be an address, a format or hold names of its own.
        return redact_text(arg) if separator == ":" else name + separator + _redact_word(value, depth + 1)
    space = value[: len(value) - len(value.lstrip())]
    return name + separator + space + _redact_header(value[len(space) :], name)


def _redact_header(value: str, name: str) -> str:
    from runcontext.redaction.values import AUTHENTICATION_SCHEME, is_header

    if not is_header(name) or " " not in value:
        return _redact_value(value, name)
    scheme = compiled(AUTHENTICATION_SCHEME).match(value)
    kept = scheme.group() if scheme else ""
    return kept + _redact_value(value[len(kept) :], name)
