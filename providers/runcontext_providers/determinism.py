"""The determinism provider: what decides whether the same program gives the same numbers again, as it is found."""

from __future__ import annotations

import os
import sys

from runcontext import NotInContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runcontext import RunContextProvider
    from runcontext.provider import TagValue

_LIBRARIES = {
    "random": "getstate",
    "numpy": "ndarray",
    "torch": "Tensor",
    "jax": "jit",
    "tensorflow": "Tensor",
    "threadpoolctl": "threadpool_info",
}
"""The modules that are looked at, and something that each has where it is what its name says."""

_TAGS = {
    "random.state": "random",
    "numpy.random.state": "numpy",
    "numpy.blas": "numpy",
    "numpy.simd": "numpy",
    "torch.random.state": "torch",
    "torch.deterministic": "torch",
    "torch.cudnn": "torch",
    "torch.precision": "torch",
    "torch.threads": "torch",
    "torch.cuda.libraries": "torch",
    "jax.settings": "jax",
    "tensorflow.settings": "tensorflow",
    "threadpools": "threadpoolctl",
}
"""Every fact of a library, and whose it is."""

_PREFIXES = (
    "ATEN_CPU_CAPABILITY",
    "BLIS_",
    "CUBLAS_",
    "CUBLASLT_",
    "CUDNN_",
    "DNNL_",
    "GOTO_NUM_THREADS",
    "JAX_",
    "KMP_AFFINITY",
    "KMP_DETERMINISTIC_REDUCTION",
    "MKL_",
    "NPY_",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTHONHASHSEED",
    "TF_",
    "VECLIB_MAXIMUM_THREADS",
    "XLA_",
)
"""How the variables begin that choose threads, instructions, precision and algorithms: each library's documentation."""

_NOT_MEANT = ("TF_CLI_", "TF_CPP_MAX_", "TF_CPP_MIN_", "TF_CPP_VMODULE", "TF_TOKEN_", "TF_VAR_")
"""Variables of Terraform ("Environment Variables" of its CLI documentation), and those that choose TensorFlow's log."""

_ENCODED = tuple(map(os.fsencode, _PREFIXES))
_FIRST_LETTERS = frozenset(prefix[:3] for prefix in (*_PREFIXES, *_ENCODED))
"""What nearly every other variable is told from these by, at a fifth of the cost."""


class DeterminismProvider:
    """Tell threads, precision, algorithms and generators' states, of libraries that the program has imported.

    Everything is read, nothing set: no library is imported or initialised, no number is drawn, no thread is started.
    """

    placement = "inline"

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._variables: list[str] = []

    def in_context(self) -> bool:
        """Say yes where there is a library to look at or a variable for one; raise NotInContext elsewhere."""
        self._variables = _variables()
        if not self._variables and sys.modules.keys().isdisjoint(_LIBRARIES) and not _is_free_threaded():
            reason = f"none of {', '.join(_LIBRARIES)} is imported, and no variable that they read is set"
            raise NotInContext(reason)
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give what is in force now; what belongs to a library that is not imported is absent."""
        facts: dict[str, TagValue] = {"determinism.variables": self._said, "python.gil": _gil}
        facts.update({tag: _not_imported(library) for tag, library in _TAGS.items()})
        if not sys.modules.keys().isdisjoint(_LIBRARIES):
            facts.update(_facts_of_libraries())
        return facts

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give the same again: what the program has imported, set or drawn since is seen by comparing."""
        return self.tags()

    def _said(self) -> str:
        if not self._variables:
            reason = "no variable is set that chooses threads, instructions, precision or algorithms"
            raise NotInContext(reason)
        return " ".join(f"{name}={_quoted(os.environ.get(name, ''))}" for name in self._variables)


def _not_imported(library: str) -> Callable[[], str]:
    def look() -> str:
        reason = f"{library} is not imported"
        raise NotInContext(reason)

    return look


def _variables() -> list[str]:
    # ``os.environ`` decodes every name at every look. What it keeps in there is documented nowhere: else it must do.
    held: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    candidates = [key for key in list(held) if key[:3] in _FIRST_LETTERS]
    if not candidates:
        return []
    prefixes: Any = _ENCODED if isinstance(candidates[0], bytes) else _PREFIXES
    names = [os.fsdecode(key) for key in candidates if key.startswith(prefixes)]
    return sorted(name for name in names if not name.startswith(_NOT_MEANT))


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _is_free_threaded() -> bool:
    # "What's New In Python 3.13", section "Free-threaded CPython".
    return "free-threading build" in sys.version


def _gil() -> str:
    """Say whether this process runs with the lock; only a free-threaded build leaves the choice."""
    if not _is_free_threaded():
        reason = "this Python always runs with the lock: it is no free-threaded build"
        raise NotInContext(reason)
    return "enabled" if sys._is_gil_enabled() else "disabled"  # type: ignore[attr-defined,unused-ignore]


def _facts_of_libraries() -> Mapping[str, TagValue]:
    from runcontext_providers._determinism.readings import imported

    found = {name: module for name, mark in _LIBRARIES.items() if (module := imported(name, mark)) is not None}
    facts: dict[str, TagValue] = {}
    if "random" in found:
        facts["random.state"] = _random_state
    if "numpy" in found:
        from runcontext_providers._determinism import numpy_settings

        facts.update(numpy_settings.facts(found["numpy"]))
    if "torch" in found:
        from runcontext_providers._determinism import torch_settings

        facts.update(torch_settings.facts(found["torch"]))
    if not found.keys().isdisjoint(("jax", "tensorflow")):
        from runcontext_providers._determinism import xla_settings

        facts.update(xla_settings.facts(found))
    if "threadpoolctl" in found:
        from runcontext_providers._determinism import threadpools

        facts["threadpools"] = lambda: threadpools.loaded(found["threadpoolctl"])
    return {tag: _as_far_as_told(fact) for tag, fact in facts.items()}


def _as_far_as_told(fact: TagValue) -> TagValue:
    """Make a fact absent, with the reason, where the version at hand of its library does not have it."""

    def look() -> str:
        try:
            value = fact() if callable(fact) else fact
        except AttributeError as error:
            reason = f"the version of the library that is imported does not tell: {error}"
            raise NotInContext(reason) from None
        if value is None:
            reason = "the version of the library that is imported does not tell"
            raise NotInContext(reason)
        return value

    return look


def _random_state() -> str:
    import marshal

    from runcontext_providers._determinism.readings import fingerprint

    # Its version 2 writes the same bytes on every Python, and a state of 625 numbers in a third of the time of repr().
    return fingerprint(marshal.dumps(sys.modules["random"].getstate(), 2))


if TYPE_CHECKING:
    _: type[RunContextProvider] = DeterminismProvider
