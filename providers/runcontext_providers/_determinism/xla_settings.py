"""How JAX and TensorFlow compute, read from those that the program has imported; no backend is initialised."""

from __future__ import annotations

import sys

from runcontext_providers._determinism.readings import pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runcontext.provider import TagValue


def facts(libraries: Mapping[str, Any]) -> Mapping[str, TagValue]:
    """Give the facts of those that are among ``libraries``, by name, each read when it is called."""
    found: dict[str, TagValue] = {}
    if "jax" in libraries:
        found["jax.settings"] = lambda: _jax(libraries["jax"].config)
    if "tensorflow" in libraries:
        found["tensorflow.settings"] = _tensorflow
    return found


def _jax(config: Any) -> str:
    """Read JAX's options: "Configuration options" of its documentation."""
    return pairs(
        enable_x64=getattr(config, "jax_enable_x64", None),
        matmul_precision=getattr(config, "jax_default_matmul_precision", None) or "default",
        prng_impl=getattr(config, "jax_default_prng_impl", None),
        threefry_partitionable=getattr(config, "jax_threefry_partitionable", None),
    )


def _tensorflow() -> str | None:
    """Read what ``tf.config.experimental.is_op_determinism_enabled()`` and ``tensor_float_32_execution_enabled()`` do.

    They are asked where they are defined: an attribute of ``tensorflow`` may be one that is imported on use.
    """
    defined = {
        "deterministic_ops": sys.modules.get("tensorflow.python.util._pywrap_determinism"),
        "tensor_float_32": sys.modules.get("tensorflow.python.util._pywrap_tensor_float_32_execution"),
    }
    return pairs(**{name: module.is_enabled() for name, module in defined.items() if module is not None}) or None
