"""The thread pools of native libraries, as threadpoolctl finds them loaded."""

from __future__ import annotations

from runcontext import NotInContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def loaded(threadpoolctl: Any) -> str:
    """Give each loaded library as ``openblas 0.3.31 SkylakeX pthreads threads=2``, joined with commas.

    Source: threadpoolctl's ``threadpool_info()``, in its README.
    """
    found = threadpoolctl.threadpool_info()
    if not found:
        reason = "threadpoolctl finds no native thread pool loaded"
        raise NotInContext(reason)
    return ",".join(sorted(map(_described, found)))


def _described(pool: Mapping[str, Any]) -> str:
    words = [pool.get(key) for key in ("internal_api", "version", "architecture", "threading_layer")]
    return " ".join([*(str(word) for word in words if word), f"threads={pool.get('num_threads')}"])
