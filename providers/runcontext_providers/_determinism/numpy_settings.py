"""What NumPy computes with, read from a NumPy that the program has imported."""

from __future__ import annotations

import sys

from runcontext import NotInContext
from runcontext_providers._determinism.readings import fingerprint, imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any

    from runcontext.provider import TagValue


def facts(numpy: ModuleType) -> Mapping[str, TagValue]:
    """Give its facts, each read when it is called."""
    return {"numpy.random.state": _random_state, "numpy.blas": lambda: _blas(numpy), "numpy.simd": _simd}


def _random_state() -> str:
    """Fingerprint the state of the generator behind ``numpy.random.rand`` and its like.

    ``numpy.random`` may not be imported yet, and looking for it in ``numpy`` would do so.
    """
    module: Any = imported("numpy.random", "get_state")
    if module is None:
        reason = "numpy.random is not imported: there is no generator yet"
        raise NotInContext(reason)
    return fingerprint(_flat(module.get_state(legacy=False)).encode())


def _flat(state: Any) -> str:
    if isinstance(state, dict):
        return ",".join(f"{key}:{_flat(value)}" for key, value in sorted(state.items()))
    return state.tobytes().hex() if hasattr(state, "tobytes") else str(state)


def _blas(numpy: ModuleType) -> str | None:
    """Name the BLAS that it was built with: ``numpy.show_config()``, as it is kept in ``numpy.__config__``."""
    built: Any = sys.modules.get(f"{numpy.__name__}.__config__")
    config = getattr(built, "CONFIG", None)
    if config is None:
        return _blas_before_meson(built)
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key)) or None


def _blas_before_meson(built: object) -> str | None:
    # NumPy 1.25 and older.
    for name in ("blas_ilp64_opt_info", "blas_opt_info"):
        libraries = getattr(built, name, {}).get("libraries")
        if libraries:
            return ",".join(dict.fromkeys(libraries))
    return None


def _simd() -> str | None:
    """List the instruction sets whose code it runs: those it needs, and those it was built for that the CPU has.

    Those that NPY_DISABLE_CPU_FEATURES switched off are not among them: "CPU/SIMD Optimizations" of its documentation.
    """
    core: Any = sys.modules.get("numpy._core._multiarray_umath") or sys.modules.get("numpy.core._multiarray_umath")
    has = getattr(core, "__cpu_features__", None)
    if has is None:
        return None
    return " ".join([*core.__cpu_baseline__, *(name for name in core.__cpu_dispatch__ if has.get(name))]) or None
