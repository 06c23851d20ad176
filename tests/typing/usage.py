"""How runcontext is used, as type checkers see it: ``make types`` checks it, nothing runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from typing_extensions import assert_type

import runcontext
from runcontext.provider import TagValue


class Complete:
    """A provider with everything that a provider may have."""

    placement: Literal["inline", "thread", "companion"] = "companion"
    timeout = 5.0

    def in_context(self) -> bool:
        return True

    def tags(self) -> Mapping[str, TagValue]:
        return {"a": "text", "b": lambda: "late", "c": lambda: None}

    def attachments(self) -> list[runcontext.Attachment]:
        return [runcontext.Attachment("a.txt", b"")]


class Plain:
    """A provider as MLflow's are: a dict of strings."""

    def in_context(self) -> bool:
        return True

    def tags(self) -> dict[str, str]:
        return {"a": "text"}


complete: runcontext.RunContextProvider = Complete()
plain: runcontext.RunContextProvider = Plain()

with runcontext.start_run(run_name="a", tags={"b": 1}, providers=["git", Complete, plain]) as run:
    assert_type(run, runcontext.Run)
    assert_type(run.run_id, str)
    assert_type(run.tags, Mapping[str, str])
    assert_type(run.context, runcontext.Context)
    assert_type(run.status, runcontext.RunStatus)
    assert_type(run.path, Path)
    assert_type(run.remote_id, "str | None")
    assert_type(run.url, "str | None")

assert_type(runcontext.active_run(), "runcontext.Run | None")
assert_type(runcontext.search_runs(), runcontext.RunPage)
assert_type(runcontext.get_run("0").metrics, Mapping[str, float])
assert_type(runcontext.resolve_context().outcomes, Mapping[str, runcontext.Outcome])
assert_type(runcontext.log_param("lr", 3e-4), Any)
register: Callable[[Any], None] = runcontext.register_provider
