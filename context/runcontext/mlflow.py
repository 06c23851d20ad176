"""runcontext inside MLflow: each new run gets the tags that MLflow does not give it itself.

MLflow makes one ``MLflowRunContext`` when it is imported. For every new run, in whatever thread starts it, it then asks
its own providers, the plugins after them, and merges what they say; later ones win (``resolve_tags`` in
``mlflow.tracking.context.registry``). So this one looks at what is there already, and adds only the rest.
"""

from __future__ import annotations

import sys
import threading
from functools import partial

from runcontext import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import FrameType
    from typing import Any, TypeVar

    from runcontext.capture import Capture

    T = TypeVar("T")

MAX_CHARACTERS = 48_000
"""All tags together. MLflow also puts them into the source of a data set that is made without one, where 65,535
characters of JSON are the most (``MAX_DATASET_SOURCE_SIZE`` in ``mlflow.utils.validation``)."""

_REGISTRY = "mlflow.tracking.context.registry"


class MLflowRunContext:
    """MLflow's ``RunContextProvider`` that gives runcontext's tags; its entry point is ``mlflow.run_context_provider``.

    Making one does nothing: servers and workers import MLflow too. Nothing is raised but KeyboardInterrupt in the main
    thread.
    """

    def __init__(self) -> None:
        """Remember nothing yet: threads may start runs at the same moment, so each has a capture of its own."""
        self._of_thread = threading.local()

    def in_context(self) -> bool:
        """Begin a capture for ``tags()`` to fetch; False only where that fails."""
        return _guarded("the capture could not begin", self._begin, otherwise=False)

    def tags(self) -> dict[str, str]:
        """Wait for the capture, up to the deadline, and give what MLflow does not have."""
        return _guarded("the capture failed", self._finish, otherwise={})

    def _begin(self) -> bool:
        # Here and not above: `import mlflow` is to pay for none of it.
        from runcontext.capture import Capture
        from runcontext.program import current_program
        from runcontext.settings import Settings

        abandoned = self._taken()
        if abandoned is not None:
            abandoned.abandon()
        current = Settings.current(current_program().cwd, is_inside_mlflow=True)
        under_way = Capture(current, attachments=False)
        under_way.begin()
        self._of_thread.capture = under_way
        return True

    def _finish(self) -> dict[str, str]:
        if not hasattr(self._of_thread, "capture"):
            self._begin()
        under_way = self._taken()
        assert under_way is not None  # noqa: S101 - it has just begun
        try:
            under_way.wait()
        finally:
            under_way.finish()
        given = _given_already()
        return _fitting({tag: value for tag, value in under_way.row()["tags"].items() if tag not in given})

    def _taken(self) -> Capture | None:
        found: Capture | None = self._of_thread.__dict__.pop("capture", None)
        return found


def _given_already() -> Collection[str]:
    """Give the tags that this run has from the providers that MLflow asked before.

    Where ``resolve_tags`` is asking, what it has so far is read from its frame: so no provider is asked twice, since
    Databricks' each ask the cluster, and other plugins count too. Anybody else gets what MLflow's own providers say.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "resolve_tags" and frame.f_globals.get("__name__") == _REGISTRY:
            so_far = frame.f_locals.get("all_tags")
            return _asked() if so_far is None else _known(so_far)
        frame = frame.f_back
    return _asked()


def _asked() -> Collection[str]:
    given: set[str] = set()
    nothing: Collection[str] = ()
    registry = sys.modules.get(_REGISTRY)
    for each in getattr(registry, "_run_context_provider_registry", ()):
        if type(each).__module__.startswith("mlflow."):
            given.update(_guarded(f"MLflow's {type(each).__name__} failed", partial(_said, each), otherwise=nothing))
    return given


def _said(provider: Any) -> Collection[str]:
    return _known(provider.tags()) if provider.in_context() else ()


def _known(tags: Mapping[str, Any]) -> Collection[str]:
    # Outside a workspace some of MLflow's providers say None where they know nothing.
    return {tag for tag, value in tags.items() if value is not None}


def _fitting(tags: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would make a request too long."""
    from runcontext import codec

    kept: dict[str, str] = {}
    characters = 0
    for tag, value in tags.items():
        # As JSON: what is not ASCII is escaped there.
        size = len(codec.dumps([tag, value]))
        if characters + size <= MAX_CHARACTERS:
            characters += size
            kept[tag] = value
    left_out = [tag for tag in tags if tag not in kept]
    if left_out:
        named = f"{left_out[0]!r} and {len(left_out) - 1} more"
        log.warn_once(f"inside MLflow tags are left out, {named}: together they exceed {MAX_CHARACTERS:,} characters")
    return kept


def _guarded(what: str, work: Callable[[], T], *, otherwise: T) -> T:
    try:
        return work()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        log.warn_once(f"inside MLflow {what}: {type(error).__name__}: {error}")
        return otherwise
