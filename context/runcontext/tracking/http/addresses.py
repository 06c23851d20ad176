"""What a server's URI says: where it is, what may be shown of it, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from runcontext import redaction
from runcontext.errors import StoreError
from runcontext.tracking import uris

_EXPECTED = "https://HOST[:PORT][/PATH] is expected"


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, taken apart.

    - ``base``: scheme, host, port and path, without credentials and a last ``/``.
    - ``shown``: the URI as it was given, fit to be shown.
    - ``userinfo``: user and password of the URI itself, None where it has none.
    """

    base: str
    shown: str
    userinfo: tuple[str, str] | None

    @classmethod
    def of(cls, uri: str) -> Address:
        """Take a URI apart.

        Raises:
            StoreError: it is malformed; the message says where.
        """
        shown = redaction.redact_url(uri)
        problem = problem_of(uri)
        if problem is not None:
            message = f"tracking URI {shown!r}: {problem}; {_EXPECTED}"
            raise StoreError(message)
        parts = urlsplit(uri)
        userinfo, at, place = parts.netloc.rpartition("@")
        user, _, password = userinfo.partition(":")
        base = f"{parts.scheme.lower()}://{place}{parts.path.rstrip('/')}"
        return cls(base, shown, (unquote(user), unquote(password)) if at else None)


def problem_of(uri: str) -> str | None:
    """Say what is wrong with a server's URI, without showing any of it; None where it is well formed.

    Nothing is asked of a network.
    """
    scheme = uris.scheme_of(uri)
    if scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    return uris.malformed(uri, scheme) or _problem_of_host(uri)


def _problem_of_host(uri: str) -> str | None:
    try:
        host = urlsplit(uri).hostname or ""
        # An underscore is common in names of containers, and no IDNA.
        host.encode("ascii" if host.isascii() else "idna")
    except ValueError:
        return "its host is no name and no address"
    return None
