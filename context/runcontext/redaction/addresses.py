"""Credentials in addresses: ``https://user:token@host``, ``user:password@host:path``."""

from __future__ import annotations

from runcontext.redaction.masking import MARK, compiled, hidden, masked
from runcontext.redaction.verdicts import is_variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

# RFC 3986, section 3.2.1. The second form is a password whose /, ? or # somebody left unescaped: where a port would
# stand there is something that is no number. Of two slashes pathlib leaves one.
_USERINFO = (
    r"(?:\\?/\\?/|(?<=http:)/|(?<=https:)/)(?:([^\s/?#\"'<>`\\]+)@"
    r"|([^\s/?#@:\"'<>`\[\\]{1,64}:(?![0-9]{0,5}[/?#])[^\s@\"'<>`]{1,64})@(?=[A-Za-z0-9\[]))"
)
# git-clone(1), GIT URLS, the scp-like syntax, with a password in it; an image's digest (name:tag@sha256:...) is none.
_SCP_LIKE = r"(?<![^\s\"'=(,])[A-Za-z0-9_.+\-]{1,64}:([^\s/@\"'=(,]+)@(?!sha[0-9]{3}:)[A-Za-z0-9_.\-]{1,255}:(?=[^\s])"

_RARE = 64  # characters to an @; where there are more of them, looking for lines costs more than it saves


def without_password(url: str) -> str:
    """Take the credentials out of what is one address and nothing else."""
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        user, at, host = url.rpartition("@")
        name, _, password = user.partition(":")
        is_scp_like = at and password and not set("/\\?#") & set(user) and not host.startswith(("sha256:", "sha512:"))
        return f"{name}:{hidden(password)}@{host}" if is_scp_like else url
    authority = rest[: first_of(rest, "/?#")]
    if "@" not in authority:
        return url
    userinfo, _, host = authority.rpartition("@")
    return f"{scheme}//{_without_credential(scheme, userinfo)}@{host}{rest[len(authority) :]}"


def first_of(text: str, characters: str) -> int:
    """Give where the first of these characters stands, or the text's length where there is none of them."""
    found = [at for at in map(text.find, characters) if at >= 0]
    return min(found, default=len(text))


def _without_credential(scheme: str, userinfo: str) -> str:
    """Give what may stay of ``userinfo`` in an address of this scheme, ending in ``:`` or empty."""
    name, colon, password = userinfo.partition(":")
    if not scheme or scheme.lower().endswith(("http:", "https:", "ws:", "wss:")):
        return hidden(userinfo)
    return f"{name}:{hidden(password)}" if colon else userinfo


def redact_addresses(text: str) -> str:
    """Take the credentials out of the addresses in a text: where they are rare, of the lines that may have one."""
    if text.count("@") * _RARE > len(text):
        return _redact_lines(text)
    pieces: list[str] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        start = max(text.rfind("\n", done, at) + 1, done)
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[start:end]
        redacted = _redact_lines(line)
        if redacted != line:
            pieces += (text[done:start], redacted)
            done = end
        at = text.find("@", end)
    return "".join((*pieces, text[done:])) if pieces else text


def _redact_lines(lines: str) -> str:
    if "/" in lines:
        lines = compiled(_USERINFO).sub(_redact_userinfo, lines)
    return compiled(_SCP_LIKE).sub(_mask_scp_like, lines) if ":" in lines else lines


def _redact_userinfo(match: re.Match[str]) -> str:
    userinfo = match.group(1) or match.group(2)
    start = match.start()
    scheme = _scheme_before(match.string, start)
    name, colon, password = userinfo.partition(":")
    is_plain_text = not scheme and not colon
    if is_plain_text or scheme == "github:" or (is_variable(password) if colon else is_variable(name)):
        return match.group()  # github: fsspec's github://organisation:repository@commit has no credential
    slashes = match.group()[: match.start(1 if match.group(1) else 2) - start]
    return f"{slashes}{_without_credential(scheme, userinfo)}@"


def _scheme_before(text: str, at: int) -> str:
    before = text[max(0, at - 32) : at]
    if not before.endswith(":"):
        return ""
    start = len(before) - 1
    while start and (before[start - 1].isalnum() or before[start - 1] in "+.-"):
        start -= 1
    return before[start:]


def _mask_scp_like(match: re.Match[str]) -> str:
    return match.group() if match.group(1) == MARK else masked(match)
