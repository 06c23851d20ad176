"""What went with a request to prove who asks, kept out of what is said of its reply, which may repeat it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

from runcontext import redaction
from runcontext.tracking.http.redirects import HARMLESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import Response

_SHOWN = HARMLESS | {"x-mlflow-workspace"}
# Whatever is shorter is part of many words, and no secret.
_SHORTEST = 4


def without_sent(text: str, response: Response) -> str:
    """Mask in what a reply says whatever its request carried as a credential, which no pattern need know as one."""
    secrets = {form for each in _carried(response) if len(each) >= _SHORTEST for form in (each, quote(each, safe=""))}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, redaction.MARK)
    return text


def _carried(response: Response) -> Iterator[str]:
    for each in (*response.history, response):
        for name, value in each.request.headers.items():
            if name.lower() in _SHOWN:
                continue
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            yield text
            # Several plugins may have given parts of a header.
            yield from _parts(text) if name.lower() == "authorization" else text.split()


def _parts(authorization: str) -> Iterator[str]:
    scheme, _, credentials = authorization.partition(" ")
    yield from credentials.split() or [scheme]
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials).decode("utf-8", "replace")
        except ValueError:
            return
        yield from (pair, pair.partition(":")[2])
