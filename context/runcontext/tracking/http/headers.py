"""The headers of a request: our own, and those of plugins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runcontext import log, plugins
from runcontext.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runcontext.tracking.http.credentials import Provider

NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""What a header's name may be (RFC 9110, section 5.6.2)."""

VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What its value may be (RFC 9110, section 5.5): no line break, which would begin another header, and only Latin-1."""


def merged(own: Mapping[str, str], providers: Iterable[Provider], shown: str) -> dict[str, str]:
    """Give the headers of one request.

    Values of one header are joined with a space, as MLflow joins them (mlflow.tracking.request_header.registry); None
    is no header. A plugin that fails costs its headers, and is named once.

    Args:
        own: ours, first.
        providers: plugins and what was built of them, in their order.
        shown: where the request goes, fit to be shown.
    """
    spelled: dict[str, str] = {}
    values: dict[str, str] = {}
    for name, value in (*own.items(), *(each for provider in providers for each in _given(provider, shown))):
        # Names are equal in any case (RFC 9110, section 5.1).
        key = name.lower()
        spelled.setdefault(key, name)
        values[key] = f"{values[key]} {value}" if key in values else value
    return {spelled[key]: value for key, value in values.items()}


def _given(provider: Provider, shown: str) -> list[tuple[str, str]]:
    plugin, built = provider
    try:
        found = plugins.guarded(plugin, "failed", lambda: _asked(built))
    except PluginError as error:
        log.warn_once(f"{error}: requests to {shown} go out without its headers")
        return []
    usable: list[tuple[str, str]] = []
    for header, value in found:
        if value is None:
            continue
        if isinstance(header, str) and isinstance(value, str) and NAME.fullmatch(header) and VALUE.fullmatch(value):
            usable.append((header, value.strip()))
        else:
            # The value is not shown: it may be a token.
            log.warn_once(
                f"{plugin} gave a header {header!r} that is not usable (a {type(value).__name__}; a text of Latin-1"
                f" without control characters is expected): requests to {shown} go out without it"
            )
    return usable


def _asked(provider: Any) -> list[tuple[object, object]]:
    return list(provider.request_headers().items()) if provider.in_context() else []
