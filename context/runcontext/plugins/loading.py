"""Loads and builds plugins, lazily, and keeps what they do wrong from doing harm."""

from __future__ import annotations

import os
import threading
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runcontext import at_work, registry
from runcontext.errors import PluginError
from runcontext.redaction import MARK, redact_text
from runcontext.tracking.uris import is_importable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from runcontext.plugins.kinds import Plugin

    T = TypeVar("T")

_loaded: dict[tuple[str, str], Any] = {}
_failures: dict[tuple[str, str], str] = {}


def load(plugin: Plugin) -> Any:
    """Import what a plugin declares: a class, or a function that builds one; one that failed is not tried again.

    Raises:
        PluginError: it cannot be imported; the message names plugin and package.
    """
    if plugin.key in _failures:
        raise PluginError(_failures[plugin.key])
    if plugin.key not in _loaded:
        # Under no lock of ours: the import system has its own, and two locks in two orders block each other.
        try:
            _loaded[plugin.key] = guarded(plugin, "cannot be loaded", lambda: _imported(plugin))
        except PluginError as error:
            _failures[plugin.key] = str(error)
            raise
    return _loaded[plugin.key]


def build(plugin: Plugin, *arguments: Any, methods: Sequence[str] = (), uri: str = "", **named: Any) -> Any:
    """Load a plugin, call what was loaded, and give what comes back; it must have ``methods``.

    What is no class and has them already is taken as it is. ``uri`` is the address among the arguments, whose
    credentials no message may show.

    Raises:
        PluginError: it cannot be loaded or built, or what was built lacks a method; the message names all of it.
    """
    loaded = load(plugin)
    if methods and not isinstance(loaded, type) and not _missing(plugin, loaded, methods):
        return loaded
    built = guarded(plugin, "cannot be built", lambda: loaded(*arguments, **named), uri=uri)
    check_shape(plugin, built, methods)
    return built


def try_out(plugin: Plugin) -> None:
    """Load a plugin, and build it where that takes no more than calling it.

    Raises:
        PluginError: it cannot be used; the message names plugin and package.
    """
    if plugin.kind.methods:
        build(plugin, methods=plugin.kind.methods)
    elif not callable(found := load(plugin)):
        message = f"{plugin} is a {type(found).__name__}; a class or a function that builds one is expected"
        raise PluginError(message)


def check_shape(plugin: Plugin, built: Any, methods: Sequence[str]) -> None:
    """Check by name that what a plugin gave has ``methods``: nothing has to be a subclass of anything.

    Raises:
        PluginError: it lacks some; the message names plugin, package and methods.
    """
    missing = _missing(plugin, built, methods)
    if missing:
        message = f"{plugin} gave a {type(built).__name__} without {', '.join(missing)}"
        raise PluginError(message)


def guarded(
    plugin: Plugin,
    what: str,
    work: Callable[[], T],
    *,
    passing: tuple[type[Exception], ...] = (),
    raising: Callable[[str, BaseException], Exception] = lambda message, _: PluginError(message),
    uri: str = "",
) -> T:
    """Do ``work``, which runs a plugin's code: whatever it raises, an exit too, becomes one error that names it.

    That error has no cause: what a plugin or its client says may hold credentials. Where it was raised is told instead.

    Args:
        plugin: whose code it is.
        what: what went wrong, should it fail: "cannot be loaded".
        work: what to do.
        passing: exceptions that are answers, and stay as they are.
        raising: makes the error, of its message and of what the plugin raised; a PluginError unless given.
        uri: the address that it was called with, whose credentials no message may show.
    """
    try:
        with at_work.running(str(plugin)):
            return work()
    except passing:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        # Tracebacks of ours would keep the plugin's objects alive, and show what they hold.
        failure = raising(f"{plugin} {what}: {without_credentials(_said(error), uri)}", error)
    raise failure


def without_credentials(text: str, uri: str) -> str:
    """Take out of a plugin's words what is secret, the password of the address that it was called with among it."""
    from urllib.parse import unquote, urlsplit

    try:
        password = urlsplit(uri).password
    except ValueError:
        password = None
    for secret in {password, unquote(password)} if password else ():
        text = text.replace(secret, MARK)
    return redact_text(text)


def with_state(plugin: Plugin) -> Plugin:
    """Say of a plugin that is not shadowed whether it was loaded, or failed."""
    if plugin.state == "shadowed":
        return plugin
    if plugin.key in _failures:
        return replace(plugin, state="failed", reason=_failures[plugin.key])
    return replace(plugin, state="loaded") if plugin.key in _loaded else plugin


def _imported(plugin: Plugin) -> Any:
    if plugin.is_mlflows and plugin.kind.is_by_scheme and is_importable("mlflow"):
        # MLflow imports its plugins while it is imported: begun from a plugin it would find that half made.
        __import__("mlflow")
    return registry.load(plugin.target)


def _missing(plugin: Plugin, built: Any, methods: Sequence[str]) -> list[str]:
    def look() -> list[str]:
        return [f"{method}()" for method in methods if not callable(getattr(built, method, None))]

    return guarded(plugin, "cannot be looked at", look)


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a plugin's exception may fail to describe itself
        text = ""
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    places = traceback.extract_tb(error.__traceback__)
    outside = [each for each in places if not each.filename.startswith(("<frozen", __file__))]
    return f"{said} ({os.path.basename(outside[-1].filename)}, line {outside[-1].lineno})" if outside else said
