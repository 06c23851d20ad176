"""A session of requests that gives a plugin's headers to nobody but the server that they are meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Session

# What any client says; all else may be a credential.
HARMLESS = frozenset(
    ("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent")
)


def new_session() -> Session:
    """Make a session; requests itself takes only Authorization away where a redirect leads to another host."""
    import requests

    class _Session(requests.Session):
        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
            urls = (response.request.url, prepared_request.url)
            if self.should_strip_auth(*urls):  # type: ignore[no-untyped-call]
                for name in [each for each in prepared_request.headers if each.lower() not in HARMLESS]:
                    del prepared_request.headers[name]

    return _Session()
